package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/room"
)

// fill sends n notes to ana's inbox and returns their cursors.
func fill(t *testing.T, inbox *hub.Inbox, n int) (cursors []string) {
	t.Helper()
	for i := range n {
		r, err := inbox.Send(t.Context(), "ana", note.New(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, r.Cursor)
	}
	return cursors
}

// keptOf counts what ana's inbox keeps, by type.
func keptOf(t *testing.T, inbox *hub.Inbox) map[string]int {
	t.Helper()
	p, err := inbox.Room("ana").History(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, m := range p.Messages {
		n[m.Type]++
	}
	return n
}

// TestMarksOfNothingNew: who tells again and again that everything is read, up to
// where the inbox is, and so up to the last mark, pushes nothing out of it.
func TestMarksOfNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{Keep: 20})
		fill(t, inbox, 10)
		c := dialAs(t, h, "ana")
		c.Join("inbox/ana", nil)
		mark := func() string {
			t.Helper()
			p, err := inbox.Room("ana").History(t.Context(), "", 1)
			if err != nil {
				t.Fatal(err)
			}
			at := p.Messages[0].Cursor
			if _, err := c.Request("inbox/ana", hub.InboxRead.New(hub.ReadMark{Cursor: at})); err != nil {
				t.Fatal(err)
			}
			return at
		}
		for range 25 {
			mark()
		}
		if n := keptOf(t, inbox); n[string(note)] != 10 || n[string(hub.InboxRead)] != 1 {
			t.Errorf("after 25 marks of nothing new %v is kept", n)
		}
		fill(t, inbox, 1)
		last := mark()
		for range 5 {
			mark()
		}
		if n := keptOf(t, inbox); n[string(note)] != 11 || n[string(hub.InboxRead)] != 2 {
			t.Errorf("after one more note and six marks %v is kept", n)
		}
		if u, err := inbox.Unread(t.Context(), "ana"); err != nil || u != (hub.Unread{Cursor: last}) {
			t.Errorf("unread %+v, %v, want none after %s", u, err, last)
		}
		shutDown(t, h)
	})
}

// TestMarkOfWhatIsGone: a mark of messages that are not kept any more is passed on
// all the same: other clients of the user may still show them.
func TestMarkOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{Keep: 4})
		cursors := fill(t, inbox, 4)
		c, tab := dialAs(t, h, "ana"), dialAs(t, h, "ana")
		c.Join("inbox/ana", nil)
		tab.Join("inbox/ana", nil)
		mark := func(cursor string) {
			t.Helper()
			if _, err := c.Request("inbox/ana", hub.InboxRead.New(hub.ReadMark{Cursor: cursor})); err != nil {
				t.Fatal(err)
			}
		}
		mark(cursors[0])
		fill(t, inbox, 3) // and the mark is the oldest that is kept
		mark(cursors[3])
		for _, want := range []string{cursors[0], cursors[3]} {
			if got := hubtest.Expect(tab, hub.InboxRead); got.Cursor != want {
				t.Errorf("the other tab knows of a mark at %q, want %q", got.Cursor, want)
			}
		}
		shutDown(t, h)
	})
}

// TestHighestMark: of two marks that were stored the other way round, as those of
// two tabs at a time may be, the higher one counts.
func TestHighestMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, &hub.Options{Identify: byHeader})
		inbox := hub.NewInbox(h, "inbox/{user}", room.Recoverable{})
		cursors := fill(t, inbox, 5)
		for _, i := range []int{3, 1} {
			if _, err := inbox.Send(t.Context(), "ana", hub.InboxRead.New(hub.ReadMark{Cursor: cursors[i]})); err != nil {
				t.Fatal(err)
			}
		}
		if u, err := inbox.Unread(t.Context(), "ana"); err != nil || u != (hub.Unread{Count: 1, Cursor: cursors[3]}) {
			t.Errorf("unread %+v, %v, want 1 after %s", u, err, cursors[3])
		}
		shutDown(t, h)
	})
}

// TestWhatIsThereOnReturn: everything that is kept, and that is for 30 days, unless the
// application says otherwise.
func TestWhatIsThereOnReturn(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		d    room.Recoverable
		away time.Duration
		want int
	}{
		{"soon", room.Recoverable{}, time.Minute, 100},
		{"late", room.Recoverable{}, 29 * day, 100},
		{"too late", room.Recoverable{}, 31 * day, 0},
		{"few are kept", room.Recoverable{Keep: 30}, time.Minute, 30},
		{"few are replayed", room.Recoverable{Keep: 30, Replay: 20}, time.Minute, 20},
		{"none is replayed", room.Recoverable{Replay: -1}, time.Minute, 0},
		{"not for long", room.Recoverable{KeepFor: time.Hour}, 2 * time.Hour, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, &hub.Options{Identify: byHeader})
				inbox := hub.NewInbox(h, "inbox/{user}", tt.d)
				fill(t, inbox, 100)
				<-time.After(tt.away)
				c := dialAs(t, h, "ana")
				c.Join("inbox/ana", nil)
				for i := range tt.want {
					if got, want := hubtest.Expect(c, note), fmt.Sprint(100-tt.want+i); got != want {
						t.Fatalf("got %s, want %s", got, want)
					}
				}
				c.ExpectNone()
				shutDown(t, h)
			})
		})
	}
}
