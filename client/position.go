package client

import (
	"slices"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

const remembered = 512 // cursors, to recognise what comes twice

// position is where the room is in its history, of its present epoch: what waits for
// handlers of an earlier one does not move it. Cursors are opaque: they can be kept and
// recognised, nothing else.
type position struct {
	cursor string   // behind all that waits for handlers: where to resume
	latest string   // behind what they have handled, or own messages that follow it: where to publish
	seen   []string // in front of cursor, oldest first
}

// restart begins behind a hole, or where there was nothing.
func (p *position) restart(cursor string) { p.cursor, p.seen = cursor, nil }

func (p *position) received(cursor string) {
	p.cursor = cursor
	if len(p.seen) >= remembered {
		p.seen = slices.Delete(p.seen, 0, len(p.seen)-remembered+1)
	}
	p.seen = append(p.seen, cursor)
}

func (p *position) known(cursor string) bool { return slices.Contains(p.seen, cursor) }

// tells reports whether e, which is no answer, tells where in its history the room is.
func tells(e *message.Envelope) bool {
	return e.Type == envelope.Gap || e.Cursor != "" && e.Type != envelope.Ack
}

// begin starts an epoch, which continues nothing. What was asked before it may be
// answered at any time. Client.mu is held.
func (r *Room) begin() {
	r.member.epoch++
	r.position = position{}
	r.client.out.doubt(r)
}

// known reports whether the message has come before.
func (r *Room) known(cursor string) bool {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return cursor != "" && r.position.known(cursor)
}

// received notes what waits for handlers now, and so need not come again.
func (r *Room) received(epoch int, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.member.epoch == epoch && cursor != "" {
		r.position.received(cursor)
	}
}

// restart notes a hole that waits for handlers now: the room goes on behind it.
func (r *Room) restart(epoch int, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.member.epoch == epoch {
		r.position.restart(cursor)
	}
}

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
func (r *Room) passed(epoch int, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.member.epoch == epoch && cursor != "" {
		r.position.latest = cursor
	}
}

// placed notes the ack of an own message, which comes in place of the message itself, in
// its order; unless the message was sent again, or before a hole, which may be answered
// out of order.
func (r *Room) placed(epoch int, q *request, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.member.epoch == epoch && q.inPlace() {
		r.position.cursor = cursor
	}
}

// acked notes that the ack of an own message has had its turn. Where it may be out of
// order only what was published at the room's position tells that there is nothing in
// between, and only for those who publish: to resume, messages that are under way must
// not be skipped, and the message itself may be one of them.
func (r *Room) acked(epoch int, q *request, cursor string) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.member.epoch == epoch && (q.inPlace() || q.since != "" && q.since == r.position.latest) {
		r.position.latest = cursor
	}
}
