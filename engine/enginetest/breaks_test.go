package enginetest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
)

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
	{"frames of text only", "any bytes", frames(func(s engine.Sink, t engine.Topic, frame []byte) {
		s.Frame(t, bytes.ToValidUTF8(frame, []byte("?")))
	})},
	{"frames up to a zero", "any bytes", frames(func(s engine.Sink, t engine.Topic, frame []byte) {
		if i := bytes.LastIndexByte(frame, 0); i > 0 {
			frame = frame[:i]
		}
		s.Frame(t, frame)
	})},
	{"records of text only", "any bytes", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		r.Data = bytes.ToValidUTF8(r.Data, []byte("?"))
		e.Append(ctx, t, r, done)
	})},
	{"records up to a zero", "any bytes", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		r.Data, _, _ = bytes.Cut(r.Data, []byte{0})
		e.Append(ctx, t, r, done)
	})},
	{"records without their last line end", "any bytes", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		r.Data = bytes.TrimRight(r.Data, "\r\n")
		e.Append(ctx, t, r, done)
	})},
	{"pages of text only", "any bytes", reads(func(p *engine.Page, _ engine.Position) {
		for i := range p.Entries {
			p.Entries[i].Data = bytes.ToValidUTF8(p.Entries[i].Data, []byte("?"))
		}
	})},
	{"anchors of text only", "any bytes", reads(func(p *engine.Page, _ engine.Position) {
		if p.Anchor != nil {
			p.Anchor.Data = bytes.ToValidUTF8(p.Anchor.Data, []byte("?"))
		}
	})},
	{"an append that waits", "no waiting", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		<-time.After(50 * time.Millisecond)
		e.Append(ctx, t, r, done)
	})},
	{"an append that waits for the broker", "no waiting", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		e.Append(ctx, t, r, func(a engine.Ack, err error) {
			if err != nil {
				<-ctx.Done()
			}
			done(a, err)
		})
	})},
	{"a frame that waits", "no waiting", func(e *memory.Engine) engine.Bus { return slow{Engine: e, publish: 50 * time.Millisecond} }},
	{"an end of interest that waits", "no waiting", func(e *memory.Engine) engine.Bus {
		return slow{Engine: e, unsubscribe: 50 * time.Millisecond}
	}},
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
		return &broken{Engine: e, put: func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			e.Append(ctx, t, r, func(a engine.Ack, err error) {
				mix(func() { done(a, err) }, func(f func()) { f() })
			})
		}}
	}},
	{"no own entries", "own entries", entries(func(engine.Sink, engine.Topic, engine.Entry) {})},
	{"no conditions", "condition", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			r.At = nil
			e.Append(ctx, t, r, done)
		}}
	}},
	{"no dedupe", "dedupe", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			r.Dedupe = ""
			e.Append(ctx, t, r, done)
		}}
	}},
	{"dedupe by node", "dedupe", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			r.Dedupe += fmt.Sprintf("%p", e)
			e.Append(ctx, t, r, done)
		}}
	}},
	{"dedupe of everything", "dedupe", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			if r.Dedupe == "" {
				r.Dedupe = "none"
			}
			e.Append(ctx, t, r, done)
		}}
	}},
	{"answered twice", "own entries", func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, put: func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
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
	{"stored though unavailable", "unavailable", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		e.Append(context.Background(), t, r, func(a engine.Ack, err error) {
			if ctx.Err() != nil {
				a, err = engine.Ack{}, engine.ErrUnavailable
			}
			done(a, err)
		})
	})},
	{"stored after unavailable", "unavailable", puts(later)},
	{"stored when the broker is back", "unavailable in an outage", puts(again)},
	{"dedupe for a second", "dedupe window", provisions(func(c *engine.Class) { c.Dedupe = min(c.Dedupe, time.Second) })},
	{"dedupe as long as the entry", "dedupe beyond the entry", puts(forgetful)},
	{"dedupe by the log", "dedupe at once", puts(lookup)},
	{"the tag of the retry", "dedupe by the key", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		e.Append(ctx, t, r, func(a engine.Ack, err error) {
			if a.Duplicate {
				a.Tag = engine.TagOf(r.ID)
			}
			done(a, err)
		})
	})},
	{"no tag of what is gone", "dedupe by the key", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		e.Append(ctx, t, r, func(a engine.Ack, err error) {
			if p, failed := e.Read(ctx, t, a.Position, 1); a.Duplicate && failed == nil && p.Anchor == nil {
				a.Tag = 0
			}
			done(a, err)
		})
	})},
	{"dedupe by the id", "dedupe by the key", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		if r.Dedupe != "" {
			r.Dedupe = engine.Token(string(r.ID[:]))
		}
		e.Append(ctx, t, r, done)
	})},
	{"a condition on the offset", "condition on a place", conditions(func(head engine.Position, at *engine.Position) {
		if at.Offset == head.Offset {
			*at = head
		}
	})},
	{"a condition on offset and epoch", "condition on a place", conditions(func(head engine.Position, at *engine.Position) {
		at.Tag = 0
	})},
	{"a condition on the whole position", "condition on a place", conditions(func(head engine.Position, at *engine.Position) {
		if *at != head {
			at.Epoch = 0
		}
	})},
	{"no condition on the zero position", "condition on a place", conditions(func(head engine.Position, at *engine.Position) {
		if *at == (engine.Position{}) {
			*at = head
		}
	})},
	{"a condition on an entry", "condition on what is gone", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		if r.At != nil {
			if p, err := e.Read(ctx, t, *r.At, 1); err == nil && p.Anchor == nil && p.Head.Offset > 0 {
				r.At = &engine.Position{}
			}
		}
		e.Append(ctx, t, r, done)
	})},
	{"the key before the condition", "conflict forgotten", func() func(*memory.Engine) engine.Bus {
		refused := map[string]bool{} // of all nodes: the check appends one record at a time
		return puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
			if refused[r.Dedupe] {
				done(engine.Ack{Duplicate: true}, nil)
				return
			}
			e.Append(ctx, t, r, func(a engine.Ack, err error) {
				refused[r.Dedupe] = errors.Is(err, engine.ErrConflict)
				done(a, err)
			})
		})
	}()},
	{"no bound in bytes", "window by bytes", provisions(func(c *engine.Class) { c.Bytes = 0 })},
	{"few bytes", "window by bytes", provisions(func(c *engine.Class) { c.Bytes /= 4 })},
	{"nothing larger than the log", "window by bytes", puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		if t.Class == "bytes" && len(r.Data) > 64<<10 {
			done(engine.Ack{}, engine.ErrUnavailable)
			return
		}
		e.Append(ctx, t, r, done)
	})},
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

// slow waits before it hands something over.
type slow struct {
	*memory.Engine

	publish, unsubscribe time.Duration
}

func (s slow) Publish(t engine.Topic, frame []byte) error {
	<-time.After(s.publish)
	return s.Engine.Publish(t, frame)
}

func (s slow) Unsubscribe(ts ...engine.Topic) error {
	<-time.After(s.unsubscribe)
	return s.Engine.Unsubscribe(ts...)
}

type put = func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error))

func puts(f put) func(*memory.Engine) engine.Bus {
	return func(e *memory.Engine) engine.Bus { return &broken{Engine: e, put: f} }
}

// provisions changes each class before the engine sees it.
func provisions(change func(*engine.Class)) func(*memory.Engine) engine.Bus {
	return func(e *memory.Engine) engine.Bus {
		return &broken{Engine: e, kept: func(classes []engine.Class) {
			for i := range classes {
				change(&classes[i])
			}
		}}
	}
}

// conditions changes Record.At, where there is one.
func conditions(change func(head engine.Position, at *engine.Position)) func(*memory.Engine) engine.Bus {
	return puts(func(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
		if heads, err := e.Heads(ctx, t); err == nil && r.At != nil {
			at := *r.At
			change(heads[0], &at)
			r.At = &at
		}
		e.Append(ctx, t, r, done)
	})
}

// later stores a moment later, and goes on when the caller does not wait for it.
func later(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
	go func() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			done(engine.Ack{}, engine.ErrUnavailable)
			done = func(engine.Ack, error) {}
		}
		e.Append(context.Background(), t, r, done)
	}()
}

// again answers, and tries for three seconds more.
func again(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
	e.Append(ctx, t, r, func(a engine.Ack, err error) {
		if done(a, err); err == nil {
			return
		}
		go func() {
			for range 30 {
				<-time.After(100 * time.Millisecond)
				e.Append(context.Background(), t, r, func(engine.Ack, error) {})
			}
		}()
	})
}

// forgetful knows a key only as long as its entry is kept.
func forgetful(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
	e.Append(ctx, t, r, func(a engine.Ack, err error) {
		if p, failed := e.Read(ctx, t, a.Position, 1); a.Duplicate && failed == nil && p.Anchor == nil {
			r.Dedupe = ""
			e.Append(ctx, t, r, done)
			return
		}
		done(a, err)
	})
}

// lookup looks whether the log has the record, and then appends it.
func lookup(ctx context.Context, e *memory.Engine, t engine.Topic, r engine.Record, done func(engine.Ack, error)) {
	p, err := e.Read(context.Background(), t, engine.Position{}, 1000)
	i := slices.IndexFunc(p.Entries, func(e engine.Entry) bool { return e.ID == r.ID })
	if err == nil && i >= 0 {
		done(engine.Ack{Position: p.Entries[i].Position, Duplicate: true}, nil)
		return
	}
	r.Dedupe = ""
	e.Append(ctx, t, r, done)
}
