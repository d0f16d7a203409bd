package queue_test

import (
	"bytes"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

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
	return keyed(t, room, "", policy)
}

func keyed(t rapid.TB, room, key string, policy message.Policy) *message.Frame {
	f, err := message.Encode(message.Envelope{Type: "t", Room: room}.Keyed(key), nil, policy)
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

// unit is how much of what counts the numbers below stand for.
const unit = 1000

const hard = 100 * unit

// of is data that counts n units.
func of(n int) string { return strings.Repeat("x", n*unit-queue.Overhead) }

func TestPolicies(t *testing.T) {
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
			{"a", message.Disconnect, of(40) + "x", false, queue.Overflow},
		}, "60", 0},
		{"one that never fits, alone", []step{
			{"a", message.Disconnect, of(300), false, queue.Queued},
			{"a", message.Disconnect, of(60), false, queue.Queued}, // as if it were not there
			{"a", message.Disconnect, of(40), false, queue.Queued},
			{"a", message.Disconnect, of(1), false, queue.Overflow},
		}, "300 60 40", 0},
		{"one that never fits, behind another", []step{
			{"a", message.Disconnect, of(1), false, queue.Queued},
			{"a", message.Disconnect, of(101), false, queue.Overflow},
		}, "1", 0},
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
		}, "7 6", 1}, // where the older one was
		{"latest only, in front of an answer", []step{
			{"a", message.LatestOnly, of(5), false, queue.Queued},
			{"b", message.Disconnect, of(1), false, queue.Queued},
			{"a", message.LatestOnly, of(6), false, queue.Queued},
			{"a", message.Disconnect, of(2), false, queue.Queued},
			{"a", message.LatestOnly, of(7), false, queue.Queued},
			{"a", message.LatestOnly, of(8), false, queue.Queued},
		}, "1 2 8", 3}, // not overtaken by what was sent after it
		{"latest only, and other messages", []step{
			{"a", message.Disconnect, of(5), false, queue.Queued},
			{"a", message.LatestOnly, of(6), false, queue.Queued},
			{"a", message.LatestOnly, of(7), false, queue.Queued},
		}, "5 7", 1},
		{"latest only that grows past the limit", []step{
			{"a", message.LatestOnly, of(5), false, queue.Queued},
			{"a", message.Disconnect, of(90), false, queue.Queued},
			{"a", message.LatestOnly, of(11), false, queue.Overflow},
		}, "90", 1},
		{"latest only that grows up to the limit", []step{
			{"a", message.LatestOnly, of(5), false, queue.Queued},
			{"a", message.Disconnect, of(90), false, queue.Queued},
			{"a", message.LatestOnly, of(10), false, queue.Queued},
		}, "90 10", 1},
		{"latest only, alone and of any size", []step{
			{"a", message.LatestOnly, of(200), false, queue.Queued},
			{"a", message.LatestOnly, of(300), false, queue.Queued},
		}, "300", 1},

		{"catch up below half", []step{
			{"a", message.CatchUp, of(25), false, queue.Queued},
			{"a", message.CatchUp, of(25), true, queue.Queued},
		}, "25 25", 0},
		{"catch up above half", []step{
			{"b", message.Disconnect, of(25), false, queue.Queued},
			{"a", message.CatchUp, of(26), false, queue.Behind},
			{"a", message.CatchUp, of(25), false, queue.Queued},
			{"a", message.CatchUp, of(1), false, queue.Behind},
			{"a", message.Disconnect, of(50), false, queue.Queued},
		}, "25 25 50", 0},
		{"catch up, alone and of any size", []step{
			{"a", message.CatchUp, of(200), false, queue.Queued},
			{"a", message.CatchUp, of(1), false, queue.Behind},
		}, "200", 0},

		{"latest, catching up", []step{
			{"a", message.CatchUpLatest, of(5), true, queue.Queued},
			{"b", message.CatchUpLatest, of(30), true, queue.Queued},
			{"c", message.CatchUpLatest, of(16), true, queue.Behind},
			{"a", message.CatchUpLatest, of(20), true, queue.Queued},
			{"a", message.CatchUpLatest, of(21), true, queue.Behind},
			{"b", message.CatchUpLatest, of(20), true, queue.Queued},
		}, "20 20", 2},
		{"latest, catching up, in front of an answer", []step{
			{"a", message.CatchUpLatest, of(5), false, queue.Queued},
			{"a", message.Disconnect, of(2), false, queue.Queued},
			{"a", message.CatchUpLatest, of(6), false, queue.Queued},
			{"a", message.CatchUpLatest, of(7), false, queue.Queued},
			{"a", message.Disconnect, of(3), false, queue.Queued},
			{"a", message.CatchUpLatest, of(40), false, queue.Behind},
		}, "5 2 7 3", 1},
		{"latest, catching up, alone and of any size", []step{
			{"a", message.CatchUpLatest, of(200), false, queue.Queued},
			{"a", message.CatchUpLatest, of(300), false, queue.Queued},
			{"b", message.CatchUpLatest, of(1), false, queue.Behind},
		}, "300", 1},

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
				if got := q.Push(&message.Encoded{Frame: frame(t, s.room, s.policy), Bytes: []byte(s.data)}, hard, s.busy); got != s.want {
					t.Fatalf("step %d: %v, want %v", i, got, s.want)
				}
			}
			if q.Lost() != tt.lost {
				t.Errorf("%d were lost, want %d", q.Lost(), tt.lost)
			}
			var left []string
			for it := q.Pop(); it != nil; it = q.Pop() {
				left = append(left, fmt.Sprint((len(it.Bytes)+queue.Overhead)/unit))
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
		if v := q.Push(&message.Encoded{Bytes: []byte(of(10))}, hard, true); v != queue.Queued {
			t.Fatal(v)
		}
	}
	if v := q.Push(&message.Encoded{Bytes: make([]byte, 1)}, hard, true); v != queue.Overflow {
		t.Fatal(v)
	}
	if v := q.Push(&message.Encoded{Frame: frame(t, "a", message.DropOldest), Bytes: make([]byte, 1)}, hard, false); v != queue.Overflow {
		t.Fatal(v)
	}
	if q.Held() != hard || q.Lost() != 0 {
		t.Fatal(q.Held(), q.Lost())
	}
}

// Each key has its latest, in the place of what was pending of it.
func TestKeys(t *testing.T) {
	for _, keys := range []int{3, 100} { // looked through, and indexed
		var q queue.Queue
		push := func(room, key string, data int) {
			t.Helper()
			f := keyed(t, room, key, message.LatestOnly)
			if v := q.Push(&message.Encoded{Frame: f, Bytes: []byte{byte(data)}}, hard, false); v != queue.Queued {
				t.Fatal(v)
			}
		}
		push("other", "1", 250)
		for round := range 2 {
			for k := range keys {
				push("r", fmt.Sprint(k), 100*round+k)
			}
		}
		push("r", "0", 251)
		want := []byte{250, 251}
		for k := 1; k < keys; k++ {
			want = append(want, byte(100+k))
		}
		if got := q.Take(nil, hard); !bytes.Equal(got, want) || q.Lost() != keys+1 || !q.Empty() {
			t.Errorf("%d keys: %d, %d were lost", keys, got, q.Lost())
		}
	}
}

// A key that changes often has its turn like those that change seldom, whether or
// not other messages of the room come in between.
func TestHotKey(t *testing.T) {
	for _, policy := range []message.Policy{message.LatestOnly, message.CatchUpLatest} {
		var q queue.Queue
		put := func(key string) {
			f := keyed(t, "r", key, policy)
			q.Push(&message.Encoded{Frame: f, Bytes: f.Payload()}, 1<<20, true)
		}
		longest, since := 0, 0
		for tick := range 6000 {
			put("hot")
			for i := range 5 {
				put(fmt.Sprint((5*tick + i) % 500))
			}
			if f := frame(t, "r", message.Disconnect); policy == message.CatchUpLatest && tick%100 == 0 {
				q.Push(&message.Encoded{Frame: f, Bytes: f.Payload()}, 1<<20, true)
			}
			for range 2 {
				since++
				if it := q.Pop(); it != nil && it.Frame.Key() == "hot" {
					longest, since = max(longest, since), 0
				}
			}
		}
		if longest = max(longest, since); longest > 2500 {
			t.Errorf("policy %d: %d messages in a row without the key that changes most", policy, longest)
		}
	}
}

// A burst over many keys, again and again, costs each message the same.
func TestManyKeys(t *testing.T) {
	const keys, rounds = 50_000, 4
	frames := make([]*message.Frame, keys)
	for k := range frames {
		frames[k] = keyed(t, "r", fmt.Sprint(k), message.LatestOnly)
	}
	var q queue.Queue
	start := time.Now()
	for range rounds {
		for _, f := range frames {
			if v := q.Push(&message.Encoded{Frame: f, Bytes: f.Payload()}, 1<<30, true); v != queue.Queued {
				t.Fatal(v)
			}
		}
	}
	n := 0
	for it := q.Pop(); it != nil; it = q.Pop() {
		if it.Frame != frames[n] {
			t.Fatalf("item %d has the key %q", n, it.Frame.Key())
		}
		n++
	}
	if d := time.Since(start); n != keys || d > 3*time.Second {
		t.Errorf("%d items in %v", n, d)
	}
}

// However often one item is replaced while nothing is taken, the queue does not
// grow by that.
func TestReplacedForEver(t *testing.T) {
	for _, keys := range []int{1, 50} {
		var q queue.Queue
		frames := make([]*message.Frame, keys)
		for k := range frames {
			frames[k] = keyed(t, "r", fmt.Sprint(k), message.LatestOnly)
		}
		push := func() {
			for _, f := range frames {
				q.Push(&message.Encoded{Frame: f, Bytes: f.Payload()}, hard, true)
			}
		}
		push()
		before := heap()
		for range 200_000 / keys {
			push()
		}
		if grown := heap() - before; grown > 1<<20 || q.Held() > keys*2*queue.Overhead {
			t.Errorf("%d keys: %d is pending, in %d bytes", keys, q.Held(), grown)
		}
	}
}

// A queue that was long once gives everything back.
func TestTrim(t *testing.T) {
	const keys = 20_000
	var q queue.Queue
	before := heap()
	for k := range keys {
		f := keyed(t, "r", fmt.Sprint(k), message.LatestOnly)
		q.Push(&message.Encoded{Frame: f, Bytes: f.Payload()}, 1<<30, true)
	}
	for !q.Empty() {
		q.Take(nil, 1<<10)
	}
	if grown := heap() - before; grown < keys*32 {
		t.Errorf("only %d bytes are kept for the next time", grown)
	}
	q.Trim()
	if grown := heap() - before; grown > keys*4 {
		t.Errorf("%d bytes are left", grown)
	}
	runtime.KeepAlive(&q)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What is really held for a client that reads nothing is at most about twice the
// limit, however small the messages are.
func TestMemory(t *testing.T) {
	const hard = 4 << 20
	for _, policy := range []message.Policy{message.Disconnect, message.LatestOnly} {
		var q queue.Queue
		before := heap()
		for n := 0; ; n++ {
			e := message.Envelope{Type: "ack", Room: fmt.Sprint("room/", n), ID: "1"}
			if policy == message.LatestOnly {
				e = e.Keyed(fmt.Sprint("key/", n))
			}
			f, err := message.Encode(e, nil, policy)
			if err != nil {
				t.Fatal(err)
			}
			b := f.Encoding(message.WebSocket, func(f *message.Frame) []byte { return f.Prefixed([]byte("\x81\x40")) })
			if q.Push(b, hard, true) == queue.Overflow {
				break
			}
		}
		if held := heap() - before; held > 2*hard {
			t.Errorf("policy %d: %d bytes are held, the limit is %d", policy, held, hard)
		} else {
			t.Logf("policy %d: %.2f times the limit", policy, float64(held)/hard)
		}
		runtime.KeepAlive(&q)
	}
}

func TestTake(t *testing.T) {
	var q queue.Queue
	push := func(sizes ...int) (all [][]byte) {
		for i, n := range sizes {
			b := bytes.Repeat([]byte{byte('a' + i)}, n)
			all = append(all, b)
			q.Push(&message.Encoded{Bytes: b}, hard, false)
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
	if v := q.Push(&message.Encoded{Bytes: []byte("x")}, 10, false); v != queue.Queued {
		t.Error(v)
	}
}

// A queue in steady use allocates nothing.
func TestAllocations(t *testing.T) {
	var q queue.Queue
	buf := make([]byte, 0, 1000)
	it := &message.Encoded{Frame: frame(t, "a", message.Disconnect), Bytes: make([]byte, 10)}
	if n := testing.AllocsPerRun(100, func() {
		for range 50 {
			q.Push(it, hard, false)
		}
		for !q.Empty() {
			q.Take(buf, 100)
		}
		q.Push(it, hard, false)
		q.Pop()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
