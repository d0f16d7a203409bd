package hubtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostViolations is how many are told; the first ones are the ones to look at.
const mostViolations = 10

// Check returns an error that joins the violations, each a *Violation, or nil if
// there is none. It is for when all has come to rest: members who are there
// without having got what was acknowledged will not get it.
func (j *Journal) Check() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []error
	for _, name := range slices.Sorted(maps.Keys(j.rooms)) {
		for _, v := range j.rooms[name].check(j.AtMostOnce) {
			if len(all) == mostViolations {
				return errors.Join(append(all, errors.New("hubtest: … and more"))...)
			}
			all = append(all, v)
		}
	}
	return errors.Join(all...)
}

func (r *roomJournal) check(atMostOnce bool) []*Violation {
	c := &check{roomJournal: r, found: slices.Clone(r.recorded)}
	for _, v := range r.views {
		c.index(v)
	}
	c.cursors()
	c.duplicates(atMostOnce)
	for _, v := range r.views {
		c.publishers(v, atMostOnce)
	}
	if atMostOnce || !c.ordered() { // without an order, nothing is in between
		return c.found
	}
	for _, v := range r.views {
		for i := range v.segments {
			c.missing(v, i)
		}
	}
	return c.found
}

// check is one look at a room.
type check struct {
	*roomJournal
	found []*Violation
}

func (c *check) add(rule Rule, member, body, evidence string, args ...any) {
	c.found = append(c.found, &Violation{rule, c.name, member, body, fmt.Sprintf(evidence, args...)})
}

// A copy is a message as it is stored at one place: the only one, unless it was
// lost there. It is named by the body, and by the cursor where there are several.
func (e *entry) copy(cursor string) string {
	if len(e.cursors) < 2 {
		return e.body
	}
	return e.body + "\x00" + cursor
}

// copies returns all of them.
func (e *entry) copies() []string {
	if len(e.cursors) < 2 {
		return []string{e.body}
	}
	all := make([]string, len(e.cursors))
	for i, cursor := range e.cursors {
		all[i] = e.copy(cursor)
	}
	return all
}

// bodyOf returns the body of a copy.
func bodyOf(copied string) string {
	body, _, _ := strings.Cut(copied, "\x00")
	return body
}

func (c *check) copy(s sight) string { return c.bodies[s.body].copy(s.cursor) }

// index notes where each copy is first seen, and where segments end.
func (c *check) index(v *view) {
	v.index = map[string]int{}
	for i, s := range v.sights {
		if _, twice := v.index[c.copy(s)]; !twice {
			v.index[c.copy(s)] = i
		}
	}
	for i, seg := range v.segments {
		seg.to = len(v.sights)
		if i+1 < len(v.segments) {
			seg.to = v.segments[i+1].from
		}
	}
}

// repeated reports whether the i-th sight of a member is not the first one of
// its copy.
func (c *check) repeated(v *view, i int) bool { return v.index[c.copy(v.sights[i])] != i }

// cursors looks for two messages at one position.
func (c *check) cursors() {
	at := map[string]*entry{}
	for _, e := range c.entries {
		for _, cursor := range e.cursors {
			if other := at[cursor]; other != nil {
				c.add(Conflicting, "", e.body, "it has the cursor %q, which %q has too", cursor, other.body)
			} else {
				at[cursor] = e
			}
		}
	}
}

// duplicates counts in each view or, where nothing is replayed, in all that a
// member saw.
func (c *check) duplicates(atMostOnce bool) {
	all := map[string]map[string][]int{} // member, body, events
	for _, v := range c.views {
		seen := all[v.member]
		if seen == nil || !atMostOnce {
			seen = map[string][]int{}
			all[v.member] = seen
		}
		for _, s := range v.sights {
			copied := c.copy(s)
			seen[copied] = append(seen[copied], s.at)
			e, n := c.bodies[s.body], len(seen[copied])
			switch {
			case n < 2 || atMostOnce && n <= e.attempts:
			case atMostOnce:
				c.add(Duplicate, v.member, s.body, "the member saw it %d times (events %v), and it was published %d times", n, seen[copied], e.attempts)
			default:
				c.add(Duplicate, v.member, s.body, "the member saw it %d times (events %v)", n, seen[copied])
			}
		}
		c.undeclared(v)
	}
}

// undeclared looks for messages that were lost and published again, and that a
// member saw twice without having been told of a gap in between.
func (c *check) undeclared(v *view) {
	for _, seg := range v.segments {
		first := map[string]sight{}
		for i := seg.from; i < seg.to; i++ {
			s := v.sights[i]
			before, twice := first[s.body]
			if first[s.body] = s; twice && !c.repeated(v, i) {
				c.add(Duplicate, v.member, s.body, "the member saw it at %q (event %d) and at %q (event %d), and was told of no gap in between",
					before.cursor, before.at, s.cursor, s.at)
			}
		}
	}
}

// publishers looks for what a member saw in another order than it was published.
// What was lost may be published again after what came later, so that where
// something was, the order is looked for on each side of a gap.
func (c *check) publishers(v *view, atMostOnce bool) {
	newest := map[string]*entry{} // of each publisher
	var last *entry               // of all
	for i, s := range v.sights {
		if c.anew(v, i) {
			newest, last = map[string]*entry{}, nil
		}
		if c.repeated(v, i) {
			continue
		}
		e := c.bodies[s.body]
		b := newest[e.member]
		switch {
		case b != nil && e.last < b.first:
			c.add(Reordered, v.member, e.body, "%q published it (event %d) before %q (event %d), and the member saw it after that (event %d)",
				e.member, e.last, b.body, b.first, s.at)
		case !atMostOnce && last != nil && e.acked > 0 && e.acked < last.first:
			c.add(Reordered, v.member, e.body, "it was acknowledged (event %d) before %q was published (event %d), and the member saw it after that (event %d)",
				e.acked, last.body, last.first, s.at)
		}
		if b == nil || e.first > b.first {
			newest[e.member] = e
		}
		if last == nil || e.first > last.first {
			last = e
		}
	}
}

// anew reports whether the i-th sight of a member may be on the other side of a
// loss than the one before it.
func (c *check) anew(v *view, i int) bool {
	return len(c.losses) > 0 && slices.ContainsFunc(v.segments, func(s *segment) bool { return s.from == i })
}

// step is that a member saw one message directly before another.
type step struct {
	from, to string
	by       *view
	at       int
}

// ordered looks for a circle in what the members saw directly after each other:
// where there is none, there is one order that all of it fits into.
func (c *check) ordered() bool {
	steps, before := c.steps()
	var free []string // seen before everything that is left
	for _, e := range c.entries {
		for _, copied := range e.copies() {
			if before[copied] == 0 {
				free = append(free, copied)
			}
		}
	}
	done := map[string]bool{}
	for len(free) > 0 {
		copied := free[0]
		free, done[copied] = free[1:], true
		for _, s := range steps[copied] {
			if before[s.to]--; before[s.to] == 0 {
				free = append(free, s.to)
			}
		}
	}
	for _, e := range c.entries {
		for _, copied := range e.copies() {
			if !done[copied] && c.circle(copied, steps, done) {
				return false // one tells enough
			}
		}
	}
	return true
}

// steps returns the steps from each message, and how many lead to each.
func (c *check) steps() (from map[string][]step, to map[string]int) {
	from, to = map[string][]step{}, map[string]int{}
	for _, v := range c.views {
		prev := ""
		for i, s := range v.sights {
			if c.repeated(v, i) {
				continue
			}
			copied := c.copy(s)
			if i > 0 {
				from[prev] = append(from[prev], step{prev, copied, v, s.at})
				to[copied]++
			}
			prev = copied
		}
	}
	return from, to
}

// circle tells of the shortest circle through a copy, if there is one.
func (c *check) circle(copied string, steps map[string][]step, done map[string]bool) bool {
	came := map[string]step{}
	for next := []string{copied}; len(next) > 0; next = next[1:] {
		for _, s := range steps[next[0]] {
			if _, known := came[s.to]; known || done[s.to] {
				continue
			}
			came[s.to] = s
			if s.to == copied {
				c.add(Reordered, "", bodyOf(copied), "%s", tell(copied, came))
				return true
			}
			next = append(next, s.to)
		}
	}
	return false
}

// tell goes the circle backwards, and joins what one member saw in one go.
func tell(copied string, came map[string]step) string {
	var parts []string
	s := came[copied]
	for {
		first := came[s.from]
		for first.by == s.by && s.from != copied {
			s.from, first = first.from, came[first.from]
		}
		parts = append(parts, fmt.Sprintf("%q saw %q before %q (event %d)", s.by.member, bodyOf(s.from), bodyOf(s.to), s.at))
		if s.from == copied {
			break
		}
		s = came[s.from]
	}
	slices.Reverse(parts)
	return strings.Join(parts, ", but ")
}

// stretch is a segment, and what is known of the order around it.
type stretch struct {
	*segment
	stays          bool   // to the end
	oldest, newest *entry // acknowledged first, and published last
	spans          []span
}

// span is which part of what another member saw a segment reaches over.
type span struct {
	view        *view
	first, last int
}

// missing looks for messages that stand between those of a segment.
func (c *check) missing(v *view, i int) {
	s := &stretch{segment: v.segments[i], spans: c.spans(v, v.segments[i])}
	s.stays = i == len(v.segments)-1 && v.here && c.now[v.member] == v
	s.oldest, s.newest = c.bounds(v, s.segment)
	for _, e := range c.entries {
		if e.member == v.member || e.acked == 0 && !e.seen {
			continue
		}
		for _, copied := range e.copies() {
			if c.misses(v, s, e, copied) {
				break
			}
		}
	}
}

// misses reports whether a member should have seen a copy, and adds the proof. A
// time says nothing about which of several copies it was.
func (c *check) misses(v *view, s *stretch, e *entry, copied string) bool {
	if _, seen := v.index[copied]; seen {
		return false
	}
	single := !slices.ContainsFunc(e.copies(), func(other string) bool { _, seen := v.index[other]; return seen })
	since := s.since(e, copied, single)
	if since == "" {
		return false
	}
	until := s.until(e, copied, single)
	if until != "" {
		c.add(Missing, v.member, e.body, "%s; %s", since, until)
	}
	return until != ""
}

// since says why a copy comes after the beginning of the stretch; "" if it need
// not.
func (s *stretch) since(e *entry, copied string, byTime bool) string {
	switch {
	case byTime && e.first > s.start:
		return fmt.Sprintf("it was published (event %d) when the member was there (event %d)", e.first, s.start)
	case byTime && s.oldest != nil && s.oldest.acked < e.first:
		return fmt.Sprintf("it was published (event %d) after %q was acknowledged (event %d), which the member saw", e.first, s.oldest.body, s.oldest.acked)
	}
	for _, other := range s.spans {
		if at, seen := other.view.index[copied]; seen && other.first < at {
			return fmt.Sprintf("%q saw it after %q, which the member saw", other.view.member, other.view.sights[other.first].body)
		}
	}
	return ""
}

// until says why it comes before the end.
func (s *stretch) until(e *entry, copied string, byTime bool) string {
	switch {
	case s.stays:
		return "the member is still there"
	case byTime && s.newest != nil && e.acked > 0 && e.acked < s.newest.first:
		return fmt.Sprintf("it was acknowledged (event %d) before %q was published (event %d), which the member saw", e.acked, s.newest.body, s.newest.first)
	}
	for _, other := range s.spans {
		if at, seen := other.view.index[copied]; seen && at < other.last {
			return fmt.Sprintf("%q saw it before %q, which the member saw", other.view.member, other.view.sights[other.last].body)
		}
	}
	return ""
}

// bounds returns what was acknowledged first and what was published last of a
// segment.
func (c *check) bounds(v *view, seg *segment) (oldest, newest *entry) {
	for _, s := range v.sights[seg.from:seg.to] {
		e := c.bodies[s.body]
		if e.acked > 0 && (oldest == nil || e.acked < oldest.acked) {
			oldest = e
		}
		if newest == nil || e.first > newest.first {
			newest = e
		}
	}
	return oldest, newest
}

func (c *check) spans(v *view, seg *segment) (spans []span) {
	for _, other := range c.views {
		s := span{other, -1, -1}
		for _, sight := range v.sights[seg.from:seg.to] {
			at, seen := other.index[c.copy(sight)]
			if !seen || other == v {
				continue
			}
			if s.first < 0 || at < s.first {
				s.first = at
			}
			s.last = max(s.last, at)
		}
		if s.first >= 0 {
			spans = append(spans, s)
		}
	}
	return spans
}
