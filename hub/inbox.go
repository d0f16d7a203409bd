package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/internal/envelope"
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

// ReadMark is the position up to which everything was read. One that is none of
// the inbox is Invalid, as far as room.Room.History knows; what it does not know is
// older than all that is kept, and marks nothing of that.
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
// is sent to it while the user is away is there on return, once and in order, as far
// as it is kept then.
type Inbox struct {
	scope                    *Scope
	prefix, variable, suffix string
}

// NewInbox declares the inboxes: the rooms of a pattern with one variable, as
// "inbox/{user}", which only that user may join. Read marks are messages of the
// inbox like others, so every client of the user sees them, and they count for Keep
// and Replay; one is stored only if there is something new that it marks, so there are
// hardly more of them than of what they mark. It panics as Rooms does.
//
// Keep, Bytes and KeepFor limit what is there on return: the oldest goes first, and
// who joins without a cursor, as after a reload of the page, is not told. KeepFor is
// 30 days where it is zero; memory stays bounded all the same, as the inboxes that were
// silent longest make room for others (memory.Options.Bytes). Replay is all that is
// kept where it is zero, and nothing where it is negative.
func NewInbox(h *Hub, pattern string, d room.Recoverable) *Inbox {
	prefix, rest, ok := strings.Cut(pattern, "{")
	name, suffix, closed := strings.Cut(rest, "}")
	if !ok || !closed || strings.Contains(suffix, "{") {
		panic(fmt.Sprintf("hub: NewInbox(%q): the pattern has one variable, the user, as in \"inbox/{user}\"", pattern))
	}
	setDefault(&d.Keep, 1000)
	setDefault(&d.KeepFor, 30*24*time.Hour)
	if d.Replay == 0 {
		d.Replay = d.Keep
	}
	b := &Inbox{prefix: prefix, variable: strings.TrimSuffix(name, "..."), suffix: suffix}
	b.scope = h.Rooms(pattern, &Rule{Delivery: d, Join: func(_ context.Context, r *Request) (any, error) {
		if user := r.Peer.User(); user == "" || r.Var(b.variable) != user {
			return nil, message.Errorf(message.Denied, "this is the inbox of somebody else")
		}
		return nil, nil
	}})
	On(b.scope, InboxRead, b.read)
	Reply(b.scope, InboxUnread, func(ctx context.Context, r *Request, _ struct{}) (Unread, error) {
		return b.Unread(ctx, r.Peer.User())
	})
	return b
}

// read publishes a mark, unless nothing is new up to there.
func (b *Inbox) read(ctx context.Context, r *Request, m ReadMark) error {
	at, _ := engine.ParsePosition(m.Cursor) // Validate has seen to it
	if _, err := r.Room.History(ctx, m.Cursor, 1); err != nil {
		if message.Public(err).Code == message.Invalid {
			return &message.Error{Code: message.Invalid, Message: "this cursor is not one of the inbox", Field: "content.cursor"}
		}
		return err
	}
	s, err := b.scan(ctx, r.Peer.User())
	if err != nil || !s.news(at) {
		return err
	}
	return r.All(ctx, InboxRead.New(m))
}

// Room returns a user's inbox. A user whom the pattern cannot name, as one with a
// slash where it says {user}, or for whom that is no name of a room, as one with a
// control character or of nearly 256 bytes, has none: it is a room that nobody can be
// in and that keeps nothing. Send says so instead.
func (b *Inbox) Room(user string) *room.Room {
	name := b.prefix + user + b.suffix
	if !b.has(user) {
		return b.scope.hub.root.rooms.Get(name) // no pattern's, whatever there is
	}
	return b.scope.hub.Room(name)
}

// has reports whether the pattern can name a user, and a client that room.
func (b *Inbox) has(user string) bool {
	name := b.prefix + user + b.suffix
	if !utf8.ValidString(name) || envelope.CheckName("room", name, envelope.MaxRoom) != nil {
		return false
	}
	m := b.scope.hub.patterns.Match(name)
	return user != "" && m.Found() && m.Value() == b.scope && m.Var(b.variable) == user
}

func (b *Inbox) check(user string) error {
	if !b.has(user) {
		return &message.Error{Code: message.Invalid, Field: "user",
			Message: fmt.Sprintf("no inbox of the pattern %q is that of the user %q", b.scope.pattern, user)}
	}
	return nil
}

// Send stores e in a user's inbox, connected or not. The error is that of
// room.Room.Publish, or Invalid for a user who has no inbox, see Room.
func (b *Inbox) Send(ctx context.Context, user string, e message.Envelope) (room.Receipt, error) {
	if err := b.check(user); err != nil {
		return room.Receipt{}, err
	}
	return b.Room(user).Publish(ctx, e)
}

// Unread counts what is kept and was not read, up to the highest of the marks,
// which do not count themselves. It reads the inbox back to the last message that was
// read. The error is that of room.Room.History, or Invalid as that of Send.
func (b *Inbox) Unread(ctx context.Context, user string) (Unread, error) {
	if err := b.check(user); err != nil {
		return Unread{}, err
	}
	s, err := b.scan(ctx, user)
	if err != nil {
		return Unread{}, err
	}
	u := Unread{Cursor: s.cursor}
	for _, at := range s.messages {
		if at.Offset > s.read.Offset {
			u.Count++
		}
	}
	return u, nil
}

// scan is what an inbox keeps, from its end back to what was read.
type scan struct {
	read     engine.Position   // the highest of the marks; zero: there is none
	cursor   string            // as it says
	messages []engine.Position // of those that are no marks
	oldest   engine.Position   // of all that was looked at, marks too
}

// scan reads an inbox.
func (b *Inbox) scan(ctx context.Context, user string) (*scan, error) {
	var s scan
	for before, more := "", true; more; {
		page, err := b.Room(user).History(ctx, before, 0)
		if err != nil {
			return nil, err
		}
		for i := range page.Messages {
			s.look(&page.Messages[i])
		}
		if len(page.Messages) == 0 {
			break
		}
		before = page.Messages[0].Cursor
		s.oldest, _ = engine.ParsePosition(before)
		more = page.More && s.oldest.Offset > s.read.Offset // marks stand behind what they mark: those before are lower
	}
	return &s, nil
}

// look notes a message.
func (s *scan) look(m *message.Envelope) {
	at, _ := engine.ParsePosition(m.Cursor)
	if m.Type != string(InboxRead) {
		s.messages = append(s.messages, at)
		return
	}
	var mark ReadMark
	if m.Content.Decode(nil, &mark) != nil {
		return
	}
	if p, _ := engine.ParsePosition(mark.Cursor); p.Epoch == at.Epoch && p.Offset > s.read.Offset {
		s.read, s.cursor = p, mark.Cursor
	}
}

// news reports whether a mark at p is worth storing: whether something that is no mark
// lies behind what was read, up to there. What is not kept any more may have been that,
// and may still be shown somewhere.
func (s *scan) news(p engine.Position) bool {
	switch {
	case s.read.Epoch != p.Epoch: // there is no mark
		return true
	case s.read.Offset >= p.Offset:
		return false
	}
	return s.oldest.Offset > s.read.Offset+1 || slices.ContainsFunc(s.messages, func(m engine.Position) bool {
		return m.Offset > s.read.Offset && m.Offset <= p.Offset
	})
}
