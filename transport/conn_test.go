package transport_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// wantEnd checks how a connection ended, as Read said.
func wantEnd(t *testing.T, err error, want transport.CloseError) {
	t.Helper()
	var e *transport.CloseError
	if !errors.As(err, &e) || *e != want {
		t.Fatalf("ended with %v, want %+v", err, want)
	}
}

func TestRoundTrip(t *testing.T) {
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		sizes := []int{0, 100, 125, 126, 127, 1000, 4096, 16<<10 - 1, 16 << 10, 16<<10 + 1}
		for n := range 4 * len(sizes) {
			f := note{n: n, size: sizes[n%len(sizes)], binary: n%3 == 0}.frame(t)
			c.send(t, f)
			p.write(t, f)
			for _, got := range []event{p.next(t), c.next()} {
				if got.data != string(f.Payload()) || got.binary != f.Binary() || got.err != nil {
					t.Fatalf("message %d: %.100q, binary %v, %v", n, got.data, got.binary, got.err)
				}
			}
		}
	})
}

func TestOrder(t *testing.T) {
	const messages = 200
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		for n := range messages {
			c.send(t, note{n: n}.frame(t))
			p.write(t, note{n: n, binary: n%2 == 0}.frame(t))
		}
		for n := range messages {
			if a, b := number(t, p.next(t)), number(t, c.next()); a != n || b != n {
				t.Fatalf("message %d: the server got %d, the client %d", n, a, b)
			}
		}
	})
}

func TestConcurrentWriters(t *testing.T) {
	const writers, messages = 8, 200
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range messages {
					if err := p.Write(note{n: w*messages + i}.frame(t)); err != nil {
						t.Errorf("Write: %v", err)
						return
					}
				}
			})
		}
		var next [writers]int
		for range writers * messages {
			n := number(t, c.next())
			if w := n / messages; n%messages != next[w] {
				t.Fatalf("writer %d: got %d, want %d", w, n%messages, next[w])
			}
			next[n/messages]++
		}
		all.Wait()
	})
}

func TestLimit(t *testing.T) {
	const limit = 5000
	run(t, everywhere, &transport.WebSocketOptions{Limit: limit}, func(t *testing.T, s *server) {
		for _, binary := range []bool{false, true} {
			p, c := s.dial(t)
			if p.Limit() != limit {
				t.Fatalf("Limit is %d", p.Limit())
			}
			c.send(t, note{n: 1, size: limit, binary: binary}.frame(t))
			if n := number(t, p.next(t)); n != 1 {
				t.Fatalf("got %d", n)
			}
			c.send(t, note{n: 2, size: limit + 1, binary: binary}.frame(t))
			c.send(t, note{n: 3}.frame(t)) // is discarded
			var broken *transport.Violation
			if err := p.next(t).err; !errors.As(err, &broken) || broken.Code != message.CloseTooLarge {
				t.Fatalf("over the limit: %v", err)
			}
			if err := c.next().err; code(err) != message.CloseTooLarge {
				t.Fatalf("the client was told %v", err)
			}
			wantEnd(t, p.next(t).err, transport.CloseError{Code: 1009, Reason: broken.Reason, Local: true})
		}
	})
}

// The limit is one of messages, in however many fragments, and it holds before
// the message has ended.
func TestLimitInFragments(t *testing.T) {
	const limit = 5000
	run(t, sockets, &transport.WebSocketOptions{Limit: limit}, func(t *testing.T, s *server) {
		for _, tt := range []struct {
			size, piece int
			last        byte
			fits        bool
		}{
			{limit, 700, fin, true},
			{limit, 1, fin, true},
			{limit + 1, 700, fin, false},
			{limit + 1, 1, fin, false},
			{limit + 1, limit, 0, false},
			{3 * limit, 700, 0, false},
		} {
			p, c := s.dial(t)
			rest := string(note{n: 7, size: tt.size}.frame(t).Payload())
			op := byte(opText)
			for len(rest) > tt.piece {
				c.(*socket).put(wire{first: op, payload: rest[:tt.piece]}.String())
				rest, op = rest[tt.piece:], opMore
			}
			c.(*socket).put(wire{first: tt.last | opMore, payload: rest}.String())
			if tt.fits {
				if n := number(t, p.next(t)); n != 7 {
					t.Fatalf("got %d", n)
				}
			} else if err := c.next().err; code(err) != message.CloseTooLarge {
				t.Fatalf("%+v: the client was told %v", tt, err)
			}
		}
	})
}

func TestClose(t *testing.T) {
	long := strings.Repeat("é", 62) // 124 bytes
	for _, tt := range []struct {
		code         int
		reason, told string
	}{
		{1000, "", ""},
		{1001, "drain", "drain"},
		{4999, "tschüß", "tschüß"},
		{4002, strings.Repeat("x", 123), strings.Repeat("x", 123)},
		{4002, long, long[:122]},
		{4002, "bad \xff", "bad \ufffd"},
	} {
		t.Run(fmt.Sprintf("%d %.10q", tt.code, tt.reason), func(t *testing.T) {
			run(t, everywhere, nil, func(t *testing.T, s *server) {
				p, c := s.dial(t)
				for n := range 50 {
					p.write(t, note{n: n, size: 1000}.frame(t))
				}
				p.Close(tt.code, tt.reason)
				p.Close(1011, "too late")
				if err := p.Write(note{n: 50}.frame(t)); !errors.Is(err, transport.ErrClosed) {
					t.Errorf("Write after Close: %v", err)
				}
				for n := range 50 {
					if got := number(t, c.next()); got != n {
						t.Fatalf("got %d, want %d", got, n)
					}
				}
				var e *transport.CloseError
				if err := c.next().err; !errors.As(err, &e) || e.Code != tt.code || e.Reason != tt.told {
					t.Fatalf("the client was told %v", err)
				}
				wantEnd(t, p.next(t).err, transport.CloseError{Code: tt.code, Reason: tt.told, Local: true})
			})
		})
	}
}

// A code that may not be sent is not sent.
func TestCloseCodes(t *testing.T) {
	for code, want := range map[int]int{
		-1: 1011, 0: 1011, 999: 1011, 1004: 1011, 1005: 1011, 1006: 1011, 1015: 1011, 1016: 1011, 2999: 1011, 5000: 1011, 70000: 1011,
		1000: 1000, 1003: 1003, 1014: 1014, 3000: 3000, 4999: 4999,
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			run(t, everywhere, nil, func(t *testing.T, s *server) {
				p, c := s.dial(t)
				p.Close(code, "x")
				var e *transport.CloseError
				if err := c.next().err; !errors.As(err, &e) || e.Code != want || e.Reason != "x" {
					t.Fatalf("the client was told %v", err)
				}
				wantEnd(t, p.next(t).err, transport.CloseError{Code: want, Reason: "x", Local: true})
			})
		})
	}
}

// What a client still says after the server has closed is nobody's business.
func TestReadAfterClose(t *testing.T) {
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		c.send(t, note{n: 1}.frame(t))
		number(t, p.next(t)) // now it waits for the next one
		p.Close(4002, "go")
		for n := range 10 {
			c.send(t, note{n: n, size: 3000}.frame(t))
		}
		if err := c.next().err; code(err) != 4002 {
			t.Fatal(err)
		}
		wantEnd(t, p.next(t).err, transport.CloseError{Code: 4002, Reason: "go", Local: true})
	})
}

func TestClientClose(t *testing.T) {
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		for _, want := range []transport.CloseError{
			{Code: 1000}, {Code: 1005}, {Code: 1001, Reason: "tab closed"},
			{Code: 3000, Reason: "ü"}, {Code: 4999, Reason: strings.Repeat("x", 123)},
		} {
			p, c := s.dial(t)
			c.send(t, note{n: 1}.frame(t))
			c.close(want.Code, want.Reason)
			if n := number(t, p.next(t)); n != 1 {
				t.Fatal(n)
			}
			wantEnd(t, p.next(t).err, want)
			if err := c.next().err; code(err) != want.Code {
				t.Fatalf("the answer to %v was %v", want, err)
			}
			if err := p.Write(note{n: 2}.frame(t)); !errors.Is(err, transport.ErrClosed) {
				t.Fatalf("Write after the end: %v", err)
			}
			p.Close(1011, "too late") // and so does everything else
			p.Abort()
			if err := c.next().err; err == nil {
				t.Fatal("the connection is still there")
			}
		}
	})
}

// One who goes on sending after the close is not read for ever.
func TestSendingAfterClose(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Limit: 5000}, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		c := pc.(*socket)
		endless := wire{first: opText, payload: strings.Repeat("x", 10_000)}.String()
		more := wire{first: opMore, payload: strings.Repeat("x", 64<<10)}.String()
		sent := 0
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		for _, err := io.WriteString(c, endless); err == nil && sent < 32<<20; sent += len(more) {
			_, err = io.WriteString(c, more)
		}
		if sent > 16<<20 {
			t.Errorf("%d bytes were read after the close", sent)
		}
		wantEnd(t, p.ended(t), transport.CloseError{Code: 1009, Reason: "a message may have 5000 bytes", Local: true})
	})
}

func TestCut(t *testing.T) {
	run(t, everywhere, nil, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		c.cut()
		if err := p.next(t).err; err == nil || code(err) != 0 {
			t.Fatalf("after a cut: %v", err)
		}
		if err := p.Write(note{}.frame(t)); !errors.Is(err, transport.ErrClosed) && s.mode == piped {
			t.Fatalf("Write: %v", err)
		}
		p, c = s.dial(t)
		p.Abort()
		if err := p.next(t).err; err == nil || code(err) != 0 {
			t.Fatalf("after Abort: %v", err)
		}
		if err := p.Write(note{}.frame(t)); !errors.Is(err, transport.ErrClosed) {
			t.Fatalf("Write: %v", err)
		}
		if err := c.next().err; err == nil || code(err) != 0 {
			t.Fatalf("the client was told %v", err)
		}
	})
}
