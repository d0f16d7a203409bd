package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// sip connects a client for which little may be pending. It reads a message each
// time it is asked.
func sip(t *testing.T, h *hub.Hub, pending int) (*transport.PipeConn, func() message.Envelope) {
	t.Helper()
	conn, err := transport.Pipe(h, httptest.NewRequest("GET", "/", nil), &transport.PipeOptions{Limit: 16 << 10, Pending: pending})
	if err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(5*time.Minute, conn.Abort) // rather than wait for what never comes
	t.Cleanup(func() {
		guard.Stop()
		conn.Close(message.CloseDone, "")
		for {
			if _, err := conn.Read(); err != nil {
				return
			}
		}
	})
	return conn, func() message.Envelope {
		t.Helper()
		m, err := conn.Read()
		if err != nil {
			t.Fatal(err)
		}
		defer m.Release()
		e, err := message.Decode(m.Data, m.Binary)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
}

// enter asks to join, or to leave.
func enter(t *testing.T, conn *transport.PipeConn, typ, name, id string) {
	t.Helper()
	e := message.New(typ, nil)
	e.Room, e.ID = name, id
	f, err := message.Encode(e, nil, message.Disconnect)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(f); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, h *hub.Hub, name string, key, value int) {
	t.Helper()
	content := fmt.Sprintf(`{"key":%d,"value":%d,"pad":%q}`, key, value, strings.Repeat("p", 300))
	e := message.New("set", message.Raw{Data: []byte(content)}).Keyed(fmt.Sprint(key))
	if err := h.Room(name).Broadcast(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// TestSlowInManyLatestRooms: who is slow gets into any number of rooms, and has the
// last value of every key in the end; it is not cut off, and each room's answer
// comes before its values.
func TestSlowInManyLatestRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, keys = 60, 170
		h := newHub(t, nil)
		h.Rooms("r/{id}", &hub.Rule{Delivery: room.Latest{}})
		want := map[string]int{}
		put := func(r, k, value int) {
			name := fmt.Sprint("r/", r)
			set(t, h, name, k, value)
			want[fmt.Sprint(name, " ", k)] = value
		}
		for r := range rooms {
			for k := range keys {
				put(r, k, 0)
			}
		}
		conn, next := sip(t, h, 64<<10)
		for r := range rooms {
			enter(t, conn, "join", fmt.Sprint("r/", r), fmt.Sprint(r))
		}
		got, joined := map[string]int{}, map[string]bool{}
		for n := range 40_000 {
			if n < 14_000 {
				put(n%rooms, 0, n)           // hot in each room
				put(n%7, n%keys, n)          // and some others
				put(rooms-1, (3*n)%keys, -n) // going down, for once
			}
			if n%8 == 0 {
				<-time.After(time.Millisecond)
			}
			if n > 14_000 && n%100 == 0 {
				synctest.Wait()
			}
			switch e := next(); e.Type {
			case "ack":
				joined[e.Room] = true
			case "set":
				if !joined[e.Room] {
					t.Fatalf("a value of %s comes before the answer", e.Room)
				}
				var content struct {
					Key   int `json:"key"`
					Value int `json:"value"`
				}
				if err := e.Content.Decode(nil, &content); err != nil {
					t.Fatal(err)
				}
				got[fmt.Sprint(e.Room, " ", content.Key)] = content.Value
			}
			done := n > 14_000 && len(got) == len(want)
			for key, value := range want {
				if !done {
					break
				}
				done = got[key] == value
			}
			if done {
				t.Logf("%d messages for %d keys and %d changes", n, len(want), 3*14_000)
				return
			}
		}
		wrong := 0
		for key, value := range want {
			if got[key] != value {
				wrong++
			}
		}
		t.Errorf("after 40,000 messages it is in %d rooms, and has %d of %d keys, %d of them wrong", len(joined), len(got), len(want), wrong)
	})
}

// TestValuesFollowTheAnswer: the answer to a join is not overtaken by a value, even
// if an older one is still pending from before.
func TestValuesFollowTheAnswer(t *testing.T) {
	for name, delivery := range map[string]room.Delivery{
		"latest": room.Latest{}, "latest only": room.Ephemeral{Slow: message.LatestOnly},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, nil)
				h.Rooms("r", &hub.Rule{Delivery: delivery})
				conn, next := sip(t, h, 64<<10)
				enter(t, conn, "join", "r", "1")
				synctest.Wait()
				set(t, h, "r", 1, 1)
				enter(t, conn, "leave", "r", "2")
				enter(t, conn, "join", "r", "3")
				synctest.Wait()
				set(t, h, "r", 1, 2)
				last := ""
				for last != "set" {
					if e := next(); e.ID == "3" {
						last = "joined"
					} else if last == "joined" {
						last = e.Type
					}
				}
			})
		})
	}
}

// TestBehindAtTheEnd: clients that take nothing are in many rooms, and the hub shuts
// down, or they break off. The bubble ends only if nothing waits for them.
func TestBehindAtTheEnd(t *testing.T) {
	for _, end := range []string{"shutdown", "cut", "thaw", "kicked"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, &hub.Options{DrainTime: time.Second})
				h.Rooms("r/{id}", &hub.Rule{Delivery: room.Latest{}})
				clients := dialN(t, h, 3)
				for _, c := range clients {
					for r := range 10 {
						c.Join(fmt.Sprint("r/", r), nil)
					}
					c.Freeze(true)
				}
				for i := range 20_000 {
					set(t, h, fmt.Sprint("r/", i%10), i/10%500, i)
				}
				synctest.Wait()
				end := map[string]func(*hubtest.Client){
					"cut":  func(c *hubtest.Client) { c.Cut() },
					"thaw": func(c *hubtest.Client) { c.Freeze(false) },
					"kicked": func(c *hubtest.Client) {
						h.Peer(c.ID()).Close(message.CloseKicked, "")
					},
				}[end]
				for _, c := range clients {
					if end == nil {
						break
					}
					if h.Peer(c.ID()) == nil {
						t.Error("it was cut off")
					}
					end(c)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := h.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		})
	}
}
