package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/hubbub-go/hubbub/engine"
)

// ErrClosed is returned for a feed that has ended.
var ErrClosed = errors.New("feed: closed")

// Attach is called by Resume between two calls of Out: what Out is called with
// from then on follows directly after at. missed is what comes before, unless
// there is a gap. It must not block and must not modify missed. While another
// goroutine is delivering, that one calls it, maybe after Resume has returned.
type Attach func(missed []engine.Entry, at engine.Position, gap Reason)

// tries is how often a splice is tried while the feed moves on.
const tries = 5

// Resume brings a member in that has processed everything up to from. It waits
// for the engine only if the ring does not reach back to from. It returns an
// error, and does not call attach, if the engine cannot be asked, the feed has
// ended or ctx has.
func (f *Feed) Resume(ctx context.Context, from engine.Position, attach Attach) error {
	for try := range tries {
		if done, err := f.fromRing(from, attach); done || err != nil {
			return err
		}
		r, err := f.shared(ctx, from)
		if err != nil {
			return err
		}
		wait, err := f.splice(from, r, attach)
		if wait == nil || err != nil {
			return err
		}
		if try < tries-1 {
			select {
			case <-wait:
			case <-ctx.Done():
				return fmt.Errorf("feed: resume: %w", ctx.Err())
			}
		}
	}
	f.mu.Lock()
	defer f.flush()
	defer f.mu.Unlock()
	return f.attach(attach, nil, Window)
}

// Join brings a member in that wants what comes from now on.
func (f *Feed) Join(attach Attach) error {
	f.mu.Lock()
	defer f.flush()
	defer f.mu.Unlock()
	return f.attach(attach, nil, "")
}

// attach queues the call. f.mu is held.
func (f *Feed) attach(attach Attach, missed []engine.Entry, gap Reason) error {
	if f.at.state == Closed {
		return ErrClosed
	}
	at := f.at.last
	f.queue.add(output1{call: func() { attach(missed, at, gap) }})
	return nil
}

// fromRing answers without the engine if it can.
func (f *Feed) fromRing(from engine.Position, attach Attach) (bool, error) {
	f.mu.Lock()
	defer f.flush()
	defer f.mu.Unlock()
	if f.at.state == Closed {
		return false, ErrClosed
	}
	if from == f.at.last {
		return true, f.attach(attach, nil, "")
	}
	rest, ok := f.at.ring.after(from)
	if !ok {
		return false, nil
	}
	return true, f.attach(attach, append([]engine.Entry(nil), rest...), "")
}

// splice puts what was read in front of what the feed will deliver next. If that
// does not fit, because the feed is not where the log is, it returns a channel
// to wait for.
func (f *Feed) splice(from engine.Position, r run, attach Attach) (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.flush()
	defer f.mu.Unlock()
	if f.at.state == Closed {
		return nil, ErrClosed
	}
	last := f.at.last
	reason := r.judge(from, f.class.Keep, false, false)
	if reason == "" && !r.ended && len(r.entries) >= f.node.opts.Resume {
		reason = Window
	}
	behind := r.head.Epoch != last.Epoch || reason != "" && last.Offset < min(from.Offset, r.head.Offset)
	if reason != "" && !behind {
		return nil, f.attach(attach, nil, reason)
	}
	if reason == "" && !behind {
		missed, ok, again := f.join(from, r)
		if ok {
			return nil, f.attach(attach, missed, "")
		}
		if again {
			return closed, nil
		}
	}
	// The client has seen more than this feed, or the log is not what it was.
	if f.at.state == Live {
		f.toRepair()
	}
	return f.waitChange(), nil
}

// join returns what lies between from, where a run begins, and where the feed
// is. If that cannot be said, again tells that the feed went on while the log was
// read. f.mu is held.
func (f *Feed) join(from engine.Position, r run) (missed []engine.Entry, ok, again bool) {
	last := f.at.last
	n, end := 0, from
	for n < len(r.entries) && r.entries[n].Offset <= last.Offset {
		end = r.entries[n].Position
		n++
	}
	missed = r.entries[:n:n]
	covered := n < len(r.entries) || r.ended && r.head.Offset >= last.Offset
	if meets(end, last, covered) {
		return missed, true, false
	}
	if rest, ok := f.at.ring.after(end); ok {
		return append(missed, rest...), true, false
	}
	return nil, false, !covered
}

// meets reports whether what was read up to end meets a feed that is at last.
// covered says that the log has nothing else up to there.
func meets(end, last engine.Position, covered bool) bool {
	switch {
	case end == last:
		return true
	case last.Tag == 0: // the feed began where nothing was kept
		return covered && end.Offset <= last.Offset
	}
	return end.Offset == last.Offset && end.Tag == 0
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// flight is one read that several members wait for. Feed.mu guards waiting.
type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	run     run
	err     error
}

// shared reads what comes after from; those who ask for the same at the same
// time share one read, which ends when nobody waits for it any more.
func (f *Feed) shared(ctx context.Context, from engine.Position) (run, error) {
	f.mu.Lock()
	fl := f.reads[from]
	if fl == nil {
		if fl = f.fly(from); fl == nil {
			f.mu.Unlock()
			return run{}, ErrClosed
		}
	}
	fl.waiting++
	f.mu.Unlock()
	select {
	case <-fl.done:
		return fl.run, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		fl.cancel()
		f.land(from, fl)
	}
	return run{}, fmt.Errorf("feed: resume: %w", ctx.Err())
}

// fly starts a read; nil: the node is closed. f.mu is held.
func (f *Feed) fly(from engine.Position) *flight {
	fl := &flight{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(f.node.ctx)
	fl.cancel = cancel
	if !f.node.goes(func(context.Context) {
		defer cancel()
		fl.run, fl.err = f.node.read(ctx, f.topic, from, f.node.opts.Resume)
		f.mu.Lock()
		f.land(from, fl)
		f.mu.Unlock()
		close(fl.done)
	}) {
		cancel()
		return nil
	}
	if f.reads == nil {
		f.reads = map[engine.Position]*flight{}
	}
	f.reads[from] = fl
	return fl
}

// land lets the next who asks for the same read anew. f.mu is held.
func (f *Feed) land(from engine.Position, fl *flight) {
	if f.reads[from] == fl {
		delete(f.reads, from)
	}
}
