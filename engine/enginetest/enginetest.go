// Package enginetest tests engines: whatever passes Test can be the engine of a
// hub.
//
//	func TestEngine(t *testing.T) {
//		enginetest.Test(t, enginetest.Options{Open: func(t testing.TB) enginetest.Cluster {
//			network := memory.NewNetwork(nil)
//			return enginetest.Cluster{Join: func() engine.Bus { return network.Join() }}
//		}})
//	}
package enginetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// Options say what is tested, and how.
type Options struct {
	// Open returns a cluster in which nothing has happened yet: with a prefix or
	// a database of its own, if all use one broker. It is called once for each
	// subtest. Required.
	Open func(t testing.TB) Cluster

	// Synctest runs each subtest in a bubble of testing/synctest, where time
	// costs nothing. It is for engines without network.
	Synctest bool

	// Patience is how long the engine may take for one thing. 0 means 10 seconds.
	Patience time.Duration

	// Quiet is how long to wait before it is believed that nothing comes. 0 means
	// 100 milliseconds.
	Quiet time.Duration
}

// Cluster is one deployment of an engine.
type Cluster struct {
	// Join returns the engine of a further node, not started. If it implements
	// engine.Log and engine.Prober, these are tested too. Required.
	Join func() engine.Bus

	// Cut takes the broker away, and Restore brings it back with all that it had
	// acknowledged. Nil: there is nothing to take away.
	Cut, Restore func()

	// Lose loses all logs; the broker is up again when it returns. Nil: cannot.
	Lose func()
}

// Test runs every check as a subtest of its own, by name. It takes about ten
// seconds of time, real or not, because entries have to expire.
func Test(t *testing.T, opts Options) {
	t.Helper()
	if opts.Patience <= 0 {
		opts.Patience = 10 * time.Second
	}
	if opts.Quiet <= 0 {
		opts.Quiet = 100 * time.Millisecond
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if opts.Synctest {
				synctest.Test(t, func(t *testing.T) { c.run(newWorld(t, opts)) })
			} else {
				c.run(newWorld(t, opts))
			}
		})
	}
}

// check is one property of engines.
type check struct {
	name string
	run  func(w *world)
}

// checks are all that Test runs.
var checks = []check{
	{"bus order", busOrder},
	{"no echo", noEcho},
	{"interest", interest},
	{"kinds", kinds},
	{"hostile names", hostileNames},
	{"large", large},
	{"any bytes", anyBytes},
	{"no waiting", noWaiting},
	{"bad classes", badClasses},
	{"no log", noLog},
	{"total order", totalOrder},
	{"publisher order", publisherOrder},
	{"own entries", ownEntries},
	{"dedupe", dedupe},
	{"dedupe window", dedupeWindow},
	{"dedupe beyond the entry", dedupeBeyond},
	{"dedupe at once", dedupeAtOnce},
	{"dedupe by the key", dedupeByKey},
	{"condition", condition},
	{"condition on a place", conditionPlace},
	{"condition on what is gone", conditionAged},
	{"conflict forgotten", conflictForgotten},
	{"unavailable", unavailable},
	{"unavailable in an outage", unavailableOutage},
	{"prev chain", prevChain},
	{"pages", pages},
	{"anchor", anchor},
	{"zero position", zeroPosition},
	{"heads", heads},
	{"empty log", emptyLog},
	{"window by count", windowByCount},
	{"window by bytes", windowByBytes},
	{"window by age", windowByAge},
	{"quiet room", quietRoom},
	{"epoch", epoch},
	{"lost logs", lostLogs},
	{"logs apart", logsApart},
	{"slices", slicesKept},
	{"survives", survives},
	{"listening", listening},
	{"contexts", contexts},
	{"outage", outage},
	{"close", closes},
}

// classes are what the nodes are started with.
var classes = []engine.Class{
	{Name: "room", Level: engine.Recoverable, Keep: 1000, KeepFor: time.Hour, Dedupe: time.Minute},
	{Name: "few", Level: engine.Recoverable, Keep: 5, KeepFor: time.Hour, Dedupe: time.Minute},
	{Name: "short", Level: engine.Recoverable, Keep: 1000, KeepFor: 2 * time.Second, Dedupe: time.Second},
	{Name: "loose", Level: engine.Ephemeral},
	{Name: "brief", Level: engine.Recoverable, Keep: 1000, KeepFor: time.Second, Dedupe: time.Minute},
	{Name: "bytes", Level: engine.Recoverable, Keep: 1000, Bytes: 64 << 10, KeepFor: time.Hour, Dedupe: time.Minute},
}

// class returns the class of that name.
func class(name string) engine.Class {
	return classes[slices.IndexFunc(classes, func(c engine.Class) bool { return c.Name == name })]
}

// in returns the topic of a room of that class.
func in(class, name string) engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: class, Name: name}
}

// log returns the topic of a room with a log, as most checks use it.
func log(name string) engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: "room", Name: name}
}

func loose(name string) engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: "loose", Name: name}
}

// world is where one check runs.
type world struct {
	testing.TB

	opts    Options
	cluster Cluster
	joined  int
}

func newWorld(t testing.TB, opts Options) *world {
	return &world{TB: t, opts: opts, cluster: opts.Open(t)}
}

// node starts a further node, and closes it at the end.
func (w *world) node() *node {
	w.Helper()
	w.joined++
	bus := w.cluster.Join()
	n := &node{w: w, Bus: bus, changed: make(chan struct{}), seen: map[engine.Topic]*seen{}}
	n.log, _ = bus.(engine.Log)
	// Incarnations that begin alike are still different.
	name := fmt.Sprintf("01890000-0000-7000-8000-%012d", w.joined)
	if err := bus.Start(w.limit(), name, classes, n); err != nil {
		w.Fatalf("Start: %v", err)
	}
	w.Cleanup(func() {
		n.close()
		if complaint := n.complaint(); complaint != "" {
			w.Errorf("%s", complaint)
		}
	})
	return n
}

// logged starts a node of an engine that has logs, or skips the check.
func (w *world) logged() *node {
	w.Helper()
	n := w.node()
	if n.log == nil {
		w.Skip("the engine has no logs")
	}
	return n
}

// limit returns a context that ends when patience does.
func (w *world) limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), w.opts.Patience)
	w.Cleanup(cancel)
	return ctx
}

// quiet waits until it may be believed that nothing comes.
func (w *world) quiet() { w.pass(w.opts.Quiet) }

func (w *world) pass(d time.Duration) { <-time.After(d) }

// must ends the check if err is not nil.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("unexpected: %v", err)
	}
}

// connect waits until what from publishes reaches all of to, which have
// subscribed to t: interest may need a moment to get around.
func (w *world) connect(t engine.Topic, from *node, to ...*node) {
	w.Helper()
	end := time.Now().Add(w.opts.Patience)
	for _, n := range to {
		for !n.has(t, func(s *seen) bool { return s.probes > 0 }) {
			if time.Now().After(end) {
				w.Fatalf("frames of one node do not reach another that has subscribed to %+q", t)
			}
			w.must(from.Publish(t, []byte(probe)))
			n.waitFor(20*time.Millisecond, t, func(s *seen) bool { return s.probes > 0 })
		}
	}
}

// eventually asks now and then until the answer is yes or patience ends.
func (w *world) eventually(ok func() bool) bool {
	for end := time.Now().Add(w.opts.Patience); !ok(); w.pass(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (w *world) waitClosed(c <-chan struct{}) {
	w.Helper()
	select {
	case <-c:
	case <-time.After(w.opts.Patience):
		w.Fatalf("not everything was answered")
	}
}

// retry appends until it is acknowledged, as publishers do.
func (w *world) retry(n *node, t engine.Topic, r engine.Record) engine.Ack {
	w.Helper()
	var o outcome
	if !w.eventually(func() bool { o = w.await(n.start(w.limit(), t, r)); return o.err == nil }) {
		w.Fatalf("an append fails again and again: %v", o.err)
	}
	return o.ack
}

// expect compares the data of entries.
func (w *world) expect(entries []engine.Entry, want ...string) {
	w.Helper()
	got := make([]string, len(entries))
	for i, e := range entries {
		got[i] = string(e.Data)
	}
	if !slices.Equal(got, want) {
		w.Fatalf("the entries are %q, want %q", got, want)
	}
}
