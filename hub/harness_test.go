package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

type text struct {
	Body string `json:"body"`
}

const (
	say  message.Kind[text]         = "say"
	note message.Kind[string]       = "note"
	sum  message.Call[[]int, int]   = "sum"
	sure message.Call[string, bool] = "sure"
)

// newHub returns a hub in which nobody may be left when the test has ended. The
// test runs in a bubble.
func newHub(t *testing.T, opts *hub.Options) *hub.Hub {
	t.Helper()
	h := hub.New(opts)
	t.Cleanup(func() {
		synctest.Wait()
		if s := h.Stats(); s != (hub.Stats{}) {
			t.Errorf("at the end of the test the hub has %+v", s)
		}
	})
	return h
}

// chatHub has rooms chat/{id} in which say goes to the others.
func chatHub(t *testing.T, opts *hub.Options) *hub.Hub {
	t.Helper()
	h := newHub(t, opts)
	hub.On(h.Rooms("chat/{id}", nil), say, toOthers)
	return h
}

func toOthers(ctx context.Context, r *hub.Request, in text) error { return r.Others(ctx, say.New(in)) }

// dialAs connects as a user, for hubs whose Identify is byHeader.
func dialAs(t *testing.T, h http.Handler, user string) *hubtest.Client {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("User", user)
	c, err := hubtest.DialRequest(t, h, r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func byHeader(r *http.Request) (string, error) { return r.Header.Get("User"), nil }

// dialN connects n clients.
func dialN(t *testing.T, h http.Handler, n int) []*hubtest.Client {
	t.Helper()
	all := make([]*hubtest.Client, n)
	for i := range all {
		all[i] = hubtest.Dial(t, h)
	}
	return all
}

// codeOf is the code that a client was refused with; "" means that it was not.
func codeOf(err error) message.Code {
	if e, ok := errors.AsType[*message.Error](err); ok {
		return e.Code
	}
	return ""
}

// wantCode fails the test unless err is a refusal with that code.
func wantCode(t *testing.T, err error, want message.Code) {
	t.Helper()
	if got := codeOf(err); got != want {
		t.Fatalf("code %q (%v), want %q", got, err, want)
	}
}

// wantPanic runs do, which must panic with a sentence that contains part.
func wantPanic(t *testing.T, part string, do func()) {
	t.Helper()
	defer func() {
		t.Helper()
		v := recover()
		if s, _ := v.(string); s == "" || !strings.Contains(s, part) {
			t.Errorf("panic %v, want a sentence with %q", v, part)
		}
	}()
	do()
}

// receive waits for v from a channel; the bubble, or the test's own end, bounds
// the time.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// content decodes the content of a message.
func content[T any](t *testing.T, e message.Envelope) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(e.Content.Data, &v); err != nil {
		t.Fatalf("%s: %v", e.Content.Data, err)
	}
	return v
}

// bodies takes n messages of kind say from a client.
func bodies(c *hubtest.Client, n int) string {
	var all []string
	for range n {
		all = append(all, hubtest.Expect(c, say).Body)
	}
	return strings.Join(all, " ")
}

// logbook keeps what is logged.
type logbook struct {
	mu      sync.Mutex
	records []slog.Record
}

func (l *logbook) logger() *slog.Logger { return slog.New(l) }

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r.Clone())
	return nil
}

func (l *logbook) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logbook) WithGroup(string) slog.Handler      { return l }

// lines are the records as text, with their attributes.
func (l *logbook) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, r := range l.records {
		s := r.Level.String() + " " + r.Message
		r.Attrs(func(a slog.Attr) bool { s += " " + a.String(); return true })
		all = append(all, s)
	}
	return all
}

// wantLines fails the test unless the log has exactly these, each given as parts
// of its line.
func (l *logbook) wantLines(t *testing.T, want ...[]string) {
	t.Helper()
	lines := l.lines()
	if len(lines) != len(want) {
		t.Fatalf("%d lines in the log, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %q has no %q", lines[i], part)
			}
		}
	}
}
