package hub

import (
	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// tolerance is how many malformed messages in a row a peer may send.
const tolerance = 16

// handle answers one message. It runs for one message of a peer at a time.
func (p *Peer) handle(in *inbound) {
	if in.err != nil {
		p.malformed(in)
		in.release()
		return
	}
	p.turn.bad = 0
	switch string(in.parts.Type) {
	case envelope.Ping:
		p.pong(in)
	case envelope.Join:
		p.answer(in, p.join(in))
	case envelope.Leave:
		p.answer(in, p.leave(in))
	case envelope.Auth:
		p.answer(in, p.auth(in))
	default:
		p.dispatch(in) // releases the message
		return
	}
	in.release()
}

// malformed tells the sender what was wrong, and ends a connection that sends
// nothing else.
func (p *Peer) malformed(in *inbound) {
	p.refuse(string(in.parts.Room), string(in.parts.ID), message.Public(in.err))
	if p.turn.bad++; p.turn.bad >= tolerance {
		p.Close(message.ClosePolicy, "too many malformed messages in a row")
	}
}

// answer tells the sender that a message failed.
func (p *Peer) answer(in *inbound, err error) {
	if err != nil {
		p.refuse(string(in.parts.Room), string(in.parts.ID), message.Public(err))
	}
}

// dispatch routes a message of the application to its handler.
func (p *Peer) dispatch(in *inbound) {
	if envelope.System(string(in.parts.Type)) {
		p.unknown(in)
		return
	}
	r := &Request{Peer: p, content: in.content, ID: string(in.parts.ID)}
	s, ok := p.address(r, in)
	if !ok {
		in.release()
		return
	}
	f := p.hub.find(s, in.parts.Type)
	switch {
	case f == nil:
		p.unknown(in)
		return
	case f.typ != "":
		r.Type = f.typ // the same text, but no copy
	default:
		r.Type = string(in.parts.Type)
	}
	if r.published != nil && r.ID != "" && (!p.space() || p.again(r, in, f.stream)) {
		in.release()
		return
	}
	switch {
	case f.stream: // known from now on: the client may end it with its next message
		if err := p.openStream(r); err != nil {
			p.settled(r, message.Raw{}, false)
			p.answer(in, err)
			in.release()
			return
		}
		p.aside(func() {
			defer p.closeStream(r)
			p.run(f, r, in)
		})
	case f.concurrent:
		p.aside(func() { p.run(f, r, in) })
	default:
		p.run(f, r, in)
	}
}

// address finds the room that a message is for and what its handlers belong to,
// which is nil for one to no room. It reports whether the message is to be handled:
// otherwise it has been answered.
func (p *Peer) address(r *Request, in *inbound) (s *Scope, ok bool) {
	if in.parts.Room == nil {
		return nil, true
	}
	m := p.in(in.parts.Room)
	if m == nil {
		if !p.outside(in) {
			p.answer(in, errNotMember())
		}
		return nil, false
	}
	r.Room, r.match, r.cell, s = m.room, m.match, m.cell, m.match.Value()
	if s.window > 0 {
		r.published = &publication{}
		if in.parts.Since != nil {
			since := string(in.parts.Since)
			r.published.since = &since
		}
	}
	return s, true
}

func errNotMember() error { return message.Errorf(message.NotMember, "join the room first") }

// unknown refuses a message that nothing here handles.
func (p *Peer) unknown(in *inbound) {
	p.answer(in, message.Errorf(message.UnknownType, "there is no handler for the type %q here", in.parts.Type))
	in.release()
}

// run calls a handler and answers for it.
func (p *Peer) run(f *handler, r *Request, in *inbound) {
	defer in.release()
	if r.published != nil {
		defer p.settled(r, message.Raw{}, false) // unless settle was called
	}
	err := p.guard(r.Type, func() error {
		result, err := f.run(p.ctx, r)
		if err != nil || r.ID == "" {
			return err
		}
		if r.stored() {
			return ignoreClosed(p.settle(r, result))
		}
		return ignoreClosed(p.respond(r, result))
	})
	if err != nil && r.stored() {
		p.refused(answerKey{r.Room.Name(), r.ID}, r.published.receipt.Duplicate)
	}
	p.answer(in, err)
}
