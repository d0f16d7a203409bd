package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// TestUserIsManyConnections: what is done to a user is done to each of the user's
// connections, and to nobody else's.
func TestUserIsManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, &hub.Options{Identify: byHeader})
		phone, laptop, other, nobody := dialAs(t, h, "ana"), dialAs(t, h, "ana"), dialAs(t, h, "ben"), dialAs(t, h, "")
		ana := h.User("ana")
		if n := len(ana.Peers()); n != 2 {
			t.Fatalf("ana has %d connections, want 2", n)
		}
		if err := ana.Send(note.New("hello")); err != nil {
			t.Fatal(err)
		}
		if err := ana.Join(t.Context(), "chat/1", nil); err != nil {
			t.Fatal(err)
		}
		if err := h.Room("chat/1").Broadcast(t.Context(), say.New(text{"to all"})); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*hubtest.Client{phone, laptop} {
			if got := hubtest.Expect(c, note); got != "hello" {
				t.Errorf("got %q", got)
			}
			if got := hubtest.Expect(c, say); got.Body != "to all" {
				t.Errorf("got %q", got)
			}
		}
		ana.Leave("chat/1")
		for _, c := range []*hubtest.Client{phone, laptop} {
			if e := c.Next(); e.Type != "left" || e.From != c.ID() || e.Room != "chat/1" {
				t.Errorf("who was taken out got %+v", e)
			}
		}
		if n := h.Room("chat/1").Len(); n != 0 {
			t.Errorf("%d are left in the room", n)
		}
		ana.Disconnect(message.CloseKicked, "enough")
		for _, c := range []*hubtest.Client{phone, laptop} {
			var closed *transport.CloseError
			if err := c.Closed(); !errors.As(err, &closed) || closed.Code != message.CloseKicked {
				t.Errorf("ended with %v, want %d", err, message.CloseKicked)
			}
		}
		other.ExpectNone()
		nobody.ExpectNone()
		if n := len(ana.Peers()) + len(h.User("").Peers()); n != 0 {
			t.Errorf("%d connections are still known", n)
		}
	})
}

// TestInbox: what comes while a user is away is there on return, once and in
// order; all clients of the user know how far it was read.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{Replay: 10})
		var cursors []string
		for _, body := range []string{"one", "two", "three"} {
			r, err := inbox.Send(t.Context(), "ana", note.New(body))
			if err != nil {
				t.Fatal(err)
			}
			cursors = append(cursors, r.Cursor)
		}
		phone, laptop, ben := dialAs(t, h, "ana"), dialAs(t, h, "ana"), dialAs(t, h, "ben")
		for _, c := range []*hubtest.Client{phone, laptop} {
			c.Join("inbox/ana", nil)
			for _, want := range []string{"one", "two", "three"} {
				if got := hubtest.Expect(c, note); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		}
		err := ben.TryJoin("inbox/ana", nil)
		wantCode(t, err, message.Denied)
		unread := func(want hub.Unread) {
			t.Helper()
			got, err := hubtest.Ask(phone, "inbox/ana", hub.InboxUnread, struct{}{})
			if got != want || err != nil {
				t.Errorf("unread %+v, %v, want %+v", got, err, want)
			}
		}
		unread(hub.Unread{Count: 3})
		phone.Send("inbox/ana", hub.InboxRead.New(hub.ReadMark{Cursor: cursors[1]}))
		for _, c := range []*hubtest.Client{phone, laptop} {
			if got := hubtest.Expect(c, hub.InboxRead); got.Cursor != cursors[1] {
				t.Errorf("the mark is at %q, want %q", got.Cursor, cursors[1])
			}
		}
		unread(hub.Unread{Count: 1, Cursor: cursors[1]})
		phone.Send("inbox/ana", hub.InboxRead.New(hub.ReadMark{Cursor: cursors[0]})) // late: it was read before
		unread(hub.Unread{Count: 1, Cursor: cursors[1]})
		laptop.ExpectNone()
		ahead, _ := engine.ParsePosition(cursors[2])
		ahead.Offset += 100
		foreign := ahead
		foreign.Epoch++
		if _, err := inbox.Send(t.Context(), strings.Repeat("x", 250), note.New("hello")); err != nil {
			t.Error(err)
		}
		bens, err := inbox.Send(t.Context(), "ben", note.New("hello"))
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"garbage", ahead.String(), foreign.String(), bens.Cursor} {
			_, err = phone.Request("inbox/ana", hub.InboxRead.New(hub.ReadMark{Cursor: bad}))
			wantCode(t, err, message.Invalid)
		}
		for i := range 150 { // more than a page
			if _, err := inbox.Send(t.Context(), "ana", note.New(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		unread(hub.Unread{Count: 151, Cursor: cursors[1]})
		for _, nobody := range []string{"", "a/b", "a\x01b", "a\xff", strings.Repeat("x", 251)} {
			_, err = inbox.Send(t.Context(), nobody, note.New("lost"))
			wantCode(t, err, message.Invalid)
			_, err = inbox.Unread(t.Context(), nobody)
			wantCode(t, err, message.Invalid)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestNoInbox: a user whom the pattern cannot name has none, whatever rooms there
// are.
func TestNoInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{})
		h.Rooms("{room...}", &hub.Rule{Delivery: room.Recoverable{}})
		for _, user := range []string{"", "a/b", "a\x01b", "a\xff", strings.Repeat("x", 251)} {
			_, err := inbox.Room(user).History(t.Context(), "", 0)
			wantCode(t, err, message.Invalid) // it keeps nothing
		}
		shutDown(t, h)
	})
}

// counted is an engine that counts how often its logs are read.
type counted struct {
	*memory.Engine
	reads atomic.Int64
}

func (e *counted) Read(ctx context.Context, t engine.Topic, from engine.Position, limit int) (engine.Page, error) {
	e.reads.Add(1)
	return e.Engine.Read(ctx, t, from, limit)
}

// TestUnreadCost: what was read long ago is not looked at.
func TestUnreadCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{Engine: memory.New(nil)}
		h := newHub(t, &hub.Options{Identify: byHeader, Engine: store})
		inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{})
		c := dialAs(t, h, "ana")
		var last room.Receipt
		for i := range 900 {
			var err error
			if last, err = inbox.Send(t.Context(), "ana", note.New(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		c.Join("inbox/ana", nil)
		if _, err := c.Request("inbox/ana", hub.InboxRead.New(hub.ReadMark{Cursor: last.Cursor})); err != nil {
			t.Fatal(err)
		}
		before := store.reads.Load()
		if u, err := inbox.Unread(t.Context(), "ana"); err != nil || u.Count != 0 || u.Cursor != last.Cursor {
			t.Errorf("%+v, %v", u, err)
		}
		if n := store.reads.Load() - before; n > 2 {
			t.Errorf("the log was read %d times", n)
		}
		shutDown(t, h)
	})
}

// TestAskAll: answers come as they are given; who gives none is named.
func TestAskAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := chatHub(t, nil)
		quick, slow, silent := hubtest.Dial(t, h), hubtest.Dial(t, h), hubtest.Dial(t, h)
		hubtest.Answer(quick, sure, func(string) (bool, error) { return true, nil })
		hubtest.Answer(slow, sure, func(string) (bool, error) {
			<-time.After(time.Second)
			return false, message.Errorf(message.Denied, "no")
		})
		for _, c := range []*hubtest.Client{quick, slow, silent} {
			c.Join("chat/1", nil)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var order []string
		for a := range hub.AskAll(ctx, h.Members("chat/1"), sure, "go?") {
			order = append(order, a.Peer.ID())
			switch a.Peer.ID() {
			case quick.ID():
				if !a.Value || a.Err != nil {
					t.Errorf("quick: %v, %v", a.Value, a.Err)
				}
			case slow.ID():
				wantCode(t, a.Err, message.Denied)
			default:
				wantCode(t, a.Err, message.Timeout)
			}
		}
		if want := []string{quick.ID(), slow.ID(), silent.ID()}; !slices.Equal(order, want) {
			t.Errorf("answers of %v, want %v", order, want)
		}
		began := time.Now()
		for range hub.AskAll(t.Context(), h.Members("chat/1"), sure, "again?") {
			break // withdraws the rest, and leaves nothing behind
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the questions that were open are withdrawn after %v", d)
		}
	})
}
