package feed

import "github.com/hubbub-go/hubbub/engine"

// output is what waits to be delivered. Whoever finds nobody delivering does so,
// without the feed's lock, until nothing is left: that keeps the order. Guarded
// by Feed.mu.
type output struct {
	out     Out
	waiting []output1
	busy    bool
}

// output1 is one call of Out, or of what has to be called between two of them.
type output1 struct {
	entry engine.Entry
	gap   *Gap
	call  func()
	out   Out // for what comes after
}

func (o *output) add(one output1) { o.waiting = append(o.waiting, one) }

// flush delivers what waits. f.mu is not held.
func (f *Feed) flush() {
	q := &f.queue
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.busy {
		return
	}
	q.busy = true
	for len(q.waiting) > 0 {
		batch, out := q.waiting, q.out
		q.waiting = nil
		f.mu.Unlock()
		for _, one := range batch {
			switch {
			case one.out != nil:
				out = one.out
			case one.call != nil:
				one.call()
			case one.gap != nil:
				out.Gap(*one.gap)
			default:
				out.Entry(one.entry)
			}
		}
		f.mu.Lock()
		q.out = out
	}
	q.busy = false
}
