package room_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"pgregory.net/rapid"
)

// line is one entry of a list, as the wire has it.
type line struct {
	From    string
	Was     string
	User    string
	Content json.RawMessage
}

func (l line) String() string { return l.User + " " + string(l.Content) }

// digest is the content of a message of type presence, and of the answer to a join.
type digest struct {
	Members  int
	Presence []line
	Left     []line
	Updated  []line
	Joined   []line
}

// viewer is a member that keeps the list by docs/protocol.md, strictly: whoever
// joins is not on it, whoever leaves or changes is.
type viewer struct {
	id, user string
	session  room.Session

	mu    sync.Mutex
	list  map[string]string // nil: it only counts
	count int
	acked bool
	wrong []string
}

func (v *viewer) ID() string            { return v.id }
func (v *viewer) User() string          { return v.user }
func (v *viewer) Session() room.Session { return v.session }

func (v *viewer) Published(_, _, _ string) error { return nil }

func (v *viewer) complain(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(v.id+": "+format, args...))
}

func (v *viewer) Deliver(f *message.Frame) error {
	e, err := message.Decode(f.Payload(), f.Binary())
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	l := line{From: e.From, User: e.User, Content: e.Content.Data}
	switch e.Type {
	case "ack":
		v.take(e.Content.Data)
		v.acked = true
		return nil
	case "joined":
		v.count++
		v.join(l)
	case "left":
		v.count--
		v.leave(l.From)
	case "presence":
		v.take(e.Content.Data)
	}
	if !v.acked {
		v.complain("%s before the ack", e.Type)
	}
	return nil
}

func (v *viewer) take(content []byte) {
	var n digest
	if err := json.Unmarshal(content, &n); err != nil {
		v.complain("%v", err)
	}
	v.count = n.Members
	switch {
	case n.Presence != nil:
		v.list = map[string]string{}
		for _, l := range n.Presence {
			v.join(l)
		}
	case len(n.Left)+len(n.Updated)+len(n.Joined) == 0:
		v.list = nil
	}
	for _, l := range n.Left {
		v.leave(l.From)
	}
	for _, l := range n.Updated {
		v.leave(l.was())
		v.join(l)
	}
	for _, l := range n.Joined {
		v.join(l)
	}
	if v.list != nil && len(v.list) != v.count {
		v.complain("%d on the list, %d counted, after %s", len(v.list), v.count, content)
	}
}

func (l line) was() string {
	if l.Was != "" {
		return l.Was
	}
	return l.From
}

func (v *viewer) join(l line) {
	if v.list == nil {
		return
	}
	if _, there := v.list[l.From]; there {
		v.complain("%s joins, but is on the list", l.From)
	}
	v.list[l.From] = l.String()
}

func (v *viewer) leave(from string) {
	if v.list == nil {
		return
	}
	if _, there := v.list[from]; !there {
		v.complain("%s leaves, but is not on the list", from)
	}
	delete(v.list, from)
}

// world is a room with those who were ever in it.
type world struct {
	t       *testing.T
	rooms   *room.Manager
	r       *room.Room
	options room.Presence
	next    int
	in      []*viewer
	states  map[string]string // of those who are in, by ID
	dropped []*viewer
	crowd   []*viewer // members that nobody asks what they see
	ends    []time.Time
}

// TestEveryViewIsTheRoom: random joins, drops, leaves, updates and time. Whenever
// it has been quiet for a moment, all that every member was told adds up to the
// list that a newcomer gets.
func TestEveryViewIsTheRoom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		options := room.Presence{
			ByUser: rapid.Bool().Draw(rt, "by user"),
			Grace:  rapid.SampledFrom([]time.Duration{0, 700 * time.Millisecond, 3 * time.Second}).Draw(rt, "grace"),
		}
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 1, 120).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, options: options, rooms: room.NewManager(&room.Options{Presence: &options}), states: map[string]string{}}
			w.r = w.rooms.Get("r")
			for _, step := range steps {
				if w.step(step%13, step/13); t.Failed() {
					t.Fatalf("%+v, steps %v", options, steps)
				}
			}
			w.end()
			if t.Failed() {
				t.Fatalf("%+v, steps %v", options, steps)
			}
		})
	})
}

func (w *world) step(what, n int) {
	switch what {
	case 0, 1:
		w.join(&viewer{user: []string{"", "", "ada", "ben", "cem"}[n%5]}, n)
	case 2: // many at once
		for i := range n % 40 {
			w.join(&viewer{user: []string{"", "ada", "ben"}[i%3]}, i)
		}
	case 3:
		w.leave(n, w.r.Leave)
	case 4:
		w.drop(n)
	case 5: // many at once
		for i := range n % 30 {
			w.drop(n + i)
		}
	case 6: // somebody is back
		if len(w.dropped) > 0 {
			old := w.dropped[n%len(w.dropped)]
			w.join(&viewer{user: old.user, session: old.session}, n)
		}
	case 7: // by the same ID
		if len(w.dropped) > 0 {
			i := n % len(w.dropped)
			old := w.dropped[i]
			w.dropped = slices.Delete(w.dropped, i, i+1)
			w.join(&viewer{id: old.id, user: old.user, session: old.session}, n)
		}
	case 8:
		if len(w.in) > 0 {
			w.update(w.in[n%len(w.in)], n)
		}
	case 9:
		w.masses(n)
	case 10:
		<-time.After(time.Duration(n%1500) * time.Millisecond)
	case 11:
		w.settle()
		w.compare()
	case 12:
		w.renew(n)
	}
}

// renew lets a member continue a session: a new one, or that of somebody who was
// dropped or is here.
func (w *world) renew(n int) {
	if len(w.in) == 0 {
		return
	}
	v := w.in[n%len(w.in)]
	session := room.SessionOf(fmt.Sprint("new ", n))
	if others := slices.Concat(w.dropped, w.in); n%4 > 0 {
		old := others[n/4%len(others)]
		if old.user != v.user || old.session == (room.Session{}) {
			return
		}
		session = old.session
	}
	if session == v.session {
		return
	}
	v.session = session
	w.in = append(slices.Delete(w.in, n%len(w.in), n%len(w.in)+1), v) // it is the newest
	w.r.Renew(v)
}

// settle waits until everything is told that has happened, the ends of grace too.
func (w *world) settle() {
	const moment = 1100 * time.Millisecond
	<-time.After(moment)
	for slices.ContainsFunc(w.ends, func(end time.Time) bool { return end.Before(time.Now()) && time.Since(end) < moment }) {
		<-time.After(moment)
	}
}

func (w *world) join(v *viewer, n int) {
	if v.id == "" {
		w.next++
		v.id = fmt.Sprint("m", w.next)
		if v.session == (room.Session{}) && n%3 > 0 {
			v.session = room.SessionOf(v.id)
		}
	}
	state := fmt.Sprint(n % 4)
	if err := w.r.Join(w.t.Context(), v, message.Raw{Data: []byte(state)}, room.Ack("1")); err != nil {
		w.t.Error(err)
	}
	w.in = append(w.in, v)
	w.states[v.id] = state
}

func (w *world) leave(n int, how func(room.Member) bool) *viewer {
	if len(w.in) == 0 {
		return nil
	}
	i := n % len(w.in)
	v := w.in[i]
	w.in = slices.Delete(w.in, i, i+1)
	delete(w.states, v.id)
	if !how(v) {
		w.t.Errorf("%s was not there", v.id)
	}
	return v
}

func (w *world) drop(n int) {
	if v := w.leave(n, w.r.Drop); v != nil {
		w.dropped = append(w.dropped, v)
		w.ends = append(w.ends, time.Now().Add(w.options.Grace))
	}
}

func (w *world) update(v *viewer, n int) {
	state := fmt.Sprint(n % 4)
	if err := w.r.Update(w.t.Context(), v, message.Raw{Data: []byte(state)}); err != nil {
		w.t.Error(err)
	}
	w.states[v.id] = state
}

// masses brings the room over the size at which it only counts, and back.
func (w *world) masses(n int) {
	if n%8 > 0 {
		return
	}
	if len(w.crowd) > 0 {
		for i, v := range w.crowd {
			if n%16 == 0 || i%2 == 0 {
				w.r.Leave(v)
			} else {
				w.r.Drop(v)
			}
		}
		w.ends = append(w.ends, time.Now().Add(w.options.Grace))
		w.crowd = nil
		return
	}
	for i := range 900 + n%200 {
		w.next++
		v := &viewer{id: fmt.Sprint("c", w.next)}
		if err := w.r.Join(w.t.Context(), quiet(v.id), i); err != nil {
			w.t.Error(err)
		}
		w.crowd = append(w.crowd, v)
	}
}

// compare holds what everybody has been told against the list of the moment.
func (w *world) compare() map[string]string {
	synctest.Wait()
	if len(w.in) == 0 {
		return nil
	}
	views, counts := make([]map[string]string, len(w.in)), make([]int, len(w.in))
	for i, v := range w.in {
		views[i], counts[i] = v.sees(w.t)
	}
	if err := w.r.Join(w.t.Context(), w.in[0], nil, room.Ack("2")); err != nil {
		w.t.Error(err)
	}
	list, count := w.in[0].sees(w.t)
	for i, v := range w.in {
		if (views[i] == nil) != (list == nil) || !maps.Equal(views[i], list) || counts[i] != count {
			w.t.Errorf("%s sees %d %v, a newcomer %d %v", v.id, counts[i], views[i], count, list)
		}
	}
	return list
}

// sees returns the list and the number that v knows.
func (v *viewer) sees(t *testing.T) (map[string]string, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.wrong {
		t.Error(s)
	}
	return maps.Clone(v.list), v.count
}

// replaced reports whether a member is not listed: a client is listed once, as its
// newest connection.
func (w *world) replaced(i int) bool {
	v := w.in[i]
	return w.options.Grace > 0 && v.session != (room.Session{}) && slices.ContainsFunc(w.in[i+1:], func(newer *viewer) bool {
		return newer.session == v.session && newer.user == v.user
	})
}

// end lets all grace end: then the list has just those who are in.
func (w *world) end() {
	for _, v := range w.crowd {
		w.r.Leave(v)
	}
	<-time.After(w.options.Grace)
	w.settle()
	got := w.compare()
	want := map[string]bool{}
	for i, v := range w.in {
		if w.options.ByUser && v.user != "" {
			want[v.user] = true
			continue
		}
		if w.replaced(i) {
			continue
		}
		want[v.id] = true
		if s := " " + w.states[v.id]; got[v.id] != v.user+s {
			w.t.Errorf("%s has %q, the list %q", v.id, s, got[v.id])
		}
	}
	if len(w.in) > 0 && got == nil || len(got) != len(want) || w.r.Len() != len(w.in) {
		w.t.Errorf("%d on the list, want %d; %d members, want %d", len(got), len(want), w.r.Len(), len(w.in))
	}
	for len(w.in) > 0 {
		w.drop(0)
	}
	<-time.After(w.options.Grace + time.Second)
	synctest.Wait()
	if n := w.rooms.Len(); n != 0 {
		w.t.Errorf("%d rooms are left", n)
	}
}
