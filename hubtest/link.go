package hubtest

import (
	"context"
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

const linger = 2 * time.Second // for the answer to an end

// link is one connection through a faulty network: two connections, and a lane
// for each direction between them.
type link struct {
	faults *Faults
	nth    int                // of all that were opened, from 0
	near   stream             // to the client
	dead   <-chan struct{}    // closed when it is cut, or over
	cancel context.CancelFunc // closes dead

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
	l.nth = f.opened
	f.opened++
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
	up.Go(func() { newLane(l, l.near, far, Up).carry() })
	newLane(l, far, l.near, Down).carry()
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
