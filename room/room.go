package room

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// Member is who can be in a room. Two members of one room have different IDs. If
// a member also has a method User() string, that is who it belongs to.
type Member interface {
	ID() string
	// Deliver queues a frame. It must not block, must not modify the frame, and
	// must not call the room. An error is the member's own affair: whoever
	// cannot take frames leaves.
	Deliver(f *message.Frame) error
}

// Resident is a Member that knows which rooms it is in. Its methods are called
// under the lock of the room, in the order of what happens there: they must not
// block and must not call the room.
type Resident interface {
	Member
	// Entered says that the member is about to be in r. An error refuses: Join
	// returns it.
	Entered(r *Room) error
	// Left says that the member is no longer in r, because of itself or of
	// somebody else who called Leave. That calls what is returned when the room is
	// no longer locked.
	Left(r *Room) func()
}

// Room is a named set of members. The value stays usable when the room empties
// and fills again.
type Room struct {
	manager *Manager
	name    string

	mu      sync.RWMutex
	gone    bool // not, or no longer, in the manager: live() knows better
	members []member
	index   map[string]int // of members by ID; nil while there are few

	follow *follow // of a recoverable room; else nil
}

type member struct {
	Member
	public *public // nil: came without a state, to a room without presence
}

// public is what fellow members may know.
type public struct {
	state any
	said  message.Envelope // what the others were told, and are told at the end
	entry []byte           // present, as JSON; nil: nobody is told
}

// few members are searched one by one, without an index.
const few = 8

// named members are listed to those who join; more are only counted.
const named = 1000

// Name returns the room's name.
func (r *Room) Name() string { return r.name }

// live returns the room that has the members of this name, or nil.
func (r *Room) live() *Room {
	r.mu.RLock()
	gone := r.gone
	r.mu.RUnlock()
	if !gone {
		return r
	}
	return r.manager.live(r.name)
}

// JoinOption changes one call of Join.
type JoinOption func(*join)

type join struct {
	ack   string
	since string
	greet *message.Frame
	where *where // in a recoverable room, once that is known
}

// Ack makes Join queue, before anything else from the room, the protocol's
// answer to the question id: how many members there are and, with presence, who.
func Ack(id string) JoinOption { return func(j *join) { j.ack = id } }

// Since makes Join go on after that cursor, in a recoverable room: the answer
// says whether that is possible, and is followed by all that was missed. Other
// rooms ignore it.
func Since(cursor string) JoinOption { return func(j *join) { j.since = cursor } }

// Greet makes Join queue f for the member before anything else from the room. A
// member that is there already is not greeted.
func Greet(f *message.Frame) JoinOption { return func(j *join) { j.greet = f } }

// Join adds m with the state that fellow members may see, which is encoded as
// JSON; nil is fine. Joining twice changes nothing, not the state either. The
// error says that the state cannot be encoded, that ctx has ended, or that m is a
// Resident that refuses; in a recoverable room also, as a *message.Error, that
// its history is Unavailable or that Since is Invalid.
func (r *Room) Join(ctx context.Context, m Member, state any, opts ...JoinOption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var j join
	for _, o := range opts {
		o(&j)
	}
	p, joined, err := r.introduce(m, state)
	if err != nil {
		return err
	}
	if r.manager.log != nil {
		return r.enterAt(ctx, member{m, p}, joined, &j)
	}
	if r.manager.boards != nil {
		return r.joinBoard(member{m, p}, joined, &j)
	}
	return r.join(member{m, p}, joined, &j)
}

// join adds m to the live room.
func (r *Room) join(m member, joined *message.Frame, j *join) error {
	for {
		if done, err := r.manager.enter(r.name).add(m, joined, j); done {
			return err
		}
	}
}

// introduce encodes what the others will be told, before any lock is taken.
func (r *Room) introduce(m Member, state any) (*public, *message.Frame, error) {
	opts := &r.manager.opts
	if !opts.Presence {
		if state == nil {
			return nil, nil, nil
		}
		return &public{state: state}, nil, nil
	}
	codec := opts.Codec
	if codec == nil {
		codec = message.JSON
	}
	content, err := codec.Marshal(state)
	if err != nil {
		return nil, nil, fmt.Errorf("room: joining %q: the state cannot be encoded: %w", r.name, err)
	}
	e := message.New(envelope.Joined, message.Raw{Data: content})
	e.Room, e.From = r.name, m.ID()
	if u, ok := m.(interface{ User() string }); ok {
		e.User = u.User()
	}
	joined, err := message.Encode(e, nil, message.Disconnect)
	if err != nil {
		return nil, nil, fmt.Errorf("room: joining %q: %w", r.name, err)
	}
	entry, err := message.JSON.Marshal(present{e.From, e.User, content})
	return &public{state, e, entry}, joined, err
}

// present is one entry of the list that a member gets when it joins.
type present struct {
	From    string          `json:"from"`
	User    string          `json:"user,omitempty"`
	Content json.RawMessage `json:"content"`
}

// add adds m unless the room is gone.
func (r *Room) add(m member, joined *message.Frame, j *join) (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false, nil
	}
	return true, r.admit(m, joined, j)
}

// admit makes m a member if it is none. The answer and the announcement are
// queued under the lock, so nothing of the room reaches m before its answer. r.mu
// is held.
func (r *Room) admit(m member, joined *message.Frame, j *join) error {
	if r.find(m.ID()) < 0 {
		if err := r.enter(m); err != nil {
			return err
		}
		if joined != nil {
			r.deliver(joined, len(r.members)-1)
		}
		if j.greet != nil {
			_ = m.Deliver(j.greet)
		}
	}
	if j.ack != "" {
		_ = m.Deliver(r.welcome(j))
	}
	return nil
}

// enter puts m into the list. r.mu is held.
func (r *Room) enter(m member) error {
	if resident, ok := m.Member.(Resident); ok {
		if err := resident.Entered(r); err != nil {
			return err
		}
	}
	if r.index != nil {
		r.index[m.ID()] = len(r.members)
	} else if len(r.members) == few {
		r.index = make(map[string]int, 2*few)
		for i, m := range r.members {
			r.index[m.ID()] = i
		}
		r.index[m.ID()] = len(r.members)
	}
	r.members = append(r.members, m)
	return nil
}

// find returns the position of a member, or -1. r.mu is held.
func (r *Room) find(id string) int {
	if r.index != nil {
		if i, ok := r.index[id]; ok {
			return i
		}
		return -1
	}
	for i := range r.members {
		if r.members[i].ID() == id {
			return i
		}
	}
	return -1
}

// Leave removes m and reports whether it was there.
func (r *Room) Leave(m Member) bool {
	live := r.live()
	if live == nil {
		return false
	}
	there, empty, then := live.take(m.ID())
	if empty {
		live.manager.remove(live)
	}
	if there && live.follow != nil {
		if node, err := live.manager.log.feeds(); err == nil {
			node.Release(live.follow.feed)
		}
	}
	if then != nil {
		then()
	}
	return there
}

func (r *Room) take(id string) (there, empty bool, then func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(id)
	if i < 0 {
		return false, false, nil
	}
	m := r.members[i]
	last := len(r.members) - 1
	r.members[i] = r.members[last]
	r.members[last] = member{}
	r.members = r.members[:last]
	if r.index != nil {
		delete(r.index, id)
		if i < last {
			r.index[r.members[i].ID()] = i
		}
	}
	if r.follow != nil {
		r.follow.forget(m.Member)
	}
	if p := m.public; p != nil && p.entry != nil {
		p.said.Type = envelope.Left
		left, _ := message.Encode(p.said, nil, message.Disconnect) // was encoded before
		r.deliver(left, -1)
	}
	if resident, ok := m.Member.(Resident); ok {
		then = resident.Left(r)
	}
	return true, last == 0, then
}

// Has reports whether the member with that ID is in the room.
func (r *Room) Has(id string) bool {
	if r = r.live(); r == nil {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.find(id) >= 0
}

// Len returns the number of members.
func (r *Room) Len() int {
	if r = r.live(); r == nil {
		return 0
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.members)
}

// Members returns the IDs of the members and the states that they joined with,
// as they are when the iteration starts, in no order.
func (r *Room) Members() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, m := range r.snapshot() {
			var state any
			if m.public != nil {
				state = m.public.state
			}
			if !yield(m.ID(), state) {
				return
			}
		}
	}
}

func (r *Room) snapshot() []member {
	if r = r.live(); r == nil {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return append([]member(nil), r.members...)
}
