package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestBroadcasts: who gets what, each exactly once. The clients 0 to 5 are in
// the rooms x: 0 1 2, y: 2 3, z: 0 3 4; 5 is in none.
func TestBroadcasts(t *testing.T) {
	tests := []struct {
		name string
		send func(ctx context.Context, h *hub.Hub, id []string) error
		want string
	}{
		{"room", func(ctx context.Context, h *hub.Hub, _ []string) error {
			return h.Room("x").Broadcast(ctx, note.New("hi"))
		}, "0 1 2"},
		{"room except one", func(ctx context.Context, h *hub.Hub, id []string) error {
			return h.Room("x").Broadcast(ctx, note.New("hi"), room.Except(id[1]))
		}, "0 2"},
		{"room except several", func(ctx context.Context, h *hub.Hub, id []string) error {
			return h.Room("x").Broadcast(ctx, note.New("hi"), room.Except(id[1], id[2], id[1]), room.Except("nobody"))
		}, "0"},
		{"room except another room", func(ctx context.Context, h *hub.Hub, _ []string) error {
			return h.Room("x").Broadcast(ctx, note.New("hi"), room.ExceptRooms(h.Room("y")))
		}, "0 1"},
		{"room except rooms and one", func(ctx context.Context, h *hub.Hub, id []string) error {
			return h.Room("x").Broadcast(ctx, note.New("hi"), room.ExceptRooms(h.Room("y"), h.Room("nowhere")), room.Except(id[0]))
		}, "1"},
		{"several rooms", func(ctx context.Context, h *hub.Hub, _ []string) error {
			return h.BroadcastTo(ctx, []string{"x", "y", "nowhere", "x"}, note.New("hi"))
		}, "0 1 2 3"},
		{"several rooms except", func(ctx context.Context, h *hub.Hub, id []string) error {
			return h.BroadcastTo(ctx, []string{"x", "y"}, note.New("hi"), room.ExceptRooms(h.Room("z")), room.Except(id[1]))
		}, "2"},
		{"no rooms", func(ctx context.Context, h *hub.Hub, _ []string) error {
			return h.BroadcastTo(ctx, nil, note.New("hi"))
		}, ""},
		{"everybody", func(ctx context.Context, h *hub.Hub, _ []string) error { return h.Broadcast(ctx, note.New("hi")) }, "0 1 2 3 4 5"},
		{"everybody except", func(ctx context.Context, h *hub.Hub, id []string) error {
			return h.Broadcast(ctx, note.New("hi"), room.Except(id[5]), room.ExceptRooms(h.Room("x")))
		}, "3 4"},
		{"a room of no pattern", func(ctx context.Context, h *hub.Hub, _ []string) error {
			return h.Room("a/b/c").Broadcast(ctx, note.New("hi"))
		}, ""},
		{"an ended context", func(ctx context.Context, h *hub.Hub, _ []string) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			for _, err := range []error{
				h.Broadcast(ctx, note.New("hi")), h.Room("x").Broadcast(ctx, note.New("hi")), h.BroadcastTo(ctx, []string{"x"}, note.New("hi")),
			} {
				if err != context.Canceled {
					return fmt.Errorf("error %v", err)
				}
			}
			return nil
		}, ""},
		{"what cannot be encoded", func(ctx context.Context, h *hub.Hub, _ []string) error {
			e := message.New("note", func() {})
			for _, err := range []error{h.Broadcast(ctx, e), h.Room("x").Broadcast(ctx, e), h.BroadcastTo(ctx, []string{"x"}, e)} {
				if err == nil || !strings.Contains(err.Error(), "cannot be encoded") {
					return fmt.Errorf("error %v", err)
				}
			}
			return nil
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				h.Rooms("{name}", nil)
				clients := dialN(t, h, 6)
				ids := make([]string, len(clients))
				for i, c := range clients {
					ids[i] = c.ID()
				}
				for name, in := range map[string][]int{"x": {0, 1, 2}, "y": {2, 3}, "z": {0, 3, 4}} {
					for _, i := range in {
						clients[i].Join(name, nil)
					}
				}
				if err := tt.send(t.Context(), h, ids); err != nil {
					t.Fatal(err)
				}
				var got []string
				synctest.Wait()
				_ = h.Broadcast(t.Context(), message.New("end", nil))
				for i, c := range clients {
					for e := c.Next(); e.Type != "end"; e = c.Next() {
						got = append(got, fmt.Sprint(i))
					}
				}
				if got := strings.Join(got, " "); got != tt.want {
					t.Errorf("got by %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestBroadcastAddresses: what a receiver sees of where a message comes from.
func TestBroadcastAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		s := h.Rooms("{name}", nil)
		hub.On(s, message.Kind[string]("to all"), func(ctx context.Context, r *hub.Request, in string) error { return r.All(ctx, note.New(in)) })
		hub.On(s, message.Kind[string]("to others"), func(ctx context.Context, r *hub.Request, in string) error {
			return r.Others(ctx, note.New(in), room.ExceptRooms(h.Room("y")))
		})
		a, b, c := dialAs(t, h, "ana"), hubtest.Dial(t, h), hubtest.Dial(t, h)
		for _, client := range []*hubtest.Client{a, b, c} {
			client.Join("x", nil)
		}
		c.Join("y", nil)
		a.Send("x", message.New("to all", "1"))
		for _, client := range []*hubtest.Client{a, b, c} {
			if e := client.ExpectType("note"); e.Room != "x" || e.From != a.ID() || e.User != "ana" {
				t.Errorf("%+v", e)
			}
		}
		a.Send("x", message.New("to others", "2"))
		if e := b.ExpectType("note"); e.Room != "x" || e.From != a.ID() || e.User != "ana" {
			t.Errorf("%+v", e)
		}
		a.ExpectNone()
		c.ExpectNone()
		_ = h.BroadcastTo(t.Context(), []string{"y"}, note.New("3"))
		if e := c.ExpectType("note"); e.Room != "" || e.From != "" || !e.Timestamp.Equal(time.Now()) {
			t.Errorf("%+v", e)
		}
	})
}

// TestOthersNeedARoom: a message to no room has no others.
func TestOthersNeedARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.On(h, say, toOthers)
		hub.On(h, note, func(ctx context.Context, r *hub.Request, in string) error { return r.All(ctx, note.New(in)) })
		c := hubtest.Dial(t, h)
		for _, e := range []message.Envelope{say.New(text{"hi"}), note.New("hi")} {
			_, err := c.Request("", e)
			wantCode(t, err, message.Invalid)
		}
	})
}

// TestPublishFromHTTP: a room is reachable from any HTTP handler, beside which
// the hub is mounted.
func TestPublishFromHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		mux := http.NewServeMux()
		mux.Handle("/ws", h)
		mux.HandleFunc("POST /publish/{id}", func(_ http.ResponseWriter, r *http.Request) {
			go func() {
				_ = h.Room("chat/"+r.PathValue("id")).Broadcast(context.WithoutCancel(r.Context()), say.New(text{"from HTTP"}))
			}()
		})
		c, err := hubtest.DialRequest(t, mux, httptest.NewRequest("GET", "/ws", nil))
		if err != nil {
			t.Fatal(err)
		}
		c.Join("chat/1", nil)
		for _, path := range []string{"/publish/2", "/publish/1"} {
			mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path, nil))
		}
		if got := bodies(c, 1); got != "from HTTP" {
			t.Fatal(got)
		}
		c.ExpectNone()
	})
}

// TestARoomValueOutlivesItsMembers: one that was looked up early serves whoever
// comes later.
func TestARoomValueOutlivesItsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		early := h.Room("chat/1")
		for i := range 3 {
			c := hubtest.Dial(t, h)
			c.Join("chat/1", nil)
			_ = early.Broadcast(t.Context(), say.New(text{fmt.Sprint(i)}))
			if got := bodies(c, 1); got != fmt.Sprint(i) {
				t.Fatal(got)
			}
			c.Leave("chat/1")
			if early.Len() != 0 || h.Stats().Rooms != 0 {
				t.Fatalf("%d members, %d rooms", early.Len(), h.Stats().Rooms)
			}
		}
	})
}

// TestADeadReceiverStopsNobody (T13): members that are cut, frozen or closed while
// messages are under way cost the others nothing, not even the order.
func TestADeadReceiverStopsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		clients := dialN(t, h, 9)
		for _, c := range clients {
			c.Join("chat/1", nil)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 200 {
				clients[0].Send("chat/1", say.New(text{fmt.Sprint(i)}))
			}
		})
		for i, c := range clients[3:] {
			wg.Go([]func(){c.Cut, c.Close, func() { c.Freeze(true) }}[i%3])
		}
		wg.Wait()
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint(i))
		}
		for _, c := range clients[1:3] {
			if got := bodies(c, 200); got != strings.Join(want, " ") {
				t.Fatalf("got %s", got)
			}
		}
		<-time.After(time.Minute)
		if n := h.Room("chat/1").Len(); n != 3 {
			t.Errorf("%d members are left", n)
		}
	})
}

// TestVolatile: what may be dropped is, at a receiver that takes nothing, and
// only there.
func TestVolatile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		slow, quick := hubtest.Dial(t, h), hubtest.Dial(t, h)
		slow.Join("chat/1", nil)
		quick.Join("chat/1", nil)
		slow.Freeze(true)
		for _, e := range []message.Envelope{say.New(text{"1"}), note.New("typing").Volatile(), say.New(text{"2"})} {
			if err := h.Room("chat/1").Broadcast(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		slow.Freeze(false)
		if got := bodies(quick, 1) + hubtest.Expect(quick, note) + bodies(quick, 1); got != "1typing2" {
			t.Errorf("the quick one got %s", got)
		}
		if got := bodies(slow, 2); got != "1 2" {
			t.Errorf("the slow one got %s", got)
		}
		slow.ExpectNone()
	})
}

// TestPolicies of a room's rule: what a frozen member has when it thaws.
func TestPolicies(t *testing.T) {
	tests := []struct {
		policy      message.Policy
		first, last string // of what it got
		n           int
	}{
		{message.Disconnect, "0", "9", 10},
		{message.LatestOnly, "9", "9", 1},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t, nil)
			h.Rooms("{name}", &hub.Rule{Delivery: room.Ephemeral{Slow: tt.policy}})
			c := hubtest.Dial(t, h)
			c.Join("x", nil)
			c.Freeze(true)
			for i := range 10 {
				_ = h.Room("x").Broadcast(t.Context(), note.New(fmt.Sprint(i)))
			}
			c.Freeze(false)
			var got []string
			for range tt.n {
				got = append(got, hubtest.Expect(c, note))
			}
			c.ExpectNone()
			if got[0] != tt.first || got[len(got)-1] != tt.last {
				t.Errorf("policy %d: %v", tt.policy, got)
			}
		})
	}
}
