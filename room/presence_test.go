package room_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// returning is a member with a session.
type returning struct {
	*member
	session byte
}

func (r returning) Session() room.Session          { return room.Session{r.session} }
func (r returning) Published(_, _, _ string) error { return nil }

func showing(p room.Presence) (*room.Manager, *room.Room) {
	m := room.NewManager(&room.Options{Presence: &p})
	return m, m.Get("r")
}

func update(t *testing.T, r *room.Room, m room.Member, state any) {
	t.Helper()
	if err := r.Update(t.Context(), m, state); err != nil {
		t.Fatal(err)
	}
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// in runs a test in a bubble.
func in(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func TestUpdate(t *testing.T) {
	_, r := showing(room.Presence{})
	a, b := &member{id: "a", user: "ada"}, &member{id: "b"}
	join(t, r, a, "x")
	join(t, r, b, message.Raw{Data: []byte(`{"k":1}`)}, room.Ack("1"))
	want(t, a, `joined {"k":1}`)
	want(t, b, `ack {"members":2,"presence":[{"from":"a","user":"ada","content":"x"},{"from":"b","content":{"k":1}}]}`)
	update(t, r, a, "y")
	update(t, r, a, "y")
	for _, m := range []*member{a, b} { // the one that it is about, too
		want(t, m, `presence {"members":2,"updated":[{"from":"a","user":"ada","content":"y"}]}`)
	}
	if got := maps.Collect(r.Members()); got["a"] != "y" {
		t.Errorf("%v", got)
	}
	many := map[string]int{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}
	update(t, r, b, many)
	a.take()
	for range 10 { // in another order each time
		update(t, r, b, many)
	}
	want(t, a)
	var refused *message.Error
	if err := r.Update(t.Context(), &member{id: "c"}, 1); !errors.As(err, &refused) || refused.Code != message.NotMember {
		t.Errorf("of a stranger: %v", err)
	}
	r.Leave(a)
	r.Leave(b)
	if err := r.Update(t.Context(), a, 1); !errors.As(err, &refused) || refused.Code != message.NotMember {
		t.Errorf("in an empty room: %v", err)
	}
}

// TestUpdateWithoutPresence keeps the state, and tells nobody.
func TestUpdateWithoutPresence(t *testing.T) {
	r := room.NewManager(nil).Get("r")
	a, b := &member{id: "a"}, &member{id: "b"}
	join(t, r, a, nil)
	join(t, r, b, 1)
	update(t, r, a, 2)
	update(t, r, b, func() {}) // it is not encoded
	want(t, b)
	if got := maps.Collect(r.Members()); got["a"] != 2 {
		t.Errorf("%v", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Update(ended, a, 3); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestStatesThatAreRefused(t *testing.T) {
	m, r := showing(room.Presence{})
	a := &member{id: "a"}
	join(t, m.Get("other"), a, message.Raw{})
	join(t, m.Get("largest"), a, strings.Repeat("x", 4094))
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	join(t, m.Get("deepest"), a, message.Raw{Data: []byte(deep)}, room.Ack("1"))
	for name, state := range map[string]any{
		"large":    strings.Repeat("x", 4095),
		"no JSON":  message.Raw{Data: []byte(`{`)},
		"binary":   message.Raw{Data: []byte(`{}`), Binary: true},
		"too deep": message.Raw{Data: []byte("[" + deep + "]")},
	} {
		for _, err := range []error{
			r.Join(t.Context(), a, state),
			m.Get("other").Update(t.Context(), a, state),
		} {
			var e *message.Error
			if !errors.As(err, &e) || e.Code != message.Invalid || e.Field != "content" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if err := r.Join(t.Context(), &member{id: "\xff"}, nil); err == nil {
		t.Error("an ID that is not UTF-8")
	}
	if m.Len() != 3 {
		t.Errorf("%d rooms", m.Len())
	}
}

func TestGrace(t *testing.T) {
	in(t, func(t *testing.T) {
		m, r := showing(room.Presence{Grace: time.Second})
		a, w := returning{&member{id: "a", user: "ada"}, 1}, &member{id: "w"}
		join(t, r, w, nil)
		join(t, r, a, "x")
		want(t, w, `joined "x"`)
		if !r.Drop(a) || r.Drop(a) || r.Has("a") || r.Len() != 1 {
			t.Error("it is dropped once")
		}
		pass(900 * time.Millisecond)
		want(t, w)

		a2 := returning{&member{id: "a2", user: "ada"}, 1}
		join(t, r, a2, "x", room.Ack("1"))
		want(t, w, `presence {"members":2,"updated":[{"from":"a2","was":"a","user":"ada","content":"x"}]}`)
		want(t, a2.member, `ack {"members":2,"presence":[{"from":"w","content":null},{"from":"a2","user":"ada","content":"x"}]}`)
		pass(time.Minute)
		want(t, w)

		r.Drop(a2)
		join(t, r, a2, "x") // under the same ID: nothing has changed
		want(t, w)
		r.Drop(a2)
		join(t, r, a2, "y")
		want(t, w, `presence {"members":2,"updated":[{"from":"a2","user":"ada","content":"y"}]}`)
		r.Drop(a2)
		join(t, r, returning{&member{id: "b", user: "ben"}, 1}, nil) // the session, but not the user
		want(t, w, "joined null")
		pass(time.Second)
		want(t, w, `left "y"`)

		r.Drop(returning{&member{id: "b"}, 1})
		if !r.Leave(&member{id: "b"}) || r.Leave(&member{id: "b"}) {
			t.Error("it leaves once")
		}
		want(t, w, "left null")
		pass(time.Minute)
		want(t, w)

		join(t, m.Get("other"), w, nil)
		m.Get("other").Drop(w)
		m.Get("other").Leave(w)
		r.Drop(w)
		if m.Len() != 1 || r.Len() != 0 {
			t.Errorf("%d rooms, %d members", m.Len(), r.Len())
		}
		pass(time.Second)
		if m.Len() != 0 {
			t.Errorf("%d rooms", m.Len())
		}
	})
}

// TestGraceBytes: where too many are in grace, those that were dropped first leave,
// whatever their rooms are; who is back makes place for others.
func TestGraceBytes(t *testing.T) {
	in(t, func(t *testing.T) {
		vacated := ""
		m := room.NewManager(&room.Options{
			Presence: &room.Presence{Grace: time.Hour, GraceBytes: 20 << 10},
			Vacated:  func(name string) { vacated += name },
		})
		w := &member{id: "w"}
		join(t, m.Get("x"), w, nil)
		state := strings.Repeat("s", 4000)
		away := func(name, id string) {
			t.Helper()
			join(t, m.Get(name), quiet(id), state)
			if !m.Get(name).Drop(quiet(id)) || m.Get(name).Has(id) {
				t.Errorf("%s is not dropped", id)
			}
		}
		for range 10 {
			away("x", "a") // the same one, over and over
		}
		away("y", "b")
		pass(time.Minute)
		if got := w.take(); len(got) != 1 || !strings.HasPrefix(got[0], "joined") || vacated != "" {
			t.Errorf("%.20q, vacated %q", got, vacated)
		}
		away("z", "c") // more than there is place for
		want(t, w, `left "`+state+`"`)
		if vacated != "" || m.Len() != 3 {
			t.Errorf("vacated %q, %d rooms", vacated, m.Len())
		}
		away("v", "d")
		if vacated != "y" || m.Len() != 3 {
			t.Errorf("vacated %q, %d rooms", vacated, m.Len())
		}
		m.Get("z").Leave(quiet("c"))
		away("x", "e")
		if vacated != "yz" || m.Len() != 2 {
			t.Errorf("vacated %q, %d rooms", vacated, m.Len())
		}
		pass(2 * time.Hour)
		for _, id := range []string{"f", "g", "h"} { // all places are free again
			away("x", id)
		}
		if w.take(); m.Len() != 1 || vacated != "yzv" {
			t.Errorf("vacated %q, %d rooms", vacated, m.Len())
		}
		join(t, m.Get("x"), w, nil, room.Ack("1"))
		if got := w.take(); len(got) != 1 || strings.Count(got[0], `"from"`) != 4 {
			t.Errorf("%.200q", got)
		}
		m.Get("x").Leave(w)
		m.Close()
	})
}

// TestGraceBytesInAStorm: whoever comes back and whoever makes way at the same time,
// nobody stays, and no place is lost.
func TestGraceBytesInAStorm(t *testing.T) {
	in(t, func(t *testing.T) {
		var vacated atomic.Int64
		m := room.NewManager(&room.Options{
			Presence: &room.Presence{Grace: time.Minute, GraceBytes: 20 << 10},
			Vacated:  func(string) { vacated.Add(1) },
		})
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := range 500 {
					c := returning{&member{id: fmt.Sprint(g, i%3)}, byte(i % 3)}
					r := m.Get(fmt.Sprint(i % 10))
					if err := r.Join(t.Context(), c, i); err != nil {
						t.Error(err)
					}
					if r.Drop(c); i%7 == 0 {
						r.Leave(c)
					}
				}
			})
		}
		all.Wait()
		if pass(time.Hour); m.Len() != 0 {
			t.Errorf("%d rooms", m.Len())
		}
		before := vacated.Load()
		for i := range 5 {
			join(t, m.Get(fmt.Sprint(i)), quiet("a"), nil)
			m.Get(fmt.Sprint(i)).Drop(quiet("a"))
		}
		if n := vacated.Load() - before; m.Len() != 5 || n != 0 {
			t.Errorf("%d rooms, %d vacated", m.Len(), n)
		}
		m.Close()
	})
}

// TestGraceMemory: what clients leave behind does not grow with their number, and
// where it is never told their states are not kept at all.
func TestGraceMemory(t *testing.T) {
	const most = 512 << 10
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	for _, p := range []room.Presence{
		{Grace: time.Hour, GraceBytes: most},
		{Grace: time.Hour, GraceBytes: most, Count: true},
	} {
		in(t, func(t *testing.T) {
			m := room.NewManager(&room.Options{Presence: &p})
			before := heap()
			for i := range 2500 {
				r, c := m.Get(fmt.Sprint(i%20)), returning{&member{id: fmt.Sprint(i)}, byte(i)}
				state := message.Raw{Data: []byte(strconv.Quote(strings.Repeat("s", 4000)))}
				join(t, r, c, state)
				r.Drop(c)
			}
			pass(2 * time.Second) // all is told
			if grown := heap() - before; grown > p.Bound() {
				t.Errorf("%+v: %d bytes, at most %d", p, grown, p.Bound())
			}
			n := 0
			for r := range m.All() {
				w := &member{id: "w"}
				join(t, r, w, nil, room.Ack("1"))
				var members int
				if _, err := fmt.Sscanf(w.take()[0], `ack {"members":%d`, &members); err != nil {
					t.Fatal(err)
				}
				n += members - 1
				r.Leave(w)
			}
			if few, many := n > 80 && n < 110, n > 350 && n < 500; p.Count && !many || !p.Count && !few {
				t.Errorf("%+v: %d are in grace", p, n)
			}
			m.Close()
		})
	}
	if b := (&room.Presence{GraceBytes: 1}).Bound(); b != 0 {
		t.Errorf("%d bytes without grace", b)
	}
}

// TestSomebodyElseUnderAnID that is in grace.
func TestSomebodyElseUnderAnID(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Grace: time.Second})
		w := &member{id: "w"}
		join(t, r, w, nil)
		join(t, r, &member{id: "a", user: "ada"}, nil)
		r.Drop(&member{id: "a"})
		join(t, r, &member{id: "a", user: "eve"}, 1)
		pass(2 * time.Second)
		want(t, w, "joined null", "left null", "joined 1")
	})
}

func TestByUser(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{ByUser: true, Grace: time.Second})
		w, a1, a2 := &member{id: "w"}, &member{id: "a1", user: "ada"}, &member{id: "a2", user: "ada"}
		join(t, r, w, nil)
		join(t, r, a1, 1)
		join(t, r, a2, 1, room.Ack("1"))
		want(t, w, "joined 1")
		want(t, a1)
		want(t, a2, `ack {"members":2,"presence":[{"from":"w","content":null},{"from":"a1","user":"ada","content":1}]}`)
		if r.Len() != 3 || len(maps.Collect(r.Members())) != 3 {
			t.Errorf("%d members", r.Len())
		}
		r.Leave(a1)
		update(t, r, a2, 2)
		want(t, w, `presence {"members":2,"updated":[{"from":"a1","user":"ada","content":2}]}`)
		r.Drop(a2)
		a3 := &member{id: "a3", user: "ada"}
		join(t, r, a3, 2)
		want(t, w, `presence {"members":2,"updated":[{"from":"a3","was":"a1","user":"ada","content":2}]}`)
		r.Leave(a3)
		want(t, w, "left 2")
		join(t, r, &member{id: "x"}, nil)
		join(t, r, &member{id: "y"}, nil)
		want(t, w, "joined null", "joined null") // nobody's stay single
	})
}

// TestByUserInGrace: a user is there as long as a member is that was dropped and may be
// back, whatever the others do; not longer, and not for one that is here again.
func TestByUserInGrace(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{ByUser: true, Grace: 10 * time.Second})
		tab := func(id string, session byte) returning { return returning{&member{id: id, user: "ada"}, session} }
		w, a, b := &member{id: "w"}, tab("a", 1), tab("b", 2)
		join(t, r, w, nil)
		come := func(m returning) { t.Helper(); join(t, r, m, 1) }
		come(a)
		come(b)
		want(t, w, "joined 1")

		r.Drop(a)
		pass(4 * time.Second)
		r.Leave(b)
		pass(5 * time.Second)
		want(t, w)
		a = tab("a2", 1)
		come(a) // in time
		want(t, w, `presence {"members":2,"updated":[{"from":"a2","was":"a","user":"ada","content":1}]}`)
		r.Leave(a)
		want(t, w, "left 1")

		come(a)
		come(b)
		want(t, w, "joined 1")
		r.Drop(a)
		pass(4 * time.Second)
		r.Leave(b)
		pass(6*time.Second - 1)
		want(t, w)
		pass(1) // not in time
		want(t, w, "left 1")

		come(a)
		come(tab("a3", 1)) // back before it is known to be gone
		r.Drop(a)
		pass(time.Second)
		want(t, w, "joined 1")
		r.Leave(tab("a3", 1))
		want(t, w, "left 1")

		come(a)
		come(b)
		r.Drop(a)
		r.Drop(b)
		pass(time.Second)
		come(b)
		r.Leave(b)
		other := returning{&member{id: "x", user: "ben"}, 9}
		join(t, r, other, 2)
		pass(4 * time.Second)
		r.Drop(other)
		w.take()
		pass(5 * time.Second) // of a's grace, which began first, ends first
		want(t, w, "left 1")
		pass(5 * time.Second)
		want(t, w, "left 2")

		for _, first := range []returning{a, b} { // whoever is not to be expected any more
			come(a)
			come(b)
			r.Drop(a)
			pass(time.Second)
			r.Drop(b)
			want(t, w, "joined 1")
			if !r.Leave(first) || r.Leave(first) {
				t.Error("it leaves once")
			}
			want(t, w)
			r.Leave(map[bool]returning{true: b, false: a}[first == a])
			want(t, w, "left 1")
		}
		come(a)
		come(b)
		r.Drop(a)
		r.Leave(a) // while b is here
		r.Leave(b)
		want(t, w, "joined 1", "left 1")
		r.Leave(w)
	})
}

func TestCount(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Count: true})
		w, x := &member{id: "w"}, &member{id: "x"}
		join(t, r, w, "secret", room.Ack("1"))
		pass(time.Second)
		want(t, w, `ack {"members":1}`)
		join(t, r, quiet("a"), nil)
		want(t, w, `presence {"members":2}`) // at once
		join(t, r, quiet("b"), nil)
		join(t, r, quiet("c"), nil)
		pass(900 * time.Millisecond)
		want(t, w)
		pass(100 * time.Millisecond)
		want(t, w, `presence {"members":4}`)
		r.Leave(quiet("a"))
		join(t, r, quiet("a"), nil)
		update(t, r, quiet("a"), 7)
		pass(time.Minute)
		want(t, w) // the same number
		join(t, r, quiet("d"), nil)
		want(t, w, `presence {"members":5}`)
		join(t, r, x, nil, room.Ack("1"))
		r.Leave(quiet("d"))
		pass(time.Second)
		want(t, x, `ack {"members":6}`, `presence {"members":5}`)
	})
}

// TestBatches: what is more than 20 changes in a second is told in one message.
func TestBatches(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Grace: 10 * time.Second})
		w := &member{id: "w"}
		join(t, r, w, nil) // the first change
		for i := range 19 {
			join(t, r, returning{&member{id: fmt.Sprint("m", i)}, byte(10 + i)}, i)
		}
		if got := w.take(); len(got) != 19 || !strings.HasPrefix(got[18], "joined") {
			t.Fatalf("%q", got)
		}
		a, b := returning{&member{id: "a", user: "ada"}, 1}, &member{id: "b"}
		join(t, r, a, "x", room.Ack("1"))
		join(t, r, quiet("passing"), nil)
		r.Leave(quiet("passing"))
		r.Leave(quiet("m0"))
		r.Leave(quiet("m1"))
		join(t, r, &member{id: "m1"}, 1) // as before
		r.Drop(quiet("m2"))
		join(t, r, returning{&member{id: "n2"}, 12}, 2)
		update(t, r, quiet("m3"), "new")
		update(t, r, quiet("m4"), "new")
		update(t, r, quiet("m4"), 4)
		join(t, r, b, nil, room.Ack("1"))
		want(t, w)
		a.take()
		b.take()
		pass(time.Second)
		want(t, w, `presence {"members":21,`+
			`"joined":[{"from":"a","user":"ada","content":"x"},{"from":"b","content":null}],`+
			`"left":[{"from":"m0"}],`+
			`"updated":[{"from":"n2","was":"m2","content":2},{"from":"m3","content":"new"}]}`)
		if got := a.take(); len(got) != 1 || !strings.HasPrefix(got[0], `presence {"members":21,"presence":[{"from":"w"`) {
			t.Errorf("who has come meanwhile gets the list: %q", got)
		}
		want(t, b) // it has seen all
		pass(time.Minute)
		want(t, w)
		r.Leave(quiet("m5"))
		for _, m := range []*member{w, a.member, b} {
			want(t, m, "left 5")
		}
		for i := range 20 {
			update(t, r, quiet("m6"), i)
		}
		for _, m := range []*member{w, a.member, b} {
			m.take()
		}
		pass(time.Second)
		for _, m := range []*member{w, a.member, b} {
			want(t, m, `presence {"members":20,"updated":[{"from":"m6","content":19}]}`)
		}
	})
}

// TestBatchOfNothing: a state that is again what it was told to be is not told, and
// nobody takes what is left of that for a room that is not listed any more.
func TestBatchOfNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{})
		w := &member{id: "w"}
		join(t, r, w, 0)
		for i := range 30 {
			update(t, r, w, i%2)
		}
		if got := w.take(); len(got) != 19 || got[18] != `presence {"members":1,"updated":[{"from":"w","content":1}]}` {
			t.Errorf("%q", got)
		}
		pass(time.Minute)
		want(t, w)
		r.Leave(w)
	})
}

// TestBatchesAreRare: one a second, however much happens.
func TestBatchesAreRare(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{})
		w, x := &member{id: "w"}, &member{id: "x"}
		join(t, r, w, nil)
		for i := range 1000 { // for ten seconds
			if i == 450 {
				join(t, r, x, nil)
			}
			join(t, r, quiet(fmt.Sprint(i)), nil)
			r.Leave(quiet(fmt.Sprint(i - 100)))
			pass(10 * time.Millisecond)
		}
		if got := w.take(); len(got) > 19+10 {
			t.Errorf("%d messages", len(got))
		}
		if got := x.take(); len(got) < 5 || strings.Count(strings.Join(got, ""), `"presence"`) != 1 {
			t.Errorf("who came in between got %d messages", len(got))
		}
	})
}

// TestMassDisconnect costs those who stay a handful of messages.
func TestMassDisconnect(t *testing.T) {
	for _, tt := range []struct{ members, gone, most int }{{4000, 2000, 3}, {4000, 3600, 3}, {900, 600, 22}} {
		for _, grace := range []time.Duration{0, time.Second} {
			in(t, func(t *testing.T) {
				_, r := showing(room.Presence{Grace: grace})
				all := make([]*counter, tt.members)
				for i := range all {
					all[i] = &counter{id: fmt.Sprint(i)}
					join(t, r, all[i], nil)
				}
				pass(10 * time.Second)
				for _, c := range all {
					c.frames = 0
				}
				for _, c := range all[:tt.gone] {
					r.Drop(c)
				}
				pass(10 * time.Second)
				for i, c := range all {
					if c.frames > tt.most || i >= tt.gone && c.frames == 0 {
						t.Fatalf("%+v, grace %v: member %d got %d messages", tt, grace, i, c.frames)
					}
				}
			})
		}
	}
}

type counter struct {
	id     string
	frames int
	last   *message.Frame
}

func (c *counter) ID() string { return c.id }

func (c *counter) Deliver(f *message.Frame) error {
	c.frames++
	c.last = f
	return nil
}

// TestTooManyForAList: above 1,000 members a room only counts, until there are
// 500 again.
func TestTooManyForAList(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{})
		w := &member{id: "w"}
		join(t, r, w, nil)
		for i := range 999 {
			join(t, r, quiet(fmt.Sprint(i)), nil)
		}
		w.take() // most is not told yet
		a := &member{id: "a"}
		join(t, r, a, nil, room.Ack("1"))
		want(t, a, `ack {"members":1001}`)
		want(t, w, `presence {"members":1001}`)
		for i := range 500 {
			r.Leave(quiet(fmt.Sprint(i)))
		}
		pass(time.Second)
		want(t, w, `presence {"members":501}`)
		pass(time.Minute)
		for i := range 20 { // what comes next is gathered
			update(t, r, quiet("500"), i)
		}
		want(t, w)
		r.Leave(quiet("500"))
		for _, m := range []*member{w, a} {
			if got := m.take(); !strings.HasPrefix(got[len(got)-1], `presence {"members":500,"presence":[`) {
				t.Errorf("%s got %.80q", m.id, got)
			}
		}
		for i := range 20 {
			r.Leave(quiet(fmt.Sprint(501 + i)))
		}
		pass(time.Second)
		for _, m := range []*member{w, a} {
			if got := m.take(); len(got) != 1 || !strings.HasPrefix(got[0], `presence {"members":480,"left":[{"from":"501"},`) {
				t.Errorf("%s got %q", m.id, got)
			}
		}
	})
}

// TestTooLargeForAList: the answer to a join is never larger than what a
// connection takes.
func TestTooLargeForAList(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{})
		w := &member{id: "w"}
		join(t, r, w, nil)
		state := strings.Repeat("x", 4000)
		largest := 0
		for i := range 600 {
			c := &counter{id: fmt.Sprint(i)}
			join(t, r, c, state, room.Ack("1"))
			largest = max(largest, len(c.last.Payload()))
			pass(100 * time.Millisecond)
		}
		if largest > 257<<10 || largest < 255<<10 {
			t.Errorf("an answer of %d bytes", largest)
		}
		got := w.take()
		if len(got) != 600 || !strings.HasPrefix(got[599], "joined") {
			t.Errorf("%d messages", len(got))
		}
		for i := range 600 {
			update(t, r, quiet(fmt.Sprint(i)), state[1:])
		}
		w.take()
		pass(time.Second)
		want(t, w, `presence {"members":601}`) // too much even for a batch
		for i := range 600 {
			r.Leave(quiet(fmt.Sprint(i)))
		}
		w.take()
		join(t, r, w, nil, room.Ack("1"))
		want(t, w, `ack {"members":1,"presence":[{"from":"w","content":null}]}`)
	})
}

// TestHooks are called once for each time that somebody is there.
func TestHooks(t *testing.T) {
	in(t, func(t *testing.T) {
		var calls []string
		var m *room.Manager
		once := true
		m = room.NewManager(&room.Options{
			Presence: &room.Presence{Grace: time.Second},
			Occupied: func(name string) { calls = append(calls, fmt.Sprint("occupied ", name, m.Get(name).Len())) },
			Vacated: func(name string) {
				calls = append(calls, "vacated "+name)
				if name == "again" && once { // a hook may use the room
					once = false
					_ = m.Get(name).Join(context.Background(), quiet("b"), nil)
					m.Get(name).Leave(quiet("b"))
					_ = m.Get(name).Join(context.Background(), quiet("c"), nil)
				}
			},
		})
		check := func(all ...string) {
			t.Helper()
			if synctest.Wait(); !slices.Equal(calls, all) {
				t.Errorf("%q, want %q", calls, all)
			}
			calls = nil
		}
		join(t, m.Get("r"), quiet("a"), nil)
		join(t, m.Get("r"), quiet("b"), nil)
		m.Get("r").Leave(quiet("a"))
		check("occupied r1")
		m.Get("r").Drop(quiet("b"))
		join(t, m.Get("r"), quiet("c"), nil)
		check()
		m.Get("r").Drop(quiet("c"))
		pass(time.Second)
		check("vacated r")
		join(t, m.Get("again"), quiet("a"), nil)
		m.Get("again").Leave(quiet("a"))
		check("occupied again1", "vacated again", "occupied again1")
		m.Get("again").Leave(quiet("c"))
		check("vacated again")
	})
}

// TestHooksAlternate for each room, whoever comes, goes and drops meanwhile, and
// never two at a time.
func TestHooksAlternate(t *testing.T) {
	var state [4]atomic.Int64 // 0 vacated, 1 occupied, 2 in a hook
	hook := func(from, to int64) func(string) {
		return func(name string) {
			n, _ := strconv.Atoi(name)
			if !state[n].CompareAndSwap(from, 2) {
				t.Errorf("room %s: from %d to %d", name, from, to)
			}
			runtime.Gosched()
			state[n].Store(to)
		}
	}
	m := room.NewManager(&room.Options{
		Presence: &room.Presence{Grace: 50 * time.Microsecond}, Occupied: hook(0, 1), Vacated: hook(1, 0),
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(g)))
			me := quiet(fmt.Sprint(g))
			for range 2000 {
				switch r := m.Get(fmt.Sprint(rnd.IntN(len(state)))); rnd.IntN(4) {
				case 0:
					r.Leave(me)
				case 1:
					r.Drop(me)
				case 2:
					_ = r.Update(context.Background(), me, rnd.IntN(3))
				default:
					_ = r.Join(context.Background(), me, nil)
				}
			}
			for n := range state {
				m.Get(fmt.Sprint(n)).Drop(me)
			}
		})
	}
	wg.Wait()
	m.Close()
	for n := range state {
		if state[n].Load() != 0 || m.Len() != 0 {
			t.Errorf("room %d is %d, %d rooms are left", n, state[n].Load(), m.Len())
		}
	}
}

// TestHookThatPanics does not stop the next ones, nor those of other rooms.
func TestHookThatPanics(t *testing.T) {
	var calls []string
	m := room.NewManager(&room.Options{
		Occupied: func(string) { panic("oh") },
		Vacated:  func(name string) { calls = append(calls, name) },
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is the caller's")
			}
		}()
		_ = m.Get("r").Join(t.Context(), quiet("a"), nil)
	}()
	m.Get("r").Leave(quiet("a"))
	if len(calls) != 1 {
		t.Errorf("%q", calls)
	}
}

// TestClose ends what waits for time to pass.
func TestClose(t *testing.T) {
	in(t, func(t *testing.T) {
		vacated := 0
		m := room.NewManager(&room.Options{Presence: &room.Presence{Grace: time.Hour}, Vacated: func(string) { vacated++ }})
		r := m.Get("r")
		w := &member{id: "w"}
		join(t, r, w, nil)
		for i := range 30 {
			join(t, r, quiet(fmt.Sprint(i)), nil)
			join(t, m.Get("other"), quiet(fmt.Sprint(i)), nil)
		}
		pass(time.Second)
		w.take()
		for i := range 30 {
			r.Drop(quiet(fmt.Sprint(i)))
			m.Get("other").Drop(quiet(fmt.Sprint(i)))
		}
		m.Close()
		if got := w.take(); len(got) != 1 || strings.Count(got[0], `"from"`) != 30 || m.Len() != 1 || vacated != 1 {
			t.Errorf("%q, %d rooms, %d vacated", got, m.Len(), vacated)
		}
		for i := range 30 { // it is still a room
			join(t, r, quiet(fmt.Sprint(i)), nil)
			r.Drop(quiet(fmt.Sprint(i)))
		}
		if got := w.take(); len(got) != 60 {
			t.Errorf("%q", got)
		}
		r.Drop(w)
		if m.Len() != 0 || vacated != 2 {
			t.Errorf("%d rooms, %d vacated", m.Len(), vacated)
		}
	})
	room.NewManager(nil).Close()
}

// TestNoTimerIsLeft when a room has gone: Close would wait for it.
func TestNoTimerIsLeft(t *testing.T) {
	in(t, func(t *testing.T) {
		m, r := showing(room.Presence{Grace: time.Hour})
		for i := range 30 {
			join(t, r, quiet(fmt.Sprint(i)), nil)
		}
		for i := range 30 {
			r.Drop(quiet(fmt.Sprint(i)))
			r.Leave(quiet(fmt.Sprint(i)))
		}
		start := time.Now()
		if m.Close(); m.Len() != 0 || time.Since(start) != 0 {
			t.Errorf("%d rooms, after %v", m.Len(), time.Since(start))
		}
	})
}

// TestCloseWaits for what a timer is doing.
func TestCloseWaits(t *testing.T) {
	in(t, func(t *testing.T) {
		release, closed := make(chan struct{}), make(chan struct{})
		m := room.NewManager(&room.Options{Presence: &room.Presence{Grace: time.Second}, Vacated: func(string) { <-release }})
		join(t, m.Get("r"), quiet("a"), nil)
		m.Get("r").Drop(quiet("a"))
		pass(time.Second)
		go func() {
			m.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("it has not waited")
		default:
		}
		close(release)
		<-closed
	})
}

// TestGraceWithHistory: a room that is only waiting for its members stays their
// room, and they get what they missed.
func TestGraceWithHistory(t *testing.T) {
	in(t, func(t *testing.T) {
		logs := room.NewLogs(memory.NewNetwork(nil).Join())
		m := room.NewManager(&room.Options{
			Delivery: room.Recoverable{}, Logs: logs, Class: "test", Presence: &room.Presence{Grace: time.Second},
		})
		if err := logs.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := logs.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		r, w := m.Get("r"), &member{id: "w"}
		join(t, r, w, nil)
		a := &reader{id: "a", secret: "s"}
		join(t, r, a, nil, room.Ack("join"))
		a.take()
		r.Drop(a)
		r.Drop(w)
		pass(500 * time.Millisecond)
		if err := m.Get("r").Broadcast(t.Context(), message.New("say", "missed")); err != nil {
			t.Fatal(err)
		}
		join(t, m.Get("r"), w, nil)
		w.take()
		b := &reader{id: "b", secret: "s"}
		join(t, r, b, nil, room.Ack("join"), room.Since(a.cursor))
		if err := r.Broadcast(t.Context(), message.New("say", "live")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.take(); !slices.Equal(b.seen, []string{"missed", "live"}) {
			t.Errorf("%q", b.seen)
		}
		want(t, w, `presence {"members":2,"updated":[{"from":"b","was":"a","content":null}]}`, `say "live"`)
		r.Drop(b)
		r.Leave(a) // nobody's any more
		r.Drop(w)
		r.Leave(w)
		if m.Len() != 1 {
			t.Errorf("%d rooms", m.Len())
		}
		pass(time.Second)
		if m.Len() != 0 {
			t.Errorf("%d rooms", m.Len())
		}
		join(t, r, w, nil, room.Ack("1"))
		if got := w.take(); len(got) != 1 || !strings.HasPrefix(got[0], `ack {"members":1,"presence":[{"from":"w","content":null}],"cursor":"`) {
			t.Errorf("%q", got)
		}
		r.Leave(w)
	})
}

// TestBackBeforeItIsGone: a client may be back on another connection before the old
// one is known to be gone. It neither joins again nor leaves later.
func TestBackBeforeItIsGone(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Grace: time.Second})
		w, old := &member{id: "w"}, returning{&member{id: "a"}, 1}
		join(t, r, w, nil)
		join(t, r, old, "x")
		want(t, w, `joined "x"`)
		back := returning{&member{id: "b"}, 1}
		join(t, r, back, "x", room.Ack("1"))
		want(t, w, `presence {"members":2,"updated":[{"from":"b","was":"a","content":"x"}]}`)
		want(t, back.member, `ack {"members":2,"presence":[{"from":"w","content":null},{"from":"b","content":"x"}]}`)
		r.Drop(old)
		pass(time.Minute)
		want(t, w)
		r.Leave(back)
		want(t, w, `left "x"`)
		r.Leave(w)
	})
}

// TestLateOnTheOldConnection: an entry stands for all members of a session. It is
// named after the one that came last of those that are here, whichever goes first.
func TestLateOnTheOldConnection(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Grace: time.Second})
		w := &member{id: "w"}
		join(t, r, w, nil)
		var all []returning
		for i, id := range []string{"b", "a", "c"} { // a is the oldest connection, but its join came late
			all = append(all, returning{&member{id: id}, 1})
			join(t, r, all[i], id)
		}
		want(t, w, `joined "b"`, `presence {"members":2,"updated":[{"from":"a","was":"b","content":"a"}]}`,
			`presence {"members":2,"updated":[{"from":"c","was":"a","content":"c"}]}`)
		b, a, c := all[0], all[1], all[2]
		update(t, r, b, "b2") // it is seen when b is
		update(t, r, c, "c2")
		want(t, w, `presence {"members":2,"updated":[{"from":"c","content":"c2"}]}`)
		r.Drop(a)
		pass(time.Minute)
		want(t, w)
		r.Drop(c)
		want(t, w, `presence {"members":2,"updated":[{"from":"b","was":"c","content":"b2"}]}`)
		update(t, r, b, "b3")
		want(t, w, `presence {"members":2,"updated":[{"from":"b","content":"b3"}]}`)
		pass(time.Minute)
		want(t, w)
		late := &member{id: "late"}
		join(t, r, late, nil, room.Ack("1"))
		want(t, late, `ack {"members":3,"presence":[{"from":"w","content":null},{"from":"b","content":"b3"},{"from":"late","content":null}]}`)
		w.take()
		r.Drop(b)
		pass(500 * time.Millisecond)
		join(t, r, c, "c3")
		want(t, w, `presence {"members":3,"updated":[{"from":"c","was":"b","content":"c3"}]}`)
		r.Leave(c)
		want(t, w, `left "c3"`)
		for _, m := range []*member{w, late} {
			r.Leave(m)
		}
	})
}

// TestRenew: a member whose session is known only after it has joined is then the one
// of that session that was dropped, or that is not known to be gone.
func TestRenew(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Grace: 5 * time.Second})
		w, old := &member{id: "w"}, returning{&member{id: "a"}, 1}
		join(t, r, w, nil)
		join(t, r, old, "x")
		r.Drop(old)
		pass(time.Second)
		back := &returning{&member{id: "b"}, 2}
		join(t, r, back, "y")
		want(t, w, `joined "x"`, `joined "y"`)
		back.take()
		back.session = 1
		r.Renew(back)
		told := `presence {"members":2,"left":[{"from":"b"}],"updated":[{"from":"b","was":"a","content":"y"}]}`
		want(t, w, told)
		want(t, back.member, told)
		pass(time.Minute)
		want(t, w)

		third := &returning{&member{id: "c"}, 3} // and the connection of b is not known to be gone
		join(t, r, third, "z")
		third.session = 1
		r.Renew(third)
		want(t, w, `joined "z"`, `presence {"members":2,"left":[{"from":"c"}],"updated":[{"from":"c","was":"b","content":"z"}]}`)
		third.session = 4 // another one again: b is here
		r.Renew(third)
		want(t, w, `presence {"members":3,"joined":[{"from":"c","content":"z"}],"updated":[{"from":"b","was":"c","content":"y"}]}`)
		r.Drop(back)
		pass(5 * time.Second)
		want(t, w, `left "y"`)
		r.Leave(third)
		want(t, w, `left "z"`)
		r.Leave(w)
	})
}

// TestRenewByUser: which of a user's members is back counts as soon as that is known.
func TestRenewByUser(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{ByUser: true, Grace: 5 * time.Second})
		w, a := &member{id: "w"}, returning{&member{id: "a", user: "ada"}, 1}
		join(t, r, w, nil)
		join(t, r, a, 1)
		r.Drop(a)
		pass(time.Second)
		back := &returning{&member{id: "b", user: "ada"}, 2}
		join(t, r, back, 1)
		want(t, w, "joined 1", `presence {"members":2,"updated":[{"from":"b","was":"a","user":"ada","content":1}]}`)
		back.session = 1
		r.Renew(back)
		r.Leave(back) // and a is not expected any more
		want(t, w, "left 1")

		join(t, r, back, 1)
		back.session = 3
		r.Renew(back)
		r.Drop(back)
		pass(time.Second)
		other := &returning{&member{id: "c", user: "ada"}, 3}
		join(t, r, other, 1)
		w.take()
		r.Leave(other)
		want(t, w, "left 1")
		r.Leave(w)
	})
}

// TestRenewInAStorm: where much changes at once, that is told with the rest.
func TestRenewInAStorm(t *testing.T) {
	in(t, func(t *testing.T) {
		_, r := showing(room.Presence{Grace: 5 * time.Second})
		w := &member{id: "w"}
		join(t, r, w, nil)
		var all [30]*returning
		for i := range all {
			all[i] = &returning{&member{id: fmt.Sprint("a", i)}, byte(i + 1)}
			join(t, r, all[i], i)
		}
		pass(2 * time.Second)
		for _, m := range all {
			r.Drop(m)
		}
		pass(2 * time.Second)
		w.take()
		for i := range all {
			back := &returning{&member{id: fmt.Sprint("b", i)}, 100}
			join(t, r, back, i)
			back.session = byte(i + 1)
			r.Renew(back)
			all[i] = back
		}
		pass(2 * time.Second)
		if got := w.take(); len(got) > 21 {
			t.Errorf("%d messages", len(got))
		}
		pass(time.Minute)
		want(t, w)
		join(t, r, w, nil, room.Ack("1"))
		if got := w.take(); len(got) != 1 || !strings.HasPrefix(got[0], `ack {"members":31,`) {
			t.Errorf("%.100q", got)
		}
		for _, m := range all {
			r.Leave(m)
		}
		r.Leave(w)
	})
}
