package hub

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// goodbye tells a client that it is being disconnected, and when to come back.
func (p *Peer) goodbye(code int, reason string, retry time.Duration) {
	p.bye(code, reason, retry)
	p.end(&transport.CloseError{Code: code, Reason: reason, Local: true})
}

func (p *Peer) bye(code int, reason string, retry time.Duration) {
	_ = p.Send(message.New(envelope.Bye, struct {
		Reason     string `json:"reason"`
		RetryAfter int64  `json:"retryAfter,omitzero"`
	}{reason, retry.Milliseconds()}))
	p.conn.Close(code, reason)
}

// turnAway ends a connection for which there is no place any more.
func (p *Peer) turnAway(code int) {
	if code == message.CloseTooMany {
		p.bye(code, "there are too many connections", p.hub.opts.Heartbeat)
	} else {
		p.bye(code, "the server is shutting down", p.hub.opts.DrainTime)
	}
}

// Shutdown ends the hub: new clients get 503, and those that are connected are
// told to come back, a few at a time over Options.DrainTime, or over half of
// what ctx leaves if that is less, each with a different retryAfter. Running
// handlers finish. When Shutdown returns, no goroutine of the hub is left; if
// ctx ends first, what is left is cut, and the error is that of ctx.
//
// http.Server.Shutdown does not know of hijacked connections: call this one
// first, or pass it to http.Server.RegisterOnShutdown.
func (h *Hub) Shutdown(ctx context.Context) error {
	h.freeze()
	h.mu.Lock()
	h.life.draining = true
	h.mu.Unlock()
	defer h.life.end()
	defer h.closeLogs()
	h.drain(ctx)
	done := make(chan struct{})
	go func() {
		h.running.Wait()
		for _, s := range h.scopes { // nobody comes back here
			s.rooms.Close()
		}
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
	h.cut()
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

// drain says goodbye to all peers, spread over the time there is.
func (h *Hub) drain(ctx context.Context) {
	window := h.opts.DrainTime
	if end, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(end)/2)
	}
	peers := h.snapshot()
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, p := range peers {
		timer.Reset(time.Until(start.Add(window * time.Duration(i) / time.Duration(len(peers)))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			h.cut()
			return
		}
		retry := time.Millisecond + time.Duration(rand.Int64N(int64(max(window, time.Second))))
		p.apart(func() { p.goodbye(message.CloseAway, "drain", retry) })
	}
}

// cut ends whatever is still connected. Peers that have been told goodbye are
// no longer known, so their connections end by their own deadline.
func (h *Hub) cut() {
	for _, p := range h.snapshot() {
		p.conn.Abort()
	}
}
