package room

import (
	"context"
	"slices"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/message"
)

// Page is a part of a room's history, oldest message first.
type Page struct {
	Messages []message.Envelope `json:"messages"`
	More     bool               `json:"more"` // older ones are kept
}

// How many messages a page has at most, and how many bytes they have as they are kept.
// One always has a place.
const (
	mostPage  = 1000
	pageBytes = 256 << 10
)

// History returns up to limit of the latest messages that are kept, or of those
// before the message with that cursor. A limit of 0 means 100; the most is 1,000.
// A page has no more than 256 KiB of messages, if it has more than one, so it may be
// shorter than limit although there are More: the cursor of its first message is where
// the next one begins. As an answer it grows by a third where content is binary.
// The error is a *message.Error: Invalid for a cursor that is none of this
// room's history, or a room without one; Unavailable. Its Field is "content.before", as
// which clients best send a cursor.
//
// A cursor of another room is recognised by the message that this one has in its
// place. Where that is not kept any more, nothing is before it: the page is empty.
//
// A page has what was published to the room, also where Except left somebody
// out.
func (r *Room) History(ctx context.Context, before string, limit int) (Page, error) {
	if r.manager.log == nil {
		return Page{}, message.Errorf(message.Invalid, "the room keeps no history")
	}
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, mostPage)
	end := engine.Position{}
	if before != "" {
		var err error
		if end, err = engine.ParsePosition(before); err != nil {
			return Page{}, &message.Error{Code: message.Invalid, Message: "this is no cursor", Field: "content.before"}
		}
	}
	entries, err := r.before(ctx, end, limit+1)
	if err != nil {
		return Page{}, clientError(err)
	}
	p := Page{More: len(entries) > limit}
	size := 0
	for _, e := range slices.Backward(newest(entries, limit)) {
		m, ok := kept(e)
		if !ok {
			continue
		}
		if size += len(e.Data); size > pageBytes && len(p.Messages) > 0 {
			p.More = true
			break
		}
		p.Messages = append(p.Messages, m)
	}
	slices.Reverse(p.Messages)
	return p, nil
}

// kept returns the message of an entry.
func kept(e engine.Entry) (message.Envelope, bool) {
	var rec record
	if rec.parse(e.Data) != nil {
		return message.Envelope{}, false
	}
	m, err := message.Decode(rec.payload, rec.binary)
	m.Cursor = e.Position.String()
	return m, err == nil
}

func (r *Room) latest(ctx context.Context, n int) ([]engine.Entry, error) {
	return r.before(ctx, engine.Position{}, n)
}

// before returns up to n entries before end, the zero Position being the end of
// the log. Logs are read forward only: where offsets are not dense, one has to
// look again from further back.
func (r *Room) before(ctx context.Context, end engine.Position, n int) ([]engine.Entry, error) {
	if _, err := r.manager.log.feeds(ctx); err != nil {
		return nil, err
	}
	log := r.manager.log.log
	heads, err := log.Heads(ctx, r.topic())
	if err != nil {
		return nil, err
	}
	head := heads[0]
	if end == (engine.Position{}) {
		end = engine.Position{Epoch: head.Epoch, Offset: head.Offset + 1}
	} else if err := r.owns(ctx, end, head); err != nil {
		return nil, err
	}
	if end.Offset <= 1 {
		return nil, nil // before everything
	}
	for span := uint64(n); ; span *= 4 {
		from := engine.Position{Epoch: end.Epoch}
		if end.Offset-1 > span {
			from.Offset = end.Offset - 1 - span
		}
		entries, err := r.between(ctx, from, end.Offset, n)
		if err != nil || len(entries) == n || from.Offset == 0 {
			return entries, err
		}
	}
}

// owns says why at is not a place in the log, of which head is the end, as far as
// that can be known: by its tag while the log knows that of the entry there.
func (r *Room) owns(ctx context.Context, at, head engine.Position) error {
	foreign := &message.Error{Code: message.Invalid, Message: "this cursor does not belong to the room's history", Field: "content.before"}
	switch {
	case at.Epoch != head.Epoch, at.Offset > head.Offset, at.Offset == head.Offset && !at.Same(head):
		return foreign
	case at.Tag == 0:
		return nil
	}
	p, err := r.manager.log.log.Read(ctx, r.topic(), at, 1)
	switch {
	case err != nil:
		return err
	case p.Anchor != nil && p.Anchor.Tag != at.Tag:
		return foreign
	case p.Anchor == nil && len(p.Entries) > 0 && p.Entries[0].Prev != 0 && p.Entries[0].Prev < at.Offset:
		return foreign // there is no entry at that place
	}
	return nil
}

// between returns the last n entries after from whose offset is below end.
func (r *Room) between(ctx context.Context, from engine.Position, end uint64, n int) ([]engine.Entry, error) {
	var last []engine.Entry
	for {
		p, err := r.manager.log.log.Read(ctx, r.topic(), from, n)
		if err != nil {
			return nil, err
		}
		for _, e := range p.Entries {
			if e.Offset >= end {
				return newest(last, n), nil
			}
			if last = append(last, e); len(last) == 2*n {
				last = append(last[:0], newest(last, n)...)
			}
		}
		if len(p.Entries) == 0 {
			return newest(last, n), nil
		}
		from = p.Entries[len(p.Entries)-1].Position
	}
}

func newest(entries []engine.Entry, n int) []engine.Entry { return entries[max(0, len(entries)-n):] }
