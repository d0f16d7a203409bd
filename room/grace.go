package room

import (
	"container/list"
	"sync"
)

// graces are the entries in grace of all rooms of a Manager. A room's lock is taken
// before theirs.
type graces struct {
	most int // bytes

	mu    sync.Mutex
	list  list.List // of *absent, the next to end first
	bytes int
}

// absent is an entry in grace.
type absent struct {
	room  *Room
	entry *entry
	cost  int
}

// What a grace costs besides the texts of the entry, a little more than was measured.
const (
	graceCost = 1 << 10 // itself, in the lists and maps of its room and of the manager
	emptyCost = 2 << 10 // a room that has nobody else
	tabCost   = 256     // each of a user's that is expected back
)

func (e *entry) cost() int {
	cost := graceCost + 2*len(e.from) + len(e.user) + len(e.head) + len(e.content)
	if e.tabs != nil {
		cost += tabCost * len(e.tabs.away)
	}
	return cost
}

// add notes that e is in grace. The first in its room may be what keeps that. r.mu is
// held.
func (g *graces) add(r *Room, e *entry, first bool) *list.Element {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := &absent{r, e, e.cost()}
	g.bytes += a.cost
	if first {
		g.bytes += emptyCost + len(r.name)
	}
	return g.list.PushBack(a)
}

// remove notes that a grace has ended, maybe the last of its room. The room's lock is
// held.
func (g *graces) remove(at *list.Element, last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.list.Remove(at).(*absent)
	g.bytes -= a.cost
	if last {
		g.bytes -= emptyCost + len(a.room.name)
	}
}

// over returns the grace that is the next to end if there are too many, or nil.
func (g *graces) over() *list.Element {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes <= g.most {
		return nil
	}
	return g.list.Front()
}

// curtail ends graces, the oldest first, until the rest is not too much. It is
// called without any lock.
func (m *Manager) curtail() {
	for at := m.graces.over(); at != nil; at = m.graces.over() {
		a := at.Value.(*absent)
		a.room.mu.Lock()
		if a.entry.absent == at { // or it has ended meanwhile
			a.room.roster.stay(a.entry)
			a.room.roster.remove(a.entry)
		}
		empty := a.room.empty()
		a.room.mu.Unlock()
		if empty {
			m.remove(a.room)
		}
	}
}

// Bound returns how many bytes members in grace take at most, in the rooms of one
// Manager, defaults included; 0 without Grace. It is twice GraceBytes: that they
// have left may be told a second later.
func (p *Presence) Bound() int {
	if p == nil || p.Grace <= 0 {
		return 0
	}
	return 2 * p.most()
}

func (p *Presence) most() int {
	most := p.GraceBytes
	setDefault(&most, 64<<20)
	return most
}
