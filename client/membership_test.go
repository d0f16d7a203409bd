package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/client"
)

// TestJoinAfterTheEnd: a Join ends nothing that came before it. What waits for handlers
// when the server has ended the membership is handled, the end told, and then what follows
// the Join.
func TestJoinAfterTheEnd(t *testing.T) {
	bubble(t, "nothing is skipped, and the end is told", func(t *testing.T) {
		s, slow := newServer(t), make(chan struct{})
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec := watch(r)
		r.OnLost(func(err error) { rec.add("lost: %v", codeOf(err)) })
		client.On(r, say, func(client.Message[text]) { <-slow })
		for _, n := range []string{"1", "2", "3"} {
			p.say("c"+n, n)
		}
		p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID)
		synctest.Wait()
		done := join(r, nil)
		if w := p.admit(`{"members":1,"cursor":"c4"}`); w.Since != nil {
			t.Errorf("since %q", sinceOf(w))
		}
		<-done
		p.say("c5", "5")
		wantCursor(t, r, "c4")
		slow <- struct{}{}
		wantCursor(t, r, "c4") // what came before does not turn it back
		close(slow)
		if got := rec.take(); !slices.Equal(got, []string{"1", "2", "3", "lost: not_member", "5"}) {
			t.Errorf("%q", got)
		}
		p.cut()
		p = s.welcomed().again()
		if got := sinceOf(p.admit(`{"members":1,"cursor":"c5","recovered":true}`)); got != "c5" {
			t.Errorf("since %q", got)
		}
	})
	bubble(t, "who gives the Join up hears the end of what was before", func(t *testing.T) {
		s, slow := newServer(t), make(chan struct{})
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1,"cursor":"c0"}`)
		rec := watch(r)
		r.OnLost(func(err error) { rec.add("lost: %v", codeOf(err)) })
		client.On(r, say, func(client.Message[text]) { <-slow })
		p.say("c1", "1")
		p.say("c2", "2")
		p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Join(ctx, nil); err == nil {
			t.Error("no error")
		}
		close(slow)
		if got := rec.take(); !slices.Equal(got, []string{"1", "2", "lost: not_member"}) {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "the end is told where it finds no space before the connection is lost", func(t *testing.T) {
		s, slow := newServer(t), make(chan struct{})
		c, p := dial(t, s, client.Options{OnError: func(error) {}})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		rec := &record{}
		r.OnLost(func(err error) { rec.add("lost: %v", codeOf(err)) })
		client.On(c, say, func(client.Message[text]) { <-slow })
		fill(p)
		p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID)
		synctest.Wait()
		p.cut()
		if err := client.Volatile(c, typing, true); err != nil { // by which it finds out
			t.Error(err)
		}
		s.welcomed().again().quiet()
		close(slow)
		if got := rec.take(); !slices.Equal(got, []string{"lost: not_member"}) {
			t.Errorf("%q", got)
		}
	})
}

// fill sends exactly what the client takes while a handler is busy.
func fill(p *peer) {
	const around = `{"type":"say","content":{"body":""}}`
	p.send(around)
	for range 16 {
		p.send(`{"type":"say","content":{"body":%q}}`, strings.Repeat("x", 1<<20-len(around)))
	}
	synctest.Wait()
}

// TestPutInAgain: what was heard uninvited on one connection, or until the server took the
// client out, is not continued by a Join after that.
func TestPutInAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(s *server, c *client.Client, p *peer) *peer
	}{
		{"on the next connection", func(s *server, _ *client.Client, p *peer) *peer {
			p.cut()
			return s.welcomed().again()
		}},
		{"after it was taken out", func(_ *server, c *client.Client, p *peer) *peer {
			p.send(`{"type":"left","room":"chat/1","from":%q}`, c.Status().ID)
			return p
		}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s, slow := newServer(t), make(chan struct{})
			c, p := dial(t, s, client.Options{})
			r := c.Room("chat/1")
			rec := watch(r)
			client.On(r, say, func(client.Message[text]) { <-slow })
			p.say("c1", "1")
			slow <- struct{}{}
			p.say("c2", "2")
			p.say("c3", "3")
			synctest.Wait()
			p = tt.end(s, c, p)
			p.say("c5", "5")
			synctest.Wait()
			done := join(r, nil)
			if w := p.admit(`{"members":1,"cursor":"c5","recovered":true}`); sinceOf(w) != "c5" {
				t.Errorf("since %q", sinceOf(w))
			}
			<-done
			p.say("c6", "6")
			synctest.Wait()
			close(slow)
			if got := rec.take(); !slices.Equal(got, []string{"1", "2", "3", "5", "6"}) {
				t.Errorf("%q", got)
			}
			wantCursor(t, r, "c6")
		})
		bubble(t, tt.name+", with nothing heard since", func(t *testing.T) {
			s := newServer(t)
			c, p := dial(t, s, client.Options{})
			r := c.Room("chat/1")
			rec := watch(r)
			p.say("c1", "1")
			synctest.Wait()
			p = tt.end(s, c, p)
			synctest.Wait()
			done := join(r, nil)
			if w := p.admit(`{"members":1,"cursor":"c5"}`); w.Since != nil {
				t.Errorf("since %q", sinceOf(w))
			}
			<-done
			p.say("c6", "6")
			if got := rec.take(); !slices.Equal(got, []string{"1", "6"}) {
				t.Errorf("%q", got)
			}
		})
	}
}

// turned is a connection that is written to in turn with whoever takes from the channel.
type turned struct {
	net.Conn
	turn chan struct{} // of 1
}

func (c *turned) Write(b []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.Conn.Write(b)
}

// TestLeaveAndJoinAtOnce: what was sent before a Leave goes before it, though a Join follows
// before anything could be written; where the connection is lost before that, it is not for
// the next membership either.
func TestLeaveAndJoinAtOnce(t *testing.T) {
	for _, cut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, turn := newServer(t), make(chan struct{}, 1)
			c, err := client.Dial(t.Context(), "ws://hub/ws", &client.Options{Lazy: true, Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := s.dial(ctx)
				return &turned{conn, turn}, err
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer over(c)
			p := s.welcomed()
			r := joined(t, c, p, "chat/1", `{"members":1}`)
			turn <- struct{}{} // nothing can be written
			results := []<-chan sending{send(r, "being written"), send(r, "waits")}
			synctest.Wait()
			left := later(func() error { return r.Leave(context.Background()) })
			synctest.Wait()
			again := join(r, nil)
			synctest.Wait()
			results = append(results, send(r, "of the next"))
			synctest.Wait()
			if cut {
				p.cut()
				<-turn
				p = s.welcomed().again()
				p.admit(`{"members":1}`)
				for _, body := range []string{"being written", "of the next"} {
					w := p.expect("say")
					if bodyOf(t, w) != body {
						t.Errorf("%s, want %q", w.Content, body)
					}
					p.ack(w, "", "")
				}
				if got := <-results[1]; !errors.Is(got.err, client.ErrClosed) {
					t.Errorf("%v", got.err)
				}
				<-again
				return
			}
			<-turn
			for _, body := range []string{"being written", "waits"} {
				w := p.expect("say")
				if bodyOf(t, w) != body {
					t.Errorf("%s, want %q", w.Content, body)
				}
				p.ack(w, "", "")
			}
			p.ack(p.expect("leave"), "", "")
			p.admit(`{"members":1}`)
			p.ack(p.expect("say"), "", "")
			for _, result := range results {
				if got := <-result; got.err != nil {
					t.Error(got.err)
				}
			}
			<-left
			<-again
		})
	}
}
