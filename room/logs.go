package room

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/internal/feed"
	"github.com/hubbub-go/hubbub/message"
)

// Logs connects recoverable rooms, of any number of managers, with the engine
// that keeps their messages. Its methods are safe for concurrent use.
type Logs struct {
	bus engine.Bus
	log engine.Log

	mu      sync.Mutex
	classes []engine.Class
	resume  int // the most that a room keeps
	node    *feed.Node
}

// NewLogs returns Logs on an engine. It panics if the engine keeps no logs: if it
// does not implement engine.Log.
func NewLogs(bus engine.Bus) *Logs {
	log, ok := bus.(engine.Log)
	if !ok {
		panic(fmt.Sprintf("room: %T keeps no logs, so it cannot serve recoverable rooms", bus))
	}
	return &Logs{bus: bus, log: log}
}

// provision adds a class. All are known before Start.
func (l *Logs) provision(c engine.Class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.node != nil {
		panic("room: a Manager comes after Logs.Start; make all of them first")
	}
	for _, other := range l.classes {
		if other.Name == c.Name {
			panic(fmt.Sprintf("room: two managers have the class %s; give them different names", c.Name))
		}
	}
	l.classes = append(l.classes, c)
	l.resume = max(l.resume, c.Keep)
}

// Start starts the engine for the rooms of all managers that use l. Until then,
// and after Close, what these rooms do is unavailable. Later calls do nothing,
// unless the first one failed.
func (l *Logs) Start(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.node != nil {
		return nil
	}
	node := feed.NewNode(l.bus, l.log, l.classes, &feed.Options{Resume: l.resume})
	id, err := uuid.NewV7()
	if err == nil {
		err = l.bus.Start(ctx, id.String(), l.classes, sink{node})
	}
	if err != nil {
		node.Close()
		return fmt.Errorf("room: starting the engine: %w", err)
	}
	l.node = node
	return nil
}

// Close ends all feeds and closes the engine. Rooms keep their members, who get
// nothing more that is kept.
func (l *Logs) Close(ctx context.Context) error {
	l.mu.Lock()
	node := l.node
	l.mu.Unlock()
	if node == nil {
		return nil
	}
	node.Close()
	return l.bus.Close(ctx)
}

// feeds returns the node of feeds, if Start was called.
func (l *Logs) feeds() (*feed.Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.node == nil {
		return nil, fmt.Errorf("room: Logs.Start was not called: %w", engine.ErrUnavailable)
	}
	return l.node, nil
}

// sink is what the engine calls. Frames between nodes are not used yet.
type sink struct{ node *feed.Node }

func (s sink) Frame(engine.Topic, []byte)                 {}
func (s sink) Entry(t engine.Topic, e engine.Entry)       { s.node.Entry(t, e) }
func (s sink) Link(up bool, in func(t engine.Topic) bool) { s.node.Link(up, in) }

// clientError turns what an engine fails with into what a client is told.
func clientError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrConflict):
		return message.Errorf(message.Conflict, "the room has gone on")
	case errors.Is(err, engine.ErrUncertain):
		return message.Errorf(message.Timeout, "whether the message is stored is not known; send it again with the same id")
	case errors.Is(err, engine.ErrUnavailable), errors.Is(err, feed.ErrClosed):
		return message.Errorf(message.Unavailable, "the history of the room cannot be reached; nothing was stored")
	}
	return err
}
