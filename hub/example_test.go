package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// browser stands for a page in these examples: it says what it sends and prints
// what it gets. Tests of applications use package hubtest instead.
type browser struct {
	name string
	conn transport.Conn
}

var visitors []transport.Conn

func visit(h http.Handler, name string) *browser {
	conn, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/ws?user="+name, nil), nil)
	if err != nil {
		fmt.Println(strings.TrimSpace(err.Error()))
		return nil
	}
	visitors = append(visitors, conn)
	b := &browser{name, conn}
	b.read() // the welcome
	return b
}

func (b *browser) read() message.Envelope {
	m, err := b.conn.Read()
	if err != nil {
		return message.Envelope{Type: "closed", Content: message.Raw{Data: []byte(err.Error())}}
	}
	defer m.Release()
	e, _ := message.Decode(m.Data, m.Binary)
	return e
}

// send sends what a page would, and prints what comes back.
func (b *browser) send(typ, room, content string) {
	e := message.New(typ, message.Raw{Data: []byte(content)})
	e.Room, e.ID = room, "1"
	f, _ := message.Encode(e, nil, message.Disconnect)
	_ = b.conn.Write(f)
	b.print()
}

func (b *browser) print() {
	e := b.read()
	fmt.Println(strings.TrimSpace(fmt.Sprintf("%s: %s %s", b.name, e.Type, e.Content.Data)))
}

type Text struct {
	Body string `json:"body"`
}

const Say message.Kind[Text] = "chat.say"

// A hub with rooms in which everybody but the sender gets what is said.
func Example() {
	h := hub.New(nil)
	chat := h.Rooms("chat/{id}", nil)
	hub.On(chat, Say, func(ctx context.Context, r *hub.Request, in Text) error {
		return r.Others(ctx, Say.New(in))
	})
	r := chi.NewRouter()
	r.Mount("/ws", h)

	ada, bob := visit(r, "ada"), visit(r, "bob")
	ada.send("join", "chat/1", `null`)
	bob.send("join", "chat/1", `null`)
	ada.send("chat.say", "chat/1", `{"body":"hi"}`)
	bob.print()
	// Output:
	// ada: ack {"members":1}
	// bob: ack {"members":2}
	// ada: ack
	// bob: chat.say {"body":"hi"}
}

// What a handler of a question returns is the answer, and its error the refusal.
func ExampleReply() {
	const Half message.Call[int, int] = "half"

	h := hub.New(nil)
	hub.Reply(h, Half, func(_ context.Context, _ *hub.Request, n int) (int, error) {
		if n%2 != 0 {
			return 0, message.Errorf(message.Invalid, "%d is odd", n)
		}
		return n / 2, nil
	})

	ada := visit(h, "ada")
	ada.send("half", "", `84`)
	ada.send("half", "", `7`)
	ada.send("half", "", `"x"`)
	// Output:
	// ada: ack 42
	// ada: error {"code":"invalid","message":"7 is odd"}
	// ada: error {"code":"invalid","message":"content cannot be a string","field":"content"}
}

// The server asks a client, here inside a handler of that same client.
func ExampleAsk() {
	const Sure message.Call[string, bool] = "sure"

	h := hub.New(nil)
	hub.On(h, "delete", func(ctx context.Context, r *hub.Request, name string) error {
		ok, err := hub.Ask(ctx, r.Peer, Sure, "delete "+name+"?")
		fmt.Println("server: the answer is", ok, err)
		return err
	})

	ada := visit(h, "ada")
	ada.send("delete", "", `"photo"`) // prints the question instead of the answer
	answer := message.New("ack", true)
	answer.ID = "s1" // that of the question
	f, _ := message.Encode(answer, nil, message.Disconnect)
	_ = ada.conn.Write(f)
	ada.print()
	// Output:
	// ada: sure "delete photo?"
	// server: the answer is true <nil>
	// ada: ack
}

// A rule decides who may join, and says what fellow members see.
func ExampleRule() {
	h := hub.New(&hub.Options{Identify: func(r *http.Request) (string, error) {
		return r.URL.Query().Get("user"), nil // a session, in earnest
	}})
	h.Rooms("club/{name}", &hub.Rule{
		Join: func(_ context.Context, r *hub.Request) (any, error) {
			if r.Peer.User() == "eve" {
				return nil, message.Errorf(message.Denied, "not in the %s club", r.Var("name"))
			}
			return "Miss " + r.Peer.User(), nil
		},
	})

	ada, eve := visit(h, "ada"), visit(h, "eve")
	ada.send("join", "club/chess", `null`)
	eve.send("join", "club/chess", `null`)
	eve.send("join", "kitchen", `null`)
	for _, state := range h.Room("club/chess").Members() {
		fmt.Println("in the chess club:", state)
	}
	// Output:
	// ada: ack {"members":1}
	// eve: error {"code":"denied","message":"not in the chess club"}
	// eve: error {"code":"denied","message":"there is no room of this name"}
	// in the chess club: Miss ada
}

// A room with a state: its messages are handled one at a time.
func ExampleRoomsOf() {
	h := hub.New(nil)
	games := hub.RoomsOf(h, "game/{id}", nil, func(context.Context, *room.Room) (*counter, error) {
		return &counter{}, nil
	})
	hub.ReplyRoom(games, Add, (*counter).add)

	ada, bob := visit(h, "ada"), visit(h, "bob")
	ada.send("join", "game/1", `null`)
	bob.send("join", "game/1", `null`)
	ada.send("add", "game/1", `40`)
	bob.send("add", "game/1", `2`)
	// Output:
	// ada: ack {"members":1}
	// bob: ack {"members":2}
	// ada: ack 40
	// bob: ack 42
}

const Add message.Call[int, int] = "add"

type counter struct{ sum int }

func (c *counter) add(_ context.Context, _ *hub.Request, n int) (int, error) {
	c.sum += n // no lock
	return c.sum, nil
}

// A value for each connection.
func ExampleState() {
	type session struct{ asked int }

	h := hub.New(nil)
	hub.Reply(h, "again", func(_ context.Context, r *hub.Request, _ struct{}) (int, error) {
		s := hub.State[session](r.Peer)
		s.asked++
		return s.asked, nil
	})

	ada, bob := visit(h, "ada"), visit(h, "bob")
	ada.send("again", "", `null`)
	ada.send("again", "", `null`)
	bob.send("again", "", `null`)
	// Output:
	// ada: ack 1
	// ada: ack 2
	// bob: ack 1
}

// Middleware sees every message that has a handler.
func ExampleHub_Use() {
	h := hub.New(nil)
	h.Use(func(next hub.Handler) hub.Handler {
		return func(ctx context.Context, r *hub.Request) (any, error) {
			fmt.Println("before", r.Type)
			return next(ctx, r)
		}
	})
	hub.On(h, "work", func(context.Context, *hub.Request, struct{}) error { return nil })

	visit(h, "ada").send("work", "", `null`)
	// Output:
	// before work
	// ada: ack
}

// From anywhere: an HTTP handler, a cron job.
func ExampleHub_BroadcastTo() {
	ctx := context.Background()
	h := hub.New(nil)
	h.Rooms("team/{name}", nil)

	ada := visit(h, "ada")
	ada.send("join", "team/red", `null`)
	ada.send("join", "team/blue", `null`)
	_ = h.BroadcastTo(ctx, []string{"team/red", "team/blue"}, message.New("goal", "1:0")) // reaches her once
	_ = h.Room("team/red").Broadcast(ctx, message.New("news", "lunch"))
	_ = h.Broadcast(ctx, message.New("all", "closing time"))
	ada.print()
	ada.print()
	ada.print()
	// Output:
	// ada: ack {"members":1}
	// ada: ack {"members":1}
	// ada: goal "1:0"
	// ada: news "lunch"
	// ada: all "closing time"
}

// One handler for all types that have none.
func ExampleOnRest() {
	h := hub.New(nil)
	hub.OnRest(h, func(_ context.Context, r *hub.Request) (any, error) {
		var content any
		if err := r.Decode(&content); err != nil {
			return nil, err
		}
		return fmt.Sprintf("%s of %v", r.Type, content), nil
	})

	visit(h, "ada").send("anything", "", `[1,2]`)
	// Output: ada: ack "anything of [1 2]"
}

// A peer is told why it is disconnected, behind what it is still owed.
func ExamplePeer_Close() {
	h := hub.New(nil)
	hub.On(h, "leave me", func(_ context.Context, r *hub.Request, _ struct{}) error {
		_ = r.Peer.Send(message.New("farewell", "so long"))
		r.Peer.Close(message.CloseKicked, "as you wish")
		return nil
	})

	ada := visit(h, "ada")
	ada.send("leave me", "", `null`)
	ada.print()
	ada.print()
	// Output:
	// ada: farewell "so long"
	// ada: bye {"reason":"as you wish"}
	// ada: closed transport: closed by the server: 4002 as you wish
}

// Patterns are of segments; the more literal one wins.
func ExampleHub_Rooms() {
	const Where message.Call[struct{}, string] = "where"

	h := hub.New(nil)
	for _, pattern := range []string{"chat/{id}", "chat/news", "files/{path...}"} {
		hub.Reply(h.Rooms(pattern, nil), Where, func(_ context.Context, r *hub.Request, _ struct{}) (string, error) {
			return pattern + ": " + r.Var("id") + r.Var("path"), nil
		})
	}

	ada := visit(h, "ada")
	for _, room := range []string{"chat/7", "chat/news", "files/a/b"} {
		ada.send("join", room, `null`)
		ada.send("where", room, `null`)
	}
	// Output:
	// ada: ack {"members":1}
	// ada: ack "chat/{id}: 7"
	// ada: ack {"members":1}
	// ada: ack "chat/news: "
	// ada: ack {"members":1}
	// ada: ack "files/{path...}: a/b"
}

// Who may connect is decided before the upgrade; the answer is plain HTTP.
func ExampleOptions() {
	h := hub.New(&hub.Options{
		Identify: func(r *http.Request) (string, error) {
			user := r.URL.Query().Get("user") // a session or a token, in earnest
			if user == "" {
				return "", message.Errorf(message.Unauthenticated, "sign in first")
			}
			return user, nil
		},
		Connect: func(_ context.Context, p *hub.Peer) {
			_ = p.Send(message.New("greeting", "hello "+p.User()))
		},
	})

	visit(h, "")
	visit(h, "ada").print()
	// Output:
	// transport: refused: sign in first
	// ada: greeting "hello ada"
}
