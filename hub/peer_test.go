package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// diary notes what happened, in order.
type diary struct {
	mu    sync.Mutex
	notes []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// want fails the test unless exactly this happened, since it was last asked.
func (d *diary) want(t *testing.T, notes ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.notes, notes) {
		t.Fatalf("happened %q, want %q", d.notes, notes)
	}
	d.notes = nil
}

// closing is how a connection ended, in short.
func closing(err error) string {
	var c *transport.CloseError
	if !errors.As(err, &c) {
		return "broken"
	}
	who := "client"
	if c.Local {
		who = "server"
	}
	return fmt.Sprintf("%s %d %s", who, c.Code, c.Reason)
}

func TestStateBelongsToOnePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type tally struct{ n int }
		h := newHub(t, nil)
		hub.Reply(h, message.Call[int, int]("add"), func(_ context.Context, r *hub.Request, n int) (int, error) {
			s := hub.State[tally](r.Peer)
			s.n += n
			return s.n, nil
		})
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		for _, tt := range []struct {
			c       *hubtest.Client
			n, want int
		}{{a, 1, 1}, {a, 2, 3}, {b, 5, 5}, {a, 1, 4}} {
			if got, err := hubtest.Ask(tt.c, "", message.Call[int, int]("add"), tt.n); got != tt.want || err != nil {
				t.Fatalf("%d, %v, want %d", got, err, tt.want)
			}
		}
		wantPanic(t, "use one type for the whole program", func() { hub.State[string](h.Peer(a.ID())) })
	})
}

func TestHubKnowsItsPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		a, b := dialAs(t, h, "ana"), dialAs(t, h, "")
		if p := h.Peer(a.ID()); p == nil || p.ID() != a.ID() || p.User() != "ana" {
			t.Fatalf("peer %v", p)
		}
		if h.Peer("nobody") != nil {
			t.Fatal("a peer that is not there")
		}
		var ids []string
		for p := range h.Peers() {
			ids = append(ids, p.ID())
		}
		want := []string{a.ID(), b.ID()}
		slices.Sort(ids)
		slices.Sort(want)
		if !slices.Equal(ids, want) {
			t.Fatalf("peers %v, want %v", ids, want)
		}
		for range h.Peers() {
			break // an iteration may end early
		}
		if err := h.Peer(b.ID()).Send(note.New("only you")); err != nil {
			t.Fatal(err)
		}
		if e := b.ExpectType("note"); e.From != "" || e.Room != "" || content[string](t, e) != "only you" {
			t.Fatalf("got %+v", e)
		}
		a.ExpectNone()
		gone := h.Peer(a.ID())
		a.Close()
		synctest.Wait()
		if h.Peer(a.ID()) != nil {
			t.Fatal("a peer that has gone is still known")
		}
		if err := gone.Send(note.New("too late")); !errors.Is(err, transport.ErrClosed) {
			t.Fatalf("sending to who has gone: %v", err)
		}
		if err := h.Peer(b.ID()).Send(message.New("note", func() {})); err == nil || errors.Is(err, transport.ErrClosed) {
			t.Fatalf("sending what cannot be encoded: %v", err)
		}
	})
}

// TestEndings: however a connection ends, its rooms are empty when Disconnect is
// called, once, with the reason, and the context says it too.
func TestEndings(t *testing.T) {
	tests := []struct {
		name  string
		end   func(t *testing.T, c *hubtest.Client, p *hub.Peer)
		hook  string // what Disconnect is told
		other string // how the client's end looks
	}{
		{"client closes", func(_ *testing.T, c *hubtest.Client, _ *hub.Peer) { c.Close() }, "client 1000 ", "client 1000 "},
		{"client is cut", func(_ *testing.T, c *hubtest.Client, _ *hub.Peer) { c.Cut() }, "broken", "broken"},
		{"server closes", func(t *testing.T, c *hubtest.Client, p *hub.Peer) {
			p.Close(4321, "enough")
			p.Close(4322, "again")
			if e := c.ExpectType("bye"); string(e.Content.Data) != `{"reason":"enough"}` {
				t.Errorf("bye %s", e.Content.Data)
			}
		}, "server 4321 enough", "server 4321 enough"},
		{"client is frozen", func(_ *testing.T, c *hubtest.Client, _ *hub.Peer) {
			c.Freeze(true)
			<-time.After(45 * time.Second)
		}, "server 4008 no sign of life", "broken"},
		{"client is too slow", func(t *testing.T, c *hubtest.Client, p *hub.Peer) {
			c.Freeze(true)
			for range 2 {
				_ = p.Send(note.New(string(make([]byte, 100<<10)))) // as \u0000, six bytes each
			}
			<-time.After(6 * time.Second)
		}, "server 4003 too slow: more was pending than this connection may have", "broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				var book logbook
				h := newHub(t, &hub.Options{
					Log:     book.logger(),
					Connect: func(_ context.Context, p *hub.Peer) { d.note("connect %d", len(p.Rooms())) },
					Disconnect: func(p *hub.Peer, reason error) {
						d.note("disconnect %s, %d rooms, cause %s", closing(reason), len(p.Rooms()), closing(context.Cause(p.Context())))
					},
				})
				h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}})
				witness, c := hubtest.Dial(t, h), hubtest.Dial(t, h)
				for _, room := range []string{"chat/1", "chat/2", "chat/3"} {
					c.Join(room, nil)
					witness.Join(room, nil)
				}
				p := h.Peer(c.ID())
				if rooms := p.Rooms(); !slices.Equal(rooms, []string{"chat/1", "chat/2", "chat/3"}) {
					t.Fatalf("rooms %v", rooms)
				}
				tt.end(t, c, p)
				synctest.Wait()
				d.want(t, "connect 0", "connect 0", "disconnect "+tt.hook+", 0 rooms, cause "+tt.hook)
				for range 3 {
					if e := witness.ExpectType("left"); e.From != c.ID() {
						t.Fatalf("left from %q", e.From)
					}
				}
				witness.ExpectNone()
				if h.Room("chat/1").Len() != 1 || p.Context().Err() == nil {
					t.Fatal("the peer is still there")
				}
				c.Freeze(false)
				if got := closing(c.Closed()); got != tt.other {
					t.Errorf("at the client %q, want %q", got, tt.other)
				}
				if slow := tt.name == "client is too slow"; slow {
					book.wantLines(t, []string{"WARN", "too slow", c.ID()})
				} else {
					book.wantLines(t)
				}
			})
		})
	}
}

// flooded is all that is left for whom more was pending than it may have.
const flooded = "close 4003 too slow: more was pending than this connection may have"

// TestWelcomeIsFirst: whoever looks for peers all the time finds none that has
// not been welcomed.
func TestWelcomeIsFirst(t *testing.T) {
	h := hub.New(nil)
	stop := make(chan struct{})
	var greeter sync.WaitGroup
	greeter.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for p := range h.Peers() {
				_ = p.Send(note.New("hello").Volatile()) // or a client that is slow is cut off
			}
			_ = h.Broadcast(context.Background(), note.New("all").Volatile())
		}
	})
	for range 100 {
		c := pipeSocket(t, h, "")
		c.received().wait(t, 1)
		if f := c.received().take()[0]; !f.welcome() && f.data != flooded {
			t.Errorf("first came %s", f.data)
		}
		c.cut()
	}
	close(stop)
	greeter.Wait()
	if err := h.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestConnectComesBeforeEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, &hub.Options{
			Connect: func(_ context.Context, p *hub.Peer) {
				<-time.After(time.Second)
				d.note("connect")
			},
			Disconnect: func(*hub.Peer, error) { d.note("disconnect") },
		})
		hub.On(h, note, func(_ context.Context, _ *hub.Request, in string) error { d.note("%s", in); return nil })
		c := hubtest.Dial(t, h)
		c.Send("", note.New("message"))
		synctest.Wait()
		d.want(t)
		<-time.After(time.Second)
		synctest.Wait()
		d.want(t, "connect", "message")
	})
}

// TestDisconnectComesAfterConnect, even if the peer is ended while Connect runs,
// by Connect itself or by another goroutine.
func TestDisconnectComesAfterConnect(t *testing.T) {
	for _, who := range []string{"itself", "another", "the client", "shutdown"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				var h *hub.Hub
				dialed := make(chan socket, 1)
				h = newHub(t, &hub.Options{
					Connect: func(ctx context.Context, p *hub.Peer) {
						d.note("connect")
						switch who {
						case "itself":
							p.Close(message.CloseKicked, "no")
						case "another":
							go p.Close(message.CloseKicked, "no")
						case "the client":
							(<-dialed).cut()
						case "shutdown":
							go func() { _ = h.Shutdown(context.Background()) }()
						}
						<-time.After(time.Second)
						d.note("connected")
					},
					Disconnect: func(_ *hub.Peer, reason error) { d.note("disconnect %s", closing(reason)) },
				})
				dialed <- pipeSocket(t, h, "")
				<-time.After(10 * time.Second)
				reason := map[string]string{
					"itself": "server 4002 no", "another": "server 4002 no",
					"the client": "broken", "shutdown": "server 1001 drain",
				}[who]
				d.want(t, "connect", "connected", "disconnect "+reason)
			})
		})
	}
}

// TestNoHandlerStartsAfterTheEnd: what waits behind a question, in the backlog or
// beyond, is not handled any more.
func TestNoHandlerStartsAfterTheEnd(t *testing.T) {
	for _, waiting := range []int{1, 64, 65, 70} {
		t.Run(fmt.Sprint(waiting), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				h := newHub(t, nil)
				hub.On(h, message.Kind[string]("leave me"), func(ctx context.Context, r *hub.Request, _ string) error {
					_, err := hub.Ask(ctx, r.Peer, sure, "?")
					d.note("asked: %s", codeOf(err))
					return err
				})
				hub.On(h, note, func(context.Context, *hub.Request, string) error { d.note("note"); return nil })
				c := hubtest.Dial(t, h)
				c.Send("", message.New("leave me", ""))
				c.ExpectType("sure")
				for range waiting {
					c.Send("", note.New("behind the question"))
				}
				synctest.Wait()
				h.Peer(c.ID()).Close(message.CloseKicked, "no")
				synctest.Wait()
				d.want(t, "asked: unavailable")
			})
		})
	}
}

// TestMessagesBeforeACloseAreHandled: a client that says its last words and
// closes in good order is heard.
func TestMessagesBeforeACloseAreHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("chat/1", nil)
		b.Join("chat/1", nil)
		for _, s := range []string{"a", "b", "c", "d", "e"} {
			a.Send("chat/1", say.New(text{s}))
		}
		a.Close()
		if got := bodies(b, 5); got != "a b c d e" {
			t.Fatal(got)
		}
		b.ExpectNone()
	})
}

// TestAPeerThatIsNil is one that has gone: h.Peer(id).Send needs no check.
func TestAPeerThatIsNil(t *testing.T) {
	h := hub.New(nil)
	p := h.Peer("gone")
	_, err := hub.Ask(t.Context(), p, sure, "?")
	wantCode(t, err, message.Unavailable)
	if err := p.Send(note.New("x")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if err := p.Deliver(nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Deliver: %v", err)
	}
	wantCode(t, p.Join(t.Context(), "chat/1", nil), message.Unavailable)
	p.Leave("chat/1")
	<-p.Drained()
	p.Close(message.CloseKicked, "no")
	if p.ID() != "" || p.User() != "" || p.Rooms() != nil || *hub.State[int](p) != 0 {
		t.Error("it is somebody")
	}
	if err := context.Cause(p.Context()); p.Context().Err() == nil || !errors.Is(err, transport.ErrClosed) {
		t.Errorf("its context: %v", err)
	}
}

// TestDisconnectComesAfterTheLastHandler, so that State needs no lock: the race
// detector sees it if not.
func TestDisconnectComesAfterTheLastHandler(t *testing.T) {
	for _, how := range []string{"closed", "closed by itself", "cut", "with a relief"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				type tally struct{ n int }
				h := newHub(t, &hub.Options{Disconnect: func(p *hub.Peer, _ error) {
					d.note("disconnect after %d", hub.State[tally](p).n)
				}})
				hub.On(h, note, func(_ context.Context, r *hub.Request, _ string) error {
					if how == "closed by itself" {
						r.Peer.Close(message.CloseKicked, "out")
					}
					for range 60 {
						<-time.After(time.Second)
						hub.State[tally](r.Peer).n++
					}
					return nil
				})
				c := hubtest.Dial(t, h)
				p := h.Peer(c.ID())
				c.Send("", note.New("x"))
				c.Send("", note.New("never handled"))
				if how == "with a relief" {
					<-time.After(30 * time.Second)
				}
				synctest.Wait()
				if how == "cut" {
					c.Cut()
				} else {
					p.Close(message.CloseKicked, "out")
				}
				synctest.Wait()
				d.want(t)
				<-time.After(time.Minute)
				synctest.Wait()
				d.want(t, "disconnect after 60")
			})
		})
	}
}
