package room

import (
	"hash/maphash"
	"iter"
	"sync"

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
	// Presence tells members who comes and goes ("joined", "left", with the
	// member's state), and those who join who is there: by name up to 1,000
	// members, above that only how many.
	Presence bool
}

// Manager keeps rooms by name. It holds only rooms with members, so it needs no
// cleaning up.
type Manager struct {
	opts   Options
	slow   message.Policy
	boards *boards // of Latest rooms; else nil

	// of recoverable rooms
	delivery Recoverable
	class    engine.Class
	log      *Logs

	seed   maphash.Seed
	shards [shards]shard
}

// shards keep joins of different rooms from waiting for each other.
const shards = 32

type shard struct {
	mu    sync.RWMutex
	rooms map[string]*Room
}

// NewManager returns a Manager without rooms. nil means the zero Options. It
// panics for Recoverable rooms without Logs.
func NewManager(opts *Options) *Manager {
	m := &Manager{seed: maphash.MakeSeed()}
	if opts != nil {
		m.opts = *opts
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
	s := m.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.members) == 0 && !r.gone {
		r.gone = true
		delete(s.rooms, r.name)
	}
}

// Len returns how many rooms have members.
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

// All returns the rooms that have members, in no order. Rooms that come or go
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
