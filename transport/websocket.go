package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/internal/queue"
	"github.com/hubbub-go/hubbub/message"
)

// WebSocketOptions tune a WebSocket transport. The zero value is what
// production needs.
type WebSocketOptions struct {
	// Origins are hosts, besides the request's own, whose pages may connect:
	// "app.example.com", "app.example.com:8443", "*.example.com" (any depth
	// below it), each with or without "https://" in front. Without a port the
	// scheme's default port is meant. While the server listens on a loopback
	// address, pages of other loopback ports may connect too.
	Origins []string
	// InsecureSkipOrigin lets every page connect, with the visitor's cookies.
	InsecureSkipOrigin bool
	// Limit is the largest message in bytes, after decompression; default 64 KiB.
	Limit int
	// Pending is how many bytes may wait for one slow client before it is
	// closed with 4003; default 1 MiB. Each message counts its bytes as they
	// are sent, compressed or not, and 256 more for its keeping, so that the
	// memory really held is at most about twice Pending; what all members of a
	// room wait for is held once, and counted for each. A single message that is
	// larger still goes out to whom nothing else is waiting for. There must be
	// room for a message of Limit bytes and what the server adds to it.
	Pending int
	// WriteTimeout is how long a client whose socket is full may take nothing
	// at all before it is cut; default 10 s.
	WriteTimeout time.Duration
	// Compress agrees to permessage-deflate without context takeover. A
	// broadcast is compressed once. Messages shorter than CompressFrom bytes,
	// default 512, are not compressed.
	Compress     bool
	CompressFrom int
	// Log gets a warning for each refusal that an operator can do something
	// about; default slog.Default.
	Log *slog.Logger
	// FlushWindow delays writing so that more messages share one syscall;
	// default 0. It adds as much latency to every message.
	FlushWindow time.Duration
}

// WebSocket returns the transport for RFC 6455. The handshake, reading, control
// frames and closing are coder/websocket's; writing is ours. It panics if a
// message of Limit bytes does not fit into Pending, and for an entry of Origins that
// could never admit anybody.
func WebSocket(opts *WebSocketOptions) Transport {
	s := &webSocket{}
	if opts != nil {
		s.opts = *opts
	}
	setDefault(&s.opts.Limit, 64<<10)
	setDefault(&s.opts.Pending, 1<<20)
	checkPending(s.opts.Limit, s.opts.Pending)
	setDefault(&s.opts.CompressFrom, 512)
	setDefault(&s.opts.WriteTimeout, 10*time.Second)
	if s.opts.Log == nil {
		s.opts.Log = slog.Default()
	}
	for _, entry := range s.opts.Origins {
		checkOrigin(entry)
	}
	s.origins = origins{allowed: s.opts.Origins, any: s.opts.InsecureSkipOrigin}
	s.workers.window = s.opts.FlushWindow
	return s
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// added is what a message that is passed on counts at most besides the bytes that
// it came with: the members that the server sets, and what the queue counts.
const added = 1<<10 + queue.Overhead

// checkPending panics where a client could send what no client can be sent.
func checkPending(limit, pending int) {
	if limit > pending-added {
		panic(fmt.Sprintf("transport: a message of Limit bytes has to fit into Pending when it is passed on: "+
			"with a Limit of %d, set Pending to %d or more; it is %d", limit, limit+added, pending))
	}
}

type webSocket struct {
	opts    WebSocketOptions
	origins origins
	workers workers
}

// Bound returns how many bytes one connection takes at most: what is pending, a
// message that is read, the buffers for both, and what the library has.
func (s *webSocket) Bound() int { return 2*s.opts.Pending + 2*s.opts.Limit + most + 48<<10 }

// Match implements Transport.
func (s *webSocket) Match(r *http.Request) bool { return hasToken(r.Header, "Upgrade", "websocket") }

// refused is what a refusal is logged as.
const refused = "hubbub: refused a WebSocket"

// Serve implements Transport.
func (s *webSocket) Serve(w http.ResponseWriter, r *http.Request, accept Accept) {
	for _, refusal := range []*Refusal{checkUpgrade(r), s.origins.check(r), hijackable(w)} {
		if refusal != nil {
			if refusal.Status == http.StatusForbidden || refusal.Status == http.StatusNotImplemented {
				s.opts.Log.Warn(refused, "status", refusal.Status, "reason", refusal.Message)
			}
			Refuse(w, refusal)
			return
		}
	}
	run, err := accept(r)
	if err != nil {
		Refuse(w, err)
		return
	}
	c := &wsConn{s: s}
	opts := &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		InsecureSkipVerify: true, // checked above
		OnPongReceived:     func(context.Context, []byte) { c.ponged() },
	}
	if s.opts.Compress {
		opts.CompressionMode = websocket.CompressionNoContextTakeover
	}
	h := &hijacker{ResponseWriter: w, c: c, own: answersItself(w)}
	if h.own {
		if err := h.take(); err != nil {
			refusal := noHijacker(innermost(w), hijackFails)
			s.opts.Log.Warn(refused, "status", refusal.Status, "reason", refusal.Message, "error", err)
			Refuse(w, refusal)
			return
		}
	}
	ws, err := websocket.Accept(h, r, opts)
	if err != nil {
		s.opts.Log.Warn("hubbub: a WebSocket was answered and could not be opened", "error", err)
		h.drop()
		return
	}
	c.br.Reset(&c.tap)  // the library has put what was buffered, nothing, before it
	ws.SetReadLimit(-1) // Read has its own
	c.ws = ws
	c.deflate = strings.Contains(w.Header().Get("Sec-Websocket-Extensions"), "permessage-deflate")
	run(c)
}

// wsConn is a Conn over WebSocket.
type wsConn struct {
	s       *webSocket
	deflate bool
	joined  bool // a message has been read
	tap
	ws      *websocket.Conn
	br      *bufio.Reader // the library's, between it and the tap
	partial io.Reader     // a message that was not read to its end
	reading atomic.Int32  // 0: between messages; else 1 + pings since it began
}

// Limit implements Conn.
func (c *wsConn) Limit() int { return c.s.opts.Limit }

// Write implements Conn.
func (c *wsConn) Write(f *message.Frame) error {
	b := f.Encoding(message.WebSocket, plain)
	if c.deflate && len(f.Payload()) >= c.s.opts.CompressFrom {
		b = f.Encoding(message.WebSocketDeflated, deflated)
	}
	return c.push(b)
}

// Ping implements Conn.
func (c *wsConn) Ping() error {
	c.seen.Store(false)
	c.trim()
	// A message that takes longer than two pings to arrive is no message but an
	// attack on memory.
	if n := c.reading.Load(); n > 2 {
		c.Close(message.ClosePolicy, "a message took too long to arrive")
	} else if n > 0 {
		c.reading.CompareAndSwap(n, n+1)
	}
	if c.owe(pingFrame) {
		return nil
	}
	return c.push(&message.Encoded{Bytes: pingFrame})
}

// Seen implements Conn.
func (c *wsConn) Seen() bool { return c.seen.Load() }

// Close implements Conn.
func (c *wsConn) Close(code int, reason string) { c.closeWith(sendable(code), reason) }

// Abort implements Conn.
func (c *wsConn) Abort() { c.kill() }

// Wait implements Conn.
func (c *wsConn) Wait() bool {
	if c.raw == nil {
		return false
	}
	if len(c.inbox.unread) == 0 && c.br.Buffered() == 0 {
		c.inbox.failed = c.fetch()
	}
	return true
}

// Read implements Conn.
func (c *wsConn) Read() (*Message, error) {
	if c.partial != nil && c.closing() {
		return nil, c.end(c.discard())
	}
	if c.inbox.between = c.br.Buffered() == 0; c.inbox.idle() {
		c.inbox.rest = false
		return nil, ErrIdle
	}
	typ, r, err := c.ws.Reader(context.Background()) // a context that can end would cost 9 allocations
	if err != nil {
		if errors.Is(err, ErrIdle) {
			c.inbox.rest = false
			return nil, ErrIdle
		}
		return nil, c.end(err)
	}
	if !c.joined { // what a client opens with is over soon, and then it is idle
		c.joined, c.inbox.rest = true, true
	}
	c.reading.Store(1)
	m, err := c.readMessage(r)
	c.reading.Store(0)
	switch {
	case err != nil:
		return nil, c.fail(err)
	case c.closing(): // our close frame is on its way: nothing else counts
		m.Release()
		return nil, c.end(c.discard())
	}
	m.Binary = typ == websocket.MessageBinary
	if !m.Binary && !utf8.Valid(m.Data) { // the library leaves this to us
		m.Release()
		return nil, &Violation{message.CloseUTF8, "a text message was not valid UTF-8"}
	}
	return m, nil
}

// fail is what Read says of a message that could not be read.
func (c *wsConn) fail(err error) error {
	if _, ok := errors.AsType[*Violation](err); ok {
		return err
	}
	return c.end(err)
}

// ponged is called by Read's goroutine when a pong has been read. Nothing else
// makes the stack of a quiet connection grow. A pong may also come between the
// fragments of a message, or before the answer to our close frame.
func (c *wsConn) ponged() {
	if c.br.Buffered() == 0 && c.reading.Load() == 0 && !c.closing() {
		c.inbox.between, c.inbox.rest = true, true
	}
}

// readMessage reads r to its end, or one byte past the limit.
func (c *wsConn) readMessage(r io.Reader) (*Message, error) {
	m := messages.Get().(*Message)
	b, limit := m.Data[:0], c.s.opts.Limit
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, max(512, min(2*cap(b), limit+1))), b...)
		}
		n, err := r.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		m.Data = b
		switch {
		case len(b) > limit:
			c.partial = r
			m.Release()
			return nil, &Violation{message.CloseTooLarge, fmt.Sprintf("a message may have %d bytes", limit)}
		case err == io.EOF:
			return m, nil
		case err != nil:
			m.Release()
			return nil, err
		}
	}
}

// discard reads on after our close frame until the other side's, or until the
// deadline that closeWith set. Ending at once would reset the connection, and
// the reset could overtake the close frame.
func (c *wsConn) discard() error {
	const enough = 1 << 20 // what an honest client may have under way
	r, left := c.partial, int64(enough)
	for {
		if r != nil {
			n, err := io.Copy(io.Discard, io.LimitReader(r, left))
			if err != nil {
				return err
			}
			if left -= n; left <= 0 {
				return errors.New("transport: the client kept sending after the close")
			}
		}
		var err error
		if _, r, err = c.ws.Reader(context.Background()); err != nil {
			return err
		}
	}
}

// end releases everything and says how the connection ended.
func (c *wsConn) end(err error) error {
	var frame websocket.CloseError
	answered := errors.As(err, &frame)
	if !answered && !broken(err) {
		// RFC 6455 was violated. For most ways the library has queued a close
		// frame; for an unmasked frame it has not.
		c.closeWith(message.CloseProtocol, "the frame breaks RFC 6455")
		c.linger()
	}
	_ = c.ws.CloseNow()
	c.release()
	ours, local := c.ending()
	switch {
	case answered && !local:
		return &CloseError{Code: int(frame.Code), Reason: frame.Reason}
	case ours.Code != 0:
		return &ours
	}
	return fmt.Errorf("transport: the connection broke: %w", err)
}

// broken reports whether err is the network's end and not a protocol's.
func broken(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, errCut)
}

// linger reads on, whatever comes, for as long as a close frame may need to
// arrive: a reset, which closing with unread bytes causes, could overtake it.
func (c *wsConn) linger() {
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerWait))
	_, _ = io.Copy(io.Discard, io.LimitReader(&c.tap, 1<<20))
}

// release gives back what is shared with other connections.
func (c *wsConn) release() {
	c.inbox.release()
	if c.worker != nil {
		c.worker.leave()
	}
}
