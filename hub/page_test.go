package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// scroll asks for a page of what a room keeps.
const scroll message.Call[struct{}, room.Page] = "chat.scroll"

// scrollHub returns a hub whose room chat/1 keeps a page of messages. Its handlers
// have the room's turn, and count.
func scrollHub(t *testing.T, opts *hub.Options, option ...hub.HandlerOption) *hub.Hub {
	t.Helper()
	h := newHub(t, opts)
	type calls struct{ n int }
	rooms := hub.RoomsOf(h, "chat/{id}", &hub.Rule{Delivery: room.Recoverable{}}, func(context.Context, *room.Room) (*calls, error) {
		return &calls{}, nil
	})
	hub.OnRoom(rooms, say, func(c *calls, ctx context.Context, r *hub.Request, in text) error {
		c.n++
		return r.All(ctx, say.New(in))
	})
	if len(option) == 0 {
		hub.ReplyRoom(rooms, scroll, func(c *calls, ctx context.Context, r *hub.Request, _ struct{}) (room.Page, error) {
			c.n++
			return r.Room.History(ctx, "", 1000)
		})
	} else {
		hub.Reply(rooms, scroll, func(ctx context.Context, r *hub.Request, _ struct{}) (room.Page, error) {
			return r.Room.History(ctx, "", 1000)
		}, option...)
	}
	for range 5 {
		if err := h.Room("chat/1").Broadcast(t.Context(), say.New(text{strings.Repeat("x", 60_000)})); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// askFor sends n questions for a page, with ids that say which it is.
func askFor(c *hubtest.Client, n int) {
	for i := range n {
		e := scroll.New(struct{}{})
		e.ID = fmt.Sprint("p", i)
		c.Send("chat/1", e)
	}
}

// TestPagesAtOnce: who asks for more pages at once than may be pending gets them all,
// as it reads, and holds up nobody while it does not.
func TestPagesAtOnce(t *testing.T) {
	for name, option := range map[string][]hub.HandlerOption{"in order": nil, "concurrent": {hub.Concurrent}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := scrollHub(t, nil, option...)
				slow, other := hubtest.Dial(t, h), hubtest.Dial(t, h)
				slow.Join("chat/1", nil)
				other.Join("chat/1", nil)
				slow.Freeze(true)
				const n = 20
				askFor(slow, n)
				synctest.Wait()
				for i := range 3 {
					if p, err := hubtest.Ask(other, "chat/1", scroll, struct{}{}); err != nil || len(p.Messages) != 4+i {
						t.Errorf("another member got %d messages, %v", len(p.Messages), err)
					}
					if _, err := other.Request("chat/1", say.New(text{"hello"})); err != nil {
						t.Errorf("another member: %v", err)
					}
				}
				<-time.After(9 * time.Second)
				slow.Freeze(false)
				seen := map[string]bool{}
				for i := range n {
					ack := slow.ExpectType("ack")
					if want := fmt.Sprint("p", i); seen[ack.ID] || option == nil && ack.ID != want || len(ack.Content.Data) < 200_000 {
						t.Fatalf("answer %d has the id %s and %d bytes", i, ack.ID, len(ack.Content.Data))
					}
					seen[ack.ID] = true
				}
				for range 3 {
					if got := hubtest.Expect(slow, say); got.Body != "hello" {
						t.Errorf("got %.20q", got.Body)
					}
				}
				shutDown(t, h)
			})
		})
	}
}

// TestPagesNobodyReads: an answer that waits ends with its connection, whoever ends
// that.
func TestPagesNobodyReads(t *testing.T) {
	for name, tt := range map[string]struct {
		most time.Duration
		end  func(*hub.Hub, *hubtest.Client)
	}{
		"cut":      {0, func(_ *hub.Hub, c *hubtest.Client) { c.Cut() }},
		"client":   {0, func(_ *hub.Hub, c *hubtest.Client) { c.Close() }},
		"server":   {0, func(h *hub.Hub, c *hubtest.Client) { h.Peer(c.ID()).Close(message.CloseDone, "") }},
		"silence":  {45 * time.Second, func(*hub.Hub, *hubtest.Client) {}},
		"shutdown": {11 * time.Second, func(h *hub.Hub, _ *hubtest.Client) { _ = h.Shutdown(context.Background()) }},
	} {
		for _, option := range [][]hub.HandlerOption{nil, {hub.Concurrent}} {
			t.Run(fmt.Sprint(name, option), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ended := make(chan error, 1)
					h := scrollHub(t, &hub.Options{Disconnect: func(_ *hub.Peer, reason error) { ended <- reason }}, option...)
					slow := hubtest.Dial(t, h)
					slow.Join("chat/1", nil)
					slow.Freeze(true)
					askFor(slow, 20)
					synctest.Wait()
					began := time.Now()
					tt.end(h, slow)
					<-ended
					most := tt.most
					if option != nil {
						most += time.Second // its reader may wait for them, until the heart sees that
					}
					if d := time.Since(began); d > most {
						t.Errorf("it took %v, may take %v", d, most)
					}
					shutDown(t, h)
				})
			})
		}
	}
}

// TestPagesOnTheNextConnection: a question that comes again does not wait for its
// answer on the connection before, which takes nothing any more.
func TestPagesOnTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := scrollHub(t, nil)
		secret := strings.Repeat("s", 26)
		connect := func() *hubtest.Client {
			c := hubtest.Dial(t, h)
			if _, err := c.Request("", message.New("auth", map[string]string{"session": secret})); err != nil {
				t.Fatal(err)
			}
			c.Join("chat/1", nil)
			return c
		}
		slow := connect()
		slow.Freeze(true)
		askFor(slow, 10)
		synctest.Wait()
		began := time.Now()
		next := connect()
		askFor(next, 10)
		for i := range 10 {
			if ack := next.ExpectType("ack"); ack.ID != fmt.Sprint("p", i) {
				t.Fatalf("answer %d is %s", i, ack.ID)
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("the answers took %v", d)
		}
		slow.Freeze(false)
		shutDown(t, h)
	})
}
