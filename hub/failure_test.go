package hub_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

const cause = "the password is swordfish"

// TestFailuresStayOnTheServer: whatever goes wrong in a handler, its sender is
// told that and no more, the log has it once, and everything goes on.
func TestFailuresStayOnTheServer(t *testing.T) {
	for how, tt := range map[string]struct {
		code   message.Code
		logged bool
	}{
		"error":    {message.Internal, true},
		"panic":    {message.Internal, true},
		"deadline": {message.Timeout, false},
		"refusal":  {message.Denied, false},
		"nil map":  {message.Internal, true},
		"answer":   {message.Internal, true},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				h := newHub(t, &hub.Options{Log: book.logger()})
				hub.Reply(h, message.Call[string, any]("fail"), goWrong)
				a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
				_, err := a.Request("", message.New("fail", how))
				var e *message.Error
				if !errors.As(err, &e) || e.Code != tt.code || strings.Contains(e.Message, "swordfish") {
					t.Errorf("the sender was told %v", err)
				}
				b.ExpectNone()
				if _, err := a.Request("", message.New("fail", "not at all")); err != nil {
					t.Errorf("the next message: %v", err)
				}
				if tt.logged {
					book.wantLines(t, []string{"ERROR", "type=fail", "conn=" + a.ID()})
				} else {
					book.wantLines(t)
				}
			})
		})
	}
}

func goWrong(_ context.Context, _ *hub.Request, how string) (any, error) {
	switch how {
	case "error":
		return nil, errors.New(cause)
	case "panic":
		panic(cause)
	case "deadline":
		return nil, fmt.Errorf("%s: %w", cause, context.DeadlineExceeded)
	case "refusal":
		return nil, message.Errorf(message.Denied, "no")
	case "nil map":
		var m map[string]int
		m[cause] = 1
	case "answer":
		return make(chan int), nil // cannot be encoded
	}
	return nil, nil
}

func TestFailuresElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		h := newHub(t, &hub.Options{
			Log:        book.logger(),
			Disconnect: func(*hub.Peer, error) { panic(cause) },
		})
		h.Rooms("closed", &hub.Rule{Join: func(context.Context, *hub.Request) (any, error) { panic(cause) }})
		h.Rooms("odd", &hub.Rule{Presence: &room.Presence{}, Join: func(context.Context, *hub.Request) (any, error) { return make(chan int), nil }})
		c := hubtest.Dial(t, h)
		wantCode(t, c.TryJoin("closed", nil), message.Internal)
		wantCode(t, c.TryJoin("odd", nil), message.Internal)
		if s := h.Stats(); s != (hub.Stats{Peers: 1}) {
			t.Errorf("%+v", s)
		}
		c.Close()
		_ = c.Closed()
		synctest.Wait()
		book.wantLines(t, []string{"type=join"}, []string{"type=join"}, []string{"type=disconnect"})
	})
}

// TestAGoexitEndsThePeer: a handler that ends its goroutine, as testing.T.FailNow
// does, takes no more with it than its own peer.
func TestAGoexitEndsThePeer(t *testing.T) {
	const leave message.Call[string, string] = "quit"
	quit := func(context.Context, *hub.Request, string) (string, error) { runtime.Goexit(); return "", nil }
	two := func(c *hubtest.Client) { c.Send("", leave.New("x")); c.Send("", leave.New("y")) }
	for how, tt := range map[string]struct {
		what     string // in the log
		register func(h *hub.Hub)
		do       func(c *hubtest.Client)
	}{
		"handler": {"quit", func(h *hub.Hub) { hub.Reply(h, leave, quit) }, two},
		"concurrent": {
			"quit", func(h *hub.Hub) { hub.Reply(h, leave, quit, hub.Concurrent) },
			func(c *hubtest.Client) { c.Send("", leave.New("x")) },
		},
		"while another goroutine reads": {"quit", func(h *hub.Hub) {
			hub.Reply(h, leave, func(ctx context.Context, r *hub.Request, s string) (string, error) {
				_, _ = hub.Ask(ctx, r.Peer, sure, "?")
				return quit(ctx, r, s)
			})
		}, func(c *hubtest.Client) {
			hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
			two(c)
		}},
		"in the backlog": {"quit", func(h *hub.Hub) {
			hub.Reply(h, leave, func(ctx context.Context, r *hub.Request, s string) (string, error) {
				if s == "y" {
					return quit(ctx, r, s)
				}
				<-time.After(time.Minute) // a heartbeat makes another goroutine read
				return "", nil
			})
		}, func(c *hubtest.Client) {
			two(c)
			<-time.After(2 * time.Minute)
		}},
		"with a state": {"quit", func(h *hub.Hub) {
			hub.ReplyRoom(hub.RoomsOf(h, "room", nil, open), leave, func(_ *int, ctx context.Context, r *hub.Request, s string) (string, error) {
				return quit(ctx, r, s)
			})
		}, func(c *hubtest.Client) {
			c.Join("room", nil)
			c.Send("room", leave.New("x"))
		}},
		"rule": {"join", func(h *hub.Hub) {
			h.Rooms("room", &hub.Rule{Join: func(ctx context.Context, r *hub.Request) (any, error) { return quit(ctx, r, "") }})
		}, func(c *hubtest.Client) { c.Send("room", message.New("join", nil)) }},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				var d diary
				h := newHub(t, &hub.Options{
					Log:        book.logger(),
					Disconnect: func(_ *hub.Peer, reason error) { d.note("disconnect %s", closing(reason)) },
				})
				tt.register(h)
				c := hubtest.Dial(t, h)
				tt.do(c)
				if got := closing(c.Closed()); got != "server 1011 the server failed" {
					t.Errorf("ended with %q", got)
				}
				synctest.Wait()
				d.want(t, "disconnect server 1011 the server failed")
				book.wantLines(t, []string{"ERROR", "runtime.Goexit", "type=" + tt.what, "conn=" + c.ID()})
				if err := h.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAGoexitInConnectDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		var d diary
		h := newHub(t, &hub.Options{
			Log:        book.logger(),
			Connect:    func(context.Context, *hub.Peer) { runtime.Goexit() },
			Disconnect: func(_ *hub.Peer, reason error) { d.note("disconnect %s", closing(reason)) },
		})
		c := hubtest.Dial(t, h)
		if got := closing(c.Closed()); got != "server 1011 the server failed" {
			t.Errorf("ended with %q", got)
		}
		synctest.Wait()
		d.want(t, "disconnect server 1011 the server failed")
		book.wantLines(t, []string{"ERROR", "runtime.Goexit", "type=connect"})
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestAPanicInConnectDisconnects: whoever could not be prepared is not served, but
// comes back.
func TestAPanicInConnectDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		var d diary
		h := newHub(t, &hub.Options{
			Log:        book.logger(),
			Connect:    func(context.Context, *hub.Peer) { panic(cause) },
			Disconnect: func(_ *hub.Peer, reason error) { d.note("disconnect %s", closing(reason)) },
		})
		hub.On(h, note, func(context.Context, *hub.Request, string) error { d.note("handled"); return nil })
		c := hubtest.Dial(t, h)
		c.Send("", note.New("x"))
		if got := closing(c.Closed()); got != "server 1011 the server failed" {
			t.Errorf("ended with %q", got)
		}
		synctest.Wait()
		d.want(t, "disconnect server 1011 the server failed")
		book.wantLines(t, []string{"ERROR", "panicked", "type=connect"})
	})
}

// stuck is an engine that does not answer.
type stuck struct{ *memory.Engine }

func (stuck) Heads(ctx context.Context, _ ...engine.Topic) ([]engine.Position, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLeavingDuringAJoin is no failure of anybody's, whoever ends it and whatever
// the join waits for.
func TestLeavingDuringAJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		h := newHub(t, &hub.Options{Log: book.logger(), Identify: byHeader, Engine: stuck{memory.New(nil)}})
		h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		first, second, third := dialAs(t, h, "first"), dialAs(t, h, "second"), dialAs(t, h, "third")
		for _, c := range []*hubtest.Client{first, second, third} { // one asks the engine, the others wait for it
			c.Send("log/1", message.New("join", nil))
			synctest.Wait()
		}
		h.User("second").Disconnect(message.CloseRestart, "again")
		synctest.Wait()
		third.Cut()
		synctest.Wait()
		h.User("first").Disconnect(message.CloseKicked, "enough")
		synctest.Wait()
		book.wantLines(t)
		shutDown(t, h)
	})
}

// discreet is an engine that says only when it starts what it cannot keep.
type discreet struct {
	engine.Bus
	engine.Log
}

// TestMoreThanTheEngineKeeps: a rule that asks for it is refused aloud, at once if the
// engine can tell, and one that asks for much gets it.
func TestMoreThanTheEngineKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		much := room.Recoverable{Bytes: 1 << 30}
		h := newHub(t, &hub.Options{Log: book.logger()})
		wantPanic(t, "1073741824", func() { h.Rooms("log/{id}", &hub.Rule{Delivery: much}) })
		wantPanic(t, "1073741824", func() { hub.NewInbox(h, "inbox/{user}", much) })

		store := memory.New(nil)
		h = newHub(t, &hub.Options{Log: book.logger(), Engine: discreet{store, store}})
		h.Rooms("log/{id}", &hub.Rule{Delivery: much})
		_, err := h.Room("log/1").Publish(t.Context(), note.New("x"))
		wantCode(t, err, message.Unavailable)
		book.wantLines(t, []string{"ERROR", "the engine does not start", "log--id-", "1073741824"})

		h = newHub(t, &hub.Options{Log: book.logger()})
		h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{Bytes: 10 << 20}})
		for range 9 {
			if _, err := h.Room("log/1").Publish(t.Context(), note.New(strings.Repeat("x", 1<<20))); err != nil {
				t.Fatal(err)
			}
		}
		kept, before := 0, ""
		for more := true; more; kept++ { // each is a page
			p, err := h.Room("log/1").History(t.Context(), before, 0)
			if err != nil {
				t.Fatal(err)
			}
			before, more = p.Messages[0].Cursor, p.More
		}
		if kept != 9 {
			t.Errorf("%d messages of 1 MiB kept", kept)
		}
		shutDown(t, h)
	})
}

// TestErrorsRepeatAnyBytes: a message that wants an answer gets one, whatever is in
// the sentence that it is refused with.
func TestErrorsRepeatAnyBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		h := newHub(t, &hub.Options{Log: book.logger()})
		command := message.Call[[]byte, string]("command")
		hub.Reply(h, command, func(_ context.Context, _ *hub.Request, in []byte) (string, error) {
			return "", &message.Error{Code: message.Invalid, Message: fmt.Sprintf("no %s", in), Field: string(in)}
		})
		c := hubtest.Dial(t, h)
		_, err := hubtest.Ask(c, "", command, []byte("a\xff\xfeb"))
		var e *message.Error
		if !errors.As(err, &e) || *e != (message.Error{Code: message.Invalid, Message: "no a\uFFFDb", Field: "a\uFFFDb"}) {
			t.Errorf("the sender was told %#v", err)
		}
		h.Peer(c.ID()).Close(4321, "a\xffb")
		if got := content[bye](t, c.ExpectType("bye")); got.Reason != "a\uFFFDb" {
			t.Errorf("bye %+v", got)
		}
		book.wantLines(t)
	})
}

// ownCodec knows the types of its application, and no others.
type ownCodec struct{}

func (ownCodec) Marshal(v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return []byte(`"own ` + s + `"`), nil
	}
	return nil, fmt.Errorf("ownCodec: a %T", v)
}

func (ownCodec) Unmarshal(data []byte, v any) error {
	if s, ok := v.(*string); ok {
		*s = string(data)
		return nil
	}
	return fmt.Errorf("ownCodec: a %T", v)
}

// TestTheProtocolIsJSON: what the server itself has to say does not depend on the
// Codec of the application.
func TestTheProtocolIsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Codec: ownCodec{}})
		hub.Reply(h, where, answerAs("there"))
		c := hubtest.Dial(t, h)
		if raw, err := c.Request("", where.New("?")); err != nil || string(raw.Data) != `"own there"` {
			t.Errorf("%s, %v", raw.Data, err)
		}
		_, err := c.Request("", message.New("nothing", 1))
		wantCode(t, err, message.UnknownType)
		_, err = c.Request("nowhere", message.New("join", 1))
		wantCode(t, err, message.Denied)
		h.Peer(c.ID()).Close(4321, "enough")
		if got := content[bye](t, c.ExpectType("bye")); got.Reason != "enough" {
			t.Errorf("bye %+v", got)
		}
	})
}
