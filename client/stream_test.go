package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/message"
)

const numbers message.Call[int, int] = "numbers"

// reading is a loop over a stream, which goes on until it is let go.
type reading struct {
	record
	turns chan struct{} // nil: at once
	done  chan error
}

// read begins a loop, which takes n results at most.
func read(ctx context.Context, p client.Place, n int, turns chan struct{}) *reading {
	r := &reading{turns: turns, done: make(chan error, 1)}
	go func() {
		var last error
		for v, err := range client.Stream(ctx, p, numbers, n) {
			if turns != nil {
				<-turns
			}
			if last = err; err != nil {
				r.add("error beside %d", v)
				continue // it is the last turn
			}
			r.add("%d", v)
			if n--; n == 0 {
				break
			}
		}
		r.done <- last
	}()
	return r
}

func (p *peer) item(w wire, n int) {
	p.t.Helper()
	p.send(`{"type":"numbers",%s"stream":%q,"content":%d}`, roomOf(w), w.ID, n)
}

// left wants the client to have ended the stream.
func (p *peer) left(w wire) {
	p.t.Helper()
	l := p.expect("leave")
	if got, want := string(l.Content), fmt.Sprintf(`{"stream":%q}`, w.ID); got != want || l.Room != "" || l.ID == "" || l.ID == w.ID {
		p.t.Errorf("left with %s in %q, want %s", got, l.Room, want)
	}
	p.ack(l, "", "")
	p.ack(w, "", "")
}

func TestStream(t *testing.T) {
	bubble(t, "in order, to the end of the server, and nobody else's", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{QueueMessages: 1})
		room := joined(t, c, p, "chat/1", `{"members":1}`)
		client.On(c, "numbers", func(client.Message[int]) { t.Error("it was for a loop") })
		client.On(room, "numbers", func(client.Message[int]) { t.Error("it was for a loop") })
		var loops []*reading
		var questions []wire
		for _, place := range []client.Place{c, room} {
			loops = append(loops, read(t.Context(), place, 7, nil))
			questions = append(questions, p.expect("numbers"))
		}
		if a, b := questions[0], questions[1]; a.Room != "" || b.Room != "chat/1" || string(b.Content) != "7" || a.ID == b.ID {
			t.Errorf("%+v", questions)
		}
		for i := range 3 {
			p.item(questions[0], i)
			p.item(questions[1], 10+i)
		}
		p.send(`{"type":"numbers","stream":"nobody","content":1}`)
		<-time.After(20 * time.Second) // it may take its time
		p.ack(questions[0], "", "")
		p.item(questions[0], 99)
		p.refuse(questions[1], `{"code":"denied"}`)
		if got := loops[0].take(); !slices.Equal(got, []string{"0", "1", "2"}) {
			t.Errorf("%q", got)
		}
		if err := <-loops[0].done; err != nil {
			t.Error(err)
		}
		if got := loops[1].take(); !slices.Equal(got, []string{"10", "11", "12", "error beside 0"}) {
			t.Errorf("%q", got)
		}
		if err := <-loops[1].done; codeOf(err) != message.Denied {
			t.Error(err)
		}
		p.quiet()
	})
	bubble(t, "each loop asks, none does not", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		seq := client.Stream(t.Context(), c, numbers, 1)
		p.quiet()
		for range 2 {
			done := later(func() (got []int) {
				for n := range seq {
					got = append(got, n)
				}
				return got
			})
			w := p.expect("numbers")
			p.item(w, 5)
			p.ack(w, "", "")
			if got := <-done; !slices.Equal(got, []int{5}) {
				t.Errorf("%v", got)
			}
		}
	})
	bubble(t, "who leaves the loop stops the server", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := read(t.Context(), c, 1, nil)
		w := p.expect("numbers")
		for i := range 3 {
			p.item(w, i)
		}
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		p.left(w)
		p.item(w, 9) // was under way
		if got := r.take(); !slices.Equal(got, []string{"0"}) {
			t.Errorf("%q", got)
		}
		p.quiet()
	})
	bubble(t, "a panic in the loop does, too", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		done := later(func() (v any) {
			defer func() { v = recover() }()
			for range client.Stream(t.Context(), c, numbers, 1) {
				panic("no")
			}
			return nil
		})
		w := p.expect("numbers")
		p.item(w, 1)
		if got := <-done; got != "no" {
			t.Error(got)
		}
		p.left(w)
	})
	bubble(t, "a result of the wrong form ends it", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := read(t.Context(), c, 9, nil)
		w := p.expect("numbers")
		p.send(`{"type":"numbers","stream":%q,"content":"odd"}`, w.ID)
		if err := <-r.done; codeOf(err) != message.Invalid {
			t.Error(err)
		}
		p.left(w)
	})
	bubble(t, "a question that cannot be sent", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		for _, err := range client.Stream(t.Context(), c, message.Call[int, int]("join"), 1) {
			if codeOf(err) != message.Invalid {
				t.Error(err)
			}
		}
		for _, err := range client.Stream(t.Context(), c, message.Call[string, int]("numbers"), strings.Repeat("x", 70_000)) {
			if codeOf(err) != message.TooLarge {
				t.Error(err)
			}
		}
		p.quiet()
	})
}

func TestStreamContext(t *testing.T) {
	bubble(t, "it ends the loop at once, and the stream", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		for _, ended := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			turns := make(chan struct{})
			r := read(ctx, c, 9, turns)
			w := p.expect("numbers")
			for i := range 3 {
				p.item(w, i)
			}
			if ended {
				p.ack(w, "", "")
			}
			synctest.Wait()
			cancel()
			close(turns)
			if err := <-r.done; !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrUnknown) {
				t.Error(err)
			}
			if got := r.take(); !slices.Equal(got, []string{"0", "error beside 0"}) {
				t.Errorf("%q", got)
			}
			if !ended {
				p.left(w)
			}
		}
		p.quiet()
	})
	bubble(t, "it ends a loop that waits", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		r := read(ctx, c, 9, nil)
		w := p.expect("numbers")
		began := time.Now()
		if err := <-r.done; !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 15*time.Second {
			t.Error(err)
		}
		p.left(w)
	})
	bubble(t, "before the question is sent nothing is", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := <-read(ctx, c, 9, nil).done; !errors.Is(err, client.ErrExpired) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		go func() { _, _ = c.Room("slow").Join(context.Background(), nil) }()
		p.expect("join")
		ctx, cancel = context.WithCancel(t.Context())
		r := read(ctx, c.Room("slow"), 9, nil)
		synctest.Wait()
		cancel()
		if err := <-r.done; !errors.Is(err, client.ErrExpired) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.quiet()
	})
}

func TestStreamWithoutAConnection(t *testing.T) {
	bubble(t, "a lost one ends it as unknown, after what has come, and it is not repeated", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		turns := make(chan struct{})
		r := read(t.Context(), c, 9, turns)
		w := p.expect("numbers")
		p.item(w, 0)
		p.item(w, 1)
		synctest.Wait()
		p.cut()
		p = s.welcomed().again()
		synctest.Wait()
		close(turns)
		if err := <-r.done; !errors.Is(err, client.ErrUnknown) {
			t.Error(err)
		}
		if got := r.take(); !slices.Equal(got, []string{"0", "1", "error beside 0"}) {
			t.Errorf("%q", got)
		}
		p.quiet() // there is nothing to stop either
	})
	bubble(t, "it is waited for, and not for ever", func(t *testing.T) {
		s := newServer(t)
		var away atomic.Bool
		away.Store(true)
		s.gate = func(w http.ResponseWriter, _ *http.Request) bool {
			if away.Load() {
				w.WriteHeader(http.StatusBadGateway)
			}
			return !away.Load()
		}
		c := lazy(t, s, client.Options{QueueMessages: 1, RetryMax: time.Second})
		began := time.Now()
		if err := <-read(t.Context(), c, 1, nil).done; !errors.Is(err, client.ErrExpired) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := <-read(ctx, c, 1, nil).done; !errors.Is(err, client.ErrExpired) || time.Since(began) != 25*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		r := read(t.Context(), c, 2, nil)
		synctest.Wait()
		if err := <-read(t.Context(), c, 3, nil).done; !errors.Is(err, client.ErrOverflow) {
			t.Error(err)
		}
		away.Store(false)
		w := s.welcomed().expect("numbers")
		if string(w.Content) != "2" {
			t.Errorf("%s", w.Content)
		}
		over(c)
		if err := <-r.done; !errors.Is(err, client.ErrUnknown) || !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
		if err := <-read(t.Context(), c, 1, nil).done; !errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrUnknown) {
			t.Error(err)
		}
	})
	bubble(t, "Close does not wait for its end", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := read(t.Context(), c, 9, nil)
		p.expect("numbers")
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-r.done; !errors.Is(err, client.ErrUnknown) || !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestSlowLoop(t *testing.T) {
	bubble(t, "it is waited for", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		turns := make(chan struct{})
		r := read(t.Context(), c, -1, turns)
		w := p.expect("numbers")
		sent := later(func() bool {
			for i := range 1010 {
				p.item(w, i)
			}
			p.ack(w, "", "")
			return true
		})
		for range 1010 {
			select {
			case <-time.After(900 * time.Millisecond):
			case <-sent:
				sent = nil
			}
			turns <- struct{}{}
		}
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if got := r.take(); len(got) != 1010 || got[1009] != "1009" {
			t.Errorf("%d: %q", len(got), got)
		}
	})
	bubble(t, "for a second, then it is told after what has come; everything else goes on", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		turns := make(chan struct{})
		r := read(t.Context(), c, -1, turns)
		w := p.expect("numbers")
		p.item(w, 0)
		synctest.Wait() // it is in the loop
		began := time.Now()
		for i := 1; i < 1010; i++ {
			p.item(w, i)
		}
		l := p.expect("leave")
		if d := time.Since(began); d != time.Second || string(l.Content) != fmt.Sprintf(`{"stream":%q}`, w.ID) {
			t.Errorf("%s after %v", l.Content, d)
		}
		done := ask(c, 1)
		p.ack(p.expect("history"), `[{"body":"a"},{"body":"b"}]`, "")
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(turns)
		if err := <-r.done; !errors.Is(err, client.ErrOverflow) {
			t.Error(err)
		}
		if got := r.take(); len(got) != 1002 || got[1000] != "1000" {
			t.Errorf("%d: %q", len(got), got)
		}
		p.quiet()
	})
	bubble(t, "large results are bounded in bytes", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		turns := make(chan struct{})
		done := later(func() (n int) {
			for v, err := range client.Stream(t.Context(), c, message.Call[int, string]("numbers"), 1) {
				<-turns
				if n++; err != nil && !errors.Is(err, client.ErrOverflow) || err == nil && len(v) != 1<<20 {
					t.Errorf("%d bytes, %v", len(v), err)
				}
			}
			return n
		})
		w := p.expect("numbers")
		big := strings.Repeat("x", 1<<20)
		for range 5 { // one is in the loop, 3 wait
			p.send(`{"type":"numbers","stream":%q,"content":%q}`, w.ID, big)
			synctest.Wait()
		}
		p.expect("leave")
		close(turns)
		if n := <-done; n != 5 {
			t.Errorf("%d turns", n)
		}
	})
	bubble(t, "one that goes on has all the time", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		const turn = 100 * time.Millisecond
		began := time.Now()
		done := later(func() (n int) {
			for _, err := range client.Stream(t.Context(), c, message.Call[int, string]("numbers"), 1) {
				if err != nil {
					t.Error(err)
				}
				<-time.After(turn)
				n++
			}
			return n
		})
		w := p.expect("numbers")
		sent := later(func() bool {
			item := func(size int) {
				p.send(`{"type":"numbers","stream":%q,"content":%q}`, w.ID, strings.Repeat("x", size))
			}
			for range 101 { // one is in the loop
				item(40 << 10)
			}
			item(1 << 20) // has space after some 25 turns
			p.ack(w, "", "")
			return true
		})
		if n := <-done; n != 102 || time.Since(began) != 102*turn {
			t.Errorf("%d turns in %v", n, time.Since(began))
		}
		<-sent
	})
	bubble(t, "nothing waits for one that is over", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		r := read(ctx, c, -1, make(chan struct{}))
		w := p.expect("numbers")
		began := time.Now()
		sent := later(func() bool {
			for i := range 1010 {
				p.item(w, i)
			}
			return true
		})
		synctest.Wait()
		cancel()
		<-sent
		if d := time.Since(began); d != 0 {
			t.Errorf("held up for %v", d)
		}
		p.left(w)
		close(r.turns)
		<-r.done
		over(c)
	})
}
