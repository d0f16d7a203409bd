package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// subprotocol names the dialect of docs/protocol.md.
const subprotocol = "hubbub.v1"

// ending is how an attempt or a connection ended.
type ending struct {
	err   error
	after time.Duration // when the server wants the client back
	asked bool          // it said so
	held  time.Duration // how long the connection was there
}

// run keeps the connection, beginning with s if that is not nil. There is one
// attempt or one connection at a time, and each is over before the next begins.
func (c *Client) run(s *socket) {
	losses := 0
	for {
		end := c.live(s)
		s = nil
		if end.held >= stable {
			losses = 0
		}
		if c.life.ctx.Err() != nil || !c.comesBack(end) || c.opts.Retries > 0 && losses >= c.opts.Retries {
			c.over(end.err)
			return
		}
		wait := c.wait(losses, end.after)
		losses++
		c.mu.Lock()
		c.set(Status{State: Disconnected, Err: end.err, Retry: wait})
		c.mu.Unlock()
		select {
		case <-time.After(wait):
		case <-c.life.ctx.Done():
			c.over(end.err)
			return
		}
	}
}

// live makes a connection, unless s is one, and returns when it has ended.
func (c *Client) live(s *socket) ending {
	if s == nil {
		c.mu.Lock()
		c.set(Status{State: Connecting, Err: c.status.Err})
		c.mu.Unlock()
		var err error
		if s, err = c.connect(c.life.ctx); err != nil {
			return failure(err)
		}
		c.up(s)
	}
	began := time.Now()
	err := s.serve()
	end := failure(err)
	end.held = time.Since(began)
	if s.bye != nil {
		end.after, end.asked = *s.bye, true
	}
	return end
}

func failure(err error) ending {
	end := ending{err: err}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		end.after = refusal.RetryAfter
	}
	var early *earlyEnd
	if errors.As(err, &early) && early.bye != nil {
		end.after, end.asked = *early.bye, true
	}
	return end
}

// comesBack follows docs/protocol.md, section 5. An expired identity can only be
// renewed by Options.Header.
func (c *Client) comesBack(end ending) bool {
	if refusal, ok := errors.AsType[*Refusal](end.err); ok {
		return refusal.Status != http.StatusUnauthorized || c.opts.Header != nil
	}
	var closed *CloseError
	if !errors.As(end.err, &closed) {
		return true
	}
	switch closed.Code {
	case message.CloseDone, message.CloseProtocol, message.CloseUTF8, message.ClosePolicy, message.CloseTooLarge, message.CloseKicked:
		return false
	case message.CloseExpired:
		return c.opts.Header != nil
	case message.CloseTooMany:
		return end.asked
	}
	return true
}

// wait is random up to a bound that doubles with each loss in a row. What the
// server asked for comes first, so that those who were asked the same do not
// come at once.
func (c *Client) wait(losses int, asked time.Duration) time.Duration {
	bound := c.opts.RetryMin
	for range losses {
		if bound >= c.opts.RetryMax {
			break
		}
		bound *= 2
	}
	bound = min(bound, c.opts.RetryMax)
	return max(0, min(asked, longestWait)) + c.dice.upTo(bound)
}

// dice is where random waits come from. The methods are safe for concurrent use.
type dice struct {
	mu  sync.Mutex
	rnd *rand.Rand // nil: the one of all
}

// newDice returns dice that fall as the seed says, 0 meaning by chance.
func newDice(seed uint64) *dice {
	if seed == 0 {
		return &dice{}
	}
	return &dice{rnd: rand.New(rand.NewPCG(seed, 0))}
}

// upTo returns something between 0 and most, both included.
func (d *dice) upTo(most time.Duration) time.Duration {
	if d.rnd == nil {
		return rand.N(most + 1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rnd.Int64N(int64(most) + 1))
}

// connect makes one connection, as far as its welcome.
func (c *Client) connect(ctx context.Context) (*socket, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout, timeoutError(c.opts.Timeout))
	defer cancel()
	s := newSocket(c)
	opts := &websocket.DialOptions{
		HTTPClient:     c.opts.HTTPClient,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(ctx context.Context, _ []byte) bool { return s.pinged(ctx) },
	}
	if c.opts.Header != nil {
		header, err := c.opts.Header(ctx)
		if err != nil {
			s.cancel(err)
			return nil, fmt.Errorf("client: Options.Header: %w", err)
		}
		opts.HTTPHeader = header
	}
	ws, resp, err := websocket.Dial(ctx, c.url, opts) //nolint:bodyclose // the library's affair
	if err != nil {
		s.cancel(err)
		if refusal := refusalOf(resp); refusal != nil {
			return nil, refusal
		}
		return nil, fmt.Errorf("client: connecting: %w", because(ctx, err))
	}
	s.ws = ws
	ws.SetReadLimit(int64(c.opts.Limit))
	if err := s.greet(ctx); err != nil {
		s.cancel(err)
		_ = ws.CloseNow()
		return nil, err
	}
	return s, nil
}

// because prefers the reason why ctx has ended.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// earlyEnd is a connection that ended before its welcome.
type earlyEnd struct {
	err error
	bye *time.Duration
}

func (e *earlyEnd) Error() string { return "client: no welcome: " + e.err.Error() }
func (e *earlyEnd) Unwrap() error { return e.err }

// greet waits for the welcome.
func (s *socket) greet(ctx context.Context) error {
	for {
		e, _, err := s.next(ctx)
		if err != nil {
			return &earlyEnd{because(ctx, err), s.bye}
		}
		switch e.Type {
		case envelope.Bye:
			s.farewell(&e)
		case envelope.Welcome:
			if err := e.Content.Decode(nil, &s.welcome); err != nil {
				return fmt.Errorf("client: the welcome: %w", err)
			}
			return nil
		}
	}
}
