package queue_test

import (
	"bytes"
	"testing"

	"github.com/hubbub-go/hubbub/internal/queue"
	"github.com/hubbub-go/hubbub/message"
	"pgregory.net/rapid"
)

// model is the queue as its documentation has it, without any cleverness.
type model struct {
	items []entry
	lost  int
}

type entry struct {
	item   queue.Item
	room   string
	policy message.Policy
	own    bool // of the connection: no policy touches it
}

func (m *model) size() (n int) {
	for _, e := range m.items {
		n += len(e.item.Bytes)
	}
	return n
}

// remove takes out the i-th item as lost.
func (m *model) remove(i int) {
	m.items = append(m.items[:i:i], m.items[i+1:]...)
	m.lost++
}

// pending is the place of the first item that the policy of e could touch, or -1.
func (m *model) pending(e entry) int {
	for i, p := range m.items {
		if !e.own && !p.own && p.policy == e.policy && p.room == e.room {
			return i
		}
	}
	return -1
}

func (m *model) push(e entry, hard int, busy bool) queue.Verdict {
	n := len(e.item.Bytes)
	crowded := len(m.items) > 0 && m.size()+n > hard/2
	i := m.pending(e)
	switch {
	case e.own:
	case e.policy == message.Volatile && (busy || crowded):
		m.lost++
		return queue.Dropped
	case e.policy == message.LatestOnly && i >= 0:
		if m.size()-len(m.items[i].item.Bytes)+n > hard {
			return queue.Overflow
		}
		m.items[i] = e
		m.lost++
		return queue.Queued
	case e.policy == message.DropOldest && crowded:
		for need := m.size() + n - hard/4; need > 0 && i >= 0; i = m.pending(e) {
			need -= len(m.items[i].item.Bytes)
			m.remove(i)
		}
	}
	if m.size()+n > hard {
		return queue.Overflow
	}
	m.items = append(m.items, e)
	return queue.Queued
}

// take is what fits into most bytes, but one item at least.
func (m *model) take(most int) (out []byte) {
	for len(m.items) > 0 && (out == nil || len(out)+len(m.items[0].item.Bytes) <= most) {
		out = append(out, m.items[0].item.Bytes...)
		m.items = m.items[1:]
	}
	return out
}

// Whatever is done to a queue, it is what the model is: the same items in the
// same order, the same size, which never passes the limit, and the same losses.
func TestModel(t *testing.T) {
	policies := []message.Policy{message.Disconnect, message.DropOldest, message.LatestOnly, message.Volatile}
	rapid.Check(t, func(t *rapid.T) {
		var q queue.Queue
		var m model
		hard := rapid.IntRange(20, 200).Draw(t, "hard")
		most := rapid.IntRange(1, 60).Draw(t, "most")
		buf := make([]byte, 0, most)
		serial := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				serial++
				e := entry{
					item:   queue.Item{Bytes: bytes.Repeat([]byte{serial}, rapid.IntRange(1, 60).Draw(t, "size"))},
					room:   rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "room"),
					policy: rapid.SampledFrom(policies).Draw(t, "policy"),
					own:    rapid.IntRange(0, 9).Draw(t, "own") == 0,
				}
				if !e.own {
					e.item.Frame = frame(t, e.room, e.policy)
				}
				busy := rapid.Bool().Draw(t, "busy")
				want := m.push(e, hard, busy)
				if got := q.Push(e.item, hard, busy); got != want {
					t.Fatalf("Push says %v, want %v", got, want)
				}
			},
			"pop": func(t *rapid.T) {
				got, ok := q.Pop()
				if ok != (len(m.items) > 0) {
					t.Fatalf("Pop says %v", ok)
				}
				if ok {
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
			"trim":  func(*rapid.T) { q.Trim() },
			"clear": func(*rapid.T) { q.Clear(); m.items = nil },
			"": func(t *rapid.T) {
				if q.Size() != m.size() || q.Empty() != (len(m.items) == 0) || q.Lost() != m.lost {
					t.Fatalf("%d bytes, empty %v, %d lost; want %d bytes, %d items, %d lost",
						q.Size(), q.Empty(), q.Lost(), m.size(), len(m.items), m.lost)
				}
				if q.Size() > hard {
					t.Fatalf("%d bytes are pending, over %d", q.Size(), hard)
				}
			},
		})
	})
}
