package transport_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// First bits of a frame, and the opcodes.
const (
	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10

	opMore   = 0 // a continuation
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// wire is one frame of a client, right or wrong.
type wire struct {
	first    byte
	payload  string
	bare     bool   // not masked
	form     int    // bytes of the extended length, if not the fewest: 2 or 8
	declared uint64 // length in the header, if not the payload's
}

func (w wire) String() string {
	n := max(uint64(len(w.payload)), w.declared)
	mask := byte(0x80)
	if w.bare {
		mask = 0
	}
	b := []byte{w.first}
	switch {
	case w.form == 8 || w.form == 0 && n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), n)
	case w.form == 2 || n > 125:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = append(b, mask|byte(n))
	}
	if w.bare {
		return string(b) + w.payload
	}
	mk := [4]byte{9, 8, 7, 6}
	b = append(b, mk[:]...)
	for i := range len(w.payload) {
		b = append(b, w.payload[i]^mk[i&3])
	}
	return string(b)
}

// end is a close frame; the code 1005 has none.
func end(code int, reason string) string {
	payload := string([]byte{byte(code >> 8), byte(code)}) + reason
	if code == 1005 {
		payload = ""
	}
	return wire{first: fin | opClose, payload: payload}.String()
}

// client is the other end of a connection, over whatever it goes.
type client interface {
	send(t testing.TB, f *message.Frame)
	next() event                   // err: *transport.CloseError for a close frame, which is answered
	close(code int, reason string) // without waiting for the answer
	stall(yes bool)
	cut()
}

// dial connects a client.
func (s *server) dial(t testing.TB) (*peer, client) {
	t.Helper()
	var c client
	if s.mode == piped {
		end, err := transport.Pipe(s.pipe, httptest.NewRequest(http.MethodGet, "/", nil), &transport.PipeOptions{Limit: s.opts.Limit, Pending: s.opts.Pending})
		if err != nil {
			t.Fatal(err)
		}
		c = &pipe{end}
		t.Cleanup(c.cut)
	} else {
		c = s.socket(t)
	}
	return await(t, "the connection", s.peers), c
}

// socket connects a client that speaks RFC 6455 by hand.
func (s *server) socket(t testing.TB, headers ...string) *socket {
	t.Helper()
	c := s.raw(t)
	if err := c.upgrade(headers...); err != nil {
		t.Fatal(err)
	}
	return c
}

// raw connects, and leaves the handshake to the test.
func (s *server) raw(t testing.TB) *socket {
	t.Helper()
	nc, err := (&net.Dialer{Control: small}).Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &socket{Conn: nc, tcp: nc.(*net.TCPConn)}
	if s.mode == secure {
		c.Conn = tls.Client(nc, s.tls())
	}
	c.br = bufio.NewReader(c.Conn)
	t.Cleanup(c.cut)
	return c
}

// tls trusts the server's certificate.
func (s *server) tls() *tls.Config {
	c := s.http.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	c.ServerName = "example.com"
	return c
}

// pipe is a client of the transport for tests.
type pipe struct{ *transport.PipeConn }

func (p *pipe) send(t testing.TB, f *message.Frame) {
	t.Helper()
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
}

func (p *pipe) next() event {
	m, err := p.Read()
	if err != nil {
		return event{err: err}
	}
	defer m.Release()
	return event{data: string(m.Data), binary: m.Binary}
}

func (p *pipe) close(code int, reason string) { p.Close(code, reason) }
func (p *pipe) stall(yes bool)                { p.Freeze(yes) }
func (p *pipe) cut()                          { p.Abort() }

// socket is a client that can break every rule.
type socket struct {
	net.Conn
	tcp   *net.TCPConn
	br    *bufio.Reader
	reply *http.Response
	mute  bool // answers neither pings nor a close
	pings int
	pongs []string
}

const key = "dGhlIHNhbXBsZSBub25jZQ=="

// handshake is the request of a good client; headers come behind the others.
func handshake(host string, headers ...string) string {
	all := append([]string{
		"GET / HTTP/1.1", "Host: " + host, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, headers...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

func (c *socket) upgrade(headers ...string) error {
	c.put(handshake(c.RemoteAddr().String(), headers...))
	return c.upgraded()
}

func (c *socket) upgraded() (err error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if c.reply, err = http.ReadResponse(c.br, nil); err != nil {
		return err
	}
	if c.reply.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("refused with %s", c.reply.Status)
	}
	return nil
}

// put writes bytes as they are. Whoever reads finds out when that fails.
func (c *socket) put(data string) {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c.Conn, data)
}

func (c *socket) send(t testing.TB, f *message.Frame) {
	t.Helper()
	op := byte(opText)
	if f.Binary() {
		op = opBinary
	}
	c.put(wire{first: fin | op, payload: string(f.Payload())}.String())
}

// frame reads one frame as it is.
func (c *socket) frame() (first byte, payload string, err error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var head [10]byte
	if _, err = io.ReadFull(c.br, head[:2]); err != nil {
		return 0, "", err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(c.br, head[2:4])
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(c.br, head[2:10])
		n = binary.BigEndian.Uint64(head[2:])
	}
	if err != nil || n > 64<<20 {
		return 0, "", fmt.Errorf("a frame of %d bytes: %w", n, err)
	}
	data := make([]byte, n)
	_, err = io.ReadFull(c.br, data)
	return head[0], string(data), err
}

func (c *socket) next() event {
	for {
		first, payload, err := c.frame()
		if err != nil {
			return event{err: err}
		}
		switch first {
		case fin | opText, fin | opBinary:
			return event{data: payload, binary: first == fin|opBinary}
		case fin | opPing:
			c.pings++
			if !c.mute {
				c.put(wire{first: fin | opPong, payload: payload}.String())
			}
		case fin | opPong:
			c.pongs = append(c.pongs, payload)
		case fin | opClose:
			if !c.mute {
				c.put(wire{first: fin | opClose, payload: payload}.String())
			}
			return event{err: closed(payload)}
		default:
			return event{err: fmt.Errorf("a frame that starts with %#x", first)}
		}
	}
}

// closed is what a close frame says.
func closed(payload string) *transport.CloseError {
	if len(payload) < 2 {
		return &transport.CloseError{Code: 1005}
	}
	return &transport.CloseError{Code: int(payload[0])<<8 | int(payload[1]), Reason: payload[2:]}
}

// silent waits for d, in which nothing may come.
func (c *socket) silent(t testing.TB, d time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if b, err := c.br.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("expected nothing, got %#x, %v", b, err)
	}
}

func (c *socket) close(code int, reason string) { c.put(end(code, reason)) }
func (c *socket) stall(bool)                    {} // it reads only when it is told to
func (c *socket) cut()                          { _ = c.tcp.Close() }

// code is the code of a close frame, or 0 for another end.
func code(err error) int {
	if e, ok := errors.AsType[*transport.CloseError](err); ok {
		return e.Code
	}
	return 0
}
