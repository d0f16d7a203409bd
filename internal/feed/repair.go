package feed

import (
	"context"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// page is how many entries are read at once.
const page = 256

// patience is how long one read may take.
const patience = 5 * time.Second

// The time between attempts to read.
const (
	shortestBackoff = 50 * time.Millisecond
	longestBackoff  = 5 * time.Second
)

// repair reads what is missing until the feed is live again. There is one such
// goroutine for a feed at most.
func (f *Feed) repair(ctx context.Context) {
	backoff := shortestBackoff
	for {
		f.mu.Lock()
		if f.at.state != Repairing || ctx.Err() != nil {
			f.fix.running = false
			f.mu.Unlock()
			f.flush()
			return
		}
		from, round := f.at.last, f.fix.round
		f.fix.wait = ring{} // what comes from now on the read may not see
		f.mu.Unlock()
		asked := time.Now()
		run, err := f.node.read(ctx, f.topic, from, f.class.Keep)
		if err != nil {
			f.pause(ctx, backoff)
			backoff = min(2*backoff, longestBackoff)
			continue
		}
		backoff = shortestBackoff
		f.mu.Lock()
		if f.at.state == Repairing && f.fix.round == round {
			f.repaired(run, asked)
		}
		f.mu.Unlock()
		f.flush()
	}
}

// repaired goes on with what was read. f.mu is held.
func (f *Feed) repaired(r run, asked time.Time) {
	f.at.state = Live
	if reason := r.judge(f.at.last, f.class.Keep, f.fresh(time.Now()), f.fix.outage); reason != "" {
		f.lose(reason, r.head)
	} else {
		for _, e := range r.entries {
			f.push(e)
		}
		if !r.ended { // the log grew faster than one run is long
			f.at.state = Repairing
			return
		}
	}
	f.fix.outage = false
	f.at.advance(asked)
	f.wakeWaiters()
	f.drain()
}

// pause waits after an error, unless there is news of the link.
func (f *Feed) pause(ctx context.Context, d time.Duration) {
	f.mu.Lock()
	change := f.waitChange()
	f.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-change:
	case <-ctx.Done():
	}
}

// run is what was read of a log after a position: consecutive entries.
type run struct {
	anchor   *engine.Entry
	complete bool
	entries  []engine.Entry
	head     engine.Position // when the first page was read
	ended    bool            // there is no more
	broken   Reason          // the log changed in between
}

// read reads up to most entries after from, page by page. most is at least 1.
func (n *Node) read(ctx context.Context, t engine.Topic, from engine.Position, most int) (run, error) {
	select {
	case n.reading <- struct{}{}:
		defer func() { <-n.reading }()
	case <-ctx.Done():
		return run{}, ctx.Err()
	}
	var r run
	for at := from; ; {
		p, err := n.page(ctx, t, at, min(page, max(most-len(r.entries), 1)))
		if err != nil {
			return run{}, err
		}
		if at == from {
			r.anchor, r.complete, r.head = p.Anchor, p.Complete, p.Head
		} else if later := (run{anchor: p.Anchor, complete: p.Complete, entries: p.Entries, head: p.Head}); later.chain(at) != "" {
			r.broken, r.head = later.chain(at), p.Head
			return r, nil
		}
		r.entries = append(r.entries, p.Entries...)
		if len(p.Entries) == 0 || p.Entries[len(p.Entries)-1].Offset >= p.Head.Offset {
			r.ended = true
			return r, nil
		}
		if len(r.entries) >= most {
			return r, nil
		}
		at = r.entries[len(r.entries)-1].Position
	}
}

func (n *Node) page(ctx context.Context, t engine.Topic, from engine.Position, limit int) (engine.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return n.log.Read(ctx, t, from, limit)
}

// unknown is chain's answer if the engine cannot say what is missing.
const unknown Reason = "unknown"

// chain says why the run does not continue from, unknown, or nothing.
func (r *run) chain(from engine.Position) Reason {
	switch {
	case r.broken != "":
		return r.broken
	case from.Epoch != 0 && r.head.Epoch != from.Epoch:
		return Epoch
	case r.head.Offset < from.Offset:
		return Regress
	case r.anchor != nil && r.anchor.Tag != from.Tag:
		return Regress
	case r.anchor != nil, r.complete, r.head == from:
		return "" // the last: nothing new, but the entry there is not kept any more
	case r.head.Offset == from.Offset && r.head.Tag != 0:
		return Regress
	}
	return r.unproven(from)
}

// unproven is chain where the engine does not prove that nothing is missing.
func (r *run) unproven(from engine.Position) Reason {
	switch {
	case len(r.entries) == 0 && r.head.Tag != 0:
		return Window // what is at the head came later, and is gone
	case len(r.entries) == 0 || r.entries[0].Prev == 0:
		return unknown
	case r.entries[0].Prev > from.Offset:
		return Window
	case r.entries[0].Prev < from.Offset:
		return Regress // there is no entry at from any more
	case from.Tag == 0:
		return "" // the entry there was not kept then either: the offsets are all there is
	}
	return unknown // the offsets fit; whether the tag does cannot be said
}

// judge says why the run does not continue from, or nothing. An engine may not
// know whether something is missing between from and what is kept. But whatever
// came after the feed was sure is still young enough if fresh, so it could only
// have gone because there are more entries than are kept. All of them would then
// be in the run.
//
// Unless the log lost its tail, which happens in an outage. Then only a room in
// which nothing is kept gets the benefit of the doubt, so that not every quiet
// room is told a gap whenever a broker was away; it would be wrong if as many
// entries as are kept came and all were lost.
func (r *run) judge(from engine.Position, keep int, fresh, outage bool) Reason {
	reason := r.chain(from)
	switch {
	case reason != unknown:
		return reason
	case fresh && r.ended && len(r.entries) < keep && (!outage || len(r.entries) == 0):
		return ""
	}
	return Window
}
