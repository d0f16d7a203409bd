package docs_test

//doc:imports
import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

//doc:end

//doc:kinds
type Text struct {
	Body string `json:"body"`
}

type Guest struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until"`
}

const (
	Say    message.Kind[Text]        = "chat.say"    // one way
	Invite message.Call[Guest, Text] = "chat.invite" // with an answer
)

//doc:end

//doc:codec

// v1 is a message.Codec, for &hub.Options{Codec: v1{}}.
type v1 struct{}

func (v1) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (v1) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

//doc:end

const Seen message.Kind[time.Time] = "seen"

type Public struct {
	Name string `json:"name"`
}

func seen(context.Context, *hub.Request, time.Time) error       { return nil }
func say(ctx context.Context, r *hub.Request, in Text) error    { return r.Others(ctx, Say.New(in)) }
func invite(context.Context, *hub.Request, Guest) (Text, error) { return Text{"come"}, nil }
func rest(context.Context, *hub.Request) (any, error)           { return "no handler", nil }
func mayRead(_ context.Context, user, room string) bool         { return user == room }
func users(r *http.Request) (string, error)                     { return r.URL.Query().Get("user"), nil }

func handlers(h *hub.Hub, chat *hub.Scope) {
	//doc:handlers
	hub.On(h, Seen, seen)           // messages of every room and of none
	hub.On(chat, Say, say)          // messages to the rooms of one pattern
	hub.Reply(chat, Invite, invite) // the value is the answer
	hub.OnRest(h, rest)             // everything that has no handler of its own
	//doc:end
}

//doc:stream
const Search message.Call[string, Text] = "chat.search"

func addSearch(chat *hub.Scope, find func(ctx context.Context, room, words string) iter.Seq2[Text, error]) {
	hub.Stream(chat, Search, func(ctx context.Context, r *hub.Request, words string) iter.Seq2[Text, error] {
		return find(ctx, r.Room.Name(), words) // is asked for no more than the client takes
	})
}

//doc:end

//doc:askall
const Vote message.Call[string, bool] = "chat.vote"

func vote(ctx context.Context, h *hub.Hub, room, motion string) (yes int) {
	for answer := range hub.AskAll(ctx, h.Members(room), Vote, motion) { // as they come
		if answer.Err == nil && answer.Value { // an error of those who do not answer in time, too
			yes++
		}
	}
	return yes
}

//doc:end

//doc:identify

// bearer is for Options.Identify: it reads what the client's option token has said.
func bearer(verify func(token string) (user string, err error)) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		for offer := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "bearer."); ok {
				return verify(token)
			}
		}
		return "", nil // anonymous; an error refuses the connection
	}
}

//doc:end

func rooms(h *hub.Hub) *hub.Scope {
	//doc:rooms
	chat := h.Rooms("chat/{id}", &hub.Rule{
		Join: func(ctx context.Context, r *hub.Request) (any, error) {
			if !mayRead(ctx, r.Peer.User(), r.Var("id")) {
				return nil, message.Errorf(message.Denied, "members only")
			}
			return Public{Name: r.Peer.User()}, nil // what fellow members see
		},
		Presence: &room.Presence{Grace: 10 * time.Second},
		Delivery: room.Ephemeral{Slow: message.DropOldest},
	})
	//doc:end
	return chat
}

const Mood message.Kind[Public] = "chat.mood"

func moods(chat *hub.Scope) {
	//doc:mood
	hub.On(chat, Mood, func(ctx context.Context, r *hub.Request, in Public) error {
		return r.Room.Update(ctx, r.Peer, in) // the others are told, if it differs
	})
	//doc:end
}

//doc:state
type Step struct{ X, Y int }

const Move message.Kind[Step] = "game.move"

type Game struct{ x, y int }

func (g *Game) move(ctx context.Context, r *hub.Request, s Step) error {
	g.x, g.y = g.x+s.X, g.y+s.Y // no lock
	return r.All(ctx, Move.New(Step{g.x, g.y}))
}

func addGames(h *hub.Hub) {
	games := hub.RoomsOf(h, "game/{id}", nil, func(context.Context, *room.Room) (*Game, error) {
		return &Game{}, nil
	})
	hub.OnRoom(games, Move, (*Game).move)
}

//doc:end

//doc:ending

// serve runs srv until ctx ends, which may be that of signal.NotifyContext.
func serve(ctx context.Context, srv *http.Server, h *hub.Hub) error {
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := h.Shutdown(end)                     // first: clients are told when to come back, a few at a time
	return errors.Join(err, srv.Shutdown(end)) // net/http knows nothing of open WebSockets
}

//doc:end

func script(h *hub.Hub, mux *http.ServeMux) {
	//doc:script
	mux.Handle("/ws", h)
	mux.Handle("/hubbub.js", hub.Script())
	//doc:end
}

func deliveries(h *hub.Hub) {
	//doc:deliveries
	h.Rooms("cursors/{id}", &hub.Rule{Delivery: room.Ephemeral{Slow: message.DropOldest}})
	h.Rooms("support/{id}", &hub.Rule{Delivery: room.Recoverable{Keep: 500, KeepFor: 24 * time.Hour, Replay: 50}})
	h.Rooms("prices/{market}", &hub.Rule{Delivery: room.Latest{Keys: 200}})
	//doc:end
}

//doc:history
type Older struct {
	Before string `json:"before"` // the cursor of a message; "": the latest
	Most   int    `json:"most"`
}

const History message.Call[Older, room.Page] = "support.history"

func addHistory(support *hub.Scope) {
	hub.Reply(support, History, func(ctx context.Context, r *hub.Request, in Older) (room.Page, error) {
		return r.Room.History(ctx, in.Before, in.Most)
	})
}

//doc:end

func notify(ctx context.Context, h *hub.Hub) error {
	//doc:inbox
	inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{})
	_, err := inbox.Send(ctx, "ana", Say.New(Text{"your order has left"})) // there or not
	//doc:end
	return err
}
