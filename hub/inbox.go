package hub

import (
	"context"
	"fmt"
	"strings"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// The messages of an inbox that are not the application's.
const (
	// InboxRead tells how far a user has read. A client sends it to its inbox, and
	// all clients of the user get it.
	InboxRead message.Kind[ReadMark] = "inbox.read"
	// InboxUnread asks for Inbox.Unread.
	InboxUnread message.Call[struct{}, Unread] = "inbox.unread"
)

// ReadMark is the position up to which everything was read.
type ReadMark struct {
	Cursor string `json:"cursor"`
}

// Validate implements the check of contents.
func (m ReadMark) Validate() error {
	if _, err := engine.ParsePosition(m.Cursor); err != nil {
		return &message.Error{Code: message.Invalid, Message: "this is no cursor", Field: "content.cursor"}
	}
	return nil
}

// Unread is how many messages a user has not read.
type Unread struct {
	Count int `json:"count"`
	// Cursor is that of the last ReadMark; "": nothing was read, or so long ago
	// that the mark is not kept any more.
	Cursor string `json:"cursor,omitzero"`
}

// Inbox is a recoverable room for each user, which the user's clients join. What
// is sent to it while the user is away is there on return, once and in order.
type Inbox struct {
	scope  *Scope
	prefix string
	suffix string
}

// NewInbox declares the inboxes: the rooms of a pattern with one variable, as
// "inbox/{user}", which only that user may join. Read marks are messages of the
// inbox like others, so every client of the user sees them, and they count for
// Recoverable.Keep. It panics as Rooms does.
func NewInbox(h *Hub, pattern string, d room.Recoverable) *Inbox {
	prefix, rest, ok := strings.Cut(pattern, "{")
	name, suffix, closed := strings.Cut(rest, "}")
	if !ok || !closed || strings.Contains(suffix, "{") {
		panic(fmt.Sprintf("hub: NewInbox(%q): the pattern has one variable, the user, as in \"inbox/{user}\"", pattern))
	}
	b := &Inbox{prefix: prefix, suffix: suffix}
	b.scope = h.Rooms(pattern, &Rule{Delivery: d, Join: func(_ context.Context, r *Request) (any, error) {
		if user := r.Peer.User(); user == "" || r.Var(strings.TrimSuffix(name, "...")) != user {
			return nil, message.Errorf(message.Denied, "this is the inbox of somebody else")
		}
		return nil, nil
	}})
	On(b.scope, InboxRead, func(ctx context.Context, r *Request, m ReadMark) error {
		return r.All(ctx, InboxRead.New(m))
	})
	Reply(b.scope, InboxUnread, func(ctx context.Context, r *Request, _ struct{}) (Unread, error) {
		return b.Unread(ctx, r.Peer.User())
	})
	return b
}

// Room returns a user's inbox.
func (b *Inbox) Room(user string) *room.Room { return b.scope.hub.Room(b.prefix + user + b.suffix) }

// Send stores e in a user's inbox, connected or not. The error is that of
// room.Room.Publish.
func (b *Inbox) Send(ctx context.Context, user string, e message.Envelope) (room.Receipt, error) {
	return b.Room(user).Publish(ctx, e)
}

// Unread counts what is kept and was not read. The error is that of
// room.Room.History.
func (b *Inbox) Unread(ctx context.Context, user string) (Unread, error) {
	var u Unread
	var read engine.Position
	var all []engine.Position // newest first
	for before, more := "", true; more && u.Cursor == ""; {
		page, err := b.Room(user).History(ctx, before, 0)
		if err != nil {
			return Unread{}, err
		}
		for i := len(page.Messages) - 1; i >= 0; i-- {
			m := &page.Messages[i]
			var mark ReadMark
			if m.Type != string(InboxRead) {
				at, _ := engine.ParsePosition(m.Cursor)
				all = append(all, at)
			} else if m.Content.Decode(nil, &mark) == nil && u.Cursor == "" {
				u.Cursor = mark.Cursor
				read, _ = engine.ParsePosition(mark.Cursor)
			}
		}
		if more = page.More; more {
			before = page.Messages[0].Cursor
		}
	}
	for _, at := range all {
		if at.Epoch != read.Epoch || at.Offset > read.Offset {
			u.Count++
		}
	}
	return u, nil
}
