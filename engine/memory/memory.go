// Package memory is the engine that hubbub uses by default: one process, nothing
// to run. What it keeps ends with the process; then every client is told.
package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// Options bound the memory of a Network. Nil and the zero value are right.
type Options struct {
	// RoomBytes is how much one room's log may take, what each entry costs beside
	// its data included. The oldest entries go first; the newest always stays. A
	// class that asks for less (engine.Class.Bytes) gets that; one that asks for
	// more is refused by Start. 0 means what the class asks for, up to half of
	// Bytes, and 4 MiB for one that does not say.
	RoomBytes int

	// Bytes is how much everything may take: entries, dedupe keys, the names of
	// rooms. When it is reached, the rooms that were silent longest lose their
	// entries.
	//
	// Keys cannot be given up while they are in their class's window. So they, and
	// the names of the rooms that have any, get half of Bytes, and one room no more
	// than what is left of that for the others: a quarter of Bytes if it is the
	// only one. An append with a key beyond that is refused with ErrUnavailable,
	// until older keys have left the window; others go on, in this room too if they
	// have no key. A key takes some 200 bytes. 0 means 256 MiB.
	Bytes int

	// Idle is for how long the position of a log is remembered that keeps no
	// entry any more and has no subscriber, so that who was up to date then learns
	// that nothing was missed. 0 means an hour.
	Idle time.Duration
}

// Engine connects one node with the others of its Network. It implements
// engine.Bus, engine.Log and engine.Prober.
type Engine struct {
	net *Network

	node  string
	sink  engine.Sink
	calls gate

	linked sync.Mutex // serialises the calls of Sink.Link, and guards nothing else

	// guarded by net.mu
	state  state
	topics map[*topic]*interest
}

// state is where an engine is in its life.
type state uint8

const (
	fresh state = iota
	started
	closed
)

// interest is one node's in one topic. A new one is made when a topic is
// subscribed again, so that what was on its way to the old one is not delivered.
type interest struct {
	engine *Engine
	ended  atomic.Bool
}

// New returns the engine of a node that is alone. It is the only one of a
// Network of its own.
func New(opts *Options) *Engine { return NewNetwork(opts).Join() }

// Bound returns how many bytes the engine's Network keeps at most: Options.Bytes.
func (e *Engine) Bound() int { return e.net.opts.Bytes }

// Accepts says why Start would refuse a class: it is not valid, or asks for more than
// the options allow. It may be called at any time.
func (e *Engine) Accepts(c engine.Class) error {
	if err := c.Validate(); err != nil {
		return err
	}
	_, err := e.net.grant(c)
	return err
}

// Start implements engine.Bus. All nodes of a Network name the same classes.
func (e *Engine) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: start: %w", err)
	}
	for _, c := range classes {
		if err := e.Accepts(c); err != nil {
			return err
		}
	}
	n := e.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.state != fresh {
		return fmt.Errorf("memory: started twice: %w", engine.ErrUnavailable)
	}
	for _, c := range classes {
		if old := n.classes[c.Name]; old != nil && old.Class != c {
			return fmt.Errorf("memory: class %q differs from another node's", c.Name)
		}
	}
	for _, c := range classes {
		if n.classes[c.Name] == nil {
			most, _ := n.grant(c)
			n.classes[c.Name] = &class{Class: c, most: most}
		}
	}
	e.node, e.sink, e.state, e.topics = node, sink, started, map[*topic]*interest{}
	n.nodes++
	return nil
}

// Close implements engine.Bus. With the last node the logs end.
func (e *Engine) Close(ctx context.Context) error {
	n := e.net
	n.mu.Lock()
	if e.state == started {
		for t := range e.topics {
			n.drop(e, t)
		}
		if n.nodes--; n.nodes == 0 {
			n.end()
		}
	}
	e.state = closed
	n.mu.Unlock()
	if err := e.calls.close(ctx); err != nil {
		return fmt.Errorf("memory: close: %w", err)
	}
	return nil
}

// usable says why the engine cannot be used now. n.mu is held.
func (e *Engine) usable() error {
	if e.state != started {
		return fmt.Errorf("memory: not running: %w", engine.ErrUnavailable)
	}
	if e.calls.cut.Load() {
		return fmt.Errorf("memory: cut off: %w", engine.ErrUnavailable)
	}
	return nil
}

// Publish implements engine.Bus. Other nodes' sinks are called by the goroutine
// of one of the publishers, most likely this one.
func (e *Engine) Publish(to engine.Topic, frame []byte) error {
	n := e.net
	n.mu.Lock()
	if err := e.usable(); err != nil {
		n.mu.Unlock()
		return err
	}
	t := n.topics[to]
	if t == nil || len(t.interests) == 0 || len(t.interests) == 1 && t.interests[0].engine == e {
		n.mu.Unlock()
		return nil
	}
	if !t.room(len(frame)) {
		n.mu.Unlock()
		return errBusy
	}
	t.push(event{from: e, to: t.interests, frame: append([]byte{}, frame...), bus: true})
	n.mu.Unlock()
	t.deliver()
	return nil
}

// Subscribe implements engine.Bus. It does not wait.
func (e *Engine) Subscribe(ctx context.Context, ts ...engine.Topic) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: subscribe: %w", err)
	}
	n := e.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := e.usable(); err != nil {
		return err
	}
	for _, name := range ts {
		t := n.topic(name)
		if e.topics[t] != nil {
			continue
		}
		in := &interest{engine: e}
		e.topics[t] = in
		t.interests = append(slices.Clip(t.interests), in) // events share the old slice
		if t.log != nil && t.log.shelf == empty {
			n.shelve(t, nowhere)
		}
	}
	return nil
}

// Unsubscribe implements engine.Bus.
func (e *Engine) Unsubscribe(ts ...engine.Topic) error {
	n := e.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.state != started {
		return fmt.Errorf("memory: not running: %w", engine.ErrUnavailable)
	}
	for _, name := range ts {
		if t := n.topics[name]; t != nil && e.topics[t] != nil {
			n.drop(e, t)
		}
	}
	return nil
}

// Listening implements engine.Prober.
func (e *Engine) Listening(ctx context.Context, name engine.Topic) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("memory: probe: %w", err)
	}
	n := e.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := e.usable(); err != nil {
		return false, err
	}
	t := n.topics[name]
	return t != nil && len(t.interests) > 0, nil
}

// Cut cuts the node off from the others and from the logs, or connects it
// again, as a broker does that goes away and comes back: tests of what happens
// then need it. What was published or appended meanwhile is missed.
func (e *Engine) Cut(off bool) {
	e.linked.Lock()
	defer e.linked.Unlock()
	n := e.net
	n.mu.Lock()
	running := e.state == started
	changed := e.calls.cut.Swap(off) != off
	n.mu.Unlock()
	if running && changed && e.calls.enter() {
		e.sink.Link(!off, nil)
		e.calls.leave()
	}
}
