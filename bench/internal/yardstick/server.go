//go:build linux

// Package yardstick holds the servers that the others are measured by: one
// thread, epoll, hand-written frames, nothing that an application would want
// besides. They show what the kernel alone costs, either with one write(2) for
// each delivery, or with one write(2) for all that is pending for a member.
package yardstick

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/hubbub-go/hubbub/bench/internal/frame"
	"github.com/hubbub-go/hubbub/bench/internal/socket"
	"golang.org/x/sys/unix"
)

// A Server serves any number of connections on the calling thread.
type Server struct {
	coalesce bool
	listener int
	poller   *socket.Poller
	members  map[int]*member // by file descriptor
	rooms    map[string]*room
	input    []byte    // what one read takes, shared by all connections
	arena    []byte    // the frames of this pass, each once
	scratch  []byte    // several frames of one member, on their way out
	dirty    []*member // with something pending
}

// Listen opens a server on an IPv4 address. With coalesce, frames that become
// due in one pass over the ready sockets leave in one write for each member.
func Listen(address string, coalesce bool) (*Server, error) {
	at, err := socket.Address(address)
	if err != nil {
		return nil, err
	}
	fd, err := socket.Stream()
	if err != nil {
		return nil, err
	}
	poller, err := socket.NewPoller()
	if err == nil {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.Bind(fd, at),
			unix.Listen(fd, unix.SOMAXCONN),
			poller.Add(fd, int32(fd), unix.EPOLLIN),
		)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("yardstick: listen on %s: %w", address, err)
	}
	return &Server{
		coalesce: coalesce,
		listener: fd,
		poller:   poller,
		members:  map[int]*member{},
		rooms:    map[string]*room{},
		input:    make([]byte, 64<<10),
	}, nil
}

// Serve announces the address and runs until epoll fails.
func (s *Server) Serve(announce io.Writer, address string) error {
	if _, err := fmt.Fprintln(announce, "listening on", address); err != nil {
		return err
	}
	// Once everybody has joined nothing is allocated any more, and a collector
	// must not be part of a yardstick. The memory limit is only a safety net.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(2 << 30)
	for {
		events, err := s.poller.Wait(-1)
		if err != nil {
			return err
		}
		for _, event := range events {
			fd := int(event.Fd)
			if fd == s.listener {
				s.accept()
				continue
			}
			m := s.members[fd]
			if m == nil {
				continue // closed earlier in this pass
			}
			if event.Events&unix.EPOLLOUT != 0 {
				s.drain(m)
			}
			if event.Events&^unix.EPOLLOUT != 0 && !s.read(m) {
				s.drop(m)
			}
		}
		s.flush()
	}
}

func (s *Server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		// TCP_NODELAY is inherited from the listener.
		if s.poller.Add(fd, int32(fd), unix.EPOLLIN) != nil {
			unix.Close(fd)
			continue
		}
		s.members[fd] = &member{fd: fd}
	}
}

func (s *Server) drop(m *member) {
	if m.room != nil {
		m.room.remove(m)
	}
	delete(s.members, m.fd)
	unix.Close(m.fd)
	m.fd = -1 // it may still be on the dirty list
}

// read takes what has arrived; false means that the connection is over.
func (s *Server) read(m *member) bool {
	kept := copy(s.input, m.partial)
	m.partial = m.partial[:0]
	n, errno := socket.Read(m.fd, s.input[kept:])
	if errno != 0 || n == 0 {
		m.partial = append(m.partial, s.input[:kept]...)
		return socket.Again(errno)
	}
	data := s.input[:kept+n]
	if !m.upgraded {
		used, ok := s.upgrade(m, data)
		if !ok {
			return false
		}
		data = data[used:]
	}
	for m.upgraded {
		f, size, err := frame.Parse(data)
		if err != nil {
			return false
		}
		if size == 0 {
			break
		}
		if !s.handle(m, f) {
			return false
		}
		data = data[size:]
	}
	if len(data) == len(s.input) {
		return false // no room for the rest of a frame
	}
	m.partial = append(m.partial, data...)
	return true
}

// upgrade answers the handshake once it is complete, and says how much of the
// data it took.
func (s *Server) upgrade(m *member, data []byte) (used int, ok bool) {
	const accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, true
	}
	for line := range bytes.SplitSeq(data[:end], []byte("\r\n")) {
		name, key, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(name, []byte("Sec-WebSocket-Key")) {
			continue
		}
		sum := sha1.Sum(append(bytes.TrimSpace(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
		answer := base64.StdEncoding.AppendEncode([]byte(accept), sum[:])
		s.write(m, append(answer, "\r\n\r\n"...))
		m.upgraded = true
		return end + 4, true
	}
	return 0, false
}

// handle serves one frame; false closes the connection.
func (s *Server) handle(m *member, f frame.Frame) bool {
	if !f.Masked || !f.Final {
		return false
	}
	frame.Mask(f.Payload, f.Key)
	switch f.Opcode {
	case frame.Text:
		return s.message(m, f.Payload)
	case frame.Ping:
		s.deliver(m, s.encode(frame.Pong, f.Payload))
		return true
	case frame.Pong:
		return true
	}
	return false
}

func (s *Server) message(m *member, payload []byte) bool {
	e, err := parse(payload)
	if err != nil {
		return false
	}
	switch string(e.kind) {
	case "msg":
		if m.room == nil || s.rooms[string(e.room)] != m.room {
			return false
		}
		out := s.encode(frame.Text, payload)
		for _, other := range m.room.members {
			if other != m {
				s.deliver(other, out)
			}
		}
	case "echo":
		s.deliver(m, s.encode(frame.Text, []byte(`{"type":"ack","id":"`), e.id, []byte(`","content":`), e.content, []byte(`}`)))
	case "join":
		s.join(m, string(e.room))
		s.deliver(m, s.encode(frame.Text, []byte(`{"type":"ack","id":"`), e.id, []byte(`"}`)))
	default:
		return false
	}
	return true
}

func (s *Server) join(m *member, name string) {
	if m.room != nil {
		m.room.remove(m)
	}
	if s.rooms[name] == nil {
		s.rooms[name] = &room{}
	}
	s.rooms[name].add(m)
}

// encode appends a frame to the arena.
func (s *Server) encode(opcode byte, parts ...[]byte) span {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	from := len(s.arena)
	s.arena = frame.AppendHeader(s.arena, opcode, length)
	for _, part := range parts {
		s.arena = append(s.arena, part...)
	}
	return span{from, len(s.arena)}
}
