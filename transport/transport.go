// Package transport carries messages between one client and a server. It knows
// frames, sizes and connections, but no rooms and no handlers.
//
// WebSocket is the transport of production, Pipe the one of tests; both keep to
// the same contract, Conn, and the same tests run over both.
package transport

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// Conn is one client's connection, as the server sees it. Read belongs to one
// goroutine at a time; all other methods are safe for concurrent use, queue
// what they have to say and never block.
type Conn interface {
	// Read waits for the next message. A *Violation is an error after which the
	// caller must Close with its code; after Close, Read discards what still
	// comes. ErrIdle is no failure: see there. Every other error is the end: the
	// connection and its resources are gone. It is a *CloseError where a close
	// frame ended it.
	Read() (*Message, error)
	// Wait waits, as Read does and instead of it, until Read has something to do, and
	// reports whether it could: some connections cannot tell. It needs so little stack
	// that a connection best spends its idle time there, on a fresh goroutine.
	Wait() bool
	// Write queues a message. An error means that the connection takes no more;
	// except message.ErrBehind, for a message of the policy message.CatchUp or
	// message.CatchUpLatest: it takes this one when Drained says so.
	Write(f *message.Frame) error
	// Drained returns a channel that is closed once less than a quarter of the
	// limit of pending bytes is pending and there is room for the message that
	// Write refused last, or once the connection takes no more. It may be closed
	// already.
	Drained() <-chan struct{}
	// Ping asks the other side for a sign of life; Seen reports whether there
	// has been one, of any kind, since the last Ping.
	Ping() error
	Seen() bool
	// Close queues a close frame behind what is pending and gives the other
	// side 5 s to answer. The first call decides code and reason. A code that
	// RFC 6455 §7.4 does not let an endpoint send becomes 1011.
	Close(code int, reason string)
	// Abort ends the connection at once, without a word.
	Abort()
	// Limit is the largest message, in bytes, that Read accepts.
	Limit() int
}

// ErrIdle is returned by Read, now and then, when nothing is there to be read: go
// on with Wait, on a fresh goroutine. The stack of one that has handled messages
// has grown, does not shrink while it waits, and would be most of what an idle
// connection costs.
var ErrIdle = errors.New("transport: idle")

// Transport turns HTTP requests into connections. It is safe for concurrent use.
type Transport interface {
	// Match reports whether r wants this transport.
	Match(r *http.Request) bool
	// Serve checks r, asks accept whether this client may connect, and then
	// either answers with a refusal or hands the connection to the function
	// that accept returned. That one best goes on in a goroutine of its own:
	// when Serve returns, net/http drops its goroutine, the request and 8 KiB
	// of buffers, and ends the request's context.
	Serve(w http.ResponseWriter, r *http.Request, accept Accept)
}

// Accept decides about a request whose form is right. The error, best a
// *Refusal, is what the client is told; every other error is a 500.
type Accept func(r *http.Request) (run func(Conn), err error)

// Message is one message that was read. Its bytes belong to the reader until
// Release, and not a moment longer.
type Message struct {
	Data   []byte
	Binary bool
}

var messages = sync.Pool{New: func() any { return new(Message) }}

// keep is the largest buffer that goes back to the pool: one big message must
// not be paid for by every later one. It holds the default limit, and the byte
// that would be too much.
const keep = 64<<10 + 1

// Release gives the buffer back. The message must not be used afterwards.
func (m *Message) Release() {
	if cap(m.Data) <= keep {
		m.Data = m.Data[:0]
		messages.Put(m)
	}
}

// CloseError is the end of a connection by a close frame, of either side.
type CloseError struct {
	Code   int    // RFC 6455 §7.4; 1005: the frame had none
	Reason string // at most 123 bytes
	Local  bool   // the server closed
}

// Error implements error.
func (e *CloseError) Error() string {
	who := "the client"
	if e.Local {
		who = "the server"
	}
	return fmt.Sprintf("transport: closed by %s: %d %s", who, e.Code, e.Reason)
}

// Violation is a breach of the protocol by the other side. The caller of Read
// closes with Code.
type Violation struct {
	Code   int
	Reason string
}

// Error implements error.
func (v *Violation) Error() string { return fmt.Sprintf("transport: %d %s", v.Code, v.Reason) }

// drained is the channel of Drained where there is nothing to wait for.
var drained = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// closeWait is how long the other side may take to answer a close frame.
const closeWait = 5 * time.Second

// lingerWait is how long the end of a connection that broke the protocol may
// take to receive the close frame.
const lingerWait = time.Second
