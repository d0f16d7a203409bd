package hub_test

import (
	"context"
	"errors"
	"fmt"
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

// game is the state of a room. It has no lock: the race detector would see two
// handlers in it.
type game struct {
	d      *diary
	number int
	moves  []string
}

const (
	move  message.Kind[string]           = "move"
	moves message.Call[struct{}, string] = "moves"
)

func (g *game) move(_ context.Context, _ *hub.Request, m string) error {
	g.moves = append(g.moves, m)
	return nil
}

func (g *game) list(context.Context, *hub.Request, struct{}) (string, error) {
	return fmt.Sprint(g.number, " ", strings.Join(g.moves, " ")), nil
}

func (g *game) Close() error {
	g.d.note("close %d", g.number)
	return nil
}

// gameHub numbers the states that it opens.
func gameHub(t *testing.T, d *diary, opts *hub.Options) (*hub.Hub, *hub.StateScope[game]) {
	t.Helper()
	h := newHub(t, opts)
	var mu sync.Mutex
	opened := 0
	games := hub.RoomsOf(h, "game/{id}", nil, func(_ context.Context, r *room.Room) (*game, error) {
		mu.Lock()
		defer mu.Unlock()
		opened++
		d.note("open %s %d", r.Name(), opened)
		return &game{d: d, number: opened}, nil
	})
	hub.OnRoom(games, move, (*game).move)
	hub.ReplyRoom(games, moves, (*game).list)
	return h, games
}

func TestStateLivesAsLongAsTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h, games := gameHub(t, &d, nil)
		hub.Reply(games, where, answerAs("stateless")) // such handlers fit too
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("game/1", nil)
		b.Join("game/1", nil)
		b.Join("game/1", nil)
		b.Join("game/2", nil)
		d.want(t, "open game/1 1", "open game/2 2")
		a.Send("game/1", move.New("e4"))
		synctest.Wait()
		if got, _ := hubtest.Ask(b, "game/1", moves, struct{}{}); got != "1 e4" {
			t.Errorf("game/1: %q", got)
		}
		if got, _ := hubtest.Ask(b, "game/2", moves, struct{}{}); got != "2 " {
			t.Errorf("game/2: %q", got)
		}
		if got, _ := hubtest.Ask(b, "game/2", where, ""); got != "stateless id=2" {
			t.Errorf("stateless: %q", got)
		}
		a.Leave("game/1")
		d.want(t)
		b.Close()
		synctest.Wait()
		d.mu.Lock()
		if got := strings.Join(d.notes, ","); got != "close 1,close 2" && got != "close 2,close 1" {
			t.Errorf("happened %s", got)
		}
		d.notes = nil
		d.mu.Unlock()
		a.Join("game/1", nil)
		d.want(t, "open game/1 3")
		if got, _ := hubtest.Ask(a, "game/1", moves, struct{}{}); got != "3 " {
			t.Errorf("the room that filled again has %q", got)
		}
	})
}

// TestOneStateForAllWhoComeAtOnce, also while opening takes its time.
func TestOneStateForAllWhoComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, nil)
		hub.RoomsOf(h, "game/{id}", nil, func(context.Context, *room.Room) (*game, error) {
			d.note("open")
			<-time.After(time.Second)
			return &game{d: &d}, nil
		})
		clients := dialN(t, h, 10)
		for _, c := range clients {
			c.Send("game/1", message.New("join", nil))
		}
		<-time.After(500 * time.Millisecond)
		if n := h.Room("game/1").Len(); n != 0 {
			t.Errorf("%d members before the state is there", n)
		}
		clients[0].Cut() // while it waits
		<-time.After(time.Second)
		if n := h.Room("game/1").Len(); n != 9 {
			t.Errorf("%d members", n)
		}
		for _, c := range clients[1:] {
			c.Close()
		}
		synctest.Wait()
		d.want(t, "open", "close 0")
	})
}

// TestHandlersOfARoomRunOneAtATime, whichever peer they are for.
func TestHandlersOfARoomRunOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h, _ := gameHub(t, &d, nil)
		clients := dialN(t, h, 8)
		for _, c := range clients {
			c.Join("game/1", nil)
		}
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				for i := range 50 {
					c.Send("game/1", move.New(fmt.Sprint(i)))
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		got, err := hubtest.Ask(clients[0], "game/1", moves, struct{}{})
		if n := len(strings.Fields(got)); n != 401 || err != nil {
			t.Fatalf("%d moves, %v", n-1, err)
		}
	})
}

func TestRoomsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h, games := gameHub(t, &d, nil)
		hub.OnRoom(games, note, func(*game, context.Context, *hub.Request, string) error {
			<-time.After(time.Hour)
			return nil
		})
		a, b, c := hubtest.Dial(t, h), hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("game/1", nil)
		b.Join("game/1", nil)
		c.Join("game/2", nil)
		a.Send("game/1", note.New("think"))
		synctest.Wait()
		b.Send("game/1", move.New("waits"))
		start := time.Now()
		if _, err := c.Request("game/2", move.New("does not")); err != nil || time.Since(start) != 0 {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		_ = h.Room("game/1").Broadcast(t.Context(), note.New("nor does this"))
		b.ExpectType("note")
		b.Close() // who waits for its turn may leave
		synctest.Wait()
		if n := h.Room("game/1").Len(); n != 1 {
			t.Errorf("%d members", n)
		}
		<-time.After(time.Hour)
		if got, _ := hubtest.Ask(a, "game/1", moves, struct{}{}); got != "1 " {
			t.Errorf("moves %q", got)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name string
		open func() (*game, error)
		code message.Code
		log  string
	}{
		{"error for the client", func() (*game, error) { return nil, message.Errorf(message.Unavailable, "no table is free") }, message.Unavailable, ""},
		{"other error", func() (*game, error) { return nil, errors.New("disk full") }, message.Internal, "disk full"},
		{"panic", func() (*game, error) { panic("disk full") }, message.Internal, "disk full"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				fails := true
				h := newHub(t, &hub.Options{Log: book.logger()})
				hub.RoomsOf(h, "game/{id}", nil, func(context.Context, *room.Room) (*game, error) {
					if fails {
						return tt.open()
					}
					return &game{d: &diary{}}, nil
				})
				c := hubtest.Dial(t, h)
				for range 2 {
					wantCode(t, c.TryJoin("game/1", nil), tt.code)
				}
				if h.Stats().Rooms != 0 {
					t.Error("the room is there")
				}
				if tt.log == "" {
					book.wantLines(t)
				} else {
					book.wantLines(t, []string{"ERROR", tt.log, "type=join", c.ID()}, []string{"ERROR", tt.log})
				}
				fails = false // the next one tries again
				c.Join("game/1", nil)
			})
		})
	}
}

// TestEndingInsideAHandler: a handler may end its own peer, or take it out of the
// room, and uses the state until it returns; then the state is closed.
func TestEndingInsideAHandler(t *testing.T) {
	ends := map[string]func(*hub.Request){
		"close": func(r *hub.Request) { r.Peer.Close(message.CloseKicked, "out") },
		"leave": func(r *hub.Request) { r.Room.Leave(r.Peer) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				h, games := gameHub(t, &d, nil)
				hub.OnRoom(games, note, func(g *game, ctx context.Context, r *hub.Request, _ string) error {
					end(r)
					<-time.After(time.Second)
					d.note("%d still open", g.number)
					return nil
				})
				c := hubtest.Dial(t, h)
				c.Join("game/1", nil)
				c.Send("game/1", note.New(""))
				<-time.After(2 * time.Second)
				if h.Room("game/1").Len() != 0 {
					t.Error("it is still in the room")
				}
				c.Close()
				synctest.Wait()
				d.want(t, "open game/1 1", "1 still open", "close 1")
			})
		})
	}
}

// TestAskInsideAStatefulHandler: the turn is held meanwhile, the answer is read.
func TestAskInsideAStatefulHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h, games := gameHub(t, &d, nil)
		hub.OnRoom(games, note, func(g *game, ctx context.Context, r *hub.Request, what string) error {
			ok, err := hub.Ask(ctx, r.Peer, sure, what)
			g.moves = append(g.moves, fmt.Sprint(what, ok))
			return err
		})
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		for _, c := range []*hubtest.Client{a, b} {
			c.Join("game/1", nil)
			c.Send("game/1", note.New("q"))
			synctest.Wait() // a has the turn
		}
		question := a.ExpectType("sure")
		b.Send("game/1", move.New("behind"))
		b.ExpectNone() // its own question waits for the turn
		ack(a, question, true)
		ack(b, b.ExpectType("sure"), true)
		synctest.Wait()
		if got, err := hubtest.Ask(a, "game/1", moves, struct{}{}); got != "1 qtrue qtrue behind" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// TestCloseIsOverBeforeTheNextOpens: what a state saves when it is closed, the
// next state of the room may read when it is opened.
func TestCloseIsOverBeforeTheNextOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, nil)
		hub.RoomsOf(h, "game/{id}", nil, func(context.Context, *room.Room) (*slowCloser, error) {
			d.note("open")
			return &slowCloser{&d}, nil
		})
		a, b, c := hubtest.Dial(t, h), hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("game/1", nil)
		go a.Leave("game/1")
		<-time.After(500 * time.Millisecond)
		b.Send("game/1", message.New("join", nil))
		gone := hubtest.Dial(t, h)
		gone.Send("game/1", message.New("join", nil))
		c.Join("game/2", nil) // another room does not wait
		d.want(t, "open", "close", "open")
		h.Peer(gone.ID()).Close(message.CloseKicked, "no longer waiting")
		synctest.Wait()
		if s := h.Stats(); s.Peers != 3 {
			t.Errorf("%+v", s)
		}
		<-time.After(time.Second)
		d.want(t, "closed", "open")
		if h.Room("game/1").Len() != 1 {
			t.Error("it has not joined")
		}
		b.Close()
		c.Close()
		<-time.After(2 * time.Second) // until their states are closed
	})
}

type slowCloser struct{ d *diary }

func (s *slowCloser) Close() error {
	s.d.note("close")
	<-time.After(time.Second)
	s.d.note("closed")
	return nil
}

func TestCloseFails(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				h := newHub(t, &hub.Options{Log: book.logger()})
				hub.RoomsOf(h, "game/{id}", nil, func(context.Context, *room.Room) (*badCloser, error) { return &badCloser{how}, nil })
				c := hubtest.Dial(t, h)
				for range 2 {
					c.Join("game/1", nil)
					c.Leave("game/1")
				}
				book.wantLines(t, []string{"ERROR", "cannot save", "type=close"}, []string{"ERROR", "cannot save"})
			})
		})
	}
}

type badCloser struct{ how string }

func (b *badCloser) Close() error {
	if b.how == "panic" {
		panic("cannot save")
	}
	return errors.New("cannot save")
}
