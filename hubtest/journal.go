package hubtest

import (
	"fmt"
	"slices"
	"sync"
)

// Rule is what a Violation violates.
type Rule string

// The rules. Missing, and Reordered between publishers, are not looked for where
// AtMostOnce is set.
const (
	// Missing: a member did not get a message that was acknowledged, or that
	// another member got, though it was there the whole time, or has come back
	// and was told that nothing is missing.
	Missing Rule = "missing"
	// Duplicate: a member got a message twice. After a fresh Join it may get
	// again what it got before, as rooms may replay their last messages, and after
	// a gap what was published again because the room had Lost it. With
	// AtMostOnce it may get a message as often as that was published.
	Duplicate Rule = "duplicate"
	// Reordered: the members saw messages in orders that do not fit together, or
	// one in another order than that in which they were published: those of one
	// publisher, or one that was acknowledged before the other was published.
	Reordered Rule = "reordered"
	// Invented: a member saw, or got an acknowledgement for, what nobody has
	// published.
	Invented Rule = "invented"
	// Outside: a member saw a message before it came or after it left.
	Outside Rule = "outside"
	// Conflicting: a message has two cursors, which it may have if the room Lost
	// it in between, or a cursor two messages, or an id two bodies.
	Conflicting Rule = "conflicting"
)

// Violation is one thing that a Journal proves to have gone wrong. Events are
// numbered in the order in which they were recorded.
type Violation struct {
	Rule     Rule
	Room     string
	Member   string // who is wronged; "" where no single member is
	Body     string // of the message
	Evidence string // what proves it, in words
}

// Error implements error.
func (v *Violation) Error() string {
	who := ""
	if v.Member != "" {
		who = fmt.Sprintf(", member %q", v.Member)
	}
	return fmt.Sprintf("hubtest: %s: room %q%s, message %q: %s", v.Rule, v.Room, who, v.Body, v.Evidence)
}

// Journal records what was published in rooms and what their members saw, and
// checks that the one follows from the other. The zero value is ready, and for
// rooms that keep history: each message arrives exactly once, in one order for
// all, unless a gap is declared. Its methods are safe for concurrent use.
//
// Each body is recorded as a string of its own: two messages must not be equal.
// Publish is recorded before the message is sent; everything else after it has
// been seen to happen, and by each member in its own order.
type Journal struct {
	// AtMostOnce is for rooms without history: what arrives was published, comes
	// once, and in the order of its publisher, which is a single connection then:
	// one that comes back gets another name. Anything may be missing.
	AtMostOnce bool

	mu     sync.Mutex
	events int
	rooms  map[string]*roomJournal
}

// roomJournal is what was recorded of one room.
type roomJournal struct {
	name     string
	entries  []*entry          // in the order of their first attempts
	bodies   map[string]*entry // the same
	ids      map[[2]string]*entry
	views    []*view
	now      map[string]*view // the latest of each member
	losses   []int            // events
	recorded []*Violation     // what was wrong at once
}

// entry is a message that somebody wanted to publish.
type entry struct {
	body, member, id string
	first, last      int // attempts
	attempts         int
	acked            int      // 0: not
	cursors          []string // more than one: it was stored, lost and stored again
	seen             bool
}

// view is what a member saw from a fresh join on.
type view struct {
	member   string
	segments []*segment // of which none has a hole
	here     bool
	sights   []sight
	index    map[string]int // where a copy is first among the sights; made by Check
}

type segment struct {
	start int
	from  int // its first sight
	to    int // behind its last one; set by Check
}

// sight is a message that a member got.
type sight struct {
	body, cursor string
	at           int
}

// room returns the room and the number of a new event. j.mu is held.
func (j *Journal) room(name string) (*roomJournal, int) {
	r := j.rooms[name]
	if r == nil {
		r = &roomJournal{name: name, bodies: map[string]*entry{}, ids: map[[2]string]*entry{}, now: map[string]*view{}}
		if j.rooms == nil {
			j.rooms = map[string]*roomJournal{}
		}
		j.rooms[name] = r
	}
	j.events++
	return r, j.events
}

func (r *roomJournal) violated(rule Rule, member, body, evidence string, args ...any) {
	r.recorded = append(r.recorded, &Violation{rule, r.name, member, body, fmt.Sprintf(evidence, args...)})
}

// Publish records an attempt to publish a message, before it is sent. An id is a
// member's own, and each repetition of the message is recorded as well.
func (j *Journal) Publish(room, member, id, body string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.room(room)
	key := [2]string{member, id}
	e := r.bodies[body]
	if other := r.ids[key]; other != e {
		r.violated(Conflicting, member, body, "event %d: the id %q, or the body, stands for another message too", now, id)
		return
	}
	if e == nil {
		e = &entry{body: body, member: member, id: id, first: now}
		r.bodies[body], r.ids[key] = e, e
		r.entries = append(r.entries, e)
	}
	e.last = now
	e.attempts++
}

// Ack records that a publish was acknowledged, and with which cursor; "" for
// none.
func (j *Journal) Ack(room, member, id, cursor string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.room(room)
	e := r.ids[[2]string{member, id}]
	if e == nil {
		r.violated(Invented, member, "", "event %d acknowledges the id %q, which was not published", now, id)
		return
	}
	if e.acked == 0 {
		e.acked = now
	}
	r.place(e, member, cursor, now)
}

// place notes the cursor of a message, if there is one. It gets a further one for
// each time that the room has lost it.
func (r *roomJournal) place(e *entry, member, cursor string, now int) {
	switch n := len(e.cursors); {
	case cursor == "" || slices.Contains(e.cursors, cursor):
	case n <= r.lost(e):
		e.cursors = append(e.cursors, cursor)
	default:
		r.violated(Conflicting, member, e.body, "event %d gives it the cursor %q, but it has %q", now, cursor, e.cursors[n-1])
	}
}

// lost counts how often the room may have lost e.
func (r *roomJournal) lost(e *entry) (n int) {
	for _, at := range r.losses {
		if at > e.first {
			n++
		}
	}
	return n
}

// Lost records that the server has forgotten the history of a room, and with it
// what it had recognised messages by that are sent again: after the old server has
// ended, before the new one begins. What was published before may be missing from
// then on, and may be published again, at another cursor. No member is excused by
// that alone: each has to be told of a gap, and order and uniqueness hold on each
// side of it. What members see in such a room needs cursors, by which the sides
// are told apart.
func (j *Journal) Lost(room string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.room(room)
	r.losses = append(r.losses, now)
}

// Join records that a member has joined afresh, with nothing to continue.
func (j *Journal) Join(room, member string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.room(room)
	r.join(member, now)
}

func (r *roomJournal) join(member string, now int) {
	v := &view{member: member, here: true, segments: []*segment{{start: now}}}
	r.views = append(r.views, v)
	r.now[member] = v
}

// Resume records that a member has come back and continues where it was. If not
// recovered, it was told that something may be missing.
func (j *Journal) Resume(room, member string, recovered bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.room(room)
	v := r.now[member]
	switch {
	case v == nil:
		r.join(member, now)
		return
	case !recovered:
		v.segments = append(v.segments, &segment{start: now, from: len(v.sights)})
	}
	v.here = true
}

// Gap records that a member was told, while it was there, that something may be
// missing.
func (j *Journal) Gap(room, member string) { j.Resume(room, member, false) }

// Leave records that a member has left, or that its connection has ended: after
// the last message that it saw.
func (j *Journal) Leave(room, member string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, _ := j.room(room)
	if v := r.now[member]; v != nil {
		v.here = false
	}
}

// See records that a member got a message, with its cursor; "" for none. What a
// member has published itself it need not see, but may.
func (j *Journal) See(room, member, body, cursor string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, now := j.room(room)
	v := r.now[member]
	if v == nil || !v.here {
		r.violated(Outside, member, body, "the member saw it (event %d) and was not there", now)
		return
	}
	e := r.bodies[body]
	if e == nil {
		r.violated(Invented, member, body, "the member saw it (event %d) and nobody had published it", now)
		return
	}
	e.seen = true
	r.place(e, member, cursor, now)
	v.sights = append(v.sights, sight{body, cursor, now})
}
