package hubtest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

type text struct {
	Body string `json:"body"`
}

const (
	say  message.Kind[text]         = "chat.say"
	sum  message.Call[[]int, int]   = "sum"
	sure message.Call[string, bool] = "sure"
)

func chat() *hub.Hub {
	h := hub.New(nil)
	rooms := h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}})
	hub.On(rooms, say, func(ctx context.Context, r *hub.Request, in text) error {
		return r.Others(ctx, say.New(in))
	})
	hub.Reply(h, sum, func(ctx context.Context, r *hub.Request, in []int) (int, error) {
		ok, err := hub.Ask(ctx, r.Peer, sure, "add?")
		if err != nil || !ok {
			return 0, message.Errorf(message.Denied, "not sure: %v", err)
		}
		n := 0
		for _, v := range in {
			n += v
		}
		return n, nil
	})
	return h
}

func TestChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chat()
		a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
		a.Join("chat/1", nil)
		b.Join("chat/1", nil)
		if e := a.ExpectType("joined"); e.From != b.ID() {
			t.Fatalf("joined from %q", e.From)
		}
		a.Send("chat/1", say.New(text{"hi"}))
		if got := hubtest.Expect(b, say); got.Body != "hi" {
			t.Fatal(got)
		}
		a.ExpectNone()
		hubtest.Answer(a, sure, func(string) (bool, error) { return true, nil })
		if n, err := hubtest.Ask(a, "", sum, []int{1, 2, 3}); n != 6 || err != nil {
			t.Fatal(n, err)
		}
		<-time.After(time.Hour)
		b.Freeze(true)
		<-time.After(46 * time.Second)
		if e := a.ExpectType("left"); e.From != b.ID() {
			t.Fatalf("left from %q", e.From)
		}
		if s := h.Stats(); s.Peers != 1 || s.Rooms != 1 {
			t.Fatal(s)
		}
	})
}
