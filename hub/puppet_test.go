package hub_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// puppet is the transport of one connection, and the connection, whose strings a
// test holds.
type puppet struct {
	feed   chan string   // what the client sends; closed: it is gone
	cut    chan struct{} // closed by Abort
	once   sync.Once
	alive  atomic.Bool // shows signs of life
	held   chan struct{}
	writes atomic.Int32
	given  []*transport.Message
	room   int // of the buffers that messages come in, at least
}

func newPuppet() *puppet { return &puppet{feed: make(chan string), cut: make(chan struct{})} }

// connect lets a new connection in, or waits until held is closed with that.
func (c *puppet) connect(h *hub.Hub) {
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

func (c *puppet) Match(*http.Request) bool { return true }

func (c *puppet) Serve(w http.ResponseWriter, r *http.Request, accept transport.Accept) {
	run, err := accept(r)
	if err != nil {
		transport.Refuse(w, err)
		return
	}
	if c.held != nil {
		<-c.held
	}
	run(c)
}

func (c *puppet) Read() (*transport.Message, error) {
	select {
	case s, ok := <-c.feed:
		if !ok {
			return nil, io.EOF
		}
		m := &transport.Message{Data: append(make([]byte, 0, c.room), s...)}
		c.given = append(c.given, m)
		return m, nil
	case <-c.cut:
		return nil, io.ErrUnexpectedEOF
	}
}

func (c *puppet) Wait() bool                 { return false }
func (c *puppet) Write(*message.Frame) error { c.writes.Add(1); return nil }
func (c *puppet) Ping() error                { return nil }
func (c *puppet) Seen() bool                 { return c.alive.Load() }
func (c *puppet) Close(int, string)          {}
func (c *puppet) Abort()                     { c.once.Do(func() { close(c.cut) }) }
func (c *puppet) Limit() int                 { return 1 << 16 }
func (c *puppet) Drained() <-chan struct{}   { return nil }

// TestNothingIsWrittenToWhoHasGone: the hub keeps nobody who has left, not even
// among those that a broadcast to everybody reaches.
func TestNothingIsWrittenToWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPuppet()
		h := newHub(t, &hub.Options{Transports: []transport.Transport{c}})
		c.connect(h)
		if err := h.Broadcast(t.Context(), note.New("all")); err != nil || c.writes.Load() != 2 {
			t.Fatalf("%d writes, %v, want the welcome and the broadcast", c.writes.Load(), err)
		}
		close(c.feed)
		synctest.Wait()
		if err := h.Broadcast(t.Context(), note.New("all")); err != nil || c.writes.Load() != 2 {
			t.Errorf("%d writes, %v, after it has gone", c.writes.Load(), err)
		}
	})
}

// TestMessagesAreReleased, whatever becomes of them: their buffers are used again.
func TestMessagesAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPuppet()
		c.alive.Store(true)
		h := newHub(t, &hub.Options{Transports: []transport.Transport{c}})
		h.Rooms("chat/{id}", nil)
		hub.On(h, note, func(context.Context, *hub.Request, string) error { return nil })
		hub.On(h, message.Kind[string]("slow"), func(ctx context.Context, _ *hub.Request, _ string) error {
			<-ctx.Done()
			return nil
		})
		hub.On(h, message.Kind[string]("aside"), func(context.Context, *hub.Request, string) error { return nil }, hub.Concurrent)
		c.connect(h)
		for _, s := range []string{
			`{"type":"note","content":"x"}`, `{"type":"note","content":7}`, `{"type":"nothing"}`, `{"type":"bye"}`, `oops`,
			`{"type":"join","room":"chat/1"}`, `{"type":"note","room":"chat/1","content":"x"}`, `{"type":"note","room":"chat/2"}`,
			`{"type":"ping"}`, `{"type":"ack","id":"s1"}`, `{"type":"leave","room":"chat/1"}`, `{"type":"aside","content":"x"}`,
			`{"type":"slow","content":"x"}`,
		} {
			c.feed <- s
		}
		<-time.After(time.Minute) // the heartbeat has somebody read while the last one runs
		for range 200 {
			select {
			case c.feed <- `{"type":"note","content":"x"}`:
				continue
			case <-time.After(time.Second): // the backlog is full
			}
			break
		}
		for p := range h.Peers() {
			p.Close(message.CloseKicked, "out")
		}
		c.feed <- `{"type":"note","content":"too late"}`
		close(c.feed)
		synctest.Wait()
		for i, m := range c.given {
			if len(m.Data) != 0 {
				t.Errorf("message %d, %s, was not released", i, m.Data)
			}
		}
	})
}

// TestLargeBuffersDoNotCount: what waits for an answer is bounded, but by its own
// size; and one message waits whatever its size.
func TestLargeBuffersDoNotCount(t *testing.T) {
	for name, before := range map[string][]string{
		"many small messages":  slices.Repeat([]string{`{"type":"note","content":"x"}`}, 500),
		"one enormous message": {`{"type":"note","content":"` + strings.Repeat("x", 2<<20) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				c := newPuppet()
				c.room = 60 << 10
				h := newHub(t, &hub.Options{Transports: []transport.Transport{c}})
				hub.On(h, note, func(context.Context, *hub.Request, string) error { d.note("note"); return nil })
				hub.On(h, message.Kind[string]("ask"), func(ctx context.Context, r *hub.Request, _ string) error {
					_, err := hub.Ask(ctx, r.Peer, sure, "?")
					d.note("asked %v", err)
					return nil
				})
				c.connect(h)
				c.feed <- `{"type":"ask","content":""}`
				for _, s := range before {
					c.feed <- s
				}
				c.feed <- `{"type":"ack","id":"s1","content":true}`
				close(c.feed)
				synctest.Wait()
				if len(d.notes) == 0 || d.notes[0] != "asked <nil>" {
					t.Errorf("happened %.100q", d.notes)
				}
			})
		})
	}
}

// TestAMessageIsASignOfLife though its handler keeps the answer to the ping from
// being read: the check finds nobody reading, and that is not the client's fault.
func TestAMessageIsASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPuppet()
		h := newHub(t, &hub.Options{Heartbeat: 20 * time.Second, Timeout: 10 * time.Second, Transports: []transport.Transport{c}})
		hub.On(h, note, func(context.Context, *hub.Request, string) error { <-time.After(15 * time.Second); return nil })
		c.connect(h)
		<-time.After(time.Second) // the first ping is out
		c.feed <- `{"type":"note","content":"x"}`
		<-time.After(25 * time.Second)
		if s := h.Stats(); s.Peers != 1 {
			t.Errorf("%+v: it was ended while nobody read", s)
		}
		<-time.After(10 * time.Second)
		if s := h.Stats(); s.Peers != 0 {
			t.Errorf("%+v: it is silent", s)
		}
		close(c.feed)
	})
}

// TestTheLateAreCut: who was let in before a Shutdown, and gets there after it,
// finds nobody, not even somebody to say goodbye.
func TestTheLateAreCut(t *testing.T) {
	for _, end := range []string{"nothing was left", "no time was left"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newPuppet()
				c.held = make(chan struct{})
				h := newHub(t, &hub.Options{Transports: []transport.Transport{c}})
				stuck := stuckIn(t, h)
				go c.connect(h)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if end == "nothing was left" {
					stuck()
				}
				_ = h.Shutdown(ctx)
				close(c.held)
				synctest.Wait()
				select {
				case <-c.cut:
				default:
					t.Error("it was not cut")
				}
				if c.writes.Load() != 0 {
					t.Errorf("%d messages were written", c.writes.Load())
				}
				stuck()
			})
		})
	}
}

// stuckIn returns what ends a handler that heeds nothing else.
func stuckIn(t *testing.T, h *hub.Hub) func() {
	t.Helper()
	release := make(chan struct{})
	hub.On(h, message.Kind[string]("stuck"), func(context.Context, *hub.Request, string) error { <-release; return nil })
	c := pipeSocket(t, h, "")
	c.send([]byte(`{"type":"stuck","content":""}`), false)
	synctest.Wait()
	return sync.OnceFunc(func() { close(release) })
}

// leaver is a public state that is encoded at a bad moment.
type leaver struct{ leave func() }

// MarshalJSON implements json.Marshaler.
func (l leaver) MarshalJSON() ([]byte, error) { l.leave(); return []byte(`"leaver"`), nil }

// TestWhoGoesWhileItJoins is in no room afterwards.
func TestWhoGoesWhileItJoins(t *testing.T) {
	for name, delivery := range map[string]room.Delivery{"ephemeral": room.Ephemeral{}, "recoverable": room.Recoverable{}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				h.Rooms("chat/{id}", &hub.Rule{Delivery: delivery, Presence: &room.Presence{}, Join: func(_ context.Context, r *hub.Request) (any, error) {
					return leaver{func() { r.Peer.Close(message.CloseKicked, "out") }}, nil
				}})
				h.Rooms("open/{id}", nil)
				c := pipeSocket(t, h, "")
				c.send([]byte(`{"type":"join","room":"open/1"}`), false)
				c.send([]byte(`{"type":"join","room":"chat/1"}`), false)
				synctest.Wait()
				if s := h.Stats(); s != (hub.Stats{}) || h.Room("chat/1").Len() != 0 {
					t.Errorf("%+v, %d members", s, h.Room("chat/1").Len())
				}
				if err := h.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestARoomThatNobodyCouldEnter does not stay.
func TestARoomThatNobodyCouldEnter(t *testing.T) {
	for name, delivery := range map[string]room.Delivery{
		"ephemeral": room.Ephemeral{}, "recoverable": room.Recoverable{}, "latest": room.Latest{},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				h.Rooms("chat/{id}", &hub.Rule{Delivery: delivery})
				c := hubtest.Dial(t, h)
				for _, p := range []*hub.Peer{h.Peer(c.ID()), nil} {
					if err := h.Room("chat/1").Join(t.Context(), p, nil); err == nil {
						t.Error("somebody is a member without the hub knowing")
					}
				}
				if s := h.Stats(); s != (hub.Stats{Peers: 1}) {
					t.Errorf("%+v", s)
				}
				if err := h.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
