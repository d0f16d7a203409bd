package feed_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/internal/feed"
)

var (
	seeds = flag.Int("seeds", 2000, "how many seeds TestSimulation runs")
	seed  = flag.Uint64("seed", 0, "the one seed that TestSimulation runs, and tells about")
)

// TestSimulation runs rooms on two nodes whose engine loses, repeats, delays and
// swaps what it shows, answers late or not at all, goes away, trims its log,
// forgets it, or loses the tail of it. Clients come and go between the nodes.
// Whatever happens, what a client sees is a run of the log between gaps.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		synctest.Test(t, func(t *testing.T) { newWorld(t, *seed).run() })
		return
	}
	n := uint64(*seeds)
	if testing.Short() {
		n /= 10
	}
	for s := uint64(1); s <= n && !t.Failed(); s++ {
		synctest.Test(t, func(t *testing.T) { newWorld(t, s).run() })
	}
}

// stored is what the model knows of an entry: where it is, and what was before
// it when it was stored.
type stored struct {
	at, before engine.Position
}

type world struct {
	*testing.T

	seed    uint64
	rnd     *rand.Rand
	calm    bool // nothing happens that a feed could not repair
	class   engine.Class
	room    engine.Topic
	network *memory.Network
	writer  *memory.Engine
	nodes   []*node
	clients []*client

	mu     sync.Mutex
	rndEnd *rand.Rand
	quiet  engine.Position
	grown  uint64

	ids   uint64
	log   []stored // as it is now
	all   map[[16]byte]stored
	steps []string
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{T: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), rndEnd: rand.New(rand.NewPCG(seed, 9)), all: map[[16]byte]stored{}}
	w.calm = w.rnd.IntN(3) == 0
	w.class = engine.Class{Name: "c", Level: engine.Recoverable, Keep: []int{5, 40, 1000}[w.rnd.IntN(3)]}
	w.class.KeepFor = []time.Duration{0, 4 * time.Second, 20 * time.Second, 3 * time.Minute}[w.rnd.IntN(4)]
	if w.calm {
		w.class.Keep = 1000
	}
	w.room = engine.Topic{Kind: engine.KindRoom, Class: "c", Name: "room"}
	w.network = memory.NewNetwork(nil)
	w.writer = w.network.Join()
	if err := w.writer.Start(t.Context(), "writer", []engine.Class{w.class}, nothing{}); err != nil {
		t.Fatal(err)
	}
	sparse := w.rnd.IntN(2) == 0
	for range 2 {
		w.nodes = append(w.nodes, newNode(w, sparse))
	}
	for range 3 {
		w.clients = append(w.clients, &client{world: w})
	}
	return w
}

func (w *world) run() {
	for range 60 {
		w.step()
		<-time.After(time.Duration(w.rnd.IntN(1<<w.rnd.IntN(11)))*time.Millisecond + 1)
	}
	w.heal()
	for _, n := range w.nodes {
		n.feeds.Close()
		_ = n.Engine.Close(context.Background())
	}
	_ = w.writer.Close(context.Background())
	synctest.Wait()
	for _, c := range w.clients {
		c.verify()
	}
}

// notef keeps what happens, to be shown for one seed.
func (w *world) notef(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *seed != 0 {
		w.steps = append(w.steps, fmt.Sprintf("%v ", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))+fmt.Sprintf(format, args...))
	}
}

func (w *world) failf(format string, args ...any) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		w.Log(s)
	}
	w.Errorf("-seed=%d (calm %v, sparse %v, class %+v): %s", w.seed, w.calm, w.nodes[0].sparse, w.class, fmt.Sprintf(format, args...))
}

func (w *world) step() {
	n, c := w.nodes[w.rnd.IntN(len(w.nodes))], w.clients[w.rnd.IntN(len(w.clients))]
	switch k := w.rnd.IntN(100); {
	case k < 50:
		for range 1 + w.rnd.IntN(1+w.rnd.IntN(8)) {
			w.append()
		}
	case k < 65:
		c.leave()
	case k < 85:
		c.come(n)
	case k < 90:
		n.bad(w.rnd.IntN(60))
	case w.calm:
	case k < 93:
		w.notef("cut %v", !n.cut)
		n.cut = !n.cut
		n.Cut(n.cut)
	case k < 95:
		<-time.After(min(w.class.KeepFor*3/2, 100*time.Second))
	case k < 97:
		w.broker(func() { w.lose(1 + w.rnd.IntN(4)) })
	case k < 98:
		w.broker(func() { w.reset() })
	default:
		w.reset() // without a word of the link
	}
}

func (w *world) append() {
	w.ids++
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], w.ids)
	binary.BigEndian.PutUint64(id[8:], w.seed)
	w.writer.Append(w.Context(), w.room, engine.Record{ID: id, Data: id[:8]}, func(a engine.Ack, err error) {
		if err != nil {
			w.failf("append: %v", err)
			return
		}
		s := stored{at: w.nodes[0].out(a.Position)}
		if len(w.log) > 0 {
			s.before = w.log[len(w.log)-1].at
		}
		w.log = append(w.log, s)
		w.all[id] = s
		w.notef("append %d at %d", w.ids, s.at.Offset)
	})
}

// broker restarts the broker, which has another log then.
func (w *world) broker(change func()) {
	for _, n := range w.nodes {
		n.Cut(true)
	}
	change()
	if w.rnd.IntN(2) == 0 {
		w.append()
	}
	<-time.After(time.Duration(w.rnd.IntN(1000)) * time.Millisecond)
	for _, n := range w.nodes {
		n.cut = false
		n.Cut(false)
	}
}

func (w *world) lose(newest int) {
	p, err := w.writer.Read(w.Context(), w.room, engine.Position{}, 1000)
	if err != nil {
		w.failf("read: %v", err)
	}
	newest = min(newest, len(p.Entries))
	w.notef("lose %d", newest)
	w.network.Truncate(w.room, newest)
	w.log = w.log[:len(w.log)-newest]
}

func (w *world) reset() {
	w.notef("reset")
	w.network.Reset(w.room)
	w.log = nil
}

// heal ends all trouble and waits until everybody has heard of everything.
func (w *world) heal() {
	for _, n := range w.nodes {
		n.bad(0)
		n.cut = false
		n.Cut(false)
	}
	w.notef("healed")
	w.append()
	<-time.After(3 * time.Minute)
	for _, c := range w.clients {
		if c.at == nil {
			c.come(w.nodes[w.rnd.IntN(len(w.nodes))])
		}
	}
	<-time.After(time.Minute)
}

// client is one that processes what it is given, and comes back with its cursor.
type client struct {
	*world

	mu     sync.Mutex
	at     *node
	joined *feed.Feed
	cursor *engine.Position
	events []event
}

// event is an entry, or where the sequence goes on: without a gap if there is no
// reason.
type event struct {
	entry  *engine.Entry
	reason feed.Reason
	to     engine.Position
}

func (c *client) leave() {
	if c.at == nil {
		return
	}
	c.at.remove(c)
	c.at.feeds.Release(c.joined)
	c.at = nil
	c.notef("a client leaves with %v", c.place().Offset)
}

func (c *client) come(n *node) {
	c.leave()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	f, err := n.feeds.Open(ctx, c.room, n)
	if err != nil {
		return
	}
	done := make(chan struct{})
	attach := func(missed []engine.Entry, at engine.Position, gap feed.Reason) {
		defer close(done)
		for _, e := range missed {
			c.take(event{entry: &e})
		}
		c.take(event{reason: gap, to: at})
		n.add(c)
	}
	if from := c.place(); from == nil {
		err = f.Join(attach)
	} else {
		err = f.Resume(ctx, *from, attach)
	}
	if err != nil {
		n.feeds.Release(f)
		return
	}
	<-done
	c.at, c.joined = n, f
	c.notef("a client comes")
}

// place is up to where the client has processed; nil: it was never in.
func (c *client) place() *engine.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cursor
}

func (c *client) take(ev event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, ev)
	if ev.entry != nil {
		c.notef("%p: entry %s", c, show(ev.entry.Position))
	} else {
		c.notef("%p: at %s %s", c, show(ev.to), ev.reason)
	}
	at := ev.to
	if ev.entry != nil {
		at = ev.entry.Position
	}
	c.cursor = &at
}

// verify holds what the client saw against the model.
func (c *client) verify() {
	if c.at == nil {
		c.failf("a client cannot come in")
		return
	}
	var last engine.Position
	seen := map[[16]byte]bool{}
	for i, ev := range c.events {
		switch {
		case ev.entry == nil && (ev.reason != "" || i == 0):
			last = ev.to
			if ev.reason != "" {
				// What the log lost may come again, from a node that has not heard.
				maps.DeleteFunc(seen, func(id [16]byte, _ bool) bool { return !slices.Contains(c.log, c.all[id]) })
			}
		case ev.entry == nil:
			if ev.to != last && (ev.to.Epoch != last.Epoch || ev.to.Tag != 0 && last.Tag != 0 || ev.to.Offset < last.Offset) {
				c.failf("a client that was at %v is joined at %v", show(last), show(ev.to))
			}
			if last.Tag == 0 {
				last = ev.to
			}
		default:
			s, ok := c.all[ev.entry.ID]
			switch {
			case !ok:
				c.failf("an entry out of nothing: %v", show(ev.entry.Position))
			case seen[ev.entry.ID]:
				c.failf("twice: %v", show(s.at))
			case s.at != ev.entry.Position:
				c.failf("%v came as %v", show(s.at), show(ev.entry.Position))
			case last.Tag != 0 && s.before != last, last.Tag == 0 && (s.at.Epoch != last.Epoch || s.before.Offset > last.Offset || s.at.Offset <= last.Offset):
				c.failf("%v came after %v, before it is %v", show(s.at), show(last), show(s.before))
			}
			seen[ev.entry.ID] = true
			last = s.at
		}
	}
	head := c.log[len(c.log)-1].at
	if last != head && (last.Epoch != head.Epoch || last.Tag != 0 || last.Offset < head.Offset) {
		c.failf("a client ends at %v, the log at %v", show(last), show(head))
	}
}

func show(p engine.Position) string {
	return fmt.Sprintf("%d:%d:%x", p.Epoch%100000, p.Offset, p.Tag)
}

// node is the engine of a node, and all that goes wrong with it.
type node struct {
	*memory.Engine

	world  *world
	feeds  *feed.Node
	sparse bool // offsets are not dense, and the engine proves nothing
	cut    bool

	mu      sync.Mutex
	rnd     *rand.Rand
	badness int // in percent
	held    []engine.Entry
	clients []*client
}

func newNode(w *world, sparse bool) *node {
	n := &node{world: w, Engine: w.network.Join(), sparse: sparse, rnd: rand.New(rand.NewPCG(w.seed, uint64(2+len(w.nodes))))}
	classes := []engine.Class{w.class}
	n.feeds = feed.NewNode(n, n, classes, &feed.Options{Ring: 1 + w.rnd.IntN(20), Resume: 200, Linger: 3 * time.Second})
	if err := n.Start(w.Context(), fmt.Sprint("node", len(w.nodes)), classes, sink{n}); err != nil {
		w.Fatal(err)
	}
	return n
}

func (n *node) bad(percent int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.badness = percent
	n.world.notef("bad %d", percent)
}

// chance is true as often as things are bad.
func (n *node) chance() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rnd.IntN(100) < n.badness
}

func (n *node) add(c *client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clients = append(n.clients, c)
}

func (n *node) remove(c *client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clients = slices.DeleteFunc(n.clients, func(other *client) bool { return other == c })
}

// Entry implements feed.Out.
func (n *node) Entry(e engine.Entry) { n.tell(event{entry: &e}) }

// Gap implements feed.Out.
func (n *node) Gap(g feed.Gap) {
	n.world.notef("gap %s", g.Reason)
	if n.world.calm {
		n.world.failf("a gap where nothing happened: %v", g)
	}
	n.tell(event{reason: g.Reason, to: g.To})
}

func (n *node) tell(ev event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.clients {
		c.take(ev)
	}
}

// late makes an answer wait, before or after the question is asked.
func (n *node) late() {
	if n.chance() {
		n.mu.Lock()
		d := time.Duration(n.rnd.IntN(300)) * time.Millisecond
		n.mu.Unlock()
		<-time.After(d)
	}
}

func (n *node) fails() bool { return !n.world.calm && n.chance() && n.chance() }

// Read implements engine.Log.
func (n *node) Read(ctx context.Context, t engine.Topic, from engine.Position, limit int) (engine.Page, error) {
	n.late()
	if n.fails() {
		return engine.Page{}, engine.ErrUnavailable
	}
	limit = min(limit, 7) // more pages
	p, err := n.Engine.Read(ctx, t, n.in(from), limit)
	if err != nil {
		return p, err
	}
	if n.sparse {
		p.Complete = false
		if p.Anchor != nil && n.out(p.Anchor.Position).Offset != from.Offset {
			p.Anchor = nil
		}
	}
	if p.Anchor != nil {
		a := n.sparsed(*p.Anchor)
		p.Anchor = &a
	}
	for i := range p.Entries {
		p.Entries[i] = n.sparsed(p.Entries[i])
		if n.sparse && i == 0 {
			p.Entries[i].Prev = 0
		}
	}
	p.Head = n.headed(p.Head)
	n.late()
	return p, nil
}

// Heads implements engine.Log.
func (n *node) Heads(ctx context.Context, ts ...engine.Topic) ([]engine.Position, error) {
	n.late()
	if n.fails() {
		return nil, engine.ErrUnavailable
	}
	heads, err := n.Engine.Heads(ctx, ts...)
	for i := range heads {
		heads[i] = n.headed(heads[i])
	}
	n.late()
	return heads, err
}

// step is between the offsets of two entries if they are not dense.
const step = 7

func (n *node) out(p engine.Position) engine.Position {
	if n.sparse {
		p.Offset *= step
	}
	return p
}

func (n *node) in(p engine.Position) engine.Position {
	if n.sparse {
		p.Offset /= step
	}
	return p
}

// headed is a head as an engine tells it that knows only what it keeps.
func (n *node) headed(p engine.Position) engine.Position {
	out := n.out(p)
	if page, err := n.Engine.Read(context.Background(), n.world.room, p, 1); n.sparse && err == nil && page.Head == p && page.Anchor == nil {
		out.Offset, out.Tag = n.world.end(out), 0
	}
	return out
}

// end is the end of the stream in which the room's entries are, which grows
// though the room does not.
func (w *world) end(head engine.Position) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.quiet != head {
		w.quiet, w.grown = head, 0
	}
	w.grown = min(w.grown+uint64(w.rndEnd.IntN(2)), step-1)
	return head.Offset + w.grown
}

// sparsed is an entry as such an engine tells it.
func (n *node) sparsed(e engine.Entry) engine.Entry {
	if !n.sparse {
		return e
	}
	before := engine.Position{Epoch: e.Epoch, Offset: e.Prev}
	if page, err := n.Engine.Read(context.Background(), n.world.room, before, 1); err != nil || page.Anchor == nil {
		e.Prev = 0
	}
	e.Position, e.Prev = n.out(e.Position), e.Prev*step
	return e
}

// sink loses, repeats, holds back and swaps.
type sink struct{ n *node }

func (s sink) Frame(engine.Topic, []byte) {}

func (s sink) Link(up bool, in func(engine.Topic) bool) {
	s.n.mu.Lock()
	s.n.held = nil
	s.n.mu.Unlock()
	s.n.feeds.Link(up, in)
}

func (s sink) Entry(t engine.Topic, e engine.Entry) {
	n := s.n
	e = n.sparsed(e)
	n.mu.Lock()
	show := []engine.Entry{e}
	if n.rnd.IntN(100) < n.badness {
		switch n.rnd.IntN(4) {
		case 0:
			show = nil
		case 1:
			show = append(show, e)
		case 2:
			n.held = append(n.held, e)
			show = nil
		default:
			show = append(show, n.held...)
			n.held = nil
		}
	}
	n.mu.Unlock()
	for _, e := range show {
		n.feeds.Entry(t, e)
	}
}

type nothing struct{}

func (nothing) Frame(engine.Topic, []byte)         {}
func (nothing) Entry(engine.Topic, engine.Entry)   {}
func (nothing) Link(bool, func(engine.Topic) bool) {}
