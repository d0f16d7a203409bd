package room

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/internal/feed"
	"github.com/hubbub-go/hubbub/message"
)

// Publisher is a Member that is told what became of its messages to recoverable
// rooms, see Once.
type Publisher interface {
	Member
	// Session is the same for one client over all its connections.
	Session() Session
	// Published says, in the message's place among those of the room, that the
	// message with that id is stored. It is called as Deliver is, with the same
	// meaning of its error.
	Published(room, id, cursor string) error
}

// Drainer is a Member that can be behind, in recoverable rooms and in Latest ones:
// whose Deliver returns message.ErrBehind. It gets what it missed when it says so.
type Drainer interface {
	Member
	// Drained returns a channel that is closed when there is room for more, or
	// never will be.
	Drained() <-chan struct{}
}

// follow is what a live recoverable room has besides its members.
type follow struct {
	feed *feed.Feed // opened once by each member

	order sync.Mutex // held while what the feed says is passed on
	at    engine.Position

	// guarded by Room.mu
	lagging map[string]*lag // members that are behind, by ID
}

// out is where a room's feed delivers to: the room of that name as it then is.
type out struct {
	manager *Manager
	name    string
}

// Entry implements feed.Out.
func (o out) Entry(e engine.Entry) {
	var rec record
	if r := o.manager.live(o.name); r != nil && rec.parse(e.Data) == nil {
		r.pass(e.Position, &rec)
	}
}

// Gap implements feed.Out.
func (o out) Gap(g feed.Gap) {
	r := o.manager.live(o.name)
	if r == nil {
		return
	}
	told := r.gap(g.Reason, g.To)
	f := r.follow
	f.order.Lock()
	defer f.order.Unlock()
	f.at = g.To
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range r.members {
		if f.lagging[r.members[i].ID()] == nil { // who is behind will see for itself
			_ = r.members[i].Deliver(told)
		}
	}
}

// where says at which place of its room's history a member is.
type where struct {
	at      engine.Position
	resumed bool        // it said where it had been
	gap     feed.Reason // why it cannot go on from there
}

// append writes the members of a JSON object.
func (w where) append(b []byte) []byte {
	b = append(append(append(b, `"cursor":"`...), w.at.String()...), '"')
	switch {
	case w.gap != "":
		b = append(append(append(b, `,"recovered":false,"reason":"`...), w.gap...), '"')
	case w.resumed:
		b = append(b, `,"recovered":true`...)
	}
	return b
}

// gap is the notice that something is missing.
func (r *Room) gap(reason feed.Reason, to engine.Position) *message.Frame {
	content := where{at: to, gap: reason}.append([]byte{'{'})
	e := message.New(envelope.Gap, envelope.Checked(append(content, '}')))
	e.Room = r.name
	f, _ := message.Encode(e, nil, message.Disconnect) // made of checked parts
	return f
}

// pass hands an entry on to all members but those who are to have it otherwise.
func (r *Room) pass(at engine.Position, rec *record) {
	f := r.follow
	cursor := at.String()
	frame := message.Kept(rec.payload, rec.binary, r.name, cursor)
	f.order.Lock()
	defer f.order.Unlock()
	before := f.at
	f.at = at
	for _, m := range r.passTo(frame, rec, cursor) {
		r.fallBehind(m, before)
	}
}

// passTo returns the members that did not get it as they are too slow.
func (r *Room) passTo(frame *message.Frame, rec *record, cursor string) (behind []Member) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f := r.follow
	special := len(f.lagging) > 0 || len(rec.except) > 0
	from := r.from(rec)
	for i := range r.members {
		m := r.members[i].Member
		if special && (f.lagging[m.ID()] != nil || rec.excepts(&r.members[i])) {
			continue
		}
		own := i == from || rec.own(&r.members[i])
		var err error
		if !own || !rec.skip {
			err = m.Deliver(frame)
		}
		if own && err == nil {
			err = rec.tell(m, r.name, cursor)
		}
		if err != nil && errors.Is(err, message.ErrBehind) {
			behind = append(behind, m)
		}
	}
	return behind
}

// Renew notes that a member's Session has changed since it joined.
// With Presence.Grace it is who has come back if one of that session was dropped.
func (r *Room) Renew(m Publisher) {
	live := r.live()
	if live == nil || live.follow == nil && live.roster == nil {
		return
	}
	live.mu.Lock()
	defer live.mu.Unlock()
	i := live.find(m.ID())
	if i >= 0 && live.follow != nil {
		live.members[i].session = sessionOf(m)
	}
	if i >= 0 && live.roster != nil {
		live.roster.renew(&live.members[i])
	}
}

// from returns where the member is from which an entry came, or -1. r.mu is held.
func (r *Room) from(rec *record) int {
	if rec.sender == (Session{}) || rec.from == "" {
		return -1
	}
	return r.find(rec.from)
}

// own reports whether an entry is of a member's session: one client may have two
// connections for a while, and never knows which of them was heard.
func (r *record) own(m *member) bool {
	return r.sender != (Session{}) && r.sender == m.session
}

func (r *record) excepts(m *member) bool {
	return len(r.except) > 0 && slices.Contains(r.except, m.session)
}

// tell tells the sender that its message is stored, if it wants to know.
func (r *record) tell(m Member, room, cursor string) error {
	if p, ok := m.(Publisher); ok && r.id != "" {
		return p.Published(room, r.id, cursor)
	}
	return nil
}

// Answer queues the answer of a handler that has published: full, which says at
// which cursor, if nothing else from the room has been queued since, otherwise
// bare, which does not: a member's cursor must not go back.
func (r *Room) Answer(m Member, cursor string, full, bare *message.Frame) error {
	live := r.live()
	if live == nil || live.follow == nil {
		return m.Deliver(full)
	}
	live.follow.order.Lock()
	defer live.follow.order.Unlock()
	if live.follow.at.String() == cursor {
		return m.Deliver(full)
	}
	return m.Deliver(bare)
}

// enterAt opens the feed of the room for a member and adds the member to the
// room in its place among the messages.
func (r *Room) enterAt(ctx context.Context, a *arrival, j *join) error {
	node, err := r.manager.log.feeds(ctx)
	if err != nil {
		return clientError(err)
	}
	f, err := node.Open(ctx, r.topic(), out{r.manager, r.name})
	if err != nil {
		return clientError(err)
	}
	entered := make(chan error, 1)
	attach := func(missed []engine.Entry, at engine.Position, _ feed.Reason) {
		entered <- r.attach(f, a, j, missed, at)
	}
	if err = r.resume(ctx, f, j, attach); err == nil {
		err = <-entered // attach was or is about to be called, whatever becomes of ctx
	}
	if err != nil {
		node.Release(f)
	}
	if errors.Is(err, errThere) {
		return nil
	}
	return clientError(err)
}

// errThere: the member was in the room already, and needs no feed.
var errThere = errors.New("room: joined twice")

// resume calls attach where the member is to go on: from where it was, from the
// messages that are replayed to everybody, or from now.
func (r *Room) resume(ctx context.Context, f *feed.Feed, j *join, attach feed.Attach) error {
	if j.since != nil {
		from, err := engine.ParsePosition(*j.since)
		if err != nil {
			return &message.Error{Code: message.Invalid, Message: "this is no cursor", Field: "since"}
		}
		return f.Resume(ctx, from, func(missed []engine.Entry, at engine.Position, gap feed.Reason) {
			j.where = &where{at: at, resumed: true, gap: gap}
			if gap == "" {
				j.where.at = from // until it has processed what follows
			}
			attach(missed, at, gap)
		})
	}
	now := func(_ []engine.Entry, at engine.Position, _ feed.Reason) {
		j.where, j.anew = &where{at: at}, false
		attach(nil, at, "")
	}
	if n := r.manager.delivery.Replay; n > 0 {
		latest, err := r.latest(ctx, n+1)
		if err != nil {
			return err
		}
		if len(latest) > 0 {
			return f.Resume(ctx, latest[len(latest)-1].Position, func(missed []engine.Entry, at engine.Position, gap feed.Reason) {
				if gap != "" {
					now(nil, at, "")
					return
				}
				all := append(slices.Clip(latest), missed...)
				// In front of all that is kept; of what was there no tag is known.
				j.where = &where{at: engine.Position{Epoch: at.Epoch, Offset: all[0].Prev}}
				if len(all) > n {
					j.where.at = all[len(all)-n-1].Position
					all = all[len(all)-n:]
				}
				attach(all, at, "")
			})
		}
	}
	return f.Join(now)
}

// attach adds the member to the live room, between two of its messages, and gives
// it what it missed.
func (r *Room) attach(f *feed.Feed, a *arrival, j *join, missed []engine.Entry, at engine.Position) error {
	for {
		live := r.manager.enter(r.name)
		live.follow.order.Lock()
		done, err := live.attachHere(f, a, j, at)
		if done && (err == nil || errors.Is(err, errThere) && j.anew) {
			live.catch(a.Member, missed, j.where.at, j.where.resumed)
		}
		live.follow.order.Unlock()
		if err != nil {
			r.manager.remove(live) // it may have been made for this one
		}
		if done {
			return err
		}
	}
}

// feed is what the room follows.
func (r *Room) feed() *feed.Feed {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.follow.feed
}

// attachHere is add for a recoverable room. follow.order is held.
func (r *Room) attachHere(f *feed.Feed, a *arrival, j *join, at engine.Position) (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false, nil
	}
	there := r.find(a.ID()) >= 0
	l := r.follow.lagging[a.ID()]
	j.anew = j.since != nil || j.anew && !l.before(j.where.at) // or else it gets that, and more, anyway
	switch {
	case there && j.anew:
		r.follow.stopLag(a.ID()) // it goes on from where it says, or from what is replayed
	case there:
		j.where = &where{at: r.follow.at} // as if it had joined now: nothing changes
		if l != nil {
			j.where.at = l.at
		}
	}
	if err := r.admit(a, j); err != nil {
		return true, err
	}
	if there {
		return true, errThere
	}
	r.follow.feed, r.follow.at = f, at
	return true, nil
}
