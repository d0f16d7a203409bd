package hub_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/transport"
)

// quietConn is the connection of a client that is silent between its messages.
type quietConn struct {
	puppet
	come *string // what Wait has met
}

func (c *quietConn) Serve(_ http.ResponseWriter, r *http.Request, accept transport.Accept) {
	if run, err := accept(r); err == nil {
		run(c)
	}
}

func (c *quietConn) Wait() bool {
	if s, ok := <-c.feed; ok {
		c.come = &s
	}
	return true
}

func (c *quietConn) Read() (*transport.Message, error) {
	switch s := c.come; {
	case s != nil:
		c.come = nil
		return &transport.Message{Data: []byte(*s)}, nil
	case c.writes.Load() == 0: // of the puppet: never welcomed
		return nil, io.ErrUnexpectedEOF
	}
	select {
	case <-c.feed: // closed
		return nil, io.EOF
	default:
		return nil, transport.ErrIdle
	}
}

// goroutine is the name of the one that calls it.
func goroutine() string {
	b := make([]byte, 64)
	return strings.Fields(string(b[:runtime.Stack(b, false)]))[1]
}

// TestSpareReader: messages that come one at a time, each after a silence and each
// from another client, are handled by one goroutine. It ends soon after the last
// one, and at once where the hub does.
func TestSpareReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var by []string
		conns := []*quietConn{{}, {}, {}}
		var transports []transport.Transport
		for _, c := range conns {
			c.puppet = puppet{feed: make(chan string), cut: make(chan struct{})}
			transports = append(transports, c)
		}
		next := &oneAfterAnother{all: transports}
		h := hub.New(&hub.Options{Transports: []transport.Transport{next}})
		hub.On(h, "work", func(context.Context, *hub.Request, struct{}) error {
			by = append(by, goroutine())
			return nil
		})
		for range conns {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}
		say := func(n int) {
			conns[n%len(conns)].feed <- `{"type":"work","content":{}}`
			synctest.Wait()
		}
		for n := range 12 {
			say(n)
		}
		if len(by) != 12 || by[0] != by[11] || by[0] != by[5] {
			t.Errorf("handled by %q", by)
		}
		<-time.After(time.Second)
		say(12)
		if by[12] == by[0] {
			t.Errorf("handled by %q, which had nothing to do for a second", by[12])
		}
		for _, c := range conns[1:] {
			close(c.feed)
		}
		say(12) // the spare reader waits now
		began := time.Now()
		close(conns[0].feed)
		if err := h.Shutdown(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// oneAfterAnother is a different transport for each request.
type oneAfterAnother struct{ all []transport.Transport }

func (o *oneAfterAnother) Match(*http.Request) bool { return true }

func (o *oneAfterAnother) Serve(w http.ResponseWriter, r *http.Request, accept transport.Accept) {
	o.all[0].Serve(w, r, accept)
	o.all = o.all[1:]
}
