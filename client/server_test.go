package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/message"
)

type text struct {
	Body string `json:"body"`
}

const (
	say     message.Kind[text]         = "say"
	blob    message.Kind[[]byte]       = "blob"
	typing  message.Kind[bool]         = "typing"
	history message.Call[int, []text]  = "history"
	confirm message.Call[string, bool] = "confirm"
)

// server is a scripted one, in the hands of a test: it says nothing by itself.
// It lives in the bubble of the test.
type server struct {
	t     *testing.T
	conns chan net.Conn // to be accepted
	peers chan *peer    // that have been
	done  chan struct{}
	gate  func(w http.ResponseWriter, r *http.Request) bool // false: it has refused
	deaf  bool                                              // it does not read

	mu    sync.Mutex
	live  int
	most  int // that were there at the same time
	count int // in all
}

// Accept, Close and Addr make it a net.Listener.
func (s *server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}
func (s *server) Close() error   { return nil }
func (s *server) Addr() net.Addr { return &net.TCPAddr{} }

func newServer(t *testing.T) *server {
	s := &server{t: t, conns: make(chan net.Conn), peers: make(chan *peer, 100), done: make(chan struct{})}
	h := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = h.Serve(s)
	}()
	t.Cleanup(func() {
		close(s.done)
		_ = h.Close()
		<-served
	})
	return s
}

// dial is for Options.Dial.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case s.conns <- theirs:
		return ours, nil
	case <-s.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.gate != nil && !s.gate(w, r) {
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"hubbub.v1"}})
	if err != nil {
		s.t.Errorf("accepting: %v", err)
		return
	}
	ws.SetReadLimit(-1)
	s.mu.Lock()
	s.live++
	s.count++
	s.most = max(s.most, s.live)
	n := s.count
	s.mu.Unlock()
	p := &peer{t: s.t, ws: ws, request: r, n: n, got: make(chan wire, 10_000)}
	s.peers <- p
	if s.deaf {
		<-s.done
	} else {
		p.read()
	}
	_ = ws.CloseNow()
	s.mu.Lock()
	s.live--
	s.mu.Unlock()
}

func (s *server) numbers() (live, most, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, s.most, s.count
}

// next waits for the next connection.
func (s *server) next() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		return p
	case <-time.After(time.Hour):
		s.t.Fatal("nobody has connected for an hour")
		return nil
	}
}

// welcomed waits for the next connection and says welcome.
func (s *server) welcomed() *peer {
	s.t.Helper()
	p := s.next()
	p.welcome()
	return p
}

// wire is a message as the server sees it.
type wire struct {
	Type    string          `json:"type"`
	Room    string          `json:"room"`
	ID      string          `json:"id"`
	Since   *string         `json:"since"`
	Content json.RawMessage `json:"content"`

	bytes []byte
	end   error // of the connection
}

// peer is one connection, seen from the server.
type peer struct {
	t       *testing.T
	ws      *websocket.Conn
	request *http.Request
	n       int // counts the connections
	got     chan wire
}

func (p *peer) read() {
	for {
		typ, data, err := p.ws.Read(context.Background())
		if err != nil {
			p.got <- wire{Type: "end", end: err}
			return
		}
		var w wire
		if typ == websocket.MessageBinary {
			e, err := message.Decode(data, true)
			if err != nil {
				p.t.Errorf("the client sent %q: %v", data, err)
			}
			w = wire{Type: e.Type, Room: e.Room, ID: e.ID, bytes: e.Content.Data}
		} else if err := json.Unmarshal(data, &w); err != nil {
			p.t.Errorf("the client sent %q: %v", data, err)
		}
		p.got <- w
	}
}

// expect waits for the next message and wants it to be of this type.
func (p *peer) expect(typ string) wire {
	p.t.Helper()
	select {
	case w := <-p.got:
		if w.Type != typ {
			p.t.Fatalf("the server got %q %s in %q, want %q (%v)", w.Type, w.Content, w.Room, typ, w.end)
		}
		return w
	case <-time.After(time.Hour):
		p.t.Fatalf("the server got nothing, want %q", typ)
		return wire{}
	}
}

// quiet wants nothing to have come.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	select {
	case w := <-p.got:
		p.t.Fatalf("the server got %q %s in %q, want nothing (%v)", w.Type, w.Content, w.Room, w.end)
	default:
	}
}

func (p *peer) send(format string, args ...any) {
	p.t.Helper()
	if err := p.try(format, args...); err != nil {
		p.t.Errorf("sending: %v", err)
	}
}

// try is send where the client may have gone.
func (p *peer) try(format string, args ...any) error {
	return p.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

func (p *peer) bytes(head, content string) {
	p.t.Helper()
	if err := p.ws.Write(context.Background(), websocket.MessageBinary, []byte(head+"\n"+content)); err != nil {
		p.t.Errorf("sending: %v", err)
	}
}

const welcome = `{"type":"welcome","content":{"id":"peer-%d","user":"ana","session":"secret-of-connection-%d","heartbeat":25000,"limit":65536}}`

func (p *peer) welcome() {
	p.t.Helper()
	p.send(welcome, p.n, p.n)
}

// ack answers; more goes into the envelope.
func (p *peer) ack(w wire, content, more string) {
	p.t.Helper()
	if content == "" {
		content = "null"
	}
	p.send(`{"type":"ack","id":%q,%s"content":%s%s}`, w.ID, roomOf(w), content, more)
}

func (p *peer) refuse(w wire, content string) {
	p.t.Helper()
	p.send(`{"type":"error","id":%q,%s"content":%s}`, w.ID, roomOf(w), content)
}

func roomOf(w wire) string {
	if w.Room == "" {
		return ""
	}
	return fmt.Sprintf(`"room":%q,`, w.Room)
}

// admit answers a join and returns it.
func (p *peer) admit(content string) wire {
	p.t.Helper()
	w := p.expect("join")
	p.ack(w, content, "")
	return w
}

// again takes up the session of a client that comes back.
func (p *peer) again() *peer {
	p.t.Helper()
	w := p.expect("auth")
	p.ack(w, string(w.Content), "")
	return p
}

func (p *peer) close(code int, reason string) {
	_ = p.ws.Close(websocket.StatusCode(code), reason)
}

// cut breaks the connection.
func (p *peer) cut() { _ = p.ws.CloseNow() }

// dial connects to s, says welcome, and closes the client when the test ends.
func dial(t *testing.T, s *server, opts client.Options) (*client.Client, *peer) {
	t.Helper()
	opts.Dial = s.dial
	if opts.OnError == nil {
		opts.OnError = func(err error) { t.Errorf("OnError: %v", err) }
	}
	var c *client.Client
	result := make(chan error, 1)
	go func() {
		var err error
		c, err = client.Dial(t.Context(), "ws://hub/ws", &opts)
		result <- err
	}()
	p := s.welcomed()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { over(c) })
	return c, p
}

// over closes a client without waiting for anything.
func over(c *client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Close(ctx)
}

// lazy starts a client that connects by itself.
func lazy(t *testing.T, s *server, opts client.Options) *client.Client {
	t.Helper()
	opts.Dial, opts.Lazy = s.dial, true
	c, err := client.Dial(t.Context(), "ws://hub/ws", &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { over(c) })
	return c
}

// joined returns a room that has been joined.
func joined(t *testing.T, c *client.Client, p *peer, name, answer string) *client.Room {
	t.Helper()
	r := c.Room(name)
	done := later(func() error {
		_, err := r.Join(context.Background(), nil)
		return err
	})
	p.admit(answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r
}

// later runs f beside the test.
func later[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

// sending is the outcome of a Send.
type sending struct {
	client.Receipt
	err error
}

func send(c client.Place, body string) <-chan sending {
	s := client.Start(context.Background(), c, say, text{body})
	return later(func() sending {
		r, err := s.Wait()
		return sending{r, err}
	})
}

// pending wants nothing to have come of c.
func pending[T any](t *testing.T, c <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-c:
		t.Fatalf("it ended with %+v", v)
	default:
	}
}

func bodyOf(t *testing.T, w wire) string {
	t.Helper()
	var c text
	if err := json.Unmarshal(w.Content, &c); err != nil {
		t.Fatal(err)
	}
	return c.Body
}

// record collects what handlers are called with, as text.
type record struct {
	mu  sync.Mutex
	all []string
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf(format, args...))
}

// take waits until all is at rest and returns what has come since.
func (r *record) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}
