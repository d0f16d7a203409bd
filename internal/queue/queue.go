// Package queue holds what is pending on one connection: encoded messages in
// order, bounded in bytes, with each room's policy for receivers that are slow.
// A Queue has no lock; its owner guards it.
package queue

import "github.com/hubbub-go/hubbub/message"

// Overhead is what each item counts besides its bytes: about what its frame, the
// rounding of its buffer and its place in the queue take, so that many small
// messages do not take several times the memory of a few large ones.
const Overhead = 256

// few is how many LatestOnly items are looked through rather than indexed.
const few = 8

// cost is what it counts.
func cost(it *message.Encoded) int { return len(it.Bytes) + Overhead }

// latest reports whether a newer item may take the place of it.
func latest(it *message.Encoded) bool {
	return it != nil && it.Frame != nil && it.Frame.Policy() == message.LatestOnly
}

// Queue is a first-in first-out list of items, each one thing to be written,
// whole, and shared with other queues. No policy touches those without a Frame,
// which belong to the connection itself. What is taken or dropped leaves a hole, a
// nil, so that no other item has to move for it.
type Queue struct {
	items  []*message.Encoded
	head   int // the first item; there is one there if live > 0
	live   int // how many items are no holes
	size   int // their bytes
	lost   int
	behind int           // what the last CatchUp item counts, if it was refused
	latest int           // how many of them are LatestOnly
	index  map[place]int // where each of these is; nil while there are few
}

// place is what LatestOnly keeps one item of.
type place struct{ room, key string }

func placeOf(f *message.Frame) place { return place{f.Room(), f.Key()} }

// Verdict is what became of an item.
type Verdict uint8

// The verdicts of Push.
const (
	Queued   Verdict = iota
	Dropped          // on purpose, by its policy
	Behind           // refused, by its policy: it can be had again later
	Overflow         // refused: the hard limit would be passed
)

// Push appends it under hard, the limit of what may be pending. busy says that
// the connection is not taking anything at the moment. An empty queue takes an
// item of any size; one over the limit does not count against those behind it,
// or it would be the end of every connection that gets one.
func (q *Queue) Push(it *message.Encoded, hard int, busy bool) Verdict {
	if it.Frame != nil {
		if v := q.apply(it, hard, busy); v != Queued {
			return v
		}
	}
	if q.live > 0 {
		if first := cost(q.items[q.head]); first > hard {
			hard += first
		}
		if q.Held()+cost(it) > hard {
			return Overflow
		}
	}
	q.append(it)
	return Queued
}

// apply does what the policy of it asks for, to it or to what is pending.
func (q *Queue) apply(it *message.Encoded, hard int, busy bool) Verdict {
	f, total := it.Frame, q.Held()+cost(it)
	crowded := q.live > 0 && total > hard/2
	switch f.Policy() {
	case message.Volatile:
		if busy || crowded {
			q.lost++
			return Dropped
		}
	case message.LatestOnly:
		if i := q.find(placeOf(f)); i >= 0 {
			q.forget(i)
			q.settle()
			q.lost++
		}
	case message.DropOldest:
		if crowded {
			q.dropOldest(f.Room(), total-hard/4)
		}
	case message.CatchUp:
		q.behind = 0
		if crowded {
			q.behind = cost(it)
			return Behind
		}
	}
	return Queued
}

// append puts it at the end. A full list is cleared of holes if it is mostly
// that: each hole is moved over once for each item that went.
func (q *Queue) append(it *message.Encoded) {
	if len(q.items) == cap(q.items) && len(q.items) > 2*q.live {
		q.compact()
	}
	if latest(it) {
		q.latest++
		if q.index != nil {
			q.index[placeOf(it.Frame)] = len(q.items)
		}
	}
	q.items = append(q.items, it)
	q.live++
	q.size += len(it.Bytes)
}

func (q *Queue) compact() {
	kept := q.items[:0]
	for _, it := range q.items[q.head:] {
		if it == nil {
			continue
		}
		if q.index != nil && latest(it) {
			q.index[placeOf(it.Frame)] = len(kept)
		}
		kept = append(kept, it)
	}
	clear(q.items[len(kept):])
	q.items, q.head = kept, 0
}

// find returns where the LatestOnly item of a place is, or -1. There is at most
// one. While they are few it is most likely near the end, and moves there.
func (q *Queue) find(p place) int {
	if q.index == nil && q.latest > few {
		q.index = make(map[place]int, 2*few)
		for i := range q.items {
			if latest(q.items[i]) {
				q.index[placeOf(q.items[i].Frame)] = i
			}
		}
	}
	if q.index != nil {
		if i, ok := q.index[p]; ok {
			return i
		}
		return -1
	}
	for i, left := len(q.items)-1, q.latest; left > 0; i-- {
		if latest(q.items[i]) {
			if placeOf(q.items[i].Frame) == p {
				return i
			}
			left--
		}
	}
	return -1
}

// dropOldest frees at least need of what counts, if the room has as much pending.
// It frees more than one item's worth, so that the scan is paid seldom.
func (q *Queue) dropOldest(room string, need int) {
	for i := q.head; i < len(q.items) && need > 0; i++ {
		it := q.items[i]
		if it == nil {
			continue
		}
		if f := it.Frame; f != nil && f.Policy() == message.DropOldest && f.Room() == room {
			need -= cost(it)
			q.forget(i)
			q.lost++
		}
	}
	q.settle()
}

// forget makes a hole of the i-th item, so that its frame can be freed.
func (q *Queue) forget(i int) {
	it := q.items[i]
	q.live--
	q.size -= len(it.Bytes)
	if q.latest > 0 && latest(it) {
		q.latest--
		if q.index != nil {
			delete(q.index, placeOf(it.Frame))
		}
	}
	q.items[i] = nil
}

// settle finds the head again.
func (q *Queue) settle() {
	if q.live == 0 {
		q.items, q.head = q.items[:0], 0
		return
	}
	for q.items[q.head] == nil {
		q.head++
	}
}

// Empty reports whether nothing is pending.
func (q *Queue) Empty() bool { return q.live == 0 }

// Size is the number of pending bytes.
func (q *Queue) Size() int { return q.size }

// Held is what counts against the limit: the pending bytes and the overhead.
func (q *Queue) Held() int { return q.size + q.live*Overhead }

// Drained reports whether less than a quarter of hard is pending, and the item
// that was Behind last would be taken now; or whether nothing is pending.
func (q *Queue) Drained(hard int) bool {
	return q.live == 0 || q.Held() < hard/4 && q.Held()+q.behind <= hard/2
}

// Lost is how many items policies have dropped since the queue was made.
func (q *Queue) Lost() int { return q.lost }

// Pop takes the first item; it is nil if there is none.
func (q *Queue) Pop() *message.Encoded {
	if q.live == 0 {
		return nil
	}
	it := q.items[q.head]
	q.forget(q.head)
	q.settle()
	return it
}

// Take takes as many items as fit into most bytes, but one at least. A single
// one is returned as it is, several are copied into buf, which is overwritten.
func (q *Queue) Take(buf []byte, most int) []byte {
	if q.live == 0 {
		return nil
	}
	out := q.items[q.head].Bytes
	n, end, size := 1, q.head+1, len(out)
	for n < q.live {
		it := q.items[end]
		if it != nil {
			if size+len(it.Bytes) > most {
				break
			}
			n++
			size += len(it.Bytes)
		}
		end++
	}
	taken := q.items[q.head:end]
	if n > 1 {
		out = buf[:0]
		for _, it := range taken {
			if it != nil {
				out = append(out, it.Bytes...)
			}
		}
	}
	if q.latest > 0 {
		for i := range taken {
			if taken[i] != nil {
				q.forget(q.head + i)
			}
		}
	} else { // the usual case, and quicker
		clear(taken)
		q.live -= n
		q.size -= size
	}
	q.head = end
	q.settle()
	return out
}

// Clear throws everything away and gives the memory back.
func (q *Queue) Clear() { *q = Queue{lost: q.lost} }

// Trim gives the memory back if nothing is pending.
func (q *Queue) Trim() {
	if q.live == 0 {
		q.items, q.index = nil, nil
	}
}
