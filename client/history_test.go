package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// logHub has rooms log/{id} that keep what is said and pass it on to the others.
func logHub(d room.Recoverable, handled func(string)) *hub.Hub {
	h := hub.New(&hub.Options{Log: slog.New(slog.DiscardHandler), DrainTime: 50 * time.Millisecond})
	h.Rooms("chat/{id}", nil)
	hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: d}), say, func(ctx context.Context, r *hub.Request, in text) error {
		handled(in.Body)
		return r.Others(ctx, say.New(in))
	})
	return h
}

// cutting ends connections at random until it is told to stop.
func cutting(h *hub.Hub, every time.Duration) (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			for p := range h.Peers() {
				p.Close(message.CloseRestart, "again")
				select {
				case <-done:
					return
				case <-time.After(every):
				}
			}
			select {
			case <-done:
				return
			case <-time.After(every):
			}
		}
	}()
	return func() {
		close(done)
		<-over
	}
}

// TestHistory: connections break all the time, and everybody gets everything
// that others say, once and in order, without a gap.
func TestHistory(t *testing.T) {
	const messages = 200
	h := logHub(room.Recoverable{}, func(string) {})
	s := listen(t, h, "")
	type reader struct {
		mu   sync.Mutex
		got  []string
		done chan struct{}
	}
	var readers []*reader
	for range 3 {
		rd := &reader{done: make(chan struct{})}
		readers = append(readers, rd)
		c := connect(t, s, client.Options{})
		r := c.Room("log/1")
		client.On(r, say, func(m client.Message[text]) {
			rd.mu.Lock()
			defer rd.mu.Unlock()
			rd.got = append(rd.got, m.Content.Body)
			if m.Content.Body == fmt.Sprint(messages-1) {
				close(rd.done)
			}
		})
		r.OnGap(func(g client.Gap) { t.Errorf("%+v", g) })
		enter(t, c, "log/1")
	}
	writer := enter(t, connect(t, s, client.Options{}), "log/1")
	writer.OnGap(func(g client.Gap) { t.Errorf("%+v", g) })
	stop := cutting(h, 5*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range messages {
		if _, err := client.Send(ctx, writer, say, text{fmt.Sprint(i)}); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	stop()
	for _, rd := range readers {
		select {
		case <-rd.done:
		case <-ctx.Done():
			t.Error("the last message has not come")
		}
		rd.mu.Lock()
		if len(rd.got) != messages {
			t.Errorf("%d messages: %q", len(rd.got), rd.got)
		}
		for i, body := range rd.got {
			if body != fmt.Sprint(i) {
				t.Errorf("%q", rd.got)
				break
			}
		}
		rd.mu.Unlock()
	}
}

// TestHistoryOverARestart: another server knows neither session nor room, and
// the client says so.
func TestHistoryOverARestart(t *testing.T) {
	h := logHub(room.Recoverable{}, func(string) {})
	s := listen(t, h, "")
	c := connect(t, s, client.Options{})
	r := enter(t, c, "log/1")
	gaps := make(chan client.Gap, 10)
	r.OnGap(func(g client.Gap) { gaps <- g })
	if got, err := client.Send(t.Context(), r, say, text{"one"}); err != nil || got.Cursor == "" {
		t.Errorf("%+v %v", got, err)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	listen(t, logHub(room.Recoverable{}, func(string) {}), s.Listener.Addr().String())
	if g := get(t, gaps); !g.Certain || g.Reason != "epoch" || g.Cursor == "" {
		t.Errorf("%+v", g)
	}
}

// TestJoinSince: a program that is started anew goes on after the cursor it has kept, and
// is told where that is not possible.
func TestJoinSince(t *testing.T) {
	h := logHub(room.Recoverable{Keep: 5}, func(string) {})
	s := listen(t, h, "")
	post := func(name, body string) string {
		t.Helper()
		receipt, err := h.Room(name).Publish(t.Context(), say.New(text{body}))
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Cursor
	}
	for _, tt := range []struct {
		name, kept string
		missed     int
		want       string
	}{
		{"log/none", "", 0, "[live]"},
		{"log/few", "", 3, "[m1 m2 m3 live]"},
		{"log/many", "", 200, "[gap window live]"},
		{"log/strange", "!?", 3, "[gap  live]"},
		{"chat/1", "AQ", 1, "[gap  live]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cursor := tt.kept
			if cursor == "" {
				cursor = post(tt.name, "before")
			}
			for i := range tt.missed {
				post(tt.name, fmt.Sprint("m", i+1))
			}
			c := connect(t, s, client.Options{})
			var got []string
			r, done := c.Room(tt.name), make(chan struct{})
			r.OnGap(func(g client.Gap) { got = append(got, "gap "+g.Reason) })
			client.On(r, say, func(m client.Message[text]) {
				if got = append(got, m.Content.Body); m.Content.Body == "live" {
					close(done)
				}
			})
			info, err := r.JoinSince(t.Context(), nil, cursor)
			if err != nil {
				t.Fatal(err)
			}
			if tt.missed == 0 && r.Cursor() != info.Cursor {
				t.Errorf("at %q, want %q", r.Cursor(), info.Cursor)
			}
			if err := h.Room(tt.name).Broadcast(t.Context(), say.New(text{"live"})); err != nil {
				t.Fatal(err)
			}
			<-done
			if fmt.Sprint(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestJoinSinceIsRefused: who was not in the room has missed nothing of it.
func TestJoinSinceIsRefused(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		r.OnGap(func(g client.Gap) { rec.add("%+v", g) })
		done := later(func() error { _, err := r.JoinSince(context.Background(), nil, "c1"); return err })
		w := p.expect("join")
		p.refuse(w, `{"code":"denied"}`)
		if err := <-done; codeOf(err) != message.Denied || sinceOf(w) != "c1" {
			t.Errorf("%v, since %q", err, sinceOf(w))
		}
		if got := rec.take(); got != nil {
			t.Errorf("told %q", got)
		}
	})
}
