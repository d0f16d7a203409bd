package proof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

type text struct {
	Body string `json:"body"`
}

const (
	say  message.Kind[text] = "say"
	log1 string             = "log/1"
)

// server is one that can be started anew, at the address of its network.
type server struct {
	t       *testing.T
	network *hubtest.Network
	opts    hub.Options
	rooms   func(*hub.Hub)
	store   *memory.Network // outlives the server; nil: each one has its own
	pause   atomic.Int64    // before anything is written to a connection, in nanoseconds

	hub     *hub.Hub
	web     *http.Server
	serving sync.WaitGroup
}

// serve starts a server that adds its rooms to each hub.
func serve(t *testing.T, opts hub.Options, rooms func(*hub.Hub)) *server {
	s := &server{t: t, network: hubtest.NewNetwork(t), opts: opts, rooms: rooms}
	s.opts.Log = slog.New(slog.DiscardHandler)
	s.start()
	return s
}

// talk says what rooms there are that keep their history.
type talk struct {
	keeps bool // it outlives the server, as in a broker
	echo  bool // those who publish get their own messages
	keep  int  // room.Recoverable.Keep
	large bool // entries are: a feed has few of the newest, the others are to be read
}

// serveLog starts a server with a room that keeps its history.
func serveLog(t *testing.T, talk talk, opts hub.Options) *server {
	s := &server{t: t, network: hubtest.NewNetwork(t), opts: opts}
	s.opts.Log = slog.New(slog.DiscardHandler)
	// An entry has who is not to get it, here people who are never there: that makes
	// it large, but not the message.
	var nobody []string
	if talk.large {
		for i := range 1500 {
			nobody = append(nobody, fmt.Sprint("nobody", i))
		}
	}
	s.rooms = func(h *hub.Hub) {
		// Longer than anybody is away: what is sent again is recognised.
		rule := &hub.Rule{Delivery: room.Recoverable{Keep: talk.keep, Dedupe: time.Hour}}
		hub.On(h.Rooms("log/{id}", rule), say, func(ctx context.Context, r *hub.Request, in text) error {
			if talk.echo {
				return r.All(ctx, say.New(in), room.Except(nobody...))
			}
			return r.Others(ctx, say.New(in), room.Except(nobody...))
		})
	}
	if talk.keeps {
		s.store = memory.NewNetwork(nil)
		keeper := s.store.Join() // with the last node the logs would end
		if err := keeper.Start(t.Context(), "keeper", nil, deaf{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = keeper.Close(context.Background()) })
	}
	s.start()
	return s
}

// deaf is the sink of a node without rooms.
type deaf struct{}

func (deaf) Frame(engine.Topic, []byte)         {}
func (deaf) Entry(engine.Topic, engine.Entry)   {}
func (deaf) Link(bool, func(engine.Topic) bool) {}

// paced is a listener whose connections wait before they write.
type paced struct {
	net.Listener
	pause *atomic.Int64
}

// Accept implements net.Listener.
func (l paced) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return pacedConn{c, l.pause}, nil
}

type pacedConn struct {
	net.Conn
	pause *atomic.Int64
}

// Write implements net.Conn.
func (c pacedConn) Write(p []byte) (int, error) {
	if d := time.Duration(c.pause.Load()); d > 0 {
		<-time.After(d)
	}
	return c.Conn.Write(p)
}

func (s *server) start() {
	opts := s.opts
	if s.store != nil {
		opts.Engine = s.store.Join()
	}
	s.hub = hub.New(&opts)
	s.rooms(s.hub)
	web, l := &http.Server{Handler: s.hub}, paced{s.network.Listener(), &s.pause}
	s.web = web
	s.serving.Go(func() { _ = web.Serve(l) })
}

// crash ends the server as if it were killed.
func (s *server) crash() {
	_ = s.web.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.hub.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.t.Errorf("Shutdown: %v", err)
	}
	s.serving.Wait()
}

// drain ends the server in good order. Its address answers until it is over.
func (s *server) drain() {
	if err := s.hub.Shutdown(context.Background()); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
	_ = s.web.Close()
	s.serving.Wait()
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	return s.network.DialContext(ctx, "tcp", "hub:80")
}
