package room

import (
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/message"
)

// Options say how the rooms of a Manager behave. The zero value is right for
// rooms that announce nobody, and in which a message reaches whoever is there.
type Options struct {
	// Codec encodes content; nil is message.JSON.
	Codec message.Codec
	// Delivery is what is promised about messages; nil is Ephemeral{}.
	Delivery Delivery
	// Logs has the engine of Recoverable rooms; Class, a name that no other
	// Manager of these Logs has, says where it keeps them. It is the same on every
	// node and after every restart.
	Logs  *Logs
	Class string
	// Presence tells members who is there, who comes and who goes; nil: nobody
	// is told.
	Presence *Presence
	// Occupied is called with the name of a room that has got its first member,
	// Vacated with that of one whose last member has left, Presence.Grace
	// included. Calls for one room come one at a time and in order, after the
	// fact and under no lock, on the goroutine that made the change, or on that
	// which is in such a call for the room already: a hook holds up nobody else,
	// and may use the room. One that returns after its room has emptied and
	// filled again is not called for that.
	Occupied, Vacated func(name string)
}

// Manager keeps rooms by name. It holds only rooms with members, and those with
// members that may be back within Presence.Grace, so it needs no cleaning up; but
// see Close.
type Manager struct {
	opts   Options
	slow   message.Policy
	boards *boards // of Latest rooms; else nil
	graces graces

	// of recoverable rooms
	delivery Recoverable
	class    engine.Class
	log      *Logs

	seed   maphash.Seed
	shards [shards]shard
	hooks  hooks

	closed  atomic.Bool
	ringing sync.WaitGroup // a count for each alarm that is set or goes off
}

// shards keep joins of different rooms from waiting for each other.
const shards = 32

type shard struct {
	mu    sync.RWMutex
	rooms map[string]*Room
}

// NewManager returns a Manager without rooms. nil means the zero Options. It
// panics for Recoverable rooms without Logs, or for more Bytes than the engine of
// these allows, if it is one of package engine/memory.
func NewManager(opts *Options) *Manager {
	m := &Manager{seed: maphash.MakeSeed()}
	if opts != nil {
		m.opts = *opts
	}
	if p := m.opts.Presence; p != nil {
		own := *p
		m.opts.Presence = &own
		m.graces.most = own.most()
	}
	switch d := m.opts.Delivery.(type) {
	case Ephemeral:
		m.slow = d.Slow
	case Latest:
		m.slow, m.boards = message.LatestOnly, &boards{opts: d.withDefaults()}
	case Recoverable:
		if m.opts.Logs == nil {
			panic("room: Recoverable rooms need Options.Logs")
		}
		m.delivery, m.log = d.withDefaults(), m.opts.Logs
		m.class = m.delivery.class(m.opts.Class)
		m.log.provision(m.class)
	}
	return m
}

// Close ends all grace at once, tells what is waiting to be told, and waits until
// no timer of the rooms runs any more, nor a hook that one has called. The rooms
// can still be used; what changes is told one by one from now on, and Drop is
// Leave. Without Presence there is nothing to close. It must not be called by a
// hook.
func (m *Manager) Close() {
	m.closed.Store(true)
	if m.opts.Presence == nil {
		return
	}
	for r := range m.All() {
		r.mu.Lock()
		if !r.gone {
			r.roster.close(time.Now())
		}
		empty := r.empty()
		r.mu.Unlock()
		if empty {
			m.remove(r)
		}
	}
	m.ringing.Wait()
}

func (m *Manager) shard(name string) *shard {
	return &m.shards[maphash.String(m.seed, name)%shards]
}

// Get returns the room of that name. It need not have members: the first Join
// makes it live.
func (m *Manager) Get(name string) *Room {
	if r := m.live(name); r != nil {
		return r
	}
	return &Room{manager: m, name: name, gone: true}
}

// live returns the room if it has members.
func (m *Manager) live(name string) *Room {
	s := m.shard(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rooms[name]
}

// enter returns the live room of that name, making it if need be. It may have
// been removed again when the caller locks it.
func (m *Manager) enter(name string) *Room {
	s := m.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[name]
	if r == nil {
		r = &Room{manager: m, name: name}
		if m.opts.Presence != nil {
			r.roster = newRoster(r)
		}
		if m.log != nil {
			r.follow = &follow{}
		}
		if s.rooms == nil {
			s.rooms = map[string]*Room{}
		}
		s.rooms[name] = r
	}
	return r
}

// remove forgets r if it is still empty.
func (m *Manager) remove(r *Room) {
	m.forget(r)
	m.tell(r.name)
}

func (m *Manager) forget(r *Room) {
	s := m.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty() && !r.gone {
		r.gone = true
		delete(s.rooms, r.name)
		if r.roster != nil {
			r.roster.disarm()
		}
		m.note(r.name, false)
	}
}

// Len returns how many rooms have members, or had some that may be back within
// Presence.Grace.
func (m *Manager) Len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += len(s.rooms)
		s.mu.RUnlock()
	}
	return n
}

// All returns the rooms that Len counts, in no order. Rooms that come or go
// meanwhile may be missing or there.
func (m *Manager) All() iter.Seq[*Room] {
	return func(yield func(*Room) bool) {
		for i := range m.shards {
			s := &m.shards[i]
			s.mu.RLock()
			rooms := make([]*Room, 0, len(s.rooms))
			for _, r := range s.rooms {
				rooms = append(rooms, r)
			}
			s.mu.RUnlock()
			for _, r := range rooms {
				if !yield(r) {
					return
				}
			}
		}
	}
}
