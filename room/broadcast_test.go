package room_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// crowd makes a room with members named a, b, c and so on.
func crowd(t *testing.T, m *room.Manager, name, ids string) (*room.Room, map[string]*member) {
	t.Helper()
	r, members := m.Get(name), map[string]*member{}
	for id := range strings.SplitSeq(ids, "") {
		members[id] = &member{id: id}
		join(t, r, members[id], nil)
	}
	return r, members
}

// heard is who has got something since, each as often as it did.
func heard(members map[string]*member) string {
	var ids []string
	for id := range strings.SplitSeq("abcdefghijklmnopqrstuvwxyz", "") {
		if m := members[id]; m != nil {
			ids = append(ids, strings.Repeat(id, len(m.take())))
		}
	}
	return strings.Join(ids, "")
}

// TestExcept with few and with many members, which are found differently.
func TestExcept(t *testing.T) {
	for _, ids := range []string{"abcde", "abcdefghijklmnopqrst"} {
		m := room.NewManager(nil)
		r, members := crowd(t, m, "r", ids)
		other := m.Get("other")
		join(t, other, members["b"], nil)
		join(t, other, &member{id: "stranger"}, nil)
		for _, tt := range []struct {
			opts    []room.BroadcastOption
			without string
		}{
			{nil, ""},
			{[]room.BroadcastOption{room.Except("a")}, "a"},
			{[]room.BroadcastOption{room.Except("nobody")}, ""},
			{[]room.BroadcastOption{room.Except()}, ""},
			{[]room.BroadcastOption{room.Except("e", "a", "e", "nobody")}, "ae"},
			{[]room.BroadcastOption{room.Except("a"), room.Except("c")}, "ac"},
			{[]room.BroadcastOption{room.ExceptRooms(other)}, "b"},
			{[]room.BroadcastOption{room.ExceptRooms(other, m.Get("empty")), room.Except("d")}, "bd"},
			{[]room.BroadcastOption{room.ExceptRooms(r)}, ids},
			{[]room.BroadcastOption{{}}, ""},
		} {
			if err := r.Broadcast(t.Context(), message.New("x", 1), tt.opts...); err != nil {
				t.Fatal(err)
			}
			want := ids
			for _, id := range tt.without {
				want = strings.ReplaceAll(want, string(id), "")
			}
			if got := heard(members); got != want {
				t.Errorf("without %q: heard by %q, want %q", tt.without, got, want)
			}
		}
	}
}

// TestBroadcastToSeveral reaches everybody once, whichever manager a room is of.
func TestBroadcastToSeveral(t *testing.T) {
	m := room.NewManager(nil)
	x, members := crowd(t, m, "x", "abc")
	y, z := m.Get("y"), room.NewManager(nil).Get("z")
	for id, r := range map[string]*room.Room{"d": y, "e": z} {
		members[id] = &member{id: id}
		join(t, r, members[id], nil)
	}
	join(t, y, members["b"], nil)
	join(t, z, members["c"], nil)
	for _, tt := range []struct {
		rooms []*room.Room
		opts  []room.BroadcastOption
		want  string
	}{
		{[]*room.Room{x, y, z}, nil, "abcde"},
		{[]*room.Room{y, y}, nil, "bd"},
		{[]*room.Room{m.Get("empty"), z}, nil, "ce"},
		{[]*room.Room{x, z}, []room.BroadcastOption{room.ExceptRooms(y), room.Except("a")}, "ce"},
		{nil, nil, ""},
	} {
		if err := room.Broadcast(t.Context(), tt.rooms, message.New("x", 1), tt.opts...); err != nil {
			t.Fatal(err)
		}
		if got := heard(members); got != tt.want {
			t.Errorf("heard by %q, want %q", got, tt.want)
		}
	}
}

func TestBroadcastFails(t *testing.T) {
	r, members := crowd(t, room.NewManager(nil), "r", "a")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		e    message.Envelope
		want error // nil: some other
	}{
		{ended, message.New("x", 1), context.Canceled},
		{t.Context(), message.New("x", func() {}), nil},
		{t.Context(), message.New("", 1), nil},
	} {
		for _, err := range []error{r.Broadcast(tt.ctx, tt.e), room.Broadcast(tt.ctx, []*room.Room{r}, tt.e)} {
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		}
	}
	if got := heard(members); got != "" {
		t.Errorf("heard by %q", got)
	}
}

// TestTheRoomDecides codec and policy of what it broadcasts.
func TestTheRoomDecides(t *testing.T) {
	r := room.NewManager(&room.Options{Codec: shout{}, Delivery: room.Ephemeral{Slow: message.LatestOnly}}).Get("r")
	var got *message.Frame
	join(t, r, taker(func(f *message.Frame) error { got = f; return errors.New("I take nothing") }), nil)
	other := message.New("x", 1)
	other.Room = "elsewhere"
	if err := r.Broadcast(t.Context(), other); err != nil { // a member's error is its own affair
		t.Fatal(err)
	}
	if got.Policy() != message.LatestOnly || got.Room() != "r" || !strings.Contains(string(got.Payload()), `"content":"LOUD"`) {
		t.Errorf("%s, policy %v", got.Payload(), got.Policy())
	}
}

type shout struct{}

func (shout) Marshal(any) ([]byte, error)     { return []byte(`"LOUD"`), nil }
func (shout) Unmarshal(b []byte, v any) error { return errors.New("not asked for") }

type taker func(*message.Frame) error

func (taker) ID() string                       { return "taker" }
func (t taker) Deliver(f *message.Frame) error { return t(f) }

// TestOrderOfOneSender, at every member, while members come and go.
func TestOrderOfOneSender(t *testing.T) {
	r, members := crowd(t, room.NewManager(nil), "r", "abc")
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for i := range 4 {
		churn.Go(func() {
			me := quiet(fmt.Sprint(i))
			for {
				select {
				case <-stop:
					return
				default:
					_ = r.Join(context.Background(), me, nil)
					r.Leave(me)
				}
			}
		})
	}
	for i := range 1000 {
		if err := r.Broadcast(t.Context(), message.New("n", i)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	churn.Wait()
	for id, m := range members {
		for i, got := range m.take() {
			if got != fmt.Sprint("n ", i) {
				t.Fatalf("%s got %q as number %d", id, got, i)
			}
		}
	}
}
