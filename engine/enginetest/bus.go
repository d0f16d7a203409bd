package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/engine"
)

// busOrder: frames of each publisher come in its order to every other node.
func busOrder(w *world) {
	const count = 200
	a, b, c := w.node(), w.node(), w.node()
	room := loose("order")
	b.subscribe(room)
	c.subscribe(room)
	w.connect(room, a, b, c)
	w.connect(room, b, c)
	var wg sync.WaitGroup
	for name, n := range map[string]*node{"a": a, "b": b} {
		wg.Go(func() {
			for i := range count {
				if err := n.Publish(room, fmt.Appendf(nil, "%s%d", name, i)); err != nil {
					w.Errorf("Publish: %v", err)
				}
			}
		})
	}
	wg.Wait()
	next := map[byte]int{}
	for _, f := range c.frames(room, 2*count) {
		if want := fmt.Sprintf("%c%d", f[0], next[f[0]]); f != want {
			w.Fatalf("frame %s where %s should be", f, want)
		}
		next[f[0]]++
	}
	for i, f := range b.frames(room, count) {
		if want := fmt.Sprintf("a%d", i); f != want {
			w.Fatalf("frame %s where %s should be", f, want)
		}
	}
}

// noEcho: the publishing node does not get its own frames.
func noEcho(w *world) {
	a, b := w.node(), w.node()
	room := loose("echo")
	a.subscribe(room)
	b.subscribe(room)
	w.connect(room, a, b)
	w.must(a.Publish(room, []byte("mine")))
	if got := b.frames(room, 1); got[0] != "mine" {
		w.Fatalf("frame %q", got)
	}
	w.quiet()
	if a.has(room, func(s *seen) bool { return len(s.frames)+s.probes > 0 }) {
		w.Fatalf("a node got its own frame")
	}
}

// interest: a frame comes once to who has subscribed, however often, and not any
// more to who has unsubscribed.
func interest(w *world) {
	a, b := w.node(), w.node()
	x, y, never := loose("x"), loose("y"), loose("never")
	b.subscribe(x, y)
	b.subscribe(x)
	w.connect(x, a, b)
	w.connect(y, a, b)
	w.must(a.Publish(x, []byte("1")))
	w.must(a.Publish(never, []byte("1")))
	b.frames(x, 1)
	w.must(b.Unsubscribe(x, never))
	w.must(b.Unsubscribe(x))
	w.must(a.Publish(x, []byte("2")))
	w.must(a.Publish(y, []byte("2")))
	b.frames(y, 1)
	w.quiet()
	if got := b.frames(x, 0); !slices.Equal(got, []string{"1"}) {
		w.Fatalf("frames %q, want one, from before Unsubscribe", got)
	}
	if got := b.frames(never, 0); len(got) > 0 {
		w.Fatalf("frames %q of a topic without interest", got)
	}
	b.subscribe(x)
	for i := 0; !b.has(x, func(s *seen) bool { return len(s.frames) > 1 }); i++ {
		if i == 500 {
			w.Fatalf("nothing comes after subscribing again")
		}
		w.must(a.Publish(x, []byte("3")))
		b.waitFor(w.opts.Patience/500, x, func(s *seen) bool { return len(s.frames) > 1 })
	}
	if a.log == nil {
		return
	}
	room := log("left")
	b.subscribe(room)
	w.connect(room, a, b)
	a.fill(room, 1)
	b.entries(room, 1)
	w.must(b.Unsubscribe(room))
	a.fill(room, 1)
	w.quiet()
	if got := b.entries(room, 0); len(got) != 1 {
		w.Fatalf("%d entries, want one, from before Unsubscribe", len(got))
	}
}

// kinds: topics of the same name and another kind or class are others.
func kinds(w *world) {
	a, b := w.node(), w.node()
	topics := []engine.Topic{
		loose("x"),
		log("x"),
		{Kind: engine.KindUser, Name: "x"},
		{Kind: engine.KindNode, Name: "x"},
		{Kind: engine.KindAll},
		{Kind: engine.KindUser},
	}
	b.subscribe(topics...)
	for _, t := range topics {
		w.connect(t, a, b)
		w.must(a.Publish(t, fmt.Appendf(nil, "%v", t)))
	}
	for _, t := range topics {
		b.frames(t, 1)
	}
	w.quiet()
	for _, t := range topics {
		if got := b.frames(t, 1); !slices.Equal(got, []string{fmt.Sprint(t)}) {
			w.Fatalf("%v got the frames %q", t, got)
		}
	}
}

// hostile are names that mean something to some broker, or to a file system.
var hostile = []string{
	"", " ", "a b", "*", ">", "a.*", "a.b", ".", "..", "a.>", "$SYS.x", "$JS.API", "{x}", "}x{", "{}", "{", "a{b}c",
	"~0", "~2E", "~", "/", "../x", "a/b", "\x00", "a\x00b", "\r\n", "a\nb", "\t", "%s", "%2E", "?", "[a-z]", "\\", "'", "\"",
	":", "a:b", "ä", "é", "e\u0301", "房间", "🙂", "A", "a", "\xff\xfe", "_", "-",
	strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("x", 256), strings.Repeat("x", 255) + "y",
	strings.Repeat("é", 128), strings.Repeat(".", 256),
}

// hostileNames: every name is a room, and all are different.
func hostileNames(w *world) {
	a, b := w.node(), w.node()
	topics := make([]engine.Topic, len(hostile))
	for i, name := range hostile {
		topics[i] = log(name)
	}
	b.subscribe(topics...)
	for i, t := range topics {
		w.connect(t, a, b)
		w.must(a.Publish(t, fmt.Append(nil, i)))
		if a.log != nil {
			a.append(t, record(fmt.Sprint(i)))
		}
	}
	for i, t := range topics {
		if got := b.frames(t, 1); !slices.Equal(got, []string{fmt.Sprint(i)}) {
			w.Fatalf("the room %+q got the frames %q, want %d", t.Name, got, i)
		}
		if a.log == nil {
			continue
		}
		if got := b.entries(t, 1); len(got) != 1 || string(got[0].Data) != fmt.Sprint(i) {
			w.Fatalf("the room %+q got %d entries, the first is %q", t.Name, len(got), got[0].Data)
		}
		if p := b.read(t, engine.Position{}, 10); len(p.Entries) != 1 || string(p.Entries[0].Data) != fmt.Sprint(i) {
			w.Fatalf("the log of %+q is %+v", t.Name, p)
		}
	}
}

// large: frames and records of 512 KiB pass, and so do empty ones.
func large(w *world) {
	a, b := w.node(), w.node()
	room := log("large")
	b.subscribe(room)
	w.connect(room, a, b)
	big := bytes.Repeat([]byte("0123456789abcdef"), 512<<10/16)
	w.must(a.Publish(room, big))
	w.must(a.Publish(room, nil))
	if got := b.frames(room, 2); got[0] != string(big) || got[1] != "" {
		w.Fatalf("frames of %d and %d bytes, want %d and 0", len(got[0]), len(got[1]), len(big))
	}
	if a.log == nil {
		return
	}
	a.append(room, record(string(big)))
	a.append(room, record(""))
	got := b.entries(room, 2)
	if !bytes.Equal(got[0].Data, big) || len(got[1].Data) > 0 {
		w.Fatalf("entries of %d and %d bytes, want %d and 0", len(got[0].Data), len(got[1].Data), len(big))
	}
	if p := b.read(room, engine.Position{}, 10); len(p.Entries) != 2 || !bytes.Equal(p.Entries[0].Data, big) {
		w.Fatalf("a large record is read differently")
	}
}

// raw are contents that are no text, as all that hubbub hands over may be.
var raw = func() []string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return []string{
		string(all), "\x00", "\x00\x00x", "x\x00", "\xff", "\xc3", "a\xed\xa0\x80b", "\xef\xbb\xbfx", "\n", "\r\n", "x\r\n", " x ", "\x1b", "\x7f",
		strings.Repeat("\x00", 100), strings.Repeat("\xff\xfe\x00", 100),
	}
}()

// anyBytes: frames and records are bytes, and arrive as they are.
func anyBytes(w *world) {
	a, b := w.node(), w.node()
	room := log("bytes")
	b.subscribe(room)
	w.connect(room, a, b)
	for _, data := range raw {
		w.must(a.Publish(room, []byte(data)))
		if a.log != nil {
			a.append(room, record(data))
		}
	}
	if got := b.frames(room, len(raw)); !slices.Equal(got, raw) {
		w.Fatalf("the frames are %q, want %q", got, raw)
	}
	if a.log == nil {
		return
	}
	w.expect(b.entries(room, len(raw)), raw...)
	entries := b.read(room, engine.Position{}, 100).Entries
	w.expect(entries, raw...)
	for i, e := range entries {
		if p := b.read(room, e.Position, 1); p.Anchor == nil || string(p.Anchor.Data) != raw[i] {
			w.Fatalf("the anchor with the data %q is %+v", raw[i], p.Anchor)
		}
	}
}

// noWaiting: what hands something over does not wait for the broker, be it there or
// not. Engines may need a moment for it, but not what an answer can take.
func noWaiting(w *world) {
	const count = 40
	a, b := w.node(), w.node()
	most := w.opts.Patience / 10
	within := func(what string, each func(i int)) {
		w.Helper()
		began := time.Now()
		for i := range count {
			each(i)
		}
		if took := time.Since(began); took > most {
			w.Fatalf("%d calls of %s took %v", count, what, took)
		}
	}
	rooms := map[string][]engine.Topic{}
	for _, when := range []string{"with a broker", "without one"} {
		for i := range count {
			rooms[when] = append(rooms[when], log(fmt.Sprint(when, i)))
		}
		b.subscribe(rooms[when]...)
		w.connect(rooms[when][0], a, b)
	}
	round := func(when string) {
		w.Helper()
		room := rooms[when][0]
		within("Publish "+when, func(int) { _ = a.Publish(room, []byte("x")) })
		if a.log != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 2*most) // what waits for its end takes too long
			defer cancel()
			var answers [count]<-chan outcome
			within("Append "+when, func(i int) { answers[i] = a.start(ctx, room, record("x")) })
			for _, answered := range answers {
				w.await(answered)
			}
		}
		within("Unsubscribe "+when, func(i int) { _ = b.Unsubscribe(rooms[when][i]) })
	}
	round("with a broker")
	if w.cluster.Cut != nil && w.cluster.Restore != nil {
		w.cluster.Cut()
		round("without one")
		w.cluster.Restore()
	}
}

// badClasses: Start refuses what Class.Validate refuses.
func badClasses(w *world) {
	for _, c := range []engine.Class{{}, {Name: "A B"}, {Name: "x", Level: engine.Recoverable}} {
		bus := w.cluster.Join()
		if err := bus.Start(w.limit(), "node", []engine.Class{c}, &node{w: w}); err == nil {
			w.Errorf("Start takes the class %+v", c)
		}
		w.must(bus.Close(w.limit()))
	}
}
