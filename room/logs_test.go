package room_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestCloseEndsCatchingUp: no goroutine waits for a member that is behind when the
// logs are closed; the bubble would not end.
func TestCloseEndsCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := recoverable(t, room.Recoverable{})
		slow := &reader{id: "slow", most: 1}
		join(t, m.Get("room"), slow, nil)
		for range 3 {
			if err := m.Get("room").Broadcast(context.Background(), message.New("say", "x")); err != nil {
				t.Fatal(err)
			}
		}
	})
}
