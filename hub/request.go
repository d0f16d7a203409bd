package hub

import (
	"context"
	"slices"

	"github.com/hubbub-go/hubbub/internal/pattern"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// Request is one message under way: who sent it, where to, and what. It belongs
// to its handler, which may read the content until it returns.
type Request struct {
	Peer *Peer
	Room *room.Room // nil: addressed to no room
	Type string
	ID   string // "": the sender wants no answer

	match     pattern.Match[*Scope]
	content   message.Raw  // in a buffer that is used again after the handler
	cell      *cell        // of a stateful room
	published *publication // to its recoverable room; nil: it is to no such room
	stream    *stream      // that it opened
}

// Var returns what stood for {name} in the pattern of the room, or "".
func (r *Request) Var(name string) string { return r.match.Var(name) }

// Decode reads the content into v, which must be a pointer; see
// message.Raw.Decode. The typed handlers of On and Reply need not call it.
func (r *Request) Decode(v any) error { return r.content.Decode(r.Peer.hub.opts.Codec, v) }

// roomName returns "" for a message that was addressed to no room.
func (r *Request) roomName() string {
	if r.Room == nil {
		return ""
	}
	return r.Room.Name()
}

// Others broadcasts e, as coming from the sender, to everybody in the room but
// the sender. A message that was addressed to no room has no others: an error.
func (r *Request) Others(ctx context.Context, e message.Envelope, opts ...room.BroadcastOption) error {
	if len(opts) == 0 {
		return r.All(ctx, e, room.Except(r.Peer.id))
	}
	return r.All(ctx, e, append(slices.Clip(opts), room.Except(r.Peer.id))...)
}

// All broadcasts e, as coming from the sender, to everybody in the room, the
// sender too. A message that was addressed to no room is an error.
//
// In a recoverable room, what a message with an id publishes is stored once,
// however often the client sends it, and the client's answer tells the cursor.
// The error may be one of room.Room.Publish; it is Conflict, too, if the client
// said which cursor the room has to be at.
func (r *Request) All(ctx context.Context, e message.Envelope, opts ...room.BroadcastOption) error {
	if r.Room == nil {
		return message.Errorf(message.Invalid, "%q has to be addressed to a room", r.Type)
	}
	e.From, e.User = r.Peer.id, r.Peer.user
	if r.published != nil && !e.IsVolatile() {
		return r.publish(ctx, e, opts)
	}
	return r.Room.Broadcast(ctx, e, opts...)
}
