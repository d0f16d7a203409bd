package hub

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// Router is what handlers are registered with: a Hub, for messages of all rooms
// and of none, or a Scope. Only this package implements it.
type Router interface{ scope() *Scope }

// Scope has the handlers, middleware and rules of the rooms of one pattern.
type Scope struct {
	hub        *Hub
	pattern    string
	rule       Rule
	rooms      *room.Manager
	handlers   map[string]*handler
	rest       *handler // for types that have no handler
	middleware []Middleware
	states     *states       // of stateful rooms; else nil
	window     time.Duration // of deduplication, in recoverable rooms; else 0
}

// Rule is who may be in the rooms of a pattern, and how these behave. The zero
// value admits everybody and announces nobody.
type Rule struct {
	// Join decides whether r.Peer may join; r.Decode reads what it sent along.
	// The state is what fellow members see of it, in rooms with Presence; it is
	// encoded as JSON. The error is what the client is told.
	Join func(ctx context.Context, r *Request) (state any, err error)
	// Presence tells members who is there, who comes and who goes; nil: nobody is
	// told.
	Presence *room.Presence
	// Delivery is what is promised about messages: room.Ephemeral, the default,
	// room.Recoverable or room.Latest.
	Delivery room.Delivery
	// Occupied is called when a room has got its first member, Vacated when its
	// last one has left, Presence.Grace included: one at a time and in order for
	// each room, on a goroutine of whoever came or went; see room.Options. ctx
	// ends when Shutdown returns, which they must not call. A panic is logged.
	Occupied, Vacated func(ctx context.Context, r *room.Room)
}

// Handler handles one message. The value is the answer that a sender which asked
// for one gets, the error its refusal.
type Handler func(ctx context.Context, r *Request) (any, error)

// Middleware wraps handlers, as func(http.Handler) http.Handler does for HTTP.
// It runs for messages that have a handler.
type Middleware func(next Handler) Handler

// HandlerOption changes how a handler is called.
type HandlerOption uint8

// Concurrent takes a handler out of its peer's order: it runs on a goroutine of
// its own, at most 16 for one peer, while the peer's next messages are handled.
const Concurrent HandlerOption = 1

type handler struct {
	typ        string // "": of all that have no handler
	run        Handler
	concurrent bool
	stream     bool
}

func newScope(h *Hub, pattern string, rule *Rule) *Scope {
	s := &Scope{hub: h, pattern: pattern, handlers: map[string]*handler{}}
	if rule != nil {
		s.rule = *rule
	}
	opts := &room.Options{
		Codec: h.opts.Codec, Delivery: s.rule.Delivery, Presence: s.rule.Presence,
		Occupied: s.hook("occupied", s.rule.Occupied), Vacated: s.hook("vacated", s.rule.Vacated),
	}
	if d, ok := s.rule.Delivery.(room.Recoverable); ok {
		opts.Logs, opts.Class = h.keep(), pattern
		s.window = cmp.Or(d.Dedupe, room.DefaultDedupe)
	}
	s.rooms = room.NewManager(opts)
	return s
}

// hook makes fn one of the hooks of package room.
func (s *Scope) hook(what string, fn func(context.Context, *room.Room)) func(name string) {
	if fn == nil {
		return nil
	}
	return func(name string) {
		defer func() {
			if v := recover(); v != nil {
				s.hub.opts.Log.Error("hubbub: a handler panicked", "type", what, "room", name,
					"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			}
		}()
		fn(s.hub.ending.ctx, s.rooms.Get(name))
	}
}

func (h *Hub) scope() *Scope {
	if h == nil {
		return nil
	}
	return h.root
}

func (s *Scope) scope() *Scope { return s }

// scopeOf is where something is registered. It panics for a Router that is nil.
func scopeOf(r Router, what string, args ...any) *Scope {
	var s *Scope
	if r != nil {
		s = r.scope()
	}
	mustNotBeNil(s == nil, "the Hub or Scope of "+what, args...)
	return s
}

// Rooms declares the rooms of a pattern, as "lobby", "chat/{id}" or
// "files/{path...}": {id} is one segment of the name, {path...} the rest. Where
// several patterns match a name, the more literal one wins. A peer that joins
// such a room gets past rule first; nil is the zero Rule. It panics if the
// pattern is wrong or there already, or if rule asks for more than the engine can
// keep, see room.Recoverable.
func (h *Hub) Rooms(pattern string, rule *Rule) *Scope {
	mustNotBeNil(h == nil, "the Hub of Rooms(%q)", pattern)
	h.mustNotBeFrozen("Rooms(%q)", pattern)
	s := newScope(h, pattern, rule)
	if err := h.patterns.Add(pattern, s); err != nil {
		panic("hub: " + err.Error())
	}
	h.scopes = append(h.scopes, s)
	return s
}

// Use adds middleware around all handlers, of the hub and of its rooms. It panics
// for nil.
func (h *Hub) Use(mw ...Middleware) { h.root.Use(mw...) }

// Use adds middleware around the handlers of these rooms, inside the hub's own. It
// panics for nil.
func (s *Scope) Use(mw ...Middleware) {
	s.hub.mustNotBeFrozen("Use")
	for _, m := range mw {
		mustNotBeNil(m == nil, "the middleware given to Use")
	}
	s.middleware = append(s.middleware, mw...)
}

// On registers a handler for messages of a kind. It panics for a type that is
// empty, belongs to the protocol or has a handler already, for a handler that is
// nil, for an r that is, and after the hub's first request.
func On[T any](r Router, kind message.Kind[T], fn func(context.Context, *Request, T) error, opts ...HandlerOption) {
	mustNotBeNil(fn == nil, "the handler for %q", kind)
	scopeOf(r, "the handler for %q", kind).register(string(kind), func(ctx context.Context, r *Request) (any, error) {
		var in T
		if err := r.Decode(&in); err != nil {
			return nil, err
		}
		return nil, fn(ctx, r, in)
	}, opts)
}

// Reply registers a handler for a question; what it returns is the answer. It
// panics as On does.
func Reply[Req, Res any](r Router, call message.Call[Req, Res], fn func(context.Context, *Request, Req) (Res, error), opts ...HandlerOption) {
	mustNotBeNil(fn == nil, "the handler for %q", call)
	scopeOf(r, "the handler for %q", call).register(string(call), func(ctx context.Context, r *Request) (any, error) {
		var in Req
		if err := r.Decode(&in); err != nil {
			return nil, err
		}
		return fn(ctx, r, in)
	}, opts)
}

// OnRest registers a handler for all messages whose type has no handler of its
// own; r.Type says which it is. It panics as On does.
func OnRest(r Router, fn Handler, opts ...HandlerOption) {
	s := scopeOf(r, "the handler for the rest")
	s.hub.mustNotBeFrozen("OnRest")
	mustNotBeNil(fn == nil, "the handler for the rest")
	if s.rest != nil {
		panic(fmt.Sprintf("hub: %s has two handlers for the rest", s))
	}
	s.rest = newHandler("", fn, opts)
}

func newHandler(typ string, run Handler, opts []HandlerOption) *handler {
	h := &handler{typ: typ, run: run}
	for _, o := range opts {
		h.concurrent, h.stream = h.concurrent || o == Concurrent, h.stream || o == streaming
	}
	return h
}

func (s *Scope) register(typ string, run Handler, opts []HandlerOption) {
	s.hub.mustNotBeFrozen("a handler for %q", typ)
	switch err := envelope.CheckName("type", typ, envelope.MaxType); {
	case err != nil:
		panic(fmt.Sprintf("hub: a handler for %q: %v", typ, err))
	case envelope.System(typ):
		panic(fmt.Sprintf("hub: a handler for %q: this type belongs to the protocol", typ))
	case s.handlers[typ] != nil:
		panic(fmt.Sprintf("hub: %s has two handlers for %q", s, typ))
	}
	s.handlers[typ] = newHandler(typ, run, opts)
}

// String names the scope in messages about mistakes.
func (s *Scope) String() string {
	if s.pattern == "" {
		return "the hub"
	}
	return fmt.Sprintf("Rooms(%q)", s.pattern)
}

// keep returns the logs of the hub's recoverable rooms.
func (h *Hub) keep() *room.Logs {
	if h.history.logs == nil {
		if h.opts.Engine == nil {
			h.opts.Engine = memory.New(nil)
		}
		h.history.logs = room.NewLogs(h.opts.Engine)
	}
	return h.history.logs
}

// startLogs starts the engine, if there is one and nobody has.
func (h *Hub) startLogs(ctx context.Context) error {
	if h.history.logs == nil {
		return nil
	}
	err := h.history.logs.Start(ctx)
	if draining, _ := h.crowded(); err != nil && !draining {
		h.opts.Log.Error("hubbub: the engine does not start", "error", err)
	}
	return err
}

// tryLogs starts the engine where nobody has connected yet. If it fails, the next
// who connects tries again.
func (h *Hub) tryLogs() {
	if h.history.tried.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = h.startLogs(ctx)
	h.history.tried.Store(true)
}

// freezing is the end of registration.
type freezing struct {
	mu    sync.Mutex
	begun atomic.Bool // nothing can be registered any more
	done  atomic.Bool // the handlers are wrapped
}

func (h *Hub) mustNotBeFrozen(what string, args ...any) {
	if h.freezing.begun.Load() {
		panic(fmt.Sprintf("hub: %s comes after the first request; register everything before serving", fmt.Sprintf(what, args...)))
	}
}

func mustNotBeNil(isNil bool, what string, args ...any) {
	if isNil {
		panic("hub: " + fmt.Sprintf(what, args...) + " is nil")
	}
}

// freeze ends registration and wraps each handler in its middleware, so that
// routing takes no lock. Where the middleware panics, it does so at every request:
// no handler must be called without the middleware that guards it.
func (h *Hub) freeze() {
	if h.freezing.done.Load() {
		return
	}
	h.freezing.begun.Store(true)
	h.freezing.mu.Lock()
	defer h.freezing.mu.Unlock()
	if h.freezing.done.Load() {
		return
	}
	wrapped := map[*handler]Handler{}
	for _, s := range append([]*Scope{h.root}, h.scopes...) {
		for _, f := range s.handlers {
			wrapped[f] = s.wrap(f)
		}
		if s.rest != nil {
			wrapped[s.rest] = s.wrap(s.rest)
		}
	}
	for f, run := range wrapped {
		f.run = run
	}
	h.freezing.done.Store(true)
}

// wrap returns what runs f inside its middleware.
func (s *Scope) wrap(f *handler) Handler {
	all := s.hub.root.middleware
	if s != s.hub.root {
		all = append(append([]Middleware(nil), all...), s.middleware...)
	}
	run := f.run
	for _, a := range slices.Backward(all) {
		run = a(run)
		mustNotBeNil(run == nil, "what a middleware made of a handler of %s", s)
	}
	return run
}

// find returns the handler of a message that is addressed to a room of scope s,
// or to none where s is nil.
func (h *Hub) find(s *Scope, typ []byte) *handler {
	if s != nil {
		if f := s.handlers[string(typ)]; f != nil {
			return f
		}
	}
	if f := h.root.handlers[string(typ)]; f != nil {
		return f
	}
	if s != nil && s.rest != nil {
		return s.rest
	}
	return h.root.rest
}
