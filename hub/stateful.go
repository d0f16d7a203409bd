package hub

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// StateScope is a Scope whose rooms have a state, one *S for each live room.
type StateScope[S any] struct{ *Scope }

// RoomsOf declares rooms with a state. open makes it when the first member is
// about to join; its error refuses the join. The state lives until the last
// member has left, and is then closed if it is an io.Closer; a member that may be
// back within Presence.Grace has left. A room that fills again gets a new one.
// State is of this process: what several nodes share does not belong there.
func RoomsOf[S any](h *Hub, pattern string, rule *Rule, open func(ctx context.Context, r *room.Room) (*S, error)) *StateScope[S] {
	mustNotBeNil(open == nil, "the function that opens the states of Rooms(%q)", pattern)
	s := &StateScope[S]{h.Rooms(pattern, rule)}
	s.states = &states{open: func(ctx context.Context, r *room.Room) (any, error) { return open(ctx, r) }}
	return s
}

// OnRoom registers a handler that gets the room's state; a method expression
// fits: hub.OnRoom(chat, Say, (*chatRoom).say). Such handlers of one room run
// one at a time, whichever peer they are for, so the state needs no lock. One
// that waits holds up its room. It panics as On does.
func OnRoom[S, T any](s *StateScope[S], kind message.Kind[T], fn func(*S, context.Context, *Request, T) error) {
	mustNotBeNil(fn == nil, "the handler for %q", kind)
	mustNotBeNil(s == nil, "the StateScope of the handler for %q", kind)
	On(s, kind, func(ctx context.Context, r *Request, in T) error {
		return s.states.turn(ctx, r, func(state any) error { return fn(state.(*S), ctx, r, in) })
	})
}

// ReplyRoom is to Reply what OnRoom is to On.
func ReplyRoom[S, Req, Res any](s *StateScope[S], call message.Call[Req, Res], fn func(*S, context.Context, *Request, Req) (Res, error)) {
	mustNotBeNil(fn == nil, "the handler for %q", call)
	mustNotBeNil(s == nil, "the StateScope of the handler for %q", call)
	Reply(s, call, func(ctx context.Context, r *Request, in Req) (res Res, err error) {
		err = s.states.turn(ctx, r, func(state any) error {
			res, err = fn(state.(*S), ctx, r, in)
			return err
		})
		return res, err
	})
}

// states are the states of the live rooms of one scope.
type states struct {
	open func(ctx context.Context, r *room.Room) (any, error)

	mu    sync.Mutex
	cells map[string]*cell
}

// cell is the state of one room, with its turn.
type cell struct {
	room string
	turn chan struct{} // of 1: held by the handler that runs
	refs int           // members, those about to be, and handlers; states.mu guards it

	opened chan struct{} // closed once value and err are what they will be
	closed chan struct{} // closed when the state is, and the room may have another
	value  any
	err    error
}

// enter counts a member in; the first one opens the state, the others wait.
func (s *states) enter(ctx context.Context, r *room.Room) (*cell, error) {
	c, first, err := s.hold(ctx, r.Name())
	if err != nil {
		return nil, err
	}
	done := false
	defer func() {
		if !done {
			_ = s.exit(c)
		}
	}()
	if first {
		c.init(ctx, r, s.open)
	}
	select {
	case <-c.opened:
		done = c.err == nil
		return c, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hold returns the room's cell, counted, and whether it is new. What a state saves
// when it is closed the next one may read, so that one waits.
func (s *states) hold(ctx context.Context, name string) (c *cell, first bool, err error) {
	for {
		s.mu.Lock()
		c = s.cells[name]
		if c == nil {
			c = &cell{room: name, turn: make(chan struct{}, 1), opened: make(chan struct{}), closed: make(chan struct{})}
			if s.cells == nil {
				s.cells = map[string]*cell{}
			}
			s.cells[name], first = c, true
		}
		if first || c.refs > 0 {
			c.refs++
			s.mu.Unlock()
			return c, first, nil
		}
		s.mu.Unlock()
		select {
		case <-c.closed:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// init opens the state. Whatever happens, nobody waits for it afterwards.
func (c *cell) init(ctx context.Context, r *room.Room, open func(context.Context, *room.Room) (any, error)) {
	defer close(c.opened)
	c.err = errors.New("hub: opening the state of the room panicked")
	c.value, c.err = open(ctx, r)
}

// exit counts out. For the last one the state is closed: nobody uses it then.
func (s *states) exit(c *cell) error {
	s.mu.Lock()
	c.refs--
	last := c.refs == 0
	s.mu.Unlock()
	if !last {
		return nil
	}
	defer func() {
		s.mu.Lock()
		delete(s.cells, c.room)
		s.mu.Unlock()
		close(c.closed)
	}()
	if closer, ok := c.value.(io.Closer); ok && c.err == nil {
		return closer.Close()
	}
	return nil
}

// turn calls fn with the state of r's room when no other handler has it.
func (s *states) turn(ctx context.Context, r *Request, fn func(state any) error) error {
	c := r.cell
	s.mu.Lock()
	if c == nil || c.refs == 0 {
		s.mu.Unlock()
		return message.Errorf(message.NotMember, "join the room first")
	}
	c.refs++
	s.mu.Unlock()
	defer r.Peer.closeState(s, c)
	if err := c.wait(ctx, r.Peer); err != nil {
		return err
	}
	defer func() { <-c.turn }()
	return fn(c.value)
}

// wait takes the turn. While p waits for it, somebody else reads p's messages, or
// nobody would see it go.
func (c *cell) wait(ctx context.Context, p *Peer) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	default:
	}
	p.readOn()
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeState counts out of a room's state, if it has one, which may close it.
func (p *Peer) closeState(s *states, c *cell) {
	if c == nil {
		return
	}
	_ = p.guard("close", func() error { return s.exit(c) })
}
