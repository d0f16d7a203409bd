package hub_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// order is a content with a rule of its own.
type order struct {
	Item  string   `json:"item"`
	Count int      `json:"count"`
	To    []string `json:"to"`
}

func (o order) Validate() error {
	switch {
	case o.Count > 99:
		return &message.Error{Code: message.Invalid, Message: "at most 99", Field: "content.count"}
	case o.Item == "":
		return errors.New("an order has an item")
	}
	return nil
}

// scriptHub is the hub that the transcripts talk to.
func scriptHub() *hub.Hub {
	h := hub.New(&hub.Options{
		Identify: byHeader, MaxRooms: 3, AskTimeout: 50 * time.Millisecond, DrainTime: 20 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	})
	chat := h.Rooms("chat/{id}", nil)
	hub.On(chat, say, toOthers)
	hub.On(chat, message.Kind[[]byte]("bytes"), func(ctx context.Context, r *hub.Request, in []byte) error {
		return r.All(ctx, message.New("bytes", in))
	})
	hub.On(h.Rooms("club/{id}", &hub.Rule{Presence: &room.Presence{}, Join: admit}), say, toOthers)
	logged := h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{Keep: 4}})
	hub.On(logged, say, toOthers)
	hub.On(logged, message.Kind[[]byte]("bytes"), func(ctx context.Context, r *hub.Request, in []byte) error {
		return r.All(ctx, message.New("bytes", in))
	})
	hub.Reply(logged, message.Call[text, int]("count"), func(ctx context.Context, r *hub.Request, in text) (int, error) {
		return len(in.Body), r.Others(ctx, say.New(in))
	})
	hub.On(h.Rooms("replay/{id}", &hub.Rule{Delivery: room.Recoverable{Replay: 2}}), say, toOthers)
	hub.Reply(h, sum, func(_ context.Context, _ *hub.Request, in []int) (n int, err error) {
		for _, v := range in {
			n += v
		}
		return n, nil
	})
	hub.Reply(h, message.Call[string, bool]("delete"), func(ctx context.Context, r *hub.Request, what string) (bool, error) {
		return hub.Ask(ctx, r.Peer, sure, "delete "+what+"?")
	})
	hub.Stream(h, message.Call[int, int]("numbers"), numbers)
	hub.On(h, message.Kind[order]("order"), func(context.Context, *hub.Request, order) error { return nil })
	hub.On(h, message.Kind[string]("fail"), fail)
	hub.On(h, message.Kind[struct{}]("kick"), func(_ context.Context, r *hub.Request, _ struct{}) error {
		r.Peer.Close(message.CloseKicked, "behave")
		return nil
	})
	return h
}

// admit lets in who has a name, and shows it to the others.
func admit(_ context.Context, r *hub.Request) (any, error) {
	var card struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	}
	if err := r.Decode(&card); err != nil {
		return nil, err
	}
	if r.Var("id") == "vip" && card.Password != "please" {
		return nil, &message.Error{Code: message.Denied, Message: "members only", Field: "content.password"}
	}
	return map[string]string{"name": card.Name}, nil
}

// numbers counts up to n; without an end for 0, and not at all below that.
func numbers(ctx context.Context, _ *hub.Request, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		if n < 0 {
			yield(0, message.Errorf(message.Invalid, "below zero"))
			return
		}
		for i := 1; i <= max(n, 2); i++ {
			if !yield(i, nil) {
				return
			}
		}
		if n == 0 {
			<-ctx.Done()
		}
	}
}

// fail fails in the way that it is told.
func fail(_ context.Context, r *hub.Request, how string) error {
	switch how {
	case "error":
		return errors.New("the password is hunter2")
	case "panic":
		panic("the password is hunter2")
	case "too late":
		return context.DeadlineExceeded
	case "rate_limited":
		return &message.Error{Code: message.RateLimited, Message: "slow down", RetryAfter: 250 * time.Millisecond}
	}
	return message.Errorf(message.Code(how), "as you wish")
}
