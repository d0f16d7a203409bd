package room_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

func TestMembersAndTheirStates(t *testing.T) {
	for _, presence := range []*room.Presence{nil, {}} {
		m := room.NewManager(&room.Options{Presence: presence})
		r := m.Get("chat/1")
		if r.Name() != "chat/1" || maps.Collect(r.Members()) == nil || len(maps.Collect(r.Members())) != 0 {
			t.Fatalf("the empty room %q has %v", r.Name(), maps.Collect(r.Members()))
		}
		join(t, r, quiet("a"), []int{1})
		join(t, r, quiet("b"), nil)
		join(t, r, quiet("a"), "later") // changes nothing
		got := maps.Collect(m.Get("chat/1").Members())
		if len(got) != 2 || fmt.Sprint(got["a"]) != "[1]" || got["b"] != nil {
			t.Errorf("presence %v: %v", presence, got)
		}
		for id := range r.Members() {
			r.Leave(quiet(id)) // while it is walked
		}
		if r.Len() != 0 {
			t.Errorf("%d members are left", r.Len())
		}
	}
}

func TestIterationsEndEarly(t *testing.T) {
	m := room.NewManager(nil)
	for i := range 100 {
		r := m.Get(fmt.Sprint(i % 10))
		join(t, r, quiet(fmt.Sprint(i)), nil)
	}
	names := map[string]bool{}
	for r := range m.All() {
		if names[r.Name()] || r.Len() != 10 {
			t.Errorf("room %s, %d members", r.Name(), r.Len())
		}
		if names[r.Name()] = true; len(names) == 3 {
			break
		}
	}
	n := 0
	for range m.Get("1").Members() {
		if n++; n == 3 {
			break
		}
	}
	if len(names) != 3 || n != 3 || m.Len() != 10 {
		t.Errorf("%d rooms, %d members, %d rooms in all", len(names), n, m.Len())
	}
}

// TestFindingMembers in a room that grows from few to many and shrinks again.
func TestFindingMembers(t *testing.T) {
	r := room.NewManager(nil).Get("r")
	model := map[string]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for step := range 5000 {
		id := fmt.Sprint(rnd.IntN(40))
		if grow := step/500%2 == 0; rnd.IntN(3) == 0 != grow {
			join(t, r, quiet(id), nil)
			model[id] = true
		} else if got := r.Leave(quiet(id)); got != model[id] {
			t.Fatalf("step %d: leaving %s says %v", step, id, got)
		} else {
			delete(model, id)
		}
		probe := fmt.Sprint(rnd.IntN(40))
		if r.Len() != len(model) || r.Has(probe) != model[probe] {
			t.Fatalf("step %d: %d members, want %d; has %s: %v", step, r.Len(), len(model), probe, r.Has(probe))
		}
	}
	got := slices.Sorted(maps.Keys(maps.Collect(r.Members())))
	if want := slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}

// TestPresenceIsToldOnce to everybody but whom it is about.
func TestPresenceIsToldOnce(t *testing.T) {
	synctest.Test(t, toldOnce)
}

func toldOnce(t *testing.T) {
	r := room.NewManager(&room.Options{Presence: &room.Presence{}}).Get("r")
	all := make([]*member, 20)
	for i := range all {
		<-time.After(100 * time.Millisecond) // or they would be gathered
		all[i] = &member{id: fmt.Sprint("m", i), user: fmt.Sprint("u", i)}
		join(t, r, all[i], map[string]int{"n": i})
		for _, m := range all[:i] {
			m.mu.Lock()
			e := m.got[len(m.got)-1]
			m.mu.Unlock()
			if e.Type != "joined" || e.Room != "r" || e.From != all[i].id || e.User != all[i].user || e.Timestamp.IsZero() {
				t.Errorf("%s got %+v", m.id, e)
			}
			want(t, m, fmt.Sprintf(`joined {"n":%d}`, i))
		}
		want(t, all[i])
	}
	for i, m := range all {
		<-time.After(100 * time.Millisecond)
		r.Leave(m)
		r.Leave(m)
		want(t, m)
		for _, other := range all[i+1:] {
			want(t, other, fmt.Sprintf(`left {"n":%d}`, i))
		}
	}
}

// TestAckAndGreeting come before everything else from the room.
func TestAckAndGreeting(t *testing.T) {
	hello, err := message.Encode(message.New("hello", 1), nil, message.Disconnect)
	if err != nil {
		t.Fatal(err)
	}
	r := room.NewManager(nil).Get("r")
	a := &member{id: "a"}
	join(t, r, a, nil, room.Greet(hello))
	want(t, a, "hello 1")
	join(t, r, a, nil, room.Greet(hello), room.Ack("7")) // greeted already
	a.mu.Lock()
	if e := a.got[0]; len(a.got) != 1 || e.Type != "ack" || e.ID != "7" || e.Room != "r" || !strings.Contains(string(e.Content.Data), `"members":1`) {
		t.Errorf("got %+v", a.got)
	}
	a.mu.Unlock()
	if !r.Leave(a) || r.Has("a") {
		t.Error("it has not left")
	}
}
