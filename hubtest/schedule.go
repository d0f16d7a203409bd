package hubtest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Schedule is faults in the order in which they begin, for Faults.Run.
//
// Inside testing/synctest all of a run can be made from a seed, and comes out the
// same each time, to the nanosecond: on a Network with a Delay, and a Slice of fewer
// bytes than a message has, that last as long as the test; with client.Options.Seed
// and hub.Options.Seed; and where clients connect, and the test does what it does,
// at different times. So at one instant one message arrives, on one connection, and
// all that it makes goroutines do has ended before the next. Otherwise they decide
// what is first. On a Proxy time is real, and no run is like another: the faults are
// the same, what they hit is not.
type Schedule []Fault

// String returns the schedule one fault a line.
func (s Schedule) String() string {
	var b strings.Builder
	for _, f := range s {
		b.WriteString(f.String())
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// everyKind is what a schedule is made of unless its test says otherwise.
var everyKind = []Kind{Cut, End, HalfOpen, Stall, Delay, Throttle, Slice, Refuse, Restart, Overlap}

// NewSchedule makes up some faults of these kinds, all kinds if none is named,
// that begin and end within length: the same ones for the same seed. Each lasts
// up to a fifth of length; half of them concern all connections.
func NewSchedule(seed uint64, length time.Duration, kinds ...Kind) Schedule {
	if len(kinds) == 0 {
		kinds = everyKind
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := make(Schedule, 2+rnd.IntN(7))
	for i := range s {
		s[i] = randomFault(rnd, length, kinds)
	}
	slices.SortStableFunc(s, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return s
}

func randomFault(rnd *rand.Rand, length time.Duration, kinds []Kind) Fault {
	between := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(rnd.Int64N(max(1, int64(high-low))))).Truncate(max(1, length/1000))
	}
	f := Fault{Kind: kinds[rnd.IntN(len(kinds))]}
	if f.Kind != Cut && f.Kind != End {
		f.For = max(1, between(length/100, length/5))
	}
	f.At = between(0, length-f.For)
	if rnd.IntN(2) == 0 && f.Kind != Refuse && f.Kind != Restart {
		f.Pick = 1 + rnd.IntN(16)
	}
	switch f.Kind {
	case HalfOpen, Stall, Delay, Throttle, Slice:
		f.Way = []Way{"", Up, Down}[rnd.IntN(3)]
	}
	switch f.Kind {
	case Delay:
		f.By = time.Duration(1+rnd.IntN(500)) * time.Millisecond
	case Throttle:
		f.Rate = 1024 << rnd.IntN(7)
	}
	return f
}
