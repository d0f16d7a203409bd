package queue_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/hubbub-go/hubbub/internal/queue"
	"github.com/hubbub-go/hubbub/message"
	"pgregory.net/rapid"
)

// model is the queue as its documentation has it, without any cleverness.
type model struct {
	items  []entry
	lost   int
	behind *entry // the last that was to catch up, if it was refused
}

type entry struct {
	item   *message.Encoded
	room   string
	key    string
	policy message.Policy
	own    bool // of the connection: no policy touches it
}

// latest reports whether a newer one may take the place of it.
func (e entry) latest() bool {
	return !e.own && (e.policy == message.LatestOnly || e.policy == message.CatchUpLatest)
}

func (e entry) cost() int { return len(e.item.Bytes) + queue.Overhead }

func (m *model) size() (n int) {
	for _, e := range m.items {
		n += len(e.item.Bytes)
	}
	return n
}

func (m *model) held() int { return m.size() + len(m.items)*queue.Overhead }

// remove takes out the i-th item as lost.
func (m *model) remove(i int) {
	m.items = append(m.items[:i:i], m.items[i+1:]...)
	m.lost++
}

// oldest is the place of the first item that DropOldest could drop for e, or -1.
func (m *model) oldest(e entry) int {
	return slices.IndexFunc(m.items, func(p entry) bool {
		return !p.own && p.policy == message.DropOldest && p.room == e.room
	})
}

// older is the place of the last item that e could replace, or -1.
func (m *model) older(e entry) int {
	for i, p := range slices.Backward(m.items) {
		if e.latest() && p.latest() && p.policy == e.policy && p.room == e.room && p.key == e.key {
			return i
		}
	}
	return -1
}

// fenced reports whether something of another kind came from its room since.
func (m *model) fenced(i int) bool {
	return slices.ContainsFunc(m.items[i:], func(p entry) bool {
		return !p.own && !p.latest() && p.room == m.items[i].room
	})
}

func (m *model) push(e entry, hard int, busy bool) queue.Verdict {
	at := m.older(e)
	if at >= 0 && m.fenced(at) {
		if e.policy == message.LatestOnly {
			m.remove(at)
		}
		at = -1
	}
	next := slices.Clone(m.items) // with e in its place
	if at >= 0 {
		next[at] = e
	} else {
		next = append(next, e)
	}
	crowded := len(next) > 1 && (&model{items: next}).held() > hard/2
	if !e.own && (e.policy == message.CatchUp || e.policy == message.CatchUpLatest) {
		m.behind = nil
		if crowded {
			m.behind = &e
			return queue.Behind
		}
	}
	if !e.own && e.policy == message.Volatile && (busy || crowded) {
		m.lost++
		return queue.Dropped
	}
	if !e.own && e.policy == message.DropOldest && crowded {
		need := m.held() + e.cost() - hard/4
		for i := m.oldest(e); need > 0 && i >= 0; i = m.oldest(e) {
			need -= m.items[i].cost()
			m.remove(i)
		}
		next = append(slices.Clone(m.items), e)
	}
	after := model{items: next}
	if len(next) > 1 && after.held() > hard+after.exempt(hard) {
		return queue.Overflow
	}
	if at >= 0 {
		m.lost++
	}
	m.items = next
	return queue.Queued
}

// exempt is what the first item counts if it is over the limit all alone.
func (m *model) exempt(hard int) int {
	if len(m.items) > 0 && m.items[0].cost() > hard {
		return m.items[0].cost()
	}
	return 0
}

func (m *model) drained(hard int) bool {
	if m.behind != nil && m.held()+m.behind.cost() > hard/2 {
		return len(m.items) == 0
	}
	return len(m.items) == 0 || m.held() < hard/4
}

// take is what fits into most bytes, but one item at least.
func (m *model) take(most int) (out []byte) {
	for len(m.items) > 0 && (out == nil || len(out)+len(m.items[0].item.Bytes) <= most) {
		out = append(out, m.items[0].item.Bytes...)
		m.items = m.items[1:]
	}
	return out
}

// draw makes up an item: of a few keys, and of enough for an index.
func draw(t *rapid.T, serial byte) entry {
	e := entry{
		room:   rapid.SampledFrom([]string{"a", "a", "b", ""}).Draw(t, "room"),
		policy: rapid.SampledFrom([]message.Policy{0, 1, 2, 2, 2, 2, 3, 4, 5, 5, 5}).Draw(t, "policy"),
		own:    rapid.IntRange(0, 9).Draw(t, "own") == 0,
	}
	if rapid.Bool().Draw(t, "keyed") {
		e.key = string(rune('A' + rapid.IntRange(0, 30).Draw(t, "key")))
	}
	size := rapid.SampledFrom([]int{1, 7, 7, 30, 30, 60, 60, 60, 2000}).Draw(t, "size")
	e.item = &message.Encoded{Bytes: bytes.Repeat([]byte{serial}, size)}
	if !e.own {
		e.item.Frame = keyed(t, e.room, e.key, e.policy)
	}
	return e
}

// Whatever is done to a queue, it is what the model is: the same items in the
// same order, the same size, which never passes the limit, and the same losses.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue.Queue
		var m model
		hard := queue.Overhead * rapid.SampledFrom([]int{0, 2, 10, 40, 200}).Draw(t, "hard")
		most := rapid.SampledFrom([]int{1, 60, 300}).Draw(t, "most")
		buf := make([]byte, 0, most)
		serial := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 3, 30}).Draw(t, "burst") {
					serial++
					e := draw(t, serial)
					busy := rapid.Bool().Draw(t, "busy")
					want := m.push(e, hard, busy)
					if got := q.Push(e.item, hard, busy); got != want {
						t.Fatalf("Push says %v, want %v", got, want)
					}
				}
			},
			"pop": func(t *rapid.T) {
				got := q.Pop()
				if (got != nil) != (len(m.items) > 0) {
					t.Fatalf("Pop says %v", got)
				}
				if got != nil {
					if want := m.items[0].item; !bytes.Equal(got.Bytes, want.Bytes) || got.Frame != want.Frame {
						t.Fatalf("Pop gives %v, want %v", got.Bytes, want.Bytes)
					}
					m.items = m.items[1:]
				}
			},
			"take": func(t *rapid.T) {
				if got, want := q.Take(buf, most), m.take(most); !bytes.Equal(got, want) || (got == nil) != (want == nil) {
					t.Fatalf("Take gives %v, want %v", got, want)
				}
			},
			"trim": func(*rapid.T) { q.Trim() },
			"clear": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 { // or it would never get long
					q.Clear()
					m.items, m.behind = nil, nil
				}
			},
			"": func(t *rapid.T) {
				if q.Size() != m.size() || q.Empty() != (len(m.items) == 0) || q.Lost() != m.lost {
					t.Fatalf("%d bytes, empty %v, %d lost; want %d bytes, %d items, %d lost",
						q.Size(), q.Empty(), q.Lost(), m.size(), len(m.items), m.lost)
				}
				if held := q.Held(); held != m.held() || held > hard+m.exempt(hard) && len(m.items) > 1 {
					t.Fatalf("%d is pending, want %d, and at most %d", held, m.held(), hard)
				}
				if q.Drained(hard) != m.drained(hard) {
					t.Fatalf("drained %v at %d of %d", q.Drained(hard), m.held(), hard)
				}
			},
		})
	})
}
