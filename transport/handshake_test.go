package transport_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// request is a good handshake with changes: another first line, a header in the
// place of the one of that name, or "-Name" for one that is left out.
func request(changes ...string) string {
	lines := strings.Split(strings.TrimSuffix(handshake("example.com"), "\r\n\r\n"), "\r\n")
	var more []string
	for _, c := range changes {
		name, _, header := strings.Cut(strings.TrimPrefix(c, "-"), ":")
		same := func(line string) bool { return strings.HasPrefix(line, name+":") }
		switch {
		case strings.Contains(c, " HTTP/1."):
			lines[0] = c
		case strings.HasPrefix(c, "-"):
			lines = slices.DeleteFunc(lines, same)
		case header && slices.ContainsFunc(lines, same):
			lines[slices.IndexFunc(lines, same)] = c
		default:
			more = append(more, c)
		}
	}
	return strings.Join(append(lines, more...), "\r\n") + "\r\n\r\n"
}

// attempt is a handshake and the refusal that it meets; status 101 is none.
type attempt struct {
	name    string
	request string
	status  int
	code    string
}

var attempts = []attempt{
	{"good", request(), 101, ""},
	{"other case", request("Connection: keep-alive, UPGRADE", "Upgrade: WebSocket"), 101, ""},
	{"an empty body", request("Content-Length: 0"), 101, ""},
	{"a key in blanks", request("Sec-WebSocket-Key:  " + key + " "), 101, ""},
	{"no WebSocket", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not_websocket"},
	{"no Connection", request("-Connection"), 400, "not_websocket"},
	{"another Connection", request("Connection: keep-alive"), 400, "not_websocket"},
	{"no Upgrade", request("-Upgrade"), 400, "not_websocket"},
	{"another Upgrade", request("Upgrade: h2c"), 400, "not_websocket"},
	{"an Upgrade that contains it", request("Upgrade: xwebsocket"), 400, "not_websocket"},
	{"POST", request("POST / HTTP/1.1"), 400, "not_websocket"},
	{"PUT", request("PUT / HTTP/1.1"), 400, "not_websocket"},
	{"OPTIONS", request("OPTIONS / HTTP/1.1"), 400, "not_websocket"},
	{"an unknown method", request("BREW / HTTP/1.1"), 400, "not_websocket"},
	{"HTTP/1.0", request("GET / HTTP/1.0"), 400, "http_version"},
	{"no version", request("-Sec-WebSocket-Version"), 426, "websocket_version"},
	{"version 8", request("Sec-WebSocket-Version: 8"), 426, "websocket_version"},
	{"version 14", request("Sec-WebSocket-Version: 14"), 426, "websocket_version"},
	{"version 013", request("Sec-WebSocket-Version: 013"), 426, "websocket_version"},
	{"two versions in one", request("Sec-WebSocket-Version: 13, 8"), 426, "websocket_version"},
	{"no key", request("-Sec-WebSocket-Key"), 400, "websocket_key"},
	{"an empty key", request("Sec-WebSocket-Key: "), 400, "websocket_key"},
	{"two keys", request("sec-websocket-key: " + key), 400, "websocket_key"},
	{"a key of 15 bytes", request("Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1"), 400, "websocket_key"},
	{"a key of 17 bytes", request("Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Njc="), 400, "websocket_key"},
	{"a key that is no base64", request("Sec-WebSocket-Key: !!!!c2FtcGxlIG5vbmNlIQ=="), 400, "websocket_key"},
	{"another subprotocol", request("Sec-WebSocket-Protocol: chat"), 400, "subprotocol"},
	{"a longer subprotocol", request("Sec-WebSocket-Protocol: hubbub.v10, xhubbub.v1"), 400, "subprotocol"},
	{"a thousand subprotocols", request("Sec-WebSocket-Protocol: " + strings.Repeat("a, ,,", 1000)), 400, "subprotocol"},
	{"a body", request("Content-Length: 5"), 400, "body"},
	{"a body in chunks", request("Transfer-Encoding: chunked"), 400, "body"},
	{"a foreign page", request("Origin: https://evil.example"), 403, "origin"},
	{"a page without a name", request("Origin: null"), 403, "origin"},
	{"a page with a huge name", request("Origin: https://" + strings.Repeat("a", 100_000)), 403, "origin"},
	{"nobody", request("GET /401 HTTP/1.1"), 401, "unauthenticated"},
	{"too many", request("GET /429 HTTP/1.1"), 429, "too_many_connections"},
	{"draining", request("GET /503 HTTP/1.1"), 503, "draining"},
	{"a failure", request("GET /500 HTTP/1.1"), 500, "internal"},
}

// refusals are those of an Accept.
var refusals = map[string]error{
	"/401": &transport.Refusal{Status: 401, Code: "unauthenticated", Message: "who?"},
	"/429": &transport.Refusal{Status: 429, Code: "too_many_connections", Message: "later", RetryAfter: 1500 * time.Millisecond},
	"/503": &transport.Refusal{Status: 503, Code: "draining", Message: "later", RetryAfter: 5 * time.Second},
	"/500": errors.New("the database says secret"),
}

// picky serves WebSockets but where refusals has one.
func picky(t *testing.T, m mode) *server {
	t.Helper()
	tr := transport.WebSocket(&transport.WebSocketOptions{Log: quiet})
	return host(t, m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.Serve(w, r, func(r *http.Request) (func(transport.Conn), error) {
			return func(c transport.Conn) { c.Close(message.CloseDone, ""); _, _ = c.Read() }, refusals[r.URL.Path]
		})
	}))
}

func TestHandshake(t *testing.T) {
	for _, m := range []mode{plain, secure} {
		t.Run(string(m), func(t *testing.T) {
			s := picky(t, m)
			for _, tt := range attempts {
				t.Run(tt.name, func(t *testing.T) {
					c := s.raw(t)
					defer c.cut()
					c.put(tt.request)
					if tt.status == http.StatusSwitchingProtocols {
						c.accepted(t, "")
						return
					}
					c.refused(t, tt.status, tt.code)
					if tt.code == "body" {
						return // see TestAnnouncedBody
					}
					if b, err := c.br.ReadByte(); err == nil {
						t.Errorf("behind the refusal came %#x", b)
					}
				})
			}
		})
	}
}

// accepted reads the answer to a good handshake.
func (c *socket) accepted(t *testing.T, protocol string) {
	t.Helper()
	if err := c.upgraded(); err != nil {
		t.Fatal(err)
	}
	h := c.reply.Header
	if !strings.EqualFold(h.Get("Connection"), "upgrade") || !strings.EqualFold(h.Get("Upgrade"), "websocket") ||
		h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || h.Get("Sec-WebSocket-Protocol") != protocol {
		t.Errorf("the answer was %v", h)
	}
}

// refused reads a refusal, which must come at once, and returns what it says.
func (c *socket) refused(t *testing.T, status int, code string) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var body map[string]string
	if err := json.Unmarshal(data, &body); err != nil || len(body) != 2 {
		t.Fatalf("the body is %q: %v", data, err)
	}
	if r.StatusCode != status || body["code"] != code || body["message"] == "" {
		t.Errorf("%s %s, want %d %s", r.Status, data, status, code)
	}
	if !r.Close || r.Header.Get("Content-Type") != "application/json; charset=utf-8" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the headers are %v, and close is %v", r.Header, r.Close)
	}
	if got, want := r.Header.Get("Retry-After"), map[int]string{429: "2", 503: "5"}[status]; got != want {
		t.Errorf("Retry-After is %q, want %q", got, want)
	}
	if v := r.Header.Get("Sec-WebSocket-Version"); (v == "13") != (status == 426) {
		t.Errorf("Sec-WebSocket-Version is %q", v)
	}
	return body["message"]
}

// A body that is announced and never comes holds up no refusal.
func TestAnnouncedBody(t *testing.T) {
	s := picky(t, plain)
	for _, body := range []string{"Content-Length: 5\r\n", "Content-Length: 5000000\r\n", "Transfer-Encoding: chunked\r\n"} {
		for _, tt := range attempts {
			if tt.status == http.StatusSwitchingProtocols || strings.Contains(tt.request, "Content-Length") || strings.Contains(tt.request, "chunked") {
				continue
			}
			t.Run(body[:len(body)-2]+" "+tt.name, func(t *testing.T) {
				c := s.raw(t)
				defer c.cut()
				c.put(strings.TrimSuffix(tt.request, "\r\n") + body + "\r\n")
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				r, err := http.ReadResponse(c.br, nil)
				if err != nil {
					t.Fatal(err)
				}
				if data, err := io.ReadAll(r.Body); r.StatusCode < 400 || !r.Close || !json.Valid(data) || err != nil {
					t.Errorf("%s, close %v, %q, %v", r.Status, r.Close, data, err)
				}
			})
		}
	}
}

// Nor does it keep the connection open for as long as the client likes.
func TestAnnouncedBodyEnds(t *testing.T) {
	t.Parallel()
	c := picky(t, plain).raw(t)
	c.put(request("Content-Length: 5"))
	c.refused(t, 400, "body")
	if _, err := c.br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ends with %v", err)
	}
}

func TestSubprotocol(t *testing.T) {
	s := picky(t, plain)
	for _, tt := range []struct{ name, chosen, headers string }{
		{"none", "", ""},
		{"an empty one", "", "Sec-WebSocket-Protocol:"},
		{"ours", transport.Subprotocol, "Sec-WebSocket-Protocol: hubbub.v1"},
		{"among others", transport.Subprotocol, "Sec-WebSocket-Protocol: chat,hubbub.v1 , superchat"},
		{"in another line", transport.Subprotocol, "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: hubbub.v1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := s.raw(t)
			c.put(request(tt.headers, "X: y"))
			c.accepted(t, tt.chosen)
		})
	}
	c := s.raw(t)
	c.put(request("Sec-WebSocket-Protocol: chat"))
	if m := c.refused(t, 400, "subprotocol"); !strings.Contains(m, "hubbub.v1") {
		t.Errorf("the refusal does not say what is spoken: %s", m)
	}
}

// What net/http refuses by itself is refused, too, if not in JSON.
func TestHugeHeader(t *testing.T) {
	t.Parallel()
	s := picky(t, plain)
	c := s.raw(t)
	go c.put(request("X: " + strings.Repeat("x", 2<<20)))
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(r.Status)
	}
}

// The refusals of a hub.
func TestHubRefusals(t *testing.T) {
	good := func(*http.Request) (string, error) { return "ann", nil }
	for _, tt := range []struct {
		name     string
		identify func(*http.Request) (string, error)
		peers    int
		drain    bool
		status   int
		code     string
	}{
		{"an error", func(*http.Request) (string, error) { return "", errors.New("secret") }, 0, false, 401, "unauthenticated"},
		{"an error for the client", func(*http.Request) (string, error) { return "", message.Errorf(message.Denied, "banned") }, 0, false, 401, "denied"},
		{"a refusal", func(*http.Request) (string, error) {
			return "", &transport.Refusal{Status: 403, Code: "banned", Message: "for good"}
		}, 0, false, 403, "banned"},
		{"full", good, 1, false, 429, "too_many_connections"},
		{"draining", good, 0, true, 503, "draining"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hub.New(&hub.Options{Identify: tt.identify, MaxPeers: tt.peers, Heartbeat: 2 * time.Second, DrainTime: 5 * time.Second, Log: quiet})
			s := host(t, plain, h)
			if tt.peers > 0 {
				c := s.socket(t)
				if got := c.outcome(); !strings.HasPrefix(got, "welcome") {
					t.Fatal(got)
				}
				defer c.cut()
			}
			if tt.drain {
				if err := h.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			c := s.raw(t)
			c.put(request())
			if m := c.refused(t, tt.status, tt.code); strings.Contains(m, "secret") {
				t.Errorf("the client was told %q", m)
			}
		})
	}
}
