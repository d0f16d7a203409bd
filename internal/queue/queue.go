// Package queue holds what is pending on one connection: encoded messages in
// order, bounded in bytes, with each room's policy for receivers that are slow.
// A Queue has no lock; its owner guards it.
package queue

import "github.com/hubbub-go/hubbub/message"

// Overhead is what each item counts besides its bytes: about what its frame, the
// rounding of its buffer and its place in the queue take, so that many small
// messages do not take several times the memory of a few large ones.
const Overhead = 256

// few is how many items that can be replaced are looked through rather than
// indexed.
const few = 8

// cost is what it counts.
func cost(it *message.Encoded) int { return len(it.Bytes) + Overhead }

// latest reports whether a newer item may take the place of it.
func latest(it *message.Encoded) bool {
	if it == nil || it.Frame == nil {
		return false
	}
	p := it.Frame.Policy()
	return p == message.LatestOnly || p == message.CatchUpLatest
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
	behind int    // what the last item counts that was to catch up, if it was refused
	latest int    // how many of them can be replaced
	where  *where // these are; nil while they can be looked for
}

// where says where items are that can be replaced.
type where struct {
	index  map[place]int  // the last one of each place
	fences map[string]int // the last other one of each room, if one could overtake it
}

// place is what the latest item is kept of.
type place struct {
	room, key string
	policy    message.Policy
}

func placeOf(f *message.Frame) place { return place{f.Room(), f.Key(), f.Policy()} }

// Verdict is what became of an item.
type Verdict uint8

// The verdicts of Push.
const (
	Queued   Verdict = iota
	Dropped          // on purpose, by its policy
	Behind           // refused, by its policy: it can be had again later
	Overflow         // refused: the hard limit would be passed
)

// Push appends it under hard, the limit of what may be pending, or puts it in the
// place of the one that it replaces. busy says that the connection is not taking
// anything at the moment. An empty queue takes an item of any size; one over the
// limit does not count against those behind it, or it would be the end of every
// connection that gets one.
func (q *Queue) Push(it *message.Encoded, hard int, busy bool) Verdict {
	at := -1 // the end
	if latest(it) {
		at = q.replaces(it.Frame)
	}
	if it.Frame != nil {
		if v := q.apply(it, at, hard, busy); v != Queued {
			return v
		}
	}
	if total, others := q.with(it, at); others > 0 {
		first := q.items[q.head]
		if at == q.head {
			first = it
		}
		if n := cost(first); n > hard {
			hard += n
		}
		if total > hard {
			return Overflow
		}
	}
	if at >= 0 {
		q.replace(at, it)
	} else {
		q.append(it)
	}
	return Queued
}

// with returns what counts with it at a place, and how many other items there are.
func (q *Queue) with(it *message.Encoded, at int) (total, others int) {
	total, others = q.Held()+cost(it), q.live
	if at >= 0 {
		total -= cost(q.items[at])
		others--
	}
	return total, others
}

// replaces returns where the item is whose place f takes, or -1. A message must not
// overtake others of its room that are of another kind, such as the answer to a
// join: then the older one goes, if there may be only one, or stays where it is, if
// there are few enough anyway.
func (q *Queue) replaces(f *message.Frame) int {
	i := q.find(placeOf(f))
	if i < 0 || !q.fenced(i, f.Room()) {
		return i
	}
	if f.Policy() == message.LatestOnly {
		q.forget(i)
		q.settle()
		q.lost++
	}
	return -1
}

// apply does what the policy of it asks for, to it or to what is pending.
func (q *Queue) apply(it *message.Encoded, at, hard int, busy bool) Verdict {
	total, others := q.with(it, at)
	crowded := others > 0 && total > hard/2
	switch it.Frame.Policy() {
	case message.Volatile:
		if busy || crowded {
			q.lost++
			return Dropped
		}
	case message.DropOldest:
		if crowded {
			q.dropOldest(it.Frame.Room(), total-hard/4)
		}
	case message.CatchUp, message.CatchUpLatest:
		q.behind = 0
		if crowded {
			q.behind = cost(it)
			return Behind
		}
	}
	return Queued
}

// replace puts it where an older item of its place is: one that changes often would
// never be at the head if each change put it at the end.
func (q *Queue) replace(at int, it *message.Encoded) {
	q.size += len(it.Bytes) - len(q.items[at].Bytes)
	q.items[at] = it
	q.lost++
}

// append puts it at the end. A full list is cleared of holes if it is mostly
// that: each hole is moved over once for each item that went.
func (q *Queue) append(it *message.Encoded) {
	if len(q.items) == cap(q.items) && len(q.items) > 2*q.live {
		q.compact()
	}
	if latest(it) {
		if q.where != nil {
			if q.latest == 0 {
				clear(q.where.fences)
			}
			q.where.index[placeOf(it.Frame)] = len(q.items)
		}
		q.latest++
	} else if q.latest > 0 && it.Frame != nil && q.where != nil {
		q.where.fences[it.Frame.Room()] = len(q.items)
	}
	q.items = append(q.items, it)
	q.live++
	q.size += len(it.Bytes)
}

func (q *Queue) compact() {
	kept, was := q.items[:0], q.where
	var fences map[string]int
	if was != nil {
		fences = make(map[string]int, len(was.fences))
	}
	for i, it := range q.items[q.head:] {
		if it == nil {
			continue
		}
		if was != nil && it.Frame != nil {
			if latest(it) {
				was.index[placeOf(it.Frame)] = len(kept)
			}
			if room := it.Frame.Room(); q.head+i <= was.fences[room] {
				fences[room] = len(kept)
			}
		}
		kept = append(kept, it)
	}
	clear(q.items[len(kept):])
	q.items, q.head = kept, 0
	if was != nil {
		was.fences = fences
	}
}

// find returns where the last item of a place is that can be replaced, or -1. While
// they are few it is most likely near the end.
func (q *Queue) find(p place) int {
	if q.where == nil && q.latest > few {
		q.number()
	}
	if q.where != nil {
		if i, ok := q.where.index[p]; ok {
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

// fenced reports whether an item that no newer one can replace came from the room
// after the i-th.
func (q *Queue) fenced(i int, room string) bool {
	if q.where == nil && len(q.items)-i > 8*few {
		q.number()
	}
	if q.where != nil {
		return i < q.where.fences[room]
	}
	for _, it := range q.items[i:] {
		if it != nil && it.Frame != nil && !latest(it) && it.Frame.Room() == room {
			return true
		}
	}
	return false
}

// number makes q.where.
func (q *Queue) number() {
	q.where = &where{make(map[place]int, 2*few), map[string]int{}}
	for i, it := range q.items {
		if latest(it) {
			q.where.index[placeOf(it.Frame)] = i
		} else if it != nil && it.Frame != nil {
			q.where.fences[it.Frame.Room()] = i
		}
	}
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
	if q.where != nil && q.latest > 0 {
		q.unfence(room)
	}
}

// unfence finds the last item of a room again that could be overtaken.
func (q *Queue) unfence(room string) {
	for i := q.where.fences[room]; i > q.head; i-- {
		if it := q.items[i]; it != nil && it.Frame != nil && !latest(it) && it.Frame.Room() == room {
			q.where.fences[room] = i
			return
		}
	}
	delete(q.where.fences, room)
}

// forget makes a hole of the i-th item, so that its frame can be freed.
func (q *Queue) forget(i int) {
	it := q.items[i]
	q.live--
	q.size -= len(it.Bytes)
	if q.latest > 0 && latest(it) {
		q.latest--
		if p := placeOf(it.Frame); q.where != nil && q.where.index[p] == i {
			delete(q.where.index, p)
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
		q.items, q.where = nil, nil
	}
}
