package transport

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// hijacker hands the tap to the library in place of the connection.
type hijacker struct {
	http.ResponseWriter
	c *wsConn
	// own says that the answer is ours, see answersItself. It then is queued like
	// everything else, and leaves with the first message in one write(2): a tenth
	// of what a connection costs.
	own  bool
	conn net.Conn // once it is taken over
	rw   *bufio.ReadWriter
}

// answersItself reports whether the connection is to be taken over before it is said
// that it was. Middleware that wraps w should see the status: to log it, or to add its
// headers then. But what was said cannot be taken back where Hijack fails after all,
// so it is said first only where net/http's own writer is seen inside the wrappers.
func answersItself(w http.ResponseWriter) bool { return native(w) || !native(innermost(w)) }

// native reports whether w is net/http's own.
func native(w http.ResponseWriter) bool { return reflect.TypeOf(w).String() == "*http.response" }

// take takes the connection over.
func (h *hijacker) take() (err error) {
	h.conn, h.rw, err = http.NewResponseController(h.ResponseWriter).Hijack()
	return err
}

// drop ends a connection that the library has not taken.
func (h *hijacker) drop() {
	switch {
	case h.c.Conn != nil: // it was our connection by then
		h.c.kill()
		h.c.release()
	case h.conn != nil:
		_ = h.conn.Close()
	}
}

// Unwrap lets http.ResponseController through.
func (h *hijacker) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// WriteHeader implements http.ResponseWriter. gin's writer keeps a status back until the
// first Write, which never comes.
func (h *hijacker) WriteHeader(status int) {
	if h.own && status == http.StatusSwitchingProtocols {
		return
	}
	h.ResponseWriter.WriteHeader(status)
	if w, ok := h.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		w.WriteHeaderNow()
	}
}

// Hijack implements http.Hijacker. Frames that came in one packet with the handshake
// are the first thing that the tap reads.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !h.own {
		if err := h.take(); err != nil {
			return nil, nil, err
		}
	}
	nc, rw := h.conn, h.rw
	_ = nc.SetDeadline(time.Time{}) // net/http's own deadlines end here
	c := h.c
	c.Conn, c.timeout, c.hard = nc, c.s.opts.WriteTimeout, c.s.opts.Pending
	c.seen.Store(true)
	c.inbox.fill = c.inbox.fillOnce
	if c.raw = rawConn(nc); c.raw != nil {
		c.worker = c.s.workers.pick()
	}
	if h.own {
		_ = c.push(&message.Encoded{Bytes: switching(h.Header())})
	}
	if early, _ := rw.Reader.Peek(rw.Reader.Buffered()); len(early) > 0 {
		c.inbox.unread = bytes.Clone(early)
	}
	c.br = bufio.NewReaderSize(&c.tap, 64)
	return &c.tap, bufio.NewReadWriter(c.br, bufio.NewWriterSize(&c.tap, control)), nil
}

// control is the size of the library's write buffer: the largest control frame,
// with the mask that a server's never has, so each leaves in one Write.
const control = 131

// switching is the answer that ends HTTP on a connection.
func switching(h http.Header) []byte {
	b := bytes.NewBuffer(make([]byte, 0, 256))
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(b) // a bytes.Buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}
