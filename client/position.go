package client

import (
	"slices"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

const remembered = 2 * inboxMessages // cursors, to recognise what comes twice

// position is what has been processed. Cursors are opaque: they can be kept and
// recognised, nothing else.
type position struct {
	cursor string   // where to resume
	latest string   // where to publish: there, or behind own messages that follow it
	seen   []string // oldest first
}

func (p *position) restart(cursor string) { *p = position{cursor: cursor, latest: cursor} }

// tells reports whether e, which is no answer, tells where in its history the room is.
func tells(e *message.Envelope) bool {
	return e.Type == envelope.Gap || e.Cursor != "" && e.Type != envelope.Ack
}

func (p *position) advance(cursor string) { p.cursor, p.latest = cursor, cursor }

func (p *position) processed(cursor string) {
	p.advance(cursor)
	if len(p.seen) >= remembered {
		p.seen = slices.Delete(p.seen, 0, len(p.seen)-remembered+1)
	}
	p.seen = append(p.seen, cursor)
}

func (p *position) known(cursor string) bool { return slices.Contains(p.seen, cursor) }

// Cursor is the position in a room that keeps history: after the last message
// whose handlers have returned, those of this client included; "" where the room
// keeps none or is not joined. Inside a handler the position is Message.Cursor.
func (r *Room) Cursor() string {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if !r.member.wanted {
		return ""
	}
	return r.position.latest
}

// At is the room for messages that are to be published only if nobody else has
// published since that cursor, which is Room.Cursor, Message.Cursor, or
// Receipt.Cursor of the message before:
//
//	receipt, err := client.Send(ctx, doc.At(doc.Cursor()), Edit, change)
//
// Otherwise the error is a *message.Error of the code Conflict. It holds for what
// the server's handler publishes to the room; rooms without history ignore it. An
// empty cursor is Invalid.
//
// A message that was repeated over a reconnect may be answered before others that
// are missing yet. So after such a one, unless it was itself sent At the position of
// the room, Room.Cursor stays behind until the next message comes, and to publish
// there is a Conflict. Receipt.Cursor says at once where the message is.
func (r *Room) At(cursor string) Place {
	p := r.own
	p.since = &cursor
	return &p
}

// passed notes that everything up to the cursor has been handled.
func (r *Room) passed(o origin, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.member.epoch == o.epoch && !r.member.repeats(o) && cursor != "" {
		r.position.advance(cursor)
	}
}

// acked notes the ack of an own message, which comes in place of the message
// itself, in its order; unless the message was sent again, or before a hole, which may
// be answered out of order. Then only what was published at the room's position tells that there is
// nothing in between, and only for those who publish: to resume, messages that are
// under way must not be skipped, and the message itself may be one of them.
func (r *Room) acked(o origin, q *request, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	switch {
	case r.member.epoch != o.epoch || r.member.repeats(o):
	case !q.again && !q.doubted:
		r.position.advance(cursor)
	case q.since != "" && q.since == r.position.latest:
		r.position.latest = cursor
	}
}
