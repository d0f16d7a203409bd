package room_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member keeps what it gets.
type member struct {
	id, user string
	mu       sync.Mutex
	got      []message.Envelope
}

func (m *member) ID() string   { return m.id }
func (m *member) User() string { return m.user }

func (m *member) Deliver(f *message.Frame) error {
	e, err := message.Decode(f.Payload(), f.Binary())
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, e)
	return nil
}

// take returns what the member has got since, as "type content".
func (m *member) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, e := range m.got {
		all = append(all, e.Type+" "+string(e.Content.Data))
	}
	m.got = nil
	return all
}

func join(t *testing.T, r *room.Room, m room.Member, state any, opts ...room.JoinOption) {
	t.Helper()
	if err := r.Join(t.Context(), m, state, opts...); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, m *member, all ...string) {
	t.Helper()
	if got := m.take(); !slices.Equal(got, all) {
		t.Errorf("%s got %q, want %q", m.id, got, all)
	}
}

func TestAnswerComesFirst(t *testing.T) {
	r := room.NewManager(&room.Options{Presence: &room.Presence{}}).Get("r")
	a, b := &member{id: "a", user: "ada"}, &member{id: "b"}
	join(t, r, a, "A", room.Ack("1"))
	join(t, r, b, nil, room.Ack("2"))
	want(t, a, `ack {"members":1,"presence":[{"from":"a","user":"ada","content":"A"}]}`, "joined null")
	want(t, b, `ack {"members":2,"presence":[{"from":"a","user":"ada","content":"A"},{"from":"b","content":null}]}`)
	join(t, r, b, "other", room.Ack("3")) // again: nothing changes
	want(t, a)
	if got := b.take(); len(got) != 1 || !strings.Contains(got[0], `{"from":"b","content":null}`) {
		t.Errorf("%q", got)
	}
	if !r.Leave(b) || r.Leave(b) {
		t.Error("it leaves once")
	}
	want(t, a, "left null")
	want(t, b)
}

func TestManyAreOnlyCounted(t *testing.T) {
	r := room.NewManager(&room.Options{Presence: &room.Presence{}}).Get("r")
	for i := range 1000 {
		join(t, r, quiet(fmt.Sprint(i)), nil)
	}
	a := &member{id: "a"}
	join(t, r, a, nil, room.Ack("1"))
	want(t, a, `ack {"members":1001}`)
}

func TestJoinRefuses(t *testing.T) {
	m := room.NewManager(&room.Options{Presence: &room.Presence{}})
	if err := m.Get("r").Join(t.Context(), quiet("a"), make(chan int)); err == nil {
		t.Error("a state that cannot be encoded")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Get("r").Join(ended, quiet("a"), nil); err == nil {
		t.Error("a context that has ended")
	}
	if m.Len() != 0 {
		t.Error("a room is left")
	}
}

func TestRoomVanishesAndComesBack(t *testing.T) {
	m := room.NewManager(nil)
	r := m.Get("r")
	a := &member{id: "a"}
	for range 3 {
		if m.Len() != 0 || r.Len() != 0 || r.Has("a") {
			t.Fatal("it should be empty")
		}
		join(t, r, a, nil)
		if m.Len() != 1 || m.Get("r").Len() != 1 || !r.Has("a") {
			t.Fatal("it should have a member")
		}
		if err := r.Broadcast(t.Context(), message.New("x", nil)); err != nil {
			t.Fatal(err)
		}
		want(t, a, "x ")
		m.Get("r").Leave(a)
	}
}

// TestRoomsLeaveNothing: rooms that were made and have emptied cost nothing.
func TestRoomsLeaveNothing(t *testing.T) {
	m := room.NewManager(&room.Options{Presence: &room.Presence{}})
	a := &member{id: "a"}
	heap := func(rooms int) uint64 {
		for i := range rooms {
			r := m.Get(fmt.Sprintf("room %d", i))
			if err := r.Join(t.Context(), a, nil); err != nil {
				t.Fatal(err)
			}
			m.Get(r.Name()).Leave(a)
			a.take()
		}
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap(10_000)
	after := heap(100_000)
	if m.Len() != 0 || after > before+256<<10 {
		t.Errorf("%d rooms are left; %d bytes before, %d after", m.Len(), before, after)
	}
}

// TestChurn: random joins and leaves of many goroutines, whose outcome is known.
func TestChurn(t *testing.T) {
	m := room.NewManager(&room.Options{Presence: &room.Presence{}})
	var wg sync.WaitGroup
	var inside [4]atomic.Int64
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			in := map[int]bool{}
			me := quiet(fmt.Sprint(g))
			for range 1000 {
				n := rnd.IntN(len(inside))
				r := m.Get(fmt.Sprint(n))
				switch {
				case rnd.IntN(4) == 0:
					_ = r.Broadcast(context.Background(), message.New("x", nil), room.Except(string(me)))
				case in[n]:
					if !r.Leave(me) {
						t.Error("it was inside")
					}
					inside[n].Add(-1)
					in[n] = false
				default:
					if err := r.Join(context.Background(), me, nil); err != nil {
						t.Error(err)
					}
					inside[n].Add(1)
					in[n] = true
				}
			}
		})
	}
	wg.Wait()
	live := 0
	for n := range inside {
		r := m.Get(fmt.Sprint(n))
		if got := r.Len(); got != int(inside[n].Load()) {
			t.Errorf("room %d has %d members, not %d", n, got, inside[n].Load())
		}
		if r.Len() > 0 {
			live++
		}
		for id := range r.Members() {
			r.Leave(quiet(id))
		}
	}
	rooms := 0
	for range m.All() {
		rooms++
	}
	if rooms != 0 || m.Len() != 0 {
		t.Errorf("%d rooms are left", m.Len())
	}
}

// quiet is a member that keeps nothing.
type quiet string

func (q quiet) ID() string                   { return string(q) }
func (q quiet) Deliver(*message.Frame) error { return nil }

// TestBroadcastAllocations: what a broadcast allocates does not depend on the
// size of the room.
func TestBroadcastAllocations(t *testing.T) {
	var counts []float64
	for _, n := range []int{10, 10_000} {
		r := room.NewManager(nil).Get("r")
		for i := range n {
			join(t, r, quiet(fmt.Sprint(i)), nil)
		}
		e := message.New("say", message.Raw{Data: []byte(`{"body":"hello"}`)})
		counts = append(counts, testing.AllocsPerRun(100, func() {
			if err := r.Broadcast(context.Background(), e, room.Except("3")); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if counts[0] != counts[1] || counts[0] > 2 { // the frame and its bytes
		t.Errorf("%v allocations for 10 members, %v for 10,000, want 2", counts[0], counts[1])
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := room.NewManager(nil).Get("r")
			for i := range n {
				_ = r.Join(b.Context(), quiet(fmt.Sprint(i)), nil)
			}
			e := message.New("say", message.Raw{Data: []byte(`{"body":"hello"}`)})
			b.ReportAllocs()
			for b.Loop() {
				_ = r.Broadcast(b.Context(), e, room.Except("3"))
			}
		})
	}
}
