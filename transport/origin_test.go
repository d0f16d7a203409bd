package transport_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/hubbub-go/hubbub/transport"
)

// visit asks for a connection as a page would. A ResponseWriter that cannot be
// hijacked is found out after the Origin, so 501 means that it was fine.
func visit(opts transport.WebSocketOptions, host, local string, origins ...string) (status int, body string) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = host
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key}, "Origin": origins,
	}
	if local != "" {
		addr, _ := net.ResolveTCPAddr("tcp", local)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(addr)))
	}
	if opts.Log == nil {
		opts.Log = quiet
	}
	w := httptest.NewRecorder()
	transport.WebSocket(&opts).Serve(w, r, nil)
	return w.Code, w.Body.String()
}

func TestOrigins(t *testing.T) {
	const yes, no = http.StatusNotImplemented, http.StatusForbidden
	for _, tt := range []struct {
		allowed, host, origin string
		status                int
	}{
		// The request's own host, whatever its scheme behind a proxy.
		{"", "example.com", "https://example.com", yes},
		{"", "example.com", "http://example.com", yes},
		{"", "example.com", "https://EXAMPLE.com", yes},
		{"", "example.com:8443", "https://example.com:8443", yes},
		{"", "[2001:db8::1]:8443", "https://[2001:db8::1]:8443", yes},
		{"", "example.com:443", "https://example.com", yes}, // as nginx's $host:$server_port
		{"", "example.com:80", "http://example.com", yes},
		{"", "example.com", "https://example.com:443", yes},
		{"", "[2001:db8::1]:443", "https://[2001:db8::1]", yes},
		{"", "example.com:443", "http://example.com", no},
		{"", "example.com:80", "https://example.com", no},
		{"", "example.com:443", "https://example.com:80", no},
		{"", "example.com:443", "https://evil.com", no},
		{"", "example.com:443", "https://example.com:8443", no},
		{"", "[2001:db8::443]", "https://[2001:db8::]", no},
		{"", "example.com", "https://example.com:8443", no},
		{"", "example.com:8443", "https://example.com", no},
		{"", "example.com:8443", "https://example.com:9443", no},
		{"", "example.com", "https://evilexample.com", no},
		{"", "example.com", "https://example.com.evil.com", no},
		{"", "example.com", "https://sub.example.com", no},
		{"", "example.com", "https://com", no},
		{"", "example.com", "https://example.com.", no},
		{"", "example.com", "https://ex\u0430mple.com", no}, // Cyrillic
		{"", "example.com", "null", no},
		{"", "example.com", "", no},
		{"", "example.com", "example.com", no},
		{"", "example.com", "//example.com/", no},
		{"", "example.com", "https://example.com/", no},
		{"", "example.com", "https://example.com/path", no},
		{"", "example.com", "https://user@example.com", no},
		{"", "example.com", "https://user:secret@example.com", no},
		{"", "example.com", "https://example.com@evil.com", no},
		{"", "example.com", "https://evil.com/example.com", no},
		{"", "example.com", "https://evil.com#example.com", no},
		{"", "example.com", "https://evil.com\\example.com", no},
		{"", "example.com", "https://example.com%00.evil.com", no},
		{"", "example.com", "file://", no},
		{"", "example.com", "https://", no},
		{"", "example.com", "https://exam ple.com", no},
		{"", "[2001:db8::1]", "https://[2001:db8::2]", no},
		{"", "[2001:db8::1]", "https://[2001:db8::1", no},

		{"app.example.com", "api.example.com", "https://app.example.com", yes},
		{"app.example.com", "api.example.com", "http://app.example.com", yes},
		{"app.example.com", "api.example.com", "https://APP.example.COM", yes},
		{"App.Example.com", "api.example.com", "https://app.example.com", yes},
		{"app.example.com", "api.example.com", "https://app.example.com:443", yes},
		{"app.example.com", "api.example.com", "http://app.example.com:80", yes},
		{"app.example.com", "api.example.com", "https://app.example.com:80", no},
		{"app.example.com", "api.example.com", "https://app.example.com:8443", no},
		{"app.example.com", "api.example.com", "https://xapp.example.com", no},
		{"app.example.com", "api.example.com", "https://x.app.example.com", no},
		{"app.example.com", "api.example.com", "https://app.example.com.evil.com", no},
		{"app.example.com", "api.example.com", "https://app.example.com@evil.com", no},
		{"app.example.com", "api.example.com", "https://evil.com?app.example.com", no},
		{"app.example.com", "api.example.com", "null", no},

		{"https://app.example.com", "api.example.com", "https://app.example.com", yes},
		{"HTTPS://app.example.com", "api.example.com", "https://app.example.com", yes},
		{"https://app.example.com", "api.example.com", "HTTPS://app.example.com", yes},
		{"https://app.example.com", "api.example.com", "http://app.example.com", no},
		{"https://app.example.com", "api.example.com", "http://app.example.com:443", no},
		{"https://app.example.com", "api.example.com", "https://evil.com", no},
		{"capacitor://app", "api.example.com", "capacitor://app", yes},
		{"capacitor://app", "api.example.com", "https://app", no},

		{"app.example.com:8443", "api.example.com", "https://app.example.com:8443", yes},
		{"app.example.com:8443", "api.example.com", "https://app.example.com", no},
		{"app.example.com:8443", "api.example.com", "https://app.example.com:84", no},
		{"app.example.com:8443", "api.example.com", "https://app.example.com:84430", no},

		{"https://app.example.com:443", "api.example.com", "https://app.example.com", yes},
		{"https://app.example.com:443", "api.example.com", "https://app.example.com:443", yes},
		{"https://app.example.com:443", "api.example.com", "https://app.example.com:8443", no},
		{"http://app.example.com:80", "api.example.com", "http://app.example.com", yes},
		{"app.example.com:443", "api.example.com", "https://app.example.com", yes},
		{"app.example.com:443", "api.example.com", "http://app.example.com", no},
		{"app.example.com:443", "api.example.com", "http://app.example.com:443", yes},
		{"https://*.example.com:443", "api.test", "https://a.example.com", yes},
		{"[2001:db8::1]:443", "api.test", "https://[2001:db8::1]", yes},
		{"2001:db8::443", "api.test", "https://[2001:db8::443]", yes},

		{"*.example.com", "api.test", "https://a.example.com", yes},
		{"*.example.com", "api.test", "https://a.b.example.com", yes},
		{"*.example.com", "api.test", "https://A.EXAMPLE.com", yes},
		{"*.example.com", "api.test", "https://example.com", no},
		{"*.example.com", "api.test", "https://evilexample.com", no},
		{"*.example.com", "api.test", "https://.example.com", no},
		{"*.example.com", "api.test", "https://a.example.com.evil.com", no},
		{"*.example.com", "api.test", "https://a.example.com:8443", no},
		{"*.example.com", "api.test", "https://evil.com/.example.com", no},
		{"https://*.example.com:8443", "api.test", "https://a.example.com:8443", yes},
		{"https://*.example.com:8443", "api.test", "http://a.example.com:8443", no},
		{"https://*.example.com:8443", "api.test", "https://a.example.com", no},
		{"https://*.example.com:8443", "api.test", "https://evilexample.com:8443", no},

		{"[2001:db8::1]", "api.test", "https://[2001:db8::1]", yes},
		{"2001:db8::1", "api.test", "https://[2001:db8::1]", yes},
		{"[2001:db8::1]", "api.test", "https://[2001:db8::1]:8443", no},
		{"[2001:db8::1]:8443", "api.test", "https://[2001:db8::1]:8443", yes},
		{"[2001:db8::1]:8443", "api.test", "https://[2001:db8::1]", no},
		{"[2001:db8::1]", "api.test", "https://[2001:db8::11]", no},

		{"*.com", "api.test", "null", no},
	} {
		opts := transport.WebSocketOptions{Origins: []string{"other.test", tt.allowed}}
		if tt.allowed == "" {
			opts.Origins = nil
		}
		if status, body := visit(opts, tt.host, "", tt.origin); status != tt.status {
			t.Errorf("%q at %q, allowed %q: %d %s", tt.origin, tt.host, tt.allowed, status, body)
		}
		opts.InsecureSkipOrigin = true
		if status, body := visit(opts, tt.host, "", tt.origin); status != yes {
			t.Errorf("%q with InsecureSkipOrigin: %d %s", tt.origin, status, body)
		}
	}
	if status, body := visit(transport.WebSocketOptions{}, "example.com", ""); status != yes {
		t.Errorf("no Origin: %d %s", status, body)
	}
	if status, body := visit(transport.WebSocketOptions{}, "example.com", "", "https://example.com", "https://example.com"); status != no || !strings.Contains(body, "this one has 2") {
		t.Errorf("two Origins: %d %s", status, body)
	}
}

// An entry that could never admit anybody is a mistake, which is told at once.
func TestOriginsAreChecked(t *testing.T) {
	for _, entry := range []string{
		"", " ", "*", "*example.com", "*.", "*.*.com", "ex*mple.com", "https://", "https://*", "https://example.com/",
		"example.com/path", "example.com?x", "example.com#x", "user@example.com", " example.com", "exam ple.com",
		"?.example.com", "bücher.de", "example.com\n", "https://https://example.com", "[2001:db8::1", "://example.com",
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, "transport: the Origin "+strconv.Quote(entry)) {
					t.Errorf("%q: %q", entry, said)
				}
			}()
			transport.WebSocket(&transport.WebSocketOptions{Origins: []string{"example.com", entry}})
		}()
	}
}

// A development server on another port of this machine may connect, as long as
// all three, page, host and server, are of this machine.
func TestDevelopment(t *testing.T) {
	const yes, no = http.StatusNotImplemented, http.StatusForbidden
	for _, tt := range []struct {
		local, host, origin string
		status              int
	}{
		{"127.0.0.1:8080", "localhost:8080", "http://localhost:5173", yes},
		{"127.0.0.1:8080", "127.0.0.1:8080", "http://localhost:5173", yes},
		{"127.0.0.1:8080", "localhost:8080", "http://127.0.0.1:5173", yes},
		{"127.0.0.1:8080", "LOCALHOST:8080", "http://Localhost", yes},
		{"[::1]:8080", "[::1]:8080", "http://[::1]:5173", yes},
		{"[::1]:8080", "[::1]:8080", "http://127.9.9.9:5173", yes},
		{"127.0.0.1:8080", "localhost", "http://localhost:5173", yes},
		{"", "localhost:8080", "http://localhost:5173", no},
		{"192.0.2.1:8080", "localhost:8080", "http://localhost:5173", no},
		{"127.0.0.1:8080", "example.com", "http://localhost:5173", no}, // behind a proxy, or rebound
		{"127.0.0.1:8080", "localhost:8080", "http://example.com", no},
		{"127.0.0.1:8080", "localhost:8080", "http://localhost.evil.com", no},
		{"127.0.0.1:8080", "localhost:8080", "http://127.0.0.1.evil.com", no},
		{"127.0.0.1:8080", "localhost.evil.com", "http://localhost:5173", no},
		{"127.0.0.1:8080", "localhost:8080", "http://192.0.2.1", no},
		{"127.0.0.1:8080", "localhost:8080", "http://user@localhost:5173", no},
		{"127.0.0.1:8080", "localhost:8080", "null", no},
	} {
		if status, body := visit(transport.WebSocketOptions{}, tt.host, tt.local, tt.origin); status != tt.status {
			t.Errorf("%q at %q on %q: %d %s", tt.origin, tt.host, tt.local, status, body)
		}
	}
}

// Whoever runs the server learns from one line of the log what was compared and
// which option it is; so does the answer's reader.
func TestOriginRefusal(t *testing.T) {
	var log bytes.Buffer
	opts := transport.WebSocketOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}
	_, body := visit(opts, "example.com:8443", "", "https://app.test\nlevel=ERROR")
	for _, text := range []string{body, log.String()} {
		for _, want := range []string{"app.test", "example.com:8443", "WebSocketOptions.Origins"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in %s", want, text)
			}
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("the log has %d lines:\n%s", n, log.String())
	}
	log.Reset()
	_, body = visit(opts, "example.com", "", "https://"+strings.Repeat("a", 100_000))
	if len(body) > 2000 || log.Len() > 2000 {
		t.Errorf("%d bytes of answer and %d of log", len(body), log.Len())
	}
}
