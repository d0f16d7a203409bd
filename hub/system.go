package hub

import (
	"errors"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// ignoreClosed drops the error of an answer whose asker has gone.
func ignoreClosed(err error) error {
	if errors.Is(err, transport.ErrClosed) {
		return nil
	}
	return err
}

// pong answers the ping that browsers can see.
func (p *Peer) pong(in *inbound) {
	e := message.New(envelope.Pong, message.Raw{Data: in.content.Data, Binary: in.content.Binary})
	e.ID = string(in.parts.ID)
	_ = p.Send(e)
}

// in returns the membership of a room, or nil. Whoever the application has taken
// out with Room.Leave is no member, and gets past the rule again to become one.
func (p *Peer) in(name []byte) *membership {
	p.mu.Lock()
	m := p.rooms.get(name)
	p.mu.Unlock()
	if m != nil && !m.room.Has(p.id) {
		p.unjoin(name)
		return nil
	}
	return m
}

// join puts the peer into a room, if the rule of the room admits it.
func (p *Peer) join(in *inbound) error {
	if in.parts.Room == nil {
		return &message.Error{Code: message.Invalid, Message: "a join names a room", Field: "room"}
	}
	id := string(in.parts.ID)
	var opts []room.JoinOption
	if id != "" {
		opts = append(opts, room.Ack(id))
	}
	if m := p.in(in.parts.Room); m != nil {
		return m.room.Join(p.ctx, p, nil, opts...) // changes nothing, answers again
	}
	m := &membership{match: p.hub.patterns.Match(string(in.parts.Room))}
	if !m.match.Found() {
		return message.Errorf(message.Denied, "there is no room of this name")
	}
	p.mu.Lock()
	full := len(p.rooms.list) >= p.hub.opts.MaxRooms
	p.mu.Unlock()
	if full {
		return message.Errorf(message.Denied, "a connection may be in %d rooms, leave one first", p.hub.opts.MaxRooms)
	}
	s := m.match.Value()
	m.room = s.rooms.Get(string(in.parts.Room))
	return p.guard(envelope.Join, func() error { return p.enter(s, m, in, opts) })
}

// enter asks the rule, opens the room's state, and joins.
func (p *Peer) enter(s *Scope, m *membership, in *inbound, opts []room.JoinOption) (err error) {
	var state any
	if s.rule.Join != nil {
		r := &Request{Peer: p, Room: m.room, Type: envelope.Join, ID: string(in.parts.ID), match: m.match, content: in.content}
		if state, err = s.rule.Join(p.ctx, r); err != nil {
			return err
		}
	}
	if s.states != nil {
		if m.cell, err = s.states.enter(p.ctx, m.room); err != nil {
			return err
		}
	}
	// The membership comes before the answer: who has seen that finds it.
	if !p.keep(m) {
		p.closeState(s.states, m.cell)
		return nil // nobody is left to be told
	}
	joined := false
	defer func() {
		if !joined { // the state may even have panicked while it was encoded
			p.unjoin([]byte(m.room.Name()))
		}
	}()
	if err = m.room.Join(p.ctx, p, state, opts...); err != nil {
		return err
	}
	if joined = true; p.hasGone() {
		m.room.Leave(p) // end has done the rest, maybe before there was anything to leave
	}
	return nil
}

// unjoin takes the peer out of a room, if it is in it.
func (p *Peer) unjoin(name []byte) {
	p.mu.Lock()
	m := p.rooms.remove(name)
	p.mu.Unlock()
	if m != nil {
		p.part(m)
	}
}

// keep notes a membership, unless the peer has gone meanwhile.
func (p *Peer) keep(m *membership) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	p.rooms.add(m)
	return true
}

// leave takes the peer out of a room. Leaving one that it is not in is no error.
func (p *Peer) leave(in *inbound) error {
	if in.parts.Room == nil {
		return &message.Error{Code: message.Invalid, Message: "a leave names a room", Field: "room"}
	}
	p.unjoin(in.parts.Room)
	if in.parts.ID == nil {
		return nil
	}
	return ignoreClosed(p.reply(string(in.parts.Room), string(in.parts.ID), nil))
}
