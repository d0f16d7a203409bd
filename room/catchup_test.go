package room_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// hasty is a reader that is taken out of the room while it gets what it missed.
type hasty struct {
	reader
	at    string // the message with which leave is called
	leave func()
	gone  bool
	after []string // what came when it was out
}

func (h *hasty) Deliver(f *message.Frame) error {
	if e, err := message.Decode(f.Payload(), f.Binary()); err == nil {
		body := string(e.Content.Data)
		h.mu.Lock()
		if h.gone {
			h.after = append(h.after, body)
		}
		h.mu.Unlock()
		if body == h.at {
			out := make(chan struct{})
			go func() {
				h.leave()
				h.mu.Lock()
				defer h.mu.Unlock()
				h.gone = true
				close(out)
			}()
			select {
			case <-out:
			case <-time.After(20 * time.Millisecond): // it has to wait for this message
			}
		}
	}
	return h.reader.Deliver(f)
}

// TestNothingAfterLeaving: a member that is taken out of a room while it gets what
// it missed, when it joins or because it was behind, gets no more of that.
func TestNothingAfterLeaving(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprint("behind ", behind), func(t *testing.T) {
			m, _ := recoverable(t, room.Recoverable{})
			r := m.Get("room")
			post := func(from, to int) (cursor string) {
				t.Helper()
				for i := from; i < to; i++ {
					receipt, err := r.Publish(t.Context(), message.New("say", i))
					if err != nil {
						t.Fatal(err)
					}
					cursor = receipt.Cursor
				}
				return cursor
			}
			h := &hasty{reader: reader{id: "h", most: 1}, at: "5"}
			left := make(chan struct{})
			h.leave = func() { r.Leave(h); close(left) }
			if behind {
				join(t, r, h, nil)
				post(0, 3) // 1 and 2 do not fit
				post(3, 8)
				h.mu.Lock()
				h.most = 0
				h.mu.Unlock()
				h.take()
			} else {
				cursor := post(0, 1)
				post(1, 8)
				h.most = 0
				join(t, r, h, nil, room.Since(cursor))
			}
			<-left
			post(8, 9)
			h.mu.Lock()
			defer h.mu.Unlock()
			if len(h.after) > 0 {
				t.Errorf("got %q when it had left", h.after)
			}
		})
	}
}

// TestReplayOfWhatIsLeft: a room that keeps less than it replays gives that also to who
// is slow, or loses the connection before anything of it has come, without a gap.
func TestReplayOfWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := recoverable(t, room.Recoverable{KeepFor: time.Minute, Replay: 10})
		r := m.Get("room")
		for _, body := range []string{"old", "also", "a", "b"} {
			if err := r.Broadcast(t.Context(), message.New("say", body)); err != nil {
				t.Fatal(err)
			}
			if body == "also" {
				<-time.After(50 * time.Second)
			}
		}
		<-time.After(30 * time.Second)
		slow := &reader{id: "slow", most: 1}
		join(t, r, slow, nil, room.Ack("join"))
		slow.mu.Lock()
		slow.welcome(slow.queue[0])
		cursor := slow.cursor
		slow.mu.Unlock()
		for range 3 {
			slow.take()
			synctest.Wait()
		}
		back := &reader{id: "back"}
		join(t, r, back, nil, room.Ack("join"), room.Since(cursor))
		back.take()
		for _, got := range []*reader{slow, back} {
			if !slices.Equal(got.seen, []string{"a", "b"}) {
				t.Errorf("%s got %q", got.id, got.seen)
			}
			r.Leave(got)
		}
	})
}
