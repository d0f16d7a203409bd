package room_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
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

// lazy is an engine that takes its time to start.
type lazy struct {
	*memory.Engine
	takes time.Duration
}

func (l lazy) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	select {
	case <-time.After(l.takes):
		return l.Engine.Start(ctx, node, classes, sink)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestSlowStart: an engine that starts slowly holds nobody up longer than his
// context lasts, and starts although those who wait have given up.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := room.NewLogs(lazy{memory.New(nil), time.Minute})
		r := room.NewManager(&room.Options{Delivery: room.Recoverable{}, Logs: logs, Class: "test"}).Get("room")
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		one := &reader{id: "one"}
		for what, do := range map[string]func(context.Context) error{
			"Start":   logs.Start,
			"Join":    func(ctx context.Context) error { return r.Join(ctx, one, nil) },
			"Publish": func(ctx context.Context) error { return r.Broadcast(ctx, message.New("say", "x")) },
			"History": func(ctx context.Context) error { _, err := r.History(ctx, "", 0); return err },
		} {
			go func() {
				if what != "Start" {
					<-time.After(time.Millisecond)
				}
				if err := do(soon); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
					t.Errorf("%s: %v after %v", what, err, time.Since(began))
				}
			}()
		}
		<-time.After(2 * time.Second)
		if err := r.Join(t.Context(), one, nil); err != nil || time.Since(began) != time.Minute {
			t.Errorf("Join: %v after %v", err, time.Since(began))
		}
		r.Leave(one)
		if err := logs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseEndsStart: an engine that is starting when the logs are closed does not
// stay, and no other start follows.
func TestCloseEndsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := room.NewLogs(lazy{memory.New(nil), time.Hour})
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_ = logs.Start(soon)
		if err := logs.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := logs.Start(t.Context()); !errors.Is(err, engine.ErrUnavailable) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// silent is an engine that answers no append.
type silent struct{ *memory.Engine }

func (silent) Append(context.Context, engine.Topic, engine.Record, func(engine.Ack, error)) {}

// TestSilentEngine: who publishes is told in the end, whatever the engine does.
func TestSilentEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := room.NewLogs(silent{memory.New(nil)})
		r := room.NewManager(&room.Options{Delivery: room.Recoverable{}, Logs: logs, Class: "test"}).Get("room")
		if err := logs.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := r.Publish(ctx, message.New("say", "x"))
		if e, ok := errors.AsType[*message.Error](err); !ok || e.Code != message.Timeout || time.Since(began) != time.Minute+time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := logs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
