package transport

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/hubbub-go/hubbub/internal/queue"
	"github.com/hubbub-go/hubbub/message"
)

// PipeConn is one end of an in-memory connection. The server's end is handed to
// the hub; the client's is what Pipe returns. It needs no network and no
// goroutine, so it works inside a testing/synctest bubble.
type PipeConn struct {
	other  *PipeConn
	server bool // the hub's end: what it closes the server has closed
	limit  int
	hard   int

	line *line // guards the rest, of both ends

	in      queue.Queue // what the other end has written
	seen    bool
	frozen  bool          // neither reads nor answers pings
	sent    *CloseError   // the close frame that this end has sent
	err     error         // how this end ended
	timer   *time.Timer   // cuts an end whose close is not answered
	drained chan struct{} // of Drained; nil while nobody waits
}

// line is what the two ends share.
type line struct {
	mu   sync.Mutex
	cond sync.Cond
}

// PipeOptions tune an in-memory connection. The fields mean what they do in
// WebSocketOptions, with the same defaults.
type PipeOptions struct {
	Limit   int // bytes of a message to the server
	Pending int // bytes waiting for a client that does not read
}

type pipeKey struct{}

// Pipe connects to h in memory: h serves r as if it had come from the network,
// through all its middleware, which has to let the connection be taken over as it
// has to there, and finds a connection instead of a socket. The error is a *Refusal where h has answered with anything but a connection: the
// one that was refused with, or one with the code "refused" that has the text of
// an answer of another kind. Pipe panics if Limit does not fit into Pending.
func Pipe(h http.Handler, r *http.Request, opts *PipeOptions) (*PipeConn, error) {
	var o PipeOptions
	if opts != nil {
		o = *opts
	}
	setDefault(&o.Limit, 64<<10)
	setDefault(&o.Pending, 1<<20)
	checkPending(o.Limit, o.Pending)
	l := &line{}
	l.cond.L = &l.mu
	client := &PipeConn{line: l, limit: math.MaxInt, hard: o.Pending, seen: true}
	server := &PipeConn{line: l, server: true, limit: o.Limit, hard: o.Pending, seen: true, other: client}
	client.other = server
	dial := &pipeDial{conn: server}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), pipeKey{}, dial)))
	if !dial.taken {
		return nil, w.refusal(r)
	}
	return client, nil
}

// answer keeps what a handler says instead of connecting.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// Hijack implements http.Hijacker for the middleware around the hub. What it returns
// carries nothing: the messages have their own way.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, other := net.Pipe()
	_ = other.Close()
	return c, bufio.NewReadWriter(bufio.NewReaderSize(c, 16), bufio.NewWriterSize(c, 16)), nil
}

// refusal reads what Refuse has written, or somebody else to whom the request went.
func (a *answer) refusal(to *http.Request) *Refusal {
	r := &Refusal{Status: a.status, Code: "refused", Message: fmt.Sprintf("%s %s was answered with %d, and not by a hub: %s",
		to.Method, to.URL.Path, a.status, bytes.TrimSpace(a.body.Bytes()))}
	var said struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body.Bytes(), &said) == nil && said.Code != "" {
		r.Code, r.Message = said.Code, said.Message
	}
	if s, err := strconv.ParseUint(a.header.Get("Retry-After"), 10, 31); err == nil {
		r.RetryAfter = time.Duration(s) * time.Second
	}
	return r
}

type pipeDial struct {
	conn  *PipeConn
	taken bool
}

// Piped is the transport at the other side of Pipe. A hub adds it by itself: no
// request from a network can match it.
func Piped() Transport { return piped{} }

type piped struct{}

// Match implements Transport.
func (piped) Match(r *http.Request) bool {
	_, ok := r.Context().Value(pipeKey{}).(*pipeDial)
	return ok
}

// Serve implements Transport.
func (piped) Serve(w http.ResponseWriter, r *http.Request, accept Accept) {
	dial := r.Context().Value(pipeKey{}).(*pipeDial)
	if refusal := hijackable(w); refusal != nil {
		Refuse(w, refusal)
		return
	}
	run, err := accept(r)
	if err != nil {
		Refuse(w, err)
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		Refuse(w, noHijacker(innermost(w), hijackFails))
		return
	}
	_ = c.Close()
	dial.taken = true
	go run(dial.conn)
}

// Limit implements Conn.
func (c *PipeConn) Limit() int { return c.limit }

// Write implements Conn.
func (c *PipeConn) Write(f *message.Frame) error {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	if c.sent != nil || c.err != nil {
		return ErrClosed
	}
	switch c.other.in.Push(&message.Encoded{Frame: f, Bytes: f.Payload()}, c.hard, c.other.frozen) {
	case queue.Overflow:
		c.other.in.Clear()
		c.close(&CloseError{message.CloseSlow, "too slow: more was pending than this connection may have", c.server})
		return ErrClosed
	case queue.Behind:
		return message.ErrBehind
	case queue.Queued:
		c.sign(c.other)
	}
	return nil
}

// Drained implements Conn.
func (c *PipeConn) Drained() <-chan struct{} {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	switch {
	case c.relaxed():
		return drained
	case c.drained == nil:
		c.drained = make(chan struct{})
	}
	return c.drained
}

// relaxed reports whether nobody has to wait for the other end. line.mu is held.
func (c *PipeConn) relaxed() bool {
	return c.sent != nil || c.err != nil || c.other.in.Drained(c.hard)
}

// relax tells who waits in Drained. line.mu is held.
func (c *PipeConn) relax() {
	if c.drained != nil && c.relaxed() {
		close(c.drained)
		c.drained = nil
	}
}

// sign notes a sign of life at the end to, and wakes its reader.
func (c *PipeConn) sign(to *PipeConn) {
	to.seen = true
	c.line.cond.Broadcast()
}

// Ping implements Conn. The other end answers at once, unless it is frozen.
func (c *PipeConn) Ping() error {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	if c.err != nil {
		return ErrClosed
	}
	c.seen = !c.other.frozen && c.other.err == nil
	return nil
}

// Seen implements Conn.
func (c *PipeConn) Seen() bool {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.seen
}

// Freeze makes this end as good as dead: it reads nothing and answers no ping,
// but does not close either. Freeze(false) undoes it.
func (c *PipeConn) Freeze(yes bool) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	c.frozen = yes
	c.line.cond.Broadcast()
}

// Close implements Conn. The client's end takes 1005, too: a page that closes without
// a code sends a frame without one, which can have no reason either.
func (c *PipeConn) Close(code int, reason string) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	e := &CloseError{sendable(code), fit(reason), c.server}
	if code == noCode && !c.server {
		e.Code, e.Reason = noCode, ""
	}
	c.close(e)
}

// close queues a close frame; line.mu is held.
func (c *PipeConn) close(e *CloseError) {
	if c.sent != nil || c.err != nil {
		return
	}
	c.sent = e
	c.relax()
	c.timer = time.AfterFunc(closeWait, c.Abort)
	c.line.cond.Broadcast()
}

// Abort implements Conn.
func (c *PipeConn) Abort() {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	err := fmt.Errorf("transport: the connection broke: %w", io.ErrUnexpectedEOF)
	if c.sent != nil {
		err = c.sent
	}
	c.end(err)
	c.other.end(fmt.Errorf("transport: the connection broke: %w", io.ErrUnexpectedEOF))
}

// end ends this end; line.mu is held.
func (c *PipeConn) end(err error) {
	if c.err == nil {
		c.err = err
	}
	c.relax()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.line.cond.Broadcast()
}

// Wait implements Conn.
func (c *PipeConn) Wait() bool { return false }

// Read implements Conn.
func (c *PipeConn) Read() (*Message, error) {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	for {
		if !c.frozen {
			if m, err := c.take(); m != nil || err != nil {
				return m, err
			}
		} else if c.err != nil {
			return nil, c.err
		}
		c.line.cond.Wait()
	}
}

// take returns what is there: a message, the end, or nothing. Messages that
// came before the other end's close frame come first.
func (c *PipeConn) take() (*Message, error) {
	if c.err != nil {
		return nil, c.err
	}
	for {
		it := c.in.Pop()
		c.other.relax()
		switch {
		case it == nil:
			return nil, c.answer()
		case c.sent != nil: // behind our close frame nothing counts but its answer
			continue
		case len(it.Bytes) > c.limit:
			return nil, &Violation{message.CloseTooLarge, fmt.Sprintf("a message may have %d bytes", c.limit)}
		}
		m := messages.Get().(*Message)
		m.Data, m.Binary = append(m.Data[:0], it.Bytes...), it.Frame.Binary()
		return m, nil
	}
}

// answer ends both ends if the other one has sent a close frame.
func (c *PipeConn) answer() error {
	closed := c.other.sent
	if closed == nil {
		return nil
	}
	if c.sent == nil {
		c.sent = &CloseError{closed.Code, closed.Reason, c.other.server}
		c.other.end(closed)
	}
	c.end(c.sent)
	return c.err
}
