package enginetest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/enginetest"
	"github.com/hubbub-go/hubbub/engine/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a cluster of memory engines, each changed by change.
func open(change func(*memory.Engine) engine.Bus) enginetest.Options {
	return enginetest.Options{Synctest: true, Open: func(testing.TB) enginetest.Cluster {
		network := memory.NewNetwork(nil)
		var engines []*memory.Engine
		each := func(f func(*memory.Engine)) func() {
			return func() {
				for _, e := range engines {
					f(e)
				}
			}
		}
		return enginetest.Cluster{
			Join: func() engine.Bus {
				e := network.Join()
				engines = append(engines, e)
				return change(e)
			},
			Cut:     each(func(e *memory.Engine) { e.Cut(true) }),
			Restore: each(func(e *memory.Engine) { e.Cut(false) }),
			Lose: func() {
				network.Reset(engine.Topic{Kind: engine.KindRoom, Class: "room", Name: "lost"})
			},
		}
	}}
}

func TestMemory(t *testing.T) {
	enginetest.Test(t, open(func(e *memory.Engine) engine.Bus { return e }))
}

func TestMemoryRealTime(t *testing.T) {
	opts := open(func(e *memory.Engine) engine.Bus { return e })
	opts.Synctest = false
	opts.Quiet = 10 * time.Millisecond
	enginetest.Test(t, opts)
}

// TestBusOnly: an engine without logs passes what it can.
func TestBusOnly(t *testing.T) {
	enginetest.Test(t, open(func(e *memory.Engine) engine.Bus { return struct{ engine.Bus }{e} }))
}

// recorder is a testing.TB that notes failures instead of failing.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Skip(...any)      { runtime.Goexit() }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failures runs one check and returns what it says.
func failures(t *testing.T, opts enginetest.Options, name string) []string {
	opts.Patience, opts.Quiet = time.Second, 100*time.Millisecond
	r := &recorder{TB: t}
	synctest.Test(t, func(*testing.T) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			enginetest.Run(r, opts, name)
		}()
		<-done
		for _, f := range slices.Backward(r.cleanups) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				f()
			}()
			<-done
		}
		<-time.After(time.Minute) // for what is left behind on purpose
	})
	return r.failures
}

// TestCatches breaks the engine in one way after the other. Each must be caught
// by the check that is for it.
func TestCatches(t *testing.T) {
	for _, tt := range breaks {
		t.Run(tt.name, func(t *testing.T) {
			got := failures(t, open(tt.wrap), tt.check)
			if len(got) == 0 {
				t.Fatalf("the check %q passes", tt.check)
			}
			t.Log(got[0])
		})
	}
	t.Run("nothing", func(t *testing.T) {
		for _, name := range enginetest.Names() {
			if got := failures(t, open(func(e *memory.Engine) engine.Bus { return e }), name); len(got) > 0 {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}

// broken is an engine with replaceable parts.
type broken struct {
	*memory.Engine

	sink func(engine.Sink) engine.Sink
	put  func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error))
	page func(*engine.Page, engine.Position)
	head func(*engine.Position)
	sub  func(ctx context.Context, e *memory.Engine, ts []engine.Topic) error
	quit func(e *memory.Engine) error
}

func (b *broken) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	if b.sink != nil {
		sink = b.sink(sink)
	}
	return b.Engine.Start(ctx, node, classes, sink)
}

func (b *broken) Append(ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
	if b.put != nil {
		b.put(b.Engine, ctx, t, r, done)
		return
	}
	b.Engine.Append(ctx, t, r, done)
}

func (b *broken) Read(ctx context.Context, t engine.Topic, from engine.Position, limit int) (engine.Page, error) {
	p, err := b.Engine.Read(ctx, t, from, limit)
	if b.page != nil && err == nil {
		b.page(&p, from)
	}
	return p, err
}

func (b *broken) Heads(ctx context.Context, ts ...engine.Topic) ([]engine.Position, error) {
	heads, err := b.Engine.Heads(ctx, ts...)
	for i := range heads {
		if b.head != nil {
			b.head(&heads[i])
		}
	}
	return heads, err
}

func (b *broken) Subscribe(ctx context.Context, ts ...engine.Topic) error {
	if b.sub != nil {
		return b.sub(ctx, b.Engine, ts)
	}
	return b.Engine.Subscribe(ctx, ts...)
}

func (b *broken) Close(ctx context.Context) error {
	if b.quit != nil {
		return b.quit(b.Engine)
	}
	return b.Engine.Close(ctx)
}

// filter is a sink between the engine and the kit.
type filter struct {
	engine.Sink

	frame func(s engine.Sink, t engine.Topic, frame []byte)
	entry func(s engine.Sink, t engine.Topic, e engine.Entry)
	link  func(s engine.Sink, up bool)
}

func (f *filter) Frame(t engine.Topic, frame []byte) {
	if f.frame == nil {
		f.Sink.Frame(t, frame)
		return
	}
	f.frame(f.Sink, t, frame)
}

func (f *filter) Entry(t engine.Topic, e engine.Entry) {
	if f.entry == nil {
		f.Sink.Entry(t, e)
		return
	}
	f.entry(f.Sink, t, e)
}

func (f *filter) Link(up bool, in func(engine.Topic) bool) {
	if f.link == nil {
		f.Sink.Link(up, in)
		return
	}
	f.link(f.Sink, up)
}

func frames(f func(s engine.Sink, t engine.Topic, frame []byte)) func(*memory.Engine) engine.Bus {
	return func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, sink: func(s engine.Sink) engine.Sink { return &filter{Sink: s, frame: f} }}
	}
}

func entries(f func(s engine.Sink, t engine.Topic, e engine.Entry)) func(*memory.Engine) engine.Bus {
	return func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, sink: func(s engine.Sink) engine.Sink { return &filter{Sink: s, entry: f} }}
	}
}

func reads(f func(p *engine.Page, from engine.Position)) func(*memory.Engine) engine.Bus {
	return func(e *memory.Engine) engine.Bus { return &broken{Engine: e, page: f} }
}

// swap holds every second thing back until the next has passed.
func swap[T any]() func(v T, pass func(T)) {
	var held *T
	n := 0
	return func(v T, pass func(T)) {
		if n++; n > 20 && held == nil {
			held = &v
			return
		}
		pass(v)
		if held != nil {
			pass(*held)
			held = nil
		}
	}
}

var breaks = []struct {
	name, check string
	wrap        func(*memory.Engine) engine.Bus
}{
	{"frames out of order", "bus order", func(e *memory.Engine) engine.Bus {
		mix := swap[[]byte]()
		return frames(func(s engine.Sink, t engine.Topic, frame []byte) {
			mix(frame, func(f []byte) { s.Frame(t, f) })
		})(e)
	}},
	{"echo", "no echo", func(e *memory.Engine) engine.Bus { return &echo{Engine: e} }},
	{"all topics", "interest", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, sub: func(ctx context.Context, e *memory.Engine, ts []engine.Topic) error {
			never := engine.Topic{Kind: engine.KindRoom, Class: "loose", Name: "never"}
			return e.Subscribe(ctx, append(ts, never)...)
		}}
	}},
	{"frames twice", "hostile names", frames(func(s engine.Sink, t engine.Topic, frame []byte) {
		s.Frame(t, frame)
		s.Frame(t, frame)
	})},
	{"a name that cannot be subscribed to", "hostile names", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, sub: func(ctx context.Context, e *memory.Engine, ts []engine.Topic) error {
			for _, t := range ts {
				if t.Name != "*" {
					if err := e.Subscribe(ctx, t); err != nil {
						return err
					}
				}
			}
			return nil
		}}
	}},
	{"small frames only", "large", frames(func(s engine.Sink, t engine.Topic, frame []byte) {
		s.Frame(t, frame[:min(len(frame), 64<<10)])
	})},
	{"entries out of order", "total order", func(e *memory.Engine) engine.Bus {
		mix := swap[engine.Entry]()
		return entries(func(s engine.Sink, t engine.Topic, e engine.Entry) {
			mix(e, func(e engine.Entry) { s.Entry(t, e) })
		})(e)
	}},
	{"entries in between lost", "total order", func(e *memory.Engine) engine.Bus {
		n := 0
		return entries(func(s engine.Sink, t engine.Topic, e engine.Entry) {
			if n++; n%50 != 0 {
				s.Entry(t, e)
			}
		})(e)
	}},
	{"answers out of order", "publisher order", func(e *memory.Engine) engine.Bus {
		var mix = swap[func()]()
		return &broken{Engine: e, put: func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			e.Append(ctx, t, r, func(a engine.Ack, err error) {
				mix(func() { done(a, err) }, func(f func()) { f() })
			})
		}}
	}},
	{"no own entries", "own entries", entries(func(engine.Sink, engine.Topic, engine.Entry) {})},
	{"no conditions", "condition", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			r.At = nil
			e.Append(ctx, t, r, done)
		}}
	}},
	{"no dedupe", "dedupe", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			r.Dedupe = ""
			e.Append(ctx, t, r, done)
		}}
	}},
	{"dedupe by node", "dedupe", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			r.Dedupe += fmt.Sprintf("%p", e)
			e.Append(ctx, t, r, done)
		}}
	}},
	{"dedupe of everything", "dedupe", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			if r.Dedupe == "" {
				r.Dedupe = "none"
			}
			e.Append(ctx, t, r, done)
		}}
	}},
	{"answered twice", "own entries", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(e *memory.Engine, ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			e.Append(ctx, t, r, func(a engine.Ack, err error) { done(a, err); done(a, err) })
		}}
	}},
	{"no prev", "prev chain", entries(func(s engine.Sink, t engine.Topic, e engine.Entry) {
		e.Prev = 0
		s.Entry(t, e)
	})},
	{"prev of the stream", "prev chain", entries(func(s engine.Sink, t engine.Topic, e engine.Entry) {
		if e.Prev = e.Offset - 1; e.Offset > 10 {
			e.Prev--
		}
		s.Entry(t, e)
	})},
	{"pages overlap", "pages", reads(func(p *engine.Page, _ engine.Position) {
		if p.Anchor != nil && len(p.Entries) > 1 {
			p.Entries = append([]engine.Entry{*p.Anchor}, p.Entries[:len(p.Entries)-1]...)
		}
	})},
	{"no anchor", "anchor", reads(func(p *engine.Page, _ engine.Position) { p.Anchor = nil })},
	{"anchor by tag", "anchor", reads(func(p *engine.Page, from engine.Position) {
		if p.Anchor != nil {
			p.Anchor.Tag = from.Tag
		}
	})},
	{"always complete", "window by count", reads(func(p *engine.Page, _ engine.Position) { p.Complete = true })},
	{"complete without the tag", "window by count", reads(func(p *engine.Page, from engine.Position) {
		p.Complete = len(p.Entries) > 0 && p.Entries[0].Prev == from.Offset && from.Offset > 0
	})},
	{"late heads", "heads", func(e *memory.Engine) engine.Bus {
		var before engine.Position
		return &broken{Engine: e, head: func(p *engine.Position) { before, *p = *p, before }}
	}},
	{"an epoch for each node", "epoch", func(e *memory.Engine) engine.Bus {
		var id [8]byte
		copy(id[:], fmt.Sprintf("%p", e)[4:])
		add := binary.BigEndian.Uint64(id[:])
		return &broken{Engine: e, head: func(p *engine.Position) { p.Epoch += add }}
	}},
	{"close does nothing", "close", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, quit: func(*memory.Engine) error { return nil }}
	}},
	{"a goroutine stays", "close", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, quit: func(e *memory.Engine) error {
			go func() { <-time.After(10 * time.Second) }()
			return e.Close(context.Background())
		}}
	}},
	{"no word of the link", "outage", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, sink: func(s engine.Sink) engine.Sink {
			return &filter{Sink: s, link: func(engine.Sink, bool) {}}
		}}
	}},
	{"contexts ignored", "contexts", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, sub: func(_ context.Context, e *memory.Engine, ts []engine.Topic) error {
			return e.Subscribe(context.Background(), ts...)
		}}
	}},
}

// echo shows the publishing node its own frames.
type echo struct {
	*memory.Engine

	sink engine.Sink
}

func (e *echo) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	e.sink = sink
	return e.Engine.Start(ctx, node, classes, sink)
}

func (e *echo) Publish(t engine.Topic, frame []byte) error {
	e.sink.Frame(t, frame)
	return e.Engine.Publish(t, frame)
}
