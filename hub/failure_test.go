package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

const cause = "the password is swordfish"

// TestFailuresStayOnTheServer: whatever goes wrong in a handler, its sender is
// told that and no more, the log has it once, and everything goes on.
func TestFailuresStayOnTheServer(t *testing.T) {
	for how, tt := range map[string]struct {
		code   message.Code
		logged bool
	}{
		"error":    {message.Internal, true},
		"panic":    {message.Internal, true},
		"deadline": {message.Timeout, false},
		"refusal":  {message.Denied, false},
		"nil map":  {message.Internal, true},
		"answer":   {message.Internal, true},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				h := newHub(t, &hub.Options{Log: book.logger()})
				hub.Reply(h, message.Call[string, any]("fail"), goWrong)
				a, b := hubtest.Dial(t, h), hubtest.Dial(t, h)
				_, err := a.Request("", message.New("fail", how))
				var e *message.Error
				if !errors.As(err, &e) || e.Code != tt.code || strings.Contains(e.Message, "swordfish") {
					t.Errorf("the sender was told %v", err)
				}
				b.ExpectNone()
				if _, err := a.Request("", message.New("fail", "not at all")); err != nil {
					t.Errorf("the next message: %v", err)
				}
				if tt.logged {
					book.wantLines(t, []string{"ERROR", "type=fail", "conn=" + a.ID()})
				} else {
					book.wantLines(t)
				}
			})
		})
	}
}

func goWrong(_ context.Context, _ *hub.Request, how string) (any, error) {
	switch how {
	case "error":
		return nil, errors.New(cause)
	case "panic":
		panic(cause)
	case "deadline":
		return nil, fmt.Errorf("%s: %w", cause, context.DeadlineExceeded)
	case "refusal":
		return nil, message.Errorf(message.Denied, "no")
	case "nil map":
		var m map[string]int
		m[cause] = 1
	case "answer":
		return make(chan int), nil // cannot be encoded
	}
	return nil, nil
}

func TestFailuresElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		h := newHub(t, &hub.Options{
			Log:        book.logger(),
			Connect:    func(context.Context, *hub.Peer) { panic(cause) },
			Disconnect: func(*hub.Peer, error) { panic(cause) },
		})
		h.Rooms("closed", &hub.Rule{Join: func(context.Context, *hub.Request) (any, error) { panic(cause) }})
		h.Rooms("odd", &hub.Rule{Presence: &room.Presence{}, Join: func(context.Context, *hub.Request) (any, error) { return make(chan int), nil }})
		c := hubtest.Dial(t, h)
		wantCode(t, c.TryJoin("closed", nil), message.Internal)
		wantCode(t, c.TryJoin("odd", nil), message.Internal)
		if s := h.Stats(); s != (hub.Stats{Peers: 1}) {
			t.Errorf("%+v", s)
		}
		c.Close()
		_ = c.Closed()
		synctest.Wait()
		book.wantLines(t, []string{"type=connect"}, []string{"type=join"}, []string{"type=join"}, []string{"type=disconnect"})
	})
}
