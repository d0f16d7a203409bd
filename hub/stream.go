package hub

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// maxStreams is how many streams of one peer may be open.
const maxStreams = 8

// Stream registers a handler for a question that is answered by many results, one
// after another; the first error ends them. The handler runs aside, as with
// Concurrent. It is asked for no more results than the client takes: yield waits
// for a client that is slow. ctx ends when the client has heard enough, has
// left the room that it asked in or has gone; what is yielded then goes nowhere. A peer may have 8 streams open; one
// more is RateLimited. Stream panics as On does.
func Stream[Req, Res any](r Router, call message.Call[Req, Res], fn func(context.Context, *Request, Req) iter.Seq2[Res, error]) {
	mustNotBeNil(fn == nil, "the handler for %q", call)
	scopeOf(r, "the handler for %q", call).register(string(call), func(_ context.Context, r *Request) (any, error) {
		var in Req
		if err := r.Decode(&in); err != nil {
			return nil, err
		}
		ctx := r.stream.ctx
		for result, err := range fn(ctx, r, in) {
			if err != nil && ctx.Err() == nil {
				return nil, err
			}
			if err == nil {
				err = r.Peer.streamed(ctx, r, result)
			}
			if ctx.Err() != nil || errors.Is(err, transport.ErrClosed) {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		return nil, nil
	}, []HandlerOption{streaming})
}

// streaming is the HandlerOption of Stream.
const streaming HandlerOption = 2

// stream is one that is open.
type stream struct {
	room   string // "": of none
	ctx    context.Context
	cancel context.CancelFunc

	mu sync.Mutex // held while a result is queued: none follows when end has returned
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
}

// write queues a result.
func (s *stream) write(c transport.Conn, f *message.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ctx.Err(); err != nil {
		return err
	}
	return c.Write(f)
}

// openStream notes a stream, so that the client can end it.
func (p *Peer) openStream(r *Request) error {
	if r.ID == "" {
		return &message.Error{Code: message.Invalid, Message: "a stream needs an id", Field: "id"}
	}
	name := r.roomName()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.Room != nil && p.rooms.get([]byte(name)) == nil: // it was taken out meanwhile
		return errNotMember()
	case p.turn.streams[r.ID] != nil:
		return errStreamOpen()
	case len(p.turn.streams) >= maxStreams:
		return message.Errorf(message.RateLimited, "%d streams are open", maxStreams)
	case p.turn.streams == nil:
		p.turn.streams = map[string]*stream{}
	}
	r.stream = &stream{room: name}
	r.stream.ctx, r.stream.cancel = context.WithCancel(p.ctx)
	p.turn.streams[r.ID] = r.stream
	return nil
}

func errStreamOpen() error { return message.Errorf(message.Conflict, "a stream with this id is open") }

func (p *Peer) closeStream(r *Request) {
	r.stream.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.turn.streams, r.ID)
}

// streamed sends one result, when the client can take it.
func (p *Peer) streamed(ctx context.Context, r *Request, result any) error {
	e := message.New(r.Type, result)
	e.Stream, e.Room = r.ID, r.stream.room
	f, err := message.Encode(e, p.hub.opts.Codec, message.CatchUp)
	if err != nil {
		return err
	}
	for {
		err := r.stream.write(p.conn, f)
		if !errors.Is(err, message.ErrBehind) {
			return err
		}
		select {
		case <-p.conn.Drained():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// endStreams ends those of a room. p.mu is held.
func (p *Peer) endStreams(name string) {
	for _, s := range p.turn.streams {
		if s.room == name {
			s.end()
		}
	}
}

// leaveStream ends a stream that the client names; one that is not open is ended
// already.
func (p *Peer) leaveStream(in *inbound) error {
	var content struct {
		Stream string `json:"stream"`
	}
	if err := in.content.Decode(nil, &content); err != nil || content.Stream == "" {
		return &message.Error{Code: message.Invalid, Message: "a leave names a room, or a stream in its content", Field: "room"}
	}
	p.mu.Lock()
	if s := p.turn.streams[content.Stream]; s != nil {
		s.end()
	}
	p.mu.Unlock()
	if in.parts.ID == nil {
		return nil
	}
	return ignoreClosed(p.reply("", string(in.parts.ID), nil))
}
