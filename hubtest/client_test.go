package hubtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// judge is a testing.TB that notes a failure instead of failing.
type judge struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (j *judge) Errorf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.said = append(j.said, fmt.Sprintf(format, args...))
}

func (j *judge) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	runtime.Goexit()
}

func (j *judge) Fatal(args ...any) { j.Fatalf("%s", fmt.Sprint(args...)) }
func (j *judge) Helper()           {}

// failure runs a test that is meant to fail and returns what it says, and after
// how long.
func failure(t *testing.T, test func(testing.TB)) (string, time.Duration) {
	t.Helper()
	j, start, done := &judge{TB: t}, time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		test(j)
	}()
	<-done
	return strings.Join(j.said, "\n"), time.Since(start)
}

// TestWhatIsNotAsExpectedFails, says what there is instead, and takes no longer
// than it must.
func TestWhatIsNotAsExpectedFails(t *testing.T) {
	tests := []struct {
		name  string
		test  func(t testing.TB, h *hub.Hub)
		want  []string
		after time.Duration
	}{
		{"nothing comes", func(t testing.TB, h *hub.Hub) { hubtest.Expect(hubtest.Dial(t, h), say) }, []string{`expected "chat.say"`}, 5 * time.Second},
		{"another type comes", func(t testing.TB, h *hub.Hub) {
			c := hubtest.Dial(t, h)
			_ = h.Broadcast(context.Background(), message.New("other", "thing"))
			c.ExpectType("chat.say")
		}, []string{`expected "chat.say"`, `there is "other" in room "": "thing"`}, 5 * time.Second},
		{"the connection ends", func(t testing.TB, h *hub.Hub) {
			c := hubtest.Dial(t, h)
			h.Peer(c.ID()).Close(4002, "out")
			c.ExpectType("bye")
			c.Next()
		}, []string{"expected a message", "the connection has ended", "closed by the server: 4002 out"}, 0},
		{"something comes", func(t testing.TB, h *hub.Hub) {
			c := hubtest.Dial(t, h)
			time.AfterFunc(10*time.Millisecond, func() { _ = h.Broadcast(context.Background(), message.New("news", 1)) })
			c.ExpectNone()
		}, []string{`expected nothing, got "news" in room "": 1`}, 10 * time.Millisecond},
		{"content of another form", func(t testing.TB, h *hub.Hub) {
			c := hubtest.Dial(t, h)
			_ = h.Broadcast(context.Background(), message.New("chat.say", 7))
			hubtest.Expect(c, say)
		}, []string{`the content of "chat.say"`, "cannot be a number"}, 0},
		{"an answer of another form", func(t testing.TB, h *hub.Hub) {
			_, _ = hubtest.Ask(hubtest.Dial(t, h), "", message.Call[string, int]("echo"), "x")
		}, []string{`the answer to "echo"`, "cannot be a string"}, 0},
		{"no answer", func(t testing.TB, h *hub.Hub) {
			_, _ = hubtest.Dial(t, h).Request("", message.New("slow", nil))
		}, []string{`no answer to "slow"`}, 5 * time.Second},
		{"a join is refused", func(t testing.TB, h *hub.Hub) { hubtest.Dial(t, h).Join("closed", nil) }, []string{`joining "closed"`, "denied: keep out"}, 0},
		{"a leave is refused", func(t testing.TB, h *hub.Hub) { hubtest.Dial(t, h).Leave("") }, []string{`leaving ""`, "a leave names a room"}, 0},
		{"the connection does not end", func(t testing.TB, h *hub.Hub) { _ = hubtest.Dial(t, h).Closed() }, []string{"expected the connection to end"}, 10 * time.Second},
		{"what cannot be encoded", func(t testing.TB, h *hub.Hub) { hubtest.Dial(t, h).Send("", message.New("x", func() {})) }, []string{`sending "x"`, "cannot be encoded"}, 0},
		{"a hub inside what hides its connection", func(t testing.TB, h *hub.Hub) {
			hubtest.Dial(t, http.TimeoutHandler(h, time.Minute, ""))
		}, []string{"Dial", "*http.timeoutWriter"}, 0},
		{"no hub", func(t testing.TB, _ *hub.Hub) { hubtest.Dial(t, http.NotFoundHandler()) }, []string{"Dial", "GET / was answered with 404, and not by a hub: 404 page not found", "use DialRequest"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, after := failure(t, func(tb testing.TB) { tt.test(tb, failing()) })
				for _, part := range tt.want {
					if !strings.Contains(got, part) {
						t.Errorf("it says %q, not %q", got, part)
					}
				}
				if after != tt.after {
					t.Errorf("after %v, want %v", after, tt.after)
				}
			})
		})
	}
}

// failing is a hub with what the tests above stumble over.
func failing() *hub.Hub {
	h := hub.New(nil)
	h.Rooms("closed", &hub.Rule{Join: func(context.Context, *hub.Request) (any, error) {
		return nil, message.Errorf(message.Denied, "keep out")
	}})
	hub.Reply(h, message.Call[string, string]("echo"), func(_ context.Context, _ *hub.Request, s string) (string, error) { return s, nil })
	hub.On(h, message.Kind[struct{}]("slow"), func(ctx context.Context, _ *hub.Request, _ struct{}) error {
		<-ctx.Done()
		return nil
	})
	return h
}

func TestDialRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(&hub.Options{Identify: func(r *http.Request) (string, error) {
			if r.URL.Query().Get("token") != "right" {
				return "", message.Errorf(message.Unauthenticated, "wrong token")
			}
			return "ada", nil
		}})
		mux := http.NewServeMux()
		mux.Handle("/ws", h)
		c, err := hubtest.DialRequest(t, mux, httptest.NewRequest(http.MethodGet, "/ws?token=right", nil))
		if err != nil || h.Peer(c.ID()).User() != "ada" {
			t.Fatal(err)
		}
		_, err = hubtest.DialRequest(t, mux, httptest.NewRequest(http.MethodGet, "/socket", nil))
		if err == nil || !strings.Contains(err.Error(), "GET /socket was answered with 404, and not by a hub") {
			t.Errorf("%v", err)
		}
		_, err = hubtest.DialRequest(t, mux, httptest.NewRequest(http.MethodGet, "/ws", nil))
		var refusal *transport.Refusal
		if !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized || !strings.Contains(refusal.Message, "wrong token") {
			t.Errorf("%v", err)
		}
	})
}

func TestMessagesStayForLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chat()
		c := hubtest.Dial(t, h)
		c.Join("chat/1", nil)
		r := h.Room("chat/1")
		for i := range 3 {
			_ = r.Broadcast(t.Context(), message.New("n", i))
			_ = r.Broadcast(t.Context(), say.New(text{fmt.Sprint(i)}))
		}
		if got := hubtest.Expect(c, say); got.Body != "0" {
			t.Errorf("got %v", got)
		}
		for _, want := range []string{"n 0", "n 1", `chat.say {"body":"1"}`, "n 2", `chat.say {"body":"2"}`} {
			if e := c.Next(); e.Type+" "+string(e.Content.Data) != want {
				t.Errorf("got %s %s, want %s", e.Type, e.Content.Data, want)
			}
		}
		c.Leave("chat/1")
		c.ExpectNone()
	})
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chat()
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		for _, tt := range []struct {
			answer func(string) (bool, error)
			want   message.Code
		}{
			{func(s string) (bool, error) { return s == "?", nil }, ""},
			{func(string) (bool, error) { return false, message.Errorf(message.Denied, "never") }, message.Denied},
			{func(string) (bool, error) { return false, errors.New("any") }, message.Internal},
		} {
			hubtest.Answer(c, sure, tt.answer)
			ok, err := hub.Ask(t.Context(), p, sure, "?")
			var code message.Code
			if err != nil {
				code = message.Public(err).Code
			}
			if ok != (tt.want == "") || code != tt.want {
				t.Errorf("%v, %v, want %q", ok, err, tt.want)
			}
		}
		_, err := hub.Ask(t.Context(), p, message.Call[int, bool]("sure"), 7) // not what it takes
		if err == nil || message.Public(err).Code != message.Invalid {
			t.Errorf("%v", err)
		}
		_ = p.Send(message.New("sure", "no question")) // has no id, so it is a message
		c.ExpectType("sure")
	})
}

// TestAnswerToWhatWasAsked: a question may come before the test can say what answers it.
func TestAnswerToWhatWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make(chan string, 2)
		h := hub.New(&hub.Options{Connect: func(ctx context.Context, p *hub.Peer) {
			for _, q := range []string{"new?", "sure?"} {
				ok, err := hub.Ask(ctx, p, sure, q)
				results <- fmt.Sprintf("%s: %v %v", q, ok, err)
			}
		}})
		c := hubtest.Dial(t, h)
		_ = h.Peer(c.ID()).Send(message.New("sure", "no question"))
		synctest.Wait() // it has asked
		hubtest.Answer(c, sure, func(q string) (bool, error) { return q == "new?", nil })
		if a, b := <-results, <-results; a != "new?: true <nil>" || b != "sure?: false <nil>" {
			t.Error(a, b)
		}
		c.ExpectType("sure") // has no id, so it is a message
		c.ExpectNone()
	})
}

func TestWaysToEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*hubtest.Client)
		code int // 0: without a close frame
	}{
		"close": {(*hubtest.Client).Close, 1000},
		"cut":   {(*hubtest.Client).Cut, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reasons := make(chan error, 1)
				h := hub.New(&hub.Options{Disconnect: func(_ *hub.Peer, reason error) { reasons <- reason }})
				c := hubtest.Dial(t, h)
				tt.end(c)
				for _, err := range []error{<-reasons, c.Closed()} {
					var closed *transport.CloseError
					if errors.As(err, &closed) != (tt.code != 0) || closed != nil && closed.Code != tt.code {
						t.Errorf("ended with %v", err)
					}
				}
				c.Send("", say.New(text{})) // is no failure
				if _, err := hubtest.DialRequest(t, h, httptest.NewRequest(http.MethodGet, "/", nil)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chat()
		c := hubtest.Dial(t, h)
		c.Freeze(true)
		_ = h.Broadcast(t.Context(), say.New(text{"hi"}))
		c.ExpectNone()
		c.Freeze(false)
		if got := hubtest.Expect(c, say); got.Body != "hi" {
			t.Errorf("got %v", got)
		}
	})
}
