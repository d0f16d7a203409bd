package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// wantCursor waits until all is at rest.
func wantCursor(t *testing.T, r *client.Room, want string) {
	t.Helper()
	synctest.Wait()
	if got := r.Cursor(); got != want {
		t.Errorf("at %q, want %q", got, want)
	}
}

func TestCursor(t *testing.T) {
	bubble(t, "it is behind what has been handled", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		if r := c.Room("chat/1"); r.Cursor() != "" {
			t.Errorf("%q", r.Cursor())
		}
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		wantCursor(t, r, "c0")
		slow := make(chan struct{})
		client.On(r, say, func(client.Message[text]) { <-slow })
		p.say("c1", "one")
		result := send(r, "mine")
		p.ack(p.expect("say"), "", `,"cursor":"c2"`)
		if got := <-result; got.err != nil || got.Cursor != "c2" {
			t.Errorf("%+v", got)
		}
		wantCursor(t, r, "c0")
		close(slow)
		wantCursor(t, r, "c2")
		p.send(`{"type":"gap","room":"chat/1","content":{"recovered":false,"reason":"window","cursor":"c8"}}`)
		wantCursor(t, r, "c8")
		p.cut()
		wantCursor(t, r, "c8") // it is still wanted
		left := later(func() error { return r.Leave(context.Background()) })
		<-left
		wantCursor(t, r, "")
	})
	bubble(t, "an answer to what was sent before a hole does not lead back over it", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		before := send(r, "before")
		w := p.expect("say")
		p.send(`{"type":"gap","room":"chat/1","content":{"recovered":false,"reason":"window","cursor":"c7"}}`)
		p.ack(w, "", `,"cursor":"c1"`)
		if got := <-before; got.err != nil || got.Cursor != "c1" {
			t.Errorf("%+v", got)
		}
		wantCursor(t, r, "c7")
		after := send(r, "after")
		p.ack(p.expect("say"), "", `,"cursor":"c8"`)
		<-after
		wantCursor(t, r, "c8")
	})
	bubble(t, "where nothing waits for handlers, an answer finds it there", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		synctest.Wait()
		sending := later(func() string {
			_, _ = client.Send(context.Background(), r, say, text{"mine"})
			return r.Cursor()
		})
		p.ack(p.expect("say"), "", `,"cursor":"c1"`)
		if got := <-sending; got != "c1" {
			t.Errorf("%q", got)
		}
	})
}

func TestAt(t *testing.T) {
	bubble(t, "it says where it expects the room, in every try", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c\"0"}`)
		result := send(r.At(r.Cursor()), "edit")
		if w := p.expect("say"); sinceOf(w) != `c"0` || w.Room != "chat/1" || bodyOf(t, w) != "edit" {
			t.Errorf("%+v", w)
		}
		plain := send(r, "plain")
		if w := p.expect("say"); w.Since != nil {
			t.Errorf("since %q", sinceOf(w))
		}
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1,"cursor":"c\"0","recovered":true}`)
		w := p.expect("say")
		if sinceOf(w) != `c"0` {
			t.Errorf("since %q", sinceOf(w))
		}
		p.refuse(w, `{"code":"conflict"}`)
		if got := <-result; codeOf(got.err) != message.Conflict {
			t.Errorf("%+v", got)
		}
		p.ack(p.expect("say"), "", "")
		<-plain
		if err := client.Volatile(r.At("c5"), typing, true); err != nil || sinceOf(p.expect("typing")) != "c5" {
			t.Error(err)
		}
	})
	bubble(t, "where the history was lost meanwhile it is not known who went on there", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		result := send(r.At(r.Cursor()), "edit")
		p.expect("say")
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1,"cursor":"d0","recovered":false,"reason":"epoch"}`)
		p.refuse(p.expect("say"), `{"code":"conflict"}`)
		if got := <-result; !errors.Is(got.err, client.ErrUnknown) {
			t.Errorf("%+v", got)
		}
	})
	bubble(t, "without a cursor nothing is sent", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		var e *message.Error
		if got := <-send(r.At(r.Cursor()), "edit"); !errors.As(got.err, &e) || e.Code != message.Invalid || e.Field != "since" {
			t.Errorf("%+v", got)
		}
		p.quiet()
	})
	bubble(t, "handlers are those of the room", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		client.On(r.At("c0"), say, func(m client.Message[text]) { rec.add("%s", m.Content.Body) })
		p.say("c1", "one")
		if got := rec.take(); !slices.Equal(got, []string{"one"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestPositionAfterRepeating: the answer to a repeated message may overtake
// others, unless there can be none.
func TestPositionAfterRepeating(t *testing.T) {
	// repeated sends a message, and again after the connection was lost.
	repeated := func(t *testing.T, optimistic bool) (*server, *client.Room, *peer, wire) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		if optimistic {
			send(r.At(r.Cursor()), "mine")
		} else {
			send(r, "mine")
		}
		p.expect("say")
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1,"cursor":"c0","recovered":true}`)
		return s, r, p, p.expect("say")
	}
	bubble(t, "published at the position, it is the next one", func(t *testing.T) {
		s, r, p, w := repeated(t, true)
		p.ack(w, "", `,"cursor":"c1"`)
		wantCursor(t, r, "c1")
		p.ack(w, "", `,"cursor":"c1"`) // and in its place
		wantCursor(t, r, "c1")
		next := send(r.At(r.Cursor()), "next")
		w = p.expect("say")
		if sinceOf(w) != "c1" {
			t.Errorf("since %q", sinceOf(w))
		}
		p.ack(w, "", `,"cursor":"c2"`)
		<-next
		wantCursor(t, r, "c2")
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"recovered":true}`)); got != "c2" {
			t.Errorf("joined since %q", got)
		}
	})
	bubble(t, "but the own message may be still to come, and is not skipped", func(t *testing.T) {
		s, r, p, w := repeated(t, true)
		rec := watch(r)
		p.ack(w, "", `,"cursor":"c1"`)
		wantCursor(t, r, "c1")
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"cursor":"c0","recovered":true}`)); got != "c0" {
			t.Errorf("joined since %q", got)
		}
		wantCursor(t, r, "c1")
		p.say("c1", "mine")
		p.say("c2", "two")
		if got := rec.take(); !slices.Equal(got, []string{"mine", "two"}) {
			t.Errorf("%q", got)
		}
		wantCursor(t, r, "c2")
	})
	bubble(t, "published anywhere, it may have overtaken something", func(t *testing.T) {
		_, r, p, w := repeated(t, false)
		p.ack(w, "", `,"cursor":"c9"`)
		wantCursor(t, r, "c0")
		p.say("c1", "one")
		wantCursor(t, r, "c1")
	})
	bubble(t, "published at another position, it does not lead back", func(t *testing.T) {
		_, r, p, w := repeated(t, true)
		p.ack(w, "", "")
		p.say("c1", "mine")
		p.say("c2", "two")
		p.ack(w, "", `,"cursor":"c1"`)
		wantCursor(t, r, "c2")
	})
}

// TestHubAt: connections break all the time, and who publishes alone, each time
// where the room is, never meets a conflict.
func TestHubAt(t *testing.T) {
	const messages = 100
	h := logHub(room.Recoverable{}, func(string) {})
	s := listen(t, h, "")
	r := enter(t, connect(t, s, client.Options{}), "log/1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := cutting(h, 5*time.Millisecond)
	var last client.Receipt
	for range messages {
		var err error
		if last, err = client.Send(ctx, r.At(r.Cursor()), say, text{"edit"}); err != nil {
			t.Fatal(err)
		}
		for r.Cursor() != last.Cursor && ctx.Err() == nil {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				t.Errorf("the room stays at %q, the message is at %q", r.Cursor(), last.Cursor)
			}
		}
	}
	stop()
	other := enter(t, connect(t, s, client.Options{}), "log/1")
	if _, err := client.Send(ctx, other.At(last.Cursor), say, text{"the first one"}); err != nil {
		t.Error(err)
	}
	if _, err := client.Send(ctx, r.At(last.Cursor), say, text{"too late"}); codeOf(err) != message.Conflict {
		t.Error(err)
	}
	page, err := h.Room("log/1").History(ctx, "", 1000)
	if err != nil || len(page.Messages) != messages+1 {
		t.Errorf("%d messages, %v", len(page.Messages), err)
	}
}
