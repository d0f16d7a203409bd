package queue_test

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/hubbub-go/hubbub/internal/queue"
	"github.com/hubbub-go/hubbub/message"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "2000") // instead of 100, unless another number is asked for
	goleak.VerifyTestMain(m)
}

// frame makes a frame of a room, of which only room and policy count here.
func frame(t rapid.TB, room string, policy message.Policy) *message.Frame {
	f, err := message.Encode(message.Envelope{Type: "t", Room: room}, nil, policy)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// step is a Push and what becomes of it.
type step struct {
	room   string
	policy message.Policy
	data   string
	busy   bool
	want   queue.Verdict
}

const hard = 100

func TestPolicies(t *testing.T) {
	of := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct {
		name  string
		steps []step
		left  string // the lengths of what is pending in the end
		lost  int
	}{
		{"up to the limit", []step{
			{"a", message.Disconnect, of(60), true, queue.Queued},
			{"a", message.Disconnect, of(40), true, queue.Queued},
		}, "60 40", 0},
		{"one byte over", []step{
			{"a", message.Disconnect, of(60), false, queue.Queued},
			{"a", message.Disconnect, of(41), false, queue.Overflow},
		}, "60", 0},
		{"one that never fits", []step{{"a", message.Disconnect, of(101), false, queue.Overflow}}, "", 0},
		{"one that just fits", []step{{"a", message.DropOldest, of(100), false, queue.Queued}}, "100", 0},

		{"drop oldest below half", []step{
			{"a", message.DropOldest, of(25), false, queue.Queued},
			{"a", message.DropOldest, of(25), false, queue.Queued},
		}, "25 25", 0},
		{"drop oldest above half", []step{
			{"a", message.DropOldest, of(20), false, queue.Queued},
			{"a", message.DropOldest, of(21), false, queue.Queued},
			{"a", message.DropOldest, of(10), false, queue.Queued},
		}, "10", 2}, // down to a quarter, so that the scan is paid seldom
		{"drop oldest of this room only", []step{
			{"b", message.DropOldest, of(20), false, queue.Queued},
			{"a", message.Disconnect, of(20), false, queue.Queued},
			{"a", message.DropOldest, of(5), false, queue.Queued},
			{"a", message.DropOldest, of(30), false, queue.Queued},
		}, "20 20 30", 1},
		{"drop oldest cannot help", []step{
			{"a", message.Disconnect, of(60), false, queue.Queued},
			{"b", message.DropOldest, of(41), false, queue.Overflow},
		}, "60", 0},

		{"latest only", []step{
			{"a", message.LatestOnly, of(5), false, queue.Queued},
			{"b", message.LatestOnly, of(6), false, queue.Queued},
			{"a", message.LatestOnly, of(7), true, queue.Queued},
		}, "7 6", 1}, // in the place of the old one, or it would never come first
		{"latest only, and other messages", []step{
			{"a", message.Disconnect, of(5), false, queue.Queued},
			{"a", message.LatestOnly, of(6), false, queue.Queued},
			{"a", message.LatestOnly, of(7), false, queue.Queued},
		}, "5 7", 1},
		{"latest only that grows past the limit", []step{
			{"a", message.LatestOnly, of(5), false, queue.Queued},
			{"a", message.Disconnect, of(90), false, queue.Queued},
			{"a", message.LatestOnly, of(11), false, queue.Overflow},
		}, "5 90", 0},
		{"latest only that grows up to the limit", []step{
			{"a", message.LatestOnly, of(5), false, queue.Queued},
			{"a", message.Disconnect, of(90), false, queue.Queued},
			{"a", message.LatestOnly, of(10), false, queue.Queued},
		}, "10 90", 1},

		{"volatile at rest", []step{{"a", message.Volatile, of(60), false, queue.Queued}}, "60", 0},
		{"volatile while busy", []step{{"a", message.Volatile, of(1), true, queue.Dropped}}, "", 1},
		{"volatile above half", []step{
			{"a", message.Disconnect, of(30), false, queue.Queued},
			{"a", message.Volatile, of(20), false, queue.Queued},
			{"a", message.Volatile, of(1), false, queue.Dropped},
		}, "30 20", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var q queue.Queue
			for i, s := range tt.steps {
				if got := q.Push(queue.Item{Frame: frame(t, s.room, s.policy), Bytes: []byte(s.data)}, hard, s.busy); got != s.want {
					t.Fatalf("step %d: %v, want %v", i, got, s.want)
				}
			}
			if q.Lost() != tt.lost {
				t.Errorf("%d were lost, want %d", q.Lost(), tt.lost)
			}
			var left []string
			for it, ok := q.Pop(); ok; it, ok = q.Pop() {
				left = append(left, fmt.Sprint(len(it.Bytes)))
			}
			if got := strings.Join(left, " "); got != tt.left || q.Size() != 0 || !q.Empty() {
				t.Errorf("left is %q, want %q; %d bytes", got, tt.left, q.Size())
			}
		})
	}
}

// Control frames have no frame: no policy touches them, and they count.
func TestControl(t *testing.T) {
	var q queue.Queue
	for range 10 {
		if v := q.Push(queue.Item{Bytes: make([]byte, 10)}, hard, true); v != queue.Queued {
			t.Fatal(v)
		}
	}
	if v := q.Push(queue.Item{Bytes: make([]byte, 1)}, hard, true); v != queue.Overflow {
		t.Fatal(v)
	}
	if v := q.Push(queue.Item{Frame: frame(t, "a", message.DropOldest), Bytes: make([]byte, 1)}, hard, false); v != queue.Overflow {
		t.Fatal(v)
	}
	if q.Size() != hard || q.Lost() != 0 {
		t.Fatal(q.Size(), q.Lost())
	}
}

func TestTake(t *testing.T) {
	var q queue.Queue
	push := func(sizes ...int) (all [][]byte) {
		for i, n := range sizes {
			b := bytes.Repeat([]byte{byte('a' + i)}, n)
			all = append(all, b)
			q.Push(queue.Item{Bytes: b}, 1000, false)
		}
		return all
	}
	buf := make([]byte, 0, 10)
	if out := q.Take(buf, 10); out != nil {
		t.Errorf("of an empty queue: %q", out)
	}
	one := push(3)
	if out := q.Take(buf, 10); &out[0] != &one[0][0] {
		t.Error("a single item was copied")
	}
	push(4, 6, 1)
	if out := q.Take(buf, 10); string(out) != "aaaabbbbbb" || &out[0] != &buf[:1][0] || q.Size() != 1 {
		t.Errorf("%q, and %d bytes are left", out, q.Size())
	}
	if out := q.Take(buf, 10); string(out) != "c" || !q.Empty() {
		t.Errorf("%q", out)
	}
	big := push(25, 1)
	if out := q.Take(buf, 10); &out[0] != &big[0][0] || len(out) != 25 {
		t.Errorf("%q: what is too big goes alone and is not copied", out)
	}
	q.Clear()
	if !q.Empty() || q.Size() != 0 || q.Take(buf, 10) != nil {
		t.Error("Clear has left something")
	}
	q.Trim()
	if v := q.Push(queue.Item{Bytes: []byte("x")}, 10, false); v != queue.Queued {
		t.Error(v)
	}
}

// A queue in steady use allocates nothing.
func TestAllocations(t *testing.T) {
	var q queue.Queue
	buf := make([]byte, 0, 1000)
	it := queue.Item{Frame: frame(t, "a", message.Disconnect), Bytes: make([]byte, 10)}
	if n := testing.AllocsPerRun(100, func() {
		for range 50 {
			q.Push(it, 1000, false)
		}
		for !q.Empty() {
			q.Take(buf, 100)
		}
		q.Push(it, 1000, false)
		q.Pop()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
