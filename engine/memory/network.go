package memory

import (
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// Network is what nodes of one process share: the interest of all and the logs.
// An engine.Engine belongs to one node, because Start names the node and its
// sink, so a cluster in a test is a Network with an Engine for each node.
//
// One lock guards all of it. It is held for the time of a few map operations,
// never while anything is called; who needs more has several processes, and so
// another engine.
type Network struct {
	opts    Options
	started time.Time

	mu      sync.Mutex
	classes map[string]*class
	topics  map[engine.Topic]*topic
	nodes   int
	epochs  epochs        // of logs to come
	size    int           // of all logs, as Options.Bytes counts
	held    int           // of it, what cannot be given up: see history.held
	full    time.Duration // until then it is no use to look for memory again
	sweep   *time.Timer   // nil: nothing will ever be due
}

// NewNetwork returns a network without nodes.
func NewNetwork(opts *Options) *Network {
	n := &Network{started: time.Now(), classes: map[string]*class{}, topics: map[engine.Topic]*topic{}}
	n.epochs.renew()
	if opts != nil {
		n.opts = *opts
	}
	if n.opts.Bytes <= 0 {
		n.opts.Bytes = 256 << 20
	}
	if n.opts.Idle <= 0 {
		n.opts.Idle = time.Hour
	}
	return n
}

// roomBytes is what a log may take if nobody says.
const roomBytes = 4 << 20

// grant returns how many bytes one log of a class may take.
func (n *Network) grant(c engine.Class) (int, error) {
	half := n.opts.Bytes / 2 // what is left to a log that has everything for itself
	switch own := n.opts.RoomBytes; {
	case c.Level == engine.Ephemeral:
		return 0, nil
	case own > 0 && c.Bytes > own:
		return 0, fmt.Errorf("memory: class %q wants %d bytes for a room, Options.RoomBytes allows %d", c.Name, c.Bytes, own)
	case own <= 0 && c.Bytes > half:
		return 0, fmt.Errorf("memory: class %q wants %d bytes for a room, half of Options.Bytes is %d", c.Name, c.Bytes, half)
	case c.Bytes > 0:
		return c.Bytes, nil
	case own > 0:
		return own, nil
	}
	return min(roomBytes, half), nil
}

// Join returns the engine of a further node.
func (n *Network) Join() *Engine { return &Engine{net: n} }

var lastEpoch atomic.Uint64

// newEpoch counts, beginning with the time: a process that starts later has
// other epochs, and so have two networks of one process.
func newEpoch() uint64 {
	for {
		last := lastEpoch.Load()
		next := max(last+1, uint64(time.Now().UnixNano()))
		if lastEpoch.CompareAndSwap(last, next) {
			return next
		}
	}
}

// epochs are those of logs to come, by the hash of their names: a log that was
// forgotten gets another one, and so do few others that have no entry yet. Their
// number is fixed, as that of names is not; they take 32 KiB.
type epochs [4096]uint64

// renew gives every log to come another epoch.
func (e *epochs) renew() {
	next := newEpoch()
	for i := range e {
		e[i] = next
	}
}

// of returns the epoch of a log to come.
func (e *epochs) of(name engine.Topic) *uint64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name.Class))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(name.Name))
	return &e[h.Sum32()%uint32(len(e))]
}

// now is the time as entries and logs keep it: 8 bytes, monotonic.
func (n *Network) now() time.Duration { return time.Since(n.started) }

// topic returns a topic and makes it if it does not exist. n.mu is held.
func (n *Network) topic(name engine.Topic) *topic {
	t := n.topics[name]
	if t == nil {
		t = &topic{net: n, name: name}
		if c := n.classOf(name); c != nil {
			t.log = &history{class: c, epoch: *n.epochs.of(name), cost: logCost + len(name.Name)}
			n.size += t.log.cost
		}
		n.topics[name] = t
	}
	return t
}

// classOf returns the class of a topic that has a log, or nil.
func (n *Network) classOf(name engine.Topic) *class {
	c := n.classes[name.Class]
	if name.Kind != engine.KindRoom || c == nil || c.Level == engine.Ephemeral {
		return nil
	}
	return c
}

// drop ends e's interest in t. n.mu is held.
func (n *Network) drop(e *Engine, t *topic) {
	in := e.topics[t]
	in.ended.Store(true)
	delete(e.topics, t)
	kept := make([]*interest, 0, len(t.interests))
	for _, other := range t.interests {
		if other != in {
			kept = append(kept, other)
		}
	}
	t.interests = kept
	if len(kept) > 0 {
		return
	}
	switch {
	case t.log == nil || t.log.offset == 0:
		n.forget(t)
	case t.log.shelf == nowhere:
		n.shelve(t, empty)
	}
}

// forget removes a topic without interests, and what its log still keeps. A log
// of the same name that comes later has another epoch. While a call of a sink may
// be under way the topic stays, so that the next for the same name waits. n.mu
// is held.
func (n *Network) forget(t *topic) {
	h := t.log
	if t.busy {
		if h != nil && h.offset > 0 {
			n.shelve(t, empty)
		}
		return
	}
	delete(n.topics, t.name)
	if h == nil {
		return
	}
	n.shelve(t, nowhere)
	if next := n.epochs.of(t.name); h.offset > 0 && h.epoch == *next {
		*next = newEpoch()
	}
	n.size -= h.cost
	n.held -= h.held()
	t.log = nil
}

// end forgets everything. n.mu is held.
func (n *Network) end() {
	n.topics, n.classes, n.size, n.held = map[engine.Topic]*topic{}, map[string]*class{}, 0, 0
	n.epochs.renew()
	if n.sweep != nil {
		n.sweep.Stop()
		n.sweep = nil
	}
}

// Reset loses the log of a room, as a broker that starts with an empty disk: its
// next entry is the first of another epoch. Tests need it.
func (n *Network) Reset(room engine.Topic) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.topics[room]
	if t == nil || t.log == nil {
		return
	}
	h := t.log
	h.epoch = newEpoch()
	*n.epochs.of(room) = h.epoch
	n.held -= h.held()
	n.size -= h.clear()
	h.offset, h.before, h.head = 0, 0, 0
}

// Truncate loses the newest entries of a room, as a broker that lost the tail of
// its log: their offsets are used again, in the same epoch. Tests need it.
func (n *Network) Truncate(room engine.Topic, newest int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.topics[room]; t != nil && t.log != nil {
		n.held -= t.log.held()
		n.size -= t.log.truncate(newest)
		n.held += t.log.held()
	}
}
