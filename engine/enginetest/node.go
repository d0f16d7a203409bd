package enginetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// probe is the content of frames that only find out whether they arrive.
const probe = "\x00probe"

// node is an engine with a sink that keeps all it is given, and watches that it
// is called as the contract says.
type node struct {
	engine.Bus

	w   *world
	log engine.Log

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, whenever something came
	seen    map[engine.Topic]*seen
	links   []bool
	closed  bool
	broken  string // the first breach of contract
}

// seen is what came for one topic.
type seen struct {
	frames  []string
	probes  int
	entries []engine.Entry
	inside  bool
}

// begin and end frame a call of the sink.
func (n *node) begin(t engine.Topic) *seen {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.seen[t]
	if s == nil {
		s = &seen{}
		n.seen[t] = s
	}
	if s.inside {
		n.complainf("two calls of the sink at a time for %+q", t)
	}
	if n.closed {
		n.complainf("a call of the sink after Close for %+q", t)
	}
	s.inside = true
	return s
}

func (n *node) end(s *seen, note func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	note()
	s.inside = false
	close(n.changed)
	n.changed = make(chan struct{})
}

// complainf keeps the first complaint. n.mu is held.
func (n *node) complainf(format string, args ...any) {
	if n.broken == "" {
		n.broken = fmt.Sprintf(format, args...)
	}
}

func (n *node) complaint() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.broken
}

// Frame implements engine.Sink.
func (n *node) Frame(t engine.Topic, frame []byte) {
	s := n.begin(t)
	n.end(s, func() {
		if string(frame) == probe {
			s.probes++
		} else {
			s.frames = append(s.frames, string(frame))
		}
	})
}

// Entry implements engine.Sink.
func (n *node) Entry(t engine.Topic, e engine.Entry) {
	s := n.begin(t)
	n.end(s, func() {
		if e.Tag != engine.TagOf(e.ID) {
			n.complainf("an entry's tag is not that of its id")
		}
		s.entries = append(s.entries, e)
	})
}

// Link implements engine.Sink.
func (n *node) Link(up bool, _ func(engine.Topic) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		n.complainf("a call of Link after Close")
	}
	n.links = append(n.links, up)
	close(n.changed)
	n.changed = make(chan struct{})
}

// link returns what the sink was told last about the link.
func (n *node) link() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.links) == 0 {
		return "nothing"
	}
	return fmt.Sprint(n.links[len(n.links)-1])
}

func (n *node) close() {
	if err := n.Close(n.w.limit()); err != nil {
		n.w.Errorf("Close: %v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
}

// has reports whether what came for t is as ok wants it.
func (n *node) has(t engine.Topic, ok func(*seen) bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.seen[t]
	if s == nil {
		s = &seen{}
	}
	return ok(s)
}

// waitFor waits at most that long until what came for t is as ok wants it.
func (n *node) waitFor(d time.Duration, t engine.Topic, ok func(*seen) bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		if n.has(t, ok) {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

// frames waits for that many frames, and returns all that came.
func (n *node) frames(t engine.Topic, want int) []string {
	n.w.Helper()
	var got []string
	if !n.waitFor(n.w.opts.Patience, t, func(s *seen) bool { got = s.frames; return len(got) >= want }) {
		n.w.Fatalf("%d frames of %+q came, want %d", len(got), t, want)
	}
	return got
}

// entries waits for that many entries, and returns all that came.
func (n *node) entries(t engine.Topic, want int) []engine.Entry {
	n.w.Helper()
	var got []engine.Entry
	if !n.waitFor(n.w.opts.Patience, t, func(s *seen) bool { got = s.entries; return len(got) >= want }) {
		n.w.Fatalf("%d entries of %+q came, want %d", len(got), t, want)
	}
	return got
}

// subscribe subscribes, and does not fail.
func (n *node) subscribe(ts ...engine.Topic) {
	n.w.Helper()
	n.w.must(n.Subscribe(n.w.limit(), ts...))
}

var ids atomic.Uint64

// record returns a record that no other one is equal to.
func record(data string) engine.Record {
	r := engine.Record{Data: []byte(data)}
	binary.BigEndian.PutUint64(r.ID[:], ids.Add(1))
	binary.BigEndian.PutUint64(r.ID[8:], uint64(time.Now().UnixNano()))
	r.Dedupe = engine.Token(string(r.ID[:]))
	return r
}

// outcome is the answer to an append.
type outcome struct {
	ack engine.Ack
	err error
}

// start begins an append; the channel has the answer.
func (n *node) start(ctx context.Context, t engine.Topic, r engine.Record) <-chan outcome {
	answered := make(chan outcome, 1)
	n.log.Append(ctx, t, r, func(a engine.Ack, err error) {
		select {
		case answered <- outcome{a, err}:
		default:
			n.mu.Lock()
			defer n.mu.Unlock()
			n.complainf("an append was answered twice")
		}
	})
	return answered
}

// await waits for the answer to an append.
func (w *world) await(answered <-chan outcome) outcome {
	w.Helper()
	select {
	case o := <-answered:
		return o
	case <-time.After(w.opts.Patience):
		w.Fatalf("an append was not answered")
		return outcome{}
	}
}

// append appends, and does not fail.
func (n *node) append(t engine.Topic, r engine.Record) engine.Ack {
	n.w.Helper()
	o := n.w.await(n.start(context.Background(), t, r))
	n.w.must(o.err)
	return o.ack
}

// fill appends records whose data are the numbers from 0, and returns where
// they are.
func (n *node) fill(t engine.Topic, count int) []engine.Position {
	n.w.Helper()
	at := make([]engine.Position, count)
	for i := range at {
		at[i] = n.append(t, record(fmt.Sprint(i))).Position
	}
	return at
}

// read reads, and does not fail.
func (n *node) read(t engine.Topic, from engine.Position, limit int) engine.Page {
	n.w.Helper()
	p, err := n.log.Read(n.w.limit(), t, from, limit)
	n.w.must(err)
	return p
}

// head returns the head of one log.
func (n *node) head(t engine.Topic) engine.Position {
	n.w.Helper()
	heads, err := n.log.Heads(n.w.limit(), t)
	n.w.must(err)
	if len(heads) != 1 {
		n.w.Fatalf("%d heads of one topic", len(heads))
	}
	return heads[0]
}
