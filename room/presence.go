package room

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// Presence is how the members of a room are told of each other: "joined" and
// "left" once for each real change, "presence" for a new state and where much
// changes at once. Up to 20 changes within a second are told one by one; more are
// gathered into one message a second. Who joins is told who is there.
//
// The list has at most 1,000 entries and 256 KiB. Where it would be larger, the
// answer to a join only counts. A room of more than 1,000 entries counts
// altogether, at most once a second, until it has no more than 500 again; then
// its members get the list anew.
type Presence struct {
	// Count tells only how many members there are, at most once a second.
	Count bool
	// ByUser makes one entry of all members of a user: joined with the first,
	// left with the last. It is named after the first, and has the state that the
	// newest came with or was given. Members without a user stay single.
	ByUser bool
	// Grace is how long a member that was dropped (Drop) stays on the list, default
	// 0; less where there are more of them than GraceBytes. If it comes back within
	// that time, nobody is told that it was away. Who comes back is known by its ID,
	// and else by its session and user: Member says how, and Room.Renew where that is
	// known only later. The entry of a session is named after the member that came last
	// of those who are there. With ByUser a user
	// stays for as long as one of its members, of the latest 16 that were dropped, may
	// be back, whatever its others do; without sessions, whoever comes of the user is.
	Grace time.Duration
	// GraceBytes is how much those in grace may take, in all rooms of the Manager
	// together, default 64 MiB: some 50,000 with small states. Beyond that, those that
	// were dropped first leave at once. One counts for 1 KiB and its state, or only
	// 1 KiB with Count; a room in which somebody is in grace for 2 KiB.
	GraceBytes int
}

// The bounds of a list and of what is told.
const (
	named   = 1000      // entries that are listed; more are only counted
	fewer   = named / 2 // so many are listed again
	listing = 256 << 10 // bytes of a list, or of a batch
	burst   = 20        // changes in one period that are told one by one
	period  = time.Second

	// largest is the size of an encoded state.
	largest = 4 << 10
)

// public is what fellow members may know of a member.
type public struct {
	state any
	entry *entry // on the list; nil without presence
	seen  uint64 // the changes of the list that the member was shown
}

// arrival is a member that is about to join, with all that others will be told.
type arrival struct {
	member
	user    string
	head    []byte         // of its entry
	content []byte         // the state as JSON
	joined  *message.Frame // nil without presence
}

func userOf(m Member) string {
	if u, ok := m.(interface{ User() string }); ok {
		return u.User()
	}
	return ""
}

// present is the head of an entry; the state follows.
type present struct {
	From string `json:"from"`
	Was  string `json:"was,omitempty"`
	User string `json:"user,omitempty"`
}

// headOf is an entry of a list up to its state, without the closing brace.
func headOf(from, was, user string) []byte {
	b, err := message.JSON.Marshal(present{from, was, user})
	if err != nil {
		return nil
	}
	return b[:len(b)-1]
}

// introduce encodes what the others will be told, before any lock is taken.
func (r *Room) introduce(m Member, state any) (a arrival, err error) {
	a.Member = m
	if r.manager.opts.Presence == nil {
		if state != nil {
			a.public = &public{state: state}
		}
		return a, nil
	}
	a.public = &public{state: state}
	if a.content, err = r.encode(state); err != nil {
		return a, fmt.Errorf("room: the state of a member of %q: %w", r.name, err)
	}
	a.user = userOf(m)
	if a.head = headOf(m.ID(), "", a.user); a.head == nil {
		return a, fmt.Errorf("room: joining %q: the ID or the user is not valid UTF-8", r.name)
	}
	a.joined, err = r.change(envelope.Joined, m.ID(), a.user, a.content)
	if r.manager.opts.Presence.Count {
		a.head, a.content, a.joined = nil, nil, nil // nobody is ever told
	}
	return a, err
}

// encode makes JSON of a state, small and flat enough for a list.
func (r *Room) encode(state any) (content []byte, err error) {
	raw, ok := state.(message.Raw)
	switch {
	case ok && raw.Binary:
		return nil, &message.Error{Code: message.Invalid, Message: "a state is JSON, not binary", Field: "content"}
	case ok && raw.Data == nil:
		content = []byte("null")
	case ok:
		content = bytes.Clone(raw.Data)
	default:
		codec := r.manager.opts.Codec
		if codec == nil {
			codec = message.JSON
		}
		if content, err = codec.Marshal(state); err != nil {
			return nil, fmt.Errorf("it cannot be encoded: %w", err)
		}
	}
	if len(content) > largest {
		return nil, &message.Error{Code: message.Invalid, Message: "a state has at most 4,096 bytes", Field: "content"}
	}
	const above = "[[[" // as deep as it stands in a list
	if !envelope.ValidContent(append(append([]byte(above), content...), "]]]"...)) {
		return nil, &message.Error{Code: message.Invalid, Message: "the state is not valid JSON, or nests too deep", Field: "content"}
	}
	return content, nil
}

// change is the message that one entry came or went.
func (r *Room) change(typ, from, user string, content []byte) (*message.Frame, error) {
	e := message.New(typ, message.Raw{Data: content})
	e.Room, e.From, e.User = r.name, from, user
	return message.Encode(e, nil, message.Disconnect)
}

// Update gives a member another state, as Join does: the others are told, and m
// itself, unless it encodes as before. A room without presence only keeps it. The
// error says that m is not in the room, a *message.Error with the code NotMember;
// that the state cannot be used, as Join does; or that ctx has ended.
func (r *Room) Update(ctx context.Context, m Member, state any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a, err := r.introduce(m, state)
	if err != nil {
		return err
	}
	if live := r.live(); live == nil || !live.update(&a) {
		return message.Errorf(message.NotMember, "join the room first")
	}
	return nil
}

func (r *Room) update(a *arrival) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(a.ID())
	if i < 0 {
		return false
	}
	p := &public{}
	if a.public != nil {
		p.state = a.public.state
	}
	old := r.members[i].public
	if old != nil {
		p.entry, p.seen = old.entry, old.seen
	}
	r.members[i].public = p // another one: somebody may be reading the old state
	if p.entry != nil {
		r.roster.restate(old, p, a.content)
	}
	return true
}

// Drop removes m, which is gone but may come back: for Presence.Grace it stays on
// the list, and so does the room. Without Grace it is Leave. It reports whether
// m was there.
func (r *Room) Drop(m Member) bool { return r.part(m, true) }
