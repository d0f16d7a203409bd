package room

import (
	"container/list"
	"slices"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
)

// roster is the list of who is in a room with presence, and what its members know
// of it. The room's lock guards it.
//
// Every member has been shown the list as it was after some change: "told" is
// the last change that all were told of, and public.seen is a later one, for a
// member that joined while changes were gathered. When those are told, whoever
// knows the list of "told" gets the difference, and the others get the list.
type roster struct {
	room    *Room
	entries []*entry
	size    int               // of the entries as JSON
	users   map[string]*entry // by user; with ByUser
	known   map[string]*entry // by session; with Grace
	away    map[string]*entry // in grace, by the ID of the member that was dropped
	grace   list.List         // of them, the next to end first

	changes, told uint64
	rate          rate
	batch         batch // what has changed since told
	counting      bool  // too many, or Presence.Count: only numbers are told
	count         count
	due           time.Time // when batch or count are told; zero: nothing is waiting
	alarm         alarm
}

// entry is one line of the list: a member, or with ByUser a user.
type entry struct {
	from, user string
	head       []byte  // {"from":…,"user":… as JSON
	content    []byte  // the state as JSON
	place      int     // among the entries; -1: not listed
	peers      int     // members that it stands for
	session    string  // whose entry it is; with Grace
	owner      *public // the member that it is named after; nil: a user's
	older      []claim // what it was for other members of the session, the newest last
	tabs       *tabs   // a user's, with Grace; else nil

	grace  *list.Element // nil: it is not in grace
	absent *list.Element // of the manager's graces
	until  time.Time     // when that ends
	away   string        // its key in roster.away

	told *told // nil: as it is
}

// claim is what an entry was for a member that another of its session took it from.
type claim struct {
	owner         *public
	from          string
	head, content []byte
}

// told is an entry as the members know it, while changes are gathered.
type told struct {
	from          string // "": they know none
	head, content []byte
	order         uint64 // of the first change
}

// between is what stands between head and content.
const between = `,"content":`

func (e *entry) size() int { return len(e.head) + len(between) + len(e.content) + len("},") }

func (e *entry) append(b, head []byte) []byte {
	b = append(append(b, head...), between...)
	return append(append(b, e.content...), '}')
}

func newRoster(r *Room) *roster {
	return &roster{room: r, counting: r.manager.opts.Presence.Count, count: count{shown: -1}}
}

func (o *roster) opts() *Presence { return o.room.manager.opts.Presence }

// come puts a member on the list, or finds it there, and tells the others. It is
// not among the members yet.
func (o *roster) come(a *arrival) {
	e := o.find(a)
	if e == nil {
		e = o.add(a)
	} else {
		from, head := e.from, e.head
		if e.owner != nil { // it is here before its old connection is known to be gone
			e.older = append(e.older, claim{e.owner, e.from, e.head, e.content})
		}
		if o.stay(e) || !o.byUser(a.user) {
			from, head = a.ID(), a.head
		}
		o.alter(e, from, a.user, head, a.content)
	}
	if !o.byUser(a.user) {
		e.owner = a.public
	}
	if e.tabs != nil {
		e.tabs.open(tab{id: a.ID(), session: session(a.Member)})
	}
	e.peers++
	a.public.entry = e
}

// find returns the entry that a belongs to: of its user, or its own of before.
func (o *roster) find(a *arrival) *entry {
	own := o.away[a.ID()]
	if own != nil && own.user != a.user {
		o.give(a.ID(), own.user) // it was somebody else
		own = nil
	}
	switch {
	case o.byUser(a.user):
		return o.users[a.user]
	case own != nil || len(o.known) == 0:
		return own
	}
	if e := o.known[session(a.Member)]; e != nil && e.user == a.user {
		return e
	}
	return nil
}

func (o *roster) byUser(user string) bool { return user != "" && o.opts().ByUser }

// session is what m's session is known by, or "".
func session(m Member) string {
	if s, ok := m.(interface{ Session() Session }); ok {
		if id := s.Session(); id != (Session{}) {
			return "session " + string(id[:])
		}
	}
	return ""
}

func (o *roster) add(a *arrival) *entry {
	e := o.batch.revive(o.key(a.ID(), a.user))
	if e == nil {
		e = &entry{place: -1}
	}
	one := o.note(e, len(o.entries)+1)
	e.from, e.user, e.head, e.content = a.ID(), a.user, a.head, a.content
	e.place = len(o.entries)
	o.entries = append(o.entries, e)
	o.size += e.size()
	if o.byUser(e.user) {
		if o.users == nil {
			o.users = map[string]*entry{}
		}
		o.users[e.user] = e
		if o.opts().Grace > 0 {
			e.tabs = &tabs{}
		}
	} else if o.opts().Grace > 0 {
		o.know(e, session(a.Member))
	}
	if one {
		o.room.deliver(a.joined, -1)
	}
	o.settle()
	return e
}

// know makes an entry that of a session, or of none.
func (o *roster) know(e *entry, session string) {
	if o.known[e.session] == e {
		delete(o.known, e.session)
	}
	if e.session = session; session == "" {
		return
	}
	if o.known == nil {
		o.known = map[string]*entry{}
	}
	o.known[session] = e
}

// renew moves a member, whose session has changed, to the entry of that, as if it had
// left and come back. Both are told in one message.
func (o *roster) renew(m *member) {
	p, id := m.public, session(m.Member)
	e := p.entry
	switch {
	case e.tabs != nil:
		e.tabs.renew(tab{id: m.ID(), session: id})
		return
	case o.opts().Grace <= 0 || e.session == id:
		return
	case e.peers == 1 && (o.known[id] == nil || o.known[id].user != e.user):
		o.know(e, id)
		return
	}
	a := &arrival{member: *m, user: e.user, head: e.head, content: e.content}
	for _, c := range e.older {
		if c.owner == p {
			a.head, a.content = c.head, c.content
		}
	}
	o.batch.held, o.alarm.off = true, true
	if e.peers--; e.peers == 0 {
		o.remove(e)
	} else {
		o.giveBack(e, p)
	}
	o.come(a)
	o.batch.held, o.alarm.off = false, false
	if now := time.Now(); !o.counting && !o.due.IsZero() && !o.due.After(now) {
		o.flush(now)
	}
	o.arm()
}

// alter changes an entry.
func (o *roster) alter(e *entry, from, user string, head, content []byte) {
	was := e.from
	if was == from && envelope.Same(e.content, content) {
		return
	}
	one := o.note(e, len(o.entries))
	o.size -= e.size()
	e.from, e.user, e.head, e.content = from, user, head, content
	o.size += e.size()
	if one {
		o.room.deliver(o.frame(appendList(o.members(), "updated", [][]byte{e.updated(was)})), -1)
	}
	o.settle()
}

// remove takes an entry off the list.
func (o *roster) remove(e *entry) {
	one := o.note(e, len(o.entries)-1)
	last := len(o.entries) - 1
	o.entries[e.place] = o.entries[last]
	o.entries[e.place].place = e.place
	o.entries[last] = nil
	o.entries = o.entries[:last]
	e.place, e.owner, e.tabs = -1, nil, nil // and with the owner the application's state
	o.size -= e.size()
	if o.byUser(e.user) {
		delete(o.users, e.user)
	}
	o.know(e, "")
	switch {
	case one:
		left, _ := o.room.change(envelope.Left, e.from, e.user, e.content) // was encoded before
		o.room.deliver(left, -1)
	case !o.counting:
		o.batch.lose(e, o.key)
	}
	o.settle()
}

// part is what happens to the entry of a member that has been taken out.
func (o *roster) part(m member, drop bool) {
	e := m.public.entry
	gone := tab{id: m.ID()}
	if drop && o.opts().Grace > 0 && !o.room.manager.closed.Load() {
		gone.until = time.Now().Add(o.opts().Grace)
	}
	if e.tabs != nil {
		gone = e.tabs.shut(gone)
	}
	if e.peers--; e.peers > 0 {
		o.giveBack(e, m.public)
		return
	}
	e.owner = nil
	o.expect(e, gone)
}

// expect begins the grace of an entry, or goes on with that of another of its members;
// without a time it ends the entry.
func (o *roster) expect(e *entry, gone tab) {
	if gone.until.IsZero() {
		o.remove(e)
		return
	}
	after := o.grace.Back()
	for after != nil && after.Value.(*entry).until.After(gone.until) {
		after = after.Prev()
	}
	if e.until = gone.until; after == nil {
		e.grace = o.grace.PushFront(e)
	} else {
		e.grace = o.grace.InsertAfter(e, after)
	}
	e.absent = o.room.manager.graces.add(o.room, e, o.grace.Len() == 1)
	e.away = gone.id
	if o.away == nil {
		o.away = map[string]*entry{}
	}
	o.away[e.away] = e
	o.arm()
}

// giveBack takes what a member has of an entry that stands for others, too. Where it
// was named after that one, it is named after the newest of them again.
func (o *roster) giveBack(e *entry, p *public) {
	last := len(e.older) - 1
	switch {
	case last < 0: // a user's
	case e.owner != p:
		e.older = slices.DeleteFunc(e.older, func(c claim) bool { return c.owner == p })
	default:
		c := e.older[last]
		e.older = slices.Delete(e.older, last, last+1)
		e.owner = c.owner
		o.alter(e, c.from, e.user, c.head, c.content)
	}
}

// restate gives a member another state, with what stands for it from now on.
func (o *roster) restate(old, p *public, content []byte) {
	e := p.entry
	for i := range e.older {
		if c := &e.older[i]; c.owner == old { // what is seen is that of a newer one
			c.owner, c.content = p, content
			return
		}
	}
	if e.owner == old {
		e.owner = p
	}
	o.alter(e, e.from, e.user, e.head, content)
}

// stay ends the grace of an entry, if it is in grace.
func (o *roster) stay(e *entry) bool {
	if e.grace == nil {
		return false
	}
	o.grace.Remove(e.grace)
	o.room.manager.graces.remove(e.absent, o.grace.Len() == 0)
	e.grace, e.absent = nil, nil
	if o.away[e.away] == e {
		delete(o.away, e.away)
	}
	return true
}

// give ends the grace of the member that had this ID, and its entry unless that stands
// for others of the user.
func (o *roster) give(id, user string) bool {
	e := o.away[id]
	if e == nil && o.byUser(user) {
		e = o.users[user]
	}
	if e == nil {
		return false
	}
	var next tab
	if e.tabs != nil {
		var was bool
		if next, was = e.tabs.forget(id); !was {
			return false
		}
	}
	if e.peers == 0 {
		o.stay(e)
		o.expect(e, next)
	}
	return true
}

// wake does what is due.
func (o *roster) wake(now time.Time) {
	o.disarm()
	o.alarm.off = true
	for f := o.grace.Front(); f != nil && !f.Value.(*entry).until.After(now); f = o.grace.Front() {
		e := f.Value.(*entry)
		o.stay(e)
		o.remove(e)
	}
	if !o.due.IsZero() && !o.due.After(now) {
		o.flush(now)
	}
	o.alarm.off = false
	o.arm()
}

// close ends all grace and tells what is waiting.
func (o *roster) close(now time.Time) {
	o.disarm()
	if o.grace.Len() > 0 {
		o.due = now // however many, in one message
	}
	for f := o.grace.Front(); f != nil; f = o.grace.Front() {
		e := f.Value.(*entry)
		o.stay(e)
		o.remove(e)
	}
	if !o.due.IsZero() {
		o.flush(now)
	}
}

// alarm is the one timer of a room. The manager waits for those that go off.
type alarm struct {
	timer *time.Timer
	at    time.Time // when it goes off; zero: it does not
	off   bool      // it is not to be set now
}

// arm sets the alarm for what comes next.
func (o *roster) arm() {
	if o.alarm.off || o.room.manager.closed.Load() {
		return
	}
	next := o.due
	if f := o.grace.Front(); f != nil {
		if until := f.Value.(*entry).until; next.IsZero() || until.Before(next) {
			next = until
		}
	}
	if next.IsZero() || !o.alarm.at.IsZero() && !next.Before(o.alarm.at) {
		return
	}
	o.disarm()
	o.room.manager.ringing.Add(1)
	o.alarm.at = next
	if o.alarm.timer == nil {
		o.alarm.timer = time.AfterFunc(time.Until(next), o.room.ring)
	} else {
		o.alarm.timer.Reset(time.Until(next))
	}
}

// disarm stops the alarm. If it has just gone off, it finds nothing to do.
func (o *roster) disarm() {
	o.alarm.at = time.Time{}
	if o.alarm.timer != nil && o.alarm.timer.Stop() {
		o.room.manager.ringing.Done()
	}
}

// ring is called by the alarm.
func (r *Room) ring() {
	defer r.manager.ringing.Done()
	r.mu.Lock()
	if !r.gone {
		r.roster.wake(time.Now())
	}
	empty := r.empty()
	r.mu.Unlock()
	if empty {
		r.manager.remove(r)
	}
}

// welcome is the answer to a join, but for its end.
func (o *roster) welcome() []byte {
	n := len(o.entries)
	if o.counting && n != o.count.shown {
		o.count.shown = -1 // they do not all know the same number
	}
	return o.list()
}
