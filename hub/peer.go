package hub

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"

	"github.com/google/uuid"
	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// Peer is one connected client. It is a room.Member. All methods are safe for
// concurrent use and may be called from its own handlers. A nil *Peer is one that
// has gone: it takes nothing, is nobody, and is in no room.
type Peer struct {
	// What each message touches stands first: it is in two or three cache lines.
	hub   *Hub
	conn  transport.Conn
	mu    sync.Mutex // guards rooms, gone, asks, turn and state
	rooms memberships
	gone  bool
	asks  asks
	turn  turn

	id   string
	user string

	ctx    context.Context
	cancel context.CancelCauseFunc

	beat    place   // in the hub's heartbeat
	answers answers // to what it published
	state   any     // of State
	unread  bool    // nobody reads the connection any more; hub.mu guards it
}

func newPeer(ctx context.Context, h *Hub, c transport.Conn, user, secret string) *Peer {
	p := &Peer{hub: h, conn: c, id: uuid.NewString(), user: user}
	p.answers.session = sessionOf(user, secret)
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// ID returns the peer's ID, a random UUID. A client that reconnects is another
// peer.
func (p *Peer) ID() string {
	if p == nil {
		return ""
	}
	return p.id
}

// User returns who the peer is, as Options.Identify said; "" is anonymous.
func (p *Peer) User() string {
	if p == nil {
		return ""
	}
	return p.user
}

// Context has the values of the connecting request and ends with the connection;
// context.Cause then says why. Handlers get it.
func (p *Peer) Context() context.Context {
	if p == nil {
		return ended
	}
	return p.ctx
}

// ended is the context of a peer that has gone.
var ended = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(transport.ErrClosed)
	return ctx
}()

// Rooms returns the names of the rooms that the peer is in, sorted.
func (p *Peer) Rooms() []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.rooms.list))
	for _, m := range p.rooms.list {
		names = append(names, m.room.Name())
	}
	slices.Sort(names)
	return names
}

// Send queues e for this peer alone. The error says that e cannot be encoded, or
// is transport.ErrClosed: the connection takes no more.
func (p *Peer) Send(e message.Envelope) error {
	if p == nil {
		return transport.ErrClosed
	}
	f, err := message.Encode(e, p.hub.opts.Codec, message.Disconnect)
	if err != nil {
		return err
	}
	return p.conn.Write(f)
}

// Deliver implements room.Member.
func (p *Peer) Deliver(f *message.Frame) error {
	if p == nil {
		return transport.ErrClosed
	}
	return p.conn.Write(f)
}

// Drained implements room.Drainer.
func (p *Peer) Drained() <-chan struct{} {
	if p == nil {
		return ended.Done()
	}
	return p.conn.Drained()
}

// Close disconnects the peer: it leaves its rooms at once, and is told the
// reason behind what it is still owed. Where Presence.Grace is set, it stays
// listed for that time, unless clients stay away after such a code. Code is one of
// the close codes of package message or in 4000–4999; one that may not be sent
// becomes 1011. The reason, at most 123 bytes, is for people.
func (p *Peer) Close(code int, reason string) {
	if p != nil {
		p.goodbye(code, reason, 0)
	}
}

// State returns what a hub keeps for this peer: a *T that is zero at first. All
// of a program uses one T; another one panics. Handlers of one peer run one at a
// time, and Options.Disconnect after the last of them, so they need no lock for it;
// those registered as Concurrent do. What a nil *Peer has is forgotten at once.
func State[T any](p *Peer) *T {
	if p == nil {
		return new(T)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		p.state = new(T)
	}
	v, ok := p.state.(*T)
	if !ok {
		panic(fmt.Sprintf("hub: State[%T] of a peer whose state is a %T: use one type for the whole program", *new(T), p.state))
	}
	return v
}

// welcome is the first frame of every connection. Connections come in storms, so
// it is put together by hand.
func (p *Peer) welcome(secret string) *message.Frame {
	b := append(make([]byte, 0, 192), `{"id":"`+p.id...)
	if p.user != "" {
		user, _ := message.JSON.Marshal(p.user)
		b = append(append(b, `","user":`...), user...)
		b = append(b, `,"session":"`...)
	} else {
		b = append(b, `","session":"`...)
	}
	b = append(append(b, secret...), `","heartbeat":`...)
	b = strconv.AppendInt(b, p.hub.opts.Heartbeat.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, `,"limit":`...), int64(p.conn.Limit()), 10)
	e := message.New(envelope.Welcome, envelope.Checked(append(b, '}')))
	f, _ := message.Encode(e, nil, message.Disconnect) // made of checked parts
	return f
}

// reply queues the answer to a message that asked for one.
func (p *Peer) reply(room, id string, content any) error {
	e := message.New(envelope.Ack, content)
	e.Room, e.ID = room, id
	f, err := message.Encode(e, p.hub.opts.Codec, message.Disconnect)
	if err != nil {
		return err
	}
	return p.conn.Write(f)
}

// respond is reply for a handler that has returned and has published nothing. It waits
// while the client has as much pending as streams wait for: what it asked for it is to
// have, as soon as it reads on. Its next messages wait behind that, and nobody else's:
// the room's turn is given back, a question that comes again on another connection is
// handled there, and somebody else reads, or nobody would see the client go.
func (p *Peer) respond(r *Request, result any) error {
	e := message.New(envelope.Ack, result)
	e.Room, e.ID = r.roomName(), r.ID
	f, err := message.Encode(e, p.hub.opts.Codec, message.CatchUp)
	if err != nil {
		return err
	}
	for {
		err := p.conn.Write(f)
		if !errors.Is(err, message.ErrBehind) {
			return err
		}
		p.settled(r, message.Raw{}, false)
		p.readOn()
		select {
		case <-p.conn.Drained():
		case <-p.ctx.Done():
			return transport.ErrClosed
		}
	}
}

// refuse queues an error. Its text is for the sender alone.
func (p *Peer) refuse(room, id string, err *message.Error) {
	e := message.New(envelope.Error, err.Content())
	e.Room, e.ID = room, id
	p.tell(e)
}

// tell queues a message of the protocol's own. It is JSON, whatever the Codec of
// the application makes of its types.
func (p *Peer) tell(e message.Envelope) {
	f, err := message.Encode(e, message.JSON, message.Disconnect)
	if err != nil {
		p.hub.opts.Log.Error("hubbub: a client could not be told", "type", e.Type, "conn", p.id, "user", p.user, "error", err)
		return
	}
	_ = p.conn.Write(f) // whoever takes nothing is on its way out
}

// end makes the peer leave everything, once; how it ended is said to whoever
// still runs for it.
func (p *Peer) end(reason error) {
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return
	}
	p.gone = true
	rooms := slices.Clone(p.rooms.list)
	p.asks.fail()
	p.mu.Unlock()
	p.answers.clear()
	p.cancel(reason)
	for _, m := range rooms {
		if forGood(reason) {
			m.room.Leave(p)
		} else {
			m.room.Drop(p)
		}
	}
	p.hub.forget(p)
	p.report(reason)
	p.mu.Lock()
	p.turn.left = true
	running := p.turn.running
	p.mu.Unlock()
	if !running {
		p.disconnect()
	}
}

// connect calls Options.Connect as if it were the handler of a first message: it
// may ask the client, and other messages wait. It reports whether the caller is
// to read.
func (p *Peer) connect() (reads bool) {
	if p.hub.opts.Connect == nil {
		return true
	}
	returned := false
	defer func() {
		if !returned {
			go p.outlive() // counted as the reader that the caller does not start any more
		}
	}()
	if p.guard("connect", func() error { p.hub.opts.Connect(p.ctx, p); return nil }) != nil {
		p.Close(message.CloseInternal, failed) // it may be half prepared
	}
	reads = p.done()
	returned = true
	return reads
}

// failed is what a peer is told that cannot be served on.
const failed = "the server failed"

// disconnect calls Options.Disconnect. That is when the peer has left everything
// and its turn has ended, whichever comes last.
func (p *Peer) disconnect() {
	if p.hub.opts.Disconnect != nil {
		reason := context.Cause(p.ctx)
		_ = p.guard("disconnect", func() error { p.hub.opts.Disconnect(p, reason); return nil })
	}
}

// apart runs what ends the peer on a goroutine of its own: it calls the
// application, which may take its time, and the others must not wait for that.
func (p *Peer) apart(end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		p.hub.running.Go(end) // p's reader is counted as long as p is here
	}
}

// forGood reports whether a peer was closed by the server with a code after which
// its client stays away. Who was cut off, or closed a page, may well be back.
func forGood(reason error) bool {
	var closed *transport.CloseError
	if !errors.As(reason, &closed) || !closed.Local {
		return false
	}
	switch closed.Code {
	case message.CloseDone, message.CloseProtocol, message.CloseUTF8, message.ClosePolicy, message.CloseTooLarge, message.CloseKicked:
		return true
	}
	return false
}

// report logs the ends that an operator should know of.
func (p *Peer) report(reason error) {
	var closed *transport.CloseError
	if errors.As(reason, &closed) && closed.Local && closed.Code == message.CloseSlow {
		p.hub.opts.Log.Warn("hubbub: a client was too slow and was disconnected", "conn", p.id, "user", p.user)
	}
}

// guard runs code of the application. What it panics or fails with is logged
// once, unless it is meant for the client. Where it ends its goroutine with
// runtime.Goexit, as testing.T.FailNow does, there is nothing to go on with: that ends
// the peer.
func (p *Peer) guard(what string, run func() error) (err error) {
	returned := false
	defer func() {
		if v := recover(); v == nil && !returned {
			p.hub.opts.Log.Error("hubbub: a handler called runtime.Goexit", "type", what, "conn", p.id, "user", p.user)
			p.Close(message.CloseInternal, failed)
		} else if v != nil {
			err = message.Errorf(message.Internal, "")
			p.hub.opts.Log.Error("hubbub: a handler panicked", "type", what, "conn", p.id, "user", p.user,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	err = run()
	returned = true
	if p.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(p.ctx))) {
		return err // nobody is left to be told, and nothing is wrong
	}
	if err != nil && message.Public(err).Code == message.Internal {
		p.hub.opts.Log.Error("hubbub: a handler failed", "type", what, "conn", p.id, "user", p.user, "error", err)
	}
	return err
}
