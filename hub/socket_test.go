package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// socket is a client that sends and receives bytes, as they are on the wire.
type socket interface {
	send(data []byte, binary bool)
	close(code int)
	cut()
	received() *inbox
}

// frame is what a client has got; the last one is how the connection ended.
type frame struct {
	data   string
	binary bool
	end    bool
}

// inbox keeps what a client gets.
type inbox struct {
	mu      sync.Mutex
	changed sync.Cond
	frames  []frame
	over    bool
}

func newInbox() *inbox {
	b := &inbox{}
	b.changed.L = &b.mu
	return b
}

func (b *inbox) put(f frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frames = append(b.frames, f)
	b.over = b.over || f.end
	b.changed.Broadcast()
}

// wait waits until there are n frames, or the connection has ended.
func (b *inbox) wait(t *testing.T, n int) {
	t.Helper()
	late := false
	timer := time.AfterFunc(5*time.Second, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		late = true
		b.changed.Broadcast()
	})
	defer timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.frames) < n && !b.over {
		if late {
			t.Fatalf("%d frames came, want %d: %v", len(b.frames), n, b.frames)
		}
		b.changed.Wait()
	}
}

// take takes everything that is there.
func (b *inbox) take() []frame {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.frames
	b.frames = nil
	return all
}

func (b *inbox) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// ending is how the end of a connection stands in a transcript.
func ending(code int, reason string) frame {
	return frame{data: strings.TrimSpace(fmt.Sprintf("close %d %s", code, reason)), end: true}
}

var broken = frame{data: "broken", end: true}

// pipe is a socket over an in-memory connection.
type pipe struct {
	t    *testing.T
	conn *transport.PipeConn
	in   *inbox
}

func pipeSocket(t *testing.T, h http.Handler, user string) socket {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("User", user)
	conn, err := transport.Pipe(h, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{t, conn, newInbox()}
	go p.read()
	t.Cleanup(conn.Abort)
	return p
}

func (p *pipe) read() {
	for {
		m, err := p.conn.Read()
		var closed *transport.CloseError
		switch {
		case err == nil:
			p.in.put(frame{data: string(m.Data), binary: m.Binary})
			m.Release()
			continue
		case errors.As(err, &closed):
			p.in.put(ending(closed.Code, closed.Reason))
		default:
			p.in.put(broken)
		}
		return
	}
}

func (p *pipe) send(data []byte, binary bool) { _ = p.conn.Write(rawFrame(p.t, data, binary)) }
func (p *pipe) close(code int)                { p.conn.Close(code, "") }
func (p *pipe) cut()                          { p.conn.Abort() }
func (p *pipe) received() *inbox              { return p.in }

// rawFrame is a frame with any payload, also one that no server would make: the
// frame of a message that is as long, overwritten before anybody else sees it.
// Spaces, which JSON allows, make up for what is too short.
func rawFrame(t *testing.T, data []byte, binary bool) *message.Frame {
	t.Helper()
	e := message.New("x", nil)
	e.Timestamp = time.UnixMilli(1)
	const text, bytes = len(`{"type":"x","content":,"timestamp":1}`), len(`{"type":"x","timestamp":1}` + "\n")
	if binary {
		e.Content = message.Raw{Data: make([]byte, max(len(data)-bytes, 0)), Binary: true}
	} else {
		e.Content.Data = []byte(strings.Repeat("1", max(len(data)-text, 1)))
	}
	f, err := message.Encode(e, nil, message.Disconnect)
	if err != nil {
		t.Fatal(err)
	}
	to := f.Payload()
	for i := range to[copy(to, data):] {
		to[len(data)+i] = ' '
	}
	return f
}

// web is a socket over a real one.
type web struct {
	t    *testing.T
	conn *websocket.Conn
	in   *inbox
}

func webSocket(t *testing.T, url, user string) socket {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
		HTTPHeader:   http.Header{"User": {user}},
		Subprotocols: []string{transport.Subprotocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	w := &web{t, conn, newInbox()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.read()
	}()
	t.Cleanup(func() {
		_ = conn.CloseNow()
		<-done
	})
	return w
}

func (w *web) read() {
	for {
		typ, data, err := w.conn.Read(context.Background())
		var closed websocket.CloseError
		switch {
		case err == nil:
			w.in.put(frame{data: string(data), binary: typ == websocket.MessageBinary})
			continue
		case errors.As(err, &closed):
			w.in.put(ending(int(closed.Code), closed.Reason))
		default:
			w.in.put(broken)
		}
		return
	}
}

// send returns when the server has read on behind the message: the pong to a
// ping says so, or that there is no connection any more.
func (w *web) send(data []byte, binary bool) {
	typ := websocket.MessageText
	if binary {
		typ = websocket.MessageBinary
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.conn.Write(ctx, typ, data); err != nil {
		w.t.Errorf("sending %.100s: %v", data, err)
	}
	_ = w.conn.Ping(ctx)
}

func (w *web) close(code int)   { _ = w.conn.Close(websocket.StatusCode(code), "") }
func (w *web) cut()             { _ = w.conn.CloseNow() }
func (w *web) received() *inbox { return w.in }

func (f frame) welcome() bool { return strings.HasPrefix(f.data, `{"type":"welcome"`) }
