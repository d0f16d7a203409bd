package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// noLog: what is no room of a class with a log has none.
func noLog(w *world) {
	n := w.logged()
	for _, t := range []engine.Topic{
		loose("x"),
		{Kind: engine.KindUser, Name: "x"},
		{Kind: engine.KindRoom, Class: "unknown", Name: "x"},
	} {
		if o := w.await(n.start(context.Background(), t, record("x"))); o.err == nil {
			w.Errorf("an append to %v is acknowledged", t)
		}
		if _, err := n.log.Read(w.limit(), t, engine.Position{}, 1); err == nil {
			w.Errorf("%v can be read", t)
		}
		if _, err := n.log.Heads(w.limit(), t); err == nil {
			w.Errorf("%v has a head", t)
		}
	}
}

// totalOrder: all nodes are shown the same entries in the same order, which is
// that of the log, and the answers say where each is.
func totalOrder(w *world) {
	const count = 100
	nodes := []*node{w.logged(), w.node(), w.node()}
	room := log("order")
	nodes[0].subscribe(room)
	nodes[1].subscribe(room)
	w.connect(room, nodes[2], nodes[0], nodes[1]) // the third only appends
	var mu sync.Mutex
	acked := map[string]engine.Position{}
	var wg sync.WaitGroup
	for k, n := range nodes {
		wg.Go(func() {
			for i := range count {
				data := fmt.Sprintf("%d-%d", k, i)
				o := w.await(n.start(context.Background(), room, record(data)))
				if o.err != nil || o.ack.Duplicate {
					w.Errorf("append: %+v", o)
					return
				}
				mu.Lock()
				acked[data] = o.ack.Position
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	want := nodes[2].read(room, engine.Position{}, 3*count+1).Entries
	if len(want) != 3*count {
		w.Fatalf("%d entries are kept of %d acknowledged ones", len(want), 3*count)
	}
	for _, n := range nodes[:2] {
		got := n.entries(room, 3*count)
		for i := range want {
			if got[i].Position != want[i].Position || got[i].ID != want[i].ID || string(got[i].Data) != string(want[i].Data) {
				w.Fatalf("entry %d is shown as %v and kept as %v", i, got[i].Position, want[i].Position)
			}
		}
	}
	for _, e := range want {
		if acked[string(e.Data)] != e.Position {
			w.Fatalf("%s was acknowledged at %v and is at %v", e.Data, acked[string(e.Data)], e.Position)
		}
	}
}

// publisherOrder: appends of one goroutine are stored and answered in order,
// though none waits for the answer to the one before.
func publisherOrder(w *world) {
	const count = 200
	a, b := w.logged(), w.node()
	room := log("pipeline")
	b.subscribe(room)
	w.connect(room, a, b)
	var mu sync.Mutex
	var answers []int
	all := make(chan struct{})
	for i := range count {
		a.log.Append(context.Background(), room, record(fmt.Sprint(i)), func(_ engine.Ack, err error) {
			if err != nil {
				w.Errorf("append: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if answers = append(answers, i); len(answers) == count {
				close(all)
			}
		})
	}
	w.waitClosed(all)
	if !slices.IsSorted(answers) {
		w.Errorf("the answers come in the order %v", answers)
	}
	for i, e := range b.entries(room, count) {
		if string(e.Data) != fmt.Sprint(i) {
			w.Fatalf("entry %s where %d should be", e.Data, i)
		}
	}
}

// ownEntries: unlike frames, entries are shown to the node that appended them.
func ownEntries(w *world) {
	n := w.logged()
	room := log("own")
	n.subscribe(room)
	at := n.fill(room, 3)
	for i, e := range n.entries(room, 3) {
		if e.Position != at[i] || string(e.Data) != fmt.Sprint(i) {
			w.Fatalf("shown %q at %v, acknowledged at %v", e.Data, e.Position, at[i])
		}
	}
	w.quiet()
	if got := n.entries(room, 3); len(got) != 3 {
		w.Fatalf("shown %d entries of 3", len(got))
	}
}

// dedupe: a record with a key that is known is not stored again, through
// whichever node it comes; without a key it is.
func dedupe(w *world) {
	a, b := w.logged(), w.node()
	room, other := log("dedupe"), log("other")
	r := record("one")
	first := a.append(room, r)
	for _, n := range []*node{b, a} {
		if again := n.append(room, r); !again.Duplicate || again.Position != first.Position {
			w.Errorf("a retry is answered with %+v, the first was %+v", again, first)
		}
	}
	if next := b.append(room, record("two")); next.Duplicate {
		w.Errorf("another record is taken for a retry")
	}
	bare := record("bare")
	bare.Dedupe = ""
	for range 2 {
		if ack := a.append(room, bare); ack.Duplicate {
			w.Errorf("a record without a key is taken for a retry")
		}
	}
	if ack := a.append(other, record("one")); ack.Duplicate {
		w.Errorf("a record in another room is taken for a retry")
	}
	w.expect(a.read(room, engine.Position{}, 10).Entries, "one", "two", "bare", "bare")
}

// condition: a record with a condition is stored only where the log is, by one
// of several at most, and a retry is no conflict.
func condition(w *world) {
	a, b := w.logged(), w.node()
	room := log("condition")
	at := a.head(room)
	for i := range 20 {
		records, outcomes := [2]engine.Record{record("a"), record("b")}, [2]<-chan outcome{}
		for k, n := range []*node{a, b} {
			records[k].At = &at
			outcomes[k] = n.start(context.Background(), room, records[k])
		}
		won := -1
		for k := range outcomes {
			o := w.await(outcomes[k])
			switch {
			case o.err == nil && won < 0:
				won = k
			case !errors.Is(o.err, engine.ErrConflict):
				w.Fatalf("round %d: %+v, after one of two had been stored", i, o)
			}
		}
		if won < 0 {
			w.Fatalf("round %d: both were refused", i)
		}
		if again := b.append(room, records[won]); !again.Duplicate {
			w.Errorf("a retry with a condition is stored again")
		}
		at = a.head(room)
	}
	if kept := a.read(room, engine.Position{}, 100).Entries; len(kept) != 20 {
		w.Errorf("%d records are kept of 20 that were stored", len(kept))
	}
}

// dedupeWindow: a key is remembered as long as its own class says; it may be
// longer.
func dedupeWindow(w *world) {
	n := w.logged()
	short, long := in("short", "window"), log("window")
	r, s := record("short"), record("long")
	n.append(short, r)
	n.append(long, s)
	w.pass(class("short").Dedupe / 2)
	if ack := n.append(short, r); !ack.Duplicate {
		w.Errorf("a retry inside the window is stored again")
	}
	wait := 2 * class("short").Dedupe // longer than the shortest window
	if w.opts.Synctest {
		wait = class("room").Dedupe - 2*time.Second
	}
	w.pass(wait)
	if ack := n.append(long, s); !ack.Duplicate {
		w.Errorf("a retry inside the window of %v is stored again after %v", class("room").Dedupe, wait+class("short").Dedupe/2)
	}
}

// prevChain: Prev of a shown entry is the offset of the one before, or says that
// the engine does not know; inside a page it is known.
func prevChain(w *world) {
	a, b := w.logged(), w.node()
	room, noise := log("chain"), log("noise")
	a.subscribe(room)
	w.connect(room, b, a)
	for i := range 50 {
		n := []*node{a, b}[i%2]
		n.append(room, record(fmt.Sprint(i)))
		n.append(noise, record("x")) // offsets need not be dense
	}
	unknown := 0
	check := func(what string, entries []engine.Entry) {
		for i, e := range entries[1:] {
			before := entries[i].Position
			switch {
			case e.Epoch != before.Epoch || e.Offset <= before.Offset:
				w.Fatalf("%s: %v follows %v", what, e.Position, before)
			case e.Prev == 0:
				unknown++
			case e.Prev != before.Offset:
				w.Fatalf("%s: the entry after %d says %d", what, before.Offset, e.Prev)
			}
		}
	}
	got := a.entries(room, 50)
	if got[0].Prev != 0 {
		w.Fatalf("the first entry says that %d is before it", got[0].Prev)
	}
	check("shown", got)
	if unknown > 0 {
		w.Fatalf("%d of 50 entries do not say what is before them, though it is kept", unknown)
	}
	check("page", b.read(room, engine.Position{}, 100).Entries)
	if unknown > 0 {
		w.Fatalf("inside a page, %d entries do not say what is before them", unknown)
	}
}

// pages: reading page after page gives the whole log, once.
func pages(w *world) {
	n := w.logged()
	room := log("pages")
	at := n.fill(room, 25)
	for _, limit := range []int{1, 7, 25, 100} {
		var got []engine.Entry
		from := engine.Position{}
		for {
			p := n.read(room, from, limit)
			if len(p.Entries) > limit {
				w.Fatalf("a page of %d entries, at most %d", len(p.Entries), limit)
			}
			if p.Head != at[24] {
				w.Fatalf("a page says that the head is %v, it is %v", p.Head, at[24])
			}
			if len(p.Entries) == 0 {
				break
			}
			got = append(got, p.Entries...)
			from = got[len(got)-1].Position
		}
		if len(got) != 25 {
			w.Fatalf("pages of %d have %d entries of 25", limit, len(got))
		}
		for i, e := range got {
			if e.Position != at[i] || string(e.Data) != fmt.Sprint(i) {
				w.Fatalf("pages of %d: entry %d is %v, want %v", limit, i, e.Position, at[i])
			}
		}
	}
}

// anchor: a page has the entry that was asked for, whatever tag it was asked
// with, and its own tag.
func anchor(w *world) {
	n := w.logged()
	room := log("anchor")
	at := n.fill(room, 5)
	for i, from := range at {
		p := n.read(room, from, 10)
		if p.Anchor == nil || p.Anchor.Position != from || string(p.Anchor.Data) != fmt.Sprint(i) {
			w.Fatalf("the anchor of %v is %+v", from, p.Anchor)
		}
		if len(p.Entries) != 4-i {
			w.Fatalf("%d entries after %d of 5", len(p.Entries), i+1)
		}
		from.Tag++
		if p = n.read(room, from, 10); p.Complete || p.Anchor == nil || p.Anchor.Position != at[i] {
			w.Fatalf("asked with a wrong tag: complete %v, anchor %+v", p.Complete, p.Anchor)
		}
	}
	ahead := at[4]
	ahead.Offset += 1000
	if p := n.read(room, ahead, 10); p.Anchor != nil || len(p.Entries) > 0 || p.Complete || p.Head != at[4] {
		w.Fatalf("asked for what is newer than the head: %+v", p)
	}
}

// zeroPosition: it is before everything; and with another epoch nothing is.
func zeroPosition(w *world) {
	n := w.logged()
	room := log("zero")
	at := n.fill(room, 3)
	p := n.read(room, engine.Position{}, 10)
	w.expect(p.Entries, "0", "1", "2")
	if p.Anchor != nil {
		w.Errorf("there is an entry at the zero position: %+v", p.Anchor)
	}
	other := at[0]
	other.Epoch++
	if p = n.read(room, other, 10); p.Anchor != nil || len(p.Entries) > 0 || p.Complete || p.Head != at[2] {
		w.Errorf("asked with another epoch: %+v", p)
	}
}

// heads: they come in the order that was asked in; one alone is not late.
func heads(w *world) {
	a, b := w.logged(), w.node()
	x, y, none := log("x"), log("y"), log("none")
	for i := range 20 {
		want := a.append(x, record(fmt.Sprint(i))).Position
		if got := b.head(x); got != want {
			w.Fatalf("the head is %v after %v was acknowledged", got, want)
		}
	}
	wantX, wantY := b.head(x), a.append(y, record("y")).Position
	right := func() bool {
		got, err := b.log.Heads(w.limit(), y, none, x)
		w.must(err)
		return len(got) == 3 && got[0] == wantY && got[2] == wantX && got[1].Tag == 0
	}
	if !w.eventually(right) {
		w.Fatalf("the heads of three logs stay wrong")
	}
	if got, err := b.log.Heads(w.limit()); err != nil || len(got) > 0 {
		w.Errorf("the heads of no logs are %v, %v", got, err)
	}
}

// emptyLog: what comes after the head of an empty log can be read from there.
func emptyLog(w *world) {
	a, b := w.logged(), w.node()
	room := log("empty")
	b.subscribe(room)
	head := b.head(room)
	if head.Epoch == 0 || head.Tag != 0 {
		w.Fatalf("the head of an empty log is %v", head)
	}
	if p := b.read(room, engine.Position{}, 10); len(p.Entries) > 0 || p.Anchor != nil || p.Head != head {
		w.Fatalf("an empty log is read as %+v, its head is %v", p, head)
	}
	if p := b.read(room, head, 10); len(p.Entries) > 0 || p.Anchor != nil {
		w.Fatalf("after the head of an empty log there is %+v", p)
	}
	at := a.fill(room, 3)
	if at[0].Epoch != head.Epoch || at[0].Offset <= head.Offset {
		w.Fatalf("the first entry is at %v, the head before was %v", at[0], head)
	}
	w.expect(b.read(room, head, 10).Entries, "0", "1", "2")
}

// logsApart: rooms have logs of their own, and so have classes.
func logsApart(w *world) {
	n := w.logged()
	x, y := log("x"), log("y")
	few := engine.Topic{Kind: engine.KindRoom, Class: "few", Name: "x"}
	n.append(x, record("x"))
	n.append(y, record("y"))
	n.append(few, record("few"))
	w.expect(n.read(x, engine.Position{}, 10).Entries, "x")
	w.expect(n.read(y, engine.Position{}, 10).Entries, "y")
	w.expect(n.read(few, engine.Position{}, 10).Entries, "few")
}

// slicesKept: an engine copies what it is given, and lets the receiver keep what
// it gives.
func slicesKept(w *world) {
	a, b := w.logged(), w.node()
	room := log("slices")
	b.subscribe(room)
	w.connect(room, a, b)
	data, frame := []byte("data"), []byte("frame")
	r := record("")
	r.Data = data
	answered := a.start(context.Background(), room, r)
	copy(data, "####")
	w.must(a.Publish(room, frame))
	copy(frame, "#####")
	w.must(w.await(answered).err)
	for i := range 20 { // makes an engine use its buffers again
		a.append(room, record(fmt.Sprintf("%04d", i)))
	}
	if got := b.frames(room, 1)[0]; got != "frame" {
		w.Errorf("a frame changed to %q", got)
	}
	if got := b.entries(room, 21)[0].Data; string(got) != "data" {
		w.Errorf("an entry changed to %q", got)
	}
	if got := b.read(room, engine.Position{}, 1).Entries[0].Data; string(got) != "data" {
		w.Errorf("a kept entry changed to %q", got)
	}
}

// survives: the answer is one that exists.
func survives(w *world) {
	n := w.logged()
	if s := n.log.Survives(); s > engine.SurvivesHost {
		w.Errorf("Survives says %d", s)
	}
}
