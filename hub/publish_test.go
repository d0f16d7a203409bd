package hub_test

import (
	"context"
	"testing"
	"testing/synctest"

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

func shutDown(t *testing.T, h *hub.Hub) {
	t.Helper()
	if err := h.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
