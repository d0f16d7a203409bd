package transport_test

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

func TestPing(t *testing.T) {
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		if !p.Seen() {
			t.Error("a new connection has shown no sign of life")
		}
		silent(t, p, c)
		_ = p.Ping()
		p.write(t, note{n: 2}.frame(t))
		number(t, c.next()) // answers the ping on its way
		eventually(t, "Seen after a pong", p.Seen)
		_ = p.Ping()
		c.send(t, note{n: 3}.frame(t))
		number(t, p.next(t))
		if !p.Seen() {
			t.Error("a message is no sign of life")
		}
		p.Close(1000, "")
		if err := p.Ping(); s.mode != piped && !errors.Is(err, transport.ErrClosed) {
			t.Errorf("Ping after Close: %v", err)
		}
	})
}

// silent pings a client that takes what it gets, but says nothing.
func silent(t *testing.T, p *peer, c client) {
	t.Helper()
	c.stall(true)
	if sc, ok := c.(*socket); ok {
		sc.mute = true
		defer func() { sc.mute = false }()
	}
	if err := p.Ping(); err != nil {
		t.Fatal(err)
	}
	if c, ok := c.(*socket); ok {
		p.write(t, note{n: 1}.frame(t))
		number(t, c.next()) // so the ping has been taken
	}
	if p.Seen() {
		t.Error("a client that says nothing was seen")
	}
	c.stall(false)
}

// A message that arrives bit by bit, with an answer to each ping in between, is
// an attack on memory.
func TestEndlessMessage(t *testing.T) {
	run(t, sockets, nil, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		c := pc.(*socket)
		c.put(wire{first: opText, payload: "{"}.String() + wire{first: fin | opPing, payload: "here"}.String())
		if _, payload, err := c.frame(); payload != "here" { // so the message has begun
			t.Fatal(payload, err)
		}
		for range 3 {
			_ = p.Ping()
		}
		if err := c.next().err; code(err) != message.ClosePolicy {
			t.Fatal(err)
		}
		if err := p.next(t).err; code(err) != message.ClosePolicy {
			t.Fatal(err)
		}
	})
}

// A pong between the fragments of a message, behind which nothing comes for a
// while, does not end the message.
func TestPongInsideMessage(t *testing.T) {
	run(t, sockets, nil, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		c := pc.(*socket)
		for n := range 20 {
			data := string(note{n: n}.frame(t).Payload())
			c.put(wire{first: opText, payload: data[:5]}.String() +
				wire{first: fin | opPing}.String() + wire{first: fin | opPong}.String())
			if _, _, err := c.frame(); err != nil { // answered: the server has read all that
				t.Fatal(err)
			}
			c.put(wire{first: fin | opMore, payload: data[5:]}.String())
			if got := number(t, p.next(t)); got != n {
				t.Fatalf("got %d, want %d", got, n)
			}
		}
	})
}

// hasty is a connection on which a second to wait for input lasts 10 ms.
type hasty struct {
	net.Conn
	waits chan time.Duration
}

func (h *hasty) SetReadDeadline(end time.Time) error {
	if left := time.Until(end); !end.IsZero() && left > 0 {
		h.waits <- left
		end = time.Now().Add(left / 100)
	}
	return h.Conn.SetReadDeadline(end)
}

// unanswered closes the connection of a client that does not answer, and returns
// how long that takes.
func unanswered(t *testing.T, s *server) time.Duration {
	t.Helper()
	start := time.Now()
	p, c := s.dial(t)
	p.Close(4002, "go")
	if sc, ok := c.(*socket); ok {
		sc.mute = true
		if err := c.next().err; code(err) != 4002 {
			t.Fatal(err)
		}
	}
	c.stall(true)
	wantEnd(t, p.next(t).err, transport.CloseError{Code: 4002, Reason: "go", Local: true})
	if err := c.next().err; err == nil || code(err) != 0 {
		t.Fatalf("the client was told %v", err)
	}
	return time.Since(start)
}

// A client that does not answer the server's close is cut after 5 s.
func TestUnansweredClose(t *testing.T) {
	for _, m := range []mode{wrapped, secure} {
		t.Run(string(m), func(t *testing.T) {
			waits := make(chan time.Duration, 16)
			unanswered(t, serve(t, m, nil, func(s *server) {
				s.beneath = func(c net.Conn) net.Conn { return &hasty{c, waits} }
			}))
			if d := <-waits; d > 5*time.Second || d < 4*time.Second {
				t.Errorf("it had %v", d)
			}
		})
	}
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if d := unanswered(t, serve(t, piped, nil)); d != 5*time.Second {
				t.Errorf("after %v", d)
			}
		})
	})
}

// Where the socket is a plain one it really takes that long.
func TestUnansweredCloseOverTCP(t *testing.T) {
	t.Parallel()
	if d := unanswered(t, serve(t, plain, nil)); d < 4*time.Second || d > 8*time.Second {
		t.Errorf("after %v", d)
	}
}
