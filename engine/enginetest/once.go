package enginetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// attempt is an append and how it was answered.
type attempt struct {
	record  engine.Record
	outcome outcome
}

// settle holds the answers to appends against the log: what was acknowledged is
// there, what was refused as ErrUnavailable is not and does not come later, and a
// retry of each leaves it there once.
func (w *world) settle(n *node, t engine.Topic, attempts []attempt) {
	w.Helper()
	w.quiet()
	at := map[[16]byte]engine.Position{}
	for _, e := range n.read(t, engine.Position{}, 1000).Entries {
		at[e.ID] = e.Position
	}
	for i, a := range attempts {
		where, stored := at[a.record.ID]
		switch err := a.outcome.err; {
		case err == nil && where != a.outcome.ack.Position:
			w.Fatalf("append %d was acknowledged at %v and is at %v", i, a.outcome.ack.Position, where)
		case errors.Is(err, engine.ErrUnavailable) && stored:
			w.Fatalf("append %d was answered with ErrUnavailable and is stored at %v: %v", i, where, err)
		case err != nil && !errors.Is(err, engine.ErrUnavailable) && !errors.Is(err, engine.ErrUncertain):
			w.Fatalf("append %d: %v, want ErrUnavailable or ErrUncertain", i, err)
		}
		if again := w.retry(n, t, a.record); again.Duplicate && errors.Is(a.outcome.err, engine.ErrUnavailable) {
			w.Fatalf("append %d was answered with ErrUnavailable, and its retry is a duplicate", i)
		}
	}
	count := map[[16]byte]int{}
	for _, e := range n.read(t, engine.Position{}, 1000).Entries {
		count[e.ID]++
	}
	for i, a := range attempts {
		if got := count[a.record.ID]; got != 1 {
			w.Fatalf("append %d is stored %d times after a retry", i, got)
		}
	}
}

// unavailable: ErrUnavailable is certain, whether the context had ended before or
// ends while the append is under way.
func unavailable(w *world) {
	a, b := w.logged(), w.node()
	room := log("unavailable")
	ended, end := context.WithCancel(context.Background())
	end()
	attempts, answers := make([]attempt, 40), [40]<-chan outcome{}
	for i := range attempts {
		r := record(fmt.Sprint(i))
		attempts[i].record = r
		if i%2 == 0 {
			answers[i] = a.start(ended, room, r)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		answers[i] = a.start(ctx, room, r)
		cancel()
	}
	for i := range attempts {
		attempts[i].outcome = w.await(answers[i])
	}
	w.settle(b, room, attempts)
}

// unavailableOutage: what is refused while the broker is away is not stored when
// it is back.
func unavailableOutage(w *world) {
	if w.cluster.Cut == nil || w.cluster.Restore == nil {
		w.Skip("the cluster cannot be cut")
	}
	a, b := w.logged(), w.node()
	room := log("away")
	a.fill(room, 1)
	w.cluster.Cut()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	attempts, answers := make([]attempt, 10), [10]<-chan outcome{}
	for i := range attempts {
		attempts[i].record = record(fmt.Sprint(i))
		answers[i] = a.start(ctx, room, attempts[i].record)
	}
	for i := range attempts {
		attempts[i].outcome = w.await(answers[i])
	}
	w.cluster.Restore()
	w.retry(a, room, record("back"))
	w.retry(b, room, record("back"))
	w.settle(b, room, attempts)
}

// yielding is a context that lets other goroutines run whenever it is looked at, so
// that steps of an engine which should be one come apart.
type yielding struct{ context.Context }

// Err implements context.Context.
func (y yielding) Err() error {
	runtime.Gosched()
	return y.Context.Err()
}

// Done implements context.Context.
func (y yielding) Done() <-chan struct{} {
	runtime.Gosched()
	return y.Context.Done()
}

// dedupeAtOnce: of attempts at one record that are under way at the same time,
// through one node or several, one stores it, and the others are duplicates of
// that, with a condition too.
func dedupeAtOnce(w *world) {
	const rounds, attempts = 50, 6
	a, b := w.logged(), w.node()
	room := log("at once")
	for i := range rounds {
		r := record(fmt.Sprint(i))
		if i%2 > 0 {
			at := a.head(room)
			r.At = &at
		}
		var outcomes [attempts]outcome
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for k := range outcomes {
			wg.Go(func() {
				<-begin
				n := []*node{a, b}[k%2]
				outcomes[k] = w.await(n.start(yielding{context.Background()}, room, r))
			})
		}
		close(begin)
		wg.Wait()
		stored := 0
		for _, o := range outcomes {
			w.must(o.err)
			if !o.ack.Duplicate {
				stored++
			}
			if o.ack.Position != outcomes[0].ack.Position {
				w.Fatalf("round %d: one record was acknowledged at %v and at %v", i, outcomes[0].ack.Position, o.ack.Position)
			}
		}
		if stored != 1 {
			w.Fatalf("round %d: %d of %d attempts at one record stored it", i, stored, attempts)
		}
	}
	if kept := a.read(room, engine.Position{}, attempts*rounds).Entries; len(kept) != rounds {
		w.Errorf("%d entries are kept of %d records", len(kept), rounds)
	}
}

// dedupeByKey: a retry is known by its key, whatever else it has, and is answered with
// the position of what is stored, whose tag is that of the first. A hub gives each
// attempt an id of its own.
func dedupeByKey(w *world) {
	a, b := w.logged(), w.node()
	room, few := log("key"), in("few", "key")
	for _, t := range []engine.Topic{room, few} {
		r := record("first")
		first := a.append(t, r)
		if first.Tag != engine.TagOf(r.ID) {
			w.Fatalf("a record is acknowledged at %v, whose tag is not that of its id", first.Position)
		}
		a.append(t, record("second"))
		retry := func(when string) {
			w.Helper()
			for _, n := range []*node{b, a} {
				again := record("again")
				again.Dedupe = r.Dedupe
				if ack := n.append(t, again); !ack.Duplicate || ack.Position != first.Position {
					w.Fatalf("a retry with an id of its own %sis answered with %+v, the first was %+v", when, ack, first)
				}
			}
		}
		retry("")
		w.expect(b.read(t, engine.Position{}, 10).Entries, "first", "second")
		if t == few {
			a.fill(t, 20)
			retry("after 20 others ")
		}
	}
}

// dedupeBeyond: a key is remembered for its window, though the entry is not kept
// any more.
func dedupeBeyond(w *world) {
	n := w.logged()
	few, brief := in("few", "beyond"), in("brief", "beyond")
	byCount, byAge := record("count"), record("age")
	first, old := n.append(few, byCount), n.append(brief, byAge)
	n.fill(few, 20)
	if again := n.append(few, byCount); !again.Duplicate || again.Position != first.Position {
		w.Errorf("a retry after 20 others is answered with %+v, the first was %+v", again, first)
	}
	w.pass(class("brief").KeepFor + 100*time.Millisecond)
	if !w.eventually(func() bool { return len(n.read(brief, engine.Position{}, 1).Entries) == 0 }) {
		w.Fatalf("an entry is kept beyond %v", class("brief").KeepFor)
	}
	if again := n.append(brief, byAge); !again.Duplicate || again.Position != old.Position {
		w.Errorf("a retry after the entry is gone is answered with %+v, the first was %+v", again, old)
	}
}

// conditionPlace: the epoch and the tag of a condition count as its offset does,
// and a tag that is not known fits.
func conditionPlace(w *world) {
	a, b := w.logged(), w.node()
	room, empty := log("place"), log("no place")
	at := a.fill(room, 3)
	head, none := at[2], a.head(empty)
	untagged := func(p engine.Position) engine.Position { p.Tag = 0; return p }
	for _, tt := range []struct {
		what string
		room engine.Topic
		at   engine.Position
	}{
		{"another epoch", room, engine.Position{Epoch: head.Epoch + 1, Offset: head.Offset, Tag: head.Tag}},
		{"another epoch, without a tag", room, engine.Position{Epoch: head.Epoch + 1, Offset: head.Offset}},
		{"another tag", room, engine.Position{Epoch: head.Epoch, Offset: head.Offset, Tag: max(head.Tag+1, 1)}},
		{"an older entry", room, at[1]},
		{"an older entry, without a tag", room, untagged(at[1])},
		{"what is to come", room, engine.Position{Epoch: head.Epoch, Offset: head.Offset + 1}},
		{"the zero position", room, engine.Position{}},
		{"another epoch of an empty log", empty, engine.Position{Epoch: none.Epoch + 1, Offset: none.Offset}},
		{"the zero position of an empty log", empty, engine.Position{}},
	} {
		for _, n := range []*node{a, b} {
			r := record("no")
			r.At = &tt.at
			if o := w.await(n.start(context.Background(), tt.room, r)); !errors.Is(o.err, engine.ErrConflict) {
				w.Fatalf("a condition on %s is answered with %+v, the head is %v", tt.what, o, n.head(tt.room))
			}
		}
	}
	r, at0 := record("yes"), untagged(head)
	r.At = &at0
	a.append(room, r)
	w.expect(b.read(room, engine.Position{}, 10).Entries, "0", "1", "2", "yes")
	w.expect(b.read(empty, engine.Position{}, 10).Entries)
}

// conflictForgotten: a record that was refused as a conflict is as if it had not
// been sent: it can be stored with another condition.
func conflictForgotten(w *world) {
	a, b := w.logged(), w.node()
	room := log("conflict")
	at := a.fill(room, 2)
	r := record("2")
	r.At = &at[0]
	if o := w.await(a.start(context.Background(), room, r)); !errors.Is(o.err, engine.ErrConflict) {
		w.Fatalf("a condition on an older entry is answered with %+v", o)
	}
	r.At = &at[1]
	if ack := b.append(room, r); ack.Duplicate {
		w.Fatalf("a record that was refused as a conflict is taken for a duplicate")
	}
	w.expect(a.read(room, engine.Position{}, 10).Entries, "0", "1", "2")
}

// conditionAged: where nothing is kept any more, the head is still a condition.
func conditionAged(w *world) {
	n := w.logged()
	room := in("brief", "condition")
	n.fill(room, 2)
	w.pass(class("brief").KeepFor + 100*time.Millisecond)
	if !w.eventually(func() bool { return len(n.read(room, engine.Position{}, 1).Entries) == 0 }) {
		w.Fatalf("entries are kept beyond %v", class("brief").KeepFor)
	}
	at := n.head(room)
	first, second := record("first"), record("second")
	first.At, second.At = &at, &at
	n.append(room, first)
	if o := w.await(n.start(context.Background(), room, second)); !errors.Is(o.err, engine.ErrConflict) {
		w.Fatalf("a second record at the same head is answered with %+v", o)
	}
}

// windowByBytes: each log keeps its newest entries, in about the bytes that the
// class says, and takes what is larger.
func windowByBytes(w *world) {
	const size, count = 2 << 10, 128
	n := w.logged()
	most := class("bytes").Bytes
	rooms := []engine.Topic{in("bytes", "x"), in("bytes", "y")}
	var at [2][count]engine.Position
	for i := range count {
		for k, room := range rooms {
			at[k][i] = n.append(room, record(fmt.Sprintf("%0*d", size, i))).Position
		}
	}
	for k, room := range rooms {
		p := n.read(room, engine.Position{}, count)
		kept := len(p.Entries)
		if kept*size < most/2 || kept*size > 2*most {
			w.Fatalf("%d bytes of data are kept, want about %d", kept*size, most)
		}
		for i, e := range p.Entries {
			if e.Position != at[k][count-kept+i] {
				w.Fatalf("of the %d newest entries the %dth is %v, want %v", kept, i, e.Position, at[k][count-kept+i])
			}
		}
		if p.Complete {
			w.Errorf("a page is called complete though %d entries before it are missing", count-kept)
		}
		if p = n.read(room, at[k][0], 1); p.Anchor != nil || p.Complete {
			w.Errorf("after an entry that is not kept: %+v", p)
		}
	}
	n.append(rooms[0], record(strings.Repeat("x", 512<<10)))
	next := n.append(rooms[0], record("next"))
	if head := n.head(rooms[0]); head != next.Position {
		w.Errorf("the head is %v after %v was acknowledged", head, next.Position)
	}
}
