package hub_test

import (
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/room"
	"pgregory.net/rapid"
)

// model says what each client has to see: 30 lines that a room server could be
// judged by.
type model struct {
	rooms map[string]map[int]bool // members by room
	owed  map[int][]string        // what each client must be told, in order
	alive map[int]bool
}

func (m *model) tell(room string, except int, what string) {
	for c := range m.rooms[room] {
		if c != except {
			m.owed[c] = append(m.owed[c], what)
		}
	}
}

func (m *model) join(c int, room string) {
	if !m.rooms[room][c] {
		m.tell(room, c, fmt.Sprintf("joined %s %d", room, c))
		m.rooms[room][c] = true
	}
}

func (m *model) leave(c int, room string) {
	if m.rooms[room][c] {
		delete(m.rooms[room], c)
		m.tell(room, c, fmt.Sprintf("left %s %d", room, c))
	}
}

// TestAgainstTheModel plays random joins, leaves, messages, goodbyes and cuts.
func TestAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 1, 60).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) { play(t, steps) })
	})
}

func play(t *testing.T, steps []int) {
	const clients = 6
	names := []string{"a", "b", "c"}
	h := newHub(t, nil)
	rooms := h.Rooms("{room}", &hub.Rule{Presence: &room.Presence{}})
	hub.On(rooms, say, toOthers)
	m := &model{map[string]map[int]bool{}, map[int][]string{}, map[int]bool{}}
	for _, r := range names {
		m.rooms[r] = map[int]bool{}
	}
	all := dialN(t, h, clients)
	number := map[string]int{}
	for i, c := range all {
		number[c.ID()], m.alive[i] = i, true
	}
	for n, step := range steps {
		c, room := step%clients, names[step/clients%len(names)]
		if !m.alive[c] {
			continue
		}
		act(all[c], m, c, room, step/64%16, n)
		<-time.After(100 * time.Millisecond) // fewer changes than would be gathered
		for i, c := range all {              // the order of the rooms that somebody leaves at once is open
			got, want := slices.Sorted(seen(c, number, len(m.owed[i]))), slices.Sorted(slices.Values(m.owed[i]))
			if m.owed[i] = nil; !slices.Equal(got, want) {
				t.Fatalf("steps %v: client %d saw\n%q\nand not\n%q", steps[:n+1], i, got, want)
			}
		}
	}
	for _, c := range all {
		c.ExpectNone()
	}
	for _, r := range names {
		if got := h.Room(r).Len(); got != len(m.rooms[r]) {
			t.Fatalf("steps %v: room %s has %d members, not %d", steps, r, got, len(m.rooms[r]))
		}
	}
}

// act does one thing, in the hub and in the model.
func act(client *hubtest.Client, m *model, c int, room string, what, n int) {
	switch what {
	case 0, 1, 2, 3:
		client.Join(room, nil)
		m.join(c, room)
	case 4, 5:
		client.Leave(room)
		m.leave(c, room)
	case 6, 7:
		end := client.Close
		if what == 7 {
			end = client.Cut
		}
		end()
		m.alive[c] = false
		for r := range m.rooms {
			m.leave(c, r)
		}
	default:
		_, err := client.Request(room, say.New(text{fmt.Sprint(n)}))
		if member := m.rooms[room][c]; member != (err == nil) {
			m.owed[c] = append(m.owed[c], fmt.Sprintf("member %v, error %v", member, err))
		} else if member {
			m.tell(room, c, fmt.Sprintf("say %s %d %d", room, c, n))
		}
	}
}

// seen takes the next n messages of a client, in the model's words.
func seen(c *hubtest.Client, number map[string]int, n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for range n {
			e := c.Next()
			what := fmt.Sprintf("%s %s %d", e.Type, e.Room, number[e.From])
			if e.Type == string(say) {
				var in text
				_ = e.Content.Decode(nil, &in)
				what += " " + in.Body
			}
			if !yield(what) {
				return
			}
		}
	}
}
