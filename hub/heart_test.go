package hub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

func TestFrozenPeerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reasons := make(chan error, 1)
		h := newHub(t, &hub.Options{Disconnect: func(_ *hub.Peer, reason error) { reasons <- reason }})
		h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}})
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("chat/1", nil)
		b.Join("chat/1", nil)
		<-time.After(time.Hour) // both are alive
		b.Freeze(true)
		frozen := time.Now()
		<-time.After(45 * time.Second) // heartbeat and timeout
		a.ExpectType("joined")
		if e := a.ExpectType("left"); e.From != b.ID() {
			t.Errorf("left: %q", e.From)
		}
		var closed *transport.CloseError
		if !errors.As(receive(t, reasons), &closed) || closed.Code != message.CloseSilent || !closed.Local {
			t.Errorf("reason %v", closed)
		}
		if s := h.Stats(); s.Peers != 1 {
			t.Errorf("%v after %v", s, time.Since(frozen))
		}
	})
}

// TestNobodyIsTakenForDead: a day of living peers, at the tightest setting.
func TestNobodyIsTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Heartbeat: 10 * time.Second, Timeout: 10 * time.Second})
		clients := dialN(t, h, 3)
		<-time.After(24 * time.Hour)
		if s := h.Stats(); s.Peers != len(clients) {
			t.Fatalf("%d of %d are left", s.Peers, len(clients))
		}
	})
}

// TestDeathIsNoticedInTime: whenever in the interval a peer dies.
func TestDeathIsNoticedInTime(t *testing.T) {
	for _, timeout := range []time.Duration{50 * time.Millisecond, time.Second, 4 * time.Second} {
		for _, after := range []time.Duration{0, time.Millisecond, 1300 * time.Millisecond, 3999 * time.Millisecond} {
			t.Run(fmt.Sprint(timeout, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHub(t, &hub.Options{Heartbeat: 4 * time.Second, Timeout: timeout})
					c := hubtest.Dial(t, h)
					<-time.After(8*time.Second + after)
					c.Freeze(true)
					<-time.After(4*time.Second + timeout)
					synctest.Wait()
					if s := h.Stats(); s.Peers != 0 {
						t.Fatal("still there")
					}
				})
			})
		}
	}
}

// TestASlowDisconnectHoldsNobodyUp: what an application does about one dead peer
// must not keep the hub from noticing the next.
func TestASlowDisconnectHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := newHub(t, &hub.Options{Disconnect: func(*hub.Peer, error) { <-release }})
		clients := dialN(t, h, 3)
		for i, c := range clients {
			c.Freeze(true)
			<-time.After(45 * time.Second)
			if s := h.Stats(); s.Peers != 2-i {
				t.Errorf("%d peers after %d have died", s.Peers, i+1)
			}
		}
		close(release)
	})
}

// fakes is a transport of connections that only count pings.
type fakes struct {
	mu    sync.Mutex
	pings []time.Time
	end   chan struct{}
}

func (f *fakes) Match(*http.Request) bool { return true }

func (f *fakes) Serve(w http.ResponseWriter, r *http.Request, accept transport.Accept) {
	run, err := accept(r)
	if err != nil {
		transport.Refuse(w, err)
		return
	}
	run(fake{f})
}

type fake struct{ *fakes }

func (f fake) Read() (*transport.Message, error) { <-f.end; return nil, io.EOF }
func (f fake) Wait() bool                        { return false }
func (f fake) Write(*message.Frame) error        { return nil }
func (f fake) Drained() <-chan struct{}          { return nil }
func (f fake) Seen() bool                        { return true }
func (f fake) Close(int, string)                 {}
func (f fake) Abort()                            {}
func (f fake) Limit() int                        { return 1 }

func (f fake) Ping() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pings = append(f.pings, time.Now())
	return nil
}

func TestPingsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{end: make(chan struct{})}
		h := newHub(t, &hub.Options{Heartbeat: 20 * time.Second, Transports: []transport.Transport{f}})
		for range 200 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}
		start := time.Now()
		<-time.After(20*time.Second + time.Millisecond)
		synctest.Wait()
		if len(f.pings) != 200 {
			t.Errorf("%d pings in one interval", len(f.pings))
		}
		buckets := map[time.Duration]int{}
		for _, at := range f.pings {
			buckets[at.Sub(start)/time.Second]++
		}
		for second, n := range buckets {
			if n > 15 { // ten on average
				t.Errorf("second %d has %d pings", second, n)
			}
		}
		close(f.end)
	})
}

// TestALongHandlerIsNoSilence: the answers to pings are read while a handler runs
// for many heartbeats.
func TestALongHandlerIsNoSilence(t *testing.T) {
	h := hub.New(&hub.Options{Heartbeat: 100 * time.Millisecond})
	hub.Reply(h, message.Call[string, string]("think"), func(_ context.Context, _ *hub.Request, in string) (string, error) {
		<-time.After(500 * time.Millisecond)
		return in, nil
	})
	srv := httptest.NewServer(h)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for _, id := range []string{"1", "2"} {
		if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"think","id":"`+id+`","content":"x"}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{`"welcome"`, `"id":"1"`, `"id":"2"`} {
		if _, b, err := c.Read(ctx); err != nil || !strings.Contains(string(b), want) {
			t.Fatalf("%q, %v, want %s", b, err, want)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if err := h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestAFullBacklogIsNoSilence: where reading stops because too much waits behind a
// handler, the answers to pings stand behind that, and the client is alive.
func TestAFullBacklogIsNoSilence(t *testing.T) {
	h := hub.New(&hub.Options{Heartbeat: 500 * time.Millisecond})
	hub.On(h, note, func(_ context.Context, _ *hub.Request, in string) error {
		if in == "slow" {
			<-time.After(2500 * time.Millisecond)
		}
		return nil
	})
	hub.Reply(h, where, answerAs("here"))
	srv := httptest.NewServer(h)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	large := `{"type":"note","content":"` + strings.Repeat("x", 1000) + `"}`
	for _, s := range append([]string{`{"type":"note","content":"slow"}`}, slices.Repeat([]string{large}, 300)...) {
		if err := c.Write(ctx, websocket.MessageText, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"where","id":"1","content":""}`)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"welcome"`, `"id":"1"`} {
		if _, b, err := c.Read(ctx); err != nil || !strings.Contains(string(b), want) {
			t.Fatalf("%q, %v, want %s", b, err, want)
		}
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	if err := h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestDeathBehindAFullBacklogIsNoticed, although nobody reads that the connection
// has ended.
func TestDeathBehindAFullBacklogIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.On(h, note, func(ctx context.Context, _ *hub.Request, _ string) error { <-ctx.Done(); return nil })
		c := pipeSocket(t, h, "")
		for range 300 {
			c.send([]byte(`{"type":"note","content":"x"}`), false)
		}
		<-time.After(time.Hour)
		if s := h.Stats(); s.Peers != 1 {
			t.Fatalf("%+v: it is alive", s)
		}
		c.cut()
		<-time.After(time.Minute)
		if s := h.Stats(); s.Peers != 0 {
			t.Errorf("%+v: it is dead", s)
		}
	})
}

// TestSlownessBehindAFullBacklogIsNoticed: a client that is closed for taking
// nothing, while nobody reads what it says.
func TestSlownessBehindAFullBacklogIsNoticed(t *testing.T) {
	var book logbook
	ended := make(chan struct{})
	h := hub.New(&hub.Options{
		Heartbeat: 100 * time.Millisecond, DrainTime: time.Millisecond, Log: book.logger(),
		Disconnect: func(*hub.Peer, error) { close(ended) },
	})
	hub.On(h, note, func(ctx context.Context, _ *hub.Request, _ string) error { <-ctx.Done(); return nil })
	raw(t, serve(t, h, h), slices.Repeat([]string{`{"type":"note","content":"x"}`}, 300)...)
	<-time.After(250 * time.Millisecond) // a heartbeat has read until the backlog was full
	for p := range h.Peers() {
		for p.Send(note.New(strings.Repeat("x", 100<<10))) == nil {
		}
	}
	receive(t, ended)
}
