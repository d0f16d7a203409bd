package room

import (
	"context"
	"strconv"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// BroadcastOption narrows one broadcast. It is made by Except,
// ExceptRooms, Once and At.
type BroadcastOption struct {
	ids   []string
	rooms []*Room
	once  *once
	at    *string
}

// Except leaves out the members with these IDs.
func Except(ids ...string) BroadcastOption { return BroadcastOption{ids: ids} }

// ExceptRooms leaves out whoever is in one of these rooms.
func ExceptRooms(rooms ...*Room) BroadcastOption { return BroadcastOption{rooms: rooms} }

// left returns every ID that the options leave out. The usual case, one option
// with one ID, needs no copy.
func left(opts []BroadcastOption) []string {
	if len(opts) == 1 && len(opts[0].rooms) == 0 {
		return opts[0].ids
	}
	var ids []string
	for _, o := range opts {
		ids = append(ids, o.ids...)
		for _, r := range o.rooms {
			for _, m := range r.snapshot() {
				ids = append(ids, m.ID())
			}
		}
	}
	return ids
}

// Broadcast queues e, addressed from this room, for every member. It is encoded
// once, whatever the number of members. The error says that e cannot be encoded
// or that ctx had ended; a member that takes nothing is no error. In a
// recoverable room it is Publish without the receipt.
//
// Members see the messages of one goroutine in the order of its calls; where a slow
// one gets the newest message of a key, that may come in the place of an older one.
func (r *Room) Broadcast(ctx context.Context, e message.Envelope, opts ...BroadcastOption) error {
	if r.manager.log != nil && !e.IsVolatile() {
		_, err := r.Publish(ctx, e, opts...)
		return err
	}
	return r.send(ctx, e, opts)
}

// send delivers e to who is there.
func (r *Room) send(ctx context.Context, e message.Envelope, opts []BroadcastOption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.Room = r.name
	kept := r.manager.boards != nil && !e.IsVolatile()
	policy := r.manager.slow
	if kept {
		policy = message.CatchUpLatest
	}
	f, err := message.Encode(e, r.manager.opts.Codec, policy)
	if err != nil {
		return err
	}
	if except := left(opts); kept {
		r.post(f, except)
	} else {
		r.spread(f, except)
	}
	return nil
}

// spread delivers f to who is there.
func (r *Room) spread(f *message.Frame, except []string) {
	live := r.live()
	if live == nil {
		return
	}
	live.mu.RLock()
	defer live.mu.RUnlock()
	if len(except) > 1 {
		live.deliverExcept(f, except)
		return
	}
	skip := -1
	if len(except) == 1 {
		skip = live.find(except[0])
	}
	live.deliver(f, skip)
}

// deliver queues f for all but the member at skip. r.mu is held; Deliver only
// appends to the member's queue, so the room is held for as long as that takes.
func (r *Room) deliver(f *message.Frame, skip int) {
	for i := range r.members {
		if i != skip {
			_ = r.members[i].Deliver(f)
		}
	}
}

func (r *Room) deliverExcept(f *message.Frame, except []string) {
	skip := make(map[int]struct{}, len(except))
	for _, id := range except {
		skip[r.find(id)] = struct{}{}
	}
	for i := range r.members {
		if _, out := skip[i]; !out {
			_ = r.members[i].Deliver(f)
		}
	}
}

// Broadcast queues e for whoever is in at least one of the rooms, once each. The
// rooms may belong to different managers; codec and policy are the first one's.
// e.Room stays as it is: the message comes from no single room, and is kept by
// none.
func Broadcast(ctx context.Context, rooms []*Room, e message.Envelope, opts ...BroadcastOption) error {
	if err := ctx.Err(); err != nil || len(rooms) == 0 {
		return err
	}
	f, err := message.Encode(e, rooms[0].manager.opts.Codec, rooms[0].manager.slow)
	if err != nil {
		return err
	}
	reached := map[string]struct{}{}
	for _, id := range left(opts) {
		reached[id] = struct{}{}
	}
	for _, r := range rooms {
		if live := r.live(); live != nil {
			live.deliverOnce(f, reached)
		}
	}
	return nil
}

// deliverOnce queues f for whoever is not in reached yet. It holds the room, as
// every delivery does: a member that has left must not get anything any more.
func (r *Room) deliverOnce(f *message.Frame, reached map[string]struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range r.members {
		id := r.members[i].ID()
		if _, done := reached[id]; !done {
			reached[id] = struct{}{}
			_ = r.members[i].Deliver(f)
		}
	}
}

// welcome is the answer to a join. r.mu is held.
func (r *Room) welcome(j *join) *message.Frame {
	var content []byte
	if r.roster != nil {
		content = r.roster.welcome()
	} else {
		content = strconv.AppendInt([]byte(`{"members":`), int64(len(r.members)), 10)
	}
	if j.where != nil {
		content = j.where.append(append(content, ','))
	}
	e := message.New(envelope.Ack, envelope.Checked(append(content, '}')))
	e.Room, e.ID = r.name, j.ack
	f, _ := message.Encode(e, nil, message.Disconnect) // made of checked parts
	return f
}
