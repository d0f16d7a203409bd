package transport_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds the wait for what must come.
const patience = 10 * time.Second

func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	select {
	case v := <-ch:
		return v
	case <-end.C:
		t.Fatalf("%s: nothing in %v", what, patience)
		panic("unreachable")
	}
}

// eventually waits for what gives no event.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// mode is a way for messages to travel. The write paths differ: plain TCP is
// flushed by workers, everything else by a goroutine of each connection.
type mode string

const (
	plain   mode = "tcp"
	wrapped mode = "wrapped" // TCP inside another net.Conn
	secure  mode = "tls"
	piped   mode = "pipe"
)

var (
	sockets    = []mode{plain, wrapped, secure}
	everywhere = []mode{plain, wrapped, secure, piped}
)

func run(t *testing.T, modes []mode, opts *transport.WebSocketOptions, f func(t *testing.T, s *server)) {
	t.Helper()
	for _, m := range modes {
		t.Run(string(m), func(t *testing.T) { f(t, serve(t, m, opts)) })
	}
}

// server accepts connections and reads them as a hub does.
type server struct {
	mode    mode
	opts    transport.WebSocketOptions
	front   func(http.Handler) http.Handler // in front of the transport
	beneath func(net.Conn) net.Conn         // the connections that are accepted
	timeout time.Duration                   // of net/http
	log     *slog.Logger                    // of the transport

	http  *httptest.Server
	pipe  http.Handler
	peers chan *peer
	done  chan struct{}
	all   sync.WaitGroup
}

// host serves a handler of the test's making.
func host(t testing.TB, m mode, h http.Handler) *server {
	t.Helper()
	s := &server{mode: m, done: make(chan struct{})}
	s.start(t, h)
	return s
}

// quiet logs nothing.
var quiet = slog.New(slog.DiscardHandler)

// chat is a hub that echoes, and passes on what is said in the room r.
func chat(t testing.TB, opts *transport.WebSocketOptions) *hub.Hub {
	t.Helper()
	h := hub.New(&hub.Options{Transports: []transport.Transport{transport.WebSocket(opts)}, Log: quiet, DrainTime: time.Millisecond})
	hub.OnRest(h, func(_ context.Context, r *hub.Request) (any, error) {
		var content message.Raw
		err := r.Decode(&content)
		return content, err
	})
	hub.OnRest(h.Rooms("r", nil), func(ctx context.Context, r *hub.Request) (any, error) {
		var content message.Raw
		_ = r.Decode(&content)
		return nil, r.Others(ctx, message.New(r.Type, content))
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return h
}

// library connects the client of coder/websocket.
func (s *server) library(t testing.TB, opts websocket.DialOptions) *websocket.Conn {
	t.Helper()
	opts.HTTPClient = s.http.Client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.http.URL, &opts)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// peer is the server's end of a connection.
type peer struct {
	transport.Conn
	events chan event
}

// event is what one Read returned.
type event struct {
	data   string
	binary bool
	err    error
}

// serve starts a server; changes are made before.
func serve(t testing.TB, m mode, opts *transport.WebSocketOptions, changes ...func(*server)) *server {
	t.Helper()
	s := &server{mode: m, log: quiet, peers: make(chan *peer, 64), done: make(chan struct{})}
	if opts != nil {
		s.opts = *opts
	}
	for _, change := range changes {
		change(s)
	}
	s.opts.Log = s.log
	tr := transport.WebSocket(&s.opts)
	if m == piped {
		tr = transport.Piped()
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.all.Add(1)
		defer s.all.Done()
		tr.Serve(w, r, s.admit)
	})
	if s.front != nil {
		h = s.front(h)
	}
	s.start(t, h)
	return s
}

// start serves h until the test ends.
func (s *server) start(t testing.TB, h http.Handler) {
	t.Helper()
	t.Cleanup(func() {
		close(s.done)
		s.all.Wait()
	})
	if s.mode == piped {
		s.pipe = h
		return
	}
	s.http = httptest.NewUnstartedServer(h)
	s.http.Config.ReadTimeout, s.http.Config.WriteTimeout = s.timeout, s.timeout
	s.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	if s.mode == wrapped && s.beneath == nil {
		s.beneath = func(c net.Conn) net.Conn { return struct{ net.Conn }{c} }
	}
	s.http.Listener = &listener{s.http.Listener, s.beneath}
	if s.mode == secure {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	t.Cleanup(s.http.Close)
}

// admit is an Accept that admits everybody.
func (s *server) admit(*http.Request) (func(transport.Conn), error) {
	return func(c transport.Conn) {
		p := &peer{c, make(chan event, 1024)}
		s.peers <- p
		s.all.Go(func() { s.read(p) })
	}, nil
}

func (s *server) read(p *peer) {
	p.Wait()
	for {
		m, err := p.Read()
		if errors.Is(err, transport.ErrIdle) {
			p.Wait()
			continue
		}
		e := event{err: err}
		if m != nil {
			e.data, e.binary = string(m.Data), m.Binary
			m.Release()
		}
		select {
		case p.events <- e:
		case <-s.done:
		}
		var broken *transport.Violation
		switch {
		case errors.As(err, &broken):
			p.Close(broken.Code, broken.Reason)
		case err != nil:
			return
		}
	}
}

// next is what the next Read returned.
func (p *peer) next(t testing.TB) event {
	t.Helper()
	return await(t, "Read", p.events)
}

// ended waits for the end of the connection, whatever comes before.
func (p *peer) ended(t testing.TB) error {
	t.Helper()
	for {
		var broken *transport.Violation
		if e := p.next(t); e.err != nil && !errors.As(e.err, &broken) {
			return e.err
		}
	}
}

func (p *peer) write(t testing.TB, f *message.Frame) {
	t.Helper()
	if err := p.Write(f); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

// listener keeps the kernel's buffers small, so that little is enough to make a
// client slow.
type listener struct {
	net.Listener
	beneath func(net.Conn) net.Conn
}

const kernel = 32 << 10

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetWriteBuffer(kernel)
	}
	if l.beneath != nil {
		c = l.beneath(c)
	}
	return c, nil
}

// note is a message that can be told from others.
type note struct {
	n, size  int // size of the payload in bytes; 0: as small as it can be
	room     string
	key      string
	binary   bool
	volatile bool
	policy   message.Policy
}

func (n note) frame(t testing.TB) *message.Frame {
	t.Helper()
	f := n.padded(t, 0)
	if n.size > 0 {
		f = n.padded(t, n.size-len(f.Payload()))
		if len(f.Payload()) != n.size {
			t.Fatalf("a message of %d bytes, not of %d", len(f.Payload()), n.size)
		}
	}
	return f
}

func (n note) padded(t testing.TB, by int) *message.Frame {
	t.Helper()
	content := message.Raw{Data: []byte(strings.Repeat("x", by)), Binary: n.binary}
	if !n.binary {
		content.Data = []byte(strconv.Quote(string(content.Data)))
	}
	e := message.New("note", content)
	e.ID, e.Room, e.Timestamp = strconv.Itoa(n.n), n.room, time.UnixMilli(1)
	e = e.Keyed(n.key)
	if n.volatile {
		e = e.Volatile()
	}
	f, err := message.Encode(e, nil, n.policy)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// number reads what note wrote.
func number(t testing.TB, e event) int {
	t.Helper()
	if e.err != nil {
		t.Fatalf("instead of a message: %v", e.err)
	}
	m, err := message.Decode([]byte(e.data), e.binary)
	if err != nil {
		t.Fatalf("a torn message: %v in %.100q", err, e.data)
	}
	n, err := strconv.Atoi(m.ID)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
