package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/message"
)

// TestSendWhileConnecting, T11: delivered once, after the welcome.
func TestSendWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		result := send(c, "early")
		p := s.next()
		p.quiet()
		p.welcome()
		w := p.expect("say")
		if bodyOf(t, w) != "early" || w.Room != "" {
			t.Errorf("%+v", w)
		}
		p.ack(w, "", "")
		if got := <-result; got.err != nil || got.ID != w.ID {
			t.Errorf("%+v", got)
		}
		p.quiet()
	})
}

// TestOrder is kept over connecting, connected and reconnected, and a message is
// repeated with its id until it is acknowledged.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		var results []<-chan sending
		n := 0
		more := func() {
			for range 20 {
				results = append(results, send(c, fmt.Sprint(n)))
				n++
			}
		}
		more()
		p := s.welcomed()
		more()
		first := map[string]string{} // ids by body
		for i := range 40 {
			w := p.expect("say")
			if bodyOf(t, w) != fmt.Sprint(i) {
				t.Fatalf("%d: %s", i, w.Content)
			}
			first[bodyOf(t, w)] = w.ID
			if i < 10 {
				p.ack(w, "", "")
			}
		}
		synctest.Wait()
		p.cut()
		synctest.Wait()
		more()
		p = s.welcomed().again()
		for i := 10; i < 60; i++ {
			w := p.expect("say")
			if bodyOf(t, w) != fmt.Sprint(i) || i < 40 && w.ID != first[fmt.Sprint(i)] {
				t.Fatalf("%d: %s", i, w.Content)
			}
			p.ack(w, "", "")
		}
		for _, r := range results {
			if got := <-r; got.err != nil {
				t.Error(got.err)
			}
		}
		p.quiet()
	})
}

// TestUnsent, T14: reported as expired if it never left, as unknown if it may
// have arrived.
func TestUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		var away atomic.Bool
		s.gate = func(w http.ResponseWriter, _ *http.Request) bool {
			if away.Load() {
				w.WriteHeader(http.StatusBadGateway)
			}
			return !away.Load()
		}
		c, p := dial(t, s, client.Options{TTL: 20 * time.Second})
		away.Store(true)
		began := time.Now()
		sent := send(c, "sent")
		p.expect("say")
		p.cut()
		synctest.Wait()
		unsent := send(c, "unsent")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		patient := client.Start(ctx, c, say, text{"patient"})
		if got := <-sent; !errors.Is(got.err, client.ErrUnknown) || !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("%v", got.err)
		}
		if got := <-unsent; !errors.Is(got.err, client.ErrExpired) || !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("%v", got.err)
		}
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("after %v", d)
		}
		if _, err := patient.Wait(); !errors.Is(err, client.ErrExpired) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := client.Send(ctx, c, say, text{}); !errors.Is(err, client.ErrExpired) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		away.Store(false)
		s.welcomed().again().quiet()
	})
}

// TestUnknownOutsideTheRoom: what may have been handled on an earlier connection is not
// told to have been refused, because the client is not in the room any more.
func TestUnknownOutsideTheRoom(t *testing.T) {
	bubble(t, "what is for a room that was left is not sent again", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		result := send(r, "hi")
		p.expect("say")
		left := later(func() error { return r.Leave(context.Background()) })
		p.expect("leave")
		pending(t, result)
		p.cut()
		if err := <-left; err != nil {
			t.Error(err)
		}
		if got := <-result; !errors.Is(got.err, client.ErrUnknown) {
			t.Errorf("%v", got.err)
		}
		s.welcomed().again().quiet()
	})
	bubble(t, "unless it is joined again before that", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		result := send(r, "hi")
		p.expect("say")
		left := later(func() error { return r.Leave(context.Background()) })
		p.ack(p.expect("leave"), "", "")
		<-left
		joined(t, c, p, "chat/1", `{"members":1}`)
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1}`)
		p.ack(p.expect("say"), "", "")
		if got := <-result; got.err != nil {
			t.Error(got.err)
		}
	})
	bubble(t, "what was sent again and is refused for that", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		result := send(c.Room("chat/1"), "hi")
		p.expect("say")
		p.cut()
		p = s.welcomed().again()
		once := send(c.Room("chat/1"), "once")
		p.refuse(p.expect("say"), `{"code":"not_member"}`)
		if got := <-result; !errors.Is(got.err, client.ErrUnknown) || codeOf(got.err) != message.NotMember {
			t.Errorf("%v", got.err)
		}
		p.send(`{"type":"gap","room":"chat/1","content":{"cursor":"c8","reason":"window"}}`)
		p.refuse(p.expect("say"), `{"code":"not_member"}`)
		if got := <-once; errors.Is(got.err, client.ErrUnknown) || codeOf(got.err) != message.NotMember {
			t.Errorf("%v", got.err)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	bubble(t, "without a connection it overflows", func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		var all []<-chan sending
		for range 256 {
			all = append(all, send(c, "x"))
		}
		synctest.Wait()
		if got := <-send(c, "one more"); !errors.Is(got.err, client.ErrOverflow) {
			t.Errorf("%v", got.err)
		}
		p := s.welcomed()
		for range all {
			p.ack(p.expect("say"), "", "")
		}
		for _, r := range all {
			if got := <-r; got.err != nil {
				t.Error(got.err)
			}
		}
	})
	bubble(t, "in bytes as well", func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		body := strings.Repeat("x", 60<<10)
		for range 17 {
			pending(t, send(c, body))
		}
		if got := <-send(c, body); !errors.Is(got.err, client.ErrOverflow) {
			t.Errorf("%v", got.err)
		}
		pending(t, send(c, "a little one"))
	})
	bubble(t, "connected, sending waits: 10 000 messages go out in order", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		done := later(func() error {
			var all []*client.Sending
			for i := range 10_000 {
				all = append(all, client.Start(context.Background(), c, say, text{fmt.Sprint(i)}))
			}
			for _, s := range all {
				if _, err := s.Wait(); err != nil {
					return err
				}
			}
			return nil
		})
		for i := range 10_000 {
			if i == 0 {
				pending(t, done)
			}
			w := p.expect("say")
			if bodyOf(t, w) != fmt.Sprint(i) {
				t.Fatalf("%d: %s", i, w.Content)
			}
			p.ack(w, "", "")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	bubble(t, "who waits for space is told of the end of the connection", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{QueueMessages: 1})
		first := send(c, "first")
		p.expect("say")
		done := later(func() error {
			_, err := client.Send(context.Background(), c, say, text{"second"})
			return err
		})
		ctx, cancel := context.WithCancel(t.Context())
		other := later(func() error {
			_, err := client.Send(ctx, c, say, text{"third"})
			return err
		})
		pending(t, done)
		cancel()
		if err := <-other; !errors.Is(err, client.ErrExpired) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.cut()
		if err := <-done; !errors.Is(err, client.ErrOverflow) {
			t.Error(err)
		}
		p = s.welcomed().again()
		p.ack(p.expect("say"), "", "")
		if got := <-first; got.err != nil {
			t.Error(got.err)
		}
	})
}

func TestVolatile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		if err := client.Volatile(c, typing, true); !errors.Is(err, client.ErrDropped) {
			t.Error(err)
		}
		p := s.welcomed()
		synctest.Wait()
		if err := client.Volatile(c, typing, true); err != nil {
			t.Error(err)
		}
		if w := p.expect("typing"); w.ID != "" || string(w.Content) != "true" {
			t.Errorf("%+v", w)
		}
		if err := client.Volatile(c, blob, make([]byte, 70_000)); codeOf(err) != message.TooLarge {
			t.Error(err)
		}
		r := c.Room("slow")
		go func() { _, _ = r.Join(context.Background(), nil) }()
		p.expect("join") // what is sent to the room waits
		for range 2 {
			if err := client.Volatile(r, blob, make([]byte, 40_000)); err != nil {
				t.Error(err)
			}
		}
		if err := client.Volatile(c, typing, true); !errors.Is(err, client.ErrDropped) {
			t.Error(err)
		}
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1}`)
		p.quiet()
		over(c)
		if err := client.Volatile(c, typing, true); !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		big := strings.Repeat("x", 70_000)
		early := send(c, big)
		pending(t, early)
		p := s.welcomed()
		if got := <-early; codeOf(got.err) != message.TooLarge {
			t.Errorf("%v", got.err)
		}
		if got := <-send(c, big); codeOf(got.err) != message.TooLarge {
			t.Errorf("%v", got.err)
		}
		if got := <-join(c.Room("chat/1"), big); codeOf(got.err) != message.TooLarge {
			t.Errorf("%v", got.err)
		}
		p.quiet()
	})
}

func TestInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		if _, err := client.Send(t.Context(), c, "odd", func() {}); err == nil {
			t.Error("no error")
		}
		for _, typ := range []message.Kind[int]{"", "join", "ack", "a\x00"} {
			if _, err := client.Send(t.Context(), c, typ, 1); codeOf(err) != message.Invalid {
				t.Errorf("%q: %v", typ, err)
			}
			if err := client.Volatile(c, typ, 1); codeOf(err) != message.Invalid {
				t.Errorf("%q: %v", typ, err)
			}
		}
		p.quiet()
		for name, f := range map[string]func(){
			"On":    func() { client.On(c, "joined", func(client.Message[int]) {}) },
			"OnAsk": func() { client.OnAsk(c, "ping", func(context.Context, int) (int, error) { return 0, nil }) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s does not panic", name)
					}
				}()
				f()
			}()
		}
	})
}

func TestErrorOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		result := send(c, "hi")
		p.refuse(p.expect("say"), `{"code":"rate_limited","message":"slowly","field":"content.body","retryAfter":250}`)
		var e *message.Error
		want := message.Error{Code: message.RateLimited, Message: "slowly", Field: "content.body", RetryAfter: 250 * time.Millisecond}
		if got := <-result; !errors.As(got.err, &e) || *e != want {
			t.Errorf("%v", got.err)
		}
	})
}

func ask(c client.Place, n int) <-chan error {
	return later(func() error {
		got, err := client.Call(context.Background(), c, history, n)
		if err == nil && !slices.Equal(got, []text{{"a"}, {"b"}}) {
			return fmt.Errorf("answer %+v", got)
		}
		return err
	})
}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		answer := `[{"body":"a"},{"body":"b"}]`

		done := ask(r, 7)
		w := p.expect("history")
		if string(w.Content) != "7" || w.Room != "chat/1" {
			t.Errorf("%+v", w)
		}
		p.ack(w, answer, "")
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.ack(w, answer, "") // an answer to nothing

		done = ask(c, 1)
		p.ack(p.expect("history"), `"odd"`, "")
		if err := <-done; codeOf(err) != message.Invalid {
			t.Errorf("odd answer: %v", err)
		}

		began := time.Now()
		done = ask(c, 1)
		p.expect("history")
		if err := <-done; !errors.Is(err, client.ErrUnknown) || time.Since(began) != 10*time.Second {
			t.Errorf("no answer: %v", err)
		}

		began = time.Now()
		done = ask(c, 1)
		p.expect("history")
		p.cut()
		if err := <-done; !errors.Is(err, client.ErrUnknown) || time.Since(began) != 0 {
			t.Errorf("connection lost: %v", err)
		}

		synctest.Wait()
		done = ask(c, 2)
		p = s.welcomed().again()
		p.admit(`{"members":1}`)
		w = p.expect("history") // the other one is not repeated
		if string(w.Content) != "2" {
			t.Errorf("%+v", w)
		}
		p.ack(w, answer, "")
		if err := <-done; err != nil {
			t.Error(err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		canceled := later(func() error {
			_, err := client.Call(ctx, c, history, 1)
			return err
		})
		w = p.expect("history")
		cancel()
		if err := <-canceled; !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrUnknown) {
			t.Errorf("canceled: %v", err)
		}
		p.ack(w, answer, "")
		p.quiet()
	})
}

func TestErrorsThatNothingElseTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{OnError: func(err error) { rec.add("%v", err) }})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		client.On(r, say, func(client.Message[text]) {})
		p.send(`{"type":"error","content":{"code":"malformed","message":"what?"}}`)
		p.send(`{"type":"error","room":"chat/1","content":{"code":"denied"}}`)
		p.send(`{"type":"say","room":"chat/1","content":7}`)
		p.send(`nonsense`)
		want := []string{
			"malformed: what?",
			`client: room "chat/1": denied`,
			`client: room "chat/1": a message of the type "say": invalid: content cannot be a number (content)`,
			"client: the server sent something wrong: malformed: the message is not a JSON object",
		}
		if got := rec.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if c.Status().State != client.Connected {
			t.Errorf("%+v", c.Status())
		}
	})
}

func TestOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		fn := func(m client.Message[text]) { rec.add("%s", m.Content.Body) }
		off := client.On(r, say, fn)
		client.On(r, say, fn)
		client.On(c, say, func(m client.Message[text]) { rec.add("no room: %s", m.Content.Body) })
		client.On(r, "whole", func(m client.Message[message.Raw]) { rec.add("%+v", m) })
		p.say("", "a")
		rec.take()
		off()
		off()
		p.say("", "b")
		p.send(`{"type":"say","content":{"body":"c"}}`)
		p.send(`{"type":"say","room":"elsewhere","content":{"body":"d"}}`)
		p.send(`{"type":"whole","room":"chat/1","from":"f","user":"u","cursor":"c1","timestamp":1000,"content":[1],"more":2}`)
		want := []string{"b", "no room: c", fmt.Sprintf("%+v", client.Message[message.Raw]{
			Content: message.Raw{Data: []byte("[1]")}, Room: "chat/1", From: "f", User: "u", Cursor: "c1", Time: time.UnixMilli(1000),
		})}
		if got := rec.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

// TestInsideAHandler everything may be used.
func TestInsideAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		done := make(chan error, 1)
		client.On(c, say, func(m client.Message[text]) {
			r := c.Room(m.Content.Body)
			_, err := r.Join(context.Background(), nil)
			if err == nil {
				_, err = client.Send(context.Background(), r, say, text{"hi"})
			}
			if err == nil {
				err = r.Leave(context.Background())
			}
			done <- err
		})
		p.send(`{"type":"say","content":{"body":"chat/1"}}`)
		p.admit(`{"members":1}`)
		p.ack(p.expect("say"), "", "")
		p.ack(p.expect("leave"), "", "")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestInsideABusyHandler: what a handler waits for comes, though as much waits behind it as
// several rooms catch up with.
func TestInsideABusyHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		done := make(chan error)
		client.On(r, say, func(m client.Message[text]) {
			if m.Content.Body == "c1" {
				_, err := client.Send(context.Background(), c, say, text{"hi"})
				done <- err
				_, err = client.Call(context.Background(), c, history, 1)
				done <- err
			}
		})
		for i := 1; i <= 4000; i++ {
			p.say(fmt.Sprint("c", i), fmt.Sprint("c", i))
		}
		began := time.Now()
		for _, answer := range []wire{p.expect("say"), {}} {
			if answer.ID == "" {
				answer = p.expect("history")
			}
			p.ack(answer, "[]", "")
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %v", d)
		}
		wantCursor(t, r, "c4000")
	})
}

// TestBytes, T22: both ways.
func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		client.On(c, blob, func(m client.Message[[]byte]) { rec.add("%x", m.Content) })
		p.bytes(`{"type":"blob"}`, "\x00\n\xff")
		if got := rec.take(); !slices.Equal(got, []string{"000aff"}) {
			t.Errorf("%q", got)
		}
		go func() { _, _ = client.Send(context.Background(), c, blob, []byte("\n\x01")) }()
		if w := p.expect("blob"); string(w.bytes) != "\n\x01" {
			t.Errorf("%+v", w)
		}
	})
}

func TestQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		wait := make(chan struct{})
		var ended error
		client.OnAsk(c, confirm, func(ctx context.Context, q string) (bool, error) {
			switch q {
			case "denied?":
				return false, message.Errorf(message.Denied, "no")
			case "secret?":
				return false, errors.New("the password is 1234")
			case "wait":
				select {
				case <-wait:
				case <-ctx.Done():
					ended = ctx.Err()
				}
			}
			return true, nil
		})
		client.OnAsk(c, "big", func(context.Context, int) (string, error) { return strings.Repeat("x", 70_000), nil })
		for q, want := range map[string]string{
			`{"type":"confirm","id":"s1","content":"sure?"}`:                 `ack s1 true`,
			`{"type":"confirm","id":"s1","room":"chat/1","content":"sure?"}`: `ack s1 chat/1 true`,
			`{"type":"confirm","id":"s2","content":"denied?"}`:               `error s2 {"code":"denied","message":"no"}`,
			`{"type":"confirm","id":"s3","content":"secret?"}`:               `error s3 {"code":"internal","message":""}`,
			`{"type":"confirm","id":"s4","content":4}`:                       `error s4 {"code":"invalid","message":"content cannot be a number","field":"content"}`,
			`{"type":"dance","id":"s5"}`:                                     `error s5 {"code":"unknown_type","message":"there is no handler for the type \"dance\" here"}`,
			`{"type":"big","id":"s6","content":1}`:                           `error s6 {"code":"too_large"`,
		} {
			p.send("%s", q)
			w := <-p.got
			got := strings.ReplaceAll(fmt.Sprintf("%s %s %s %s", w.Type, w.ID, w.Room, w.Content), "  ", " ")
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s", q, got)
			}
		}
		p.send(`{"type":"confirm","id":"s7","content":"wait"}`)
		synctest.Wait()
		p.cut()
		p = s.welcomed().again()
		synctest.Wait()
		if ended == nil {
			t.Error("the context of a question outlives its connection")
		}
		p.quiet() // it is not answered on another connection
		for i := range 100 {
			p.send(`{"type":"confirm","id":"s%d","content":"wait"}`, i)
			if i == 63 {
				synctest.Wait()
				close(wait)
			}
		}
		for range 100 {
			p.expect("ack")
		}
	})
}

func TestIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		var ids []string
		for range 50 {
			send(c, "x")
			w := p.expect("say")
			ids = append(ids, w.ID)
			p.ack(w, "", "")
			<-time.After(time.Millisecond)
		}
		form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
		for _, id := range ids {
			if !form.MatchString(id) {
				t.Errorf("%q", id)
			}
		}
		if !slices.IsSorted(ids) {
			t.Errorf("%q", ids)
		}
	})
}
