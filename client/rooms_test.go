package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/message"
)

type joining struct {
	client.Info
	err error
}

func join(r *client.Room, content any) <-chan joining {
	return later(func() joining {
		info, err := r.Join(context.Background(), content)
		return joining{info, err}
	})
}

func codeOf(err error) message.Code {
	if e, ok := errors.AsType[*message.Error](err); ok {
		return e.Code
	}
	return ""
}

func sinceOf(w wire) string {
	if w.Since == nil {
		return "none"
	}
	return *w.Since
}

func TestJoin(t *testing.T) {
	bubble(t, "it waits for the connection, carries its content and tells the answer", func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		r := c.Room("chat/1")
		if c.Room("chat/1") != r || r.Name() != "chat/1" {
			t.Error("not the same room")
		}
		done := join(r, text{"let me in"})
		p := s.welcomed()
		w := p.admit(`{"members":3,"cursor":"c0"}`)
		if w.Room != "chat/1" || bodyOf(t, w) != "let me in" || w.Since != nil {
			t.Errorf("%+v", w)
		}
		if got := <-done; got.err != nil || got.Members != 3 || got.Cursor != "c0" || !r.Joined() {
			t.Errorf("%+v", got)
		}
		if got := <-join(r, nil); got.err != nil || got.Members != 3 { // changes nothing
			t.Errorf("%+v", got)
		}
		p.quiet()
	})
	bubble(t, "T9: refused; the room may be tried again", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		done := join(r, nil)
		p.refuse(p.expect("join"), `{"code":"denied","message":"members only"}`)
		if got := <-done; codeOf(got.err) != message.Denied || r.Joined() {
			t.Errorf("%v", got.err)
		}
		done = join(r, nil)
		p.admit(`{"members":1}`)
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
	})
	bubble(t, "two at once are one", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		a, b := join(c.Room("chat/1"), nil), join(c.Room("chat/1"), nil)
		synctest.Wait()
		p.admit(`{"members":1}`)
		if a, b := <-a, <-b; a.err != nil || b.err != nil {
			t.Errorf("%v, %v", a.err, b.err)
		}
		p.quiet()
	})
	bubble(t, "a connection lost meanwhile only delays it", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		done := join(c.Room("chat/1"), nil)
		p.expect("join")
		p.cut()
		p = s.welcomed().again()
		pending(t, done)
		p.admit(`{"members":1}`)
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
	})
	bubble(t, "without an answer", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		began := time.Now()
		done := join(c.Room("chat/1"), nil)
		p.expect("join")
		got := <-done
		if !errors.Is(got.err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", got.err, time.Since(began))
		}
		p.expect("leave") // it might have been let in
		p.cut()
		s.welcomed().again().quiet()
	})
	bubble(t, "one of two gives up", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		a := later(func() error {
			_, err := c.Room("chat/1").Join(ctx, nil)
			return err
		})
		w := p.expect("join")
		b := join(c.Room("chat/1"), nil)
		synctest.Wait()
		cancel()
		if err := <-a; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.ack(w, `{"members":1}`, "")
		if got := <-b; got.err != nil {
			t.Error(got.err)
		}
	})
	bubble(t, "a name that the protocol does not allow", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		for _, name := range []string{"", "a\nb", string(make([]byte, 300))} {
			if got := <-join(c.Room(name), nil); codeOf(got.err) != message.Invalid {
				t.Errorf("%q: %v", name, got.err)
			}
		}
		p.quiet()
	})
	bubble(t, "content that cannot be encoded", func(t *testing.T) {
		s := newServer(t)
		c, _ := dial(t, s, client.Options{})
		if got := <-join(c.Room("chat/1"), func() {}); got.err == nil {
			t.Error("no error")
		}
	})
}

func TestLeave(t *testing.T) {
	bubble(t, "T15: two rooms are both, and leaving one keeps the other", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		rooms := []*client.Room{joined(t, c, p, "r1", `{"members":1}`), joined(t, c, p, "r2", `{"members":1}`)}
		for _, r := range rooms {
			client.On(r, say, func(m client.Message[text]) { rec.add("%s in %s", m.Content.Body, m.Room) })
		}
		done := later(func() error { return rooms[0].Leave(context.Background()) })
		w := p.expect("leave")
		p.send(`{"type":"say","room":"r1","content":{"body":"late"}}`)
		p.send(`{"type":"say","room":"r2","content":{"body":"hi"}}`)
		p.ack(w, "", "")
		if err := <-done; err != nil || w.Room != "r1" || rooms[0].Joined() || !rooms[1].Joined() {
			t.Errorf("%v, %+v", err, w)
		}
		if got := rec.take(); !slices.Equal(got, []string{"hi in r2"}) {
			t.Errorf("%q", got)
		}
		if err := rooms[0].Leave(context.Background()); err != nil {
			t.Error(err)
		}
		p.quiet()
		p.cut()
		p = s.welcomed().again()
		if w := p.admit(`{"members":1}`); w.Room != "r2" {
			t.Errorf("%+v", w)
		}
		p.quiet()
	})
	bubble(t, "while joining: the late answer changes nothing", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		done := join(r, nil)
		w := p.expect("join")
		left := later(func() error { return r.Leave(context.Background()) })
		if got := <-done; !errors.Is(got.err, client.ErrClosed) {
			t.Errorf("%v", got.err)
		}
		p.ack(w, `{"members":1}`, "")
		p.ack(p.expect("leave"), "", "")
		if err := <-left; err != nil || r.Joined() {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "a lost connection leaves, too", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		left := later(func() error { return r.Leave(context.Background()) })
		p.expect("leave")
		p.cut()
		if err := <-left; err != nil {
			t.Error(err)
		}
		s.welcomed().again().quiet()
	})
	bubble(t, "without a connection what waits for the room is closed", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		p.cut()
		synctest.Wait()
		queued := send(r, "too late")
		synctest.Wait()
		if err := r.Leave(context.Background()); err != nil {
			t.Error(err)
		}
		if got := <-queued; !errors.Is(got.err, client.ErrClosed) {
			t.Errorf("%v", got.err)
		}
		s.welcomed().again().quiet()
	})
	bubble(t, "and joined anew it has no past", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		r.OnGap(func(g client.Gap) { rec.add("%+v", g) })
		client.On(r, say, func(m client.Message[text]) { rec.add("%s", m.Content.Body) })
		p.send(`{"type":"say","room":"chat/1","cursor":"c1","content":{"body":"one"}}`)
		left := later(func() error { return r.Leave(context.Background()) })
		p.ack(p.expect("leave"), "", "")
		<-left
		done := join(r, nil)
		if w := p.admit(`{"members":1,"cursor":"c0"}`); w.Since != nil {
			t.Errorf("since %q", sinceOf(w))
		}
		<-done
		p.send(`{"type":"say","room":"chat/1","cursor":"c1","content":{"body":"one"}}`)
		if got := rec.take(); !slices.Equal(got, []string{"one", "one"}) && !slices.Equal(got, []string{"one"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestPutIn: the server puts the client into a room that it has not asked for.
func TestPutIn(t *testing.T) {
	listening := func(r *client.Room, rec *record) {
		r.OnGap(func(g client.Gap) { rec.add("%+v", g) })
		client.On(r, say, func(m client.Message[text]) { rec.add("%s", m.Content.Body) })
	}
	bubble(t, "handlers hear what comes, once; after a reconnect the server decides anew", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		listening(r, rec)
		p.send(`{"type":"joined","room":"chat/1","from":"ben"}`)
		for _, n := range []int{1, 1, 2} {
			p.send(`{"type":"say","room":"chat/1","cursor":"c%d","content":{"body":"%d"}}`, n, n)
		}
		p.send(`{"type":"gap","room":"chat/1","content":{"cursor":"c7","reason":"window"}}`)
		want := []string{"1", "2", "{Certain:true Reason:window Cursor:c7}"}
		if got := rec.take(); !slices.Equal(got, want) || r.Joined() || r.Count() != 0 {
			t.Errorf("%q, joined %t, %d members", got, r.Joined(), r.Count())
		}
		p.cut()
		p = s.welcomed().again()
		p.quiet()
		p.send(`{"type":"say","room":"chat/1","cursor":"c8","content":{"body":"8"}}`)
		if got := rec.take(); !slices.Equal(got, []string{"8"}) {
			t.Errorf("%q", got)
		}
	})
	for _, tt := range []struct{ name, answer, gap string }{
		{"and joins it by itself: what was heard continues", `{"members":2,"cursor":"c1","recovered":true}`, ""},
		{"where that is not possible it is told", `{"members":2,"cursor":"c1","recovered":false,"reason":"window"}`, "{Certain:true Reason:window Cursor:c1}"},
		{"also by a server that does not say so", `{"members":2,"cursor":"c1"}`, "{Certain:false Reason: Cursor:c1}"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s, rec := newServer(t), &record{}
			c, p := dial(t, s, client.Options{})
			r := c.Room("chat/1")
			listening(r, rec)
			p.say("c1", "before")
			synctest.Wait()
			done := join(r, nil)
			w := p.expect("join")
			p.say("c2", "early")
			p.ack(w, tt.answer, "")
			p.say("c2", "early")
			<-done
			want := []string{"before", tt.gap, "early"}
			if tt.gap == "" {
				want = []string{"before", "early"}
			}
			if got := rec.take(); !slices.Equal(got, want) || sinceOf(w) != "c1" || r.Cursor() != "c2" {
				t.Errorf("%q, since %q, at %q", got, sinceOf(w), r.Cursor())
			}
		})
	}
	bubble(t, "and joins it by itself: what no history has goes on", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		listening(r, rec)
		p.say("", "before")
		synctest.Wait()
		done := join(r, nil)
		w := p.expect("join")
		p.say("", "meanwhile")
		p.send(`{"type":"joined","room":"chat/1","from":"ben"}`) // which the list has
		p.ack(w, `{"members":2}`, "")
		p.say("", "after")
		<-done
		if got := rec.take(); !slices.Equal(got, []string{"before", "meanwhile", "after"}) || r.Count() != 2 {
			t.Errorf("%q, %d members", got, r.Count())
		}
	})
	bubble(t, "what comes of a join that was not answered is not for the next", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{Timeout: 5 * time.Second})
		r := c.Room("chat/1")
		listening(r, rec)
		done := later(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := r.Join(ctx, nil)
			return err
		})
		p.expect("join")
		<-time.After(5*time.Second + time.Millisecond)
		p.say("", "of the first")
		bye := p.expect("leave")
		p.say("", "of the first, too")
		w := p.expect("join")
		p.ack(bye, "", "")
		p.ack(w, `{"members":1}`, "")
		p.say("", "of the second")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := rec.take(); !slices.Equal(got, []string{"of the second"}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "and joins it before anything has been handled", func(t *testing.T) {
		s, rec, slow := newServer(t), &record{}, make(chan struct{})
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		client.On(c, say, func(client.Message[text]) { <-slow })
		listening(r, rec)
		p.send(`{"type":"say","content":{"body":"this handler takes its time"}}`)
		p.say("c1", "before")
		synctest.Wait()
		done := join(r, nil)
		w := p.expect("join")
		p.say("c2", "early")
		p.ack(w, `{"members":2,"cursor":"c1","recovered":true}`, "")
		p.say("c2", "early")
		p.say("c3", "after")
		<-done
		close(slow)
		want := []string{"before", "early", "after"}
		if got := rec.take(); !slices.Equal(got, want) || sinceOf(w) != "c1" {
			t.Errorf("%q, since %q", got, sinceOf(w))
		}
	})
	bubble(t, "what waits for handlers then need not come again", func(t *testing.T) {
		s, rec, slow := newServer(t), &record{}, make(chan struct{})
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		client.On(r, say, func(m client.Message[text]) {
			if m.Content.Body == "2" {
				<-slow
			}
		})
		listening(r, rec)
		for _, n := range []int{1, 2, 3} {
			p.say(fmt.Sprint("c", n), fmt.Sprint(n))
		}
		synctest.Wait()
		done := join(r, nil)
		if w := p.admit(`{"members":2,"cursor":"c3","recovered":true}`); sinceOf(w) != "c3" {
			t.Errorf("since %q", sinceOf(w))
		}
		p.say("c4", "4")
		<-done
		synctest.Wait()
		close(slow)
		if got := rec.take(); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "and is not let in by itself: it hears on, behind a hole", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		listening(r, rec)
		p.say("c1", "before")
		synctest.Wait()
		done := join(r, nil)
		w := p.expect("join")
		p.say("c2", "dropped")
		p.refuse(w, `{"code":"denied"}`)
		if got := <-done; codeOf(got.err) != message.Denied {
			t.Error(got.err)
		}
		synctest.Wait()
		p.say("c3", "after")
		want := []string{"before", "{Certain:false Reason: Cursor:}", "after"}
		if got := rec.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "after the client has left, nothing continues", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		listening(r, rec)
		p.say("c1", "before")
		synctest.Wait()
		if err := r.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		done := join(r, nil)
		if w := p.admit(`{"members":2,"cursor":"c2"}`); w.Since != nil {
			t.Errorf("since %q", sinceOf(w))
		}
		<-done
		if got := rec.take(); !slices.Equal(got, []string{"before"}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "nothing is heard until the server has answered a leave", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		listening(r, rec)
		left := later(func() error { return r.Leave(context.Background()) })
		w := p.expect("leave")
		p.send(`{"type":"say","room":"chat/1","content":{"body":"late"}}`)
		p.ack(w, "", "")
		<-left
		p.send(`{"type":"say","room":"chat/1","content":{"body":"put in again"}}`)
		if got := rec.take(); !slices.Equal(got, []string{"put in again"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestRoomsFirst: rooms are joined again before what waits for them is sent, in
// the order of their first join.
func TestRoomsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		var rooms []*client.Room
		for _, name := range []string{"c", "a", "b"} {
			rooms = append(rooms, joined(t, c, p, name, `{"members":1}`))
		}
		p.cut()
		synctest.Wait()
		first, second, third := send(rooms[0], "first"), send(c, "second"), send(rooms[0], "third")
		_ = second
		p = s.welcomed().again()
		var joins []wire
		for _, name := range []string{"c", "a", "b"} {
			w := p.expect("join")
			if w.Room != name {
				t.Errorf("join of %q, want %q", w.Room, name)
			}
			joins = append(joins, w)
		}
		if w := p.expect("say"); bodyOf(t, w) != "second" { // waits for no room
			t.Errorf("%+v", w)
		}
		p.quiet()
		p.ack(joins[1], `{"members":1}`, "")
		p.quiet()
		p.ack(joins[0], `{"members":1}`, "")
		for _, body := range []string{"first", "third"} {
			w := p.expect("say")
			if bodyOf(t, w) != body || w.Room != "c" {
				t.Errorf("%+v", w)
			}
			p.ack(w, "", "")
		}
		if a, b := <-first, <-third; a.err != nil || b.err != nil {
			t.Errorf("%v, %v", a.err, b.err)
		}
	})
}

// TestNotLetInAgain: a passing error is retried, another ends the membership.
func TestNotLetInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		r.OnLost(func(err error) { rec.add("lost: %v", codeOf(err)) })
		r.OnGap(func(g client.Gap) { rec.add("gap %+v", g) })
		sent := send(r, "sent")
		p.expect("say")
		p.cut()
		synctest.Wait()
		unsent := send(r, "unsent")
		p = s.welcomed().again()
		p.refuse(p.expect("join"), `{"code":"unavailable","retryAfter":4000}`)
		began := time.Now()
		w := p.expect("join")
		if d := time.Since(began); d != 4*time.Second {
			t.Errorf("again after %v", d)
		}
		p.refuse(w, `{"code":"internal"}`)
		began = time.Now()
		p.expect("join") // not answered
		if d := time.Since(began); d < time.Second || d > 2*time.Second {
			t.Errorf("again after %v", d)
		}
		p.ack(p.expect("leave"), "", "") // it may yet be heard
		w = p.expect("join")
		p.refuse(w, `{"code":"denied"}`)
		if got := rec.take(); !slices.Equal(got, []string{"lost: denied"}) {
			t.Errorf("%q", got)
		}
		if got := <-sent; !errors.Is(got.err, client.ErrUnknown) || codeOf(got.err) != message.Denied {
			t.Errorf("%v", got.err)
		}
		if got := <-unsent; errors.Is(got.err, client.ErrUnknown) || codeOf(got.err) != message.Denied {
			t.Errorf("%v", got.err)
		}
		p.cut()
		s.welcomed().again().quiet()
	})
}

// TestTakenOut: the server's end of a membership comes after the messages before it,
// and ends what waits for the room.
func TestTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":2,"presence":[{"from":"ben"},{"from":"peer"}]}`)
		rec := watch(r)
		r.OnLost(func(err error) { rec.add("lost: %v", codeOf(err)) })
		out := func() { p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID) }
		p.say("c1", "before")
		p.send(`{"type":"left","room":"chat/1","from":"ben"}`)
		synctest.Wait()
		if !r.Joined() {
			t.Error("another's end is taken for its own")
		}
		out()
		p.say("", "nothing follows")
		if got := rec.take(); !slices.Equal(got, []string{"before", "lost: not_member", "nothing follows"}) || r.Joined() || r.Count() != 0 {
			t.Errorf("%q, joined %t, %d members", got, r.Joined(), r.Count())
		}
		out() // who did not ask to be there is not told
		p.cut()
		p = s.welcomed().again()
		p.quiet() // not joined again
		info := join(r, nil)
		w := p.expect("join")
		p.ack(w, `{"members":1}`, "")
		if got := <-info; got.err != nil || w.Since != nil {
			t.Errorf("%v, since %q", got.err, sinceOf(w))
		}
		if got := rec.take(); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
}

// TestUninvitedAfterLeave: what came while the client had not asked to be in the room is
// not handled after it has joined and left.
func TestUninvitedAfterLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r, busy := c.Room("chat/1"), make(chan struct{})
		client.On(c, say, func(client.Message[text]) { <-busy })
		rec := watch(r)
		p.send(`{"type":"say","content":{"body":"this handler takes its time"}}`)
		p.say("c1", "uninvited")
		synctest.Wait()
		done := join(r, nil)
		p.ack(p.expect("join"), `{"members":1}`, "")
		if got := <-done; got.err != nil {
			t.Fatal(got.err)
		}
		left := later(func() error { return r.Leave(t.Context()) })
		p.ack(p.expect("leave"), "", "")
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		close(busy)
		if got := rec.take(); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
}

// TestLeaveAfterTheEnd: when Leave has returned no handler is called for what came before,
// though the server had ended the membership already, or the client had not asked for it.
func TestLeaveAfterTheEnd(t *testing.T) {
	for _, invited := range []bool{true, false} {
		bubble(t, fmt.Sprintf("joined: %t", invited), func(t *testing.T) {
			s, slow := newServer(t), make(chan struct{})
			c, p := dial(t, s, client.Options{})
			r := c.Room("chat/1")
			if invited {
				joined(t, c, p, "chat/1", `{"members":1}`)
			}
			rec := watch(r)
			r.OnLost(func(err error) { rec.add("lost: %v", codeOf(err)) })
			client.On(r, say, func(client.Message[text]) { <-slow })
			p.say("c1", "one")
			p.say("c2", "two")
			p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID)
			synctest.Wait()
			if err := r.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			p.say("c3", "put in again")
			synctest.Wait()
			close(slow)
			if got := rec.take(); !slices.Equal(got, []string{"one", "put in again"}) {
				t.Errorf("%q", got)
			}
			p.quiet()
		})
	}
}

// TestPost, T19: a message to a room that one is not in.
func TestPostWithoutJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		result := send(c.Room("chat/1"), "hi")
		p.refuse(p.expect("say"), `{"code":"not_member"}`)
		if got := <-result; codeOf(got.err) != message.NotMember {
			t.Errorf("%v", got.err)
		}
	})
}

// watch writes down what happens in a room.
func watch(r *client.Room) *record {
	rec := &record{}
	client.On(r, say, func(m client.Message[text]) { rec.add("%s", m.Content.Body) })
	r.OnGap(func(g client.Gap) { rec.add("gap %v %q to %q", g.Certain, g.Reason, g.Cursor) })
	return rec
}

func (p *peer) say(cursor, body string) {
	p.t.Helper()
	p.send(`{"type":"say","room":"chat/1","cursor":%q,"content":{"body":%q}}`, cursor, body)
}

func TestResume(t *testing.T) {
	bubble(t, "a room without history: possibly missed, after a reconnect and not before", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		rec := watch(r)
		joined(t, c, p, "chat/1", `{"members":1}`)
		if got := rec.take(); got != nil {
			t.Errorf("%q", got)
		}
		p.cut()
		p = s.welcomed().again()
		if w := p.admit(`{"members":1}`); w.Since != nil {
			t.Errorf("since %q", sinceOf(w))
		}
		if got := rec.take(); !slices.Equal(got, []string{`gap false "" to ""`}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "recovered: after the last processed message, in order, without a gap", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rec := watch(joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`))
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"cursor":"c0","recovered":true}`)); got != "c0" {
			t.Errorf("since %q", got)
		}
		p.say("c1", "one")
		p.send(`{"type":"other","room":"chat/1","cursor":"c2"}`) // nobody listens
		synctest.Wait()
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"cursor":"c2","recovered":true}`)); got != "c2" {
			t.Errorf("since %q", got)
		}
		p.say("c3", "three")
		p.say("c4", "four")
		if got := rec.take(); !slices.Equal(got, []string{"one", "three", "four"}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "not recovered: it says why and continues from the new cursor", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rec := watch(joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`))
		last := "c0"
		for _, reason := range []string{"window", "epoch", "regress"} {
			p.cut()
			p = s.welcomed().again()
			if got := sinceOf(p.admit(fmt.Sprintf(`{"members":1,"cursor":"n-%s","recovered":false,"reason":%q}`, reason, reason))); got != last {
				t.Errorf("since %q", got)
			}
			p.say("c9", "nine") // in each life another message
			last = "c9"
			if got := rec.take(); !slices.Equal(got, []string{fmt.Sprintf("gap true %q to %q", reason, "n-"+reason), "nine"}) {
				t.Errorf("%q", got)
			}
		}
	})
	bubble(t, "a gap while connected is told before what follows it", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rec := watch(joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`))
		p.say("c1", "one")
		p.send(`{"type":"gap","room":"chat/1","content":{"recovered":false,"reason":"window","cursor":"c8"}}`)
		if got := rec.take(); !slices.Equal(got, []string{"one", `gap true "window" to "c8"`}) {
			t.Errorf("%q", got)
		}
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"recovered":true}`)); got != "c8" {
			t.Errorf("since %q", got)
		}
	})
	bubble(t, "what comes twice is handled once", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rec := watch(joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`))
		for i := range 300 {
			p.say(fmt.Sprint("c", i), fmt.Sprint(i))
		}
		for i := 44; i < 301; i++ {
			p.say(fmt.Sprint("c", i), fmt.Sprint(i))
		}
		if got := rec.take(); len(got) != 301 || got[300] != "300" {
			t.Errorf("%d: %q", len(got), got)
		}
	})
	bubble(t, "an own message: its ack is its place in the room", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec := watch(r)
		result := send(r, "mine")
		p.ack(p.expect("say"), "", `,"cursor":"c1"`)
		p.say("c1", "mine, for all") // its handler did not exclude the sender
		if got := <-result; got.err != nil || got.Cursor != "c1" || got.ID == "" {
			t.Errorf("%+v", got)
		}
		if got := rec.take(); !slices.Equal(got, []string{"mine, for all"}) {
			t.Errorf("%q", got)
		}
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"cursor":"c1","recovered":true}`)); got != "c1" {
			t.Errorf("since %q", got)
		}
	})
	bubble(t, "a join that is answered too late: left and joined anew, and told what that answer says", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rec := watch(joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`))
		p.say("c1", "one")
		p.cut()
		p = s.welcomed().again()
		first := p.expect("join")
		<-time.After(15 * time.Second) // the server is slow
		p.ack(first, `{"members":1,"cursor":"d0","recovered":false,"reason":"epoch"}`, "")
		p.say("d1", "two")
		p.ack(p.expect("leave"), "", "")
		if w := p.expect("join"); sinceOf(w) != "c1" {
			t.Errorf("joined since %q", sinceOf(w))
		} else {
			p.ack(w, `{"members":1,"cursor":"d1","recovered":false,"reason":"epoch"}`, "")
		}
		p.say("d2", "three")
		if got := rec.take(); !slices.Equal(got, []string{"one", `gap true "epoch" to "d1"`, "three"}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "a cursor that is none to this server: begun anew", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rec := watch(joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`))
		p.cut()
		p = s.welcomed().again()
		p.refuse(p.expect("join"), `{"code":"invalid","field":"since"}`)
		if w := p.admit(`{"members":1,"cursor":"n0"}`); w.Since != nil {
			t.Errorf("since %q", sinceOf(w))
		}
		if got := rec.take(); !slices.Equal(got, []string{`gap false "" to "n0"`}) {
			t.Errorf("%q", got)
		}
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"recovered":true}`)); got != "n0" {
			t.Errorf("since %q", got)
		}
	})
	bubble(t, "the late ack of what was sent again does not turn the room back", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		result := send(r, "mine")
		p.expect("say")
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1,"cursor":"c9","recovered":false,"reason":"window"}`)
		p.ack(p.expect("say"), "", `,"cursor":"c1"`)
		if got := <-result; got.err != nil || got.Cursor != "c1" {
			t.Errorf("%+v", got)
		}
		synctest.Wait()
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"recovered":true}`)); got != "c9" {
			t.Errorf("since %q", got)
		}
	})
	bubble(t, "a lost ack is healed by the resume, and does not turn the room back", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec := watch(r)
		result := send(r, "mine")
		w := p.expect("say")
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1,"cursor":"c0","recovered":true}`)
		again := p.expect("say")
		p.ack(w, "", `,"cursor":"c1"`) // in place of the message
		p.say("c2", "two")
		if got := <-result; got.err != nil || got.Cursor != "c1" {
			t.Errorf("%+v", got)
		}
		if again.ID != w.ID {
			t.Errorf("sent again as %q, was %q", again.ID, w.ID)
		}
		p.ack(again, "", `,"cursor":"c1"`)
		if got := rec.take(); !slices.Equal(got, []string{"two"}) {
			t.Errorf("%q", got)
		}
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"recovered":true}`)); got != "c2" {
			t.Errorf("since %q", got)
		}
	})
}

// TestReceived: what waits for handlers when the connection is lost is handled, once, and
// need not come again.
func TestReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec, slow := &record{}, make(chan struct{})
		client.On(r, say, func(m client.Message[text]) {
			<-slow
			rec.add("%s", m.Content.Body)
		})
		for i := 1; i <= 200; i++ {
			p.say(fmt.Sprint("c", i), fmt.Sprint(i))
		}
		slow <- struct{}{}
		synctest.Wait()
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"cursor":"c200","recovered":true}`)); got != "c200" {
			t.Errorf("since %q", got)
		}
		for i := 201; i <= 250; i++ {
			p.say(fmt.Sprint("c", i), fmt.Sprint(i))
		}
		wantCursor(t, r, "c1")
		close(slow)
		got := rec.take()
		if len(got) != 250 {
			t.Fatalf("%d: %q", len(got), got)
		}
		for i, body := range got {
			if body != fmt.Sprint(i+1) {
				t.Fatalf("%q", got)
			}
		}
	})
}

// TestReceivedOverAHole: what waits for handlers when the connection is lost, holes and
// answers as well, is handled in order; only what follows it is asked for.
func TestReceivedOverAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec, slow := &record{}, make(chan struct{})
		client.On(r, say, func(m client.Message[text]) {
			rec.add("%s", m.Content.Body)
			<-slow
		})
		r.OnGap(func(g client.Gap) { rec.add("gap %q to %q", g.Reason, g.Cursor) })
		comes := func(cursors ...string) {
			for _, cursor := range cursors {
				p.say(cursor, cursor)
			}
		}
		back := func(since string) wire {
			t.Helper()
			synctest.Wait()
			p.cut()
			p = s.welcomed().again()
			w := p.expect("join")
			if got := sinceOf(w); got != since {
				t.Errorf("since %q, want %q", got, since)
			}
			return w
		}
		comes("c1", "c2")
		p.send(`{"type":"gap","room":"chat/1","content":{"cursor":"c8","reason":"window"}}`)
		p.ack(back("c8"), `{"members":1,"cursor":"c8","recovered":true}`, "")
		comes("c9")
		p.ack(back("c9"), `{"members":1,"cursor":"n0","recovered":false,"reason":"epoch"}`, "")
		wantCursor(t, r, "c0")
		w := back("n0")
		p.ack(w, `{"members":1,"cursor":"n0","recovered":true}`, "")
		comes("n1")
		mine := send(r, "mine")
		p.ack(p.expect("say"), "", `,"cursor":"n2"`)
		<-mine
		p.send(`{"type":"say","room":"chat/1","content":{"body":"not kept"}}`)
		w = back("n2")
		comes("n3") // of a place that has it no more, before the answer
		p.ack(w, `{"members":1,"cursor":"n2","recovered":true}`, "")
		comes("n3", "n3", "n4")
		synctest.Wait()
		close(slow)
		want := []string{"c1", "c2", `gap "window" to "c8"`, "c9", `gap "epoch" to "n0"`, "n1", "not kept", "n3", "n4"}
		if got := rec.take(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		wantCursor(t, r, "n4")
	})
}

// TestReceivedUntilTakenOut: the same where the server ends the membership before that.
func TestReceivedUntilTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, slow := newServer(t), make(chan struct{})
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec := watch(r)
		client.On(r, say, func(client.Message[text]) { <-slow })
		p.say("c1", "one")
		synctest.Wait()
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":1,"cursor":"c1","recovered":true}`)
		p.say("c1", "one")
		p.say("c2", "two")
		p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID)
		synctest.Wait()
		close(slow)
		if got := rec.take(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestSlowHandler: reading goes on, so that the connection is not taken for dead,
// until too much waits; then the client stops reading, and does not take the
// server for dead either. That is told once.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		rec := &record{}
		c, p := dial(t, s, client.Options{OnError: func(err error) { rec.add("%.33v", err) }})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		n, slow := 0, make(chan struct{})
		client.On(r, say, func(client.Message[text]) {
			<-slow
			n++
			if n == 1 || n == 20_000 {
				rec.add("%d", n)
			}
		})
		for range 200 {
			p.say("", "x")
		}
		for range 10 {
			<-time.After(25 * time.Second)
			if err := p.ws.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		rtt := later(func() error { // answers are read, too
			_, err := c.Ping(t.Context())
			return err
		})
		p.send(`{"type":"pong","id":%q}`, p.expect("ping").ID)
		if err := <-rtt; err != nil {
			t.Error(err)
		}
		written := make(chan struct{})
		go func() {
			defer close(written)
			for range 19_800 {
				p.say("", "x")
			}
		}()
		pending(t, written)
		<-time.After(time.Hour)
		p.quiet()
		if n != 0 {
			t.Errorf("%d", n)
		}
		close(slow)
		<-written
		synctest.Wait()
		if _, _, count := s.numbers(); n != 20_000 || count != 1 {
			t.Errorf("%d messages on %d connections", n, count)
		}
		if got := rec.take(); !slices.Equal(got, []string{"1", "client: handlers are too slow: no", "20000"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestSlowHandlerOfLargeMessages: what waits is bounded in bytes.
func TestSlowHandlerOfLargeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		told := atomic.Int32{}
		c, p := dial(t, s, client.Options{Limit: 20 << 20, OnError: func(error) { told.Add(1) }})
		n, slow := 0, make(chan struct{})
		client.On(c, blob, func(m client.Message[[]byte]) {
			<-slow
			n++
		})
		sent, written := atomic.Int32{}, make(chan struct{})
		large := strings.Repeat("x", 100<<10)
		go func() {
			defer close(written)
			for range 200 {
				p.bytes(`{"type":"blob"}`, large)
				sent.Add(1)
			}
			p.bytes(`{"type":"blob"}`, strings.Repeat("x", 17<<20)) // more than the bound, alone
		}()
		pending(t, written)
		if got := sent.Load(); got < 163 || got > 166 { // 16 MiB, one with the handler, one with the reader
			t.Errorf("%d messages", got)
		}
		close(slow)
		<-written
		synctest.Wait()
		if n != 201 || told.Load() != 1 {
			t.Errorf("%d messages, told %d times", n, told.Load())
		}
	})
}

// TestPresence, T13: list and count are right over random comings and goings.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		told := map[string]bool{}
		r.OnPresence(func(ch client.Presence) {
			for _, m := range ch.Joined {
				told[m.ID] = true
			}
			for _, m := range ch.Left {
				delete(told, m.ID)
			}
		})
		joined(t, c, p, "chat/1", `{"members":1,"presence":[{"from":"me","content":{"body":"I"}}]}`)
		there := map[string]bool{"me": true}
		for range 300 {
			who := fmt.Sprint("p", rand.N(20))
			typ := "joined"
			if there[who] {
				typ = "left"
				delete(there, who)
			} else {
				there[who] = true
			}
			p.send(`{"type":%q,"room":"chat/1","from":%q,"user":"u","content":{"body":"x"}}`, typ, who)
		}
		synctest.Wait()
		check := func(what string) {
			t.Helper()
			synctest.Wait()
			ids := map[string]bool{}
			for _, m := range r.Members() {
				ids[m.ID] = true
			}
			if len(ids) != len(there) || r.Count() != len(there) || len(told) != len(there) {
				t.Errorf("%s: %v, %d, told %v, want %v", what, ids, r.Count(), told, there)
			}
		}
		check("after 300")
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":2,"presence":[{"from":"p3"},{"from":"me2"}]}`)
		there = map[string]bool{"p3": true, "me2": true}
		check("after a new list")
	})
}

func TestPresenceBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":3,"presence":[{"from":"a","content":{"body":"A"}},{"from":"b","user":"ub"},{"from":"me"}]}`)
		r.OnPresence(func(ch client.Presence) {
			rec.add("%d +%s -%s ~%s", ch.Count, ids(ch.Joined), ids(ch.Left), ids(ch.Updated))
		})
		p.send(`{"type":"presence","room":"chat/1","content":{"members":4,"joined":[{"from":"c"},{"from":"d"}],"left":[{"from":"b","user":"ub"}],"updated":[{"from":"a","content":{"body":"AA"}}]}}`)
		p.send(`{"type":"presence","room":"chat/1","content":{"members":4,"updated":[{"from":"c2","was":"c","user":"uc","content":{"body":"C"}}]}}`)
		p.send(`{"type":"presence","room":"chat/1","content":{"members":4,"updated":[{"from":"stranger","was":"unknown"}]}}`)
		p.send(`{"type":"left","room":"chat/1","from":"nobody"}`)
		want := []string{"4 +cd -b ~a", "4 + - ~c2 (was c)", "4 + - ~stranger (was unknown)", "4 + -nobody ~"}
		if got := rec.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		p.send(`{"type":"left","room":"chat/1","from":"another of c's","user":"uc"}`)
		if got := rec.take(); !slices.Equal(got, []string{"3 + -another of c's ~"}) {
			t.Errorf("%q", got)
		}
		if got := ids(r.Members()); got != "amedstranger" {
			t.Errorf("%s", got)
		}
		var body text
		if err := r.Members()[0].Content.Decode(nil, &body); err != nil || body.Body != "AA" {
			t.Errorf("%v %v", body, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a room that only counts
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":5000}`)
		r.OnPresence(func(ch client.Presence) { rec.add("%d", ch.Count) })
		p.send(`{"type":"presence","room":"chat/1","content":{"members":5007}}`)
		if got := rec.take(); !slices.Equal(got, []string{"5007"}) || r.Count() != 5007 || r.Members() != nil {
			t.Errorf("%q, %d, %v", got, r.Count(), r.Members())
		}
	})
}

// TestPresenceAnew: a list replaces what there is, and a number alone ends it.
func TestPresenceAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":2,"presence":[{"from":"a","content":1},{"from":"b","content":1}]}`)
		r.OnPresence(func(ch client.Presence) {
			rec.add("%d +%s -%s ~%s", ch.Count, ids(ch.Joined), ids(ch.Left), ids(ch.Updated))
		})
		for _, step := range []struct{ content, told, list string }{
			{`{"members":3,"presence":[{"from":"a","content":2},{"from":"c"},{"from":"d"}]}`, "3 +cd -b ~a", "acd"},
			{`{"members":2,"left":[{"from":"d","user":"u"}],"joined":[{"from":"d","user":"u"}]}`, "2 +d -d ~", "acd"},
			{`{"members":1200}`, "1200 + - ~", ""},
			{`{"members":1199,"left":[{"from":"a"}]}`, "1199 + -a ~", ""},
			{`{"members":2,"presence":[{"from":"a"},{"from":"e"}]}`, "2 +ae - ~", "ae"},
			{`{}`, "2 + - ~", "ae"},
			{`{"members":0,"presence":[]}`, "0 + -ae ~", ""},
			{`{"members":1,"joined":[{"from":"f"}]}`, "1 +f - ~", "f"},
		} {
			p.send(`{"type":"presence","room":"chat/1","content":%s}`, step.content)
			if got := rec.take(); !slices.Equal(got, []string{step.told}) || ids(r.Members()) != step.list {
				t.Errorf("%s: %q, list %q", step.content, got, ids(r.Members()))
			}
		}
	})
}

func ids(members []client.Member) (s string) {
	for _, m := range members {
		s += m.ID
		if m.Was != "" {
			s += " (was " + m.Was + ")"
		}
	}
	return s
}
