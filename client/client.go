package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// State is what a Client is doing about its connection.
type State uint8

// The states. After Closed there is no other.
const (
	Connecting   State = iota // a connection is being made
	Connected                 // the server has said welcome
	Disconnected              // the last connection ended; the next try is waited for
	Closed                    // over for good
)

// String names the state.
func (s State) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[s]
}

// Status is how a Client stands.
type Status struct {
	State State
	// ID is the peer id, another one after each reconnect, and User who the
	// server takes this client for; both are empty unless it is Connected.
	ID, User string
	// Resumed: the server has continued the session of the first connection, so
	// that it recognises messages that are sent again.
	Resumed bool
	// Err is why the last connection ended or could not be made: a *CloseError, a
	// *Refusal, or another error. It is nil while Connected, and for a Client that
	// was closed by Close.
	Err error
	// Retry is how long Disconnected will last.
	Retry time.Duration
}

// Client is a connection to a hub that comes back when it is lost.
type Client struct {
	url   string
	opts  Options
	own   place // of messages without a room
	inbox *inbox
	life  lifetime
	dice  *dice

	mu      sync.Mutex
	status  Status
	closing bool   // by the application
	session string // the secret of the first welcome
	socket  *socket
	out     outgoing
	rooms   map[string]*Room
	joins   int // counts the rooms in the order of their first join
	asks    map[string]func(context.Context, message.Raw) (any, error)
}

// lifetime is that of a client.
type lifetime struct {
	ctx  context.Context
	stop context.CancelCauseFunc
	done chan struct{} // closed when there is no connection and none will come
}

// Dial connects to the hub at the URL, whose scheme is ws, wss, http or https and
// which must carry no secret, and waits for its welcome. It tries once, for
// Options.Timeout at most; from then on the client comes back by itself, and lives
// until Close, not until ctx ends. nil options are the defaults. The error is a
// *Refusal if the server answered with HTTP, a *CloseError if it closed the
// connection.
func Dial(ctx context.Context, url string, opts *Options) (*Client, error) {
	c := &Client{url: url, rooms: map[string]*Room{}}
	c.inbox = newInbox(func() { c.opts.OnError(errSlow) })
	c.own = place{client: c, handlers: map[string][]*handler{}}
	c.out.waiting = map[string]*request{}
	c.asks = map[string]func(context.Context, message.Raw) (any, error){}
	if opts != nil {
		c.opts = *opts
	}
	c.opts.setDefaults()
	c.dice = newDice(c.opts.Seed)
	c.life.ctx, c.life.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	c.life.done = make(chan struct{})
	var s *socket
	if !c.opts.Lazy {
		var err error
		if s, err = c.connect(ctx); err != nil {
			c.life.stop(err)
			return nil, err
		}
		c.up(s)
	}
	go c.dispatch()
	go c.run(s)
	return c, nil
}

func (c *Client) at() *place { return &c.own }

// Room returns the room of that name, always the same one, which is remembered
// as long as the client. It is not joined yet.
func (c *Client) Room(name string) *Room {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[name]
	if r == nil {
		r = &Room{client: c, name: name}
		r.own = place{client: c, room: r, handlers: map[string][]*handler{}}
		c.rooms[name] = r
	}
	return r
}

// Status is how the client stands. It may be ahead of Options.OnStatus.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Done is closed when the client is over: after Close, or when the server does
// not want it back. Status then has the reason.
func (c *Client) Done() <-chan struct{} { return c.life.done }

// Ping asks the server for a sign of life and returns how long that took.
// Without a deadline in ctx it gives up after Options.Timeout.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	_, err := c.ask(ctx, c.opts.Timeout, &c.own, once, message.New(envelope.Ping, nil)).wait()
	return time.Since(began), err
}

// Close waits until everything that was sent has its answer, at most until ctx
// ends, and closes the connection. What is sent from then on ends with ErrClosed,
// and streams that run, which are not waited for, with ErrUnknown.
// No handler is called any more, but one that runs is not waited for. The error
// says that something had no answer.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	n := c.drain(ctx)
	c.inbox.mute()
	c.endStreams()
	c.mu.Lock()
	s := c.socket
	c.mu.Unlock()
	if s != nil {
		s.goodbye(ctx)
	}
	c.life.stop(ErrClosed)
	<-c.life.done
	if n > 0 {
		return fmt.Errorf("client: %d messages had no answer: %w", n, context.Cause(ctx))
	}
	return nil
}

// drain returns how many messages have no answer when ctx ends.
func (c *Client) drain(ctx context.Context) int {
	for {
		c.mu.Lock()
		n, space := c.out.messages, c.out.space()
		c.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-space:
		case <-c.life.done:
			return 0 // all have been told
		case <-ctx.Done():
			return n
		}
	}
}

// dispatch calls the handlers, one after the other.
func (c *Client) dispatch() {
	for e, ok := c.inbox.take(); ok; e, ok = c.inbox.take() {
		e.run()
	}
}

// set changes the status and tells it. Client.mu is held.
func (c *Client) set(s Status) {
	c.status = s
	c.inbox.post(event{run: func() { c.opts.OnStatus(s) }, status: true})
}

// up begins with a connection: first the session, then the rooms, then what
// waits.
func (c *Client) up(s *socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.socket = s
	if c.session == "" {
		c.session = s.welcome.Session
		c.set(s.status(false))
	} else {
		c.out.hurry(c.auth(s))
	}
	for _, r := range c.wanted() {
		c.out.hurry(r.request())
	}
}

// wanted lists the rooms to be joined, in the order in which they were first.
func (c *Client) wanted() (rooms []*Room) {
	for _, r := range c.rooms {
		if r.member.wanted {
			rooms = append(rooms, r)
		}
	}
	slices.SortFunc(rooms, func(a, b *Room) int { return a.member.order - b.member.order })
	return rooms
}

// auth asks the server to continue the first session. One that cannot is used
// nevertheless. Client.mu is held.
func (c *Client) auth(s *socket) *request {
	q := &request{id: newID(), policy: now}
	content := message.New(envelope.Auth, struct {
		Session string `json:"session"`
	}{c.session})
	content.ID = q.id
	q.frame, _ = c.encodeWith(message.JSON, content)
	q.stop = c.after(q.id, c.opts.Timeout)
	q.answer = func(_ message.Envelope, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.socket != s {
			return
		}
		var refusal *message.Error
		if errors.As(err, &refusal) && refusal.Code != message.UnknownType && !passing(err) {
			c.session = s.welcome.Session // the old one is worth nothing
		}
		c.set(s.status(err == nil))
	}
	return q
}

// after ends the wait for an answer.
func (c *Client) after(id string, d time.Duration) func() bool {
	return time.AfterFunc(d, func() { c.fail(id, errNoAnswer) }).Stop
}

// fail ends the request with the id, if it still waits.
func (c *Client) fail(id string, err error) {
	c.mu.Lock()
	q := c.out.take(id)
	c.mu.Unlock()
	if q != nil && q.answer != nil {
		q.answer(message.Envelope{}, err)
	}
}

// down ends with a connection, before the next one is made.
func (c *Client) down() {
	c.mu.Lock()
	c.socket = nil
	for _, r := range c.rooms {
		r.down()
	}
	ends := c.out.down()
	c.mu.Unlock()
	ends.tell()
}

// over ends everything that waits, because no connection will come.
func (c *Client) over(err error) {
	c.mu.Lock()
	if c.closing {
		err = nil
	}
	c.closing = true // to whoever comes now
	ends := c.out.over()
	for _, r := range c.rooms {
		r.settle(Info{}, ErrClosed)
	}
	c.set(Status{State: Closed, Err: err})
	c.mu.Unlock()
	ends.tell()
	c.inbox.end()
	c.life.stop(ErrClosed)
	close(c.life.done)
}
