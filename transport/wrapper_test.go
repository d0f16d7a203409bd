package transport_test

import (
	"bufio"
	"bytes"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/hubbub-go/hubbub/transport"
)

// hiding is a ResponseWriter that hides what the one inside can do.
type hiding struct{ http.ResponseWriter }

// showing does not hide it from who asks.
type showing struct{ http.ResponseWriter }

func (s showing) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// passing passes Hijack on to one that may not have it, as chi's Compress does.
type passing struct{ showing }

func (p passing) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if h, ok := p.ResponseWriter.(http.Hijacker); ok {
		return h.Hijack()
	}
	return nil, nil, errors.New("not by me")
}

// boasting says that it can be hijacked, and cannot.
type boasting struct{ http.ResponseWriter }

func (boasting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("not today")
}

// keeping keeps a status back until it is asked for it, as gin's does.
type keeping struct {
	showing
	status int
}

func (k *keeping) WriteHeader(status int) { k.status = status }
func (k *keeping) WriteHeaderNow()        { k.showing.WriteHeader(k.status) }

// behind serves what front makes of a transport.
func behind(t *testing.T, front func(http.Handler) http.Handler) *server {
	t.Helper()
	return serve(t, plain, nil, func(s *server) { s.front = front })
}

// greet exchanges a message with a new client.
func greet(t *testing.T, s *server) (*peer, *socket) {
	t.Helper()
	p, c := s.dial(t)
	again(t, p, c.(*socket))
	return p, c.(*socket)
}

func again(t *testing.T, p *peer, c *socket) {
	t.Helper()
	f := note{n: 7}.frame(t)
	c.send(t, f)
	p.write(t, f)
	if a, b := number(t, p.next(t)), number(t, c.next()); a != 7 || b != 7 {
		t.Fatal(a, b)
	}
}

func TestWrappers(t *testing.T) {
	for _, tt := range []struct {
		name string
		wrap func(http.ResponseWriter) http.ResponseWriter
		hide string // the type that the refusal names; "": it works
	}{
		{"none", func(w http.ResponseWriter) http.ResponseWriter { return w }, ""},
		{"showing", func(w http.ResponseWriter) http.ResponseWriter { return showing{w} }, ""},
		{"showing twice", func(w http.ResponseWriter) http.ResponseWriter { return showing{&showing{w}} }, ""},
		{"hiding", func(w http.ResponseWriter) http.ResponseWriter { return hiding{w} }, "transport_test.hiding"},
		{"passing", func(w http.ResponseWriter) http.ResponseWriter { return passing{showing{w}} }, ""},
		{"keeping", func(w http.ResponseWriter) http.ResponseWriter { return &keeping{showing: showing{w}} }, ""},
		{"hiding inside one that passes", func(w http.ResponseWriter) http.ResponseWriter { return passing{showing{hiding{w}}} }, "transport_test.hiding"},
		{"hiding inside", func(w http.ResponseWriter) http.ResponseWriter { return showing{&hiding{w}} }, "*transport_test.hiding"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := behind(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(tt.wrap(w), r) })
			})
			if tt.hide == "" {
				greet(t, s)
				return
			}
			c := s.raw(t)
			c.put(request())
			if m := c.refused(t, 501, "no_hijacker"); !strings.Contains(m, " "+tt.hide+",") {
				t.Errorf("the refusal does not name %s: %s", tt.hide, m)
			}
		})
	}
	t.Run("hiding inside chi's Compress", func(t *testing.T) {
		s := behind(t, func(h http.Handler) http.Handler {
			h = middleware.Compress(5)(h)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(hiding{w}, r) })
		})
		c := s.raw(t)
		c.put(request())
		if m := c.refused(t, 501, "no_hijacker"); !strings.Contains(m, " transport_test.hiding,") {
			t.Error(m)
		}
	})
	t.Run("TimeoutHandler", func(t *testing.T) {
		s := behind(t, func(h http.Handler) http.Handler { return http.TimeoutHandler(h, patience, "") })
		c := s.raw(t)
		c.put(request())
		if m := c.refused(t, 501, "no_hijacker"); !strings.Contains(m, "*http.timeoutWriter") {
			t.Error(m)
		}
	})
}

// delegating passes Hijack on, if it can, and does not show to whom, as wrappers do
// that log the status.
type delegating struct{ http.ResponseWriter }

func (d delegating) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(d.ResponseWriter).Hijack()
}

// One that breaks its word is found out before anything was said.
func TestBrokenWrapper(t *testing.T) {
	wrapping := func(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) })
		}
	}
	boasts := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return boasting{w} })
	delegates := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return delegating{w} })
	shows := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return showing{w} })
	for _, tt := range []struct {
		name   string
		front  func(http.Handler) http.Handler
		broken string // the type that the refusal names; "": it works
	}{
		{"boasting", boasts, "transport_test.boasting"},
		{"boasting inside", func(h http.Handler) http.Handler { return boasts(shows(h)) }, "transport_test.boasting"},
		{"delegating", delegates, ""},
		{"delegating inside", func(h http.Handler) http.Handler { return delegates(shows(h)) }, ""},
		{"delegating inside TimeoutHandler", func(h http.Handler) http.Handler {
			return http.TimeoutHandler(delegates(h), patience, "")
		}, "transport_test.delegating"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settled := resources(t)
			t.Run("server", func(t *testing.T) {
				var said recorder
				s := serve(t, plain, nil, func(s *server) {
					s.front, s.log = tt.front, slog.New(slog.NewTextHandler(&said, nil))
				})
				if tt.broken == "" {
					greet(t, s)
					return
				}
				c := s.raw(t)
				c.put(request("Sec-WebSocket-Protocol: hubbub.v1"))
				if m := c.refused(t, 501, "no_hijacker"); !strings.Contains(m, " "+tt.broken+",") {
					t.Errorf("the refusal does not name %s: %s", tt.broken, m)
				}
				if got := said.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, tt.broken) {
					t.Errorf("the log is %q", got)
				}
				select {
				case <-s.peers:
					t.Error("there is a connection")
				default:
				}
			})
			settled(t)
		})
	}
}

// What prevents a connection over the network prevents one in memory: a test must not
// pass where production answers 501.
func TestWrappersOfAPipe(t *testing.T) {
	for _, tt := range []struct {
		name string
		wrap func(http.ResponseWriter) http.ResponseWriter
		hide string // the type that the refusal names; "": it works
	}{
		{"none", func(w http.ResponseWriter) http.ResponseWriter { return w }, ""},
		{"showing", func(w http.ResponseWriter) http.ResponseWriter { return showing{w} }, ""},
		{"passing", func(w http.ResponseWriter) http.ResponseWriter { return passing{showing{w}} }, ""},
		{"delegating", func(w http.ResponseWriter) http.ResponseWriter { return delegating{w} }, ""},
		{"hiding", func(w http.ResponseWriter) http.ResponseWriter { return showing{hiding{w}} }, "transport_test.hiding"},
		{"boasting", func(w http.ResponseWriter) http.ResponseWriter { return boasting{w} }, "transport_test.boasting"},
		{"hiding inside one that delegates", func(w http.ResponseWriter) http.ResponseWriter { return delegating{hiding{w}} }, "transport_test.delegating"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				transport.Piped().Serve(tt.wrap(w), r, func(*http.Request) (func(transport.Conn), error) {
					return func(transport.Conn) {}, nil
				})
			})
			_, err := transport.Pipe(h, httptest.NewRequest(http.MethodGet, "/", nil), nil)
			if tt.hide == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var r *transport.Refusal
			if !errors.As(err, &r) || r.Status != 501 || r.Code != "no_hijacker" || !strings.Contains(r.Message, " "+tt.hide+",") {
				t.Errorf("%v, want a 501 that names %s", err, tt.hide)
			}
		})
	}
}

// late has both methods, and fails when the middleware has seen the status.
type late struct {
	boasting
	showing
}

func (l late) Header() http.Header         { return l.showing.Header() }
func (l late) Write(p []byte) (int, error) { return l.showing.Write(p) }
func (l late) WriteHeader(status int)      { l.showing.WriteHeader(status) }

// One that has net/http's writer inside and still fails has said 101. The client then
// has a dead connection, but the server nothing that is left over, and a line in the log.
func TestLateWrapper(t *testing.T) {
	settled := resources(t)
	t.Run("server", func(t *testing.T) {
		var said recorder
		s := serve(t, plain, nil, func(s *server) {
			s.log = slog.New(slog.NewTextHandler(&said, nil))
			s.front = func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					h.ServeHTTP(late{showing: showing{w}}, r)
				})
			}
		})
		c := s.raw(t)
		c.put(request("Sec-WebSocket-Protocol: hubbub.v1"))
		_ = c.upgraded()
		eventually(t, "the log", func() bool { return strings.Contains(said.String(), "not today") })
	})
	settled(t)
}

// recorder is a log that is read when all is over.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// chi's middleware may stand in front, alone or all of it. The connection
// outlives the request and its timeout, and gives its place in the queue back.
func TestChi(t *testing.T) {
	var requests recorder
	stack := map[string]func(http.Handler) http.Handler{
		"Timeout":   middleware.Timeout(time.Millisecond),
		"Logger":    middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(&requests, "", 0), NoColor: true}),
		"Compress":  middleware.Compress(5),
		"Recoverer": middleware.Recoverer,
		"Throttle":  middleware.Throttle(1),
		"RequestID": middleware.RequestID,
		"Heartbeat": middleware.Heartbeat("/healthz"),
	}
	try := func(t *testing.T, all ...func(http.Handler) http.Handler) {
		t.Helper()
		ended, over := make(chan (<-chan struct{}), 2), make(chan struct{}, 2)
		s := behind(t, func(h http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Use(all...)
			r.Mount("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ended <- r.Context().Done()
				h.ServeHTTP(w, r)
			}))
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				defer func() { over <- struct{}{} }()
				r.ServeHTTP(w, req)
			})
		})
		p, c := greet(t, s)
		await(t, "the end of the request", await(t, "the request", ended))
		await(t, "the end of its middleware", over)
		q, d := greet(t, s)
		again(t, p, c)
		again(t, q, d)
	}
	var all []func(http.Handler) http.Handler
	for name, mw := range stack {
		all = append(all, mw)
		t.Run(name, func(t *testing.T) { try(t, mw) })
	}
	t.Run("all", func(t *testing.T) { try(t, all...) })
	eventually(t, "the log of each request", func() bool { return strings.Count(requests.String(), " 101 ") == 4 })
}

// The deadlines of net/http end with the handshake.
func TestServerTimeouts(t *testing.T) {
	t.Parallel()
	const timeout = time.Second // a handshake takes a while on a machine that is busy
	for _, m := range sockets {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			s := serve(t, m, nil, func(s *server) { s.timeout = timeout })
			p, c := greet(t, s)
			c.silent(t, 2*timeout)
			again(t, p, c)
		})
	}
}
