package hub

import (
	"context"
	"errors"
	"strconv"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// asks are the questions that a peer has not answered yet. Peer.mu guards it.
type asks struct {
	last    uint64
	waiting map[string]chan answer // each of 1
}

type answer struct {
	content message.Raw
	err     error
}

// maxAsks is how many questions to one peer may be open.
const maxAsks = 64

func (a *asks) open() bool { return len(a.waiting) > 0 }

// fail ends all questions: nobody will answer.
func (a *asks) fail() {
	for _, c := range a.waiting {
		c <- answer{err: errGone()}
	}
	a.waiting = nil
}

// Ask sends a question to one client and waits for its answer. It may be called
// from anywhere, inside a handler of that same client too, whose next messages
// then wait in order until that handler returns. Without a deadline in ctx it
// gives up after Options.AskTimeout. The error is a *message.Error: what the
// client answered, Timeout, Unavailable for a client that has gone, as a nil p has,
// RateLimited if 64 questions to it are open, Invalid for an answer of the wrong
// form. It is another one where ctx was cancelled, context.Canceled, and where the
// question cannot be encoded.
func Ask[Req, Res any](ctx context.Context, p *Peer, call message.Call[Req, Res], content Req) (Res, error) {
	var res Res
	raw, err := p.ask(ctx, call.New(content))
	if err != nil {
		return res, err
	}
	return res, raw.Decode(p.hub.opts.Codec, &res)
}

func (p *Peer) ask(ctx context.Context, e message.Envelope) (message.Raw, error) {
	if p == nil {
		return message.Raw{}, errGone()
	}
	if ctx.Err() != nil {
		return message.Raw{}, p.unanswered(ctx)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.hub.opts.AskTimeout)
		defer cancel()
	}
	id, c, err := p.question()
	if err != nil {
		return message.Raw{}, err
	}
	defer p.forgetAsk(id)
	e.ID = id
	if err := p.Send(e); err != nil {
		if ignoreClosed(err) == nil {
			err = errGone()
		}
		return message.Raw{}, err
	}
	select {
	case a := <-c:
		return a.content, a.err
	case <-ctx.Done():
		return message.Raw{}, p.unanswered(ctx)
	}
}

func errGone() error { return message.Errorf(message.Unavailable, "the peer has disconnected") }

// unanswered says why there is no answer when ctx has ended.
func (p *Peer) unanswered(ctx context.Context) error {
	switch {
	case p.ctx.Err() != nil:
		return errGone()
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	return message.Errorf(message.Timeout, "the peer did not answer in time")
}

// question opens a question and makes sure that somebody reads the answer.
func (p *Peer) question() (id string, c chan answer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return "", nil, errGone()
	case len(p.asks.waiting) >= maxAsks:
		return "", nil, message.Errorf(message.RateLimited, "%d questions to this peer are open", maxAsks)
	case p.asks.waiting == nil:
		p.asks.waiting = map[string]chan answer{}
	}
	p.asks.last++
	id, c = "s"+strconv.FormatUint(p.asks.last, 10), make(chan answer, 1)
	p.asks.waiting[id] = c
	p.relieve()
	if r := p.turn.relief; r != nil {
		r.wake() // it may read further now
	}
	return id, c, nil
}

func (p *Peer) forgetAsk(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asks.waiting, id)
}

// answered passes an answer on and reports whether in was one. An answer to what
// was never asked, or no longer is, is dropped.
func (p *Peer) answered(in *inbound) bool {
	if in.err != nil {
		return false
	}
	isError := string(in.parts.Type) == envelope.Error
	if !isError && string(in.parts.Type) != envelope.Ack {
		return false
	}
	p.mu.Lock()
	c := p.asks.waiting[string(in.parts.ID)]
	delete(p.asks.waiting, string(in.parts.ID))
	p.mu.Unlock()
	if c == nil {
		return true
	}
	var a answer
	_ = in.content.Decode(nil, &a.content) // a Raw takes everything
	if isError {
		a = answer{err: message.ErrorFrom(a.content)}
	}
	c <- a
	return true
}
