package memory_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps the entries it is shown.
type sink struct {
	mu      sync.Mutex
	entries []engine.Entry
	links   []bool
	on      func(engine.Topic, engine.Entry)
}

func (s *sink) Frame(engine.Topic, []byte) {}

func (s *sink) Entry(t engine.Topic, e engine.Entry) {
	s.mu.Lock()
	s.entries = append(s.entries, e)
	s.mu.Unlock()
	if s.on != nil {
		s.on(t, e)
	}
}

func (s *sink) Link(up bool, _ func(engine.Topic) bool) { s.links = append(s.links, up) }

var classes = []engine.Class{
	{Name: "chat", Level: engine.Recoverable, Keep: 100, KeepFor: time.Minute, Dedupe: time.Minute},
	{Name: "ever", Level: engine.Recoverable, Keep: 100},
	{Name: "loose"},
}

func start(t *testing.T, n *memory.Network, s engine.Sink) *memory.Engine {
	t.Helper()
	e := n.Join()
	if err := e.Start(t.Context(), "node", classes, s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func chat(name string) engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: "chat", Name: name}
}

func ever(name string) engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: "ever", Name: name}
}

var ids uint64

func put(t *testing.T, e *memory.Engine, to engine.Topic, key string, data []byte) (a engine.Ack, err error) {
	t.Helper()
	ids++
	rec := engine.Record{Dedupe: key, Data: data}
	binary.BigEndian.PutUint64(rec.ID[:], ids)
	called := false
	e.Append(t.Context(), to, rec, func(ack engine.Ack, failed error) { a, err, called = ack, failed, true })
	if !called {
		t.Fatal("not answered")
	}
	return a, err
}

func head(t *testing.T, e *memory.Engine, of engine.Topic) engine.Position {
	t.Helper()
	h, err := e.Heads(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	return h[0]
}

// A sink may append from inside a call; nothing is locked and order is kept.
func TestSinkAppends(t *testing.T) {
	n, s, done := memory.NewNetwork(nil), &sink{}, make(chan struct{})
	e := start(t, n, s)
	room := chat("a")
	s.on = func(to engine.Topic, got engine.Entry) {
		if got.Offset < 600 { // more than one turn
			e.Append(context.Background(), to, engine.Record{}, func(engine.Ack, error) {})
			return
		}
		close(done)
	}
	if err := e.Subscribe(t.Context(), room); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, e, room, "", nil); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, got := range s.entries {
		if got.Offset != uint64(i+1) || got.Prev != uint64(i) {
			t.Fatalf("entry %d is %d after %d", i, got.Offset, got.Prev)
		}
	}
}

func TestRoomBytes(t *testing.T) {
	e := start(t, memory.NewNetwork(&memory.Options{RoomBytes: 10_000}), &sink{})
	room := ever("a")
	for range 50 {
		if _, err := put(t, e, room, "", make([]byte, 900)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := e.Read(t.Context(), room, engine.Position{}, 100)
	if err != nil || len(p.Entries) < 9 || len(p.Entries) > 11 || p.Complete {
		t.Errorf("%d entries kept, complete %v, %v", len(p.Entries), p.Complete, err)
	}
	if p.Entries[0].Prev != p.Entries[0].Offset-1 {
		t.Errorf("the entry before %d is given as %d", p.Entries[0].Offset, p.Entries[0].Prev)
	}
	if _, err := put(t, e, room, "", make([]byte, 20_000)); err != nil {
		t.Fatal(err)
	}
	if p, err = e.Read(t.Context(), room, engine.Position{}, 100); err != nil || len(p.Entries) != 1 {
		t.Errorf("%d entries beside a large one, %v", len(p.Entries), err)
	}
}

// A class gets the bytes that it asks for, or Start says that there are none.
func TestBytesOfAClass(t *testing.T) {
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		opts  memory.Options
		asks  int
		keeps int // messages of 1 MiB; 0: it does not start
	}{
		"nobody says":                  {memory.Options{}, 0, 3},
		"more than the default":        {memory.Options{}, 10 * mib, 9},
		"less than the default":        {memory.Options{}, 2 * mib, 1},
		"less than RoomBytes":          {memory.Options{RoomBytes: 6 * mib}, 5 * mib, 4},
		"more than RoomBytes":          {memory.Options{RoomBytes: 6 * mib}, 7 * mib, 0},
		"half of all":                  {memory.Options{Bytes: 20 * mib}, 10 * mib, 9},
		"more than half of all":        {memory.Options{Bytes: 20 * mib}, 11 * mib, 0},
		"RoomBytes, and half of all":   {memory.Options{Bytes: 20 * mib, RoomBytes: 12 * mib}, 11 * mib, 10},
		"there is less than a default": {memory.Options{Bytes: 6 * mib}, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			e := memory.New(&tt.opts)
			class := engine.Class{Name: "ever", Level: engine.Recoverable, Keep: 100, Bytes: tt.asks}
			if err := e.Accepts(class); (err == nil) != (tt.keeps > 0) {
				t.Errorf("before the start: %v", err)
			}
			err := e.Start(t.Context(), "node", []engine.Class{{Name: "loose", Bytes: 1 << 40}, class}, &sink{})
			if tt.keeps == 0 {
				if err == nil || !strings.Contains(err.Error(), "ever") {
					t.Errorf("it starts: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, mib)
			for range 12 {
				if _, err := put(t, e, ever("a"), "", data); err != nil {
					t.Fatal(err)
				}
			}
			if p, err := e.Read(t.Context(), ever("a"), engine.Position{}, 100); err != nil || len(p.Entries) != tt.keeps {
				t.Errorf("%d entries kept, want %d, %v", len(p.Entries), tt.keeps, err)
			}
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The rooms that were silent longest lose their entries, and are then forgotten.
func TestBytes(t *testing.T) {
	const total = 200_000
	e := start(t, memory.NewNetwork(&memory.Options{Bytes: total}), &sink{})
	for i := range 1000 {
		if _, err := put(t, e, ever(fmt.Sprint(i)), "", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if size := memory.Size(e); size > total {
			t.Fatalf("%d bytes after %d rooms", size, i)
		}
	}
	if h := head(t, e, ever("999")); h.Offset != 1 {
		t.Error(h)
	}
	if h := head(t, e, ever("0")); h.Offset != 0 {
		t.Error(h)
	}
	// Keys in their window are not given up: nothing is taken rather.
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		_, err = put(t, e, chat("k"), fmt.Sprint("key", i), nil)
	}
	if !errors.Is(err, engine.ErrUnavailable) {
		t.Error(err)
	}
	if a, err := put(t, e, chat("k"), "key0", nil); err != nil || !a.Duplicate {
		t.Error(a, err)
	}
}

// Whoever fills rooms with keys fills these rooms: others lose nothing, and take
// more, with keys and without.
func TestKeys(t *testing.T) {
	for _, greedy := range []int{1, 20} {
		synctest.Test(t, func(t *testing.T) {
			const total = 4 << 20
			e := start(t, memory.NewNetwork(&memory.Options{Bytes: total}), &sink{})
			for i := range 100 {
				if _, err := put(t, e, ever("quiet"), "", make([]byte, 1000)); err != nil {
					t.Fatal(i, err)
				}
			}
			fill := func() (taken int) {
				for refused := 0; refused < greedy; {
					refused = 0
					for i := range greedy {
						_, err := put(t, e, chat(fmt.Sprint("greedy", i)), fmt.Sprint("key", taken), nil)
						if errors.Is(err, engine.ErrUnavailable) {
							refused++
						} else if taken++; err != nil {
							t.Fatal(err)
						}
					}
				}
				return taken
			}
			taken := fill()
			if taken < 5000 || memory.Size(e) > total*3/4 {
				t.Errorf("%d keys were taken by %d rooms, %d bytes", taken, greedy, memory.Size(e))
			}
			if _, err := put(t, e, chat("greedy0"), "", nil); err != nil {
				t.Error("without a key:", err)
			}
			if a, err := put(t, e, chat("greedy0"), "key0", nil); err != nil || !a.Duplicate {
				t.Error("again:", a, err)
			}
			for i := range 100 {
				if a, err := put(t, e, chat("other"), fmt.Sprint("key", i), nil); err != nil || a.Duplicate {
					t.Fatal("in another room:", i, a, err)
				}
			}
			if p, err := e.Read(t.Context(), ever("quiet"), engine.Position{}, 100); err != nil || len(p.Entries) != 100 {
				t.Errorf("%d of 100 entries are left of a quiet room, %v", len(p.Entries), err)
			}
			<-time.After(2 * time.Minute)
			if again := fill(); again != taken {
				t.Errorf("%d keys after the window, %d at first", again, taken)
			}
		})
	}
}

// A log expires, is forgotten when nobody asks for it, and comes back with
// another epoch. A subscriber keeps its position.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(t, memory.NewNetwork(nil), &sink{})
		room, held := chat("a"), chat("held")
		if err := e.Subscribe(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		base := memory.Size(e)
		a, _ := put(t, e, room, "k", nil)
		b, _ := put(t, e, held, "l", nil)
		<-time.After(3 * time.Minute)
		if got := head(t, e, room); got != a.Position {
			t.Errorf("head %v, was %v", got, a.Position)
		}
		p, err := e.Read(t.Context(), room, a.Position, 1)
		if err != nil || p.Anchor != nil || len(p.Entries) > 0 || !p.Complete {
			t.Errorf("%+v, %v", p, err)
		}
		<-time.After(61 * time.Minute)
		if got := head(t, e, room); got.Offset != 0 || got.Epoch == a.Epoch {
			t.Errorf("head %v, was %v", got, a.Position)
		}
		if got := head(t, e, held); got != b.Position {
			t.Errorf("head %v, was %v", got, b.Position)
		}
		if size := memory.Size(e); size != base {
			t.Errorf("%d bytes, %d before", size, base)
		}
		if memory.Sweeps(e) {
			t.Error("there is nothing to sweep")
		}
		c, _ := put(t, e, room, "k", nil)
		if c.Duplicate || c.Epoch == a.Epoch {
			t.Errorf("%v after %v", c, a)
		}
	})
}

// A room in which nothing was published keeps its epoch when logs of other rooms are
// forgotten, but for few; a log that was forgotten never has an epoch again that it
// had.
func TestForgottenByFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(t, memory.NewNetwork(nil), &sink{})
		const empty, used = 1000, 40
		before := make([]engine.Position, empty)
		for i := range before {
			before[i] = head(t, e, chat(fmt.Sprint("empty", i)))
		}
		had := map[string][]uint64{}
		for range 3 {
			for i := range used {
				name := fmt.Sprint("used", i)
				a, err := put(t, e, chat(name), "", nil)
				if err != nil || slices.Contains(had[name], a.Epoch) {
					t.Fatalf("%s is in the epoch %d, and had %d; %v", name, a.Epoch, had[name], err)
				}
				had[name] = append(had[name], a.Epoch)
			}
			<-time.After(2 * time.Hour)
			for name, epochs := range had {
				if h := head(t, e, chat(name)); h.Offset != 0 || slices.Contains(epochs, h.Epoch) {
					t.Fatalf("%s is at %v when it was forgotten, and had the epochs %d", name, h, epochs)
				}
			}
		}
		changed := 0
		for i := range before {
			if head(t, e, chat(fmt.Sprint("empty", i))) != before[i] {
				changed++
			}
		}
		if changed > empty/50 {
			t.Errorf("%d of %d empty rooms have another epoch when %d logs were forgotten", changed, empty, used)
		}
	})
}

func TestRestartHasAnotherEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no time passes in between
		a := head(t, start(t, memory.NewNetwork(nil), &sink{}), chat("a"))
		b := head(t, start(t, memory.NewNetwork(nil), &sink{}), chat("a"))
		if a.Epoch == b.Epoch || a.Epoch == 0 {
			t.Error(a, b)
		}
	})
}

func TestFaults(t *testing.T) {
	n, s := memory.NewNetwork(nil), &sink{}
	e, room := start(t, n, s), chat("a")
	for i := range 8 {
		_, _ = put(t, e, room, fmt.Sprint(i), nil)
	}
	old := head(t, e, room)
	n.Truncate(room, 3)
	if h := head(t, e, room); h.Offset != 5 || h.Epoch != old.Epoch {
		t.Error(h)
	}
	if a, err := put(t, e, room, "7", nil); err != nil || a.Duplicate || a.Offset != 6 {
		t.Error(a, err)
	}
	if p, _ := e.Read(t.Context(), room, engine.Position{Epoch: old.Epoch, Offset: 6, Tag: old.Tag}, 1); p.Complete || p.Anchor == nil {
		t.Errorf("%+v", p)
	}
	_, _ = put(t, e, room, "8", nil)
	_, _ = put(t, e, room, "9", nil)
	at := func(p engine.Position) (err error) {
		e.Append(t.Context(), room, engine.Record{At: &p}, func(_ engine.Ack, failed error) { err = failed })
		return err
	}
	if h := head(t, e, room); h.Offset != old.Offset || h.Tag == old.Tag {
		t.Errorf("head %v, lost was %v", h, old)
	}
	if err := at(old); !errors.Is(err, engine.ErrConflict) {
		t.Error("stored behind an entry that was lost, whose offset is another one's now:", err)
	}
	if err := at(head(t, e, room)); err != nil {
		t.Error(err)
	}
	n.Reset(room)
	if a, err := put(t, e, room, "0", nil); err != nil || a.Duplicate || a.Offset != 1 || a.Epoch == old.Epoch {
		t.Error(a, err)
	}
	e.Cut(true)
	if _, err := put(t, e, room, "", nil); !errors.Is(err, engine.ErrUnavailable) {
		t.Error(err)
	}
	e.Cut(true)
	e.Cut(false)
	if fmt.Sprint(s.links) != "[false true]" {
		t.Error(s.links)
	}
}

// TestMemory holds the package to its word: a kept message costs its data,
// rounded up by the allocator, and at most 144 bytes.
func TestMemory(t *testing.T) {
	const rooms, size, most = 300, 256, 256 + 144
	e := start(t, memory.NewNetwork(nil), &sink{})
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	names := make([]string, rooms)
	for i := range names {
		names[i] = fmt.Sprint("room", i)
	}
	before := heap()
	data := make([]byte, size)
	for _, name := range names {
		for range 250 {
			_, _ = put(t, e, ever(name), "", data)
		}
	}
	each := float64(heap()-before) / rooms / 100
	t.Logf("%.0f bytes for each kept message of %d", each, size)
	if each > most {
		t.Errorf("%.0f bytes for each kept message of %d, at most %d", each, size, most)
	}
	runtime.KeepAlive(e)
}

func TestStartRefuses(t *testing.T) {
	n := memory.NewNetwork(nil)
	e := start(t, n, &sink{})
	if err := e.Start(t.Context(), "node", classes, &sink{}); err == nil {
		t.Error("started twice")
	}
	other := []engine.Class{{Name: "chat", Level: engine.Recoverable, Keep: 7}}
	if err := n.Join().Start(t.Context(), "b", other, &sink{}); err == nil || !strings.Contains(err.Error(), "chat") {
		t.Error(err)
	}
	if _, err := put(t, memory.New(nil), chat("a"), "", nil); !errors.Is(err, engine.ErrUnavailable) {
		t.Error(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	e := memory.New(nil)
	if err := e.Start(b.Context(), "node", classes, &sink{}); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close(context.Background()) }()
	rec := engine.Record{Data: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		e.Append(b.Context(), ever("a"), rec, func(engine.Ack, error) {})
	}
}
