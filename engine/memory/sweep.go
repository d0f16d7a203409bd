package memory

import (
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// class is a class with its logs. Each log stands on one shelf, in the order in
// which they were put there, so that what is due next is always the first.
type class struct {
	engine.Class
	most int // bytes that one log may take

	shelves [shelves]struct{ first, last *topic }
}

// shelf says what is to become of a log.
type shelf uint8

const (
	nowhere shelf = iota // it keeps nothing and has subscribers: nothing
	busy                 // has entries or keys that expire
	aged                 // has entries that do not expire, and no keys
	empty                // keeps nothing and has no subscribers: to be forgotten
	shelves
)

// lifetime is how long after its last append a log has something that expires.
func (c *class) lifetime() time.Duration { return max(c.KeepFor, c.Dedupe) }

// shelve puts a log at the end of a shelf. n.mu is held.
func (n *Network) shelve(t *topic, s shelf) {
	h := t.log
	if h.shelf != nowhere {
		from := &h.class.shelves[h.shelf]
		if h.prev != nil {
			h.prev.log.next = h.next
		} else {
			from.first = h.next
		}
		if h.next != nil {
			h.next.log.prev = h.prev
		} else {
			from.last = h.prev
		}
		h.prev, h.next = nil, nil
	}
	h.shelf, h.touched = s, n.now()
	if s == nowhere {
		return
	}
	to := &h.class.shelves[s]
	h.prev = to.last
	if to.last != nil {
		to.last.log.next = t
	} else {
		to.first = t
	}
	to.last = t
	if s != aged && n.sweep == nil {
		n.sweep = time.AfterFunc(n.interval(), n.tick)
	}
}

// interval is how often the network looks what is due: a timer that exists only
// while something will be, and a goroutine only for the time of a sweep.
func (n *Network) interval() time.Duration {
	d := min(n.opts.Idle, 30*time.Second)
	for _, c := range n.classes {
		if l := c.lifetime(); l > 0 {
			d = min(d, l)
		}
	}
	return max(d, time.Second)
}

// mostSwept is how many logs are treated before others may have the lock.
const mostSwept = 1000

func (n *Network) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sweep == nil {
		return // the last node has gone
	}
	left, now, again := mostSwept, n.now(), false
	for _, c := range n.classes {
		for t := c.shelves[busy].first; t != nil && left > 0 && now-t.log.touched > c.lifetime(); t = c.shelves[busy].first {
			n.settle(t, now)
			left--
		}
		for t := c.shelves[empty].first; t != nil && left > 0 && now-t.log.touched > n.opts.Idle; t = c.shelves[empty].first {
			n.forget(t)
			left--
		}
		again = again || c.shelves[busy].first != nil || c.shelves[empty].first != nil
	}
	switch {
	case left == 0:
		n.sweep.Reset(time.Millisecond)
	case again:
		n.sweep.Reset(n.interval())
	default:
		n.sweep = nil
	}
}

// settle drops what has expired of a log and puts it where it belongs. n.mu is
// held.
func (n *Network) settle(t *topic, now time.Duration) {
	h := t.log
	n.size -= h.trim(now)
	n.expire(h, now)
	switch {
	case len(h.keys.order) > 0 || h.count() > 0 && h.class.KeepFor > 0:
		n.shelve(t, busy)
	case h.count() > 0:
		n.shelve(t, aged)
	case len(t.interests) > 0:
		n.shelve(t, nowhere)
	case h.offset == 0:
		n.forget(t)
	default:
		n.shelve(t, empty)
	}
}

// expire forgets keys whose window has passed. n.mu is held.
func (n *Network) expire(h *history, now time.Duration) {
	n.held -= h.held()
	freed := h.keys.expire(now, h.class.Dedupe)
	h.cost -= freed
	n.size -= freed
	n.held += h.held()
}

// remembers reports whether a room may have one more key. What it has then is no
// more than what is left for all others, so that whoever fills one room with keys,
// or a hundred, leaves something for the next. n.mu is held.
func (n *Network) remembers(to engine.Topic, key string) bool {
	own, more := 0, keyCost+len(key)
	if t := n.topics[to]; t != nil {
		own = t.log.held()
	}
	if own == 0 {
		more += logCost + len(to.Name)
	}
	return own+more <= n.opts.Bytes/2-n.held-more
}

// fits makes room for need bytes if there is not enough, and says whether there
// is then. It takes from those who were silent longest, and more than is needed,
// so that the next append finds something. n.mu is held.
func (n *Network) fits(need int, now time.Duration) bool {
	if n.size+need <= n.opts.Bytes {
		return true
	}
	if now < n.full {
		return false
	}
	goal := n.opts.Bytes - n.opts.Bytes/8 - need
	for _, c := range n.classes {
		for range n.topics { // a bound: not all can be forgotten
			if t := c.shelves[empty].first; t != nil && n.size > goal {
				n.forget(t)
			}
		}
	}
	for range n.topics {
		t := n.silent()
		if t == nil || n.size <= goal {
			break
		}
		n.size -= t.log.clearEntries()
		n.settle(t, now)
		if t.log != nil && t.log.shelf == empty {
			n.forget(t)
		}
	}
	if n.size+need > n.opts.Bytes {
		n.full = now + time.Second
		return false
	}
	return true
}

// silent returns the log that has had no append for longest, of those that keep
// something. n.mu is held.
func (n *Network) silent() *topic {
	var oldest *topic
	for _, c := range n.classes {
		for _, s := range [...]shelf{aged, busy} {
			t := c.shelves[s].first
			if t != nil && (oldest == nil || t.log.touched < oldest.log.touched) {
				oldest = t
			}
		}
	}
	return oldest
}
