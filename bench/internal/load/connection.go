//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/frame"
	"github.com/hubbub-go/hubbub/bench/internal/socket"
	"golang.org/x/sys/unix"
)

// A phase is how far a connection has come.
type phase uint8

const (
	dialing   phase = iota // the TCP connection is being made
	upgrading              // the handshake was sent
	joining                // frames flow, the room has not confirmed yet
	joined
)

// A connection is one member of one room.
type connection struct {
	fd      int
	number  int
	phase   phase
	room    string
	next    uint32        // Resume: the message that it gets next
	begun   time.Duration // when it was dialed
	partial []byte        // the beginning of a frame that has not arrived whole
	backlog []byte        // what the socket did not take
}

// The key and answer of RFC 6455, section 1.3.
const (
	handshake = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	accepted = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// maskKey is any key but zero: with that, a server's unmasking would change nothing.
var maskKey = [4]byte{0x5a, 0xc3, 0x96, 0x3c}

// dial starts the next connection.
func (g *generator) dial() error {
	fd, err := socket.Stream()
	if err != nil {
		return err
	}
	c := &connection{fd: fd, number: len(g.connections), begun: g.now()}
	c.room = fmt.Sprintf("%sr%d", g.plan.Prefix, c.number/g.plan.Members)
	g.connections = append(g.connections, c)
	if err := unix.Connect(fd, g.address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connection %d: %w", c.number, err)
	}
	return g.poller.Add(fd, int32(c.number), unix.EPOLLIN|unix.EPOLLOUT)
}

// send writes what the socket takes and keeps the rest.
func (g *generator) send(c *connection, b []byte) error {
	if len(c.backlog) > 0 {
		c.backlog = append(c.backlog, b...)
		return nil
	}
	n, errno := socket.Write(c.fd, b)
	if errno != 0 {
		n = 0
		if !socket.Again(errno) {
			return fmt.Errorf("connection %d: write: %w", c.number, errno)
		}
	}
	if n < len(b) {
		c.backlog = append(c.backlog, b[n:]...)
		return g.poller.Change(c.fd, int32(c.number), unix.EPOLLIN|unix.EPOLLOUT)
	}
	return nil
}

func (g *generator) sendText(c *connection, payload []byte) error {
	g.output = frame.AppendMasked(g.output[:0], frame.Text, payload, maskKey)
	return g.send(c, g.output)
}

// writable is for a socket that has connected or takes bytes again.
func (g *generator) writable(c *connection) error {
	if err := g.poller.Change(c.fd, int32(c.number), unix.EPOLLIN); err != nil {
		return err
	}
	if c.phase == dialing {
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err != nil {
			return fmt.Errorf("connection %d: %w", c.number, err)
		}
		c.phase = upgrading
		return g.send(c, fmt.Appendf(nil, handshake, g.dialect.path(), g.plan.Address))
	}
	backlog := c.backlog
	c.backlog = nil
	return g.send(c, backlog)
}

// readable reads once. There is no second read to find the socket empty: epoll
// is level-triggered and reports what is left.
func (g *generator) readable(c *connection) error {
	kept := copy(g.input, c.partial)
	c.partial = c.partial[:0]
	n, errno := socket.Read(c.fd, g.input[kept:])
	switch {
	case errno != 0 && socket.Again(errno):
		n = 0
	case errno != 0:
		return fmt.Errorf("connection %d: read: %w", c.number, errno)
	case n == 0:
		return fmt.Errorf("connection %d: closed by the server", c.number)
	}
	g.received = g.now()
	data := g.input[:kept+n]
	if c.phase == upgrading {
		used, err := g.upgrade(c, data)
		if err != nil {
			return err
		}
		data = data[used:]
	}
	for c.phase > upgrading {
		f, size, err := frame.Parse(data)
		if err != nil {
			return fmt.Errorf("connection %d: %w", c.number, err)
		}
		if size == 0 {
			break
		}
		if err := g.receive(c, f); err != nil {
			return err
		}
		data = data[size:]
	}
	c.partial = append(c.partial, data...)
	return nil
}

// upgrade looks for the end of the handshake's answer and says how long that is.
func (g *generator) upgrade(c *connection, data []byte) (used int, err error) {
	head, _, complete := bytes.Cut(data, []byte("\r\n\r\n"))
	if !complete {
		return 0, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(accepted)) {
		return 0, fmt.Errorf("connection %d: handshake refused: %q", c.number, data)
	}
	c.phase = joining
	if hello := g.dialect.hello(c.room, g.since); hello != nil {
		err = g.sendText(c, hello)
	}
	return len(head) + 4, err
}

// receive handles one frame.
func (g *generator) receive(c *connection, f frame.Frame) error {
	switch {
	case f.Opcode == frame.Text && f.Final && !f.Masked:
		if publisher, sequence, ok := g.markers.read(f.Payload); ok {
			if g.plan.Kind == Resume {
				return g.recover(c, sequence)
			}
			return g.deliver(c, publisher, sequence)
		}
		return g.control(c, f.Payload)
	case f.Opcode == frame.Ping:
		g.output = frame.AppendMasked(g.output[:0], frame.Pong, f.Payload, maskKey)
		return g.send(c, g.output)
	case f.Opcode == frame.Pong:
		return nil
	}
	return fmt.Errorf("connection %d: unexpected frame, opcode %d, final %t: %q", c.number, f.Opcode, f.Final, f.Payload)
}

// enter counts a connection that is where it wants to be.
func (g *generator) enter(c *connection) {
	g.joined++
	g.latency.Record(g.received - c.begun)
}

// control handles a message that is no delivery.
func (g *generator) control(c *connection, payload []byte) error {
	reply, done, err := g.dialect.answer(payload, c.room)
	if err != nil {
		return fmt.Errorf("connection %d: %w", c.number, err)
	}
	if done && c.phase == joining {
		c.phase = joined
		if g.since == "" {
			g.enter(c)
		}
	}
	if done && g.plan.Kind == Resume && c.number == 0 {
		return g.settled(payload)
	}
	if reply == nil {
		return nil
	}
	return g.sendText(c, reply)
}
