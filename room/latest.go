package room

import (
	"container/list"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// Latest rooms keep the newest message of each key (message.Envelope.Keyed; one
// without has the empty key). Who joins gets these at once, the one that changed
// longest ago first, as fast as it can take them. A member that is too slow has no
// backlog, however many keys and rooms there are: it is told later of each key that
// has changed, in the order in which these began to differ from what it knows, and
// gets what the room then keeps of it, also if that is a message that it was left
// out of (Except). No key waits for one that changes more often. What the bounds
// below drop, neither gets.
//
// A message that is message.Envelope.Volatile is not kept. The rest is kept by this
// process alone.
//
// A Member is slow when Deliver returns message.ErrBehind, for frames of the policy
// message.CatchUpLatest. It gets the rest if it is a Drainer; of one that is not,
// what it has not taken is lost.
type Latest struct {
	// Keys is how many keys a room keeps, default 1,000, and Bytes how many bytes
	// these take in memory, default 256 KiB. What changed longest ago is dropped
	// first; the newest message stays, whatever its size.
	Keys, Bytes int
	// Total is how many bytes all rooms of the Manager keep together, default
	// 64 MiB. Rooms that did not change for longest lose what they keep first, and
	// those that did not for KeepFor, default an hour, lose it too.
	Total   int
	KeepFor time.Duration
}

func (Latest) delivery() {}

// Bound returns how many bytes the rooms of a Manager keep at most, defaults
// included.
func (d Latest) Bound() int { return d.withDefaults().Total }

func (d Latest) withDefaults() Latest {
	setDefault(&d.Keys, 1000)
	setDefault(&d.Bytes, 256<<10)
	setDefault(&d.Total, 64<<20)
	setDefault(&d.KeepFor, time.Hour)
	return d
}

// BoundBehind returns how many bytes are kept at most for one member of one room
// that is behind, defaults included.
func (d Latest) BoundBehind() int { return staleCost + linkCost*d.withDefaults().most() }

// most is how many slots a board has at most: for what is kept, for as much of what
// is past, and for what is too many.
func (d Latest) most() int { return 2 * (min(d.Keys, d.Bytes/valueCost) + 1) }

// What keeping costs besides the message itself.
const (
	valueCost = 512
	boardCost = 512
	slotCost  = 64 // of a place for a key, once there was one
)

// boards have the newest messages of the rooms of a Manager.
type boards struct {
	opts Latest
	// turns keep what is kept and what is delivered in one order; a room has the
	// one at its hash.
	turns [shards]sync.Mutex
	late  late

	mu    sync.Mutex
	rooms map[string]*list.Element // of byAge
	byAge list.List                // of *board; the one that did not change for longest first
	bytes int
	made  uint64 // boards
}

// board has the newest messages of one room, each in a slot. boards.mu guards
// changed and bytes, the room's turn the rest.
type board struct {
	name    string
	changed time.Time
	bytes   int
	serial  uint64 // tells it from another one of that room

	slots  map[string]int32 // by key
	frames []*message.Frame // by slot; nil: free
	free   []int32          // slots
	kept   shelf            // the oldest change first
	past   shelf            // what was forgotten, and those who are behind are to get
}

func (b *boards) turn(m *Manager, name string) *sync.Mutex {
	return &b.turns[maphash.String(m.seed, name)%shards]
}

// put keeps f as the newest of its key. It returns where, and what was dropped for
// it. The room's turn is held.
func (b *boards) put(name string, f *message.Frame) (one *board, slot int32, dropped []int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.rooms[name]
	if at == nil {
		if b.rooms == nil {
			b.rooms = map[string]*list.Element{}
		}
		b.made++
		at = b.byAge.PushBack(&board{name: name, serial: b.made, slots: map[string]int32{}, bytes: boardCost + len(name)})
		b.rooms[name] = at
		b.bytes += boardCost + len(name)
	}
	one = at.Value.(*board)
	before := one.bytes
	slot = one.put(f)
	dropped = one.trim(&one.kept, b.opts)
	b.bytes += one.bytes - before
	one.changed = time.Now()
	b.byAge.MoveToBack(at)
	b.sweep(one.changed)
	return one, slot, dropped
}

// sweep drops what is too old and what is too much. b.mu is held.
func (b *boards) sweep(now time.Time) {
	for oldest := b.byAge.Front(); oldest != nil; oldest = b.byAge.Front() {
		one := oldest.Value.(*board)
		if b.bytes <= b.opts.Total && now.Sub(one.changed) < b.opts.KeepFor {
			return
		}
		b.bytes -= one.bytes
		delete(b.rooms, one.name)
		b.byAge.Remove(oldest)
	}
}

// find returns what is kept of a room, or nil.
func (b *boards) find(name string) *board {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(time.Now())
	if at := b.rooms[name]; at != nil {
		return at.Value.(*board)
	}
	return nil
}

// change lets do change what is kept of a room. The room's turn is held.
func (b *boards) change(one *board, do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := one.bytes
	do()
	if at := b.rooms[one.name]; at != nil && at.Value.(*board) == one {
		b.bytes += one.bytes - before
	}
}

func (o *board) put(f *message.Frame) int32 {
	slot, ok := o.slots[f.Key()]
	switch {
	case ok:
		o.take(slot)
	case len(o.free) > 0:
		slot = o.free[len(o.free)-1]
		o.free = o.free[:len(o.free)-1]
	default:
		slot = int32(len(o.frames))
		o.frames = append(o.frames, nil)
		o.bytes += slotCost
	}
	o.slots[f.Key()], o.frames[slot] = slot, f
	o.add(&o.kept, slot)
	return slot
}

// shelf has slots, and how many bytes these take.
type shelf struct {
	chain
	n, bytes int
}

func (o *board) add(s *shelf, slot int32) {
	c := cost(o.frames[slot])
	s.push(slot)
	s.n++
	s.bytes += c
	o.bytes += c
}

// take takes a slot from its shelf.
func (o *board) take(slot int32) {
	c, s := cost(o.frames[slot]), &o.kept
	if !s.has(slot) {
		s = &o.past
	}
	s.remove(slot)
	s.n--
	s.bytes -= c
	o.bytes -= c
}

// trim drops what is too much, but leaves one, and returns the slots.
func (o *board) trim(s *shelf, opts Latest) (dropped []int32) {
	for s.n > 1 && (s.n > opts.Keys || s.bytes > opts.Bytes) {
		slot, _ := s.front()
		o.drop(slot)
		dropped = append(dropped, slot)
	}
	return dropped
}

func (o *board) drop(slot int32) {
	o.take(slot)
	delete(o.slots, o.frames[slot].Key())
	o.frames[slot] = nil
	o.free = append(o.free, slot)
}

// cost is what keeping a frame takes: its payload, and as much again for the
// compressed form that it may get.
func cost(f *message.Frame) int { return valueCost + len(f.Key()) + 2*len(f.Payload()) }

// post keeps f as the newest of its key and delivers it to who is there.
func (r *Room) post(f *message.Frame, except []string) {
	b := r.manager.boards
	turn := b.turn(r.manager, r.name)
	turn.Lock()
	defer turn.Unlock()
	one, slot, dropped := b.put(r.name, f)
	live := r.live()
	if live == nil {
		return
	}
	live.spare(one, dropped)
	for _, m := range live.offer(one, slot, except) {
		live.lag(m, one, slot)
	}
	live.tidy(one)
}

// joinBoard adds a member and gives it what is kept.
func (r *Room) joinBoard(a *arrival, j *join) error {
	b := r.manager.boards
	turn := b.turn(r.manager, r.name)
	turn.Lock()
	defer turn.Unlock()
	there := r.Has(a.ID())
	if err := r.join(a, j); err != nil || there && !j.anew {
		return err
	}
	one, live := b.find(r.name), r.live()
	if one == nil || live == nil || there && live.lacks(a.ID(), one) {
		return nil
	}
	for slot, ok := one.kept.front(); ok; slot, ok = one.kept.after(slot) {
		if err := a.Deliver(one.frames[slot]); err == nil || !errors.Is(err, message.ErrBehind) {
			continue
		}
		if m, ok := a.Member.(Drainer); ok {
			live.lag(m, one, slot)
			return nil
		}
	}
	return nil
}

// Forget drops what a Latest room keeps for a key. Members are not told; but who is
// behind still gets the newest message of the key, such as one that says that it is
// gone.
func (r *Room) Forget(key string) {
	b := r.manager.boards
	if b == nil {
		return
	}
	turn := b.turn(r.manager, r.name)
	turn.Lock()
	defer turn.Unlock()
	one := b.find(r.name)
	if one == nil {
		return
	}
	slot, ok := one.slots[key]
	switch {
	case !ok:
	case r.awaits(one, slot):
		var dropped []int32
		b.change(one, func() {
			one.take(slot)
			one.add(&one.past, slot)
			dropped = one.trim(&one.past, b.opts)
		})
		if live := r.live(); live != nil {
			live.spare(one, dropped)
		}
	default:
		b.change(one, func() { one.drop(slot) })
	}
}
