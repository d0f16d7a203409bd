package proof_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// What is wrong in the programs of many tutorials, with the Go client; the rows
// are those of docs/defects.md.

// chatServer has rooms that show who is there.
func chatServer(t *testing.T) *server {
	return serve(t, hub.Options{}, func(h *hub.Hub) {
		hub.On(h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}}), say, func(ctx context.Context, r *hub.Request, in text) error {
			return r.Others(ctx, say.New(in))
		})
	})
}

// guest is a client, and what it has seen of others.
type guest struct {
	*client.Client
	mu   sync.Mutex
	seen []string
}

func newGuest(t *testing.T, s *server, rooms ...string) *guest {
	t.Helper()
	c, err := client.Dial(t.Context(), "ws://hub/", &client.Options{Dial: s.dial})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{Client: c}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	for _, name := range rooms {
		r := c.Room(name)
		if _, err := r.Join(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		client.On(r, say, func(m client.Message[text]) { g.note("%s: %s", name, m.Content.Body) })
		r.OnPresence(func(p client.Presence) {
			for _, m := range p.Left {
				g.note("%s left %s, %d stay", m.ID, name, p.Count)
			}
		})
	}
	return g
}

func (g *guest) note(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, fmt.Sprintf(format, args...))
}

// take returns what was seen, in alphabetical order.
func (g *guest) take() []string {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.seen = nil }()
	return slices.Sorted(slices.Values(g.seen))
}

// TestNobodyStays, T9: whoever goes, in whatever way, is counted no longer; and
// who has not joined is told so instead of being a surprise to the server.
func TestNobodyStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chatServer(t)
		defer s.crash()
		early := newGuest(t, s)
		_, err := client.Send(t.Context(), early.Room("chat/1"), say, text{"too early"})
		var refusal *message.Error
		if !errors.As(err, &refusal) || refusal.Code != message.NotMember {
			t.Errorf("%v", err)
		}
		var all []*guest
		for range 10 {
			all = append(all, newGuest(t, s, "chat/1"))
		}
		for i, g := range all {
			if i < 5 {
				_ = g.Close(t.Context())
			}
		}
		synctest.Wait()
		if n := s.hub.Room("chat/1").Len(); n != 5 {
			t.Errorf("%d members, want 5", n)
		}
		s.network.Refuse(0)
		s.network.Cut()
		<-time.After(time.Minute)
		if st := s.hub.Stats(); st.Peers != 0 || st.Rooms != 0 {
			t.Errorf("%+v are left", st)
		}
	})
}

// TestFrozen, T12, T16, T17: a connection that says nothing more is found by both
// sides before the second sign of life is due; the others are told, and the client
// comes back by another one.
func TestFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chatServer(t)
		defer s.crash()
		frozen := newGuest(t, s, "chat/1") // the oldest connection
		id := frozen.Status().ID
		other := newGuest(t, s, "chat/1")
		<-time.After(time.Hour)
		s.network.Do(hubtest.Fault{Kind: hubtest.HalfOpen, Pick: 1})
		<-time.After(50 * time.Second) // less than two heartbeats of 25 s, and the wait before a reconnect
		if got := other.take(); !slices.Equal(got, []string{id + " left chat/1, 1 stay"}) &&
			!slices.Equal(got, []string{id + " left chat/1, 2 stay"}) {
			t.Errorf("the other one saw %q", got)
		}
		if st := frozen.Status(); st.State != client.Connected || st.ID == id || !frozen.Room("chat/1").Joined() {
			t.Errorf("%+v", st)
		}
		if n := s.hub.Room("chat/1").Len(); n != 2 {
			t.Errorf("%d members", n)
		}
		if n := s.hub.Stats().Peers; n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestThreeRooms, T15, T19: a client may be in several rooms; each is told once
// that it has gone, a post to another one is refused, and counts agree.
func TestThreeRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chatServer(t)
		defer s.crash()
		rooms := []string{"chat/1", "chat/2", "chat/3"}
		a, b, c := newGuest(t, s, rooms...), newGuest(t, s, rooms...), newGuest(t, s, "chat/4")
		if _, err := client.Send(t.Context(), a.Room("chat/3"), say, text{"hi"}); err != nil {
			t.Error(err)
		}
		_, err := client.Send(t.Context(), c.Room("chat/3"), say, text{"hi from outside"})
		var refusal *message.Error
		if !errors.As(err, &refusal) || refusal.Code != message.NotMember {
			t.Errorf("%v", err)
		}
		if got := b.take(); !slices.Equal(got, []string{"chat/3: hi"}) {
			t.Errorf("%q", got)
		}
		id := a.Status().ID
		_ = a.Close(t.Context())
		want := []string{id + " left chat/1, 1 stay", id + " left chat/2, 1 stay", id + " left chat/3, 1 stay"}
		if got := b.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		for _, name := range rooms {
			if n, m := s.hub.Room(name).Len(), b.Room(name).Count(); n != 1 || m != 1 {
				t.Errorf("%s has %d members, the client counts %d", name, n, m)
			}
		}
		if got := c.take(); len(got) > 0 {
			t.Errorf("who is elsewhere saw %q", got)
		}
	})
}
