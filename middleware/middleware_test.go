package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/middleware"
)

const work message.Kind[string] = "work"

func code(t *testing.T, c *hubtest.Client, content string) message.Code {
	t.Helper()
	_, err := c.Request("", work.New(content))
	if e, ok := errors.AsType[*message.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(nil)
		h.Use(middleware.Timeout(time.Second))
		hub.On(h, work, func(ctx context.Context, _ *hub.Request, in string) error {
			if in == "slow" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		c := hubtest.Dial(t, h)
		start := time.Now()
		if got := code(t, c, "slow"); got != message.Timeout || time.Since(start) != time.Second {
			t.Fatalf("%q after %v", got, time.Since(start))
		}
		if got := code(t, c, "quick"); got != "" {
			t.Fatalf("the next message: %q", got)
		}
	})
}

func TestRequireUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(&hub.Options{Identify: func(r *http.Request) (string, error) { return r.Header.Get("User"), nil }})
		h.Use(middleware.RequireUser())
		hub.On(h, work, func(context.Context, *hub.Request, string) error { return nil })
		if got := code(t, hubtest.Dial(t, h), "x"); got != message.Unauthenticated {
			t.Fatalf("anonymous: %q", got)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("User", "ada")
		c, err := hubtest.DialRequest(t, h, r)
		if err != nil {
			t.Fatal(err)
		}
		if got := code(t, c, "x"); got != "" {
			t.Fatalf("ada: %q", got)
		}
	})
}

func TestLogKeepsContentsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		h := hub.New(nil)
		h.Use(middleware.Log(log))
		hub.On(h, work, func(_ context.Context, _ *hub.Request, in string) error {
			if in == "no" {
				return message.Errorf(message.Denied, "no")
			}
			return nil
		})
		c := hubtest.Dial(t, h)
		code(t, c, "secret")
		code(t, c, "no")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "level=DEBUG") || !strings.Contains(lines[1], "level=INFO") ||
			!strings.Contains(lines[1], "code=denied") || strings.Contains(out.String(), "secret") {
			t.Fatalf("logged:\n%s", out.String())
		}
	})
}
