package client

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

const (
	streamResults = 1000 // that wait for a loop
	streamBytes   = 4 << 20
	loopPatience  = time.Second // for which reading waits for a loop
)

// Stream asks a question that is answered by many results, each a turn of the
// loop, in order:
//
//	for line, err := range client.Stream(ctx, room, Search, "hello") {
//		if err != nil {
//			return err
//		}
//		fmt.Println(line)
//	}
//
// The question is sent when a loop begins, by each loop anew, and never repeated.
// The server's end ends the loop. An error is the last turn, after the results
// before it, and has the zero value beside it: the server's, a *message.Error,
// also for a result of the wrong form; ErrUnknown if the connection is lost or the
// client closed meanwhile; or what Call returns.
//
// Leaving the loop stops the server, and so does the end of ctx, which is the last
// turn at once, whatever still waits. Without a deadline in ctx the question waits
// for a connection for Options.Timeout; once sent, the stream has all the time.
//
// Up to 1,000 results, or 4 MiB, wait for a loop that is slow. Past that the
// client stops reading, so that the server waits, too, which also holds up what
// comes behind. After a second in which the loop has not gone on, the stream ends
// with ErrOverflow, after what has come.
func Stream[Req, Res any](ctx context.Context, p Place, call message.Call[Req, Res], content Req) iter.Seq2[Res, error] {
	return func(yield func(Res, error) bool) {
		at := p.at()
		in := at.client.stream(ctx, at, call.New(content))
		defer in.leave()
		for {
			raw, more, err := in.next()
			if !more && err == nil {
				return
			}
			var zero, res Res
			if err == nil {
				err = raw.Decode(at.client.opts.Codec, &res)
			}
			if err != nil {
				yield(zero, err)
				return
			}
			if !yield(res, nil) {
				return
			}
		}
	}
}

// results are what has come of a stream and waits for its loop.
type results struct {
	client        *Client
	ctx           context.Context // of the loop
	id            string
	filled, freed chan struct{} // of 1

	mu      sync.Mutex
	waiting []result
	bytes   int
	ended   bool
	err     error // nil: by the server
}

// result is one, with the size of its message.
type result struct {
	content message.Raw
	size    int
}

// stream queues the question of a stream.
func (c *Client) stream(ctx context.Context, at *place, e message.Envelope) *results {
	r := &results{client: c, ctx: ctx, id: newID(), filled: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
	q := &request{id: r.id, room: at.room, policy: stream, results: r}
	ctx, cancel := c.untilSent(ctx, q)
	q.answer = func(_ message.Envelope, err error) {
		cancel()
		r.end(err)
	}
	err := c.compose(q, at, e)
	if err == nil {
		err = c.queue(ctx, q)
	}
	if err != nil {
		q.answer(message.Envelope{}, err)
	}
	return r
}

// untilSent gives ctx a deadline that is void once q has been sent, if it has
// none.
func (c *Client) untilSent(ctx context.Context, q *request) (context.Context, func()) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	most := c.opts.Timeout
	t := time.AfterFunc(most, func() {
		c.mu.Lock()
		sent := q.sent
		c.mu.Unlock()
		if !sent {
			cancel(timeoutError(most))
		}
	})
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

// next waits for the next result; without more it was the last one, or err is
// why.
func (r *results) next() (content message.Raw, more bool, err error) {
	for {
		over := r.ctx.Err() != nil
		if over {
			r.client.expire(r.id, context.Cause(r.ctx))
		}
		r.mu.Lock()
		waiting := len(r.waiting) > 0
		switch {
		case waiting && !over:
			next := r.waiting[0]
			r.waiting[0] = result{}
			r.waiting = r.waiting[1:]
			r.bytes -= next.size
			r.mu.Unlock()
			signal(r.freed)
			return next.content, true, nil
		case r.ended:
			err = r.err
			r.mu.Unlock()
			if err == nil && waiting {
				err = unknown(context.Cause(r.ctx))
			}
			return content, false, err
		}
		r.mu.Unlock()
		<-r.filled
	}
}

// end is told once how the stream ended.
func (r *results) end(err error) {
	r.mu.Lock()
	r.ended, r.err = true, err
	r.mu.Unlock()
	signal(r.filled)
	signal(r.freed)
}

// leave ends the stream if it has not ended: nobody reads it any more.
func (r *results) leave() {
	if q := r.client.giveUp(r.id); q != nil {
		q.answer(message.Envelope{}, q.never(ErrClosed, ErrClosed))
	}
}

// offer adds a result if there is space for it. That of a stream which has ended
// is nobody's.
func (r *results) offer(v result) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return true
	}
	if len(r.waiting) >= streamResults || len(r.waiting) > 0 && r.bytes+v.size > streamBytes {
		return false
	}
	r.waiting = append(r.waiting, v)
	r.bytes += v.size
	signal(r.filled)
	return true
}

// put adds a result, and waits for the loop if there is no space; false: in vain.
// What finds no space before the connection ends is missed, as what comes after
// it is. It is called by the reader of s.
func (r *results) put(s *socket, v result) bool {
	if r.offer(v) {
		return true
	}
	s.hold(true)
	defer s.hold(false)
	t := time.NewTimer(loopPatience)
	defer t.Stop()
	for {
		select {
		case <-r.freed:
			t.Reset(loopPatience)
		case <-t.C:
			return r.offer(v)
		case <-s.ctx.Done():
			return true
		}
		if r.offer(v) {
			return true
		}
	}
}

// result takes one of a stream. A loop that does not keep up must not hold up
// everything else, nor miss something unawares.
func (s *socket) result(e *message.Envelope, size int) {
	c := s.client
	c.mu.Lock()
	q := c.out.waiting[e.Stream]
	c.mu.Unlock()
	if q == nil || q.results == nil || q.results.put(s, result{e.Content, size}) {
		return
	}
	if q := c.giveUp(e.Stream); q != nil {
		q.answer(message.Envelope{}, fmt.Errorf("%w: the loop did not keep up with the stream", ErrOverflow))
	}
}

// giveUp takes out a request that nobody waits for any more, if it is there. A
// stream that runs is ended at the server, too.
func (c *Client) giveUp(id string) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.out.take(id)
	if q != nil && q.policy == stream && q.sent && c.socket != nil {
		c.out.hurry(c.leaveStream(id))
		signal(c.socket.wake)
	}
	return q
}

// leaveStream ends a stream at the server.
func (c *Client) leaveStream(id string) *request {
	e := message.New(envelope.Leave, struct {
		Stream string `json:"stream"`
	}{id})
	q := &request{id: newID(), policy: now}
	e.ID = q.id
	q.frame, _ = c.encodeWith(message.JSON, e)
	return q
}

// endStreams ends those that run: they may have no end of their own.
func (c *Client) endStreams() {
	c.mu.Lock()
	ends := c.out.each(func(q *request) error {
		if q.policy != stream {
			return nil
		}
		return q.never(ErrClosed, ErrClosed)
	})
	c.mu.Unlock()
	ends.tell()
}
