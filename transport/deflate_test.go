package transport_test

import (
	"bytes"
	"compress/flate"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

const offer = "Sec-WebSocket-Extensions: permessage-deflate"

var compress = transport.WebSocketOptions{Compress: true}

// deflate compresses a message as RFC 7692 has it.
func deflate(data string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = io.WriteString(w, data)
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

func inflate(t *testing.T, data string) string {
	t.Helper()
	b, err := io.ReadAll(flate.NewReader(strings.NewReader(data + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// deflated connects a client that compresses.
func (s *server) deflated(t *testing.T) (*peer, *socket) {
	t.Helper()
	c := s.socket(t, offer)
	if !strings.Contains(c.reply.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		t.Fatal("no agreement")
	}
	return await(t, "the connection", s.peers), c
}

func TestDeflateIsOffByDefault(t *testing.T) {
	run(t, sockets, nil, func(t *testing.T, s *server) {
		c := s.socket(t, offer)
		if e := c.reply.Header.Get("Sec-WebSocket-Extensions"); e != "" {
			t.Fatal(e)
		}
		p := await(t, "the connection", s.peers)
		f := note{size: 5000}.frame(t)
		p.write(t, f)
		if e := c.next(); e.data != string(f.Payload()) {
			t.Fatalf("%.100q, %v", e.data, e.err)
		}
		c.put(wire{first: fin | rsv1 | opText, payload: deflate("x")}.String())
		if err := c.next().err; code(err) != message.CloseProtocol {
			t.Fatal(err)
		}
	})
}

func TestDeflateNegotiation(t *testing.T) {
	const agreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	s := serve(t, plain, &compress)
	for offer, want := range map[string]string{
		"":                   "",
		"permessage-deflate": agreed,
		"permessage-deflate; client_max_window_bits":                      agreed,
		"permessage-deflate; client_max_window_bits=10":                   agreed,
		"permessage-deflate; server_no_context_takeover":                  agreed,
		"permessage-deflate; server_max_window_bits=10":                   "",
		"permessage-deflate; server_max_window_bits=8,permessage-deflate": agreed,
		"permessage-deflate; something=else":                              "",
		"x-webkit-deflate-frame":                                          "",
		"permessage-bzip2, permessage-deflate":                            agreed,
	} {
		c := s.socket(t, "Sec-WebSocket-Extensions: "+offer)
		if got := c.reply.Header.Get("Sec-WebSocket-Extensions"); got != want {
			t.Errorf("%q: %q, want %q", offer, got, want)
		}
	}
}

// A message is compressed for who has agreed to it, from CompressFrom on.
func TestDeflate(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Compress: true, CompressFrom: 300}, func(t *testing.T, s *server) {
		p, c := s.deflated(t)
		q, other := s.dial(t)
		for n, tt := range []struct {
			note note
			bits byte
		}{
			{note{size: 299}, opText},
			{note{size: 300}, rsv1 | opText},
			{note{size: 60000}, rsv1 | opText},
			{note{size: 60000, binary: true}, rsv1 | opBinary},
			{note{size: 100, binary: true}, opBinary},
		} {
			tt.note.n = n
			f := tt.note.frame(t)
			p.write(t, f)
			q.write(t, f)
			first, payload, err := c.frame()
			if err != nil || first != fin|tt.bits {
				t.Fatalf("message %d: %#x, %v", n, first, err)
			}
			if tt.bits&rsv1 != 0 {
				if len(payload) >= len(f.Payload()) {
					t.Errorf("message %d of %d bytes takes %d", n, len(f.Payload()), len(payload))
				}
				payload = inflate(t, payload)
			}
			if payload != string(f.Payload()) {
				t.Fatalf("message %d: %.100q", n, payload)
			}
			if got := number(t, other.next()); got != n {
				t.Fatalf("the other got %d, want %d", got, n)
			}
		}
		p.Close(1000, "")
		if err := c.next().err; code(err) != 1000 {
			t.Fatal(err)
		}
	})
}

// What clients compress is read: whole, in fragments, or not compressed at all.
func TestInflate(t *testing.T) {
	run(t, sockets, &compress, func(t *testing.T, s *server) {
		p, c := s.deflated(t)
		text := string(note{n: 1, size: 30000}.frame(t).Payload())
		small := deflate(text)
		c.put(wire{first: fin | rsv1 | opText, payload: small}.String())
		c.put(wire{first: rsv1 | opText, payload: small[:3]}.String() + control(opPing, "") +
			wire{first: opMore, payload: small[3:9]}.String() + control(opMore, small[9:]))
		c.put(msg(text))
		c.put(wire{first: fin | rsv1 | opBinary, payload: small}.String())
		for i := range 4 {
			if e := p.next(t); e.data != text || e.binary != (i == 3) {
				t.Fatalf("message %d: %.100q, %v", i, e.data, e.err)
			}
		}
		c.put(wire{first: fin | rsv1 | opText, payload: "\x00"}.String()) // an empty one
		if e := p.next(t); e.data != "" || e.err != nil {
			t.Fatalf("%.100q, %v", e.data, e.err)
		}
	})
}

// The library's client, which would like to keep its window, understands us.
func TestDeflateWithLibrary(t *testing.T) {
	run(t, sockets, &compress, func(t *testing.T, s *server) {
		for _, mode := range []websocket.CompressionMode{websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
			c := s.library(t, websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
			p := await(t, "the connection", s.peers)
			for n := range 20 {
				f := note{n: n, size: 100 + 1000*n}.frame(t)
				p.write(t, f)
				if _, data, err := c.Read(t.Context()); string(data) != string(f.Payload()) || err != nil {
					t.Fatalf("message %d: %.100q, %v", n, data, err)
				}
				if err := c.Write(t.Context(), websocket.MessageText, f.Payload()); err != nil {
					t.Fatal(err)
				}
				if got := number(t, p.next(t)); got != n {
					t.Fatal(got)
				}
			}
		}
	})
}

// A broadcast is compressed once: what the frame has as its encoding is what all
// receivers get, and nobody makes another.
func TestDeflateOnce(t *testing.T) {
	run(t, sockets, &compress, func(t *testing.T, s *server) {
		f := note{n: 1, size: 5000}.frame(t)
		mark := wire{first: fin | rsv1 | opText, payload: deflate(strings.Repeat("mark", 500)), bare: true}.String()
		made := 0
		f.Encoding(message.WebSocketDeflated, func(*message.Frame) []byte {
			made++
			return []byte(mark)
		})
		for range 3 {
			p, c := s.deflated(t)
			p.write(t, f)
			if _, payload, err := c.frame(); err != nil || inflate(t, payload) != strings.Repeat("mark", 500) {
				t.Fatalf("%.100q, %v", payload, err)
			}
		}
		f = note{n: 2, size: 5000}.frame(t)
		p, c := s.deflated(t)
		p.write(t, f)
		_, payload, err := c.frame()
		encoded := f.Encoding(message.WebSocketDeflated, func(*message.Frame) []byte {
			made++
			return nil
		})
		if err != nil || !strings.HasSuffix(string(encoded.Bytes), payload) || made != 1 {
			t.Fatalf("%.100q was sent, %.100q is kept, %d were made; %v", payload, encoded.Bytes, made, err)
		}
	})
}

// The limit is one of decompressed bytes.
func TestDeflateLimit(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Compress: true, Limit: 5000}, func(t *testing.T, s *server) {
		for _, op := range []byte{opText, opBinary} {
			p, c := s.deflated(t)
			c.put(wire{first: fin | rsv1 | op, payload: deflate(strings.Repeat("x", 5000))}.String())
			if e := p.next(t); len(e.data) != 5000 {
				t.Fatalf("%d bytes, %v", len(e.data), e.err)
			}
			c.put(wire{first: fin | rsv1 | op, payload: deflate(strings.Repeat("x", 5001))}.String())
			if err := c.next().err; code(err) != message.CloseTooLarge {
				t.Fatal(err)
			}
			if err := p.ended(t); code(err) != message.CloseTooLarge {
				t.Fatal(err)
			}
		}
	})
}

// Twenty bombs at once cost little more than what they weigh on the wire.
func TestBombs(t *testing.T) {
	const bombs, size = 20, 8 << 20
	bomb := wire{first: fin | rsv1 | opText, payload: deflate(strings.Repeat("0", size))}.String()
	run(t, []mode{plain, secure}, &compress, func(t *testing.T, s *server) {
		var before, after runtime.MemStats
		var all []*socket
		for range bombs {
			_, c := s.deflated(t)
			all = append(all, c)
		}
		runtime.ReadMemStats(&before)
		var group sync.WaitGroup
		for _, c := range all {
			group.Go(func() {
				c.put(bomb)
				if err := c.next().err; code(err) != message.CloseTooLarge {
					t.Error(err)
				}
			})
		}
		group.Wait()
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("%d bytes were allocated", n)
		}
	})
}

// Data that cannot be decompressed ends the connection, and nothing else.
func TestCorruptDeflate(t *testing.T) {
	good := deflate(string(note{n: 1, size: 3000}.frame(t).Payload()))
	run(t, sockets, &compress, func(t *testing.T, s *server) {
		p, bystander := s.dial(t)
		for name, payload := range map[string]string{
			"rubbish":              strings.Repeat("\xff\xfe\xfd", 100),
			"a reserved block":     "\x07\x00\x00",
			"a stored block":       "\x00\x05\x00\x00\x00hello",
			"another's window":     "\x42\x00\x82\x00\x00", // a distance beyond the beginning
			"a changed byte":       good[:20] + "\xff" + good[21:],
			"a changed header":     "\xff" + good[1:],
			"text that is no text": deflate("\xff\xfe"),
			"half a rune":          deflate("\xe2\x82"),
		} {
			_, c := s.deflated(t)
			c.put(wire{first: fin | rsv1 | opText, payload: payload}.String())
			if got := code(c.next().err); got != message.CloseProtocol && got != message.CloseUTF8 {
				t.Errorf("%s: %d", name, got)
			}
			c.cut()
		}
		for name, frames := range map[string]string{
			"a compressed ping":         control(rsv1|opPing, ""),
			"a compressed continuation": wire{first: rsv1 | opText, payload: good[:5]}.String() + control(rsv1|opMore, good[5:]),
			"other bits too":            wire{first: fin | rsv1 | rsv2 | opText, payload: good}.String(),
		} {
			_, c := s.deflated(t)
			c.put(frames)
			if got := code(c.next().err); got != message.CloseProtocol {
				t.Errorf("%s: %d", name, got)
			}
			c.cut()
		}
		again(t, p, bystander.(*socket))
	})
}

// A compressed message that is cut is no message, wherever that happens.
func TestCutDeflate(t *testing.T) {
	data := wire{first: fin | rsv1 | opText, payload: deflate(string(note{n: 1, size: 300}.frame(t).Payload()))}.String()
	run(t, sockets, &compress, func(t *testing.T, s *server) {
		for n := range len(data) {
			p, c := s.deflated(t)
			c.put(data[:n])
			_ = c.tcp.CloseWrite()
			if e := p.next(t); e.err == nil {
				t.Errorf("cut after %d of %d bytes: %.50q", n, len(data), e.data)
			}
			c.cut()
		}
	})
}
