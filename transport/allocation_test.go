package transport_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/transport"
)

// bare connects a client and hands the server's end to the test itself.
func bare(t *testing.T, m mode) (transport.Conn, *socket) {
	t.Helper()
	conns := make(chan transport.Conn, 1)
	tr := transport.WebSocket(&transport.WebSocketOptions{Pending: 64 << 20, Log: quiet})
	s := host(t, m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.Serve(w, r, func(*http.Request) (func(transport.Conn), error) {
			return func(c transport.Conn) { conns <- c }, nil
		})
	}))
	c := s.socket(t)
	conn := &mortal{Conn: await(t, "the connection", conns)}
	t.Cleanup(func() {
		c.cut()
		for !conn.ended {
			_, _ = conn.Read()
		}
	})
	return conn, c
}

// mortal knows whether Read has met the end.
type mortal struct {
	transport.Conn
	ended bool
}

func (m *mortal) Read() (*transport.Message, error) {
	got, err := m.Conn.Read()
	m.ended = err != nil && !errors.Is(err, transport.ErrIdle)
	return got, err
}

// read reads the next message with its caller's own stack.
func read(t testing.TB, c transport.Conn) int {
	for {
		m, err := c.Read()
		if errors.Is(err, transport.ErrIdle) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n := len(m.Data)
		m.Release()
		return n
	}
}

// To queue a frame that others get, too, costs no allocation.
func TestWriteAllocatesNothing(t *testing.T) {
	for _, m := range []mode{plain, secure} {
		t.Run(string(m), func(t *testing.T) {
			conn, c := bare(t, m)
			f := note{n: 1, size: 200}.frame(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, _ = io.Copy(io.Discard, c.br)
			}()
			write := func() {
				if err := conn.Write(f); err != nil {
					t.Error(err)
				}
			}
			for range 1000 { // until all buffers have their sizes
				write()
			}
			if n := testing.AllocsPerRun(2000, write); n > slack {
				t.Errorf("%v allocations", n)
			}
			c.cut()
			await(t, "the client", done)
		})
	}
}

// To read a message costs no allocation, up to the default limit. What crypto/tls
// allocates is not ours.
func TestReadAllocatesNothing(t *testing.T) {
	for _, m := range []mode{plain, wrapped} {
		for _, size := range []int{100, 5000, 65536} {
			t.Run(fmt.Sprintf("%s/%d", m, size), func(t *testing.T) {
				conn, c := bare(t, m)
				data := []byte(msg(string(note{n: 1, size: size}.frame(t).Payload())))
				next := func() {
					if _, err := c.Write(data); err != nil {
						t.Fatal(err)
					}
					if n := read(t, conn); n != size {
						t.Fatalf("%d bytes", n)
					}
				}
				_ = c.SetWriteDeadline(time.Now().Add(patience))
				for range 20 {
					next()
				}
				if n := testing.AllocsPerRun(100, next); n > slack {
					t.Errorf("%v allocations for %d bytes", n, size)
				}
			})
		}
	}
}
