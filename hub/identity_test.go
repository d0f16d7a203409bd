package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// handshake asks for a WebSocket over a real connection and returns the answer.
func handshake(t *testing.T, url string) (status int, retryAfter, code, text string) {
	t.Helper()
	conn, res, err := websocket.Dial(t.Context(), url, nil)
	if err == nil {
		_ = conn.CloseNow()
		return http.StatusSwitchingProtocols, "", "", ""
	}
	defer func() { _ = res.Body.Close() }()
	var body struct{ Code, Message string }
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Errorf("the body of the refusal: %v", err)
	}
	if !res.Close {
		t.Errorf("the refusal keeps the connection: %v", res.Header)
	}
	return res.StatusCode, res.Header.Get("Retry-After"), body.Code, body.Message
}

// serve puts h on a real port and shuts it down when the test ends.
func serve(t *testing.T, h *hub.Hub, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		if err := h.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.URL
}

// TestIdentify: what it returns is the user, or the refusal; a reason that is not
// meant for clients is not told.
func TestIdentify(t *testing.T) {
	tests := []struct {
		name              string
		err               error
		status            int
		retry, code, text string
	}{
		{"a user", nil, 101, "", "", ""},
		{"any error", errors.New("the key is hunter2"), 401, "", "unauthenticated", "who are you? the identity is missing or wrong"},
		{"an error for the client", fmt.Errorf("jwt: %w", message.Errorf(message.Unauthenticated, "the token has expired")), 401, "", "unauthenticated", "the token has expired"},
		{"another code", message.Errorf(message.Denied, "not you"), 401, "", "denied", "not you"},
		{
			"a refusal", fmt.Errorf("limit: %w", &transport.Refusal{Status: 403, Code: "banned", Message: "until noon", RetryAfter: 90 * time.Second}),
			403, "90", "banned", "until noon",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hub.New(&hub.Options{DrainTime: time.Millisecond, Identify: func(*http.Request) (string, error) { return "ana", tt.err }})
			status, retry, code, text := handshake(t, serve(t, h, h))
			if status != tt.status || retry != tt.retry || code != tt.code || text != tt.text {
				t.Errorf("%d %q %q %q", status, retry, code, text)
			}
		})
	}
}

// TestTheUserIsTheServersWord: what a client claims to be is overwritten.
func TestTheUserIsTheServersWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, &hub.Options{Identify: byHeader})
		a, b := dialAs(t, h, "ana"), dialAs(t, h, "")
		a.Join("chat/1", nil)
		b.Join("chat/1", nil)
		e := say.New(text{"hi"})
		e.User, e.From, e.Cursor = "root", "somebody", "7"
		b.Send("chat/1", e)
		if got := a.ExpectType("say"); got.User != "" || got.From != b.ID() || got.Cursor != "" {
			t.Errorf("%+v", got)
		}
		a.Send("chat/1", e)
		if got := b.ExpectType("say"); got.User != "ana" || got.From != a.ID() {
			t.Errorf("%+v", got)
		}
	})
}

// TestAUserIsShortText: what is not UTF-8 cannot be told to anybody, and what is
// long would be in each message, for everybody. The refusal says which it is.
func TestAUserIsShortText(t *testing.T) {
	for _, tt := range []struct {
		user   string
		status int
		text   string
	}{
		{"ana", 101, ""},
		{"änne \"<\n", 101, ""},
		{strings.Repeat("a", 256), 101, ""},
		{strings.Repeat("a", 257), 401, "the user's name has 257 bytes, allowed are 256"},
		{strings.Repeat("ä", 450_000), 401, "the user's name has 900000 bytes, allowed are 256"},
		{"a\xffb", 401, "the user's name is not valid UTF-8"},
		{"\xc0\x80", 401, "the user's name is not valid UTF-8"},
	} {
		h := hub.New(&hub.Options{DrainTime: time.Millisecond, Identify: func(*http.Request) (string, error) { return tt.user, nil }})
		if got, _, _, text := handshake(t, serve(t, h, h)); got != tt.status || text != tt.text {
			t.Errorf("%.20q: %d %q, want %d %q", tt.user, got, text, tt.status, tt.text)
		}
	}
}

func TestMaxPeers(t *testing.T) {
	h := hub.New(&hub.Options{MaxPeers: 2, DrainTime: time.Millisecond, Heartbeat: 30 * time.Second})
	url := serve(t, h, h)
	a, b := webSocket(t, url, ""), webSocket(t, url, "")
	a.received().wait(t, 1) // the welcome: they have their places
	b.received().wait(t, 1)
	status, retry, code, _ := handshake(t, url)
	if status != http.StatusTooManyRequests || retry != "30" || code != "too_many_connections" {
		t.Errorf("%d %q %q", status, retry, code)
	}
	a.cut()
	for h.Stats().Peers == 2 {
		<-time.After(time.Millisecond)
	}
	if status, _, _, _ := handshake(t, url); status != http.StatusSwitchingProtocols {
		t.Errorf("%d after somebody has left", status)
	}
	b.cut()
}

// TestMaxPeersInAStorm: the limit holds for handshakes that come together. Those
// that got past the first check are told when to come back.
func TestMaxPeersInAStorm(t *testing.T) {
	var peers, most, welcomed, turned int
	var mu sync.Mutex
	var storm sync.WaitGroup
	storm.Add(30)
	h := hub.New(&hub.Options{
		MaxPeers: 3,
		Identify: func(*http.Request) (string, error) { // when all are here, all are past the first check
			storm.Done()
			storm.Wait()
			return "", nil
		},
		Connect: func(context.Context, *hub.Peer) {
			mu.Lock()
			defer mu.Unlock()
			peers++
			most = max(most, peers)
		},
		Disconnect: func(*hub.Peer, error) {
			mu.Lock()
			defer mu.Unlock()
			peers--
		},
	})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			conn, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/", nil), nil)
			if err != nil {
				t.Error(err)
				return
			}
			last := turnedAway(t, conn)
			mu.Lock()
			defer mu.Unlock()
			if last == "" {
				welcomed++
				t.Cleanup(conn.Abort)
				return
			}
			turned++
			if last != `bye {"reason":"there are too many connections","retryAfter":25000} server 4004 there are too many connections` {
				t.Errorf("turned away with %s", last)
			}
		})
	}
	wg.Wait()
	if welcomed != 3 || most > 3 || turned != 27 || h.Stats().Peers != 3 {
		t.Errorf("%d welcomed, at most %d at once, %d turned away", welcomed, most, turned)
	}
}

// turnedAway reads what comes behind the welcome, "" if that is a pong: the
// connection is kept.
func turnedAway(t *testing.T, conn *transport.PipeConn) string {
	t.Helper()
	_ = conn.Write(rawFrame(t, []byte(`{"type":"ping"}`), false))
	var said []string
	for {
		m, err := conn.Read()
		if err != nil {
			return strings.Join(append(said, closing(err)), " ")
		}
		e, _ := message.Decode(m.Data, m.Binary)
		m.Release()
		switch e.Type {
		case "welcome":
		case "pong":
			return ""
		default:
			said = append(said, e.Type+" "+string(e.Content.Data))
		}
	}
}

type key struct{}

// TestParametersOutliveTheRequest: what a handler reads from its context is of
// its own connecting request, while chi gives the parameters of that one to
// others.
func TestParametersOutliveTheRequest(t *testing.T) {
	h := hub.New(&hub.Options{DrainTime: time.Millisecond})
	hub.Reply(h, where, func(ctx context.Context, _ *hub.Request, _ string) (string, error) {
		return fmt.Sprint(chi.URLParam(contextRequest(ctx), "tenant"), " ", chi.URLParamFromCtx(ctx, "id"), " ", ctx.Value(key{})), nil
	})
	r := chi.NewRouter()
	r.Use(middleware.Timeout(20*time.Millisecond), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, r.Header.Get("User"))))
		})
	})
	r.Route("/{tenant}", func(r chi.Router) { r.Mount("/ws/{id}", h) })
	r.Get("/{tenant}/page/{id}", func(http.ResponseWriter, *http.Request) {})
	url := serve(t, h, r)
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			n := strconv.Itoa(i)
			c := webSocket(t, url+"/t"+n+"/ws/"+n, "user "+n)
			c.received().wait(t, 1)
			c.received().take()
			for round := range 20 { // longer than the time-out of chi
				r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/other/page/other", nil))
				<-time.After(2 * time.Millisecond)
				c.send(fmt.Appendf(nil, `{"type":"where","id":"%d","content":""}`, round+1), false)
				c.received().wait(t, 1)
				want := fmt.Sprintf(`"content":"t%s %s user %s"`, n, n, n)
				for _, f := range c.received().take() {
					if !strings.Contains(f.data, want) {
						t.Errorf("%s, want %s", f.data, want)
					}
				}
			}
			c.cut()
		})
	}
	wg.Wait()
}

// contextRequest is a request with a context, for functions of chi that want one.
func contextRequest(ctx context.Context) *http.Request {
	return (&http.Request{}).WithContext(ctx)
}

// TestTheRequestsEndIsNotTheConnections, and the connection's context ends with
// its own.
func TestTheRequestsEndIsNotTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.Reply(h, where, func(ctx context.Context, _ *hub.Request, _ string) (string, error) {
			return fmt.Sprint(ctx.Value(key{}), " ", ctx.Err()), nil
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "kept"), time.Second)
		defer cancel()
		c, err := hubtest.DialRequest(t, h, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if got, err := hubtest.Ask(c, "", where, ""); got != "kept <nil>" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		p := h.Peer(c.ID())
		if _, ok := p.Context().Deadline(); ok || p.Context().Err() != nil {
			t.Error("the connection has the request's end")
		}
		c.Close()
		_ = c.Closed()
		synctest.Wait()
		if p.Context().Err() == nil {
			t.Error("the context has not ended with the connection")
		}
	})
}

func TestHandshakesAreRefusedWhileDraining(t *testing.T) {
	h := hub.New(&hub.Options{DrainTime: 1500 * time.Millisecond})
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	status, retry, code, _ := handshake(t, serve(t, h, h))
	if status != http.StatusServiceUnavailable || retry != "2" || code != "draining" {
		t.Errorf("%d %q %q", status, retry, code)
	}
}
