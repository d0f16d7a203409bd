package room

import (
	"context"
	"errors"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/internal/feed"
	"github.com/hubbub-go/hubbub/message"
)

// lag is how far a member is that is behind.
type lag struct {
	at   engine.Position
	left chan struct{} // closed when it is no member any more, or has said where it is
}

// before reports whether the member, if it is behind, is so in front of at. follow.order
// is held.
func (l *lag) before(at engine.Position) bool {
	return l != nil && l.at.Epoch == at.Epoch && l.at.Offset < at.Offset
}

// catch gives a member what it missed after at, as far as it can take it, and
// reports whether that was all. Its own messages come as answers, unless it is new
// here and has seen none of it. follow.order is held.
func (r *Room) catch(m Member, missed []engine.Entry, at engine.Position, again bool) bool {
	for _, e := range missed {
		var rec record
		if rec.parse(e.Data) != nil {
			continue
		}
		if err := r.repeat(m, e.Position, &rec, again); err != nil && errors.Is(err, message.ErrBehind) {
			r.fallBehind(m, at)
			return false
		}
		at = e.Position
	}
	return true
}

// repeat gives a member one entry that it missed, as long as it is one: who has
// left, which needs no order, gets nothing any more.
func (r *Room) repeat(m Member, at engine.Position, rec *record, again bool) error {
	cursor := at.String()
	frame := message.Kept(rec.payload, rec.binary, r.name, cursor)
	r.mu.RLock()
	defer r.mu.RUnlock()
	i := r.find(m.ID())
	if i < 0 {
		return nil
	}
	own := again && (i == r.from(rec) || rec.own(&r.members[i]))
	if !(own && rec.skip) && !rec.excepts(&r.members[i]) {
		if err := m.Deliver(frame); err != nil {
			return err
		}
	}
	if own {
		return rec.tell(m, r.name, cursor)
	}
	return nil
}

// fallBehind notes that a member has got everything up to at, and nothing after.
// It is caught up once it can take more, unless the logs are closed before.
// follow.order is held.
func (r *Room) fallBehind(m Member, at engine.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.follow
	d, ok := m.(Drainer)
	if !ok || r.find(m.ID()) < 0 {
		return
	}
	l := f.lagging[m.ID()]
	if l != nil {
		l.at = at
		return
	}
	l = &lag{at: at, left: make(chan struct{})}
	if f.lagging == nil {
		f.lagging = map[string]*lag{}
	}
	f.lagging[m.ID()] = l
	from := f.feed
	from.Go(func(ctx context.Context) { r.catchUp(ctx, d, l, from) })
}

// catchUp brings a member that is behind back, and ends when it is, or has left.
func (r *Room) catchUp(ctx context.Context, m Drainer, l *lag, f *feed.Feed) {
	for {
		select {
		case <-m.Drained():
		case <-l.left:
			return
		case <-ctx.Done():
			return
		}
		r.follow.order.Lock()
		from := l.at
		r.follow.order.Unlock()
		caught := make(chan bool, 1)
		err := f.Resume(ctx, from, func(missed []engine.Entry, at engine.Position, gap feed.Reason) {
			caught <- r.caught(m, l, missed, at, gap)
		})
		switch {
		case errors.Is(err, feed.ErrClosed):
			return
		case err != nil: // the engine cannot be asked now
			select {
			case <-time.After(time.Second):
			case <-l.left:
				return
			case <-ctx.Done():
				return
			}
		case <-caught:
			return
		}
	}
}

// caught gives a member what it missed, or says that there is a gap, and reports
// whether it is no longer behind.
func (r *Room) caught(m Member, l *lag, missed []engine.Entry, at engine.Position, gap feed.Reason) bool {
	var hole *message.Frame
	if gap != "" {
		hole = r.gap(gap, at)
	}
	f := r.follow
	f.order.Lock()
	defer f.order.Unlock()
	select {
	case <-l.left:
		return true
	default:
	}
	if hole != nil {
		r.tellHole(m, hole)
	} else if !r.catch(m, missed, l.at, true) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.lagging[m.ID()] == l {
		delete(f.lagging, m.ID())
	}
	return true
}

// tellHole gives a member the notice of a gap, as long as it is one.
func (r *Room) tellHole(m Member, hole *message.Frame) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.find(m.ID()) >= 0 {
		_ = m.Deliver(hole)
	}
}

// stopLag ends catching up a member, if it is behind. Room.mu is held.
func (f *follow) stopLag(id string) {
	if l := f.lagging[id]; l != nil {
		close(l.left)
		delete(f.lagging, id)
	}
}
