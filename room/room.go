package room

import (
	"context"
	"iter"
	"sync"

	"github.com/hubbub-go/hubbub/message"
)

// Member is who can be in a room. Two members of one room have different IDs. If
// a member also has a method User() string, that is who it belongs to; if it has
// Session() Session, as a Publisher, one that is not zero is what it is recognised
// by when it comes back with another ID (Drop). Neither may call the room.
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

	follow *follow           // of a recoverable room; else nil
	stale  map[string]*stale // the members of a Latest room that are behind, by ID
	roster *roster           // nil without presence
	noted  bool              // as occupied
}

type member struct {
	Member
	public  *public // nil: came without a state, to a room without presence
	session Session // in a recoverable room: asking for it costs a lock
}

// few members are searched one by one, without an index.
const few = 8

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
	since *string // nil: it did not say
	anew  bool
	greet *message.Frame
	where *where // in a recoverable room, once that is known
}

// Ack makes Join queue, before anything else from the room, the protocol's
// answer to the question id: how many members there are and, with presence, who.
// With presence those in grace count, and with Presence.ByUser each user once.
func Ack(id string) JoinOption { return func(j *join) { j.ack = id } }

// Since makes Join go on after that cursor, in a recoverable room: the answer
// says whether that is possible, and is followed by all that was missed. For a
// member that is there already this is all that Join does: what it has got since
// then, it gets again. Other rooms ignore it.
func Since(cursor string) JoinOption { return func(j *join) { j.since = &cursor } }

// Anew makes Join give a member that is there already what it gives to one that comes:
// what a Latest room keeps, or the Replay of a recoverable one. What it has got of that,
// it gets again. Where there is nothing to replay, or with Since, this does nothing.
func Anew() JoinOption { return func(j *join) { j.anew = true } }

// Greet makes Join queue f for the member before anything else from the room. A
// member that is there already is not greeted.
func Greet(f *message.Frame) JoinOption { return func(j *join) { j.greet = f } }

// Join adds m with the state that fellow members may see, which is encoded as
// JSON; nil is fine, and a message.Raw is JSON already. Joining twice changes
// nothing, not the state either: see Update, Since and Anew. The error says that, in a room with
// presence, the state cannot be encoded or is too large, more than 4 KiB (a
// *message.Error with the code Invalid), that ctx has ended, or that m is a
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
	a, err := r.introduce(m, state)
	if err != nil {
		return err
	}
	switch {
	case r.manager.log != nil:
		err = r.enterAt(ctx, &a, &j)
	case r.manager.boards != nil:
		err = r.joinBoard(&a, &j)
	default:
		err = r.join(&a, &j)
	}
	r.manager.tell(r.name)
	return err
}

// join adds a member to the live room.
func (r *Room) join(a *arrival, j *join) error {
	for {
		live := r.manager.enter(r.name)
		if done, err := live.add(a, j); done {
			if err != nil {
				r.manager.remove(live) // it may have been made for this one
			}
			return err
		}
	}
}

// add adds a member unless the room is gone.
func (r *Room) add(a *arrival, j *join) (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false, nil
	}
	return true, r.admit(a, j)
}

// admit makes a member of a if it is none. The answer and the announcement are
// queued under the lock, so nothing of the room reaches it before its answer.
// r.mu is held.
func (r *Room) admit(a *arrival, j *join) error {
	i := r.find(a.ID())
	if i < 0 {
		if err := r.enter(a); err != nil {
			return err
		}
		i = len(r.members) - 1
		if j.greet != nil {
			_ = a.Deliver(j.greet)
		}
	}
	if j.ack != "" {
		_ = a.Deliver(r.welcome(j))
	}
	if r.roster != nil && (j.ack != "" || r.members[i].public == a.public) {
		r.members[i].public.seen = r.roster.changes
	}
	return nil
}

// enter puts a member into the list. r.mu is held.
func (r *Room) enter(a *arrival) error {
	if resident, ok := a.Member.(Resident); ok {
		if err := resident.Entered(r); err != nil {
			return err
		}
	}
	if r.follow != nil { // not before Entered: from there on whoever changes the session calls Renew
		a.session = sessionOf(a.Member)
	}
	if r.roster != nil {
		r.roster.come(a)
	}
	if r.index != nil {
		r.index[a.ID()] = len(r.members)
	} else if len(r.members) == few {
		r.index = make(map[string]int, 2*few)
		for i, m := range r.members {
			r.index[m.ID()] = i
		}
		r.index[a.ID()] = len(r.members)
	}
	r.members = append(r.members, a.member)
	if !r.noted {
		r.noted = true
		r.manager.note(r.name, true)
	}
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

// Leave removes m and reports whether it was there. It ends the grace of one that
// was dropped.
func (r *Room) Leave(m Member) bool { return r.part(m, false) }

func (r *Room) part(m Member, drop bool) bool {
	live := r.live()
	if live == nil {
		return false
	}
	t := live.take(m, drop)
	if t.empty {
		live.manager.forget(live)
	}
	if t.member && live.follow != nil {
		if node, err := live.manager.log.feeds(context.Background()); err == nil { // they have started: it was there
			node.Release(live.feed())
		}
	}
	if t.then != nil {
		t.then()
	}
	if t.empty {
		live.manager.tell(live.name)
	}
	if drop {
		live.manager.curtail()
	}
	return t.member || t.listed
}

// taken is what came of taking a member out.
type taken struct {
	member bool   // it was one
	listed bool   // it was in grace
	empty  bool   // nobody is left
	then   func() // to be called when the room is no longer locked
}

func (r *Room) take(one Member, drop bool) (t taken) {
	id := one.ID()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(id)
	if i < 0 {
		t.listed = !drop && r.roster != nil && r.roster.give(id, userOf(one))
		t.empty = t.listed && r.empty()
		return t
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
		r.follow.stopLag(m.ID())
	}
	r.drop(id)
	if r.roster != nil {
		r.roster.part(m, drop)
	}
	if resident, ok := m.Member.(Resident); ok {
		t.then = resident.Left(r)
	}
	t.member, t.empty = true, r.empty()
	return t
}

// empty reports whether nobody is here and nobody may be back. r.mu is held.
func (r *Room) empty() bool {
	return len(r.members) == 0 && (r.roster == nil || len(r.roster.entries) == 0)
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

// Len returns the number of members, without those in grace.
func (r *Room) Len() int {
	if r = r.live(); r == nil {
		return 0
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.members)
}

// Members returns the IDs of the members and their states, as they are when the
// iteration starts, in no order. Those in grace are not there.
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
