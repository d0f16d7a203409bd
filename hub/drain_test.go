package hub_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/hubbub-go/hubbub/transport"
	"go.uber.org/goleak"
)

// thinking has handlers that take a second, or until their context ends. It returns
// what tells of the first that have begun.
func thinking(h *hub.Hub, d *diary) <-chan string {
	begun := make(chan string, 2)
	think := func(ctx context.Context, _ *hub.Request, in string) (string, error) {
		select {
		case begun <- in:
		default:
		}
		select {
		case <-time.After(time.Second):
			d.note("%s thought", in)
		case <-ctx.Done():
			d.note("%s given up: %s", in, closing(context.Cause(ctx)))
		}
		return in, ctx.Err()
	}
	hub.Reply(h, message.Call[string, string]("think"), think)
	hub.Reply(h, message.Call[string, string]("think aside"), think, hub.Concurrent)
	return begun
}

func ask(typ, id string) []byte {
	return fmt.Appendf(nil, `{"type":%q,"id":%q,"content":%q}`, typ, id, id)
}

// summary is what a client has got, in short: type and id.
func summary(frames []frame) (all []string) {
	for _, f := range frames {
		if f.end {
			all = append(all, f.data)
			continue
		}
		e, _ := message.Decode([]byte(f.data), f.binary)
		all = append(all, strings.TrimSpace(e.Type+" "+e.ID))
	}
	return all
}

// TestShutdownLetsHandlersAnswer over both transports: the client is told that the
// server goes, gets what it is owed for what runs, and then the end.
func TestShutdownLetsHandlersAnswer(t *testing.T) {
	for name, dial := range map[string]func(t *testing.T, h *hub.Hub) socket{
		"pipe":   func(t *testing.T, h *hub.Hub) socket { return pipeSocket(t, h, "") },
		"socket": func(t *testing.T, h *hub.Hub) socket { return webSocket(t, serve(t, h, h), "") },
	} {
		t.Run(name, func(t *testing.T) {
			var d diary
			h := hub.New(nil)
			begun := thinking(h, &d)
			c := dial(t, h)
			c.send(ask("think aside", "1"), false)
			c.send(ask("think", "2"), false)
			receive(t, begun)
			receive(t, begun)
			for p := range h.Peers() { // so that somebody reads on
				go func() { _, _ = hub.Ask(t.Context(), p, sure, "?") }()
			}
			c.received().wait(t, 2)
			c.send(ask("think", "3"), false) // waits, and has to
			c.send(ask("ping", "4"), false)
			if err := h.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.received().wait(t, 10)
			got := summary(c.received().take())
			if len(got) == 6 && got[3] == "ack 2" {
				got[3], got[4] = got[4], got[3] // they run at the same time
			}
			want := []string{"welcome", "sure s1", "bye", "ack 1", "ack 2", "close 1001 drain"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if len(d.notes) != 2 {
				t.Errorf("happened %q", d.notes)
			}
		})
	}
}

// TestShutdownTwice says goodbye once.
func TestShutdownTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, nil)
		thinking(h, &d)
		c := pipeSocket(t, h, "")
		c.send(ask("think", "1"), false)
		synctest.Wait()
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- h.Shutdown(context.Background()) }()
		}
		for range 2 {
			if err := receive(t, done); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if got := summary(c.received().take()); !slices.Equal(got, []string{"welcome", "bye", "ack 1", "close 1001 drain"}) {
			t.Errorf("got %q", got)
		}
	})
}

// TestShutdownLetsHandlersAsk: what waits is not handled any more, and keeps no
// answer from being read, however much it is.
func TestShutdownLetsHandlersAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, nil)
		hub.On(h, message.Kind[string]("later"), func(ctx context.Context, r *hub.Request, _ string) error {
			<-time.After(31 * time.Second)
			_, err := hub.Ask(ctx, r.Peer, sure, "?")
			d.note("asked %v", err)
			return nil
		})
		hub.On(h, note, func(context.Context, *hub.Request, string) error { d.note("note"); return nil })
		c := hubtest.Dial(t, h)
		hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		c.Send("", message.New("later", ""))
		for range 3000 {
			c.Send("", note.New("behind"))
		}
		<-time.After(30 * time.Second) // a heartbeat reads on
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		d.want(t, "asked <nil>")
	})
}

// TestShutdownHasSomePatience: as long as DrainTime says.
func TestShutdownHasSomePatience(t *testing.T) {
	for _, typ := range []string{"think", "think aside"} {
		t.Run(typ, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				h := newHub(t, &hub.Options{DrainTime: 500 * time.Millisecond})
				thinking(h, &d)
				c := pipeSocket(t, h, "")
				c.send(ask(typ, "1"), false)
				synctest.Wait()
				start := time.Now()
				if err := h.Shutdown(t.Context()); err != nil || time.Since(start) != 500*time.Millisecond {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				synctest.Wait()
				d.want(t, "1 given up: server 1001 drain")
				if got := summary(c.received().take()); !slices.Equal(got, []string{"welcome", "bye", "close 1001 drain"}) {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// TestShutdownGivesUp when its context ends: whatever state a connection is in, it
// has ended then, and every handler has been told.
func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, &hub.Options{Disconnect: func(_ *hub.Peer, reason error) {
			d.note("disconnect %s %v", closing(reason), errors.Is(reason, context.DeadlineExceeded))
		}})
		thinking(h, &d)
		c := pipeSocket(t, h, "")
		c.send(ask("think", "1"), false)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		start := time.Now()
		if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if got := summary(c.received().take()); got[len(got)-1] != "broken" {
			t.Errorf("got %q", got)
		}
		d.want(t, "1 given up: broken", "disconnect broken true")
	})
}

// raw connects without a client that would answer anything.
func raw(t *testing.T, url string, messages ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Error(res, err)
		return
	}
	for _, m := range messages { // each of less than 126 bytes, masked with zeros
		_, _ = conn.Write(append([]byte{0x81, 0x80 | byte(len(m)), 0, 0, 0, 0}, m...))
	}
	_, _ = br.ReadByte() // the welcome is there
}

// TestNothingOutlivesShutdown: connections in every state, whose clients answer
// nothing, and a Shutdown that has no time for them.
func TestNothingOutlivesShutdown(t *testing.T) {
	think := string(ask("think", "1"))
	for name, tt := range map[string]struct {
		before func(t *testing.T, h *hub.Hub, url string)
		peers  int
	}{
		"idle":         {func(t *testing.T, _ *hub.Hub, url string) { raw(t, url) }, 1},
		"in a handler": {func(t *testing.T, _ *hub.Hub, url string) { raw(t, url, think) }, 1},
		"with a backlog": {func(t *testing.T, h *hub.Hub, url string) {
			raw(t, url, slices.Repeat([]string{think}, 1000)...)
			for p := range h.Peers() {
				go func() { _, _ = hub.Ask(context.Background(), p, sure, "?") }()
			}
		}, 1},
		"closed before": {func(t *testing.T, h *hub.Hub, url string) {
			raw(t, url)
			for p := range h.Peers() {
				p.Close(message.CloseKicked, "out")
			}
		}, 0},
		"turned away": {func(t *testing.T, _ *hub.Hub, url string) {
			var storm sync.WaitGroup
			for range 2 {
				storm.Go(func() { raw(t, url) })
			}
			storm.Wait()
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var d diary
			var both sync.WaitGroup
			if name == "turned away" {
				both.Add(2)
			}
			var connected atomic.Int32
			h := hub.New(&hub.Options{
				DrainTime: time.Millisecond, MaxPeers: 1,
				Identify: func(*http.Request) (string, error) {
					if name == "turned away" { // when both are here, both are past the first check
						both.Done()
						both.Wait()
					}
					return "", nil
				},
				Connect:    func(context.Context, *hub.Peer) { connected.Add(1) },
				Disconnect: func(*hub.Peer, error) { connected.Add(-1) },
			})
			thinking(h, &d)
			server := httptest.NewServer(h)
			defer server.Close()
			known := goleak.IgnoreCurrent()
			tt.before(t, h, server.URL)
			if n := h.Stats().Peers; n != tt.peers {
				t.Errorf("%d peers, want %d", n, tt.peers)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if since := time.Since(start); since > time.Second {
				t.Errorf("it took %v", since)
			}
			if err := goleak.Find(known); err != nil {
				t.Error(err)
			}
			if n := connected.Load(); n != 0 {
				t.Errorf("Connect was called %d times more than Disconnect", n)
			}
		})
	}
}

// TestShutdownIsNoRaceWithIdentify: who was being identified when it began is
// refused.
func TestShutdownIsNoRaceWithIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chan struct{})
		h := newHub(t, &hub.Options{Identify: func(*http.Request) (string, error) { <-in; return "", nil }})
		refused := make(chan error, 1)
		go func() {
			_, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/", nil), nil)
			refused <- err
		}()
		synctest.Wait()
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		close(in)
		var refusal *transport.Refusal
		if err := receive(t, refused); !errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable {
			t.Errorf("got %v", err)
		}
	})
}

// TestShutdownWaitsForWhoIsTurnedAway, too.
func TestShutdownWaitsForWhoIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		c := newPuppet()
		c.held = make(chan struct{})
		h := newHub(t, &hub.Options{Transports: []transport.Transport{c}})
		thinking(h, &d)
		busy := hubtest.Dial(t, h)
		busy.Send("", message.New("think", "1"))
		go c.connect(h)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- h.Shutdown(context.Background()) }()
		synctest.Wait()
		close(c.held) // it was let in before, and comes now
		<-time.After(time.Hour)
		select {
		case err := <-done:
			t.Errorf("%v: a connection is left", err)
		default:
		}
		if n := c.writes.Load(); n != 2 {
			t.Errorf("%d messages, want the welcome and the bye", n)
		}
		close(c.feed)
		if err := receive(t, done); err != nil {
			t.Error(err)
		}
		if s := h.Stats(); s != (hub.Stats{}) {
			t.Errorf("%+v", s)
		}
	})
}
