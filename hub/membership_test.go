package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestJoinRule: the rule sees who, where and what, and decides.
func TestJoinRule(t *testing.T) {
	type card struct {
		Name string `json:"name"`
	}
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		h := newHub(t, &hub.Options{Identify: byHeader, Log: book.logger()})
		h.Rooms("chat/{id}", &hub.Rule{Join: func(_ context.Context, r *hub.Request) (any, error) {
			var c card
			if err := r.Decode(&c); err != nil {
				return nil, err
			}
			switch r.Var("id") {
			case "none":
				return nil, message.Errorf(message.Denied, "not %s", c.Name)
			case "fail":
				return nil, errors.New("the database is down")
			case "panic":
				panic("the database is down")
			case "unknown state":
				return func() {}, nil
			}
			return fmt.Sprintf("%s %s %s %s", c.Name, r.Peer.User(), r.Room.Name(), r.Type), nil
		}, Presence: &room.Presence{}})
		c := dialAs(t, h, "ana")
		c.Join("chat/1", card{"Ana"})
		for id, state := range h.Room("chat/1").Members() {
			if id != c.ID() || state != "Ana ana chat/1 join" {
				t.Errorf("member %s %v", id, state)
			}
		}
		for room, code := range map[string]message.Code{
			"chat/none": message.Denied, "chat/fail": message.Internal, "chat/panic": message.Internal, "chat/unknown state": message.Internal,
		} {
			err := c.TryJoin(room, card{"Ana"})
			wantCode(t, err, code)
			if strings.Contains(err.Error(), "database") || room == "chat/none" && !strings.Contains(err.Error(), "not Ana") {
				t.Errorf("%s: the client was told %q", room, err)
			}
			_, err = c.Request(room, note.New("inside?"))
			wantCode(t, err, message.NotMember)
		}
		err := c.TryJoin("chat/2", 7)
		wantCode(t, err, message.Invalid)
		if s := h.Stats(); s.Rooms != 1 {
			t.Errorf("%d rooms after refused joins", s.Rooms)
		}
		if n := len(book.lines()); n != 3 {
			t.Errorf("%d lines in the log, want fail, panic and unknown state: %q", n, book.lines())
		}
	})
}

// TestGoneWhileTheRuleDecides: who is not there any more does not join.
func TestGoneWhileTheRuleDecides(t *testing.T) {
	for _, how := range []string{"closed", "cut"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				h := newHub(t, &hub.Options{Heartbeat: 500 * time.Millisecond})
				slow := &hub.Rule{Presence: &room.Presence{}, Join: func(context.Context, *hub.Request) (any, error) {
					<-time.After(time.Second)
					return nil, nil
				}}
				hub.RoomsOf(h, "game/{id}", slow, func(context.Context, *room.Room) (*game, error) { return &game{d: &d}, nil })
				witness, c := hubtest.Dial(t, h), hubtest.Dial(t, h)
				witness.Join("game/1", nil)
				c.Send("game/1", message.New("join", nil))
				synctest.Wait()
				if how == "closed" {
					h.Peer(c.ID()).Close(message.CloseKicked, "no")
				} else {
					c.Cut()
				}
				<-time.After(2 * time.Second)
				witness.ExpectNone()
				if n := h.Room("game/1").Len(); n != 1 {
					t.Errorf("%d members", n)
				}
				d.want(t)
				witness.Leave("game/1")
				d.want(t, "close 0") // nobody else holds the state
			})
		})
	}
}

func TestMaxRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		h.Rooms("chat/{id}", nil)
		c := hubtest.Dial(t, h)
		for i := range 100 {
			c.Join(fmt.Sprint("chat/", i), nil)
		}
		wantCode(t, c.TryJoin("chat/100", nil), message.Denied)
		c.Join("chat/7", nil) // one that it is in already
		c.Leave("chat/7")
		c.Join("chat/100", nil)
		wantCode(t, c.TryJoin("chat/7", nil), message.Denied)
		hubtest.Dial(t, h).Join("chat/7", nil) // the limit is of one connection
	})
}

// TestMaxRoomsAtOnce: the limit holds as well where the application puts a peer into
// several rooms at once, of which each takes its time.
func TestMaxRoomsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{MaxRooms: 2})
		hub.RoomsOf(h, "chat/{id}", nil, func(context.Context, *room.Room) (*int, error) {
			<-time.After(time.Second)
			return new(int), nil
		})
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		var refused atomic.Int64
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if err := p.Join(t.Context(), fmt.Sprint("chat/", i), nil); err != nil {
					wantCode(t, err, message.Denied)
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if n := len(p.Rooms()); n != 2 || refused.Load() != 8 {
			t.Errorf("in %d rooms, and refused %d times", n, refused.Load())
		}
	})
}

// TestNoRoomWithoutAName: what matches every name does not make a room of none.
func TestNoRoomWithoutAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		h.Rooms("{room...}", nil)
		c := hubtest.Dial(t, h)
		wantCode(t, h.Peer(c.ID()).Join(t.Context(), "", nil), message.Denied)
		if n := h.Stats().Rooms; n != 0 {
			t.Errorf("there are %d rooms", n)
		}
	})
}

// TestLeaveIsExact with few and with many rooms, which are kept differently.
func TestLeaveIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		c, other := hubtest.Dial(t, h), hubtest.Dial(t, h)
		in := map[int]bool{}
		r := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			i := r.IntN(20)
			room := fmt.Sprint("chat/", i)
			if r.IntN(2) == 0 {
				c.Join(room, nil)
				in[i] = true
			} else {
				c.Leave(room)
				delete(in, i)
			}
			for j := range 20 {
				room := fmt.Sprint("chat/", j)
				_, err := c.Request(room, say.New(text{"?"}))
				if (err == nil) != in[j] || h.Room(room).Has(c.ID()) != in[j] {
					t.Fatalf("%s: in it %v, says the model; %v", room, in[j], err)
				}
			}
		}
		if got := len(h.Peer(c.ID()).Rooms()); got != len(in) {
			t.Fatalf("%d rooms, want %d", got, len(in))
		}
		other.ExpectNone()
	})
}

// TestCountsAfterChurn (T13, T15): the number of members that a join is told
// equals the model's, and rooms that have emptied are gone.
func TestCountsAfterChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		h.Rooms("chat/{id}", nil)
		clients := dialN(t, h, 20)
		model := map[int]map[int]bool{0: {}, 1: {}, 2: {}}
		r := rand.New(rand.NewPCG(3, 4))
		for range 2000 {
			i, n := r.IntN(len(clients)), r.IntN(3)
			room := fmt.Sprint("chat/", n)
			if r.IntN(2) == 0 {
				clients[i].Leave(room)
				delete(model[n], i)
				continue
			}
			raw, err := clients[i].Request(room, message.New("join", nil))
			var ack struct {
				Members int `json:"members"`
			}
			if err == nil {
				err = json.Unmarshal(raw.Data, &ack)
			}
			model[n][i] = true
			if err != nil || ack.Members != len(model[n]) || h.Room(room).Len() != len(model[n]) {
				t.Fatalf("%s has %d members, the model %d: %v", room, ack.Members, len(model[n]), err)
			}
		}
		for n := range model {
			for _, c := range clients {
				c.Leave(fmt.Sprint("chat/", n))
			}
		}
		if s := h.Stats(); s.Rooms != 0 {
			t.Errorf("%d rooms are left", s.Rooms)
		}
	})
}

// TestTakenOutByTheApplication: Room.Leave works for peers as for other members;
// the rest of the room is told, and the way back is past the rule.
func TestTakenOutByTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		banned := map[string]bool{}
		h := newHub(t, nil)
		rooms := h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}, Join: func(_ context.Context, r *hub.Request) (any, error) {
			if banned[r.Peer.ID()] {
				return nil, message.Errorf(message.Denied, "you are banned")
			}
			return nil, nil
		}})
		hub.On(rooms, say, toOthers)
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("chat/1", nil)
		b.Join("chat/1", nil)
		banned[a.ID()] = true
		if !h.Room("chat/1").Leave(h.Peer(a.ID())) {
			t.Fatal("it was not in the room")
		}
		if e := b.ExpectType("left"); e.From != a.ID() {
			t.Fatalf("left from %q", e.From)
		}
		_, err := a.Request("chat/1", say.New(text{"hi"}))
		wantCode(t, err, message.NotMember)
		wantCode(t, a.TryJoin("chat/1", nil), message.Denied)
		a.Leave("chat/1")
		banned[a.ID()] = false
		a.Join("chat/1", nil)
		b.ExpectType("joined")
		b.ExpectNone()
	})
}

// TestMembershipIsExact is the property of docs/protocol.md, section 7: whoever
// joins and leaves while others broadcast gets nothing before the ack of its
// join, nothing after that of its leave, and everything in between.
func TestMembershipIsExact(t *testing.T) {
	h := chatHubWithoutBubble()
	stop, done := make(chan struct{}), sync.WaitGroup{}
	send := []func(e message.Envelope){
		func(e message.Envelope) { _ = h.Room("chat/1").Broadcast(context.Background(), e) },
		func(e message.Envelope) { _ = h.BroadcastTo(context.Background(), []string{"chat/2", "chat/1"}, e) },
	}
	for i, send := range send {
		done.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Microsecond): // or the inboxes would overflow
					send(message.New(fmt.Sprint("from ", i), n))
				}
			}
		})
	}
	var clients sync.WaitGroup
	for range 3 {
		c := pipeSocket(t, h, "")
		clients.Go(func() {
			w := watch{next: map[string]int{}}
			for range 150 {
				c.send([]byte(`{"type":"join","room":"chat/1","id":"join"}`), false)
				for heard := w.heard; w.heard == heard && !w.over; {
					w.read(t, c)
				}
				c.send([]byte(`{"type":"leave","room":"chat/1","id":"leave"}`), false)
			}
			c.send([]byte(`{"type":"ping","id":"end"}`), false)
			for !w.over {
				w.read(t, c)
			}
			c.cut()
		})
	}
	clients.Wait()
	close(stop)
	done.Wait()
	if err := h.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// watch checks what one member gets, frame by frame.
type watch struct {
	in, over bool
	heard    int
	next     map[string]int // by sender
}

func (w *watch) read(t *testing.T, c socket) {
	t.Helper()
	c.received().wait(t, 1)
	for _, f := range c.received().take() {
		w.see(t, f)
	}
}

func (w *watch) see(t *testing.T, f frame) {
	t.Helper()
	var e struct {
		Type, ID string
		Content  json.RawMessage
	}
	if err := json.Unmarshal([]byte(f.data), &e); err != nil || f.end {
		t.Errorf("%s: %v", f.data, err)
		w.over = true
		return
	}
	switch {
	case e.Type == "ack":
		if w.in == (e.ID == "join") {
			t.Errorf("in the room: %v; got %s", w.in, f.data)
		}
		w.in = e.ID == "join"
		clear(w.next)
	case strings.HasPrefix(e.Type, "from "):
		n, _ := strconv.Atoi(string(e.Content))
		if last, ok := w.next[e.Type]; !w.in || ok && last != n {
			t.Errorf("in the room: %v; expected %d, got %s", w.in, last, f.data)
		}
		w.next[e.Type] = n + 1
		w.heard++
	case e.ID == "end":
		w.over = true
	}
}

func chatHubWithoutBubble() *hub.Hub {
	h := hub.New(nil)
	hub.On(h.Rooms("chat/{id}", nil), say, toOthers)
	return h
}
