package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/room"
)

// slowHeads is an engine that takes a second to say where its logs are.
type slowHeads struct{ *memory.Engine }

func (e slowHeads) Heads(ctx context.Context, all ...engine.Topic) ([]engine.Position, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return e.Engine.Heads(ctx, all...)
}

// puttingIn returns a hub whose rooms take a second to enter, a client of it, and what
// counts how often the rule of the rooms was asked. MaxRooms is 1.
func puttingIn(t *testing.T) (h *hub.Hub, c *pipe, p *hub.Peer, ruled *int) {
	t.Helper()
	ruled = new(int)
	h = newHub(t, &hub.Options{MaxRooms: 1, Engine: slowHeads{memory.New(nil)}})
	rule := &hub.Rule{Delivery: room.Recoverable{Replay: 1}, Join: func(context.Context, *hub.Request) (any, error) { *ruled++; return nil, nil }}
	h.Rooms("log/{id}", rule)
	hub.RoomsOf(h, "game/{id}", &hub.Rule{Join: rule.Join}, func(context.Context, *room.Room) (*int, error) {
		<-time.After(time.Second)
		return new(int), nil
	})
	c = pipeSocket(t, h, "").(*pipe)
	synctest.Wait()
	c.received().take()
	return h, c, slices.Collect(h.Peers())[0], ruled
}

// answers are the messages that have come, in short.
func (p *pipe) answers(t *testing.T) string {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, f := range p.received().take() {
		got = append(got, inShort(t, f.data))
	}
	return fmt.Sprint(got)
}

// TestJoinWhileItIsPutIn: a client that joins a room into which the application is just
// putting it is answered as one that is there, when it is.
func TestJoinWhileItIsPutIn(t *testing.T) {
	for _, name := range []string{"log/1", "game/1"} {
		for how, tt := range map[string]struct {
			sends []string
			want  string // of the log, with what comes uninvited
			in    int
		}{
			"joins":                {[]string{"join"}, "[kept member kept]", 1},
			"joins twice":          {[]string{"join", "join"}, "[kept member kept member]", 1},
			"says what it has":     {[]string{`join","since":"before`}, "[kept true kept]", 1},
			"joins and leaves":     {[]string{"join", "leave"}, "[kept member kept ack]", 0},
			"joins, leaves, joins": {[]string{"join", "leave", "join"}, "[kept member kept ack member kept]", 1},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, c, p, ruled := puttingIn(t)
					before, err := h.Room("log/1").Publish(t.Context(), note.New("before"))
					if err != nil {
						t.Fatal(err)
					}
					if err := h.Room("log/1").Broadcast(t.Context(), note.New("kept")); err != nil {
						t.Fatal(err)
					}
					go func() {
						if err := p.Join(context.Background(), name, nil); err != nil {
							t.Error(err)
						}
					}()
					<-time.After(500 * time.Millisecond)
					for _, typ := range tt.sends {
						c.send([]byte(strings.ReplaceAll(`{"type":"`+typ+`","room":"`+name+`","id":"1"}`, "before", before.Cursor)), false)
					}
					if got := c.answers(t); got != "[]" {
						t.Errorf("early: %s", got)
					}
					<-time.After(time.Minute)
					want := tt.want
					if name != "log/1" {
						want = strings.NewReplacer("kept ", "", " kept", "", "true", "member").Replace(want)
					}
					if got := c.answers(t); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
					if n := h.Room(name).Len(); n != tt.in || len(p.Rooms()) != tt.in {
						t.Errorf("%d members, it is in %v", n, p.Rooms())
					}
					if again := len(tt.sends) / 3; *ruled != again {
						t.Errorf("the rule was asked %d times, want %d", *ruled, again)
					}
					c.cut()
					shutDown(t, h)
				})
			})
		}
	}
}

// TestJoinAfterAPutInThatFails: then the client joins as any other.
func TestJoinAfterAPutInThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, p, ruled := puttingIn(t)
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		failed := make(chan error, 1)
		go func() { failed <- p.Join(ctx, "log/1", nil) }()
		<-time.After(500 * time.Millisecond)
		c.send([]byte(`{"type":"join","room":"log/1","id":"1"}`), false)
		if err := receive(t, failed); err == nil {
			t.Error("it did not fail")
		}
		<-time.After(time.Minute)
		if got := c.answers(t); got != "[member]" || *ruled != 1 {
			t.Errorf("got %s, and the rule was asked %d times", got, *ruled)
		}
		c.cut()
		shutDown(t, h)
	})
}

// TestTakenOutWhileItJoins: then the client joins as any other, too.
func TestTakenOutWhileItJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, p, ruled := puttingIn(t)
		if err := h.Room("log/1").Broadcast(t.Context(), note.New("kept")); err != nil {
			t.Fatal(err)
		}
		if err := p.Join(t.Context(), "log/1", nil); err != nil {
			t.Fatal(err)
		}
		c.send([]byte(`{"type":"join","room":"log/1","id":"1"}`), false)
		<-time.After(500 * time.Millisecond)
		p.Leave("log/1")
		<-time.After(time.Minute)
		if got := c.answers(t); got != "[kept left member kept]" || *ruled != 1 || !h.Room("log/1").Has(p.ID()) {
			t.Errorf("got %s, and the rule was asked %d times", got, *ruled)
		}
		c.cut()
		shutDown(t, h)
	})
}

// TestPutInTwice: the second call waits for the first, for as long as it may.
func TestPutInTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, p, _ := puttingIn(t)
		go func() { _ = p.Join(context.Background(), "log/1", nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := p.Join(ctx, "log/1", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := p.Join(t.Context(), "log/1", nil); err != nil || !h.Room("log/1").Has(p.ID()) {
			t.Errorf("%v, in %v", err, p.Rooms())
		}
		c.cut()
		shutDown(t, h)
	})
}

// TestGoneWhileItIsPutIn: nobody waits for a room on behalf of a client that has gone.
func TestGoneWhileItIsPutIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, p, _ := puttingIn(t)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- p.Join(context.Background(), "log/1", nil) }()
		synctest.Wait()
		go func() { second <- p.Join(context.Background(), "log/1", nil) }()
		c.send([]byte(`{"type":"join","room":"log/1","id":"1"}`), false)
		synctest.Wait()
		c.cut()
		began := time.Now()
		if err := receive(t, second); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if s := h.Stats(); s.Peers != 0 {
			t.Errorf("%+v", s)
		}
		if err := receive(t, first); err != nil {
			t.Error(err)
		}
		shutDown(t, h)
	})
}

// TestAHookPutsInAgain: a hook that the join of a client calls may take it out and put it
// in again, and does not wait for that join.
func TestAHookPutsInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hooked := make(chan error, 10)
		h.Rooms("chat/{id}", &hub.Rule{Occupied: func(ctx context.Context, r *room.Room) {
			for p := range h.Peers() {
				p.Leave(r.Name())
				hooked <- p.Join(ctx, r.Name(), nil)
			}
		}})
		c := pipeSocket(t, h, "").(*pipe)
		synctest.Wait()
		c.received().take()
		c.send([]byte(`{"type":"join","room":"chat/1","id":"1"}`), false)
		c.send([]byte(`{"type":"ping"}`), false)
		if got := c.answers(t); !strings.Contains(got, "pong") {
			t.Errorf("got %s", got)
		}
		if err := receive(t, hooked); err != nil {
			t.Error(err)
		}
		c.cut()
		shutDown(t, h)
	})
}
