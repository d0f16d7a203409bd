package hub_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestGraceOfPeers: who is lost may come back, who leaves or is sent away may not.
func TestGraceOfPeers(t *testing.T) {
	for _, tt := range []struct {
		how    string
		end    func(h *hub.Hub, c *hubtest.Client)
		atOnce bool
	}{
		{"cut", func(_ *hub.Hub, c *hubtest.Client) { c.Cut() }, false},
		{"closed", func(_ *hub.Hub, c *hubtest.Client) { c.Close() }, false},
		{"too slow", func(h *hub.Hub, c *hubtest.Client) { h.Peer(c.ID()).Close(message.CloseSlow, "slow") }, false},
		{"left", func(_ *hub.Hub, c *hubtest.Client) { c.Leave("chat/1") }, true},
		{"kicked", func(h *hub.Hub, c *hubtest.Client) { h.Peer(c.ID()).Close(message.CloseKicked, "no") }, true},
		{"taken out", func(h *hub.Hub, c *hubtest.Client) { h.Room("chat/1").Leave(h.Peer(c.ID())) }, true},
	} {
		t.Run(tt.how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				h := newHub(t, &hub.Options{Identify: byHeader, Log: book.logger()})
				h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{ByUser: true, Grace: 5 * time.Second}})
				w, c := dialAs(t, h, "wim"), dialAs(t, h, "ana")
				w.Join("chat/1", nil)
				c.Join("chat/1", nil)
				w.ExpectType("joined")
				tt.end(h, c)
				synctest.Wait()
				if tt.atOnce {
					w.ExpectType("left")
				}
				w.ExpectNone()
				<-time.After(time.Second)
				again := dialAs(t, h, "ana")
				again.Join("chat/1", nil)
				if tt.atOnce {
					w.ExpectType("joined")
				} else {
					w.ExpectType("presence")
				}
				<-time.After(time.Minute)
				w.ExpectNone()
				again.Leave("chat/1")
				w.ExpectType("left")
				w.Leave("chat/1")
			})
		})
	}
}

// TestUpdateByAHandler reaches the whole room, the sender too.
func TestUpdateByAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		rooms := h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}})
		hub.On(rooms, note, func(ctx context.Context, r *hub.Request, mood string) error {
			return r.Room.Update(ctx, r.Peer, mood)
		})
		all := dialN(t, h, 2)
		for _, c := range all {
			c.Join("chat/1", nil)
		}
		all[0].ExpectType("joined")
		all[1].Send("chat/1", note.New("happy"))
		all[1].Send("chat/1", note.New("happy"))
		for _, c := range all {
			e := c.ExpectType("presence")
			if got := content[struct {
				Members int
				Updated []struct{ From, Content string }
			}](t, e); got.Members != 2 || got.Updated[0].From != all[1].ID() || got.Updated[0].Content != "happy" {
				t.Errorf("%s", e.Content.Data)
			}
			c.ExpectNone()
		}
		_, err := all[1].Request("chat/1", note.New(string(make([]byte, 5000))))
		wantCode(t, err, message.Invalid)
	})
}

// TestOccupiedAndVacated, with the end of grace and of the hub.
func TestOccupiedAndVacated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []string
		var book logbook
		note := func(what string) func(context.Context, *room.Room) {
			return func(ctx context.Context, r *room.Room) {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, what+" "+r.Name())
				if ctx.Err() != nil {
					t.Errorf("%s %s: %v", what, r.Name(), ctx.Err())
				}
				if r.Name() == "chat/panic" {
					panic("oh")
				}
			}
		}
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(calls, want) {
				t.Errorf("%q, want %q", calls, want)
			}
			calls = nil
		}
		h := newHub(t, &hub.Options{Log: book.logger(), DrainTime: 10 * time.Millisecond})
		h.Rooms("chat/{id}", &hub.Rule{
			Presence: &room.Presence{Grace: time.Hour}, Occupied: note("occupied"), Vacated: note("vacated"),
		})
		all := dialN(t, h, 3)
		all[0].Join("chat/1", nil)
		all[1].Join("chat/1", nil)
		check("occupied chat/1")
		all[0].Leave("chat/1")
		all[1].Leave("chat/1")
		check("vacated chat/1")
		all[0].Join("chat/panic", nil)
		all[0].Leave("chat/panic")
		check("occupied chat/panic", "vacated chat/panic")
		if n := len(book.lines()); n != 2 {
			t.Errorf("%q", book.lines())
		}
		all[0].Join("chat/2", nil)
		all[0].Cut()
		check("occupied chat/2")
		all[1].Join("chat/3", nil)
		check("occupied chat/3")
		if s := h.Stats(); s.Rooms != 2 {
			t.Errorf("%+v", s)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		slices.Sort(calls)
		check("vacated chat/2", "vacated chat/3")
	})
}

// TestGraceOfSessions: a client that continues its session is who it was, with
// another ID; also where the application has put it into the room before.
func TestGraceOfSessions(t *testing.T) {
	for name, joins := range map[string][]string{
		"joins":            {`{"type":"join","room":"chat/1"}`},
		"is put in":        nil,
		"is put in, joins": {`{"type":"join","room":"chat/1"}`},
	} {
		t.Run(name, func(t *testing.T) { graceOfSessions(t, strings.HasPrefix(name, "is put in"), joins) })
	}
}

func graceOfSessions(t *testing.T, putIn bool, joins []string) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Connect: func(ctx context.Context, p *hub.Peer) {
			if putIn {
				_ = p.Join(ctx, "chat/1", nil)
			}
		}})
		h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{Grace: time.Minute}})
		connect := func() (socket, string, string) {
			c := pipeSocket(t, h, "")
			c.received().wait(t, 1)
			var welcome struct {
				Content struct{ ID, Session string }
			}
			if err := json.Unmarshal([]byte(c.received().take()[0].data), &welcome); err != nil {
				t.Fatal(err)
			}
			return c, welcome.Content.ID, welcome.Content.Session
		}
		w := hubtest.Dial(t, h)
		w.Join("chat/1", nil)
		first, before, secret := connect()
		for _, join := range joins {
			first.send([]byte(join), false)
		}
		w.ExpectType("joined")
		first.cut()
		<-time.After(time.Second)
		second, now, _ := connect()
		left := ""
		if putIn {
			w.ExpectType("joined")
			left = `"left":[{"from":"` + now + `"}],`
		}
		second.send([]byte(`{"type":"auth","content":{"session":"`+secret+`"}}`), false)
		for _, join := range joins {
			second.send([]byte(join), false)
		}
		if got := string(w.ExpectType("presence").Content.Data); got != `{"members":2,`+left+`"updated":[{"from":"`+now+`","was":"`+before+`","content":null}]}` {
			t.Error(got)
		}
		second.cut()
		<-time.After(time.Minute)
		w.ExpectType("left")
		w.ExpectNone()
		w.Leave("chat/1")
	})
}
