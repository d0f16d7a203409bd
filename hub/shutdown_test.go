package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

type bye struct {
	Reason     string `json:"reason"`
	RetryAfter int64  `json:"retryAfter"`
}

func TestShutdownIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{DrainTime: 10 * time.Second})
		clients := dialN(t, h, 50)
		start := time.Now()
		ends := make(chan time.Duration, len(clients))
		for _, c := range clients {
			go func() {
				var closed *transport.CloseError
				if err := c.Closed(); !errors.As(err, &closed) || closed.Code != message.CloseAway {
					t.Errorf("ended with %v", err)
				}
				ends <- time.Since(start)
			}()
		}
		if err := h.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		buckets, retries := map[time.Duration]int{}, map[int64]bool{}
		for _, c := range clients {
			buckets[receive(t, ends)/time.Second]++
			e := content[bye](t, c.ExpectType("bye"))
			if e.Reason != "drain" || e.RetryAfter < 1 || e.RetryAfter > 10_000 {
				t.Errorf("bye %+v", e)
			}
			retries[e.RetryAfter] = true
		}
		if len(buckets) < 10 || len(retries) < 40 {
			t.Errorf("ended in %v, told %d different times to come back", buckets, len(retries))
		}
	})
}

func TestShutdownWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{DrainTime: time.Second})
		finished := false
		hub.On(h, note, func(context.Context, *hub.Request, string) error {
			<-time.After(20 * time.Second)
			finished = true
			return nil
		})
		c := hubtest.Dial(t, h)
		c.Send("", note.New("x"))
		synctest.Wait()
		if err := h.Shutdown(context.Background()); err != nil || !finished {
			t.Fatalf("error %v, handler finished: %v", err, finished)
		}
	})
}

// TestShutdownEndsWithItsContext, though a handler does not: before the first
// heartbeat has had somebody read behind it, and after.
func TestShutdownEndsWithItsContext(t *testing.T) {
	for _, most := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
		t.Run(fmt.Sprint(most), func(t *testing.T) { endsAfter(t, most) })
	}
}

func endsAfter(t *testing.T, most time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		release := make(chan struct{})
		hub.On(h, note, func(context.Context, *hub.Request, string) error { <-release; return nil })
		c := hubtest.Dial(t, h)
		c.Send("", note.New("x"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), most)
		defer cancel()
		start := time.Now()
		if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != most {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_ = c.Closed()
		if since := time.Since(start); since != most {
			t.Errorf("it was cut after %v", since)
		}
		close(release)
	})
}

// TestShutdownIsCancelled in the middle of the drain: who has not been told
// goodbye by then is cut.
func TestShutdownIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{DrainTime: 10 * time.Second})
		clients := dialN(t, h, 10)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(4500*time.Millisecond, cancel)
		start := time.Now()
		if err := h.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) || time.Since(start) != 4500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ends := map[string]int{}
		for _, c := range clients {
			ends[closing(c.Closed())]++
		}
		if ends["server 1001 drain"] != 5 || ends["broken"] != 5 {
			t.Errorf("ended %v", ends)
		}
	})
}

// TestShutdownIsNotHeldUp by what an application does about a disconnect.
func TestShutdownIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := newHub(t, &hub.Options{Disconnect: func(*hub.Peer, error) { <-release }})
		clients := dialN(t, h, 10)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		start := time.Now()
		if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 20*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		for _, c := range clients {
			c.ExpectType("bye")
		}
		close(release)
	})
}

func TestShutdownCutsWhoDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		c.Freeze(true)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		c.Freeze(false)
		if err := c.Closed(); err == nil {
			t.Error("it is still connected")
		}
	})
}

func TestHandshakesDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{DrainTime: 10 * time.Second})
		hubtest.Dial(t, h)
		hubtest.Dial(t, h)
		done := make(chan error, 2)
		go func() { done <- h.Shutdown(context.Background()) }()
		<-time.After(time.Second)
		_, err := hubtest.DialRequest(t, h, httptest.NewRequest(http.MethodGet, "/", nil))
		var refusal *transport.Refusal
		if !errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable {
			t.Errorf("%v", err)
		}
		go func() { done <- h.Shutdown(context.Background()) }() // a second one does no harm
		for range 2 {
			if err := receive(t, done); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestShutdownOfNobody(t *testing.T) {
	if err := hub.New(nil).Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestShutdownUnderLoad: joins, broadcasts and dials while it goes on.
func TestShutdownUnderLoad(t *testing.T) {
	for range 20 {
		h := hub.New(&hub.Options{DrainTime: time.Millisecond})
		rooms := h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}})
		hub.On(rooms, say, toOthers)
		stop := make(chan struct{})
		for range 4 {
			go func() {
				for {
					select {
					case <-stop:
						return
					default:
						_ = h.Broadcast(context.Background(), say.New(text{"all"}))
						_ = h.Room("chat/1").Broadcast(context.Background(), say.New(text{"some"}))
					}
				}
			}()
		}
		for range 16 {
			conn, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/", nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			f, err := message.Encode(message.Envelope{Type: "join", Room: "chat/1"}, nil, message.Disconnect)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Write(f)
			go func() {
				for {
					m, err := conn.Read()
					if err != nil {
						return
					}
					m.Release()
				}
			}()
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := h.Stats(); s != (hub.Stats{}) {
			t.Fatalf("left over: %+v", s)
		}
		close(stop)
	}
}
