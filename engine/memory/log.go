package memory

import (
	"context"
	"fmt"

	"github.com/hubbub-go/hubbub/engine"
)

var errConflict = fmt.Errorf("memory: %w", engine.ErrConflict)

var errFull = fmt.Errorf("memory: Options.Bytes is reached: %w", engine.ErrUnavailable)

var errKeys = fmt.Errorf("memory: the room has all the dedupe keys that it may have now: %w", engine.ErrUnavailable)

// Append implements engine.Log. done and the sinks are called by the goroutine
// of one of the publishers, most likely this one.
func (e *Engine) Append(ctx context.Context, to engine.Topic, rec engine.Record, done func(engine.Ack, error)) {
	if err := ctx.Err(); err != nil {
		done(engine.Ack{}, fmt.Errorf("%w: %w", engine.ErrUnavailable, err))
		return
	}
	data := append([]byte{}, rec.Data...)
	n := e.net
	n.mu.Lock()
	t, err := n.append(e, to, rec, data, done)
	n.mu.Unlock()
	if err != nil {
		done(engine.Ack{}, err)
		return
	}
	t.deliver()
}

// append stores a record and queues what follows from it. n.mu is held.
func (n *Network) append(e *Engine, to engine.Topic, rec engine.Record, data []byte, done func(engine.Ack, error)) (*topic, error) {
	if err := e.usable(); err != nil {
		return nil, err
	}
	if n.classOf(to) == nil {
		return nil, errNoLog(to)
	}
	now := n.now()
	if t := n.topics[to]; t != nil {
		if !t.room(len(data)) {
			return nil, errBusy
		}
		n.expire(t.log, now)
		if p, ok := t.log.keys.places[rec.Dedupe]; ok {
			at := engine.Position{Epoch: t.log.epoch, Offset: p.offset, Tag: p.tag}
			return t, e.answer(t, event{ack: engine.Ack{Position: at, Duplicate: true}, done: done})
		}
	}
	if rec.At != nil && !rec.At.Same(n.head(to)) {
		return nil, errConflict
	}
	keyed := rec.Dedupe != "" && n.classOf(to).Dedupe > 0
	if keyed && !n.remembers(to, rec.Dedupe) {
		return nil, errKeys
	}
	if !n.fits(logCost+len(to.Name)+entryCost+len(data)+keyCost+len(rec.Dedupe), now) {
		return nil, errFull
	}
	t := n.topic(to)
	h := t.log
	n.size += h.append(rec.ID, data, now)
	if keyed {
		n.held -= h.held()
		added := h.keys.add(place{rec.Dedupe, h.offset, h.head, now})
		h.cost += added
		n.size += added
		n.held += h.held()
	}
	entry := h.at(h.offset)
	n.size -= h.trim(now)
	if len(h.keys.order) > 0 || h.class.KeepFor > 0 {
		n.shelve(t, busy)
	} else {
		n.shelve(t, aged)
	}
	return t, e.answer(t, event{to: t.interests, entry: entry, ack: engine.Ack{Position: entry.Position}, done: done})
}

// head is the head of a log, whether or not it exists yet. n.mu is held.
func (n *Network) head(to engine.Topic) engine.Position {
	if t := n.topics[to]; t != nil {
		return t.log.position()
	}
	return engine.Position{Epoch: *n.epochs.of(to)}
}

// answer queues the answer to an append, and holds Close up until it is given.
func (e *Engine) answer(t *topic, ev event) error {
	ev.from = e
	if !e.calls.enter() {
		return fmt.Errorf("memory: closed: %w", engine.ErrUncertain)
	}
	t.push(ev)
	return nil
}

func errNoLog(t engine.Topic) error {
	return fmt.Errorf("memory: topics of kind %c and class %q have no log", t.Kind, t.Class)
}

// Read implements engine.Log.
func (e *Engine) Read(ctx context.Context, from engine.Topic, after engine.Position, limit int) (engine.Page, error) {
	var p engine.Page
	err := e.look(ctx, []engine.Topic{from}, func(h *history) { p = h.page(after, max(limit, 1)) })
	return p, err
}

// Heads implements engine.Log. It is authoritative with many topics too.
func (e *Engine) Heads(ctx context.Context, ts ...engine.Topic) ([]engine.Position, error) {
	heads := make([]engine.Position, 0, len(ts))
	err := e.look(ctx, ts, func(h *history) { heads = append(heads, h.position()) })
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// look shows the logs of topics, without what has expired. One that does not
// exist looks as it would if it did.
func (e *Engine) look(ctx context.Context, ts []engine.Topic, show func(*history)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: read: %w", err)
	}
	n := e.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := e.usable(); err != nil {
		return err
	}
	for _, name := range ts {
		c := n.classOf(name)
		if c == nil {
			return errNoLog(name)
		}
		h := &history{class: c, epoch: *n.epochs.of(name)}
		if t := n.topics[name]; t != nil {
			h = t.log
			n.size -= h.trim(n.now())
		}
		show(h)
	}
	return nil
}

// Survives implements engine.Log: nothing, the process is all there is.
func (e *Engine) Survives() engine.Survival { return engine.SurvivesNothing }
