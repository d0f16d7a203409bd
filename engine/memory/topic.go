package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hubbub-go/hubbub/engine"
)

// topic is one name that somebody is interested in or that has a log. Its fields
// are guarded by net.mu.
//
// What happens to a topic is an event. Events wait in one list per topic, and
// one goroutine at a time delivers them, without the lock: a publisher that finds
// nobody doing so. That keeps the order of each topic with no goroutine per topic
// or node, and lets a sink publish from inside a call.
type topic struct {
	net  *Network
	name engine.Topic
	log  *history // nil: has none

	interests []*interest // copied when changed
	events    []event
	pending   int // bytes of events
	busy      bool
}

// event is a frame, or an entry with the answer to its append.
type event struct {
	from  *Engine
	to    []*interest
	bus   bool
	frame []byte
	entry engine.Entry
	ack   engine.Ack
	done  func(engine.Ack, error)
}

// The bounds of what waits for one topic's sinks.
const (
	mostEvents  = 4096
	mostPending = 16 << 20
)

// turn is how many events a publisher delivers before a goroutine takes over,
// so that nobody works for the others for ever.
const turn = 256

var errBusy = fmt.Errorf("memory: the receivers are behind: %w", engine.ErrUnavailable)

// room reports whether another event of that size may wait.
func (t *topic) room(size int) bool {
	return len(t.events) == 0 || len(t.events) < mostEvents && t.pending+size <= mostPending
}

func (t *topic) push(ev event) {
	t.events = append(t.events, ev)
	t.pending += len(ev.frame) + len(ev.entry.Data)
}

// deliver delivers what waits, unless somebody is doing so. No lock is held.
func (t *topic) deliver() {
	t.net.mu.Lock()
	if t.busy {
		t.net.mu.Unlock()
		return
	}
	t.busy = true
	t.net.mu.Unlock()
	for range turn {
		if !t.step() {
			return
		}
	}
	go func() {
		for t.step() { // ends when nothing waits
		}
	}()
}

// step delivers one event. It returns false when none was left; then somebody
// else may start.
func (t *topic) step() bool {
	n := t.net
	n.mu.Lock()
	if len(t.events) == 0 {
		t.events, t.busy = nil, false
		if n.topics[t.name] == t && len(t.interests) == 0 && (t.log == nil || t.log.offset == 0) {
			n.forget(t)
		}
		n.mu.Unlock()
		return false
	}
	ev := t.events[0]
	t.events[0] = event{}
	t.events = t.events[1:]
	t.pending -= len(ev.frame) + len(ev.entry.Data)
	n.mu.Unlock()
	for _, in := range ev.to {
		if ev.bus && in.engine == ev.from || in.engine.calls.cut.Load() || !in.engine.calls.enter() {
			continue
		}
		switch {
		case in.ended.Load():
		case ev.bus:
			in.engine.sink.Frame(t.name, ev.frame)
		default:
			in.engine.sink.Entry(t.name, ev.entry)
		}
		in.engine.calls.leave()
	}
	if ev.done != nil {
		ev.done(ev.ack, nil)
		ev.from.calls.leave() // entered by Append
	}
	return true
}

// gate counts the calls that are under way for one engine, and lets Close wait
// for their end.
type gate struct {
	cut atomic.Bool // the node is cut off: nothing reaches it

	mu    sync.Mutex
	calls int
	idle  chan struct{} // nil: open; closed when shut and no call is under way
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.idle != nil {
		return false
	}
	g.calls++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls--; g.calls == 0 && g.idle != nil {
		close(g.idle)
	}
}

func (g *gate) close(ctx context.Context) error {
	g.mu.Lock()
	if g.idle == nil {
		g.idle = make(chan struct{})
		if g.calls == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
