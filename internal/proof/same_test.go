package proof_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestSameSeed runs schedules twice: the second time, each member hears the same
// messages, gaps and changes of its connection in the same order and at the same
// virtual times, to the nanosecond, and gets its answers at the same times. So a
// schedule that fails fails again, whatever else the machine does. What the order
// of goroutines decides, and nothing else, is what happens at one instant on
// several connections; on each of them, something arrives at an instant of its own
// (see hubtest.Delay).
func TestSameSeed(t *testing.T) {
	seeds := uint64(20)
	if race || testing.Short() {
		seeds = 4
	}
	for seed := uint64(1); seed <= seeds && !t.Failed(); seed++ {
		var runs [2]*play
		for i := range runs {
			synctest.Test(t, func(t *testing.T) {
				runs[i] = newPlay(t, seed)
				if runs[i].run(); i > 0 {
					runs[1].compare(runs[0])
				}
			})
		}
	}
}

// compare wants each member to have heard the same, in the same order and at the
// same times.
func (p *play) compare(before *play) {
	p.Helper()
	for i, m := range p.members {
		old := before.members[i]
		slices.Sort(m.acks) // at one instant they have no order
		slices.Sort(old.acks)
		p.same(m.name, old.heard, m.heard)
		p.same(m.name, old.acks, m.acks)
	}
}

// same tells of the first difference.
func (p *play) same(name string, before, now []string) {
	p.Helper()
	n := 0
	for n < len(before) && n < len(now) && before[n] == now[n] {
		n++
	}
	if n < len(before) || n < len(now) {
		p.Errorf("seed %d: another run for %s: first\n%s\nand then\n%s", p.seed, name,
			strings.Join(before[max(0, n-3):min(n+3, len(before))], "\n"), strings.Join(now[max(0, n-3):min(n+3, len(now))], "\n"))
	}
}
