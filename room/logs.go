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

	ctx context.Context // until Close
	end context.CancelFunc

	mu      sync.Mutex
	classes []engine.Class
	resume  int    // the most that a room keeps
	start   *start // the latest; nil: Start was not called
}

// start is an attempt to start the engine, for all who wait for it.
type start struct {
	done chan struct{} // closed when it has ended, and the rest is known
	node *feed.Node
	err  error
}

// NewLogs returns Logs on an engine. It panics if the engine keeps no logs: if it
// does not implement engine.Log.
func NewLogs(bus engine.Bus) *Logs {
	log, ok := bus.(engine.Log)
	if !ok {
		panic(fmt.Sprintf("room: %T keeps no logs, so it cannot serve recoverable rooms", bus))
	}
	l := &Logs{bus: bus, log: log}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// chooser is an engine that can say, before it is started with a class, why it would
// not start.
type chooser interface{ Accepts(c engine.Class) error }

// provision adds a class. All are known before Start.
func (l *Logs) provision(c engine.Class) {
	if e, ok := l.bus.(chooser); ok {
		if err := e.Accepts(c); err != nil {
			panic(fmt.Sprintf("room: the engine cannot keep what Recoverable asks for: %v", err))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.start != nil && !l.start.failed() {
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

// Start starts the engine for the rooms of all managers that use l, and waits for
// it until ctx ends; the engine goes on to start all the same. Before Start, and
// after Close, what these rooms do is unavailable; while the engine starts, it
// waits as long as its own context lasts. Later calls only wait, unless the engine
// could not be started: then they try again.
func (l *Logs) Start(ctx context.Context) error {
	s, err := l.begin()
	if err == nil {
		_, err = s.wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("room: starting the engine: %w", err)
	}
	return nil
}

// begin returns the start that is under way or was successful, or begins one.
func (l *Logs) begin() (*start, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.start != nil && !l.start.failed():
		return l.start, nil
	case l.ctx.Err() != nil:
		return nil, fmt.Errorf("the logs are closed: %w", engine.ErrUnavailable)
	}
	classes := l.classes
	s := &start{done: make(chan struct{}), node: feed.NewNode(l.bus, l.log, classes, &feed.Options{Resume: l.resume})}
	l.start = s
	go l.launch(s, classes) // Close waits for it
	return s, nil
}

// launch starts the engine. If Close has been called meanwhile, which perhaps does not
// wait so long, it is closed here.
func (l *Logs) launch(s *start, classes []engine.Class) {
	id, err := uuid.NewV7()
	if err == nil {
		err = l.bus.Start(l.ctx, id.String(), classes, sink{s.node})
	}
	l.mu.Lock()
	if err == nil && l.ctx.Err() == nil {
		close(s.done) // before Close is called, so that it sees to the rest
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if err == nil {
		err = l.ctx.Err()
		_ = l.bus.Close(l.ctx)
	}
	s.node.Close()
	s.err = err
	close(s.done)
}

func (s *start) failed() bool {
	select {
	case <-s.done:
		return s.err != nil
	default:
		return false
	}
}

// wait returns the node of feeds when the engine has started.
func (s *start) wait(ctx context.Context) (*feed.Node, error) {
	select {
	case <-s.done:
		return s.node, s.err
	default:
	}
	select {
	case <-s.done:
		return s.node, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends all feeds and closes the engine, also one that is starting, unless
// ctx ends first. Rooms keep their members, who get nothing more that is kept.
func (l *Logs) Close(ctx context.Context) error {
	l.mu.Lock()
	l.end()
	s := l.start
	l.mu.Unlock()
	if s == nil {
		return nil
	}
	node, err := s.wait(ctx)
	switch {
	case s.failed():
		return nil // and has left nothing behind
	case err != nil:
		return fmt.Errorf("room: closing an engine that is starting: %w", err)
	}
	node.Close()
	return l.bus.Close(ctx)
}

// feeds returns the node of feeds, if Start was called. It waits for a start that
// is under way.
func (l *Logs) feeds(ctx context.Context) (*feed.Node, error) {
	l.mu.Lock()
	s := l.start
	l.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("room: Logs.Start was not called: %w", engine.ErrUnavailable)
	}
	node, err := s.wait(ctx)
	if err != nil && s.failed() {
		return nil, fmt.Errorf("room: the engine has not started: %w", engine.ErrUnavailable)
	}
	return node, err
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
