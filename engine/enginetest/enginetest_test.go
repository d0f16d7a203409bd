package enginetest_test

import (
	"context"
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

	kept func([]engine.Class) // changes what Start is told
	sink func(engine.Sink) engine.Sink
	put  put
	page func(*engine.Page, engine.Position)
	head func(*engine.Position)
	sub  func(ctx context.Context, e *memory.Engine, ts []engine.Topic) error
	quit func(e *memory.Engine) error
}

func (b *broken) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	if b.sink != nil {
		sink = b.sink(sink)
	}
	if b.kept != nil {
		classes = slices.Clone(classes)
		b.kept(classes)
	}
	return b.Engine.Start(ctx, node, classes, sink)
}

func (b *broken) Append(ctx context.Context, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
	if b.put != nil {
		b.put(ctx, b.Engine, t, r, done)
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
