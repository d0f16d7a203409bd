package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

const (
	heartbeat     = 25 * time.Second // if the welcome names none
	mostQuestions = 64               // that are being answered
	late          = time.Second      // a timer that is later than this slept with the process
	pongWithin    = 3 * time.Second  // less than the library's 5 s
	linger        = time.Second      // for the reader to learn why the writer failed
)

// welcome is the content of the first message of a connection.
type welcome struct {
	ID        string `json:"id"`
	User      string `json:"user"`
	Session   string `json:"session"`
	Heartbeat int64  `json:"heartbeat"` // milliseconds
	Limit     int    `json:"limit"`
}

// socket is one connection: a reader, a writer, and a watch that finds a server
// that has fallen silent. It ends when its context does.
type socket struct {
	client  *Client
	ws      *websocket.Conn
	ctx     context.Context
	cancel  context.CancelCauseFunc
	wake    chan struct{} // of 1: there may be something to write
	turn    chan struct{} // of 1: taken while something is being written
	slots   chan struct{} // one for each question that is being answered
	welcome welcome
	bye     *time.Duration // when the server wants the client back; the reader's

	began time.Time
	last  atomic.Int64 // when the server was heard, in ns since began
	held  atomic.Bool  // handlers or loops are slow, and nothing is read
}

func newSocket(c *Client) *socket {
	s := &socket{client: c, began: time.Now()}
	s.wake, s.turn, s.slots = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, mostQuestions)
	s.ctx, s.cancel = context.WithCancelCause(c.life.ctx)
	return s
}

func (s *socket) status(resumed bool) Status {
	return Status{State: Connected, ID: s.welcome.ID, User: s.welcome.User, Resumed: resumed}
}

// serve runs the connection until it ends and returns why.
func (s *socket) serve() error {
	s.heard()
	var parts sync.WaitGroup
	parts.Go(s.write)
	parts.Go(s.watch)
	err := s.read()
	s.cancel(err)
	_ = s.ws.CloseNow()
	parts.Wait()
	s.client.down()
	if _, ok := errors.AsType[*CloseError](err); ok {
		return err
	}
	return context.Cause(s.ctx)
}

// next reads one message and its size. Something that is no message is reported
// and skipped.
func (s *socket) next(ctx context.Context) (message.Envelope, int, error) {
	for {
		typ, data, err := s.ws.Read(ctx)
		if err != nil {
			if closed, ok := errors.AsType[websocket.CloseError](err); ok {
				return message.Envelope{}, 0, &CloseError{Code: int(closed.Code), Reason: closed.Reason}
			}
			return message.Envelope{}, 0, fmt.Errorf("client: reading: %w", err)
		}
		s.heard()
		e, err := message.Decode(data, typ == websocket.MessageBinary)
		if err == nil {
			return e, len(data), nil
		}
		s.put(func() { s.client.opts.OnError(fmt.Errorf("client: the server sent something wrong: %w", err)) }, len(data))
	}
}

func (s *socket) read() error {
	for {
		e, size, err := s.next(s.ctx)
		if err != nil {
			return err
		}
		s.receive(&e, size)
		if err := s.ctx.Err(); err != nil {
			return context.Cause(s.ctx)
		}
	}
}

// pinged reports whether a ping is to be answered. It cannot be while a server
// that does not read holds up a message; the library would end the connection
// over it.
func (s *socket) pinged(ctx context.Context) bool {
	s.heard()
	t := time.NewTimer(pongWithin)
	defer t.Stop()
	select {
	case s.turn <- struct{}{}:
		<-s.turn
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// put hands handlers over; false: there was no space before the connection ended, so it is
// missed, as what comes after it is.
func (s *socket) put(run func(), size int) bool {
	return s.client.inbox.put(s.ctx, event{run: run, bytes: max(1, size)}, s.hold) == nil
}

// hold is told when the client stops reading, and when it goes on.
func (s *socket) hold(held bool) {
	s.heard()
	s.held.Store(held)
}

func (s *socket) write() {
	for {
		q := s.client.nextFor(s)
		if q == nil {
			select {
			case <-s.wake:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		typ := websocket.MessageText
		if q.binary {
			typ = websocket.MessageBinary
		}
		s.turn <- struct{}{}
		err := s.ws.Write(s.ctx, typ, q.data)
		<-s.turn
		if err != nil {
			s.broken(err)
			return
		}
		if q.done != nil {
			q.done()
		}
	}
}

// broken ends a connection that cannot be written to, after the reader has had
// its chance to find a close frame.
func (s *socket) broken(err error) {
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-t.C:
		s.cancel(fmt.Errorf("client: writing: %w", err))
	case <-s.ctx.Done():
	}
}

// nextFor takes what s is to write. What is larger than the server takes is
// refused here: the server would close the connection over it.
func (c *Client) nextFor(s *socket) *request {
	for {
		c.mu.Lock()
		q := c.out.next()
		tooLarge := q != nil && s.welcome.Limit > 0 && len(q.data) > s.welcome.Limit
		if tooLarge {
			c.out.remove(q)
		}
		c.mu.Unlock()
		if !tooLarge {
			return q
		}
		if q.answer != nil {
			q.answer(message.Envelope{}, s.tooLarge(q.frame))
		}
		if q.done != nil {
			q.done()
		}
	}
}

func (s *socket) tooLarge(f frame) error {
	return message.Errorf(message.TooLarge, "the message has %d bytes, the server takes %d", len(f.data), s.welcome.Limit)
}

func (s *socket) heard() { s.last.Store(int64(time.Since(s.began))) }

func (s *socket) quiet() time.Duration { return time.Since(s.began) - time.Duration(s.last.Load()) }

// watch asks the server for a sign of life when there was none for longer than
// it should be, pings of the WebSocket included, and ends the connection if none
// comes.
func (s *socket) watch() {
	beat := time.Duration(s.welcome.Heartbeat) * time.Millisecond
	if beat <= 0 {
		beat = heartbeat
	}
	patience := beat + beat/5
	for {
		rest := patience - s.quiet()
		if s.held.Load() { // it may have spoken
			rest = patience
		}
		if rest > 0 {
			if !s.sleep(rest) {
				return
			}
			continue
		}
		s.ping()
		asked := time.Now()
		if !s.sleep(s.client.opts.Timeout) {
			return
		}
		slept := time.Since(asked)
		if s.quiet() <= slept || s.held.Load() || slept > s.client.opts.Timeout+late {
			continue
		}
		s.cancel(errSilent)
		return
	}
}

func (s *socket) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// ping needs no answer of its own: any message will do.
func (s *socket) ping() {
	f, _ := s.client.encodeWith(message.JSON, message.New(envelope.Ping, nil))
	s.hurry(&request{frame: f, policy: now})
}

// hurry writes q on this connection or not at all.
func (s *socket) hurry(q *request) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == s {
		c.out.hurry(q)
		signal(s.wake)
	}
}

// goodbye closes in good order, or at once when ctx ends.
func (s *socket) goodbye(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { s.cancel(ErrClosed) })()
	_ = s.ws.Close(message.CloseDone, "")
}

func (s *socket) farewell(e *message.Envelope) {
	var bye struct {
		RetryAfter *int64 `json:"retryAfter"`
	}
	if e.Content.Decode(nil, &bye) == nil && bye.RetryAfter != nil {
		d := time.Duration(min(max(0, *bye.RetryAfter), longestWait.Milliseconds())) * time.Millisecond
		s.bye = &d
	}
}

// receive takes one message. Answers are passed on at once, so that a handler
// can wait for one; everything else goes through the inbox.
func (s *socket) receive(e *message.Envelope, size int) {
	if e.Stream != "" {
		s.result(e, size)
		return
	}
	switch e.Type {
	case envelope.Ack, envelope.Error, envelope.Pong:
		s.answered(e, size)
	case envelope.Bye:
		s.farewell(e)
	case envelope.Welcome, envelope.Join, envelope.Leave, envelope.Ping, envelope.Auth:
	case envelope.Joined, envelope.Left, envelope.Presence:
		s.presence(e, size)
	case envelope.Gap:
		s.gap(e, size)
	default:
		if e.ID != "" {
			s.question(e)
			return
		}
		s.message(e, size)
	}
}

// room returns the room of e, and the epoch of what it says; nil where that is not to be
// heard. What comes before the answer to the join and has a place in the room's history is
// that of an earlier one, which was not waited for, and comes again. What has none does
// not: the server has put the client into the room.
func (s *socket) room(e *message.Envelope) (*Room, int) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r := c.rooms[e.Room]; {
	case r == nil:
	case r.member.joined:
		return r, r.member.epoch
	case !r.member.wanted && r.member.leaving == 0:
		if tells(e) && !r.member.heard {
			r.member.heard = true
			r.begin()
		}
		return r, r.member.epoch
	case r.member.fresh() && e.Cursor == "" && !envelope.System(e.Type):
		return r, r.member.epoch
	}
	return nil, 0
}

func (s *socket) answered(e *message.Envelope, size int) {
	c := s.client
	c.mu.Lock()
	q := c.out.take(e.ID)
	c.mu.Unlock()
	if e.Type == envelope.Error {
		err := verdict(q, message.ErrorFrom(e.Content))
		switch {
		case q != nil && q.answer != nil:
			q.answer(message.Envelope{}, err)
		case e.ID == "":
			s.put(func() { c.opts.OnError(inRoom(e.Room, err)) }, size)
		}
		return
	}
	r, from := s.room(e)
	own := r != nil && q != nil && e.Cursor != ""
	if own {
		r.placed(from, q, e.Cursor)
	}
	if own && c.inbox.idle() { // who waits for the answer finds it in Room.Cursor
		r.acked(from, q, e.Cursor)
		own = false
	}
	if q != nil && q.answer != nil {
		q.answer(*e, nil)
	}
	if own {
		s.put(func() { r.acked(from, q, e.Cursor) }, size)
	}
}

// verdict is the error that answers q. Who is not in the room any more is not told what
// became of the message on an earlier connection, nor is one at a position in front of a
// hole: it may be what the room has gone on with.
func verdict(q *request, e *message.Error) error {
	if q != nil && q.again && (e.Code == message.NotMember || e.Code == message.Conflict && q.since != "" && q.doubted) {
		return unknown(e)
	}
	return e
}

func inRoom(room string, err error) error {
	if room == "" {
		return err
	}
	return fmt.Errorf("client: room %q: %w", room, err)
}

func (s *socket) message(e *message.Envelope, size int) {
	if e.Room == "" {
		s.put(func() { s.client.deliver(e) }, size)
	} else if r, from := s.room(e); r != nil && !r.known(e.Cursor) && s.put(func() { r.receive(from, e) }, size) {
		r.received(from, e.Cursor)
	}
}

func (s *socket) gap(e *message.Envelope, size int) {
	var content struct {
		Reason string `json:"reason"`
		Cursor string `json:"cursor"`
	}
	if r, from := s.room(e); r != nil {
		_ = e.Content.Decode(nil, &content) // a hole without a reason is a hole
		s.client.mu.Lock()
		s.client.out.doubt(r)
		s.client.mu.Unlock()
		if s.put(func() { r.gap(from, Gap{Certain: true, Reason: content.Reason, Cursor: content.Cursor}) }, size) {
			r.restart(from, content.Cursor)
		}
	}
}

// question answers the server, once, and only on the connection that asked: ids
// belong to it. With too many questions under way reading waits.
func (s *socket) question(e *message.Envelope) {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return
	}
	s.client.mu.Lock()
	fn := s.client.asks[e.Type]
	s.client.mu.Unlock()
	go func() {
		var content any
		err := error(message.Errorf(message.UnknownType, "there is no handler for the type %q here", e.Type))
		if fn != nil {
			content, err = fn(s.ctx, e.Content)
		}
		s.reply(e, content, err)
	}()
}

func (s *socket) reply(e *message.Envelope, content any, err error) {
	f, err := s.answer(e, content, err)
	if err != nil {
		f, _ = s.answer(e, nil, err)
	}
	s.hurry(&request{frame: f, policy: now, done: func() { <-s.slots }})
}

// answer encodes one; an error is its own content.
func (s *socket) answer(e *message.Envelope, content any, err error) (frame, error) {
	if err != nil {
		a := message.New(envelope.Error, message.Public(err).Content())
		a.ID, a.Room = e.ID, e.Room
		return s.client.encodeWith(message.JSON, a)
	}
	a := message.New(envelope.Ack, content)
	a.ID, a.Room = e.ID, e.Room
	f, err := s.client.encode(a)
	if err == nil && s.welcome.Limit > 0 && len(f.data) > s.welcome.Limit {
		err = s.tooLarge(f)
	}
	return f, err
}
