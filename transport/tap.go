package transport

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/internal/queue"
	"github.com/hubbub-go/hubbub/message"
)

// ErrClosed is returned by Write on a connection that takes no more.
var ErrClosed = errors.New("transport: the connection is closed")

// errCut is the end of the stream. The library takes io.EOF, and in compressed
// messages io.ErrUnexpectedEOF too, for the end of a message, even where it is
// in the middle of one.
var errCut = errors.New("transport: the client cut the connection")

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

// tap is the net.Conn beneath coder/websocket. What the library writes (pongs,
// close frames) joins our own frames in one queue, and leaves with them in one
// write(2). The trick rests on three facts that the contract tests pin: the
// library writes each control frame with one Write, as long as its bufio.Writer
// holds 131 bytes; it writes nothing else, as nobody calls its data methods; and
// Write here never blocks, so the library's locks are never held for long.
type tap struct {
	// What each message touches stands first, in two cache lines with the fields of
	// wsConn before it: in a big room none of it is in the cache.
	mu    sync.Mutex // guards state, ping, q, pong, last and drained
	state state
	ping  bool // owed to a client that is congested
	hard  int  // bytes that may be pending
	q     queue.Queue

	worker *worker         // nil where raw is
	raw    syscall.RawConn // nil: TLS and whatever else is no plain socket
	net.Conn
	timeout time.Duration // without progress of a write
	pong    []byte        // owed, as a ping
	last    CloseError    // the close frame that was queued first
	drained chan struct{} // of Drained; nil while nobody waits

	seen  atomic.Bool // a sign of life since the last ping
	inbox inbox       // of the reading goroutine
}

// state says who has a connection's queue, and how far its end has come.
type state struct {
	queued  bool // on a worker's list, or being flushed
	blocked bool // the socket is full; a goroutine writes
	closing bool // a close frame is queued: nothing comes behind it
	closed  bool // the library is done: close when all is written
	dead    bool // cut off
}

// Write takes the library's own frames. The bytes are the library's buffer.
func (t *tap) Write(p []byte) (int, error) {
	switch {
	case p[0] == 0x88:
		t.closeFrame(p[2:])
	case p[0] == 0x8a && t.owe(p):
	default:
		_ = t.push(&message.Encoded{Bytes: append([]byte(nil), p...)})
	}
	return len(p), nil
}

// owe keeps a ping or a pong until a congested client takes something again, as
// more of them would only pile up. Of pongs only the last one counts, RFC 6455
// §5.5.3, so a flood of pings costs nothing.
func (t *tap) owe(frame []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.full() || t.state.closing || t.state.dead: // then nothing is owed any more
		return false
	case frame[0] == pingFrame[0]:
		t.ping = true
	default:
		t.pong = append([]byte(nil), frame...)
	}
	return true
}

// full reports whether the client is congested. t.mu is held.
func (t *tap) full() bool { return t.state.blocked || t.q.Size() > most }

// take takes what is to be written next. What is owed does not wait for the
// rest. t.mu is held.
func (t *tap) take(buf []byte) []byte {
	ping, pong := t.ping, t.pong
	switch {
	case t.state.closing:
	case pong != nil:
		t.pong = nil
		return pong
	case ping:
		t.ping = false
		return pingFrame
	}
	out := t.q.Take(buf, most)
	t.relax()
	return out
}

// Drained is that of Conn.
func (t *tap) Drained() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.relaxed():
		return drained
	case t.drained == nil:
		t.drained = make(chan struct{})
	}
	return t.drained
}

// relaxed reports whether nobody has to wait for the client. t.mu is held.
func (t *tap) relaxed() bool {
	return t.state.closing || t.state.dead || t.q.Drained(t.hard)
}

// relax tells who waits in Drained. t.mu is held.
func (t *tap) relax() {
	if t.drained != nil && t.relaxed() {
		close(t.drained)
		t.drained = nil
	}
}

// closeFrame queues a close frame of the library's: an answer, or a protocol
// error. An answer repeats what the other side said, which may be no UTF-8.
func (t *tap) closeFrame(payload []byte) {
	code, reason := noCode, ""
	if len(payload) >= 2 {
		code, reason = int(payload[0])<<8|int(payload[1]), string(payload[2:])
	}
	if !utf8.ValidString(reason) {
		code, reason = 1007, "the close reason was not UTF-8"
	}
	t.closeAs(CloseError{Code: code, Reason: reason})
}

// closeWith queues a close frame of ours.
func (t *tap) closeWith(code int, reason string) {
	t.closeAs(CloseError{Code: code, Reason: fit(reason), Local: true})
}

// closeAs queues a close frame, unless one is queued already, and gives the
// other side closeWait from now.
func (t *tap) closeAs(last CloseError) {
	t.mu.Lock()
	if t.state.closing || t.state.dead {
		t.mu.Unlock()
		return
	}
	start := t.finish(last)
	t.mu.Unlock()
	t.hurry()
	t.start(start)
}

// hurry bounds the rest of a connection's life.
func (t *tap) hurry() {
	end := time.Now().Add(closeWait)
	_ = t.Conn.SetReadDeadline(end)
	_ = t.Conn.SetWriteDeadline(end)
}

// finish queues the last frame and reports whether a flush has to start. t.mu
// is held.
func (t *tap) finish(last CloseError) (start bool) {
	t.last, t.state.closing = last, true
	t.relax()
	t.q.Push(&message.Encoded{Bytes: closeFrame(last.Code, last.Reason)}, math.MaxInt, false)
	start = !t.state.queued
	t.state.queued = true
	return start
}

// push queues one whole frame. It never blocks.
func (t *tap) push(it *message.Encoded) error {
	t.mu.Lock()
	if t.state.closing || t.state.dead {
		t.mu.Unlock()
		return ErrClosed
	}
	busy := t.state.blocked || t.q.Size() > most && t.raw == nil
	switch t.q.Push(it, t.hard, busy) {
	case queue.Dropped:
		t.mu.Unlock()
		return nil
	case queue.Behind:
		t.mu.Unlock()
		return message.ErrBehind
	case queue.Overflow:
		t.q.Clear()
		start := t.finish(CloseError{message.CloseSlow, "too slow: more was pending than this connection may have", true})
		t.mu.Unlock()
		t.hurry()
		t.start(start)
		return ErrClosed
	}
	start := !t.state.queued
	t.state.queued = true
	t.mu.Unlock()
	t.start(start)
	return nil
}

// start begins a flush. t.mu is not held: a worker has a lock of its own.
func (t *tap) start(yes bool) {
	switch {
	case !yes:
	case t.worker != nil:
		t.worker.add(t)
	default:
		go t.drain(nil)
	}
}

// flush is a worker's turn: one write that does not block. Where the socket
// takes less, a goroutine takes over until all is written.
func (t *tap) flush(w *worker, buf []byte) {
	t.mu.Lock()
	out := t.take(buf)
	t.mu.Unlock()
	if out != nil {
		n, err := w.try(t.raw, out)
		if err != nil {
			t.kill()
			return
		}
		if n < len(out) {
			t.mu.Lock()
			t.state.blocked = true
			t.mu.Unlock()
			rest := out[n:]
			if &out[0] == &buf[:1][0] { // the worker's buffer; all else stays as it is
				rest = bytes.Clone(rest)
			}
			go t.drain(rest)
			return
		}
	}
	t.mu.Lock()
	more := !t.q.Empty()
	t.state.queued = more
	end := !more && t.state.closed
	t.mu.Unlock()
	switch {
	case more:
		w.add(t) // at the end of the list, to be fair to the others
	case end:
		_ = t.Conn.Close()
	}
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, most); return &b }}

// drain writes, blocking, until nothing is pending: rest first.
func (t *tap) drain(rest []byte) {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	for {
		if !t.writeAll(rest) {
			t.kill()
			return
		}
		t.mu.Lock()
		rest = t.take(*buf)
		if rest == nil {
			t.state.queued, t.state.blocked = false, false
			end := t.state.closed
			if t.raw != nil && !t.state.closing { // or it would fail a worker's write one day
				_ = t.Conn.SetWriteDeadline(time.Time{})
			}
			t.mu.Unlock()
			if end {
				_ = t.Conn.Close()
			}
			return
		}
		t.mu.Unlock()
	}
}

// writeAll writes in pieces, each with a deadline of its own: a slow reader may
// live, one that takes nothing may not. A piece that had to wait for room is a
// sign of life: a pong may be far behind then. One that had not says nothing, as
// the kernel takes it, whether or not there still is a client.
func (t *tap) writeAll(rest []byte) bool {
	const piece = 16 << 10
	for len(rest) > 0 {
		t.mu.Lock()
		closing := t.state.closing
		t.mu.Unlock()
		began := time.Now()
		if !closing { // otherwise closeAs has set the last deadline
			_ = t.Conn.SetWriteDeadline(began.Add(t.timeout))
		}
		n, err := t.Conn.Write(rest[:min(piece, len(rest))])
		if err != nil {
			return false
		}
		if time.Since(began) > 50*time.Millisecond {
			t.seen.Store(true)
		}
		rest = rest[n:]
	}
	return true
}

// kill cuts the connection; what is pending is lost.
func (t *tap) kill() {
	t.mu.Lock()
	t.state.dead = true
	t.q.Clear()
	t.relax()
	t.mu.Unlock()
	if s, ok := t.Conn.(interface{ NetConn() net.Conn }); ok {
		_ = s.NetConn().Close() // TLS says goodbye when it is closed, for 5 s if the socket is full
	}
	_ = t.Conn.Close()
}

// Close is what the library calls when it is done. Readers wake at once; what
// is pending, the close frame most likely, still goes out.
func (t *tap) Close() error {
	t.mu.Lock()
	if t.state.dead {
		t.mu.Unlock()
		return t.Conn.Close()
	}
	t.state.closing, t.state.closed = true, true
	t.relax()
	pending := t.state.queued
	t.mu.Unlock()
	if !pending {
		return t.Conn.Close()
	}
	_ = t.Conn.SetReadDeadline(time.Unix(1, 0))
	_ = t.Conn.SetWriteDeadline(time.Now().Add(closeWait))
	return nil
}

// closing reports whether the close frame is queued.
func (t *tap) closing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state.closing
}

// ending returns the close frame that was queued, as seen by the server: an
// answer to the client's own is not local, everything else is.
func (t *tap) ending() (last CloseError, local bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, local = t.last, t.last.Local
	last.Local = true
	return last, local
}

// trim gives memory of a quiet connection back.
func (t *tap) trim() {
	t.mu.Lock()
	t.q.Trim()
	t.mu.Unlock()
}

// inbox is what was read from the socket and not yet taken. The buffer is a
// pooled one and is held only while there is something in it.
type inbox struct {
	buf    *[]byte
	unread []byte
	fill   func(fd uintptr) bool
	n      int
	err    error
	failed error // what Wait has met, for Read

	between bool // nothing of the next frame has been read
	rest    bool // the stack has grown: do not wait between frames
}

// idle reports whether it is time for ErrIdle.
func (in *inbox) idle() bool { return in.rest && in.between && len(in.unread) == 0 }

var inboxes = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// Read fills a pooled buffer, and only once the socket is readable. So an idle
// connection holds none, and a busy one reads many messages with one syscall.
func (t *tap) Read(p []byte) (int, error) {
	in := &t.inbox
	if in.idle() {
		return 0, ErrIdle
	}
	if err := in.failed; err != nil {
		in.failed = nil
		return 0, cut(err)
	}
	if len(in.unread) == 0 {
		if t.raw == nil || len(p) >= 16<<10 {
			n, err := t.Conn.Read(p)
			t.sign(n)
			in.between = in.between && n == 0
			return n, cut(err)
		}
		if err := t.fetch(); err != nil {
			return 0, cut(err)
		}
	}
	in.between = false
	n := copy(p, in.unread)
	if in.unread = in.unread[n:]; len(in.unread) == 0 {
		in.release()
	}
	return n, nil
}

// fetch waits until there is something in the inbox.
func (t *tap) fetch() error {
	in := &t.inbox
	t.worker.yield()
	err := t.raw.Read(in.fill)
	if err == nil {
		err = in.err
	}
	if err != nil {
		in.release()
		return err
	}
	t.sign(in.n)
	in.unread = (*in.buf)[:in.n]
	return nil
}

func (t *tap) sign(n int) {
	if n > 0 && !t.seen.Load() { // a load is cheaper where it is true already
		t.seen.Store(true)
	}
}

func (in *inbox) release() {
	if in.buf != nil {
		inboxes.Put(in.buf)
	}
	in.buf, in.unread = nil, nil
}
