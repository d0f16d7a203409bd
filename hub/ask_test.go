package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

const askFirst message.Call[string, bool] = "ask first"

// askingHub asks its client back before it answers askFirst, and notes every
// message in the order of handling.
func askingHub(t *testing.T, d *diary, opts ...hub.HandlerOption) *hub.Hub {
	t.Helper()
	h := newHub(t, nil)
	hub.Reply(h, askFirst, func(ctx context.Context, r *hub.Request, what string) (bool, error) {
		d.note("%s?", what)
		ok, err := hub.Ask(ctx, r.Peer, sure, what)
		d.note("%s: %v %s", what, ok, codeOf(err))
		return ok, err
	}, opts...)
	hub.On(h, note, func(_ context.Context, _ *hub.Request, in string) error { d.note("%s", in); return nil })
	return h
}

// ack answers a question of the hub by hand.
func ack(c *hubtest.Client, question message.Envelope, content any) {
	answer := message.New("ack", content)
	answer.ID = question.ID
	c.Send("", answer)
}

func TestAskFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		hubtest.Answer(c, sure, func(s string) (bool, error) { return s == "yes?", nil })
		for question, want := range map[string]bool{"yes?": true, "no?": false} {
			if got, err := hub.Ask(t.Context(), h.Peer(c.ID()), sure, question); got != want || err != nil {
				t.Fatalf("%s %v, %v", question, got, err)
			}
		}
	})
}

func TestAskInsideAHandlerOfTheSamePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := askingHub(t, &d)
		c := hubtest.Dial(t, h)
		hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		start := time.Now()
		for range 3 {
			if ok, err := hubtest.Ask(c, "", askFirst, "go"); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v: the answer was not read while the handler ran", d)
		}
	})
}

// TestAskKeepsTheOrder: whatever the client sends behind a question waits until
// the handler that asked returns, also far more than the backlog holds.
func TestAskKeepsTheOrder(t *testing.T) {
	for _, n := range []int{1, 3, 64, 65, 200, 1000, 3000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				h := askingHub(t, &d)
				c := hubtest.Dial(t, h)
				c.Send("", askFirst.New("first"))
				question := c.ExpectType("sure")
				for i := range n {
					c.Send("", note.New(fmt.Sprint(i)))
				}
				synctest.Wait()
				d.want(t, "first?")
				ack(c, question, true)
				<-time.After(time.Minute)
				verdict := "first: true "
				if n > 1000 { // the answer stands behind more than may wait
					verdict = "first: false timeout"
				}
				want := []string{verdict}
				for i := range n {
					want = append(want, fmt.Sprint(i))
				}
				d.want(t, want...)
				hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
				if ok, err := hubtest.Ask(c, "", askFirst, "second"); !ok || err != nil {
					t.Fatalf("afterwards: %v, %v", ok, err)
				}
				d.want(t, "second?", "second: true ")
			})
		})
	}
}

func TestQuestionsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := askingHub(t, &d)
		c := hubtest.Dial(t, h)
		hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		var want []string
		for i := range 30 { // no more than may wait
			c.Send("", askFirst.New(fmt.Sprint(i)))
			c.Send("", note.New(fmt.Sprintf("behind %d", i)))
			want = append(want, fmt.Sprintf("%d?", i), fmt.Sprintf("%d: true ", i), fmt.Sprintf("behind %d", i))
		}
		synctest.Wait()
		d.want(t, want...)
	})
}

func TestTwoHandlersAskEachOthersClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		const other message.Call[string, bool] = "ask the other"
		hub.Reply(h, other, func(ctx context.Context, r *hub.Request, id string) (bool, error) {
			<-time.After(time.Second) // until both handlers run
			return hub.Ask(ctx, h.Peer(id), sure, "?")
		})
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		for _, c := range []*hubtest.Client{a, b} {
			hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		}
		start := time.Now()
		var wg sync.WaitGroup
		for _, pair := range [][2]*hubtest.Client{{a, b}, {b, a}} {
			wg.Go(func() {
				if ok, err := hubtest.Ask(pair[0], "", other, pair[1].ID()); !ok || err != nil {
					t.Error(ok, err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d != time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// TestAskFails: each way not to get an answer, from outside and from inside a
// handler of that client.
func TestAskFails(t *testing.T) {
	refusal := &message.Error{Code: message.Conflict, Message: "no", Field: "content.x", RetryAfter: time.Second}
	tests := []struct {
		name  string
		reply func(h *hub.Hub, c *hubtest.Client, question message.Envelope)
		code  message.Code
		after time.Duration
	}{
		{"silence", func(*hub.Hub, *hubtest.Client, message.Envelope) {}, message.Timeout, 10 * time.Second},
		{"wrong id", func(_ *hub.Hub, c *hubtest.Client, e message.Envelope) { e.ID = "s99"; ack(c, e, true) }, message.Timeout, 10 * time.Second},
		{"no id", func(_ *hub.Hub, c *hubtest.Client, e message.Envelope) { e.ID = ""; ack(c, e, true) }, message.Timeout, 10 * time.Second},
		{"wrong form", func(_ *hub.Hub, c *hubtest.Client, e message.Envelope) { ack(c, e, "yes") }, message.Invalid, 0},
		{"binary", func(_ *hub.Hub, c *hubtest.Client, e message.Envelope) { ack(c, e, []byte("yes")) }, message.Invalid, 0},
		{"disconnect", func(_ *hub.Hub, c *hubtest.Client, _ message.Envelope) { c.Close() }, message.Unavailable, 0},
		{"cut", func(_ *hub.Hub, c *hubtest.Client, _ message.Envelope) { c.Cut() }, message.Unavailable, 0},
		{"kick", func(h *hub.Hub, c *hubtest.Client, _ message.Envelope) { h.Peer(c.ID()).Close(4002, "") }, message.Unavailable, 0},
		{"error", func(_ *hub.Hub, c *hubtest.Client, q message.Envelope) {
			e := message.New("error", refusal.Content())
			e.ID = q.ID
			c.Send("", e)
		}, message.Conflict, 0},
		{"error without a code", func(_ *hub.Hub, c *hubtest.Client, q message.Envelope) {
			e := message.New("error", 7)
			e.ID = q.ID
			c.Send("", e)
		}, message.Internal, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var inside error
				h := newHub(t, &hub.Options{Log: (&logbook{}).logger()})
				hub.On(h, note, func(ctx context.Context, r *hub.Request, _ string) error {
					_, inside = hub.Ask(ctx, r.Peer, sure, "inside")
					return nil
				})
				a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
				a.Send("", note.New(""))
				go tt.reply(h, a, a.ExpectType("sure"))
				p, start := h.Peer(b.ID()), time.Now()
				go func() { tt.reply(h, b, b.ExpectType("sure")) }()
				_, outside := hub.Ask(t.Context(), p, sure, "outside")
				if d := time.Since(start); d != tt.after {
					t.Errorf("after %v, want %v", d, tt.after)
				}
				synctest.Wait()
				wantCode(t, inside, tt.code)
				wantCode(t, outside, tt.code)
				if tt.code == message.Conflict && *message.Public(outside) != *refusal {
					t.Errorf("got %#v", outside)
				}
			})
		})
	}
}

func TestAskKeepsToItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{AskTimeout: time.Minute})
		p := h.Peer(hubtest.Dial(t, h).ID())
		for _, d := range []time.Duration{time.Second, 5 * time.Minute} {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			start := time.Now()
			_, err := hub.Ask(ctx, p, sure, "?")
			wantCode(t, err, message.Timeout)
			if since := time.Since(start); since != d {
				t.Errorf("after %v, want %v", since, d)
			}
			cancel()
		}
	})
}

// TestAnswersOvertakeHandlers: while somebody asks a client, its answer does not
// wait for handlers of the client that began after the question.
func TestAnswersOvertakeHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, nil)
		hub.On(h, note, func(_ context.Context, _ *hub.Request, in string) error {
			<-time.After(time.Second)
			d.note("%s", in)
			return nil
		})
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		go func() {
			ok, err := hub.Ask(context.Background(), p, sure, "?")
			d.note("answered %v %v", ok, err)
		}()
		question := c.ExpectType("sure")
		c.Send("", note.New("slow"))
		c.Send("", note.New("second"))
		ack(c, question, true)
		<-time.After(3 * time.Second)
		d.want(t, "answered true <nil>", "slow", "second")
	})
}

func TestAskOfWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		c.Close()
		synctest.Wait()
		_, err := hub.Ask(t.Context(), p, sure, "?")
		wantCode(t, err, message.Unavailable)
	})
}

func TestAskWithWhatCannotBeEncoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		_, err := hub.Ask(t.Context(), h.Peer(c.ID()), message.Call[func(), bool]("f"), func() {})
		if err == nil || !strings.Contains(err.Error(), "cannot be encoded") {
			t.Fatalf("error %v", err)
		}
		c.ExpectNone()
	})
}

func TestSixtyFiveQuestionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		errs := make(chan error, 100)
		for range 64 {
			go func() {
				_, err := hub.Ask(t.Context(), p, sure, "?")
				errs <- err
			}()
		}
		synctest.Wait()
		_, err := hub.Ask(t.Context(), p, sure, "one more")
		wantCode(t, err, message.RateLimited)
		for range 64 { // the 65th was not sent
			ack(c, c.ExpectType("sure"), true)
		}
		c.ExpectNone()
		for range 64 {
			wantCode(t, receive(t, errs), "")
		}
		hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		if _, err := hub.Ask(t.Context(), p, sure, "now"); err != nil {
			t.Fatalf("after the others: %v", err)
		}
	})
}

func TestAskInConnectJoinAndConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ask := func(ctx context.Context, p *hub.Peer, where string) error {
			ok, err := hub.Ask(ctx, p, sure, where)
			d.note("%s: %v", where, ok)
			return err
		}
		h := newHub(t, &hub.Options{Connect: func(ctx context.Context, p *hub.Peer) { _ = ask(ctx, p, "connect") }})
		h.Rooms("chat/{id}", &hub.Rule{Join: func(ctx context.Context, r *hub.Request) (any, error) {
			return nil, ask(ctx, r.Peer, "join")
		}})
		hub.On(h, note, func(ctx context.Context, r *hub.Request, in string) error { return ask(ctx, r.Peer, in) }, hub.Concurrent)
		c := hubtest.Dial(t, h)
		start := time.Now()
		ack(c, c.ExpectType("sure"), true)
		hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		c.Join("chat/1", nil)
		if _, err := c.Request("", note.New("concurrent")); err != nil {
			t.Fatal(err)
		}
		d.want(t, "connect: true", "join: true", "concurrent: true")
		if since := time.Since(start); since != 0 {
			t.Errorf("it took %v", since)
		}
	})
}

// TestAskWhileConcurrentHandlersAreFull: the reader waits for a place among the
// concurrent handlers, and they wait for answers.
func TestAskWhileConcurrentHandlersAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := askingHub(t, &d, hub.Concurrent)
		c := hubtest.Dial(t, h)
		for i := range 20 {
			c.Send("", askFirst.New(fmt.Sprint(i)))
		}
		start := time.Now()
		for range 20 {
			ack(c, c.ExpectType("sure"), true)
		}
		synctest.Wait()
		if since := time.Since(start); since != 0 {
			t.Errorf("it took %v", since)
		}
	})
}

// TestAQuestionWidensTheBacklog that is full already: what stands in front of the
// answer is read then.
func TestAQuestionWidensTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := newHub(t, nil)
		hub.On(h, message.Kind[string]("later"), func(ctx context.Context, r *hub.Request, _ string) error {
			<-time.After(time.Minute) // a heartbeat reads on meanwhile
			_, err := hub.Ask(ctx, r.Peer, sure, "?")
			d.note("asked: %s", codeOf(err))
			return nil
		})
		hub.On(h, note, func(context.Context, *hub.Request, string) error { d.note("note"); return nil })
		c := hubtest.Dial(t, h)
		hubtest.Answer(c, sure, func(string) (bool, error) { return true, nil })
		c.Send("", message.New("later", ""))
		for range 500 {
			c.Send("", note.New("behind"))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		d.want(t, append([]string{"asked: "}, slices.Repeat([]string{"note"}, 500)...)...)
	})
}

// TestLargeMessagesWait behind a question, too, and small ones in large buffers.
func TestLargeMessagesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		h := askingHub(t, &d)
		c := hubtest.Dial(t, h)
		c.Send("", askFirst.New("first"))
		question := c.ExpectType("sure")
		large := strings.Repeat("x", 60<<10)
		want := []string{"first?", "first: true "}
		for i := range 12 {
			c.Send("", note.New(large))
			synctest.Wait() // so that its buffer is there for the next
			c.Send("", note.New(fmt.Sprint(i)))
			want = append(want, large, fmt.Sprint(i))
		}
		ack(c, question, true)
		synctest.Wait()
		d.want(t, want...)
	})
}

// TestAskWithoutTime: a question whose context has ended already is not sent, and
// the error says how it ended.
func TestAskWithoutTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := hub.Ask(cancelled, p, sure, "?"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
		late, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		_, err := hub.Ask(late, p, sure, "?")
		wantCode(t, err, message.Timeout)
		c.ExpectNone()

		cancelled, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if _, err := hub.Ask(cancelled, p, sure, "?"); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("cancelled meanwhile: %v after %v", err, time.Since(start))
		}
		c.Close()
		synctest.Wait()
		_, err = hub.Ask(cancelled, p, sure, "?")
		wantCode(t, err, message.Unavailable)
	})
}

// TestForgottenQuestions do not count among those that may be open.
func TestForgottenQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		c := hubtest.Dial(t, h)
		p := h.Peer(c.ID())
		for range 65 {
			_, err := hub.Ask(t.Context(), p, sure, "?")
			wantCode(t, err, message.Timeout)
		}
		unsent := message.Call[func(), bool]("unsent")
		for range 65 {
			if _, err := hub.Ask(t.Context(), p, unsent, func() {}); codeOf(err) != "" {
				t.Fatal(err)
			}
		}
	})
}
