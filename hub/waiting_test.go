package hub_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestWhoReadsNothingPublishesLittle: the answers that wait for a client which does
// not read are bounded, in number and in bytes. It gets them all when it reads.
func TestWhoReadsNothingPublishesLittle(t *testing.T) {
	for _, tt := range []struct {
		name               string
		result, mine, most int
	}{
		{"many", 10, 200, 64},
		{"large", 50_000, 8, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				var runs atomic.Int32
				rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{Bytes: 100 << 20, Keep: 10_000}})
				hub.Reply(rooms, message.Call[text, string]("say"), func(ctx context.Context, r *hub.Request, in text) (string, error) {
					runs.Add(1)
					return strings.Repeat("x", tt.result), r.Others(ctx, say.New(in))
				})
				c := hubtest.Dial(t, h)
				c.Join("log/1", nil)
				c.Freeze(true)
				const flood = 50
				for range flood {
					if err := h.Room("log/1").Broadcast(t.Context(), note.New(strings.Repeat("x", 30_000))); err != nil {
						t.Fatal(err)
					}
				}
				for i := range tt.mine {
					e := say.New(text{"mine"})
					e.ID = fmt.Sprint("m", i)
					c.Send("log/1", e)
				}
				<-time.After(10*time.Second + 500*time.Millisecond) // the publisher's patience ends at whole seconds
				if n := int(runs.Load()); n != tt.most {
					t.Errorf("%d messages were handled, want %d", n, tt.most)
				}
				c.Freeze(false)
				for range flood {
					hubtest.Expect(c, note)
				}
				for i := range tt.mine {
					ack := c.ExpectType("ack")
					if ack.ID != fmt.Sprint("m", i) || ack.Cursor == "" || len(ack.Content.Data) != tt.result+2 {
						t.Fatalf("answer %d is %s with the cursor %q", i, ack.ID, ack.Cursor)
					}
				}
				c.ExpectNone()
				shutDown(t, h)
			})
		})
	}
}

// TestWhatWasAnsweredMakesRoom: answers that have been given wait for the turn of
// their message only as long as there are few.
func TestWhatWasAnsweredMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := blind{tardy{memory.New(nil), 20 * time.Second}, &atomic.Bool{}}
		h := newHub(t, &hub.Options{Engine: e})
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{Keep: 1000}}), say, toOthers)
		c := hubtest.Dial(t, h)
		c.Join("log/1", nil)
		e.now.Store(true)
		const mine, remembered = 400, 256
		for i := range mine {
			e := say.New(text{"mine"})
			e.ID = fmt.Sprint("m", i)
			c.Send("log/1", e)
		}
		for range mine {
			if ack := c.ExpectType("ack"); ack.Cursor != "" {
				t.Fatalf("answered %+v", ack)
			}
		}
		e.now.Store(false)
		<-time.After(17 * time.Second) // the messages come out of the log
		for range mine - remembered {
			if ack := c.ExpectType("ack"); ack.Cursor == "" {
				t.Fatalf("answered %+v", ack)
			}
		}
		c.ExpectNone()
		shutDown(t, h)
	})
}

// TestWhoReadsNothingAndShutdown: a message that waits for space is not handled any
// more, and keeps nobody waiting.
func TestWhoReadsNothingAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		var runs atomic.Int32
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, func(ctx context.Context, r *hub.Request, in text) error {
			runs.Add(1)
			return r.Others(ctx, say.New(in))
		})
		c := hubtest.Dial(t, h)
		c.Join("log/1", nil)
		c.Freeze(true)
		for range 50 {
			if err := h.Room("log/1").Broadcast(t.Context(), note.New(strings.Repeat("x", 30_000))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			e := say.New(text{"mine"})
			e.ID = fmt.Sprint("m", i)
			c.Send("log/1", e)
		}
		synctest.Wait()
		began := time.Now()
		go func() {
			synctest.Wait()
			c.Freeze(false)
		}()
		shutDown(t, h)
		if n := runs.Load(); n != 64 {
			t.Errorf("%d messages were handled, want 64", n)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
