package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

const congested = 64 << 10 // bytes that wait to be written

// Place is where messages go to and come from: a *Room, or the *Client itself
// for messages without a room.
type Place interface{ at() *place }

type place struct {
	client   *Client
	room     *Room                 // nil: the client itself
	handlers map[string][]*handler // Client.mu guards it
	since    *string               // where the room is to be; nil: anywhere
}

func (p *place) at() *place { return p }

func (p *place) name() string {
	if p.room == nil {
		return ""
	}
	return p.room.name
}

// check refuses what cannot be sent here.
func (p *place) check(typ string) error {
	if p.room != nil {
		if err := envelope.CheckName("room", p.room.name, envelope.MaxRoom); err != nil {
			return message.Errorf(message.Invalid, "%v", err)
		}
	}
	if p.since != nil && *p.since == "" {
		return &message.Error{Code: message.Invalid, Message: "there is no cursor: the room is not joined, or keeps no history", Field: "since"}
	}
	if err := envelope.CheckName("type", typ, envelope.MaxType); err != nil {
		return message.Errorf(message.Invalid, "%v", err)
	}
	return nil
}

// handler is one function that was passed to On.
type handler struct{ run func(*message.Envelope) }

// Message is one that arrived. From, User and Time are the server's word; Content
// is what a stranger wrote.
type Message[T any] struct {
	Content T
	Room    string    // "" for one without a room
	From    string    // id of the peer that sent it; "" for the server
	User    string    // id of the user that sent it, where it is authenticated
	Cursor  string    // position in a room that keeps history
	Time    time.Time // when the server took it
}

// On calls fn for every message of the kind that comes from p, and returns the
// function that ends this. That of a room is also called where the server has put
// the client into the room without a Join. Content that does not decode goes to
// Options.OnError instead. On panics for a type that belongs to the protocol.
func On[T any](p Place, kind message.Kind[T], fn func(Message[T])) (off func()) {
	typ, at := string(kind), p.at()
	if envelope.System(typ) {
		panic(fmt.Sprintf("client: On: the type %q belongs to the protocol", typ))
	}
	c := at.client
	h := &handler{run: func(e *message.Envelope) {
		m := Message[T]{Room: e.Room, From: e.From, User: e.User, Cursor: e.Cursor, Time: e.Timestamp}
		if err := e.Content.Decode(c.opts.Codec, &m.Content); err != nil {
			c.opts.OnError(inRoom(e.Room, fmt.Errorf("a message of the type %q: %w", typ, err)))
			return
		}
		fn(m)
	}}
	c.mu.Lock()
	defer c.mu.Unlock()
	at.handlers[typ] = append(slices.Clone(at.handlers[typ]), h)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		without := slices.Clone(at.handlers[typ])
		at.handlers[typ] = slices.DeleteFunc(without, func(other *handler) bool { return other == h })
	}
}

// OnAsk answers the server's questions of a kind: with the value, or with the
// error, of which the server learns a *message.Error and nothing of others. fn
// runs on a goroutine of its own, beside the handlers; ctx ends with the
// connection that asked. A second OnAsk of the same kind replaces the first.
// OnAsk panics for a type that belongs to the protocol.
func OnAsk[Req, Res any](c *Client, call message.Call[Req, Res], fn func(context.Context, Req) (Res, error)) {
	typ := string(call)
	if envelope.System(typ) {
		panic(fmt.Sprintf("client: OnAsk: the type %q belongs to the protocol", typ))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks[typ] = func(ctx context.Context, content message.Raw) (any, error) {
		var req Req
		if err := content.Decode(c.opts.Codec, &req); err != nil {
			return nil, err
		}
		return fn(ctx, req)
	}
}

// deliver calls the handlers of a message without a room.
func (c *Client) deliver(e *message.Envelope) {
	c.mu.Lock()
	all := c.own.handlers[e.Type]
	c.mu.Unlock()
	for _, h := range all {
		h.run(e)
	}
}

// receive calls the handlers of a message of the room, unless the room was left.
func (r *Room) receive(epoch int, e *message.Envelope) {
	c := r.client
	c.mu.Lock()
	all, left := r.own.handlers[e.Type], r.member.over(epoch)
	c.mu.Unlock()
	if left {
		return
	}
	for _, h := range all {
		h.run(e)
	}
	r.passed(epoch, e.Cursor)
}

// Receipt is the server's ack of a message.
type Receipt struct {
	ID     string // of the message
	Cursor string // its position in a room that keeps history; "" where not said
}

// Sending is a message under way.
type Sending struct {
	id     string
	done   chan struct{}
	answer message.Envelope
	err    error
}

// Wait waits for the end, which is bounded by the context that Start got. It may
// be called more than once.
func (s *Sending) Wait() (Receipt, error) {
	e, err := s.wait()
	return Receipt{ID: s.id, Cursor: e.Cursor}, err
}

func (s *Sending) wait() (message.Envelope, error) {
	<-s.done
	return s.answer, s.err
}

func (s *Sending) end(e message.Envelope, err error) {
	s.answer, s.err = e, err
	close(s.done)
}

// Send sends a message and waits until the server has handled it. It is sent
// again, with the same id, as often as the connection is lost before that.
// Without a deadline in ctx it gives up after Options.TTL. The error is the
// server's, a *message.Error, or wraps one of the errors of this package.
func Send[T any](ctx context.Context, p Place, kind message.Kind[T], content T) (Receipt, error) {
	return Start(ctx, p, kind, content).Wait()
}

// Start is Send without the wait: what is started first is sent first. It waits
// only for space in the queue, and never without a connection.
func Start[T any](ctx context.Context, p Place, kind message.Kind[T], content T) *Sending {
	at := p.at()
	return at.client.ask(ctx, at.client.opts.TTL, at, repeat, kind.New(content))
}

// Call sends a question and waits for the answer. It is sent once: if the
// connection is lost after that, the error is ErrUnknown. Without a deadline in
// ctx it gives up after Options.Timeout. The error is the server's, a
// *message.Error, also for an answer of the wrong form, or wraps one of the
// errors of this package.
func Call[Req, Res any](ctx context.Context, p Place, call message.Call[Req, Res], content Req) (Res, error) {
	var res Res
	at := p.at()
	e, err := at.client.ask(ctx, at.client.opts.Timeout, at, once, call.New(content)).wait()
	if err != nil {
		return res, err
	}
	return res, e.Content.Decode(at.client.opts.Codec, &res)
}

// Volatile sends a message that is not worth keeping, as a typing notice: without
// a connection, or behind more than 64 KiB, it ends with ErrDropped. It is never
// repeated, and the server does not acknowledge it.
func Volatile[T any](p Place, kind message.Kind[T], content T) error {
	at := p.at()
	c := at.client
	q := &request{room: at.room, policy: now}
	if err := c.compose(q, at, kind.New(content)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		return ErrClosed
	case c.socket == nil || c.out.unwritten() > congested:
		return ErrDropped
	case c.socket.welcome.Limit > 0 && len(q.data) > c.socket.welcome.Limit:
		return c.socket.tooLarge(q.frame)
	}
	c.out.add(q)
	signal(c.socket.wake)
	return nil
}

// compose encodes the message that q sends.
func (c *Client) compose(q *request, at *place, e message.Envelope) error {
	if err := at.check(e.Type); err != nil {
		return err
	}
	if envelope.System(e.Type) && e.Type != envelope.Ping {
		return message.Errorf(message.Invalid, "the type %q belongs to the protocol", e.Type)
	}
	e.Room, e.ID = at.name(), q.id
	var err error
	if q.frame, err = c.encode(e); err == nil && at.since != nil {
		q.since = *at.since
		q.data = withSince(q.frame, q.since)
	}
	return err
}

func (c *Client) encode(e message.Envelope) (frame, error) { return c.encodeWith(c.opts.Codec, e) }

func (c *Client) encodeWith(codec message.Codec, e message.Envelope) (frame, error) {
	f, err := message.Encode(e, codec, message.Disconnect)
	if err != nil {
		return frame{}, err
	}
	return frame{f.Payload(), f.Binary()}, nil
}

// ask queues a message that wants an answer.
func (c *Client) ask(ctx context.Context, most time.Duration, at *place, p policy, e message.Envelope) *Sending {
	ctx, cancel := bounded(ctx, most)
	s := &Sending{id: newID(), done: make(chan struct{})}
	q := &request{id: s.id, room: at.room, policy: p}
	q.answer = func(e message.Envelope, err error) {
		cancel()
		s.end(e, err)
	}
	err := c.compose(q, at, e)
	if err == nil {
		err = c.queue(ctx, q)
	}
	if err != nil {
		q.answer(message.Envelope{}, err)
	}
	return s
}

// queue adds q, and waits until there is space for it.
func (c *Client) queue(ctx context.Context, q *request) error {
	for {
		c.mu.Lock()
		err := c.refusal(ctx, q)
		if err == nil {
			c.out.add(q)
			q.stop = context.AfterFunc(ctx, func() { c.expire(q.id, context.Cause(ctx)) })
			if c.socket != nil {
				signal(c.socket.wake)
			}
			c.mu.Unlock()
			return nil
		}
		space := c.out.space()
		c.mu.Unlock()
		if !errors.Is(err, errFull) {
			return err
		}
		select {
		case <-space:
		case <-ctx.Done():
		}
	}
}

var errFull = errors.New("client: the queue is full")

// refusal says why q cannot be queued now. Client.mu is held.
func (c *Client) refusal(ctx context.Context, q *request) error {
	o := &c.out
	switch s := c.socket; {
	case c.closing:
		return ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrExpired, context.Cause(ctx))
	case s != nil && s.welcome.Limit > 0 && len(q.data) > s.welcome.Limit:
		return s.tooLarge(q.frame)
	case o.messages == 0 || o.messages < c.opts.QueueMessages && o.bytes+len(q.data) <= c.opts.QueueBytes:
		return nil
	case s == nil:
		return fmt.Errorf("%w: there is no connection, and the queue is full", ErrOverflow)
	}
	return errFull
}

// expire ends a request whose context has ended.
func (c *Client) expire(id string, cause error) {
	if q := c.giveUp(id); q != nil {
		q.answer(message.Envelope{}, q.never(cause, fmt.Errorf("%w: %w", ErrExpired, cause)))
	}
}
