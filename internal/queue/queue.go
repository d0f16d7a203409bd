// Package queue holds what is pending on one connection: encoded messages in
// order, bounded in bytes, with each room's policy for receivers that are slow.
// A Queue has no lock; its owner guards it.
package queue

import "github.com/hubbub-go/hubbub/message"

// Item is one thing to be written, whole. Frame is nil for what belongs to the
// connection itself: control frames, which no policy touches.
type Item struct {
	Frame *message.Frame
	Bytes []byte // shared with other queues: never modified
}

// Queue is a first-in first-out list of items.
type Queue struct {
	items []Item
	size  int
	lost  int
}

// Verdict is what became of an item.
type Verdict uint8

// The verdicts of Push.
const (
	Queued   Verdict = iota
	Dropped          // on purpose, by its policy
	Overflow         // refused: the hard limit would be passed
)

// Push appends it under hard, the limit of pending bytes. busy says that the
// connection is not taking anything at the moment.
func (q *Queue) Push(it Item, hard int, busy bool) Verdict {
	if f := it.Frame; f != nil && len(q.items) > 0 {
		switch {
		case f.Policy() == message.Volatile:
			if busy || q.size+len(it.Bytes) > hard/2 {
				q.lost++
				return Dropped
			}
		case f.Policy() == message.LatestOnly:
			if q.replace(it, hard) {
				return Queued
			}
		case f.Policy() == message.DropOldest && q.size+len(it.Bytes) > hard/2:
			q.dropOldest(f.Room(), q.size+len(it.Bytes)-hard/4)
		}
	} else if f != nil && f.Policy() == message.Volatile && busy {
		q.lost++
		return Dropped
	}
	if q.size+len(it.Bytes) > hard {
		return Overflow
	}
	q.items = append(q.items, it)
	q.size += len(it.Bytes)
	return Queued
}

// replace puts it in the place of the pending item of the same room, unless it
// is so much larger that hard would be passed. There is at most one, and it is
// most likely near the end.
func (q *Queue) replace(it Item, hard int) bool {
	for i := len(q.items) - 1; i >= 0; i-- {
		if f := q.items[i].Frame; f != nil && f.Policy() == message.LatestOnly && f.Room() == it.Frame.Room() {
			size := q.size + len(it.Bytes) - len(q.items[i].Bytes)
			if size > hard {
				return false
			}
			q.items[i], q.size = it, size
			q.lost++
			return true
		}
	}
	return false
}

// dropOldest frees at least need bytes, if the room has as many pending. It
// frees more than one item's worth, so that the scan is paid seldom.
func (q *Queue) dropOldest(room string, need int) {
	kept := q.items[:0]
	for _, it := range q.items {
		if f := it.Frame; need > 0 && f != nil && f.Policy() == message.DropOldest && f.Room() == room {
			need -= len(it.Bytes)
			q.size -= len(it.Bytes)
			q.lost++
			continue
		}
		kept = append(kept, it)
	}
	clear(q.items[len(kept):])
	q.items = kept
}

// Empty reports whether nothing is pending.
func (q *Queue) Empty() bool { return len(q.items) == 0 }

// Size is the number of pending bytes.
func (q *Queue) Size() int { return q.size }

// Lost is how many items policies have dropped since the queue was made.
func (q *Queue) Lost() int { return q.lost }

// Pop takes the first item.
func (q *Queue) Pop() (Item, bool) {
	if len(q.items) == 0 {
		return Item{}, false
	}
	it := q.items[0]
	q.shift(1)
	q.size -= len(it.Bytes)
	return it, true
}

// Take takes as many items as fit into most bytes, but one at least. A single
// one is returned as it is, several are copied into buf, which is overwritten.
func (q *Queue) Take(buf []byte, most int) []byte {
	if len(q.items) == 0 {
		return nil
	}
	n, size := 1, len(q.items[0].Bytes)
	for n < len(q.items) && size+len(q.items[n].Bytes) <= most {
		size += len(q.items[n].Bytes)
		n++
	}
	out := q.items[0].Bytes
	if n > 1 {
		out = buf[:0]
		for _, it := range q.items[:n] {
			out = append(out, it.Bytes...)
		}
	}
	q.shift(n)
	q.size -= size
	return out
}

// shift forgets the first n items, so that their frames can be freed.
func (q *Queue) shift(n int) {
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:])
	q.items = q.items[:rest]
}

// Clear throws everything away and gives the memory back.
func (q *Queue) Clear() { q.items, q.size = nil, 0 }

// Trim gives the memory back if nothing is pending.
func (q *Queue) Trim() {
	if len(q.items) == 0 {
		q.items = nil
	}
}
