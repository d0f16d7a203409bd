package hub

import (
	"slices"

	"github.com/hubbub-go/hubbub/internal/pattern"
	"github.com/hubbub-go/hubbub/room"
)

// membership is a room that a peer is in, with what a message to it needs.
type membership struct {
	room  *room.Room
	match pattern.Match[*Scope]
	cell  *cell // of a stateful room

	// Peer.mu guards these.
	entered bool
	leaving bool          // by its own will
	asked   bool          // the client joined, and not the application for it
	over    chan struct{} // closed when it is not being joined any more; nil: nobody waits
}

// memberships are the rooms of one peer. Most peers are in few, and an empty map
// costs more than those; so there is one only for many.
type memberships struct {
	list     []*membership
	index    map[string]int // of list by name; nil while there are few
	entering []*membership  // about to be in list
}

const few = 8

func (s *memberships) find(name []byte) int {
	if s.index != nil {
		if i, ok := s.index[string(name)]; ok {
			return i
		}
		return -1
	}
	for i, m := range s.list {
		if m.room.Name() == string(name) {
			return i
		}
	}
	return -1
}

// count returns how many rooms there are, with those that are being joined.
func (s *memberships) count() int {
	n := len(s.list)
	for _, m := range s.entering {
		if s.get([]byte(m.room.Name())) == nil {
			n++
		}
	}
	return n
}

// about returns the membership of a room that is being joined, or nil.
func (s *memberships) about(name string) *membership {
	for _, m := range s.entering {
		if m.room.Name() == name {
			return m
		}
	}
	return nil
}

// settle notes that a membership is not about to be in list any more: it is, or will
// not be.
func (s *memberships) settle(m *membership) {
	s.entering = slices.DeleteFunc(s.entering, func(other *membership) bool { return other == m })
	if m.over != nil {
		close(m.over)
		m.over = nil
	}
}

func (s *memberships) get(name []byte) *membership {
	if i := s.find(name); i >= 0 {
		return s.list[i]
	}
	return nil
}

func (s *memberships) add(m *membership) {
	s.list = append(s.list, m)
	if s.index != nil {
		s.index[m.room.Name()] = len(s.list) - 1
	} else if len(s.list) > few {
		s.index = make(map[string]int, 2*few)
		for i, m := range s.list {
			s.index[m.room.Name()] = i
		}
	}
}

// remove takes a room out and returns its membership, or nil.
func (s *memberships) remove(name []byte) *membership {
	i := s.find(name)
	if i < 0 {
		return nil
	}
	m, last := s.list[i], len(s.list)-1
	s.list[i], s.list[last] = s.list[last], nil
	s.list = s.list[:last]
	if s.index != nil {
		delete(s.index, m.room.Name())
		if i < last {
			s.index[s.list[i].room.Name()] = i
		}
	}
	return m
}
