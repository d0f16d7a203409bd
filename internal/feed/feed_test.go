package feed_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/internal/feed"
)

// rig is a feed node on a memory engine that loses what it is told to lose, and
// knows no more than it keeps.
type rig struct {
	*memory.Engine

	feeds   *feed.Node
	lossy   atomic.Bool
	blind   bool          // the engine proves nothing
	deaf    atomic.Bool   // heads cannot be asked for
	numb    atomic.Bool   // heads are asked for in vain
	asking  atomic.Int64  // how many ask for heads
	block   chan struct{} // not nil: reads wait for it
	asked   func()        // not nil: called when heads were asked for, before the answer
	reads   atomic.Int64
	ended   atomic.Int64 // how many of those were cancelled
	unsubs  atomic.Int64
	counter *uint64
}

func (r *rig) Frame(engine.Topic, []byte) {}

func (r *rig) Link(up bool, in func(engine.Topic) bool) { r.feeds.Link(up, in) }

func (r *rig) Entry(t engine.Topic, e engine.Entry) {
	if r.lossy.Load() {
		return
	}
	if p, err := r.Engine.Read(context.Background(), t, engine.Position{Epoch: e.Epoch, Offset: e.Prev}, 1); r.blind && (err != nil || p.Anchor == nil) {
		e.Prev = 0
	}
	r.feeds.Entry(t, e)
}

func (r *rig) Read(ctx context.Context, t engine.Topic, from engine.Position, limit int) (engine.Page, error) {
	r.reads.Add(1)
	if r.block != nil {
		select {
		case <-r.block:
		case <-ctx.Done():
			r.ended.Add(1)
			return engine.Page{}, ctx.Err()
		}
	}
	p, err := r.Engine.Read(ctx, t, from, limit)
	if r.blind {
		p.Complete = false
		if len(p.Entries) > 0 {
			p.Entries[0].Prev = 0
		} else if p.Anchor == nil {
			p.Head.Tag = 0
		}
	}
	return p, err
}

func (r *rig) Heads(ctx context.Context, ts ...engine.Topic) ([]engine.Position, error) {
	if r.deaf.Load() {
		return nil, engine.ErrUnavailable
	}
	if r.numb.Load() {
		r.asking.Add(1)
		defer r.asking.Add(-1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	heads, err := r.Engine.Heads(ctx, ts...)
	if r.asked != nil {
		r.asked()
	}
	for i := range heads {
		if p, err := r.Engine.Read(ctx, ts[i], heads[i], 1); r.blind && err == nil && p.Anchor == nil {
			heads[i].Tag = 0
		}
	}
	return heads, err
}

func (r *rig) Unsubscribe(ts ...engine.Topic) error {
	r.unsubs.Add(1)
	return r.Engine.Unsubscribe(ts...)
}

var short = engine.Class{Name: "c", Level: engine.Recoverable, Keep: 100, KeepFor: 4 * time.Second}

var room = engine.Topic{Kind: engine.KindRoom, Class: "c", Name: "room"}

func newRig(t *testing.T, network *memory.Network, blind bool) *rig {
	return rigWith(t, network, blind, &feed.Options{Ring: 4})
}

func rigWith(t *testing.T, network *memory.Network, blind bool, opts *feed.Options) *rig {
	r := &rig{Engine: network.Join(), blind: blind, counter: new(uint64)}
	classes := []engine.Class{short}
	r.feeds = feed.NewNode(r, r, classes, opts)
	if err := r.Start(t.Context(), "node", classes, r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.feeds.Close()
		_ = r.Engine.Close(context.Background())
	})
	return r
}

func (r *rig) put(t *testing.T, count int) {
	t.Helper()
	for range count {
		*r.counter++
		var id [16]byte
		binary.BigEndian.PutUint64(id[:], *r.counter)
		r.Append(t.Context(), room, engine.Record{ID: id, Data: fmt.Append(nil, *r.counter)}, func(_ engine.Ack, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// tape writes down what it is given.
type tape struct {
	mu   sync.Mutex
	said []string
	last engine.Position
}

func (o *tape) Entry(e engine.Entry) { o.note(string(e.Data), e.Position) }

func (o *tape) Gap(g feed.Gap) { o.note(string(g.Reason), g.To) }

func (o *tape) note(s string, at engine.Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said, o.last = append(o.said, s), at
}

func (o *tape) expect(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := fmt.Sprint(o.said); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func (r *rig) open(t *testing.T, out feed.Out) *feed.Feed {
	t.Helper()
	f, err := r.feeds.Open(t.Context(), room, out)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// resume returns the missed data, and the gap if there is one.
func resume(t *testing.T, f *feed.Feed, from engine.Position) string {
	t.Helper()
	var said []string
	err := f.Resume(t.Context(), from, func(missed []engine.Entry, _ engine.Position, gap feed.Reason) {
		for _, e := range missed {
			said = append(said, string(e.Data))
		}
		if gap != "" {
			said = append(said, string(gap))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return fmt.Sprint(said)
}

// An entry that was lost is repaired by the one after it, or if there is none, by
// the look at the head soon after opening, and then now and then.
func TestRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t, memory.NewNetwork(nil), false), &tape{}
		r.open(t, out)
		r.put(t, 1)
		r.lossy.Store(true)
		r.put(t, 1)
		r.lossy.Store(false)
		r.put(t, 1)
		out.expect(t, "[1 2 3]")
		r.lossy.Store(true)
		r.put(t, 1)
		<-time.After(300 * time.Millisecond) // first look
		out.expect(t, "[1 2 3 4]")
		<-time.After(time.Second)
		r.put(t, 1)
		<-time.After(2 * time.Second) // half of KeepFor
		out.expect(t, "[1 2 3 4 5]")
		if n := r.reads.Load(); n > 6 {
			t.Errorf("%d reads for 3 repairs", n)
		}
	})
}

// In a quiet room all that was kept has expired when the next entry comes, and
// the engine cannot say what was before it. As long as somebody looked, that is
// no gap. If nobody could, something may have come and gone: that is one. The
// second part used to be silent: a look at the head that found nothing kept was
// taken for proof.
func TestQuietRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t, memory.NewNetwork(nil), true), &tape{}
		r.open(t, out)
		r.put(t, 1)
		<-time.After(30 * time.Second)
		r.put(t, 1)
		out.expect(t, "[1 2]")
		r.deaf.Store(true)
		r.lossy.Store(true)
		r.put(t, 1)
		<-time.After(10 * time.Second)
		r.deaf.Store(false)
		<-time.After(3 * time.Second)
		out.expect(t, "[1 2 window]")
		r.lossy.Store(false)
		r.put(t, 1)
		out.expect(t, "[1 2 window 4]")
	})
}

// A client comes from a node that has seen more than this one: that is no
// regress of the log.
func TestClientAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(nil)
		a, b := newRig(t, network, false), newRig(t, network, false)
		ahead, behind := &tape{}, &tape{}
		a.open(t, ahead)
		f := b.open(t, behind)
		a.put(t, 2)
		b.lossy.Store(true)
		a.put(t, 2)
		synctest.Wait()
		if got := resume(t, f, ahead.last); got != "[]" {
			t.Errorf("resumed with %s", got)
		}
		behind.expect(t, "[1 2 3 4]")
	})
}

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(nil)
		r, out := newRig(t, network, false), &tape{}
		f := r.open(t, out)
		_, start := f.State()
		var at []engine.Position
		for range 8 {
			r.put(t, 1)
			at = append(at, out.last)
		}
		before := r.reads.Load()
		if got := resume(t, f, at[5]); got != "[7 8]" || r.reads.Load() != before {
			t.Errorf("from the ring: %s, %d reads", got, r.reads.Load()-before)
		}
		if got := resume(t, f, at[1]); got != "[3 4 5 6 7 8]" || r.reads.Load() == before {
			t.Errorf("from the log: %s", got)
		}
		if got := resume(t, f, start); got != "[1 2 3 4 5 6 7 8]" {
			t.Errorf("from the empty log: %s", got)
		}
		forged := at[6]
		forged.Tag++
		if got := resume(t, f, forged); got != "[regress]" {
			t.Errorf("with a wrong tag: %s", got)
		}
		forged = at[6]
		forged.Epoch--
		if got := resume(t, f, forged); got != "[epoch]" {
			t.Errorf("with another epoch: %s", got)
		}
		network.Truncate(room, 2)
		r.block = make(chan struct{}) // or the log may be read between two of them
		r.put(t, 3)
		close(r.block)
		synctest.Wait()
		if got := resume(t, f, at[7]); got != "[regress]" {
			t.Errorf("after the log lost its tail: %s", got)
		}
		out.expect(t, "[1 2 3 4 5 6 7 8 regress]")
		<-time.After(30 * time.Second)
		if got := resume(t, f, at[1]); got != "[window]" {
			t.Errorf("after everything expired: %s", got)
		}
	})
}

// The log lost its newest entry, the link says nothing, and the next one has the
// offset of what was lost: only its tag tells. Taken for a repetition, it would be
// lost without a word, as what follows it fits.
func TestOffsetUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(nil)
		r, out := newRig(t, network, false), &tape{}
		r.open(t, out)
		r.put(t, 3)
		out.expect(t, "[1 2 3]")
		network.Truncate(room, 1)
		r.put(t, 1)
		out.expect(t, "[1 2 3 regress]")
		r.put(t, 1)
		out.expect(t, "[1 2 3 regress 5]")
	})
}

// TestRings: where all rings together would take too much, feeds keep their newest
// entry only, and who comes back is served from the log.
func TestRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := rigWith(t, memory.NewNetwork(nil), false, &feed.Options{Rings: 200}), &tape{}
		f := r.open(t, out)
		var at []engine.Position
		for range 8 {
			r.put(t, 1)
			at = append(at, out.last)
		}
		if got := resume(t, f, at[7]); got != "[]" || r.reads.Load() != 0 {
			t.Errorf("nothing missed: %s, %d reads", got, r.reads.Load())
		}
		if got := resume(t, f, at[2]); got != "[4 5 6 7 8]" || r.reads.Load() == 0 {
			t.Errorf("missed: %s, %d reads", got, r.reads.Load())
		}
	})
}

// Those who resume from the same place share one read.
func TestResumeShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t, memory.NewNetwork(nil), false), &tape{}
		f := r.open(t, out)
		r.put(t, 1)
		from := out.last
		r.put(t, 20)
		r.block = make(chan struct{})
		before := r.reads.Load()
		var attached atomic.Int64
		for range 100 {
			go func() {
				err := f.Resume(t.Context(), from, func(missed []engine.Entry, _ engine.Position, gap feed.Reason) {
					if len(missed) == 20 && gap == "" {
						attached.Add(1)
					}
				})
				if err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		close(r.block)
		synctest.Wait()
		if n := r.reads.Load() - before; n != 1 || attached.Load() != 100 {
			t.Errorf("%d reads, %d attached", n, attached.Load())
		}
	})
}

// A read ends when the last of those who wait for it has gone, and not before; who
// asks later gets another.
func TestResumeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t, memory.NewNetwork(nil), false), &tape{}
		f := r.open(t, out)
		r.put(t, 1)
		from := out.last
		r.put(t, 20)
		r.block = make(chan struct{})
		before := r.reads.Load()
		ask := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if err := f.Resume(ctx, from, func([]engine.Entry, engine.Position, feed.Reason) {}); !errors.Is(err, ctx.Err()) {
					t.Error(err)
				}
			}()
			synctest.Wait()
			return cancel
		}
		first, second := ask(), ask()
		first()
		synctest.Wait()
		if got := r.ended.Load(); got != 0 || r.reads.Load() != before+1 {
			t.Fatalf("%d of %d reads have ended while one waits", got, r.reads.Load()-before)
		}
		second()
		synctest.Wait()
		if got := r.ended.Load(); got != 1 {
			t.Errorf("%d reads have ended when nobody waits", got)
		}
		third := ask()
		if got := r.reads.Load() - before; got != 2 {
			t.Errorf("%d reads", got)
		}
		close(r.block)
		synctest.Wait()
		third()
	})
}

// A feed lingers, then ends; and one that is opened again in between goes on,
// with the new out.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, first, second := newRig(t, memory.NewNetwork(nil), false), &tape{}, &tape{}
		f := r.open(t, first)
		r.put(t, 1)
		r.feeds.Release(f)
		<-time.After(20 * time.Second)
		r.put(t, 1)
		first.expect(t, "[1 2]")
		again := r.open(t, second)
		if again != f {
			t.Error("another feed")
		}
		<-time.After(20 * time.Second)
		r.put(t, 1)
		first.expect(t, "[1 2]")
		second.expect(t, "[3]")
		if r.unsubs.Load() != 0 {
			t.Error("unsubscribed")
		}
		r.feeds.Release(again)
		<-time.After(31 * time.Second)
		if s, _ := f.State(); s != feed.Closed || r.unsubs.Load() != 1 {
			t.Errorf("state %d, unsubscribed %d times", s, r.unsubs.Load())
		}
		if err := f.Join(nil); !errors.Is(err, feed.ErrClosed) {
			t.Error(err)
		}
		if r.open(t, second) == f {
			t.Error("the same feed, though it has ended")
		}
	})
}

// A feed may be due before Release has returned: it ends all the same.
func TestLingerOfNothing(t *testing.T) {
	r := rigWith(t, memory.NewNetwork(nil), false, &feed.Options{Linger: 1})
	for n, end := int64(0), time.Now().Add(20*time.Second); n < 200; n++ {
		r.feeds.Release(r.open(t, &tape{}))
		for r.unsubs.Load() <= n {
			if runtime.Gosched(); time.Now().After(end) {
				t.Fatalf("feed %d does not end", n)
			}
		}
	}
}

// While the link is down a feed stalls, and who is in the ring is served.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(nil)
		r, other, out := newRig(t, network, false), newRig(t, network, false), &tape{}
		f := r.open(t, out)
		r.put(t, 1)
		from := out.last
		r.put(t, 1)
		r.Cut(true)
		if s, _ := f.State(); s != feed.Stalled {
			t.Error(s)
		}
		*other.counter = 2
		other.put(t, 1)
		if got := resume(t, f, from); got != "[2]" {
			t.Error(got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Resume(ctx, engine.Position{Epoch: from.Epoch}, nil); !errors.Is(err, engine.ErrUnavailable) {
			t.Error(err)
		}
		r.Cut(false)
		out.expect(t, "[1 2 3]")
		if s, _ := f.State(); s != feed.Live {
			t.Error(s)
		}
	})
}

// Out may use the feed and the engine: nothing is locked.
func TestOutCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, memory.NewNetwork(nil), false)
		out := &caller{rig: r, t: t}
		out.feed = r.open(t, out)
		r.put(t, 1)
		synctest.Wait()
		if out.seen != 5 || out.joined != 4 {
			t.Errorf("%d entries, %d joined", out.seen, out.joined)
		}
	})
}

type caller struct {
	*rig

	t            *testing.T
	feed         *feed.Feed
	seen, joined int
}

func (c *caller) Entry(engine.Entry) {
	if c.seen++; c.seen < 5 {
		_ = c.feed.Join(func([]engine.Entry, engine.Position, feed.Reason) { c.joined++ })
		c.put(c.t, 1)
	}
}

func (c *caller) Gap(feed.Gap) {}

// What is lost between the question for the head and its answer is found at once
// if the engine says that the link was not what it should be.
func TestLinkWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t, memory.NewNetwork(nil), false), &tape{}
		r.asked = func() {
			r.asked = nil
			r.lossy.Store(true)
			r.put(t, 1)
			r.lossy.Store(false)
			r.Link(true, nil)
		}
		r.open(t, out)
		out.expect(t, "[1]")
	})
}

func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t, memory.NewNetwork(nil), false), &tape{}
		r.deaf.Store(true)
		if _, err := r.feeds.Open(t.Context(), room, out); !errors.Is(err, engine.ErrUnavailable) || r.unsubs.Load() != 1 {
			t.Error(err, r.unsubs.Load())
		}
		r.deaf.Store(false)
		r.open(t, out)
		if _, err := r.feeds.Open(t.Context(), engine.Topic{Kind: engine.KindRoom, Class: "none"}, out); err == nil {
			t.Error("a class that does not exist has feeds")
		}
		r.feeds.Close()
		if _, err := r.feeds.Open(t.Context(), room, out); !errors.Is(err, feed.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestSlowHeads: while the engine does not answer, looks at the logs do not pile up.
func TestSlowHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, memory.NewNetwork(nil), false)
		for i := range 100 {
			topic := engine.Topic{Kind: engine.KindRoom, Class: "c", Name: fmt.Sprint(i)}
			if _, err := r.feeds.Open(t.Context(), topic, &tape{}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(1500 * time.Millisecond) // the looks after the opening are over
		r.numb.Store(true)
		<-time.After(time.Minute)
		if n := r.asking.Load(); n > 8 {
			t.Errorf("%d looks at a time", n)
		}
	})
}
