package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// ending is what the hub keeps for its end. Hub.mu guards it, but for the wait.
type ending struct {
	ctx      context.Context // until Shutdown returns
	end      context.CancelFunc
	draining chan struct{}      // closed when nobody is let in any more
	closed   bool               // nobody is even turned away in good order
	leaving  map[*Peer]struct{} // unknown, or not known any more, but still read
	reading  sync.WaitGroup     // a count for each connection that is read
}

// begun reports whether Shutdown has been called.
func (e *ending) begun() bool {
	select {
	case <-e.draining:
		return true
	default:
		return false
	}
}

func (e *ending) leave(p *Peer) {
	if e.leaving == nil {
		e.leaving = map[*Peer]struct{}{}
	}
	e.leaving[p] = struct{}{}
}

// unread notes that the connection has ended.
func (h *Hub) unread(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.unread = true
	delete(h.ending.leaving, p)
	h.ending.reading.Done()
}

// goodbye tells a client that it is being disconnected, and when to come back.
func (p *Peer) goodbye(code int, reason string, retry time.Duration) {
	p.bye(reason, retry)
	p.depart(code, reason)
}

func (p *Peer) bye(reason string, retry time.Duration) {
	p.tell(message.New(envelope.Bye, struct {
		Reason     string `json:"reason"`
		RetryAfter int64  `json:"retryAfter,omitzero"`
	}{strings.ToValidUTF8(reason, "\uFFFD"), retry.Milliseconds()}))
}

func (p *Peer) depart(code int, reason string) {
	p.answers.hurry(p, "")
	p.conn.Close(code, reason)
	p.end(&transport.CloseError{Code: code, Reason: reason, Local: true})
}

// turnAway ends a connection for which there is no place any more. It is welcomed
// all the same: clients wait for that.
func (p *Peer) turnAway(code int, welcome *message.Frame) {
	h := p.hub
	p.mu.Lock()
	p.gone = true // there is nothing to leave
	p.mu.Unlock()
	h.mu.Lock()
	closed := h.ending.closed
	if !closed {
		h.ending.reading.Add(1)
		h.ending.leave(p)
	}
	h.mu.Unlock()
	if closed {
		p.conn.Abort()
		p.discard()
		return
	}
	reason, retry := "the server is shutting down", h.opts.DrainTime
	if code == message.CloseTooMany {
		reason, retry = "there are too many connections", h.opts.Heartbeat
	}
	_ = p.Deliver(welcome)
	p.bye(reason, retry)
	p.conn.Close(code, reason)
	go func() {
		p.discard()
		h.unread(p)
	}()
}

// discard reads a connection to its end.
func (p *Peer) discard() {
	for {
		m, err := p.conn.Read()
		switch {
		case err == nil:
			m.Release()
		case !errors.Is(err, transport.ErrIdle):
			return
		}
	}
}

// Shutdown ends the hub: new clients get 503, and those that are connected are
// told to come back, a few at a time over Options.DrainTime, or over half of
// what ctx leaves if that is less, each with a different retryAfter. From then on
// no handler of that client begins; those that run may finish and answer, for as
// long again, before it is closed and their context ends. When Shutdown returns,
// no goroutine of the hub is left. If ctx ends first, every connection is cut and
// every handler's context ended, and the error is that of ctx: only handlers, and
// other functions of the application, that do not return may then be left.
//
// http.Server.Shutdown does not know of hijacked connections, nor does it wait for
// the functions of its RegisterOnShutdown: call this one first, and that one when it
// has returned. Called from a handler of the hub, it waits for that handler, and so
// for itself, until ctx ends: let another goroutine call it.
func (h *Hub) Shutdown(ctx context.Context) error {
	h.freeze()
	h.mu.Lock()
	if !h.ending.begun() {
		close(h.ending.draining)
	}
	h.mu.Unlock()
	defer h.ending.end()
	defer h.closeLogs()
	h.drain(ctx)
	done := make(chan struct{})
	go func() {
		h.wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // both were true
		return nil
	default:
	}
	h.cut(fmt.Errorf("hub: cut when Shutdown had no more time: %w", ctx.Err()))
	return ctx.Err()
}

// closeLogs ends what the hub has started of its engine.
func (h *Hub) closeLogs() {
	if h.history.logs == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := h.history.logs.Close(ctx); err != nil {
		h.opts.Log.Error("hubbub: the engine does not close", "error", err)
	}
}

// wait waits until nothing is left.
func (h *Hub) wait() {
	h.running.Wait()
	h.mu.Lock()
	h.ending.closed = true // or somebody who was let in before could still be counted
	h.mu.Unlock()
	h.ending.reading.Wait()
	h.heart.runs.Wait()
	for _, s := range h.scopes { // nobody comes back here
		s.rooms.Close()
	}
}

// drain says goodbye to all peers, spread over the time there is, first to those
// that came first.
func (h *Hub) drain(ctx context.Context) {
	window := h.opts.DrainTime
	if end, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(end)/2)
	}
	peers := h.heart.inOrder(h.snapshot())
	draw := rand.Int64N
	if h.opts.Seed != 0 {
		draw = rand.New(rand.NewPCG(h.opts.Seed, 0)).Int64N
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, p := range peers {
		timer.Reset(time.Until(start.Add(window * time.Duration(i) / time.Duration(len(peers)))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		retry := time.Millisecond + time.Duration(draw(int64(max(window, time.Second))))
		p.apart(func() { p.farewell(ctx, retry, window) })
	}
}

// farewell ends a peer when its handlers have finished, or after patience. Where
// ctx ends first, all are cut anyway.
func (p *Peer) farewell(ctx context.Context, retry, patience time.Duration) {
	const reason = "drain"
	last := p.rest()
	if last == nil {
		return // another Shutdown does it
	}
	p.bye(reason, retry)
	late, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.finish(late, last)
	if ctx.Err() == nil {
		p.depart(message.CloseAway, reason)
	}
}

// rest lets no further handler begin. The channel is closed when none runs in turn
// any more; it is nil if somebody has called rest before.
func (p *Peer) rest() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.turn
	if t.last != nil {
		return nil
	}
	t.last = make(chan struct{})
	if !t.running {
		close(t.last)
	}
	return t.last
}

// finish waits for the turn to end and then, by taking their places, for the
// concurrent handlers.
func (p *Peer) finish(ctx context.Context, last <-chan struct{}) {
	select {
	case <-last:
	case <-ctx.Done():
		return
	}
	for range cap(p.turn.side) {
		select {
		case p.turn.side <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// cut ends whatever is still connected, and returns when nobody reads any more.
// That is at once, unless a transport does not keep its promises.
func (h *Hub) cut(reason error) {
	h.mu.Lock()
	h.ending.closed = true
	all := make([]*Peer, 0, len(h.peers)+len(h.ending.leaving))
	for _, p := range h.peers {
		all = append(all, p)
	}
	for p := range h.ending.leaving {
		all = append(all, p)
	}
	h.mu.Unlock()
	for _, p := range all {
		p.rest()
		p.cancel(reason)
		p.conn.Abort()
		p.readOn() // whoever reads may be in a handler that does not return
		p.apart(func() { p.end(reason) })
	}
	unread := make(chan struct{})
	go func() {
		h.ending.reading.Wait()
		close(unread)
	}()
	select {
	case <-unread:
	case <-time.After(time.Second):
	}
}
