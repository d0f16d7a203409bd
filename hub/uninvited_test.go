package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/room"
)

// TestJoinOfWhoWasPutIn: a client that the application has put into a room and that
// then joins goes on from where it says, once, as if it had not been there.
func TestJoinOfWhoWasPutIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Connect: func(ctx context.Context, p *hub.Peer) {
			if err := p.Join(ctx, "log/1", nil); err != nil {
				t.Error(err)
			}
		}})
		h.Rooms("log/{id}", &hub.Rule{
			Delivery: room.Recoverable{},
			Join:     func(context.Context, *hub.Request) (any, error) { t.Error("it is there already"); return nil, nil },
		})
		cursor := map[int]string{}
		for i := range 3 {
			receipt, err := h.Room("log/1").Publish(t.Context(), note.New(fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			cursor[i] = receipt.Cursor
		}
		at, err := engine.ParsePosition(cursor[0])
		if err != nil {
			t.Fatal(err)
		}
		at.Epoch++
		for name, tt := range map[string]struct{ joins, want []string }{
			"plain":            {[]string{""}, []string{"member", "live"}},
			"with a cursor":    {[]string{cursor[0]}, []string{"true", "1", "2", "live"}},
			"twice":            {[]string{cursor[0], cursor[0]}, []string{"true", "1", "2", "member", "live"}},
			"plain before":     {[]string{"", cursor[0]}, []string{"member", "member", "live"}},
			"from another log": {[]string{at.String()}, []string{"false", "live"}},
			"with nonsense":    {[]string{"nonsense", cursor[1]}, []string{"invalid", "true", "2", "live"}},
		} {
			c := pipeSocket(t, h, "")
			synctest.Wait()
			c.received().take()
			for _, since := range tt.joins {
				if since != "" {
					since = `,"since":"` + since + `"`
				}
				c.send([]byte(`{"type":"join","room":"log/1","id":"j"`+since+`}`), false)
			}
			synctest.Wait()
			if err := h.Room("log/1").Broadcast(t.Context(), note.New("live").Volatile()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var got []string
			for _, f := range c.received().take() {
				got = append(got, inShort(t, f.data))
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("%s: got %v, want %v", name, got, tt.want)
			}
			c.cut()
			synctest.Wait()
		}
		shutDown(t, h)
	})
}

// TestSnapshotOfWhoWasPutIn: a client that the application has put into a room gets
// with its own first join, and only then, what one gets that comes.
func TestSnapshotOfWhoWasPutIn(t *testing.T) {
	for name, tt := range map[string]struct {
		delivery room.Delivery
		want     string
	}{
		"latest":      {room.Latest{}, "[meanwhile member 2 3 meanwhile member live]"},
		"recoverable": {room.Recoverable{Replay: 2}, "[meanwhile member 3 meanwhile member live]"},
		"no replay":   {room.Recoverable{}, "[meanwhile member member live]"},
		"ephemeral":   {room.Ephemeral{}, "[meanwhile member member live]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, &hub.Options{Connect: func(ctx context.Context, p *hub.Peer) { _ = p.Join(ctx, "r/1", nil) }})
				h.Rooms("r/{id}", &hub.Rule{Delivery: tt.delivery})
				post := func(key, body string) {
					t.Helper()
					if err := h.Room("r/1").Broadcast(t.Context(), note.New(body).Keyed(key)); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				first := pipeSocket(t, h, "") // starts the engine
				synctest.Wait()
				post("a", "1")
				post("b", "2")
				post("a", "3")
				c := pipeSocket(t, h, "")
				synctest.Wait()
				c.received().take()
				post("c", "meanwhile")
				for range 2 {
					c.send([]byte(`{"type":"join","room":"r/1","id":"j"}`), false)
				}
				synctest.Wait()
				post("d", "live")
				var got []string
				for _, f := range c.received().take() {
					got = append(got, inShort(t, f.data))
				}
				if fmt.Sprint(got) != tt.want {
					t.Errorf("got %v, want %s", got, tt.want)
				}
				first.cut()
				c.cut()
				shutDown(t, h)
			})
		})
	}
}

// inShort is a note, or the answer to a join.
func inShort(t *testing.T, data string) string {
	t.Helper()
	var e struct {
		Type    string
		Content json.RawMessage
	}
	var content struct {
		Recovered *bool
		Code      string
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		t.Fatal(err)
	}
	switch {
	case e.Content == nil:
		return e.Type
	case e.Type == string(note):
		return strings.Trim(string(e.Content), `"`)
	}
	if err := json.Unmarshal(e.Content, &content); err != nil {
		t.Fatal(err)
	}
	switch {
	case content.Code != "":
		return content.Code
	case content.Recovered != nil:
		return fmt.Sprint(*content.Recovered)
	}
	return "member"
}

// TestSinceThatIsNoCursor: an empty cursor is none, neither for a join nor as the
// condition of a message; null is as good as nothing.
func TestSinceThatIsNoCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		hub.On(h.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, toOthers)
		c := pipeSocket(t, h, "")
		synctest.Wait()
		c.received().take()
		for _, tt := range []struct{ since, join, publish string }{
			{`"nonsense"`, "invalid", "invalid"},
			{`""`, "invalid", "invalid"},
			{`1`, "malformed", "malformed"},
			{`null`, "member", "ack"},
		} {
			c.send([]byte(`{"type":"join","room":"log/1","id":"j","since":`+tt.since+`}`), false)
			c.send([]byte(`{"type":"join","room":"log/2","id":"j"}`), false)
			c.send([]byte(`{"type":"say","room":"log/2","id":`+"\"m"+strings.Trim(tt.since, `"`)+`","since":`+tt.since+`,"content":{"body":"x"}}`), false)
			synctest.Wait()
			frames := c.received().take()
			if len(frames) != 3 {
				t.Fatalf("since %s: %v", tt.since, frames)
			}
			if join, publish := inShort(t, frames[0].data), inShort(t, frames[2].data); join != tt.join || publish != tt.publish {
				t.Errorf("since %s: join %s, publish %s", tt.since, frames[0].data, frames[2].data)
			}
		}
		c.cut()
		shutDown(t, h)
	})
}
