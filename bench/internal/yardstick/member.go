//go:build linux

package yardstick

import (
	"github.com/hubbub-go/hubbub/bench/internal/socket"
	"golang.org/x/sys/unix"
)

// A member is one connection.
type member struct {
	fd       int
	upgraded bool
	queued   bool   // on the server's dirty list
	place    int    // index in room.members
	room     *room  // nil until it has joined
	partial  []byte // the beginning of a frame or request that has not arrived whole
	backlog  []byte // what the socket did not take
	pending  []span // frames of this pass, in coalescing servers
}

// A span is a frame in the server's arena.
type span struct{ from, to int }

// A room is a slice of members, so that a broadcast walks plain memory.
type room struct{ members []*member }

func (r *room) add(m *member) {
	m.room, m.place = r, len(r.members)
	r.members = append(r.members, m)
}

func (r *room) remove(m *member) {
	last := r.members[len(r.members)-1]
	r.members[m.place], last.place = last, m.place
	r.members[len(r.members)-1] = nil
	r.members = r.members[:len(r.members)-1]
	m.room = nil
}

// deliver sends or queues the frame that lies in the arena.
func (s *Server) deliver(m *member, frame span) {
	if !s.coalesce {
		s.write(m, s.arena[frame.from:frame.to])
		return
	}
	if m.pending = append(m.pending, frame); !m.queued {
		m.queued = true
		s.dirty = append(s.dirty, m)
	}
}

// flush ends a pass: each dirty member gets all that is pending in one write.
func (s *Server) flush() {
	for i, m := range s.dirty {
		out := s.arena[m.pending[0].from:m.pending[0].to] // the only one needs no copy
		if len(m.pending) > 1 {
			out = s.scratch[:0]
			for _, frame := range m.pending {
				out = append(out, s.arena[frame.from:frame.to]...)
			}
			s.scratch = out
		}
		m.pending, m.queued = m.pending[:0], false
		if m.fd >= 0 {
			s.write(m, out)
		}
		s.dirty[i] = nil
	}
	s.dirty = s.dirty[:0]
	s.arena = s.arena[:0]
}

// write never blocks: what the socket does not take waits for it in the backlog.
func (s *Server) write(m *member, b []byte) {
	if len(m.backlog) > 0 {
		m.backlog = append(m.backlog, b...)
		return
	}
	n, errno := socket.Write(m.fd, b)
	if errno != 0 {
		n = 0
		if !socket.Again(errno) {
			return // the broken connection is reported by epoll as well
		}
	}
	if n < len(b) {
		m.backlog = append(m.backlog, b[n:]...)
		_ = s.poller.Change(m.fd, int32(m.fd), unix.EPOLLIN|unix.EPOLLOUT)
	}
}

// drain is for a socket that takes bytes again.
func (s *Server) drain(m *member) {
	n, errno := socket.Write(m.fd, m.backlog)
	if errno != 0 {
		return
	}
	if m.backlog = m.backlog[n:]; len(m.backlog) == 0 {
		m.backlog = nil
		_ = s.poller.Change(m.fd, int32(m.fd), unix.EPOLLIN)
	}
}
