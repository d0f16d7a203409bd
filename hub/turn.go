package hub

import (
	"bytes"
	"errors"
	"sync"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// turn keeps a peer's handlers in order while its answers are read.
//
// Normally one goroutine reads a message, runs its handler, and reads the next:
// a slow handler holds up its sender and nobody else. But whoever waits for an
// answer of this client needs somebody to read it, and a handler that takes
// longer than a heartbeat must not make its peer look dead. So while a question
// is open, or a heartbeat finds it running, another goroutine takes over reading
// ("relief"): it passes answers on, and puts everything else in a backlog, which
// the first goroutine handles, in order, when its handler is done. Then it ends,
// and the relief is the reader.
type turn struct {
	running bool    // a handler is running
	left    bool    // the peer has left everything: Options.Disconnect is due
	deaf    bool    // nothing was read for a while since the last ping, and that was us
	relief  *relief // another goroutine reads meanwhile; else nil
	side    chan struct{}
	last    chan struct{}      // not nil: no handler begins any more; closed when none runs
	streams map[string]*stream // open ones, by id; Peer.mu guards it
	bad     int                // malformed messages in a row; of the goroutine that handles
}

type relief struct {
	backlog []*inbound
	size    int           // of the backlog in memory
	full    bool          // it reads no more until there is space
	space   chan struct{} // of 1: there may be space now
}

// How many bytes may wait behind a handler, with what each message costs beside its
// text; then reading stops. While the server waits for an answer of the client it is
// more, as the answer comes behind all that the client had sent before it saw the
// question. One message always has a place.
const (
	backlog       = 64 << 10
	askingBacklog = 1 << 20
	weight        = 512
)

// concurrent is how many concurrent handlers of one peer may run.
const concurrent = 16

// inbound is a message that was read and checked. It is pooled: release it.
type inbound struct {
	message *transport.Message // holds the bytes of parts and content
	parts   envelope.Parts
	content message.Raw
	err     error
}

var inbounds = sync.Pool{New: func() any { return new(inbound) }}

func (in *inbound) release() {
	in.message.Release()
	*in = inbound{}
	inbounds.Put(in)
}

// size is what a message that waits costs.
func (in *inbound) size() int { return cap(in.message.Data) + weight }

// fit gives the buffer back where it is much larger than the message in it, as
// those of the pool may be.
func (in *inbound) fit() {
	m := in.message
	if cap(m.Data) <= 2*len(m.Data)+weight {
		return
	}
	in.message = &transport.Message{Data: bytes.Clone(m.Data), Binary: m.Binary}
	m.Release()
	in.parse() // it was checked, but its parts are elsewhere now
}

// receive passes an answer on, and everything else to its handler. It reports
// whether this goroutine is to read on.
func (p *Peer) receive(m *transport.Message) bool {
	in := inbounds.Get().(*inbound)
	in.message = m
	in.parse()
	if p.answered(in) {
		in.release()
		return true
	}
	return p.take(in)
}

// parse splits the message and checks its form. That text is UTF-8 the transport
// has seen to.
func (in *inbound) parse() {
	m := in.message
	head, content, err := envelope.Split(m.Data, m.Binary)
	if m.Binary && !utf8.Valid(head) {
		err = errors.New("the envelope of a binary message is not valid UTF-8")
	}
	if err == nil {
		err = envelope.Parse(head, &in.parts)
	}
	if !m.Binary {
		content = in.parts.Content
	} else if err == nil {
		err = in.parts.Bare()
	}
	in.content = message.Raw{Data: content, Binary: m.Binary}
	if err != nil {
		in.err = message.Errorf(message.Malformed, "%s", err)
	}
}

// take handles a message now, or leaves it to the goroutine whose handler is
// running. It reports whether this goroutine is to read on.
func (p *Peer) take(in *inbound) bool {
	p.mu.Lock()
	for p.turn.running && !p.resting() {
		r := p.turn.relief // not nil: this goroutine is it
		if p.wait(r, in) {
			p.mu.Unlock()
			return true
		}
		r.full, p.turn.deaf = true, true
		p.mu.Unlock()
		select {
		case <-r.space:
		case <-p.ctx.Done():
		}
		p.mu.Lock()
		r.full = false
	}
	if p.resting() { // ended by us: nothing is handled after Options.Disconnect
		p.mu.Unlock()
		in.release()
		return true
	}
	p.turn.running = true
	if p.asks.open() {
		p.relieve()
	}
	p.mu.Unlock()
	return p.takeTurn(in)
}

// takeTurn handles a message and ends the turn. It reports what done does.
func (p *Peer) takeTurn(in *inbound) (reads bool) {
	returned := false
	defer func() {
		if !returned {
			p.hub.running.Add(1)
			go p.outlive()
		}
	}()
	p.handle(in)
	reads = p.done()
	returned = true
	return reads
}

// outlive goes on in the place of a goroutine that a handler has ended: it ends the
// peer and its turn, and reads the connection to its end.
func (p *Peer) outlive() {
	defer p.hub.running.Done()
	p.Close(message.CloseInternal, failed)
	if p.done() {
		p.hub.work(p)
	}
}

// resting reports whether no more messages are handled. p.mu is held.
func (p *Peer) resting() bool { return p.gone || p.turn.last != nil }

// wait puts a message into the backlog, if it has room for it. p.mu is held.
func (p *Peer) wait(r *relief, in *inbound) bool {
	most := backlog
	if p.asks.open() {
		most = askingBacklog
	}
	in.fit()
	if len(r.backlog) > 0 && r.size+in.size() > most {
		return false
	}
	r.backlog, r.size = append(r.backlog, in), r.size+in.size()
	return true
}

// next takes the first message of the backlog, or returns nil. p.mu is held.
func (r *relief) next() *inbound {
	r.wake()
	if len(r.backlog) == 0 {
		return nil
	}
	in := r.backlog[0]
	r.backlog[0] = nil
	r.backlog, r.size = r.backlog[1:], r.size-in.size()
	return in
}

// wake lets the relief look whether it can go on.
func (r *relief) wake() {
	select {
	case r.space <- struct{}{}:
	default:
	}
}

// readOn makes sure that messages are read although a handler is running.
func (p *Peer) readOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relieve()
}

// relieve starts a goroutine that reads while a handler runs. p.mu is held.
func (p *Peer) relieve() {
	if p.turn.running && p.turn.relief == nil {
		p.turn.relief = &relief{space: make(chan struct{}, 1)}
		p.startReading()
	}
}

// done ends a turn: the backlog first, if there is one. It reports whether this
// goroutine still is the reader.
func (p *Peer) done() bool {
	p.mu.Lock()
	r := p.turn.relief
	for r != nil {
		in := r.next()
		if in == nil {
			break
		}
		if p.resting() {
			in.release()
			continue
		}
		p.mu.Unlock()
		p.handle(in)
		p.mu.Lock()
	}
	p.turn.running, p.turn.relief = false, nil
	if p.turn.last != nil {
		close(p.turn.last)
	}
	left := p.turn.left
	p.mu.Unlock()
	if left { // the application may take its time, and there may be more to be read
		p.hub.running.Go(p.disconnect)
	}
	return r == nil
}

// aside runs a concurrent handler. It waits if too many are running.
func (p *Peer) aside(run func()) {
	if p.turn.side == nil {
		p.turn.side = make(chan struct{}, concurrent)
	}
	side := p.turn.side
	side <- struct{}{}
	p.hub.running.Go(func() {
		defer func() { <-side }()
		run()
	})
}
