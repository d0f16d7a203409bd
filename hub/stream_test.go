package hub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

const feed message.Call[int, string] = "feed"

// endless yields until nobody wants more, and counts.
func endless(made *atomic.Int64, ended chan<- error) func(context.Context, *hub.Request, int) iter.Seq2[string, error] {
	return func(ctx context.Context, _ *hub.Request, size int) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for yield(strings.Repeat("x", size), nil) {
				made.Add(1)
				if size == 0 { // one, and then nothing for ever
					<-ctx.Done()
				}
			}
			ended <- context.Cause(ctx)
		}
	}
}

// TestStreamWaitsForItsClient: a client that does not read is asked for no more
// than fits, is not cut off, and gets the rest later.
func TestStreamWaitsForItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		ended := make(chan error, 1)
		var book logbook
		h := newHub(t, &hub.Options{Log: book.logger()})
		hub.Stream(h, feed, endless(&made, ended))
		c := hubtest.Dial(t, h)
		c.Freeze(true)
		e := feed.New(1000)
		e.ID = "1"
		c.Send("", e)
		synctest.Wait()
		most := made.Load()
		if most < 100 || most > 2000 {
			t.Errorf("%d results of 1 kB were made for a client that reads nothing", most)
		}
		c.Freeze(false)
		for range most + 100 {
			if got := c.ExpectType(string(feed)); got.Stream != "1" || len(got.Content.Data) != 1002 {
				t.Fatalf("got %+v", got)
			}
		}
		c.Cut()
		<-ended
		synctest.Wait()
		book.wantLines(t) // that a client goes is no error
	})
}

// TestStreamEndedAtOnce: the message right behind the question may end the stream.
func TestStreamEndedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		ended := make(chan error, 20)
		h := newHub(t, nil)
		hub.Stream(h, feed, endless(&made, ended))
		c := hubtest.Dial(t, h)
		for i := range 20 { // more than may be open at a time
			question := feed.New(0)
			question.ID = fmt.Sprint("s", i)
			end := message.New("leave", map[string]string{"stream": question.ID})
			c.Send("", question)
			c.Send("", end)
			if ack := c.ExpectType("ack"); ack.ID != question.ID {
				t.Fatalf("answered %+v", ack)
			}
			<-ended
		}
	})
}

// TestStreamLimit: the ninth stream is refused, and the connection goes on.
func TestStreamLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		ended := make(chan error, 9)
		h := newHub(t, nil)
		hub.Stream(h, feed, endless(&made, ended))
		hub.Reply(h, sum, func(context.Context, *hub.Request, []int) (int, error) { return 7, nil })
		c := hubtest.Dial(t, h)
		for i := range 9 {
			e := feed.New(0)
			e.ID = fmt.Sprint("s", i)
			c.Send("", e)
		}
		refused := c.ExpectType("error")
		var got *message.Error
		if err := message.ErrorFrom(refused.Content); !errors.As(err, &got) || got.Code != message.RateLimited {
			t.Errorf("the ninth is answered %s", refused.Content.Data)
		}
		if n, err := hubtest.Ask(c, "", sum, nil); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		c.Close()
		for range 8 {
			<-ended
		}
	})
}

// TestStreamsEndWithTheMembership: nothing of a stream arrives after the room has
// been left, or its client taken out of it, but its answer. Others go on.
func TestStreamsEndWithTheMembership(t *testing.T) {
	for name, leave := range map[string]func(h *hub.Hub, c *hubtest.Client){
		"left": func(_ *hub.Hub, c *hubtest.Client) {
			e := message.New("leave", nil)
			e.ID = "leave"
			c.Send("chat/1", e)
		},
		"taken out": func(h *hub.Hub, c *hubtest.Client) { h.Room("chat/1").Leave(h.Peer(c.ID())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				h.Rooms("chat/{id}", nil)
				hub.Stream(h, feed, func(context.Context, *hub.Request, int) iter.Seq2[string, error] {
					return func(yield func(string, error) bool) { // heeds no context
						for yield("x", nil) {
							<-time.After(time.Millisecond)
						}
					}
				})
				c := hubtest.Dial(t, h)
				for _, room := range []string{"chat/1", "chat/2", ""} {
					if room != "" {
						c.Join(room, nil)
					}
					e := feed.New(0)
					e.ID = "of " + room
					c.Send(room, e)
				}
				<-time.After(10 * time.Millisecond)
				leave(h, c)
				<-time.After(10 * time.Millisecond)
				left := false
				got := map[string]int{}
				for e := c.Next(); e.Stream != "of " || !left || got["of "] < 5; e = c.Next() {
					left = left || e.ID == "leave" || e.Type == "left"
					if left {
						got[e.Stream]++
					}
				}
				if got["of chat/1"] > 0 || got["of chat/2"] == 0 {
					t.Errorf("afterwards came %v", got)
				}
				c.Cut()
				<-time.After(10 * time.Millisecond)
			})
		})
	}
}

// TestStreamAskedTwice: a question with the id of a stream that is open is refused, and
// holds up nothing, least of all the leave that ends the stream; also where the room
// keeps history, and on another connection of the session.
func TestStreamAskedTwice(t *testing.T) {
	for _, name := range []string{"chat/1", "log/1"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var made atomic.Int64
				ended := make(chan error, 1)
				h := newHub(t, nil)
				h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
				h.Rooms("chat/{id}", nil)
				hub.Stream(h, feed, endless(&made, ended))
				secret := strings.Repeat("s", 26)
				var clients []*hubtest.Client
				for range 2 {
					c := hubtest.Dial(t, h)
					if _, err := c.Request("", message.New("auth", map[string]string{"session": secret})); err != nil {
						t.Fatal(err)
					}
					c.Join(name, nil)
					clients = append(clients, c)
				}
				e := feed.New(0)
				e.ID = "7"
				clients[0].Send(name, e)
				clients[0].ExpectType(string(feed))
				for _, c := range clients {
					if c == clients[1] && name == "chat/1" {
						continue // there, it is another stream
					}
					c.Send(name, e)
					if refused := c.ExpectType("error"); refused.ID != "7" || !strings.Contains(string(refused.Content.Data), "conflict") {
						t.Errorf("answered %+v", refused)
					}
				}
				if _, err := clients[0].Request("", message.New("leave", map[string]string{"stream": "7"})); err != nil {
					t.Error(err)
				}
				<-ended
				shutDown(t, h)
			})
		})
	}
}

// TestNoStreamForWhoWasTakenOut: a question that was on its way when its client was
// taken out of the room gets no results.
func TestNoStreamForWhoWasTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		rooms := h.Rooms("chat/{id}", nil)
		taken := make(chan struct{})
		rooms.Use(func(next hub.Handler) hub.Handler {
			return func(ctx context.Context, r *hub.Request) (any, error) {
				r.Room.Leave(r.Peer)
				close(taken)
				return next(ctx, r)
			}
		})
		hub.Stream(rooms, feed, endless(new(atomic.Int64), make(chan error, 1)))
		c := hubtest.Dial(t, h)
		c.Join("chat/1", nil)
		e := feed.New(10)
		e.ID = "1"
		c.Send("chat/1", e)
		<-taken
		c.ExpectType("left")
		if e := c.Next(); e.Type != "ack" || e.ID != "1" {
			t.Errorf("then came %+v", e)
		}
		c.ExpectNone()
	})
}
