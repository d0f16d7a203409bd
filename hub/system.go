package hub

import (
	"context"
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

// in returns the membership of a room, or nil.
func (p *Peer) in(name []byte) *membership {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rooms.get(name)
}

// join puts the peer into a room, if the rule of the room admits it.
func (p *Peer) join(in *inbound) error {
	if in.parts.Room == nil {
		return &message.Error{Code: message.Invalid, Message: "a join names a room", Field: "room"}
	}
	for {
		m, err := p.arrived(p.ctx, string(in.parts.Room))
		if err != nil {
			return ignoreClosed(err)
		}
		if m == nil {
			return p.come(in)
		}
		if err = p.rejoin(m, joinOptions(in, m)); !errors.Is(err, errOutside) {
			return err
		}
	}
}

// joinOptions says what a join gets: the first one of the client itself is that of one
// who comes.
func joinOptions(in *inbound, m *membership) (opts []room.JoinOption) {
	if id := string(in.parts.ID); id != "" {
		opts = append(opts, room.Ack(id))
	}
	switch {
	case m != nil && m.asked:
	case in.parts.Since != nil:
		opts = append(opts, room.Since(string(in.parts.Since)))
	default:
		opts = append(opts, room.Anew())
	}
	return opts
}

// come is the join of a room that the peer is not in.
func (p *Peer) come(in *inbound) error {
	m, err := p.membership(string(in.parts.Room))
	if err != nil {
		return err
	}
	return p.guard(envelope.Join, func() error {
		var state any
		if rule := m.match.Value().rule; rule.Join != nil {
			r := &Request{Peer: p, Room: m.room, Type: envelope.Join, ID: string(in.parts.ID), match: m.match, content: in.content}
			if state, err = rule.Join(p.ctx, r); err != nil {
				return err
			}
		}
		if err = p.enter(p.ctx, m, state, joinOptions(in, nil)...); err == nil {
			p.asked(m)
		}
		return err
	})
}

// rejoin answers a join of a room that the peer is in. It changes nothing, but that a
// client which the application had put there gets once what one gets that comes. The
// error is errOutside if the peer was taken out meanwhile.
func (p *Peer) rejoin(m *membership, opts []room.JoinOption) error {
	err := m.room.Join(p.ctx, p, nil, opts...)
	if err == nil {
		p.asked(m)
	}
	return err
}

// asked notes that the client has joined a room by itself: by m, or where another call
// was faster, by that.
func (p *Peer) asked(m *membership) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.entered {
		m = p.rooms.get([]byte(m.room.Name()))
	}
	if m != nil {
		m.asked = true
	}
}

// arrived returns the membership of a room, or nil. It waits for a join that is under
// way.
func (p *Peer) arrived(ctx context.Context, name string) (*membership, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		m, other := p.rooms.get([]byte(name)), p.rooms.about(name)
		if m != nil || other == nil {
			return m, nil
		}
		if err := p.await(ctx, other); err != nil {
			return nil, err
		}
	}
}

// await waits until a membership is not being joined any more, or until ctx or the
// peer ends. Meanwhile somebody else reads p's messages, or nobody would see it go.
// p.mu is held, but not while it waits.
func (p *Peer) await(ctx context.Context, other *membership) error {
	if other.over == nil {
		other.over = make(chan struct{})
	}
	over := other.over
	p.relieve()
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
	case <-p.ctx.Done():
	}
	if p.ctx.Err() != nil {
		return transport.ErrClosed
	}
	return ctx.Err()
}

// membership returns that of a room which the peer is not in yet.
func (p *Peer) membership(name string) (*membership, error) {
	m := &membership{match: p.hub.patterns.Match(name)}
	if name == "" || !m.match.Found() { // "" is the hub's room of everybody
		return nil, message.Errorf(message.Denied, "there is no room of this name")
	}
	p.mu.Lock()
	err := p.fullUp(name)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	m.room = m.match.Value().rooms.Get(name)
	return m, nil
}

// fullUp refuses one more room than the peer may be in. p.mu is held.
func (p *Peer) fullUp(name string) error {
	if p.rooms.count() < p.hub.opts.MaxRooms || p.rooms.get([]byte(name)) != nil || p.rooms.about(name) != nil {
		return nil
	}
	return message.Errorf(message.Denied, "a connection may be in %d rooms, leave one first", p.hub.opts.MaxRooms)
}

// Join puts the peer into a room, whatever the room's rule says, with the state
// that fellow members see. Joining twice changes nothing; a second call waits for the
// first. The error is a *message.Error, Denied, if no pattern matches the name or the
// peer is in too many rooms; that of ctx; or what room.Room.Join or the opening of a
// stateful room fail with. The client is not told: a room
// that it has not asked for it has to know of by itself, or from a message. What the
// room keeps for who comes it gets if it joins by itself, whatever it got before.
func (p *Peer) Join(ctx context.Context, name string, state any) error {
	if p == nil {
		return errGone()
	}
	m, err := p.arrived(ctx, name)
	if err != nil || m != nil {
		return ignoreClosed(err)
	}
	if m, err = p.membership(name); err != nil {
		return err
	}
	return p.enter(ctx, m, state)
}

// Leave takes the peer out of a room, if it is in it, and tells the client.
func (p *Peer) Leave(name string) {
	if p == nil {
		return
	}
	if m := p.in([]byte(name)); m != nil {
		m.room.Leave(p)
	}
}

// enter opens the room's state, and joins.
func (p *Peer) enter(ctx context.Context, m *membership, state any, opts ...room.JoinOption) error {
	if err := p.prepare(ctx, m); err != nil {
		return ignoreClosed(err)
	}
	states, joined := m.match.Value().states, false
	defer func() {
		p.prepared(m)
		if !joined { // the state may even have panicked while it was encoded
			p.closeState(states, m.cell)
		}
	}()
	if states != nil {
		cell, err := states.enter(ctx, m.room)
		if err != nil {
			return err
		}
		m.cell = cell
	}
	if err := m.room.Join(ctx, p, state, opts...); err != nil {
		return ignoreClosed(err) // then nobody is left to be told
	}
	p.mu.Lock()
	joined = m.entered // or it was in the room before, by another call
	p.mu.Unlock()
	return nil
}

// prepare says what Entered is about to note, and takes the place for it, when no other
// join of the room is under way any more.
func (p *Peer) prepare(ctx context.Context, m *membership) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := m.room.Name()
	for other := p.rooms.about(name); other != nil; other = p.rooms.about(name) {
		if err := p.await(ctx, other); err != nil {
			return err
		}
	}
	if err := p.fullUp(name); err != nil { // by now
		return err
	}
	p.rooms.entering = append(p.rooms.entering, m)
	return nil
}

func (p *Peer) prepared(m *membership) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms.settle(m)
}

var errOutside = errors.New("hub: a peer is put into a room by Peer.Join")

// Entered implements room.Resident: whoever sees the answer to a join finds the
// membership.
func (p *Peer) Entered(r *room.Room) error {
	if p == nil {
		return transport.ErrClosed
	}
	if r.Name() == "" {
		return nil // the hub's room of everybody
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rooms.about(r.Name())
	switch {
	case p.gone:
		return transport.ErrClosed
	case m == nil:
		return errOutside
	}
	m.entered = true
	p.rooms.add(m)
	p.rooms.settle(m) // a hook of the room, which its join calls, may take the peer out and put it in again
	return nil
}

// Left implements room.Resident. A client that was taken out is told by a "left"
// of its own; what it had asked to hear in the room ends before that.
func (p *Peer) Left(r *room.Room) func() {
	p.mu.Lock()
	m := p.rooms.remove([]byte(r.Name()))
	p.endStreams(r.Name())
	told := m == nil || m.leaving || p.gone
	p.mu.Unlock()
	if m == nil {
		return nil
	}
	if !told {
		e := message.New(envelope.Left, nil)
		e.Room, e.From, e.User = r.Name(), p.id, p.user
		_ = p.Send(e)
	}
	if m.cell == nil {
		return nil
	}
	return func() { p.closeState(m.match.Value().states, m.cell) }
}

// leave takes the peer out of a room. Leaving one that it is not in is no error.
func (p *Peer) leave(in *inbound) error {
	if in.parts.Room == nil {
		return p.leaveStream(in)
	}
	p.mu.Lock()
	m := p.rooms.get(in.parts.Room)
	if m != nil {
		m.leaving = true
	}
	p.mu.Unlock()
	if m != nil {
		p.answers.hurry(p, m.room.Name())
		m.room.Leave(p)
	}
	if in.parts.ID == nil {
		return nil
	}
	return ignoreClosed(p.reply(string(in.parts.Room), string(in.parts.ID), nil))
}
