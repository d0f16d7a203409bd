package hub

import (
	"errors"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// read is a reader: the goroutine that waits for a client's messages, of which
// there is one for each connection. Its frame and Wait's are what the stack of an
// idle connection consists of, and handling a message would make that grow four
// times its size. So a message that comes after a silence is left to a spare
// reader, whose stack has grown already, if there is one.
func (p *Peer) read() {
	defer p.hub.running.Done()
	if p.conn.Wait() {
		select {
		case p.hub.spare <- p:
			return
		default:
		}
	}
	p.hub.work(p)
}

// spareTime is how long a reader without a connection waits for one.
const spareTime = 100 * time.Millisecond

// work reads what comes from p, and when that is idle, from others that were.
func (h *Hub) work(p *Peer) {
	if !p.readAll() {
		return
	}
	timer := time.NewTimer(spareTime)
	defer timer.Stop()
	for {
		select {
		case p = <-h.spare:
			if !p.readAll() {
				return
			}
			timer.Reset(spareTime)
		case <-timer.C:
			return
		case <-h.ending.draining:
			return
		}
	}
}

// readAll reads until the connection ends, is idle, or another goroutine reads on.
// It reports whether it is idle; then a fresh goroutine waits for it.
func (p *Peer) readAll() (idle bool) {
	for {
		m, err := p.conn.Read()
		switch {
		case err == nil:
			if !p.receive(m) {
				return false
			}
		case errors.Is(err, transport.ErrIdle):
			p.startReading()
			return true
		case !p.broken(err):
			return false
		}
	}
}

// startReading starts a reader. The caller is one of the hub's counted goroutines
// itself, so the count cannot be zero.
func (p *Peer) startReading() {
	p.hub.running.Add(1)
	go p.read()
}

// broken ends a peer whose connection has failed, and reports whether it has to
// be read on: after a violation, until the client has answered the close.
func (p *Peer) broken(err error) bool {
	var broken *transport.Violation
	if !errors.As(err, &broken) {
		p.hub.unread(p)
		p.end(err)
		return false
	}
	if broken.Code == message.CloseTooLarge {
		p.refuse("", "", message.Errorf(message.TooLarge, "%s", broken.Reason))
	}
	p.conn.Close(broken.Code, broken.Reason)
	p.end(&transport.CloseError{Code: broken.Code, Reason: broken.Reason, Local: true})
	return true
}
