package e2e

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
	fin            = 0x80
	masked         = 0x80
)

// The handshake of RFC 6455, section 1.3: any key will do, this one has its
// answer printed in the standard.
const (
	handshakeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeAnswer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// handshake is a request that upgrades, and whatever else is wanted: a header
// with an empty value is left out.
func handshake(addr string, change map[string]string) string {
	headers := map[string]string{
		"Host":                  addr,
		"Connection":            "Upgrade",
		"Upgrade":               "websocket",
		"Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key":     handshakeKey,
	}
	maps.Copy(headers, change)
	var b strings.Builder
	b.WriteString("GET /ws HTTP/1.1\r\n")
	for k, v := range headers {
		if v != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// client is a WebSocket client made of a TCP socket and RFC 6455 by hand.
type client struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
	id   string // of this peer, as the welcome said
}

// envelope is what the server sends.
type envelope struct {
	Type      string
	Content   json.RawMessage
	Timestamp *int64
	Room      string
	ID        string
	From      string
	User      string

	raw    []byte // behind the newline of a binary message
	binary bool
}

// request sends text over a new connection and reads the answer's head.
func request(t *testing.T, addr, text string) (*client, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, conn: conn, br: bufio.NewReader(conn)}
	c.deadline()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatalf("no answer to the handshake: %v", err)
	}
	return c, res
}

// connect opens a WebSocket and reads the welcome.
func connect(t *testing.T, addr string) *client {
	t.Helper()
	c, res := request(t, addr, handshake(addr, nil))
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("answer %s %s", res.Status, body)
	}
	w := c.next()
	if w.Type != "welcome" {
		t.Fatalf("the first message is a %q, not the welcome", w.Type)
	}
	var content struct{ ID string }
	c.decode(w.Content, &content)
	c.id = content.ID
	return c
}

func (c *client) deadline() { c.conn.SetDeadline(time.Now().Add(patience)) }

// frame sends one frame, first byte as given. The mask is not zero, so that a
// server that forgets to take it off is seen.
func (c *client) frame(first byte, payload []byte) {
	c.t.Helper()
	c.write(appendFrame(nil, first, payload))
}

func appendFrame(b []byte, first byte, payload []byte) []byte {
	mask := [4]byte{0xA5, 0x5A, 0x0F, 0xF0}
	b = append(b, first)
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i, p := range payload {
		b = append(b, p^mask[i%4])
	}
	return b
}

func (c *client) write(b []byte) {
	c.t.Helper()
	c.deadline()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// sendf sends a text message.
func (c *client) sendf(format string, args ...any) {
	c.t.Helper()
	c.frame(fin|opText, fmt.Appendf(nil, format, args...))
}

// read reads one frame of the server, which must be whole and unmasked.
func (c *client) read() (op byte, payload []byte, err error) {
	c.deadline()
	var head [2]byte
	if _, err := io.ReadFull(c.br, head[:]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	var ext [8]byte
	switch size {
	case 126:
		_, err = io.ReadFull(c.br, ext[6:])
		size = binary.BigEndian.Uint64(ext[:])
	case 127:
		_, err = io.ReadFull(c.br, ext[:])
		size = binary.BigEndian.Uint64(ext[:])
	}
	if err != nil {
		return 0, nil, err
	}
	if head[0]&0xF0 != fin || head[1]&masked != 0 || size > 1<<20 {
		return 0, nil, fmt.Errorf("a frame that begins with %x and has %d bytes", head, size)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.br, payload)
	return head[0] & 0x0F, payload, err
}

// next reads the next message and answers pings in between. Notices about other
// members are passed over.
func (c *client) next() envelope {
	c.t.Helper()
	for {
		op, payload, err := c.read()
		switch {
		case err != nil:
			c.t.Fatalf("waiting for a message: %v", err)
		case op == opPing:
			c.frame(fin|opPong, payload)
			continue
		case op == opClose:
			c.t.Fatalf("waiting for a message: closed with %q", payload)
		case op != opText && op != opBinary:
			c.t.Fatalf("waiting for a message: a frame with opcode %d and %q", op, payload)
		}
		var e envelope
		if op == opBinary {
			head, raw, ok := strings.Cut(string(payload), "\n")
			if !ok {
				c.t.Fatalf("binary message without a newline: %q", payload)
			}
			payload, e.raw, e.binary = []byte(head), []byte(raw), true
		}
		c.decode(payload, &e)
		if e.Timestamp == nil || time.Since(time.UnixMilli(*e.Timestamp)).Abs() > time.Hour {
			c.t.Fatalf("%s has no timestamp of now", payload)
		}
		switch e.Type {
		case "joined", "left", "presence":
			continue
		}
		return e
	}
}

func (c *client) decode(data []byte, v any) {
	c.t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		c.t.Fatalf("%q: %v", data, err)
	}
}

// want reads the next message, which must be of this type and carry this id.
func (c *client) want(typ, id string) envelope {
	c.t.Helper()
	e := c.next()
	if e.Type != typ || e.ID != id {
		c.t.Fatalf("got %q with the id %q and %s, want %q with the id %q", e.Type, e.ID, e.Content, typ, id)
	}
	return e
}

// wantError reads the next message, which must be an error with this code.
func (c *client) wantError(code, id string) {
	c.t.Helper()
	var content struct{ Code, Message *string }
	e := c.want("error", id)
	c.decode(e.Content, &content)
	if content.Code == nil || *content.Code != code || content.Message == nil {
		c.t.Fatalf("error %s, want the code %s and a message", e.Content, code)
	}
}

// alive shows that the connection still works and that nothing else came before.
func (c *client) alive() {
	c.t.Helper()
	c.sendf(`{"type":"ping","id":"alive"}`)
	c.want("pong", "alive")
}

// join joins a room and returns the number of members.
func (c *client) join(room string) int {
	c.t.Helper()
	c.sendf(`{"type":"join","room":%q,"id":"join"}`, room)
	e := c.want("ack", "join")
	var content struct{ Members int }
	c.decode(e.Content, &content)
	if e.Room != room {
		c.t.Fatalf("joined %q, want %q", e.Room, room)
	}
	return content.Members
}

// wantClose reads up to the close frame, checks its code, answers it, and sees
// the server end the connection.
func (c *client) wantClose(code int) {
	c.t.Helper()
	for {
		op, payload, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for a close frame: %v", err)
		}
		if op != opClose {
			continue
		}
		if len(payload) < 2 || int(binary.BigEndian.Uint16(payload)) != code {
			c.t.Fatalf("closed with %q, want %d", payload, code)
		}
		c.conn.Write(appendFrame(nil, fin|opClose, payload[:2])) // the server need not wait for it
		break
	}
	if _, err := io.Copy(io.Discard, c.br); err != nil && strings.Contains(err.Error(), "timeout") {
		c.t.Fatalf("the connection stays open after the close frame: %v", err)
	}
}
