package hub_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

// where is a question whose handlers answer who they are.
const where message.Call[string, string] = "where"

func answerAs(name string) func(context.Context, *hub.Request, string) (string, error) {
	return func(_ context.Context, r *hub.Request, _ string) (string, error) {
		said := []string{name}
		for _, v := range []string{"id", "path", "x", "y"} {
			if value := r.Var(v); value != "" {
				said = append(said, v+"="+value)
			}
		}
		return strings.Join(said, " "), nil
	}
}

func TestRoutesByPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		for _, p := range []string{"lobby", "chat/{id}", "chat/news", "files/{path...}", "a/{x}/c", "a/b/{y}", "{x}/{y}/log"} {
			hub.Reply(h.Rooms(p, nil), where, answerAs(p))
		}
		h.Rooms("silent/{id}", nil)
		hub.Reply(h, where, answerAs("hub"))
		c := hubtest.Dial(t, h)
		tests := map[string]string{
			"":              "hub",
			"lobby":         "lobby",
			"chat/7":        "chat/{id} id=7",
			"chat/*":        "chat/{id} id=*",
			"chat/{id}":     "chat/{id} id={id}",
			"chat/news":     "chat/news",
			"chat/ünï":      "chat/{id} id=ünï",
			"files/":        "files/{path...}",
			"files/a/b/c":   "files/{path...} path=a/b/c",
			"files/a//":     "files/{path...} path=a//",
			"a/b/c":         "a/b/{y} y=c",
			"a/7/c":         "a/{x}/c x=7",
			"chat/news/log": "{x}/{y}/log x=chat y=news",
			"silent/1":      "hub id=1", // the room has no handler of its own
		}
		for room, want := range tests {
			if room != "" {
				c.Join(room, nil)
			}
			if got, err := hubtest.Ask(c, room, where, ""); got != want || err != nil {
				t.Errorf("%q: %q, %v, want %q", room, got, err, want)
			}
		}
		for _, room := range []string{"chat/", "chat", "lobby/", "a/b", "Lobby", "chat/1/", "silent/"} {
			wantCode(t, c.TryJoin(room, nil), message.Denied)
		}
	})
}

// TestPrecedence: the room's handler, then the hub's, then the rest of the room,
// then the rest of the hub.
func TestPrecedence(t *testing.T) {
	all := map[string]func(h *hub.Hub, s *hub.Scope){
		"room":      func(_ *hub.Hub, s *hub.Scope) { hub.Reply(s, where, answerAs("room")) },
		"hub":       func(h *hub.Hub, _ *hub.Scope) { hub.Reply(h, where, answerAs("hub")) },
		"room rest": func(_ *hub.Hub, s *hub.Scope) { hub.OnRest(s, answer("room rest")) },
		"hub rest":  func(h *hub.Hub, _ *hub.Scope) { hub.OnRest(h, answer("hub rest")) },
	}
	tests := []struct{ have, inRoom, outside string }{
		{"room,hub,room rest,hub rest", "room", "hub"},
		{"hub,room rest,hub rest", "hub", "hub"},
		{"room rest,hub rest", "room rest", "hub rest"},
		{"hub rest", "hub rest", "hub rest"},
		{"room,room rest", "room", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.have, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				s := h.Rooms("chat", nil)
				for name := range strings.SplitSeq(tt.have, ",") {
					if register := all[name]; register != nil {
						register(h, s)
					}
				}
				c := hubtest.Dial(t, h)
				c.Join("chat", nil)
				for room, want := range map[string]string{"chat": tt.inRoom, "": tt.outside} {
					got, err := hubtest.Ask(c, room, where, "")
					if want == "" {
						wantCode(t, err, message.UnknownType)
					} else if got != want {
						t.Errorf("in %q: %q, %v, want %q", room, got, err, want)
					}
				}
			})
		})
	}
}

func answer(v any) hub.Handler {
	return func(context.Context, *hub.Request) (any, error) { return v, nil }
}

// TestRestGetsTheMessage: whole, but never one of the protocol's own.
func TestRestGetsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.OnRest(h.Rooms("chat/{id}", nil), func(_ context.Context, r *hub.Request) (any, error) {
			var raw message.Raw
			if err := r.Decode(&raw); err != nil {
				return nil, err
			}
			return fmt.Sprintf("%s %s %s %s %v", r.Type, r.ID, r.Room.Name(), raw.Data, raw.Binary), nil
		})
		c := hubtest.Dial(t, h)
		c.Join("chat/1", nil)
		for _, tt := range []struct {
			content any
			want    string
		}{
			{map[string]int{"a": 1}, `any/thing 2 chat/1 {"a":1} false`},
			{[]byte("a\nb"), "any/thing 3 chat/1 a\nb true"},
			{nil, "any/thing 4 chat/1  false"},
		} {
			raw, err := c.Request("chat/1", message.New("any/thing", tt.content))
			var got string
			if err == nil {
				err = raw.Decode(nil, &got)
			}
			if got != tt.want || err != nil {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		}
		for _, system := range []string{"welcome", "pong", "joined", "left", "presence", "gap", "bye"} {
			for _, room := range []string{"chat/1", "chat/2", "nowhere", ""} { // joined only the first
				_, err := c.Request(room, message.New(system, nil))
				wantCode(t, err, message.UnknownType)
			}
		}
	})
}

func TestMiddlewareOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		tag := func(name string) hub.Middleware {
			return func(next hub.Handler) hub.Handler {
				return func(ctx context.Context, r *hub.Request) (any, error) {
					d.note("%s", name)
					v, err := next(ctx, r)
					d.note("/%s", name)
					return v, err
				}
			}
		}
		h := newHub(t, nil)
		chat := h.Rooms("chat", nil)
		other := h.Rooms("other", nil)
		hub.Reply(chat, where, answerAs("")) // before Use, and wrapped all the same
		hub.Reply(h, sum, func(context.Context, *hub.Request, []int) (int, error) { return 0, nil })
		hub.OnRest(other, answer(nil))
		chat.Use(tag("chat1"), tag("chat2"))
		h.Use(tag("hub1"))
		h.Use(tag("hub2"))
		c := hubtest.Dial(t, h)
		c.Join("chat", nil)
		c.Join("other", nil)
		d.want(t) // none for the protocol's own messages
		tests := []struct{ room, typ, want string }{
			{"chat", "where", "hub1 hub2 chat1 chat2 /chat2 /chat1 /hub2 /hub1"},
			{"chat", "sum", "hub1 hub2 /hub2 /hub1"},
			{"", "sum", "hub1 hub2 /hub2 /hub1"},
			{"other", "anything", "hub1 hub2 /hub2 /hub1"},
			{"", "anything", ""}, // no handler, no middleware
		}
		for _, tt := range tests {
			_, _ = c.Request(tt.room, message.New(tt.typ, nil))
			d.want(t, strings.Fields(tt.want)...)
		}
	})
}

func TestMiddlewareDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		h := newHub(t, nil)
		h.Use(func(next hub.Handler) hub.Handler {
			return func(ctx context.Context, r *hub.Request) (any, error) {
				var in string
				if err := r.Decode(&in); err != nil || in == "no" {
					return nil, message.Errorf(message.Denied, "not this one")
				}
				v, err := next(context.WithValue(ctx, key{}, "seen"), r)
				return fmt.Sprint(v, "!"), err
			}
		})
		hub.Reply(h, where, func(ctx context.Context, _ *hub.Request, in string) (string, error) {
			return fmt.Sprint(in, " ", ctx.Value(key{})), nil
		})
		c := hubtest.Dial(t, h)
		if got, err := hubtest.Ask(c, "", where, "yes"); got != "yes seen!" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		_, err := hubtest.Ask(c, "", where, "no")
		wantCode(t, err, message.Denied)
	})
}

// TestHandlersOfAPeerKeepItsOrder, while those of different peers overlap.
func TestHandlersOfAPeerKeepItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var running, most atomic.Int32
		h := newHub(t, nil)
		hub.On(h, note, func(_ context.Context, r *hub.Request, in string) error {
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(time.Second)
			running.Add(-1)
			if strings.HasPrefix(in, "a") {
				d.note("%s", in)
			}
			return nil
		})
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		var want []string
		for i := range 10 {
			a.Send("", note.New(fmt.Sprint("a", i)))
			b.Send("", note.New(fmt.Sprint("b", i)))
			want = append(want, fmt.Sprint("a", i))
		}
		start := time.Now()
		for _, c := range []*hubtest.Client{a, b} { // the answer stands behind them
			for range 2 {
				c.Send("", note.New("a last"))
			}
		}
		want = append(want, "a last", "a last", "a last", "a last")
		<-time.After(12500 * time.Millisecond)
		d.want(t, want...)
		if most.Load() != 2 {
			t.Errorf("%d handlers ran at once, want one for each peer; %v", most.Load(), time.Since(start))
		}
	})
}

// TestConcurrentHandlers run beside each other, at most 16 of a peer, and the
// peer's other messages do not wait for them.
func TestConcurrentHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		var d diary
		slow := func(_ context.Context, _ *hub.Request, in string) error {
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(time.Second)
			running.Add(-1)
			d.note("%s", in) // the content is still there
			return nil
		}
		h := newHub(t, nil)
		hub.On(h, message.Kind[string]("slow"), slow, hub.Concurrent)
		hub.On(h, note, func(_ context.Context, _ *hub.Request, in string) error { d.note("%s", in); return nil })
		c := hubtest.Dial(t, h)
		for range 16 {
			c.Send("", message.New("slow", "slow"))
		}
		c.Send("", note.New("at once"))
		synctest.Wait()
		d.want(t, "at once")
		c.Send("", message.New("slow", "slow"))
		c.Send("", note.New("behind the 17th"))
		synctest.Wait()
		d.want(t)
		<-time.After(1500 * time.Millisecond)
		d.mu.Lock()
		got := len(d.notes)
		d.mu.Unlock()
		if got != 17 || most.Load() != 16 {
			t.Errorf("%d notes, %d at once", got, most.Load())
		}
		<-time.After(time.Second)
		if most.Load() != 16 || running.Load() != 0 {
			t.Errorf("%d at once, %d still running", most.Load(), running.Load())
		}
	})
}

func TestConcurrentReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.Reply(h, message.Call[int, int]("wait"), func(_ context.Context, r *hub.Request, n int) (int, error) {
			<-time.After(time.Duration(n) * time.Second)
			return n, nil
		}, hub.Concurrent)
		c := hubtest.Dial(t, h)
		for i, n := range []int{3, 1, 2} {
			e := message.New("wait", n)
			e.ID = fmt.Sprint("q", i)
			c.Send("", e)
		}
		for _, want := range []string{"q1 1", "q2 2", "q0 3"} {
			e := c.ExpectType("ack")
			if got := fmt.Sprintf("%s %s", e.ID, e.Content.Data); got != want {
				t.Errorf("answer %q, want %q", got, want)
			}
		}
	})
}
