package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/message"
)

// TestWalks, T18: whatever happens to its connections, there is one at most, and
// every message has an end.
func TestWalks(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { walk(t, seed) }) })
	}
}

func walk(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	s := newServer(t)
	var mu sync.Mutex
	behaviour := 0
	s.gate = func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if behaviour == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
		return behaviour != 1
	}
	c := lazy(t, s, client.Options{})
	r := c.Room("chat/1")
	joins := join(r, nil)
	var ends []*client.Sending
	for range 40 {
		mu.Lock()
		behaviour = random.IntN(6)
		silent := behaviour == 2
		mu.Unlock()
		for range random.IntN(4) {
			ends = append(ends, client.Start(context.Background(), []client.Place{r, c}[random.IntN(2)], say, text{"x"}))
		}
		select {
		case p := <-s.peers:
			if random.IntN(5) > 0 {
				_ = p.try(welcome, p.n, p.n)
			}
			until := time.After(time.Duration(random.IntN(60_000)) * time.Millisecond)
			if !silent {
				p.obey(until)
			} else {
				<-until
			}
			if random.IntN(2) == 0 {
				p.close([]int{1001, 1011, 1012, 1013, 4003, 4008}[random.IntN(6)], "")
			} else {
				p.cut()
			}
		case <-time.After(time.Duration(random.IntN(60)) * time.Second):
		}
	}
	mu.Lock()
	behaviour = 0
	mu.Unlock()
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	for _, e := range ends {
		_, _ = e.Wait()
	}
	<-joins
	if _, most, count := s.numbers(); most > 1 || count < 2 {
		t.Errorf("%d connections at once, %d in all", most, count)
	}
}

// obey answers what comes, until then.
func (p *peer) obey(until <-chan time.Time) {
	for {
		select {
		case w := <-p.got:
			switch w.Type {
			case "end":
				return
			case "ping":
				_ = p.try(`{"type":"pong"}`)
			default:
				_ = p.try(`{"type":"ack","id":%q,%s"content":{"members":1}}`, w.ID, roomOf(w))
			}
		case <-until:
			return
		}
	}
}

func rawOf(json string) message.Raw { return message.Raw{Data: []byte(json)} }

// TestSlowOnStatus: of many changes it gets the newest.
func TestSlowOnStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec, slow := newServer(t), &record{}, make(chan struct{})
		_, p := dial(t, s, client.Options{OnStatus: func(s client.Status) {
			<-slow
			rec.add("%v %s", s.State, s.ID)
		}})
		for range 100 {
			p.cut()
			p = s.welcomed().again()
		}
		synctest.Wait()
		close(slow)
		got := rec.take()
		if len(got) != 65 || got[0] != "connected peer-1" || got[64] != "connected peer-101" {
			t.Errorf("%d: %q", len(got), got)
		}
	})
}

func TestMoreOfRooms(t *testing.T) {
	bubble(t, "a leave without an answer", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		began := time.Now()
		left := later(func() error { return r.Leave(context.Background()) })
		p.expect("leave")
		if err := <-left; err == nil || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
	bubble(t, "a leave that is refused, and one without a connection", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		left := later(func() error { return r.Leave(context.Background()) })
		p.refuse(p.expect("leave"), `{"code":"internal"}`)
		if err := <-left; codeOf(err) != "internal" {
			t.Error(err)
		}
		r = joined(t, c, p, "chat/2", `{"members":1}`)
		p.cut()
		synctest.Wait()
		if err := r.Leave(context.Background()); err != nil {
			t.Error(err)
		}
		s.welcomed().again().quiet()
	})
	bubble(t, "a join while it is joined again", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{})
		r := joined(t, c, p, "chat/1", `{"members":1}`)
		r.OnLost(func(error) { rec.add("lost") })
		p.cut()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gone := later(func() error {
			_, err := r.Join(ctx, nil)
			return err
		})
		synctest.Wait()
		cancel()
		<-gone // and it is wanted nevertheless
		again := join(r, nil)
		p = s.welcomed().again()
		p.admit(`{"members":7}`)
		if got := <-again; got.err != nil || got.Members != 7 {
			t.Errorf("%+v", got)
		}
		p.cut()
		synctest.Wait()
		again = join(r, nil)
		p = s.welcomed().again()
		p.refuse(p.expect("join"), `{"code":"denied"}`)
		if got := <-again; codeOf(got.err) != "denied" {
			t.Errorf("%+v", got)
		}
		if got := rec.take(); !slices.Equal(got, []string{"lost"}) {
			t.Errorf("%q", got)
		}
		p.quiet()
	})
	bubble(t, "a room that becomes too large for a list", func(t *testing.T) {
		s, rec := newServer(t), &record{}
		c, p := dial(t, s, client.Options{OnError: func(err error) { rec.add("%v", err) }})
		r := c.Room("chat/1")
		r.OnPresence(func(ch client.Presence) { rec.add("%d +%s -%s", ch.Count, ids(ch.Joined), ids(ch.Left)) })
		joined(t, c, p, "chat/1", `{"members":2,"presence":[{"from":"a"},{"from":"b"}]}`)
		p.cut()
		p = s.welcomed().again()
		p.admit(`{"members":2000}`)
		p.send(`{"type":"joined","room":"chat/1","from":"c"}`)
		p.send(`{"type":"left","room":"chat/1","from":"a"}`)
		p.send(`{"type":"presence","room":"chat/1","content":7}`)
		if got := rec.take(); !slices.Equal(got, []string{"2 +ab -", "2000 + -", "2001 +c -", "2000 + -a",
			`client: room "chat/1": invalid: content cannot be a number (content)`}) || r.Members() != nil {
			t.Errorf("%q", got)
		}
	})
	bubble(t, "the content of a join", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		r := c.Room("chat/1")
		if got := <-join(r, rawOf(`{"a":`)); got.err == nil || !strings.Contains(got.err.Error(), "JSON") {
			t.Errorf("%v", got.err)
		}
		done := join(r, rawOf(`{"a":1}`))
		if w := p.admit(`{"members":1,"cursor":"c\"0"}`); string(w.Content) != `{"a":1}` {
			t.Errorf("%s", w.Content)
		}
		<-done
		p.cut()
		p = s.welcomed().again()
		if w := p.admit(`{"members":1}`); string(w.Content) != `{"a":1}` || sinceOf(w) != `c"0` {
			t.Errorf("%s since %s", w.Content, sinceOf(w))
		}
	})
}
