// Package feed turns what an engine shows of a room's log, at most once, into an
// ordered sequence without a hole, or with one that is told. There is one Feed
// for each room with members on this node, and one Node for all of them. Members
// ride on their room's feed: a feed that lost something reads it again, once,
// and members never notice.
package feed

import (
	"context"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// Reason says why a sequence does not go on without a hole.
type Reason string

// The reasons, as they are told to clients.
const (
	Window  Reason = "window"  // what is missing is not kept any more, or that cannot be excluded
	Epoch   Reason = "epoch"   // the log was lost and has begun anew
	Regress Reason = "regress" // the log lost its newest entries, of which some were seen
)

// Gap tells that something may be missing. The sequence goes on after To.
type Gap struct {
	Reason Reason
	To     engine.Position
}

// Out is where a feed delivers to. Its methods are called in order, one at a
// time for each feed, and without a lock; they must not block.
type Out interface {
	Entry(e engine.Entry)
	Gap(g Gap)
}

// State is what a feed is doing.
type State uint8

// The states.
const (
	Closed    State = iota // it has ended
	Opening                // it does not know the head of the log yet
	Live                   // each entry continues the one before
	Repairing              // it reads what it missed
	Stalled                // the engine's link is down
)

// Feed is one room's log as this node sees it. Its methods are safe for
// concurrent use.
type Feed struct {
	node  *Node
	topic engine.Topic
	class engine.Class

	life life // guarded by node.mu

	mu    sync.Mutex
	at    cursor
	fix   repair
	queue output
	reads map[engine.Position]*flight
}

// cursor is how far a feed has got. Guarded by Feed.mu.
type cursor struct {
	state   State
	last    engine.Position
	moved   time.Time     // when last changed
	sure    time.Time     // all that came after last came after this
	ring    ring          // the newest entries; its last is at last
	changed chan struct{} // closed, and made anew, when somebody waits for a change; nil: nobody does
}

// repair is the state of reading. Guarded by Feed.mu.
type repair struct {
	wait    ring // entries that came meanwhile
	round   int  // counts what makes answers to earlier reads worthless
	running bool // there is a goroutine
	checked bool // a look at the head is on its way
	linked  bool // the link changed while Opening
	outage  bool // the link was down since the log was read last
}

// Topic returns the room's topic.
func (f *Feed) Topic() engine.Topic { return f.topic }

// Go runs a task of a member, which Node.Close waits for and ends the context of.
// It reports false, and runs nothing, if the node is closed.
func (f *Feed) Go(task func(ctx context.Context)) bool { return f.node.goes(task) }

// State returns what the feed is doing, and how far its sequence has got. Out
// may not have been called for all of it yet.
func (f *Feed) State() (State, engine.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at.state, f.at.last
}

// entry takes what the engine shows.
func (f *Feed) entry(e engine.Entry) {
	f.mu.Lock()
	switch f.at.state {
	case Live:
		f.take(e)
	case Opening, Repairing:
		if !f.fix.wait.add(e, mostWaiting, mostWaitingBytes) {
			f.fix.wait = ring{} // the log has it: look again
			f.fix.round++
		}
	default: // what comes now will be read when the link is up
	}
	f.mu.Unlock()
	f.flush()
}

// take is what to do with an entry when Live. Whenever it is not the next one,
// the log is asked; it knows better than an entry that may be late. f.mu is
// held.
func (f *Feed) take(e engine.Entry) {
	last := f.at.last
	switch {
	case e.Epoch != last.Epoch:
		f.toRepair()
	case e.Offset > last.Offset && e.Prev == last.Offset && (e.Prev != 0 || e.Offset == 1):
		f.push(e)
	case e.Offset > last.Offset, e.Offset == last.Offset && e.Tag != last.Tag:
		f.toRepair()
	case e.Offset < last.Offset:
		if known := f.at.ring.find(e.Offset); known == nil {
			f.look() // older than the ring: most likely a late repetition
		} else if known.Tag != e.Tag {
			f.toRepair()
		}
	}
}

// push makes e the next of the sequence. f.mu is held.
func (f *Feed) push(e engine.Entry) {
	f.at.last, f.at.moved = e.Position, time.Now()
	f.keep(e)
	f.queue.add(output1{entry: e})
	f.wakeWaiters()
}

// keep puts e into the ring. f.mu is held.
func (f *Feed) keep(e engine.Entry) {
	r, opts := &f.at.ring, &f.node.opts
	before := r.bytes
	r.push(e, opts.Ring, opts.RingBytes)
	if f.node.rings.Add(int64(r.bytes-before)) > int64(opts.Rings) && len(r.entries) > 1 {
		f.forget()
		r.push(e, 1, opts.RingBytes)
		f.node.rings.Add(int64(r.bytes))
	}
}

// forget empties the ring. f.mu is held.
func (f *Feed) forget() {
	f.node.rings.Add(-int64(f.at.ring.bytes))
	f.at.ring = ring{}
}

// lose tells a gap. The sequence goes on after to. f.mu is held.
func (f *Feed) lose(r Reason, to engine.Position) {
	f.at.last, f.at.moved = to, time.Now()
	f.forget()
	f.queue.add(output1{gap: &Gap{r, to}})
	f.wakeWaiters()
}

// toRepair begins to read, or begins again. f.mu is held.
func (f *Feed) toRepair() {
	f.at.state = Repairing
	f.fix.round++
	f.fix.wait = ring{} // the log has all that was shown before it is read
	f.wakeWaiters()
	if !f.fix.running {
		f.fix.running = f.node.goes(f.repair)
	}
}

// link takes what the engine says about the link.
func (f *Feed) link(up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.at.state == Closed:
	case f.at.state == Opening:
		f.fix.linked = true
	case up:
		f.toRepair()
	default:
		f.at.state, f.fix.outage = Stalled, true
		f.fix.round++
		f.fix.wait = ring{}
	}
}

// opened takes the head of the log, asked for at the time asked.
func (f *Feed) opened(head engine.Position, asked time.Time) {
	f.mu.Lock()
	f.at.state, f.at.last, f.at.sure, f.at.moved = Live, head, asked, time.Now()
	if f.fix.linked {
		f.toRepair()
	}
	f.drain()
	f.mu.Unlock()
	f.flush()
}

// drain takes the entries that have waited. f.mu is held.
func (f *Feed) drain() {
	waiting := f.fix.wait.entries
	f.fix.wait = ring{}
	for _, e := range waiting {
		if f.at.state != Live {
			return // reads again, and so finds the rest
		}
		f.take(e)
	}
}

// head takes a look at the head of the log. Unless exact, the answer may be
// late; asked is then earlier by as much.
func (f *Feed) head(h engine.Position, asked time.Time, exact bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fix.checked = false
	at := &f.at
	if at.state != Live {
		return
	}
	switch same := h.Epoch == at.last.Epoch; {
	case h == at.last:
		at.advance(asked)
	case same && h.Tag == 0 && h.Offset >= at.last.Offset:
		// Nothing is kept. If something had come since we were sure, it would be.
		if f.fresh(asked) {
			at.advance(asked)
		} else {
			f.toRepair()
		}
	case same && h.Offset < at.last.Offset && (at.moved.After(asked) || !exact && at.ring.has(h)):
		// It was asked before the last entry came.
	default:
		f.toRepair()
	}
}

// advance makes the feed sure until the time t. f.mu is held.
func (c *cursor) advance(t time.Time) {
	if t.After(c.sure) {
		c.sure = t
	}
}

// slack is for how long clocks and expiry may disagree.
const slack = time.Second

// fresh reports whether, at the time now, all that came after the feed was last
// sure is still young enough to be kept. f.mu is held.
func (f *Feed) fresh(now time.Time) bool {
	return f.class.KeepFor == 0 || now.Sub(f.at.sure) < f.class.KeepFor-min(slack, f.class.KeepFor/4)
}

// waitChange returns a channel that is closed at the next change. f.mu is held.
func (f *Feed) waitChange() <-chan struct{} {
	if f.at.changed == nil {
		f.at.changed = make(chan struct{})
	}
	return f.at.changed
}

// wakeWaiters tells those who wait for a change. f.mu is held.
func (f *Feed) wakeWaiters() {
	if f.at.changed != nil {
		close(f.at.changed)
		f.at.changed = nil
	}
}

// end ends the feed: nothing is delivered that is not yet on its way.
func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at.state = Closed
	f.fix.round++
	f.fix.wait = ring{}
	f.forget()
	f.wakeWaiters()
}
