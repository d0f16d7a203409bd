package hubtest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// room for what one side has written and the other has not read yet.
const window = 64 << 10

// memConn is one end of a connection in memory that behaves as TCP does: it
// has a buffer, deadlines, an end for each direction, and resets. Whoever waits
// waits for a sync.Cond, which a synctest bubble understands.
type memConn struct {
	*memLine
	other         *memConn
	local, remote net.Addr

	in               []byte // written by the other end, not read yet
	closed           bool
	ended            bool // says no more
	broken           bool // reset
	reading, writing deadline
}

// memLine is what the two ends share; mu guards the rest of both.
type memLine struct {
	mu   sync.Mutex
	cond sync.Cond
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// memPair returns the two ends of a new connection: one that was dialed from
// client, and one that was accepted at server.
func memPair(client, server net.Addr) (dialed, accepted *memConn) {
	l := &memLine{}
	l.cond.L = &l.mu
	dialed = &memConn{memLine: l, local: client, remote: server}
	accepted = &memConn{memLine: l, local: server, remote: client, other: dialed}
	dialed.other = accepted
	return dialed, accepted
}

func (c *memConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// state says why nothing can be done any more. mu is held.
func (c *memConn) state(d *deadline) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case d.over():
		return os.ErrDeadlineExceeded
	case c.broken:
		return errReset
	}
	return nil
}

// Read implements net.Conn.
func (c *memConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.state(&c.reading); err != nil {
			return 0, c.fail("read", err)
		}
		switch {
		case len(c.in) > 0 || len(p) == 0:
			n := copy(p, c.in)
			if c.in = c.in[n:]; len(c.in) == 0 {
				c.in = nil
			}
			c.cond.Broadcast()
			return n, nil
		case c.other.ended:
			return 0, io.EOF
		}
		c.cond.Wait()
	}
}

// Write implements net.Conn.
func (c *memConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.state(&c.writing); err != nil {
			return n, c.fail("write", err)
		}
		if c.ended || c.other.closed {
			return n, c.fail("write", errPipe)
		}
		if free := window - len(c.other.in); free > 0 {
			k := min(free, len(p)-n)
			c.other.in = append(c.other.in, p[n:n+k]...)
			n += k
			c.cond.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		c.cond.Wait()
	}
}

// Close implements net.Conn: the other end reads what is there, and then io.EOF.
func (c *memConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed, c.ended, c.in = true, true, nil
	c.reading.stop()
	c.writing.stop()
	c.cond.Broadcast()
	return nil
}

// CloseWrite is what it is for a *net.TCPConn.
func (c *memConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.ended = true
	c.cond.Broadcast()
	return nil
}

// reset breaks the connection for both ends; what is on the way is lost. A closed
// one is left alone: the other end may still have to read.
func (c *memConn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for _, end := range []*memConn{c, c.other} {
		end.broken, end.in = true, nil
	}
	c.cond.Broadcast()
}

// LocalAddr implements net.Conn.
func (c *memConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *memConn) SetDeadline(t time.Time) error { return c.set(t, &c.reading, &c.writing) }

// SetReadDeadline implements net.Conn.
func (c *memConn) SetReadDeadline(t time.Time) error { return c.set(t, &c.reading) }

// SetWriteDeadline implements net.Conn.
func (c *memConn) SetWriteDeadline(t time.Time) error { return c.set(t, &c.writing) }

func (c *memConn) set(t time.Time, deadlines ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		d.stop()
		d.at = t
		if left := time.Until(t); !t.IsZero() && left > 0 {
			d.timer = time.AfterFunc(left, c.wake)
		}
	}
	c.cond.Broadcast()
	return nil
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = nil
}

// wake lets those who wait look at their deadline.
func (c *memConn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cond.Broadcast()
}
