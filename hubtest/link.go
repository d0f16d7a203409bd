package hubtest

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// stream is a connection whose directions end one by one.
type stream interface {
	net.Conn
	CloseWrite() error
}

// reset closes c so that the other side gets an error.
func reset(c net.Conn) {
	switch c := c.(type) {
	case *memConn:
		c.reset()
	case *net.TCPConn:
		_ = c.SetLinger(0) // what is closed already is left alone
	}
	_ = c.Close()
}

const (
	linger  = 2 * time.Second // for the answer to an end
	mostLen = 1 << 20         // bytes that an overlap holds back
)

// link is one connection through a faulty network: two connections, and a
// goroutine for each direction between them.
type link struct {
	faults *Faults
	near   stream             // to the client
	dead   <-chan struct{}    // closed when it is cut, or over
	cancel context.CancelFunc // closes dead

	late []byte // held back by an overlap; of the goroutine that carries up

	// Guarded by faults.mu.
	far     stream       // to the server; nil: not connected yet
	lost    map[Way]bool // something was swallowed: nothing may follow
	ended   bool         // both sides were told the end
	severed bool         // the client's side is cut, the server's is not
}

// open connects near to what dial returns. Faults concern the connection at
// once. It reports false, and resets near, where the network has come to its end.
func (f *Faults) open(near stream, dial func(context.Context) (stream, error)) bool {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{faults: f, near: near, dead: ctx.Done(), cancel: cancel, lost: map[Way]bool{}}
	f.mu.Lock()
	if f.over {
		f.mu.Unlock()
		l.abort()
		return false
	}
	defer f.mu.Unlock()
	f.links = append(f.links, l)
	f.running.Go(func() {
		if far, err := dial(ctx); err != nil {
			l.abort()
		} else {
			l.serve(far)
		}
		cancel()
		f.remove(l)
	})
	return true
}

func (f *Faults) remove(l *link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = slices.DeleteFunc(f.links, func(o *link) bool { return o == l })
	for _, a := range f.active {
		a.links = slices.DeleteFunc(a.links, func(o *link) bool { return o == l })
	}
}

func (l *link) serve(far stream) {
	l.faults.mu.Lock()
	l.far = far
	ended := l.ended
	l.faults.mu.Unlock()
	select {
	case <-l.dead: // perhaps before there was a far
		reset(far)
	default:
		if ended {
			l.finish()
		}
	}
	var up sync.WaitGroup
	up.Go(func() { l.carry(l.near, far, Up) })
	l.carry(far, l.near, Down)
	up.Wait()
	_ = l.near.Close()
	_ = far.Close()
}

// ends returns what there is of both ends.
func (l *link) ends() []stream {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	if l.far == nil {
		return []stream{l.near}
	}
	return []stream{l.near, l.far}
}

// abort resets both sides.
func (l *link) abort() {
	l.cancel()
	for _, c := range l.ends() {
		reset(c)
	}
}

// finish ends both sides in good order. They have some time to do the same.
func (l *link) finish() {
	for _, c := range l.ends() {
		_ = c.SetReadDeadline(time.Now().Add(linger))
		_ = c.CloseWrite()
	}
}

// sever resets the client's side; the server's learns nothing.
func (l *link) sever() {
	l.faults.mu.Lock()
	l.severed = true
	l.faults.change()
	l.faults.mu.Unlock()
	reset(l.near)
}

// carry is one direction.
func (l *link) carry(src, dst stream, way Way) {
	buf := make([]byte, 16<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 && !l.pass(dst, buf[:n], way) {
			l.abort()
			return
		}
		if err != nil {
			l.leave(dst, way, err)
			return
		}
	}
}

// pass does with bytes what the faults say, and reports whether the connection
// goes on.
func (l *link) pass(dst stream, p []byte, way Way) bool {
	delayed := false
	for len(p) > 0 {
		c, changed := l.faults.condition(l, way)
		switch {
		case c.swallow:
			return true
		case c.hold && len(l.late)+len(p) <= mostLen:
			l.late = append(l.late, p...)
			return true
		case c.hold || c.stall:
			if !l.wait(changed, 0) {
				return false
			}
			continue
		case c.by > 0 && !delayed:
			delayed = true
			if !l.wait(nil, c.by) {
				return false
			}
			continue
		case way == Up && len(l.late) > 0: // what was held back comes first
			p = append(l.late, p...)
			l.late = nil
		}
		n, ok := l.pace(c, len(p))
		if !ok {
			return false
		}
		if _, err := dst.Write(p[:n]); err != nil {
			c, _ = l.faults.condition(l, way)
			return c.swallow
		}
		p = p[n:]
	}
	return true
}

// pace waits until the next of n bytes may be written, and returns how many.
func (l *link) pace(c condition, n int) (int, bool) {
	var d time.Duration
	if c.rate > 0 {
		n = min(n, max(1, c.rate/20))
		d = time.Duration(n) * time.Second / time.Duration(c.rate)
	}
	if c.slice {
		n, d = 1, max(d, time.Microsecond)
	}
	return n, d == 0 || l.wait(nil, d)
}

// leave tells dst how src has ended, once the faults let it through.
func (l *link) leave(dst stream, way Way, err error) {
	for {
		c, changed := l.faults.condition(l, way)
		switch {
		case c.swallow:
			return
		case c.stall || c.hold:
			if !l.wait(changed, 0) {
				return
			}
			continue
		case way == Up && len(l.late) > 0:
			late := l.late
			if l.late = nil; !l.pass(dst, late, way) {
				l.abort()
				return
			}
			continue
		}
		break
	}
	l.faults.mu.Lock()
	severed := l.severed
	l.faults.mu.Unlock()
	if errors.Is(err, io.EOF) || severed {
		_ = dst.CloseWrite()
	} else {
		l.abort()
	}
}

// wait waits for a change, or for a time if that is not 0. It reports false when
// the connection has been cut.
func (l *link) wait(changed <-chan struct{}, d time.Duration) bool {
	var elapsed <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-changed:
	case <-elapsed:
	case <-l.dead:
		return false
	}
	return true
}
