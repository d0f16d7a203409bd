package feed

import (
	"context"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// How often a feed is looked at though nothing comes.
const (
	firstLook   = 250 * time.Millisecond // after it opened: interest may have been late
	secondLook  = time.Second
	longestCalm = time.Minute
)

// together is how many heads are asked for at once, if that may be late.
const together = 512

// late is by how much heads that are asked for together may be late. For classes
// that keep entries for less than exactBelow, each is asked for alone.
const (
	late       = 5 * time.Second
	exactBelow = time.Minute
)

// round looks at all feeds of one class now and then.
type round struct {
	class engine.Class
	feeds map[*Feed]bool
	timer *time.Timer // nil: there is no feed
	looks int         // that are not over
}

// calm is how long a feed may be left alone. What came in the meantime is then
// still kept.
func (r *round) calm() time.Duration {
	if r.class.KeepFor == 0 {
		return longestCalm
	}
	return min(r.class.KeepFor/2, longestCalm)
}

// add adds an open feed. n.mu is held.
func (r *round) add(n *Node, f *Feed) {
	r.feeds[f] = true
	if r.timer == nil {
		r.timer = time.AfterFunc(r.calm(), func() { n.turn(r) })
	}
}

func (r *round) stop() {
	clear(r.feeds)
	if r.timer != nil {
		r.timer.Stop()
	}
}

// mostLooks is how many looks at all feeds of a class there may be at a time. Where
// the engine is slow, one begins before the other is over, so that each feed is
// looked at as often as it should be; where it says nothing, no more begin.
const mostLooks = 8

// turn looks at all feeds of a class.
func (n *Node) turn(r *round) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if len(r.feeds) == 0 {
		r.timer = nil
		return
	}
	r.timer.Reset(r.calm())
	if r.looks >= mostLooks {
		return
	}
	feeds := make([]*Feed, 0, len(r.feeds))
	for f := range r.feeds {
		feeds = append(feeds, f)
	}
	r.looks++ // nobody counts once the node is closed
	n.goes(func(ctx context.Context) {
		n.look(ctx, feeds)
		n.mu.Lock()
		defer n.mu.Unlock()
		r.looks--
	})
}

// settle arranges that a feed that was just opened is looked at twice. Those
// opened at about the same time are looked at together. n.mu is held.
func (n *Node) settle(f *Feed) {
	if n.young[0] = append(n.young[0], f); len(n.young[0]) == 1 {
		time.AfterFunc(firstLook, func() { n.settled(0) })
	}
}

func (n *Node) settled(stage int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	feeds := n.young[stage]
	n.young[stage] = nil
	if n.closed {
		return
	}
	if stage == 0 {
		if len(n.young[1]) == 0 {
			time.AfterFunc(secondLook-firstLook, func() { n.settled(1) })
		}
		n.young[1] = append(n.young[1], feeds...)
	}
	n.goes(func(ctx context.Context) { n.look(ctx, feeds) })
}

// look asks for the heads of feeds. Those that cannot be asked for now are
// looked at in the next round.
func (n *Node) look(ctx context.Context, feeds []*Feed) {
	for len(feeds) > 0 && ctx.Err() == nil {
		count := 1
		for count < min(len(feeds), together) && feeds[0].patient() && feeds[count].patient() {
			count++
		}
		n.ask(ctx, feeds[:count])
		feeds = feeds[count:]
	}
}

// patient reports whether an answer may be late.
func (f *Feed) patient() bool { return f.class.KeepFor == 0 || f.class.KeepFor >= exactBelow }

func (n *Node) ask(ctx context.Context, feeds []*Feed) {
	select {
	case n.reading <- struct{}{}:
		defer func() { <-n.reading }()
	case <-ctx.Done():
		return
	}
	topics := make([]engine.Topic, len(feeds))
	for i, f := range feeds {
		topics[i] = f.topic
	}
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	heads, err := n.log.Heads(ctx, topics...)
	exact := len(feeds) == 1
	if !exact {
		asked = asked.Add(-late)
	}
	for i, f := range feeds {
		if err != nil || i >= len(heads) {
			f.unchecked()
		} else {
			f.head(heads[i], asked, exact)
		}
	}
}

// look asks for the head soon, unless that is under way. f.mu is held.
func (f *Feed) look() {
	if !f.fix.checked {
		f.fix.checked = f.node.goes(func(ctx context.Context) { f.node.ask(ctx, []*Feed{f}) })
	}
}

func (f *Feed) unchecked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fix.checked = false
}
