package hub_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestAnswerOfASlowHandler: the answer to a publish has its cursor as long as the
// client's cursor does not go back by it.
func TestAnswerOfASlowHandler(t *testing.T) {
	for name, between := range map[string]bool{"nothing in between": false, "another message in between": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
				finish := make(chan struct{})
				hub.On(rooms, say, func(ctx context.Context, r *hub.Request, in text) error {
					defer func() { <-finish }()
					return r.Others(ctx, say.New(in))
				})
				c := hubtest.Dial(t, h)
				c.Join("log/1", nil)
				e := say.New(text{"mine"})
				e.ID = "7"
				c.Send("log/1", e)
				synctest.Wait()
				if between {
					if err := h.Room("log/1").Broadcast(t.Context(), note.New("other")); err != nil {
						t.Fatal(err)
					}
					hubtest.Expect(c, note)
				}
				close(finish)
				ack := c.ExpectType("ack")
				if ack.ID != "7" || (ack.Cursor == "") != between {
					t.Errorf("the answer is %+v", ack)
				}
				c.ExpectNone()
				shutDown(t, h)
			})
		})
	}
}

// TestPublishFails: a handler that fails after it has published is answered once,
// and so is one whose message cannot be stored.
func TestPublishFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		hub.On(rooms, say, func(ctx context.Context, r *hub.Request, in text) error {
			if err := r.Others(ctx, say.New(in)); err != nil {
				return err
			}
			return message.Errorf(message.Denied, "on second thoughts")
		})
		c, other := hubtest.Dial(t, h), hubtest.Dial(t, h)
		c.Join("log/1", nil)
		other.Join("log/1", nil)
		_, err := c.Request("log/1", say.New(text{"mine"}))
		wantCode(t, err, message.Denied)
		hubtest.Expect(other, say)
		c.ExpectNone()
		shutDown(t, h)
	})
}

// TestSameIDElsewhere: a message that comes again while it is still handled, on
// another connection of its session, is handled once; another message with its id
// is refused, though what became of the first is not known here.
func TestSameIDElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		var runs atomic.Int32
		finish := make(chan struct{})
		hub.Reply(rooms, message.Call[text, int]("say"), func(ctx context.Context, r *hub.Request, in text) (int, error) {
			n := runs.Add(1)
			err := r.Others(ctx, say.New(in))
			<-finish
			return int(n), err
		})
		secret := strings.Repeat("s", 26)
		var clients []*hubtest.Client
		for range 2 {
			c := hubtest.Dial(t, h)
			if _, err := c.Request("", message.New("auth", map[string]string{"session": secret})); err != nil {
				t.Fatal(err)
			}
			c.Join("log/1", nil)
			clients = append(clients, c)
			synctest.Wait()
		}
		e := say.New(text{"once"})
		e.ID = "m"
		clients[0].Send("log/1", e)
		synctest.Wait()
		if ack := clients[1].ExpectType("ack"); ack.ID != "m" || ack.Cursor == "" { // not what it said itself
			t.Errorf("told of %+v", ack)
		}
		clients[1].Send("log/1", e)
		other := say.New(text{"another"})
		other.ID = "m"
		synctest.Wait()
		close(finish)
		var cursors []string
		for _, c := range clients {
			ack := c.ExpectType("ack")
			cursors = append(cursors, ack.Cursor)
			if ack.ID != "m" || string(ack.Content.Data) != "1" || ack.Cursor == "" {
				t.Errorf("answered %+v", ack)
			}
		}
		if runs.Load() != 1 || cursors[0] != cursors[1] {
			t.Errorf("%d runs, cursors %v", runs.Load(), cursors)
		}
		clients[1].Send("log/1", other)
		if e := clients[1].ExpectType("error"); !strings.Contains(string(e.Content.Data), "conflict") {
			t.Errorf("another message with the id: %s", e.Content.Data)
		}
		page, err := h.Room("log/1").History(t.Context(), "", 0)
		if err != nil || len(page.Messages) != 1 {
			t.Errorf("%d messages are kept, %v", len(page.Messages), err)
		}
		shutDown(t, h)
	})
}

// TestOneAnswerElsewhere: who sends again what is handled on another connection of its
// session gets one answer, which has the result, also where the message's turn comes
// before that, or after.
func TestOneAnswerElsewhere(t *testing.T) {
	for _, late := range []time.Duration{0, 100 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, &hub.Options{Engine: tardy{memory.New(nil), late}})
				rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
				hub.Reply(rooms, message.Call[text, int]("say"), func(ctx context.Context, r *hub.Request, in text) (int, error) {
					<-time.After(10 * time.Millisecond)
					err := r.Others(ctx, say.New(in))
					<-time.After(10 * time.Millisecond)
					return 1, err
				})
				secret := strings.Repeat("s", 26)
				var clients []*hubtest.Client
				for range 2 {
					c := hubtest.Dial(t, h)
					if _, err := c.Request("", message.New("auth", map[string]string{"session": secret})); err != nil {
						t.Fatal(err)
					}
					c.Join("log/1", nil)
					clients = append(clients, c)
				}
				<-time.After(2 * time.Second) // the feed has looked at the log, and will not soon
				e := say.New(text{"once"})
				e.ID = "m"
				for _, c := range clients {
					c.Send("log/1", e)
				}
				for _, c := range clients {
					if ack := c.ExpectType("ack"); ack.ID != "m" || string(ack.Content.Data) != "1" || ack.Cursor == "" {
						t.Errorf("answered %+v", ack)
					}
				}
				<-time.After(time.Second)
				for _, c := range clients {
					c.ExpectNone()
				}
				shutDown(t, h)
			})
		})
	}
}

// TestSessionOfWhoWasJoined: an application may put a client into rooms before it
// has said who it was.
func TestSessionOfWhoWasJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Connect: func(ctx context.Context, p *hub.Peer) {
			if err := p.Join(ctx, "log/1", nil); err != nil {
				t.Error(err)
			}
		}})
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, toOthers)
		secret := strings.Repeat("s", 26)
		e := say.New(text{"once"})
		e.ID = "m"
		for i := range 2 {
			c := hubtest.Dial(t, h)
			if _, err := c.Request("", message.New("auth", map[string]string{"session": secret})); err != nil {
				t.Fatal(err)
			}
			c.Send("log/1", e)
			if ack := c.ExpectType("ack"); ack.ID != "m" || ack.Cursor == "" {
				t.Errorf("%d: answered %+v", i, ack)
			}
			c.Cut()
			synctest.Wait()
		}
		page, err := h.Room("log/1").History(t.Context(), "", 0)
		if err != nil || len(page.Messages) != 1 {
			t.Errorf("%d messages are kept, %v", len(page.Messages), err)
		}
		shutDown(t, h)
	})
}

// TestAnswerAfterAuth: who was put into a room before it has said who it was gets
// what it had sent on an earlier connection as an answer, once that is stored.
func TestAnswerAfterAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var peer *hub.Peer
		h := newHub(t, &hub.Options{Connect: func(ctx context.Context, p *hub.Peer) {
			peer = p
			if err := p.Join(ctx, "log/1", nil); err != nil {
				t.Error(err)
			}
		}})
		h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		c := hubtest.Dial(t, h)
		if _, err := c.Request("", message.New("auth", map[string]string{"session": strings.Repeat("s", 26)})); err != nil {
			t.Fatal(err)
		}
		receipt, err := h.Room("log/1").Publish(t.Context(), say.New(text{"late"}), room.Once(peer.Session(), "m", 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		c.ExpectType("say")
		if ack := c.ExpectType("ack"); ack.ID != "m" || ack.Cursor != receipt.Cursor {
			t.Errorf("answered %+v, want the cursor %q", ack, receipt.Cursor)
		}
		shutDown(t, h)
	})
}

// TestBehindAndPublishing: who is behind is answered once, when its message's turn
// comes, and with the result.
func TestBehindAndPublishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{Bytes: 100 << 20, Keep: 10_000}})
		hub.Reply(rooms, message.Call[text, int]("say"), func(ctx context.Context, r *hub.Request, in text) (int, error) {
			return 7, r.Others(ctx, say.New(in))
		})
		c := hubtest.Dial(t, h)
		c.Join("log/1", nil)
		c.Freeze(true)
		const flood = 100
		for i := range flood {
			if err := h.Room("log/1").Broadcast(t.Context(), note.New(fmt.Sprint(i)+strings.Repeat("x", 30_000))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			e := say.New(text{fmt.Sprint("mine", i)})
			e.ID = fmt.Sprint("m", i)
			c.Send("log/1", e)
		}
		<-time.After(10*time.Second + 500*time.Millisecond) // the publisher's patience ends at whole seconds
		c.Freeze(false)
		for i := range flood {
			if got := hubtest.Expect(c, note); !strings.HasPrefix(got, fmt.Sprint(i)+"x") {
				t.Fatalf("message %d is %.10s", i, got)
			}
		}
		for i := range 3 {
			ack := c.ExpectType("ack")
			if ack.ID != fmt.Sprint("m", i) || ack.Cursor == "" || string(ack.Content.Data) != "7" {
				t.Errorf("answer %d is %+v", i, ack)
			}
		}
		<-time.After(10 * time.Second)
		c.ExpectNone()
		shutDown(t, h)
	})
}

// tardy is an engine that shows what is stored some time later.
type tardy struct {
	*memory.Engine
	by time.Duration
}

func (e tardy) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	return e.Engine.Start(ctx, node, classes, tardySink{sink, e.by})
}

type tardySink struct {
	engine.Sink
	by time.Duration
}

func (s tardySink) Entry(t engine.Topic, e engine.Entry) {
	time.AfterFunc(s.by, func() { s.Sink.Entry(t, e) })
}

// TestLateEngine: who publishes waits a second for its message's turn, is then
// answered without a cursor, and not again when the turn comes.
func TestLateEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Engine: tardy{memory.New(nil), 3 * time.Second}})
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, toOthers)
		c, other := hubtest.Dial(t, h), hubtest.Dial(t, h)
		c.Join("log/1", nil)
		other.Join("log/1", nil)
		<-time.After(2 * time.Second) // the feed has looked at the log, and will not soon
		start := time.Now()
		for i, leaves := range []bool{false, true} {
			e := say.New(text{"mine"})
			e.ID = fmt.Sprint("m", i)
			c.Send("log/1", e)
			if leaves {
				c.Send("log/1", message.New("leave", nil))
			}
			if ack := c.ExpectType("ack"); ack.ID != e.ID || ack.Cursor != "" {
				t.Errorf("answered %+v", ack)
			}
			if waited := time.Since(start); waited != time.Second {
				t.Errorf("%d: answered after %v", i, waited)
			}
		}
		for range 2 {
			hubtest.Expect(other, say)
		}
		<-time.After(5 * time.Second)
		c.ExpectNone()
		shutDown(t, h)
	})
}

// blind is one whose log cannot be looked at for some time.
type blind struct {
	tardy
	now *atomic.Bool
}

func (e blind) Heads(ctx context.Context, ts ...engine.Topic) ([]engine.Position, error) {
	if e.now.Load() {
		return nil, engine.ErrUnavailable
	}
	return e.tardy.Heads(ctx, ts...)
}

func (e blind) Read(ctx context.Context, t engine.Topic, from engine.Position, limit int) (engine.Page, error) {
	if e.now.Load() {
		return engine.Page{}, engine.ErrUnavailable
	}
	return e.tardy.Read(ctx, t, from, limit)
}

// TestForgottenAnswer: a message whose turn does not come for long is not remembered
// by its publisher, whatever the answer was. When it comes, its place is told.
func TestForgottenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := blind{tardy{memory.New(nil), 2 * time.Minute}, &atomic.Bool{}}
		h := newHub(t, &hub.Options{Engine: e})
		rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		hub.On(rooms, say, func(ctx context.Context, r *hub.Request, in text) error {
			if err := r.Others(ctx, say.New(in)); err != nil || in.Body == "fine" {
				return err
			}
			return message.Errorf(message.Denied, "after it was published")
		})
		c := hubtest.Dial(t, h)
		c.Join("log/1", nil)
		e.now.Store(true)
		for _, id := range []string{"fine", "wrong"} {
			e := say.New(text{id})
			e.ID = id
			c.Send("log/1", e)
		}
		got := map[string]int{}
		for i := range 4 {
			if i == 2 {
				<-time.After(90 * time.Second)
				e.now.Store(false)
				<-time.After(2 * time.Minute) // the feed looks again, or is told
			}
			m := c.Next()
			got[fmt.Sprint(m.Type, m.ID, m.Cursor != "")]++
		}
		if want := map[string]int{"errorwrongfalse": 1, "ackfinefalse": 1, "ackfinetrue": 1, "ackwrongtrue": 1}; !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		shutDown(t, h)
	})
}

// TestLateEngineAndShutdown: who publishes is answered before the goodbye, though the
// message's turn comes later.
func TestLateEngineAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Engine: tardy{memory.New(nil), 3 * time.Second}})
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, toOthers)
		first, second := hubtest.Dial(t, h), hubtest.Dial(t, h)
		for _, c := range []*hubtest.Client{first, second} {
			c.Join("log/1", nil)
		}
		<-time.After(2 * time.Second) // the feed has looked at the log, and will not soon
		for _, c := range []*hubtest.Client{first, second} {
			e := say.New(text{"mine"})
			e.ID = "last"
			c.Send("log/1", e)
		}
		synctest.Wait()
		h.Peer(first.ID()).Close(message.CloseKicked, "enough")
		go shutDown(t, h)
		for _, c := range []*hubtest.Client{first, second} {
			c.ExpectType("bye")
			if ack := c.ExpectType("ack"); ack.ID != "last" || ack.Cursor != "" {
				t.Errorf("answered %+v", ack)
			}
			_ = c.Closed()
		}
		synctest.Wait()
	})
}

// TestOneAnswer: a message whose turn comes just when it would be answered without
// is answered once.
func TestOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, rounds = 50, 60
		h := newHub(t, &hub.Options{Engine: tardy{memory.New(nil), time.Second}})
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, toOthers)
		c := hubtest.Dial(t, h)
		for i := range rooms {
			c.Join(fmt.Sprint("log/", i), nil)
		}
		<-time.After(2 * time.Second) // the feeds have looked at the logs, and will not soon
		for n := range rounds {
			for i := range rooms {
				e := say.New(text{"mine"})
				e.ID = fmt.Sprint("m", n)
				c.Send(fmt.Sprint("log/", i), e)
			}
			for range rooms {
				if ack := c.ExpectType("ack"); ack.ID != fmt.Sprint("m", n) {
					t.Fatalf("answered %+v", ack)
				}
			}
		}
		c.ExpectNone()
		shutDown(t, h)
	})
}

// TestOneRefusal: a message whose handler fails after it has published has its
// answer, and gets no other when its turn comes, however often it was sent until then.
func TestOneRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Engine: tardy{memory.New(nil), 3 * time.Second}, Log: slog.New(slog.DiscardHandler)})
		hub.Reply(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), "fail", func(ctx context.Context, r *hub.Request, how string) (any, error) {
			if err := r.Others(ctx, note.New("x")); err != nil {
				return nil, err
			}
			return goWrong(ctx, r, how)
		})
		c, other := hubtest.Dial(t, h), hubtest.Dial(t, h)
		c.Join("log/1", nil)
		other.Join("log/1", nil)
		<-time.After(2 * time.Second) // the feed has looked at the log, and will not soon
		for _, how := range []string{"error", "panic", "answer"} {
			_, err := c.Request("log/1", message.New("fail", how))
			wantCode(t, err, message.Internal)
			hubtest.Expect(other, note)
			c.ExpectNone()
		}
		e := message.New("fail", "answer")
		e.ID = "again"
		for range 3 { // what was stored the first time
			c.Send("log/1", e)
			c.ExpectType("error")
		}
		hubtest.Expect(other, note)
		c.ExpectNone()
		shutDown(t, h)
	})
}

// lazy is an engine that takes its time to start.
type lazy struct {
	*memory.Engine
	takes time.Duration
}

func (e lazy) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	select {
	case <-time.After(e.takes):
		return e.Engine.Start(ctx, node, classes, sink)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestSlowEngine: while the engine starts, everybody waits for it as long as he
// likes, and what was begun for one who gave up is there for the next.
func TestSlowEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Engine: lazy{memory.New(nil), time.Minute}, Log: slog.New(slog.DiscardHandler)})
		h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := hubtest.DialRequest(t, h, httptest.NewRequestWithContext(ctx, "GET", "/", nil)); err == nil || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		r := h.Room("log/1")
		if waited := time.Since(began); waited != 6*time.Second {
			t.Errorf("the room is there after %v", waited)
		}
		if _, err := r.Publish(t.Context(), note.New("x")); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		shutDown(t, h)
	})
}

// TestWindow: an id is remembered for as long as the room says, and not longer.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{Dedupe: 10 * time.Second}}), say, toOthers)
		c := hubtest.Dial(t, h)
		c.Join("log/1", nil)
		e := say.New(text{"mine"})
		e.ID = "m"
		var cursors []string
		for _, pause := range []time.Duration{0, 9 * time.Second, 2 * time.Second} {
			<-time.After(pause)
			c.Send("log/1", e)
			cursors = append(cursors, c.ExpectType("ack").Cursor)
		}
		if cursors[0] != cursors[1] || cursors[1] == cursors[2] {
			t.Errorf("after 0, 9 and 11 seconds: %v", cursors)
		}
		shutDown(t, h)
	})
}

func shutDown(t *testing.T, h *hub.Hub) {
	t.Helper()
	if err := h.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
