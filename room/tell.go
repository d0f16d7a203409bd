package room

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// rate finds out whether more than burst changes came within a period.
type rate struct {
	at   []time.Time // of the latest changes: a ring
	next int
}

func (r *rate) over(now time.Time) bool {
	if len(r.at) < burst {
		r.at = append(r.at, now)
		return false
	}
	over := now.Sub(r.at[r.next]) < period
	r.at[r.next] = now
	r.next = (r.next + 1) % burst
	return over
}

// count is what the members of a room that counts know.
type count struct {
	shown int // the number; -1: not all know the same
	last  time.Time
}

// batch has the entries that have changed since all were told.
type batch struct {
	touched map[*entry]struct{}
	gone    map[string]*entry // those of them that are off the list, by key
	held    bool              // several changes are being made that are told together
}

// key is what an entry is told apart by.
func (o *roster) key(from, user string) string {
	if o.byUser(user) {
		return "user " + user
	}
	return "id " + from
}

// touch keeps what is known of e.
func (b *batch) touch(e *entry, change uint64) {
	if e.told != nil {
		return
	}
	e.told = &told{order: change}
	if e.place >= 0 {
		e.told.from, e.told.head, e.told.content = e.from, e.head, e.content
	}
	if b.touched == nil {
		b.touched = map[*entry]struct{}{}
	}
	b.touched[e] = struct{}{}
}

// lose notes that e has gone. Nobody needs to know of one that has just come.
func (b *batch) lose(e *entry, key func(from, user string) string) {
	if e.told.from == "" {
		delete(b.touched, e)
		e.told = nil
		return
	}
	if b.gone == nil {
		b.gone = map[string]*entry{}
	}
	b.gone[key(e.told.from, e.user)] = e
}

// revive returns the entry of somebody who went and is back, or nil.
func (b *batch) revive(key string) *entry {
	e := b.gone[key]
	delete(b.gone, key)
	return e
}

func (b *batch) clear() {
	for e := range b.touched {
		e.told = nil
	}
	*b = batch{}
}

// note counts a change of e, which is about to be made and leaves n entries, and
// reports whether the caller is to tell it at once. If not, it is gathered.
func (o *roster) note(e *entry, n int) bool {
	o.changes++
	now := time.Now()
	over := o.rate.over(now)
	if n > named && !o.counting {
		o.counting, o.due = true, time.Time{}
		o.batch.clear()
	}
	switch {
	case o.counting:
		return false
	case o.due.IsZero() && (!over || o.room.manager.closed.Load()):
		if !o.batch.held {
			o.told = o.changes
			return true
		}
		o.due = now
	case o.due.IsZero():
		o.due = now.Add(period)
	}
	o.batch.touch(e, o.changes)
	return false
}

// settle tells the number where it is due, and sees to it that what is not told
// yet will be.
func (o *roster) settle() {
	if o.counting && o.due.IsZero() {
		now := time.Now()
		if o.due = o.count.last.Add(period); !o.due.After(now) || o.room.manager.closed.Load() {
			o.flush(now)
		}
	}
	o.arm()
}

// flush tells what has been gathered.
func (o *roster) flush(now time.Time) {
	o.due = time.Time{}
	if o.counting {
		o.recount(now)
		return
	}
	changes := o.gathered()
	var whole *message.Frame
	for _, m := range o.room.members {
		f := changes
		switch {
		case m.public.seen == o.changes:
			continue
		case m.public.seen > o.told:
			if whole == nil {
				whole = o.frame(o.list())
			}
			f = whole
		}
		if f != nil {
			_ = m.Deliver(f)
		}
	}
	o.told = o.changes
	o.batch.clear()
}

// recount tells the number, if it is another one, or the list, once there are few
// enough for it.
func (o *roster) recount(now time.Time) {
	n := len(o.entries)
	switch {
	case !o.opts().Count && n <= fewer && o.size <= listing:
		o.counting, o.told = false, o.changes
		o.room.deliver(o.frame(o.list()), -1)
	case n != o.count.shown:
		o.room.deliver(o.frame(o.members()), -1)
	default:
		return
	}
	o.count = count{n, now}
}

// gathered is the message with the difference; nil if there is none.
func (o *roster) gathered() *message.Frame {
	var joined, left, updated [][]byte
	size := 0
	for _, e := range slices.SortedFunc(maps.Keys(o.batch.touched), func(a, b *entry) int {
		return cmp.Compare(a.told.order, b.told.order)
	}) {
		var item []byte
		switch {
		case e.place < 0:
			item = append(slices.Clip(e.told.head), '}')
			left = append(left, item)
		case e.told.from == "":
			item = e.append(nil, e.head)
			joined = append(joined, item)
		case e.told.from != e.from || !envelope.Same(e.told.content, e.content):
			item = e.updated(e.told.from)
			updated = append(updated, item)
		default: // it is again what it was
			continue
		}
		size += len(item) + 1
	}
	if size == 0 {
		return nil
	}
	if size > listing {
		return o.frame(o.list())
	}
	b := appendList(o.members(), "joined", joined)
	b = appendList(b, "left", left)
	return o.frame(appendList(b, "updated", updated))
}

// updated is e with another state, and maybe another name.
func (e *entry) updated(was string) []byte {
	if was == e.from {
		return e.append(nil, e.head)
	}
	return e.append(nil, headOf(e.from, was, e.user))
}

// appendList adds a list to an open object, unless it is empty.
func appendList(b []byte, name string, items [][]byte) []byte {
	if len(items) == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":[`...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item...)
	}
	return append(b, ']')
}

// members is an open object with the number of entries.
func (o *roster) members() []byte {
	return strconv.AppendInt([]byte(`{"members":`), int64(len(o.entries)), 10)
}

// list is an open object with the number, and the entries if these may be told.
func (o *roster) list() []byte {
	b := o.members()
	if o.counting || len(o.entries) > named || o.size > listing {
		return b
	}
	b = slices.Grow(b, o.size+32)
	b = append(b, `,"presence":[`...)
	for i, e := range o.entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.append(b, e.head)
	}
	return append(b, ']')
}

// frame closes the object and makes a message of it.
func (o *roster) frame(content []byte) *message.Frame {
	e := message.New(envelope.Presence, envelope.Checked(append(content, '}')))
	e.Room = o.room.name
	f, _ := message.Encode(e, nil, message.Disconnect) // made of checked parts
	return f
}
