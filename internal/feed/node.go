package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// manyFeeds is how many feeds there may be before those without users end at once:
// clients that come and go must not make them pile up.
const manyFeeds = 10_000

// DefaultRings is Options.Rings by default, in bytes.
const DefaultRings = 64 << 20

// Options are for all feeds of a node. Nil and the zero value are right.
type Options struct {
	// Ring is how many of the newest entries a feed keeps, so that who comes back
	// soon is served without the engine. 0 means 128.
	Ring int

	// RingBytes is how much these may take. 0 means 256 KiB.
	RingBytes int

	// Rings is how much the rings of all feeds may take. A feed that would pass it
	// keeps its newest entry only. 0 means DefaultRings.
	Rings int

	// Resume is how many entries a member may have missed at most. Who missed
	// more gets a gap. 0 means 1000.
	Resume int

	// Linger is for how long a feed goes on when its last member has left. 0
	// means 30 seconds.
	Linger time.Duration

	// Reads is how many reads of the log run at a time. 0 means 64.
	Reads int
}

// Node is all feeds of one node. Its methods are safe for concurrent use. Entry
// and Link are to be called by the node's engine.Sink.
type Node struct {
	bus     engine.Bus
	log     engine.Log
	opts    Options
	reading chan struct{} // has a place for each read that may run
	rings   atomic.Int64  // what the rings of all feeds take

	ctx      context.Context
	cancel   context.CancelFunc
	starting sync.Mutex // keeps tasks from starting when Close waits for them
	tasks    sync.WaitGroup

	mu     sync.Mutex
	rounds map[string]*round // by class
	feeds  map[engine.Topic]*Feed
	young  [2][]*Feed // opened lately: to be looked at once, and once more
	closed bool
}

// life is how a feed comes and goes.
type life struct {
	users  int
	ready  chan struct{} // closed when it is open, or could not be opened
	err    error         // why not
	linger *time.Timer
	gone   chan struct{} // not nil: it is being closed; closed when another may open
}

// NewNode returns a node without feeds. Both bus and log are those of one
// engine, which is started with the same classes.
func NewNode(bus engine.Bus, log engine.Log, classes []engine.Class, opts *Options) *Node {
	n := &Node{bus: bus, log: log, feeds: map[engine.Topic]*Feed{}, rounds: map[string]*round{}}
	if opts != nil {
		n.opts = *opts
	}
	n.opts.Ring = or(n.opts.Ring, 128)
	n.opts.RingBytes = or(n.opts.RingBytes, 256<<10)
	n.opts.Rings = or(n.opts.Rings, DefaultRings)
	n.opts.Resume = or(n.opts.Resume, 1000)
	n.opts.Linger = or(n.opts.Linger, 30*time.Second)
	n.reading = make(chan struct{}, or(n.opts.Reads, 64))
	n.ctx, n.cancel = context.WithCancel(context.Background())
	for _, c := range classes {
		if c.Level != engine.Ephemeral {
			n.rounds[c.Name] = &round{class: c, feeds: map[*Feed]bool{}}
		}
	}
	return n
}

func or[T int | time.Duration](v, standard T) T {
	if v <= 0 {
		return standard
	}
	return v
}

// Open returns the feed of a room, which begins to deliver to out what comes
// after the head of the log. While a feed is open, Open returns it again, and
// out is not used; one that lingers delivers to the new out from where it is.
// Each Open that succeeds is followed by one Release.
func (n *Node) Open(ctx context.Context, t engine.Topic, out Out) (*Feed, error) {
	for {
		n.mu.Lock()
		r := n.rounds[t.Class]
		switch f := n.feeds[t]; {
		case n.closed:
			n.mu.Unlock()
			return nil, ErrClosed
		case r == nil || t.Kind != engine.KindRoom:
			n.mu.Unlock()
			return nil, fmt.Errorf("feed: rooms of class %q have no log", t.Class)
		case f == nil:
			f = &Feed{node: n, topic: t, class: r.class, life: life{users: 1, ready: make(chan struct{})}}
			f.at.state, f.queue.out = Opening, out
			n.feeds[t] = f
			n.mu.Unlock()
			return f, n.open(ctx, f)
		case f.life.gone != nil:
			gone := f.life.gone
			n.mu.Unlock()
			if err := await(ctx, gone); err != nil {
				return nil, err
			}
		default:
			n.revive(f, out)
			n.mu.Unlock()
			if err := await(ctx, f.life.ready); err != nil {
				n.Release(f)
				return nil, err
			}
			if f.life.err == nil {
				return f, nil
			}
			if !errors.Is(f.life.err, context.Canceled) && !errors.Is(f.life.err, context.DeadlineExceeded) {
				return nil, f.life.err
			}
		}
	}
}

func await(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("feed: open: %w", ctx.Err())
	}
}

// revive adds a user. n.mu is held.
func (n *Node) revive(f *Feed, out Out) {
	if f.life.users++; f.life.users > 1 {
		return
	}
	if f.life.linger != nil {
		f.life.linger.Stop()
		f.life.linger = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue.add(output1{out: out})
}

// open subscribes and then asks for the head, so that nothing falls in between.
func (n *Node) open(ctx context.Context, f *Feed) error {
	err := n.bus.Subscribe(ctx, f.topic)
	asked := time.Now()
	var heads []engine.Position
	if err == nil {
		if heads, err = n.log.Heads(ctx, f.topic); err != nil {
			_ = n.bus.Unsubscribe(f.topic)
		}
	}
	n.mu.Lock()
	if err == nil && n.closed {
		err = ErrClosed
	}
	if err != nil {
		f.life.err = fmt.Errorf("feed: open: %w", err)
		delete(n.feeds, f.topic)
		n.mu.Unlock()
		f.end()
		close(f.life.ready)
		return f.life.err
	}
	n.rounds[f.class.Name].add(n, f)
	n.settle(f)
	n.mu.Unlock()
	f.opened(heads[0], asked)
	close(f.life.ready)
	return nil
}

// Release says that one who opened the feed does not need it any more. When the
// last has, the feed lingers, delivers to its out, and ends.
func (n *Node) Release(f *Feed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.life.users--; f.life.users > 0 || n.closed {
		return
	}
	linger := n.opts.Linger
	if len(n.feeds) > manyFeeds {
		linger = time.Millisecond
	}
	var timer *time.Timer
	timer = time.AfterFunc(linger, func() { n.expire(f, &timer) })
	f.life.linger = timer
}

// expire ends a feed that has lingered, unless it was opened again. n.mu guards
// the timer: it may fire before Release knows it.
func (n *Node) expire(f *Feed, timer **time.Timer) {
	n.mu.Lock()
	if n.closed || f.life.linger != *timer || f.life.gone != nil || n.feeds[f.topic] != f {
		n.mu.Unlock()
		return
	}
	f.life.gone = make(chan struct{})
	delete(n.rounds[f.class.Name].feeds, f)
	n.mu.Unlock()
	f.end()
	_ = n.bus.Unsubscribe(f.topic) // it fails only if there is no interest anyway
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.feeds, f.topic)
	close(f.life.gone)
}

// Entry takes an entry that the engine shows. One of a room without a feed is
// ignored.
func (n *Node) Entry(t engine.Topic, e engine.Entry) {
	n.mu.Lock()
	f := n.feeds[t]
	n.mu.Unlock()
	if f != nil {
		f.entry(e)
	}
}

// Link takes what the engine says about its link.
func (n *Node) Link(up bool, in func(engine.Topic) bool) {
	n.mu.Lock()
	var feeds []*Feed
	for t, f := range n.feeds {
		if in == nil || in(t) {
			feeds = append(feeds, f)
		}
	}
	n.mu.Unlock()
	for _, f := range feeds {
		f.link(up)
	}
}

// Close ends all feeds, without Unsubscribe: the engine is closed next. It waits
// for reads that are under way, whose contexts end.
func (n *Node) Close() {
	n.mu.Lock()
	n.closed = true
	feeds := n.feeds
	n.feeds = map[engine.Topic]*Feed{}
	for _, f := range feeds {
		if f.life.linger != nil {
			f.life.linger.Stop()
		}
	}
	for _, r := range n.rounds {
		r.stop()
	}
	n.mu.Unlock()
	n.starting.Lock()
	n.cancel()
	n.starting.Unlock()
	for _, f := range feeds {
		f.end()
	}
	n.tasks.Wait()
}

// goes runs a task that Close waits for, unless the node is closed.
func (n *Node) goes(task func(ctx context.Context)) bool {
	n.starting.Lock()
	defer n.starting.Unlock()
	if n.ctx.Err() != nil {
		return false
	}
	n.tasks.Go(func() { task(n.ctx) })
	return true
}
