package room

import (
	"container/list"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// Latest rooms keep the newest message of each key (message.Envelope.Keyed; one
// without has the empty key). Who joins gets these at once, the one that changed
// longest ago first; of what a member could not take yet it gets only the newest
// of each key. A message that is message.Envelope.Volatile is not kept. They are
// kept by this process alone.
type Latest struct {
	// Keys is how many keys a room keeps, default 1,000, and Bytes how many bytes
	// these take in memory, default 256 KiB. What changed longest ago is dropped
	// first; the newest message stays, whatever its size. As who joins gets all of it
	// at once, Bytes must be less than what may be pending for a connection
	// (transport.WebSocketOptions.Pending, by default 1 MiB).
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

// What keeping costs besides the message itself.
const (
	valueCost = 512
	boardCost = 512
)

// boards have the newest messages of the rooms of a Manager.
type boards struct {
	opts Latest
	// turns keep what is kept and what is delivered in one order; a room has the
	// one at its hash.
	turns [shards]sync.Mutex

	mu    sync.Mutex
	rooms map[string]*list.Element // of byAge
	byAge list.List                // of *board; the one that did not change for longest first
	bytes int
}

// board has the newest messages of one room. boards.mu guards it.
type board struct {
	name    string
	changed time.Time
	keys    map[string]*list.Element // of byAge
	byAge   list.List                // of *message.Frame
	bytes   int
}

func (b *boards) turn(m *Manager, name string) *sync.Mutex {
	return &b.turns[maphash.String(m.seed, name)%shards]
}

// put keeps f as the newest of its key.
func (b *boards) put(name string, f *message.Frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.rooms[name]
	if at == nil {
		if b.rooms == nil {
			b.rooms = map[string]*list.Element{}
		}
		at = b.byAge.PushBack(&board{name: name, keys: map[string]*list.Element{}, bytes: boardCost + len(name)})
		b.rooms[name] = at
		b.bytes += boardCost + len(name)
	}
	one := at.Value.(*board)
	before := one.bytes
	one.put(f)
	for len(one.keys) > 1 && (len(one.keys) > b.opts.Keys || one.bytes > b.opts.Bytes) {
		one.drop(one.byAge.Front().Value.(*message.Frame).Key())
	}
	b.bytes += one.bytes - before
	one.changed = time.Now()
	b.byAge.MoveToBack(at)
	b.sweep(one.changed)
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

// frames returns what is kept of a room, the oldest change first.
func (b *boards) frames(name string) []*message.Frame {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(time.Now())
	at := b.rooms[name]
	if at == nil {
		return nil
	}
	one := at.Value.(*board)
	all := make([]*message.Frame, 0, len(one.keys))
	for e := one.byAge.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*message.Frame))
	}
	return all
}

func (o *board) put(f *message.Frame) {
	o.drop(f.Key())
	o.keys[f.Key()] = o.byAge.PushBack(f)
	o.bytes += cost(f)
}

func (o *board) drop(key string) {
	if e := o.keys[key]; e != nil {
		o.bytes -= cost(e.Value.(*message.Frame))
		o.byAge.Remove(e)
		delete(o.keys, key)
	}
}

// cost is what keeping a frame takes: its payload, and as much again for the
// compressed form that it may get.
func cost(f *message.Frame) int { return valueCost + len(f.Key()) + 2*len(f.Payload()) }

// post keeps f as the newest of its key and delivers it to who is there.
func (r *Room) post(f *message.Frame, except []string) {
	turn := r.manager.boards.turn(r.manager, r.name)
	turn.Lock()
	defer turn.Unlock()
	r.manager.boards.put(r.name, f)
	r.spread(f, except)
}

// joinBoard adds a member and gives it what is kept.
func (r *Room) joinBoard(a *arrival, j *join) error {
	turn := r.manager.boards.turn(r.manager, r.name)
	turn.Lock()
	defer turn.Unlock()
	there := r.Has(a.ID())
	if err := r.join(a, j); err != nil || there {
		return err
	}
	for _, f := range r.manager.boards.frames(r.name) {
		_ = a.Deliver(f)
	}
	return nil
}

// Forget drops what a Latest room keeps for a key. Members are not told.
func (r *Room) Forget(key string) {
	b := r.manager.boards
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.rooms[r.name]; at != nil {
		one := at.Value.(*board)
		before := one.bytes
		one.drop(key)
		b.bytes += one.bytes - before
	}
}
