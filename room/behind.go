package room

import (
	"errors"
	"reflect"
	"slices"
	"sync"

	"github.com/hubbub-go/hubbub/message"
)

// stale has the keys of a Latest room whose newest message a member has not got.
type stale struct {
	member Drainer
	room   *Room // the live one
	line   *line

	// guarded by the room's turn
	board uint64 // the serial of the one that the slots are of
	slots chain  // what has waited longest first
}

// What a stale takes, about: with a line and its goroutine; and for each key.
const (
	staleCost = 4 << 10
	linkCost  = 8
)

// share is how many messages of one room a member that is behind gets in a row.
const share = 16

// late has the members of a Manager's rooms that are behind.
type late struct {
	mu    sync.Mutex
	lines map[any]*line // by member
}

// line has the rooms in which a member is behind. They take turns.
type line struct {
	key    any
	member Drainer
	left   chan struct{} // closed when it is behind in no room any more
	rooms  []*stale      // guarded by late.mu
}

// add puts s in its member's line, and sees to it that this is worked off.
func (l *late) add(s *stale) {
	var key any = s.member
	if !reflect.ValueOf(key).Comparable() {
		key = s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lines[key]
	if n == nil {
		n = &line{key: key, member: s.member, left: make(chan struct{})}
		if l.lines == nil {
			l.lines = map[any]*line{}
		}
		l.lines[key] = n
		go l.run(n)
	}
	s.line = n
	n.rooms = append(n.rooms, s)
}

// remove takes s out of its line. It may be out already.
func (l *late) remove(s *stale) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := s.line
	i := slices.Index(n.rooms, s)
	if i < 0 {
		return
	}
	n.rooms = slices.Delete(n.rooms, i, i+1)
	if len(n.rooms) == 0 {
		delete(l.lines, n.key)
		close(n.left)
	}
}

// next returns whose turn it is, and gives the others theirs before that comes
// again; nil: nobody is left.
func (l *late) next(n *line) *stale {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(n.rooms) == 0 {
		return nil
	}
	s := n.rooms[0]
	copy(n.rooms, n.rooms[1:])
	n.rooms[len(n.rooms)-1] = s
	return s
}

// run gives a member what it has not got, whenever it can take more. It ends when
// the member has all, or has left.
func (l *late) run(n *line) {
	for {
		select {
		case <-n.member.Drained():
		case <-n.left:
			return
		}
		s := l.next(n)
		if s == nil {
			return
		}
		if s.room.serve(s) {
			l.remove(s)
		}
	}
}

// offer delivers what is in a slot to who is there. It notes it for those who are
// behind, and returns those who are from now on. The room's turn is held.
func (r *Room) offer(one *board, slot int32, except []string) (behind []Drainer) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	skip := -1
	var skips map[int]struct{}
	if len(except) == 1 {
		skip = r.find(except[0])
	} else if len(except) > 1 {
		skips = make(map[int]struct{}, len(except))
		for _, id := range except {
			skips[r.find(id)] = struct{}{}
		}
	}
	f := one.frames[slot]
	for i := range r.members {
		m := r.members[i].Member
		if _, out := skips[i]; out || i == skip {
			continue
		}
		if len(r.stale) > 0 {
			if s := r.stale[m.ID()]; s != nil {
				s.want(one, slot, r.manager.boards.opts.most())
				continue
			}
		}
		if err := m.Deliver(f); err != nil && errors.Is(err, message.ErrBehind) {
			if d, ok := m.(Drainer); ok {
				behind = append(behind, d)
			}
		}
	}
	return behind
}

// want notes that the member has not got the newest message in a slot; most is how
// many slots there may be.
func (s *stale) want(one *board, slot int32, most int) {
	if s.board != one.serial {
		s.board, s.slots = one.serial, chain{}
	}
	s.slots.grow(int(slot)+1, most)
	s.slots.push(slot)
}

// lag notes that a member has not got what is in a slot, nor what has changed since.
// The room's turn is held.
func (r *Room) lag(m Drainer, one *board, slot int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(m.ID()) < 0 {
		return
	}
	s := &stale{member: m, room: r}
	for ok := true; ok; slot, ok = one.kept.after(slot) {
		s.want(one, slot, r.manager.boards.opts.most())
	}
	if r.stale == nil {
		r.stale = map[string]*stale{}
	}
	r.stale[m.ID()] = s
	r.manager.boards.late.add(s)
}

// lacks notes that a member which is behind is to get all that is kept, and reports
// whether it is. The room's turn is held.
func (r *Room) lacks(id string, one *board) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.stale[id]
	if s == nil {
		return false
	}
	for slot, ok := one.kept.front(); ok; slot, ok = one.kept.after(slot) {
		s.want(one, slot, r.manager.boards.opts.most())
	}
	return true
}

// serve gives a member its share of what it has not got, and reports whether it is
// no longer behind, or no longer here.
func (r *Room) serve(s *stale) (done bool) {
	b := r.manager.boards
	turn := b.turn(r.manager, r.name)
	turn.Lock()
	defer turn.Unlock()
	one := b.find(r.name)
	if !r.hand(s, one) {
		return false
	}
	r.mu.Lock()
	if r.stale[s.member.ID()] == s {
		delete(r.stale, s.member.ID())
	}
	r.mu.Unlock()
	if one != nil {
		r.tidy(one)
	}
	return true
}

// hand delivers what serve is to.
func (r *Room) hand(s *stale, one *board) (done bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.stale[s.member.ID()] != s || one == nil || one.serial != s.board {
		return true // it has left, or nothing is kept any more of what it has not got
	}
	for range share {
		slot, ok := s.slots.front()
		if !ok {
			break
		}
		if err := s.member.Deliver(one.frames[slot]); err != nil && errors.Is(err, message.ErrBehind) {
			return false
		}
		s.slots.remove(slot)
	}
	_, more := s.slots.front()
	return !more
}

// spare lets nobody wait for what was dropped. The room's turn is held.
func (r *Room) spare(one *board, dropped []int32) {
	if len(dropped) == 0 {
		return
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.stale {
		for _, slot := range dropped {
			if s.board == one.serial {
				s.slots.remove(slot)
			}
		}
	}
}

// tidy drops what was kept for those who are behind only, once nobody is. The
// room's turn is held.
func (r *Room) tidy(one *board) {
	if _, ok := one.past.front(); !ok || r.awaits(one, -1) {
		return
	}
	r.manager.boards.change(one, func() {
		for slot, ok := one.past.front(); ok; slot, ok = one.past.front() {
			one.drop(slot)
		}
	})
}

// awaits reports whether a member is to get what is in a slot; -1: in any.
func (r *Room) awaits(one *board, slot int32) bool {
	live := r.live()
	if live == nil {
		return false
	}
	live.mu.RLock()
	defer live.mu.RUnlock()
	for _, s := range live.stale {
		if s.board == one.serial && (slot < 0 || s.slots.has(slot)) {
			return true
		}
	}
	return false
}

// drop ends what a Latest room has of a member that left. r.mu is held.
func (r *Room) drop(id string) {
	if s := r.stale[id]; s != nil {
		delete(r.stale, id)
		r.manager.boards.late.remove(s)
	}
}

// chain is a list of small numbers, each of which is in it once at most.
type chain struct {
	links       []link // by number
	first, last int32  // the number and 1; 0: there is none
}

// link has the neighbours of a number, as chain has first and last. Who has none in
// front is the first.
type link struct{ prev, next int32 }

// grow makes room for n numbers, and for more, but for no more than most.
func (c *chain) grow(n, most int) {
	if n <= len(c.links) {
		return
	}
	links := make([]link, max(n, min(2*n, most)))
	copy(links, c.links)
	c.links = links
}

func (c *chain) has(n int32) bool {
	return int(n) < len(c.links) && (c.first == n+1 || c.links[n].prev != 0)
}

// push appends n, unless it is there.
func (c *chain) push(n int32) {
	if c.has(n) {
		return
	}
	c.grow(int(n)+1, 2*int(n)+2)
	c.links[n] = link{prev: c.last}
	if c.last > 0 {
		c.links[c.last-1].next = n + 1
	} else {
		c.first = n + 1
	}
	c.last = n + 1
}

func (c *chain) remove(n int32) {
	if !c.has(n) {
		return
	}
	l := c.links[n]
	c.links[n] = link{}
	if l.prev > 0 {
		c.links[l.prev-1].next = l.next
	} else {
		c.first = l.next
	}
	if l.next > 0 {
		c.links[l.next-1].prev = l.prev
	} else {
		c.last = l.prev
	}
}

func (c *chain) front() (n int32, ok bool) { return c.first - 1, c.first > 0 }

// after returns what comes after n, which is there.
func (c *chain) after(n int32) (next int32, ok bool) {
	next = c.links[n].next
	return next - 1, next > 0
}
