package hubtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults. Cut and End are over at once; the others last for
// Fault.For, and what they say of bytes is true of those in Fault.Way.
const (
	// Cut resets connections (RST): both sides get an error at once, and what is
	// on the way is lost.
	Cut Kind = "cut"
	// End ends connections in good order (FIN), as a proxy does that is told to
	// stop: both sides read io.EOF, and what is on the way is lost.
	End Kind = "end"
	// HalfOpen swallows the bytes and the end of a connection, and lets neither
	// side know. As a stream with a hole is none, a connection that has lost
	// something is reset when the fault is over; the others go on.
	HalfOpen Kind = "half-open"
	// Stall holds bytes back. Afterwards they arrive; nothing is lost.
	Stall Kind = "stall"
	// Delay makes bytes, and the end behind them, arrive Fault.By later,
	// and another nanosecond for each connection that was opened before theirs: so
	// that, inside testing/synctest, what is sent on many at one instant arrives at
	// an instant of its own on each.
	Delay Kind = "delay"
	// Throttle lets Fault.Rate bytes through in a second, on each connection.
	Throttle Kind = "throttle"
	// Slice lets bytes arrive Fault.Size at a time, a microsecond after the last.
	Slice Kind = "slice"
	// Refuse refuses new connections. A client of a Proxy sees a reset instead.
	Refuse Kind = "refuse"
	// Restart is a server that goes away: all connections are cut, new ones
	// refused, and Faults.OnRestart is called. New ones are let through when it
	// has returned, and not before Fault.For is over.
	Restart Kind = "restart"
	// Overlap lets an old connection live on beside the new one that replaces
	// it: what clients send is held back, and after half of Fault.For, default
	// 1 s, the connection is reset on their side alone. At the end, what was held
	// back, up to 1 MiB, arrives after all, and then the server learns of the
	// end. On a byte stream nothing can come twice or out of order, but so can
	// what was repeated on another connection.
	Overlap Kind = "overlap"
)

// Way is a direction of a connection.
type Way string

// The directions; a fault without one is in both.
const (
	Up   Way = "up"   // what clients send
	Down Way = "down" // what the server sends
)

// Fault is one thing that goes wrong in a network. The zero value of each field
// but Kind makes sense.
type Fault struct {
	Kind Kind
	At   time.Duration // in a Schedule: after its beginning
	For  time.Duration // how long; 0: until Heal
	Way  Way           // "": both

	// Pick picks one of the connections that are open when the fault begins, by
	// its age: 1 is the oldest; beyond the newest it starts again. 0 picks all,
	// and those that come while the fault lasts; Refuse and Restart always do.
	Pick int

	By   time.Duration // of Delay; default 100 ms
	Rate int           // of Throttle, in bytes per second; default 1024
	Size int           // of Slice, in bytes; default 1
}

// String returns the fault as it stands in a log.
func (f Fault) String() string {
	s := fmt.Sprintf("%v %s", f.At, f.Kind)
	switch f.Kind {
	case Delay:
		s += fmt.Sprintf(" by %v", f.By)
	case Throttle:
		s += fmt.Sprintf(" to %d bytes/s", f.Rate)
	case Slice:
		s += fmt.Sprintf(" to %d bytes", max(1, f.Size))
	}
	if f.Way != "" {
		s += " " + string(f.Way)
	}
	if f.For > 0 {
		s += fmt.Sprintf(" for %v", f.For)
	}
	if f.Pick > 0 {
		s += fmt.Sprintf(" of connection %d", f.Pick)
	}
	return s
}

// Faults is what can go wrong on a Network or a Proxy. The methods are safe for
// concurrent use.
type Faults struct {
	// OnRestart is called by a Restart while nobody can connect: it ends the
	// server and starts another one. It is set before the first fault; nil does
	// nothing.
	OnRestart func()

	mu      sync.Mutex
	began   time.Time
	links   []*link // open connections, oldest first
	opened  int     // connections, ever
	active  []*active
	changed chan struct{} // closed and replaced when active or a link changes
	over    bool
	done    []string // what has happened, for the log
	running sync.WaitGroup
}

// active is a fault that lasts.
type active struct {
	Fault
	links []*link // nil: all
	timer *time.Timer
}

func (a *active) covers(l *link, way Way) bool {
	return (a.Way == "" || a.Way == way) && (a.links == nil || slices.Contains(a.links, l))
}

// logged is how many faults a failed test is told at most.
const logged = 200

func (f *Faults) init(t testing.TB) {
	f.began, f.changed = time.Now(), make(chan struct{})
	t.Cleanup(func() {
		f.mu.Lock()
		done := f.done
		f.mu.Unlock()
		if t.Failed() && len(done) > 0 {
			t.Logf("hubtest: the faults of the network:\n%s", strings.Join(done, "\n"))
		}
	})
}

// end cuts everything and waits for the goroutines.
func (f *Faults) end() {
	f.mu.Lock()
	f.over = true
	links := slices.Clone(f.links)
	f.mu.Unlock()
	f.Heal()
	for _, l := range links {
		l.abort()
	}
	f.running.Wait()
}

// Cut resets all connections. New ones are let through.
func (f *Faults) Cut() { f.Do(Fault{Kind: Cut}) }

// HalfOpen swallows everything for a time, 0 meaning until Heal.
func (f *Faults) HalfOpen(d time.Duration) { f.Do(Fault{Kind: HalfOpen, For: d}) }

// Stall holds everything back for a time, 0 meaning until Heal.
func (f *Faults) Stall(d time.Duration) { f.Do(Fault{Kind: Stall, For: d}) }

// Refuse refuses new connections for a time, 0 meaning until Heal.
func (f *Faults) Refuse(d time.Duration) { f.Do(Fault{Kind: Refuse, For: d}) }

// Do begins a fault now, whatever its At. It returns at once, but for a Restart,
// where it returns with OnRestart. Faults that last may overlap: the slowest wins.
func (f *Faults) Do(fault Fault) {
	a := &active{Fault: fault}
	a.setDefaults()
	links := f.begin(a)
	switch a.Kind {
	case Cut, Restart:
		for _, l := range links {
			l.abort()
		}
	case End:
		for _, l := range links {
			l.finish()
		}
	}
	if a.Kind == Restart && f.OnRestart != nil {
		f.OnRestart()
	}
	switch a.Kind {
	case Cut, End:
	case Overlap:
		f.after(a, a.For/2, func() {
			for _, l := range links {
				l.sever()
			}
			f.after(a, a.For-a.For/2, func() { f.heal(a) })
		})
	case Restart:
		f.after(a, time.Until(f.began.Add(a.At+a.For)), func() { f.heal(a) })
	default:
		if a.For > 0 {
			f.after(a, a.For, func() { f.heal(a) })
		}
	}
}

func (a *active) setDefaults() {
	if !slices.Contains(everyKind, a.Kind) {
		panic(fmt.Sprintf("hubtest: there is no fault %q", string(a.Kind)))
	}
	switch {
	case a.Kind == Overlap && a.For <= 0:
		a.For = time.Second
	case a.Kind == Refuse || a.Kind == Restart:
		a.Pick = 0
	}
	if a.By <= 0 {
		a.By = 100 * time.Millisecond
	}
	if a.Rate <= 0 {
		a.Rate = 1024
	}
	if a.Size <= 0 {
		a.Size = 1
	}
}

// begin notes a fault and returns the connections that it picks.
func (f *Faults) begin(a *active) []*link {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.At = time.Since(f.began)
	if len(f.done) < logged {
		f.done = append(f.done, a.String())
	}
	picked := slices.Clone(f.links)
	if n := len(picked); a.Pick > 0 && n > 0 {
		picked = picked[(a.Pick-1)%n:][:1]
	}
	if a.Pick > 0 || a.Kind == Overlap { // those that come are spared
		a.links = append([]*link{}, picked...)
	}
	switch a.Kind {
	case Cut:
	case End:
		for _, l := range picked {
			l.ended = true
		}
	default:
		f.active = append(f.active, a)
	}
	f.change()
	return picked
}

// after arranges what happens in the course of a fault, unless it is over by then.
func (f *Faults) after(a *active, d time.Duration, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.active, a) && !f.over {
		a.timer = time.AfterFunc(d, do)
	}
}

// Heal ends all faults that last.
func (f *Faults) Heal() {
	f.mu.Lock()
	all := slices.Clone(f.active)
	f.mu.Unlock()
	for _, a := range all {
		f.heal(a)
	}
}

// heal ends one fault. Connections with a hole end, too.
func (f *Faults) heal(a *active) {
	f.mu.Lock()
	f.active = slices.DeleteFunc(f.active, func(b *active) bool { return a == b })
	if a.timer != nil {
		a.timer.Stop()
	}
	var lost []*link
	for _, l := range f.links {
		if len(l.lost) > 0 && !f.swallows(l) {
			lost = append(lost, l)
		}
	}
	covered := slices.Clone(a.links)
	f.change()
	f.mu.Unlock()
	for _, l := range lost {
		l.abort()
	}
	if a.Kind == Overlap { // perhaps before its time
		for _, l := range covered {
			l.sever()
		}
	}
}

// swallows reports whether l is still half-open. f.mu is held.
func (f *Faults) swallows(l *link) bool {
	return slices.ContainsFunc(f.active, func(a *active) bool {
		return a.Kind == HalfOpen && (a.covers(l, Up) || a.covers(l, Down))
	})
}

// change wakes who waits. f.mu is held.
func (f *Faults) change() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// refuses reports whether new connections are refused.
func (f *Faults) refuses() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over || slices.ContainsFunc(f.active, func(a *active) bool { return a.Kind == Refuse || a.Kind == Restart })
}

// condition says what is to be done with the bytes of a connection.
type condition struct {
	swallow, hold, stall bool
	rate, size           int // 0: no bound
}

// condition also returns what is closed when it changes.
func (f *Faults) condition(l *link, way Way) (c condition, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.swallow = l.ended || l.lost[way] || l.severed && way == Down
	for _, a := range f.active {
		if !a.covers(l, way) {
			continue
		}
		switch a.Kind {
		case HalfOpen:
			c.swallow, l.lost[way] = true, true
		case Overlap:
			c.hold = c.hold || way == Up
		case Stall:
			c.stall = true
		case Throttle:
			c.rate = lower(c.rate, a.Rate)
		case Slice:
			c.size = lower(c.size, a.Size)
		}
	}
	return c, f.changed
}

// lower returns the lower of two bounds, of which the first may be 0: none.
func lower(bound, other int) int {
	if bound == 0 {
		return other
	}
	return min(bound, other)
}

// delay returns how long bytes are on the way that come now.
func (f *Faults) delay(l *link, way Way) (by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.active {
		if a.Kind == Delay && a.covers(l, way) {
			by = max(by, a.By)
		}
	}
	return by
}

// Run plays a schedule, and returns when the last of its faults is over, or as
// soon as ctx is.
func (f *Faults) Run(ctx context.Context, s Schedule) {
	start, end := time.Now(), time.Duration(0)
	for _, fault := range s {
		if !sleep(ctx, time.Until(start.Add(fault.At))) {
			return
		}
		f.Do(fault)
		end = max(end, fault.At+fault.For)
	}
	sleep(ctx, time.Until(start.Add(end)))
}

// sleep reports whether it was left to sleep.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
