package hub_test

import (
	"context"
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

// TestOutcomeForWhoHasLeft: a message that comes again is answered as before, though
// its sender is not in the room any more; others have to be in it.
func TestOutcomeForWhoHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		h.Rooms("chat/{id}", nil)
		rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		var runs atomic.Int32
		finish := make(chan struct{})
		hub.Reply(rooms, message.Call[text, int]("say"), func(ctx context.Context, r *hub.Request, in text) (int, error) {
			n := runs.Add(1)
			<-finish
			if in.Body == "nothing" {
				return 0, message.Errorf(message.Denied, "nothing was published")
			}
			return int(n), r.Others(ctx, say.New(in))
		})
		secret := strings.Repeat("s", 26)
		auth := func(c *hubtest.Client) *hubtest.Client {
			if _, err := c.Request("", message.New("auth", map[string]string{"session": secret})); err != nil {
				t.Fatal(err)
			}
			return c
		}
		first := auth(hubtest.Dial(t, h))
		first.Join("log/1", nil)
		send := func(c *hubtest.Client, room, id, body string) {
			e := say.New(text{body})
			e.ID = id
			c.Send(room, e)
		}
		send(first, "log/1", "a", "mine")
		synctest.Wait()
		second := auth(hubtest.Dial(t, h))
		send(second, "log/1", "a", "mine") // the first is being handled
		synctest.Wait()
		second.ExpectNone()
		close(finish)
		cursor := first.ExpectType("ack").Cursor
		check := func(c *hubtest.Client, want string) {
			t.Helper()
			e := c.Next()
			got := e.Type + " " + string(e.Content.Data)
			if !strings.HasPrefix(got, want) || e.Type == "ack" && (e.Cursor == "" || e.Cursor != cursor) {
				t.Errorf("answered %s with the cursor %q, want %s with %q", got, e.Cursor, want, cursor)
			}
		}
		check(second, "ack 1")
		first.Leave("log/1")
		send(first, "log/1", "a", "mine")
		check(first, "ack 1")
		send(second, "log/1", "a", "another")
		check(second, `error {"code":"conflict"`)
		first.Join("log/1", nil)
		send(first, "log/1", "n", "nothing")
		check(first, `error {"code":"denied"`)
		send(second, "log/1", "n", "nothing")
		check(second, `error {"code":"not_member"`)
		for _, room := range []string{"log/2", "chat/1", "nowhere"} {
			send(second, room, "a", "mine")
			check(second, `error {"code":"not_member"`)
		}
		stranger := hubtest.Dial(t, h)
		send(stranger, "log/1", "a", "mine")
		check(stranger, `error {"code":"not_member"`)
		<-time.After(2 * time.Minute)
		send(second, "log/1", "a", "mine")
		check(second, `error {"code":"not_member"`)
		if n := runs.Load(); n != 2 {
			t.Errorf("%d runs", n)
		}
		shutDown(t, h)
	})
}

// TestOutcomeForWhoIsThere: a member's message that comes again, as often as it may,
// is answered as before, and its handler does not run again until the window is over.
func TestOutcomeForWhoIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		rooms := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}})
		runs := 0
		hub.Reply(rooms, message.Call[text, int]("say"), func(ctx context.Context, r *hub.Request, in text) (int, error) {
			runs++
			return runs, r.Others(ctx, say.New(in))
		})
		c := hubtest.Dial(t, h)
		c.Join("log/1", nil)
		send := func() message.Envelope {
			t.Helper()
			e := say.New(text{"hi"})
			e.ID = "a"
			c.Send("log/1", e)
			return c.ExpectType("ack")
		}
		first := send()
		for n := range 3 {
			<-time.After(15 * time.Second)
			if e := send(); string(e.Content.Data) != "1" || e.Cursor != first.Cursor || runs != 1 {
				t.Errorf("retry %d: answered %s at %q, the first time 1 at %q; %d runs", n, e.Content.Data, e.Cursor, first.Cursor, runs)
			}
		}
		<-time.After(time.Minute)
		if e := send(); string(e.Content.Data) != "2" || e.Cursor == first.Cursor {
			t.Errorf("after the window: answered %s at %q", e.Content.Data, e.Cursor)
		}
		shutDown(t, h)
	})
}
