package room_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// watcher is a member with a short queue, which takes from it when it is told.
type watcher struct {
	id   string
	most int // how many messages may wait; 0: any number

	mu      sync.Mutex
	queue   []string // "key value", or "ack"
	drained chan struct{}
	seen    []string       // what was taken
	last    map[string]int // the value of each key
}

func (w *watcher) ID() string { return w.id }

func (w *watcher) Deliver(f *message.Frame) error {
	e, err := message.Decode(f.Payload(), f.Binary())
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Policy() == message.CatchUpLatest && w.most > 0 && len(w.queue) >= w.most {
		return message.ErrBehind
	}
	item := e.Type
	if e.Type == "value" {
		item = f.Key() + " " + string(e.Content.Data)
	}
	w.queue = append(w.queue, item)
	return nil
}

func (w *watcher) Drained() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drained == nil {
		w.drained = make(chan struct{})
	}
	c := w.drained
	w.relax()
	return c
}

// relax tells who waits in Drained. w.mu is held.
func (w *watcher) relax() {
	if w.drained != nil && len(w.queue) <= w.most/2 {
		close(w.drained)
		w.drained = nil
	}
}

// take takes up to n messages and returns how many there were.
func (w *watcher) take(t *testing.T, n int) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	n = min(n, len(w.queue))
	for _, item := range w.queue[:n] {
		w.seen = append(w.seen, item)
		key, value, ok := strings.Cut(item, " ")
		if !ok {
			continue
		}
		v, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := w.last[key]; ok && v <= before {
			t.Errorf("%s: %s was %d, and then %d", w.id, key, before, v)
		}
		w.last[key] = v
	}
	w.queue = w.queue[n:]
	w.relax()
	return n
}

// all takes what there is and what comes then. It is called in a bubble.
func (w *watcher) all(t *testing.T) {
	t.Helper()
	for {
		synctest.Wait()
		if w.take(t, 1<<20) == 0 {
			return
		}
	}
}

// come joins anew.
func (w *watcher) come(t *testing.T, r *room.Room) {
	t.Helper()
	w.mu.Lock()
	w.queue, w.seen, w.last = nil, nil, map[string]int{}
	w.mu.Unlock()
	join(t, r, w, nil, room.Ack("1"))
}

func post(t *testing.T, r *room.Room, key string, value int, opts ...room.BroadcastOption) {
	t.Helper()
	if err := r.Broadcast(t.Context(), message.New("value", value).Keyed(key), opts...); err != nil {
		t.Fatal(err)
	}
}

// TestLatestHasTheLast: whatever happens, who is there in the end has the newest of
// each key that was sent to it, or that there was when it came; it has seen no value
// after a newer one, and nothing before the answer to its join.
func TestLatestHasTheLast(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := room.Latest{}
				if seed%3 == 0 {
					d.Keys = 8
				}
				latestModel(t, rand.New(rand.NewPCG(seed, 2)), room.NewManager(&room.Options{Delivery: d}).Get("r"), d.Keys)
			})
		})
	}
}

// known is what a member of the model is to have in the end.
type known struct {
	*watcher
	here bool
	owed map[string]int
}

func latestModel(t *testing.T, rnd *rand.Rand, r *room.Room, most int) {
	all := make([]*known, 5)
	for i := range all {
		all[i] = &known{watcher: &watcher{id: fmt.Sprint("m", i), most: rnd.IntN(8)}}
	}
	newest, kept, order := map[string]int{}, map[string]bool{}, []string(nil)
	forget := func(key string) {
		delete(kept, key)
		for i, k := range order {
			if k == key {
				order = append(order[:i:i], order[i+1:]...)
				break
			}
		}
	}
	for step := range 1500 {
		m := all[rnd.IntN(len(all))]
		key := fmt.Sprint("k", rnd.IntN(20))
		if rnd.IntN(4) == 0 {
			key = "hot"
		}
		switch n := rnd.IntN(20); {
		case n < 6:
			m.take(t, 1+rnd.IntN(4))
		case n < 7 && !m.here:
			m.come(t, r)
			m.here, m.owed = true, map[string]int{}
			for k := range kept {
				m.owed[k] = newest[k]
			}
		case n < 7 && rnd.IntN(3) == 0:
			r.Leave(m)
			m.here = false
		case n < 8:
			r.Forget(key)
			forget(key)
			for _, o := range all {
				if most > 0 { // no more of these are kept for the slow ones either
					delete(o.owed, key)
				}
			}
		case n < 9:
			synctest.Wait()
		default:
			forget(key)
			newest[key], kept[key] = step, true
			order = append(order, key)
			var opts []room.BroadcastOption
			for _, o := range all {
				if o == m && n < 11 {
					opts = append(opts, room.Except(o.id))
				} else if o.here {
					o.owed[key] = step
				}
			}
			post(t, r, key, step, opts...)
			if most > 0 && len(order) > most {
				dropped := order[0]
				forget(dropped)
				for _, o := range all {
					delete(o.owed, dropped)
				}
			}
		}
	}
	for _, m := range all {
		if !m.here {
			continue
		}
		m.all(t)
		if m.seen[0] != "ack" {
			t.Errorf("%s got %q first", m.id, m.seen[0])
		}
		for k, v := range m.owed {
			if got, ok := m.last[k]; !ok || got < v {
				t.Errorf("%s has %d of %s, want %d", m.id, got, k, v)
			}
		}
		r.Leave(m)
	}
	late := &watcher{id: "late"}
	late.come(t, r)
	late.all(t)
	if len(late.seen) != len(order)+1 {
		t.Errorf("who came last got %v, want %v", late.seen, order)
	}
	for i, k := range order {
		if want := fmt.Sprint(k, " ", newest[k]); late.seen[i+1] != want {
			t.Errorf("who came last got %v as number %d, want %s", late.seen[i+1], i, want)
		}
	}
	r.Leave(late)
}

// TestSlowJoiner gets what is kept in order, after the answer, as it can take it,
// and only the newest of what changes meanwhile.
func TestSlowJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room.NewManager(&room.Options{Delivery: room.Latest{}}).Get("r")
		for i := range 100 {
			post(t, r, fmt.Sprint(i), i)
		}
		w := &watcher{id: "w", most: 4}
		w.come(t, r)
		for i := range 1000 {
			post(t, r, "50", 1000+i)
		}
		w.all(t)
		if len(w.seen) != 101 || w.seen[0] != "ack" {
			t.Fatalf("%d messages came for 100 keys, the first is %s", len(w.seen), w.seen[0])
		}
		for i, got := range w.seen[1:] {
			want := fmt.Sprint(i, " ", i)
			if i == 50 {
				want = "50 1999"
			}
			if got != want {
				t.Errorf("%s came as number %d, want %s", got, i, want)
			}
		}
		r.Leave(w)
	})
}

// TestDroppedMeanwhile: who is behind in a room that has lost what it kept gets what
// comes after that, and goes on as usual.
func TestDroppedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := room.NewManager(&room.Options{Delivery: room.Latest{Total: 20_000}})
		r := m.Get("r")
		slow := &watcher{id: "slow", most: 2}
		slow.come(t, r)
		for i := range 10 {
			post(t, r, fmt.Sprint("old", i), i+1)
		}
		for i := range 100 {
			post(t, m.Get(fmt.Sprint("other", i)), "k", 1)
		}
		for i := range 5 {
			post(t, r, fmt.Sprint("new", i), 100+i)
		}
		slow.all(t)
		if got := strings.Join(slow.seen, ","); got != "ack,old0 1,new0 100,new1 101,new2 102,new3 103,new4 104" {
			t.Errorf("it got %s", got)
		}
		post(t, r, "new0", 200)
		slow.all(t)
		if slow.last["new0"] != 200 {
			t.Errorf("it has %v", slow.last)
		}
		r.Leave(slow)
	})
}

// TestForgottenMeanwhile: that a key is gone is told to those who are behind, too,
// and not to who comes then.
func TestForgottenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room.NewManager(&room.Options{Delivery: room.Latest{}}).Get("r")
		slow, late := &watcher{id: "slow", most: 2}, &watcher{id: "late"}
		slow.come(t, r)
		for i := range 5 {
			post(t, r, fmt.Sprint("k", i), 1)
		}
		const gone = 2
		post(t, r, "k4", gone)
		r.Forget("k4")
		late.come(t, r)
		late.all(t)
		if got := strings.Join(late.seen, ","); got != "ack,k0 1,k1 1,k2 1,k3 1" {
			t.Errorf("who came then got %s", got)
		}
		slow.all(t)
		if got := slow.last["k4"]; got != gone {
			t.Errorf("the slow one has %d", got)
		}
		r.Leave(slow)
		r.Leave(late)
	})
}

// TestNoKeyStarves: at a member that is always behind, no key waits for those that
// change more often, in other rooms either.
func TestNoKeyStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, ticks = 200, 5000
		m := room.NewManager(&room.Options{Delivery: room.Latest{}})
		busy, quiet := m.Get("busy"), m.Get("quiet")
		w := &watcher{id: "w", most: 16, last: map[string]int{}}
		join(t, busy, w, nil)
		join(t, quiet, w, nil)
		longest := map[string]int{}
		for tick := range ticks {
			post(t, busy, "hot", tick)
			for i := range 5 {
				post(t, busy, fmt.Sprint((5*tick+i)%keys), tick)
			}
			for i := 20; i > 0 && tick%1000 == 0; i-- { // more than fit at once
				post(t, quiet, fmt.Sprint("quiet", i), tick)
			}
			synctest.Wait()
			w.take(t, 2)
			for _, key := range []string{"hot", "7"} {
				longest[key] = max(longest[key], tick-w.last[key])
			}
			if w.last["quiet1"] != tick/1000*1000 {
				longest["quiet"] = max(longest["quiet"], tick%1000)
			}
		}
		for key, n := range longest {
			if n > keys {
				t.Errorf("%s was %d ticks old, of which each brings 2 messages", key, n)
			}
		}
		if n := longest["quiet"]; n > 32 {
			t.Errorf("a room with few keys waited %d ticks", n)
		}
		busy.Leave(w)
		quiet.Leave(w)
	})
}

// TestWhoIsBehindCanLeave: nothing is left of a member that leaves while it is
// behind, and nothing comes to it any more; others go on.
func TestWhoIsBehindCanLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := room.NewManager(&room.Options{Delivery: room.Latest{}})
		w := &watcher{id: "w", most: 2}
		names := []string{"a", "b", "c"}
		for range 3 {
			w.mu.Lock()
			w.queue, w.last = nil, map[string]int{}
			w.mu.Unlock()
			for i, name := range names {
				join(t, m.Get(name), w, nil)
				for k := range 10 {
					post(t, m.Get(name), fmt.Sprint(name, k), 10*i+k)
				}
			}
			synctest.Wait()
			m.Get("a").Leave(w)
			m.Get("c").Leave(w)
			w.take(t, 2)
			for range 20 {
				synctest.Wait()
				w.take(t, 1)
			}
			w.all(t)
			if len(w.last) > 12 || w.last["b9"] != 19 || w.last["c9"] != 0 {
				t.Errorf("got %v", w.last)
			}
			for k := range 10 {
				post(t, m.Get("b"), fmt.Sprint("b", k), 100+k)
			}
			m.Get("b").Leave(w)
		}
		synctest.Wait() // the bubble ends only if nothing waits for w
	})
}

// struck is a member that no map can have as a key, and which takes nothing at first.
type struck struct {
	*watcher
	_ []int
}

// TestOddMembers: one that is no Drainer loses what it does not take; one that cannot
// be compared does not.
func TestOddMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room.NewManager(&room.Options{Delivery: room.Latest{}}).Get("r")
		odd, deaf := struck{watcher: &watcher{id: "odd", most: 2, last: map[string]int{}}}, &watcher{id: "deaf", most: 2, last: map[string]int{}}
		join(t, r, odd, nil)
		join(t, r, room.Member(struct{ room.Member }{deaf}), nil)
		for i := range 5 {
			post(t, r, fmt.Sprint(i), i)
		}
		odd.all(t)
		deaf.all(t)
		if len(odd.last) != 5 || len(deaf.last) != 2 {
			t.Errorf("%d and %d keys came", len(odd.last), len(deaf.last))
		}
		r.Leave(odd)
		r.Leave(deaf)
	})
}

// TestLatestCostsTheFastNothing: what a broadcast allocates does not depend on how
// many get it.
func TestLatestCostsTheFastNothing(t *testing.T) {
	var took [2]float64
	for i, n := range []int{1, 100} {
		r := room.NewManager(&room.Options{Delivery: room.Latest{}}).Get("r")
		for k := range n {
			join(t, r, quiet(fmt.Sprint(k)), nil)
		}
		ctx, e := context.Background(), message.New("value", 1).Keyed("a")
		took[i] = testing.AllocsPerRun(100, func() { _ = r.Broadcast(ctx, e, room.Except("0")) })
	}
	if took[1] > took[0] {
		t.Errorf("%v allocations for 100 members, %v for one", took[1], took[0])
	}
}
