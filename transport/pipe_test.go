package transport_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// connect connects in memory to who does not read.
func connect(t *testing.T, opts *transport.PipeOptions) (server transport.Conn, client *transport.PipeConn) {
	t.Helper()
	conns := make(chan transport.Conn, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		transport.Piped().Serve(w, r, func(*http.Request) (func(transport.Conn), error) {
			return func(c transport.Conn) { conns <- c }, nil
		})
	})
	client, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/", nil), opts)
	if err != nil {
		t.Fatal(err)
	}
	return await(t, "the connection", conns), client
}

func TestMatch(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if transport.Piped().Match(r) || transport.WebSocket(nil).Match(r) {
		t.Error("an ordinary request matches")
	}
	r.Header.Set("Upgrade", "h2c, WebSocket")
	if transport.Piped().Match(r) || !transport.WebSocket(nil).Match(r) {
		t.Error("a WebSocket does not match, or is a pipe")
	}
}

// What a handler says instead of connecting is the error of Pipe.
func TestPipeRefused(t *testing.T) {
	refuse := func(err error) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			transport.Piped().Serve(w, r, func(*http.Request) (func(transport.Conn), error) { return nil, err })
		})
	}
	for _, tt := range []struct {
		name    string
		handler http.Handler
		status  int
		text    string
	}{
		{"not found", http.NotFoundHandler(), 404, "not found"},
		{"nothing", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), 200, ""},
		{"a refusal", refuse(&transport.Refusal{Status: 401, Code: "unauthenticated", Message: "who are you?"}), 401, "who are you?"},
		{"a failure", refuse(errors.New("secret")), 500, "internal error"},
		{"middleware", http.RedirectHandler("/login", http.StatusSeeOther), 303, "See Other"},
		{"JSON of another kind", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"message":"x"}`) }), 200, `{"message":"x"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := transport.Pipe(tt.handler, httptest.NewRequest(http.MethodGet, "/", nil), nil)
			var r *transport.Refusal
			if !errors.As(err, &r) || r.Status != tt.status || !strings.Contains(r.Message, tt.text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A refusal arrives as it was made.
func TestPipeRefusal(t *testing.T) {
	for _, want := range []transport.Refusal{
		{Status: 401, Code: "unauthenticated", Message: `who are "you"?`},
		{Status: 503, Code: "draining", Message: "later", RetryAfter: 7 * time.Second},
		{Status: 429, Code: "too_many"},
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { transport.Refuse(w, &want) })
		_, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/", nil), nil)
		var got *transport.Refusal
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	_, err := transport.Pipe(http.NotFoundHandler(), httptest.NewRequest(http.MethodGet, "/", nil), nil)
	if got, want := err.(*transport.Refusal), (transport.Refusal{Status: 404, Code: "refused", Message: "GET / was answered with 404, and not by a hub: 404 page not found"}); *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestPipeDefaults(t *testing.T) {
	server, client := connect(t, nil)
	if server.Limit() != 64<<10 {
		t.Error(server.Limit())
	}
	f := note{size: 60 << 10}.frame(t)
	for n := 1; client.Write(f) == nil; n++ {
		if n*(60<<10) > 1<<20 {
			t.Fatalf("%d bytes are pending", n*(60<<10))
		}
	}
}

// Both ends close at once: each ends with its own reason.
func TestPipeClosedByBoth(t *testing.T) {
	server, client := connect(t, nil)
	server.Close(1001, "server")
	client.Close(1000, "client")
	_, err := server.Read()
	wantEnd(t, err, transport.CloseError{Code: 1001, Reason: "server", Local: true})
	_, err = client.Read()
	wantEnd(t, err, transport.CloseError{Code: 1000, Reason: "client"})
}

// Both ends say the same about who closed.
func TestPipeWhoClosed(t *testing.T) {
	for _, byServer := range []bool{true, false} {
		server, client := connect(t, nil)
		var one, other transport.Conn = server, client
		if !byServer {
			one, other = other, one
		}
		one.Close(4002, "out")
		for _, c := range []transport.Conn{other, one} {
			_, err := c.Read()
			wantEnd(t, err, transport.CloseError{Code: 4002, Reason: "out", Local: byServer})
		}
	}
}

// A server that does not read keeps no client waiting for ever.
func TestPipeUnansweredClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := connect(t, nil)
		start := time.Now()
		client.Close(1000, "done")
		_, err := client.Read()
		wantEnd(t, err, transport.CloseError{Code: 1000, Reason: "done"})
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
		if _, err := server.Read(); err == nil || code(err) != 0 {
			t.Errorf("the server's end: %v", err)
		}
	})
}

// A frozen end neither reads nor answers, but what is sent to it is not lost.
func TestPipeFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := connect(t, nil)
		client.Freeze(true)
		got := make(chan int, 1)
		go func() { got <- read(t, client) }()
		f := note{n: 1}.frame(t)
		if err := server.Write(f); err != nil {
			t.Fatal(err)
		}
		if err := server.Ping(); err != nil || server.Seen() {
			t.Errorf("a frozen client answers: %v", err)
		}
		synctest.Wait()
		select {
		case <-got:
			t.Error("a frozen client reads")
		default:
		}
		client.Freeze(false)
		if n := <-got; n != len(f.Payload()) {
			t.Errorf("%d bytes", n)
		}
		if err := server.Ping(); err != nil || !server.Seen() {
			t.Errorf("a client that has thawed does not answer: %v", err)
		}
		client.Freeze(true)
		server.Abort() // which a frozen end does notice
		if _, err := client.Read(); err == nil {
			t.Error("it is still there")
		}
		if err := server.Ping(); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("Ping: %v", err)
		}
	})
}

// Errors say what happened, to people.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&transport.CloseError{Code: 1000, Reason: "bye"}, "transport: closed by the client: 1000 bye"},
		{&transport.CloseError{Code: message.CloseSlow, Reason: "slow", Local: true}, "transport: closed by the server: 4003 slow"},
		{&transport.Violation{Code: 1009, Reason: "too long"}, "transport: 1009 too long"},
		{&transport.Refusal{Status: 403, Message: "no"}, "transport: refused: no"},
	} {
		if tt.err.Error() != tt.want {
			t.Errorf("%q, want %q", tt.err, tt.want)
		}
	}
}
