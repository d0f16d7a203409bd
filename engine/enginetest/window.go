package enginetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// windowByCount: the newest are kept, in the number that the class says, and a
// page does not claim to be complete when it is not.
func windowByCount(w *world) {
	n := w.logged()
	room := engine.Topic{Kind: engine.KindRoom, Class: "few", Name: "window"}
	at := n.fill(room, 20)
	p := n.read(room, engine.Position{}, 100)
	w.expect(p.Entries, "15", "16", "17", "18", "19")
	if p.Complete {
		w.Errorf("a page is called complete though 15 entries before it are missing")
	}
	if p.Entries[0].Prev != 0 && p.Entries[0].Prev != at[14].Offset {
		w.Errorf("the entry before the first that is kept is %d, not %d", p.Entries[0].Prev, at[14].Offset)
	}
	if p = n.read(room, at[10], 100); p.Anchor != nil || p.Complete {
		w.Errorf("after an entry that is not kept: %+v", p)
	}
	if p = n.read(room, at[17], 100); p.Anchor == nil {
		w.Errorf("an entry that is kept is no anchor")
	}
	w.expect(n.read(room, at[17], 100).Entries, "18", "19")
	// The entry just before the window: an engine may prove it, or not.
	wrong := at[14]
	wrong.Tag++
	if p = n.read(room, wrong, 100); p.Complete {
		w.Errorf("a position with a wrong tag is called complete")
	}
}

// windowByAge: what is older than the class says is gone, soon after.
func windowByAge(w *world) {
	n := w.logged()
	class := classes[2]
	room := engine.Topic{Kind: engine.KindRoom, Class: class.Name, Name: "age"}
	began := time.Now()
	at := n.fill(room, 3)
	if p := n.read(room, engine.Position{}, 10); len(p.Entries) != 3 && time.Since(began) < class.KeepFor {
		w.Fatalf("%d of 3 entries are kept, though none is old", len(p.Entries))
	}
	w.pass(class.KeepFor + 100*time.Millisecond)
	var p engine.Page
	if !w.eventually(func() bool { p = n.read(room, engine.Position{}, 10); return len(p.Entries) == 0 }) {
		w.Fatalf("%d entries are kept beyond %v", len(p.Entries), class.KeepFor)
	}
	if p.Complete {
		w.Errorf("a page is called complete though 3 entries are gone")
	}
	head := n.head(room)
	if head.Epoch != at[2].Epoch || head.Offset < at[2].Offset || head.Tag != 0 && head != at[2] {
		w.Fatalf("the head is %v when nothing is kept, the last entry was %v", head, at[2])
	}
	next := n.append(room, record("next"))
	if next.Epoch != head.Epoch || next.Offset <= head.Offset {
		w.Fatalf("an entry is stored at %v after the head was %v", next.Position, head)
	}
	w.expect(n.read(room, head, 10).Entries, "next")
	if p = n.read(room, at[0], 10); p.Complete || p.Anchor != nil {
		w.Errorf("after an entry that is gone: %+v", p)
	}
}

// quietRoom: an entry that comes when all before it are gone says what was
// before it, or that it does not know.
func quietRoom(w *world) {
	a, b := w.logged(), w.node()
	class := classes[2]
	room := engine.Topic{Kind: engine.KindRoom, Class: class.Name, Name: "quiet"}
	b.subscribe(room)
	w.connect(room, a, b)
	at := a.fill(room, 2)
	w.pass(class.KeepFor + 500*time.Millisecond)
	a.append(room, record("next"))
	got := b.entries(room, 3)
	if e := got[2]; e.Epoch != at[1].Epoch || e.Offset <= at[1].Offset || e.Prev != 0 && e.Prev != at[1].Offset {
		w.Errorf("the entry after a long silence is %v after %d, the one before was %v", e.Position, e.Prev, at[1])
	}
}

// epoch: it is the same for all nodes and does not change by itself.
func epoch(w *world) {
	a, b := w.logged(), w.node()
	room := log("epoch")
	want := a.append(room, record("0")).Epoch
	if want == 0 {
		w.Fatalf("a log has epoch 0")
	}
	w.must(a.Unsubscribe(room))
	for i := range 10 {
		if got := []*node{a, b}[i%2].append(room, record("x")).Epoch; got != want {
			w.Fatalf("the epoch changed from %d to %d", want, got)
		}
	}
	c := w.node() // one that comes later
	if got := c.head(room); got.Epoch != want {
		w.Fatalf("a node that comes later sees epoch %d, not %d", got.Epoch, want)
	}
	for _, e := range c.read(room, engine.Position{}, 100).Entries {
		if e.Epoch != want {
			w.Fatalf("an entry has epoch %d, not %d", e.Epoch, want)
		}
	}
}

// lostLogs: a log that was lost comes back with another epoch.
func lostLogs(w *world) {
	if w.cluster.Lose == nil {
		w.Skip("the cluster cannot lose its logs")
	}
	n := w.logged()
	room := log("lost")
	before := n.fill(room, 3)
	w.cluster.Lose()
	after := w.retry(n, room, record("new"))
	if after.Epoch == before[2].Epoch {
		w.Fatalf("the epoch is still %d after the log was lost", after.Epoch)
	}
	if p := n.read(room, before[2], 10); p.Anchor != nil || len(p.Entries) > 0 || p.Complete || p.Head != after.Position {
		w.Fatalf("after a position of the lost log: %+v", p)
	}
	w.expect(n.read(room, engine.Position{}, 10).Entries, "new")
}

// listening: a Prober knows who has subscribed, on whichever node.
func listening(w *world) {
	a, b := w.node(), w.node()
	prober, ok := a.Bus.(engine.Prober)
	if !ok {
		w.Skip("the engine is no Prober")
	}
	inbox := engine.Topic{Kind: engine.KindNode, Name: "b"}
	becomes := func(want bool) {
		if !w.eventually(func() bool {
			got, err := prober.Listening(w.limit(), inbox)
			w.must(err)
			return got == want
		}) {
			w.Fatalf("Listening does not become %v", want)
		}
	}
	becomes(false)
	b.subscribe(inbox)
	becomes(true)
	w.must(b.Unsubscribe(inbox))
	becomes(false)
	b.subscribe(inbox)
	becomes(true)
	b.close()
	becomes(false)
}

// contexts: with one that has ended nothing is done, and nothing hangs.
func contexts(w *world) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	bus := w.cluster.Join()
	if err := bus.Start(ended, "late", classes, &node{w: w}); err == nil {
		w.Errorf("Start succeeds with a context that has ended")
	}
	w.must(bus.Close(w.limit()))
	n := w.node()
	if err := n.Subscribe(ended, loose("x")); err == nil {
		w.Errorf("Subscribe succeeds with a context that has ended")
	}
	if n.log == nil {
		return
	}
	room := log("contexts")
	o := w.await(n.start(ended, room, record("x")))
	if !errors.Is(o.err, engine.ErrUnavailable) && !errors.Is(o.err, engine.ErrUncertain) {
		w.Errorf("Append with a context that has ended: %v", o.err)
	}
	if _, err := n.log.Read(ended, room, engine.Position{}, 1); err == nil {
		w.Errorf("Read succeeds with a context that has ended")
	}
	if _, err := n.log.Heads(ended, room); err == nil {
		w.Errorf("Heads succeeds with a context that has ended")
	}
	n.append(room, record("y")) // it still works
}

// outage: while the broker is away nothing is acknowledged, then everything goes
// on, and what was acknowledged before is there.
func outage(w *world) {
	if w.cluster.Cut == nil || w.cluster.Restore == nil {
		w.Skip("the cluster cannot be cut")
	}
	a, b := w.logged(), w.node()
	room := log("outage")
	b.subscribe(room)
	w.connect(room, a, b)
	at := a.fill(room, 3)
	b.entries(room, 3)
	w.cluster.Cut()
	if !w.eventually(func() bool { return b.link() == "false" }) {
		w.Fatalf("the sink is not told that the broker is away")
	}
	r := record("3")
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if o := w.await(a.start(ctx, room, r)); !errors.Is(o.err, engine.ErrUnavailable) && !errors.Is(o.err, engine.ErrUncertain) {
		w.Fatalf("an append without a broker is answered with %+v", o)
	}
	w.cluster.Restore()
	if !w.eventually(func() bool { return b.link() == "true" }) {
		w.Fatalf("the sink is not told that the broker is back")
	}
	next := w.retry(a, room, r)
	if next.Epoch != at[2].Epoch || next.Offset <= at[2].Offset {
		w.Fatalf("after the outage the log goes on at %v, it was at %v", next.Position, at[2])
	}
	w.expect(b.read(room, at[0], 10).Entries, "1", "2", "3")
	w.connect(room, a, b)
	a.append(room, record("4"))
	if !b.waitFor(w.opts.Patience, room, func(s *seen) bool {
		return slices.ContainsFunc(s.entries, func(e engine.Entry) bool { return string(e.Data) == "4" })
	}) {
		w.Fatalf("interest is not in place again after the outage")
	}
}

// closes: after Close there is nothing left, nothing comes, nothing works.
func closes(w *world) {
	other := w.node()
	before := runtime.NumGoroutine()
	n := w.node()
	room := log("close")
	n.subscribe(room)
	w.connect(room, other, n)
	var pending []<-chan outcome
	if n.log != nil {
		for i := range 20 {
			pending = append(pending, n.start(context.Background(), room, record(fmt.Sprint(i))))
		}
	}
	n.close()
	for _, answered := range pending {
		select {
		case <-answered:
		default:
			w.Errorf("Close returned before an append was answered")
		}
	}
	w.must(n.Close(w.limit())) // again
	if err := n.Publish(room, nil); !errors.Is(err, engine.ErrUnavailable) {
		w.Errorf("Publish after Close: %v", err)
	}
	if err := n.Subscribe(w.limit(), room); !errors.Is(err, engine.ErrUnavailable) {
		w.Errorf("Subscribe after Close: %v", err)
	}
	if n.log != nil {
		if o := w.await(n.start(context.Background(), room, record("x"))); !errors.Is(o.err, engine.ErrUnavailable) {
			w.Errorf("Append after Close: %v", o.err)
		}
		if _, err := n.log.Read(w.limit(), room, engine.Position{}, 1); !errors.Is(err, engine.ErrUnavailable) {
			w.Errorf("Read after Close: %v", err)
		}
	}
	w.must(other.Publish(room, []byte("x")))
	w.quiet() // the node complains about calls now
	if !w.eventually(func() bool { return runtime.NumGoroutine() <= before }) {
		buf := make([]byte, 1<<16)
		w.Errorf("Close leaves goroutines behind: %d, there were %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
	}
}
