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
// schedule that fails fails again, whatever else the machine does. Answers at one
// instant are compared without an order: each is waited for by a goroutine of its
// own.
func TestSameSeed(t *testing.T) {
	seeds := uint64(20)
	if race || testing.Short() {
		seeds = 6
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
// same times. It tells of the first difference, from which the others follow.
func (p *play) compare(before *play) {
	p.Helper()
	var first difference
	for i, m := range p.members {
		old := before.members[i]
		slices.Sort(m.acks) // at one instant they have no order
		slices.Sort(old.acks)
		first.earlier(m.name, old.heard, m.heard)
		first.earlier(m.name, old.acks, m.acks)
	}
	if first.at != "" {
		p.Errorf("seed %d: another run: first\n%s\nand then\n%s", p.seed, first.before, first.now)
	}
}

// difference is where two runs part.
type difference struct{ at, before, now string }

// earlier takes the place of d if it is before it.
func (d *difference) earlier(name string, before, now []string) {
	n := 0
	for n < len(before) && n < len(now) && before[n] == now[n] {
		n++
	}
	rest := append(slices.Clone(before[n:min(n+1, len(before))]), now[n:min(n+1, len(now))]...)
	if len(rest) == 0 {
		return
	}
	if at := slices.Min(rest); d.at == "" || at < d.at {
		excerpt := func(all []string) string {
			return name + ": " + strings.Join(all[max(0, n-3):min(n+3, len(all))], "\n\t")
		}
		*d = difference{at, excerpt(before), excerpt(now)}
	}
}
