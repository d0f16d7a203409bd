package hub

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/internal/pattern"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

// Options configure a Hub. The zero value is what production needs, on one
// machine.
type Options struct {
	// Identify says who a connecting client is, before the upgrade, in at most 256
	// bytes of UTF-8; "" is anonymous. An error, or another kind of name, refuses
	// the client with 401, or as a *transport.Refusal says. nil: everybody is
	// anonymous.
	Identify func(r *http.Request) (user string, err error)
	// Connect is called for each new peer before its first message is handled; one
	// that panics closes it with 1011. Disconnect is called once for each after it
	// has left its rooms and the last of its handlers that is not Concurrent has
	// returned, with the reason: a *transport.CloseError where there was a close
	// frame.
	Connect    func(ctx context.Context, p *Peer)
	Disconnect func(p *Peer, reason error)
	// Transports are tried in order; default: WebSocket with default options.
	Transports []transport.Transport
	// Engine keeps the messages of recoverable rooms; it implements engine.Log,
	// too. Default: in memory, 256 MiB at most.
	Engine engine.Bus
	// Codec encodes and decodes content; default message.JSON.
	Codec message.Codec
	// Log gets what an operator must act on; default slog.Default.
	Log *slog.Logger
	// Heartbeat is how often each peer is pinged, default 25 s; Timeout, at
	// most Heartbeat and default 20 s, how long it may show no sign of life
	// after that. So a dead peer is gone within their sum.
	Heartbeat, Timeout time.Duration
	// AskTimeout bounds Ask where its context has no deadline; default 10 s.
	AskTimeout time.Duration
	// DrainTime is over how long Shutdown spreads closing, and how long it lets the
	// running handlers of a peer finish before it closes that one; default 5 s.
	DrainTime time.Duration
	// Seed, for tests, makes Shutdown tell the peers the same retryAfter each time;
	// default 0: others each time.
	Seed uint64
	// MaxPeers is how many peers may be connected, default no limit; MaxRooms
	// how many rooms one peer may be in, default 100.
	MaxPeers, MaxRooms int
}

// Hub is the server: an http.Handler with rooms. Make one with New.
type Hub struct {
	opts       Options
	transports []transport.Transport

	root     *Scope
	patterns pattern.Set[*Scope]
	scopes   []*Scope
	freezing freezing

	everyone *room.Room
	heart    heart
	history  history

	mu      sync.Mutex
	peers   map[string]*Peer
	users   map[string]map[*Peer]struct{} // by user; anonymous peers are not in it
	ending  ending
	running sync.WaitGroup // a count for each goroutine of a peer
	spare   chan *Peer     // to a reader that has no connection any more
}

// history is what a hub has of its recoverable rooms.
type history struct {
	logs     *room.Logs  // nil: there are no such rooms
	tried    atomic.Bool // Room has tried to start them
	outcomes outcomes
}

// New returns a hub. nil means the zero Options.
func New(opts *Options) *Hub {
	h := &Hub{peers: map[string]*Peer{}, spare: make(chan *Peer)}
	h.ending.draining = make(chan struct{})
	h.ending.ctx, h.ending.end = context.WithCancel(context.Background())
	if opts != nil {
		h.opts = *opts
	}
	o := &h.opts
	setDefault(&o.Heartbeat, 25*time.Second)
	setDefault(&o.Timeout, min(20*time.Second, o.Heartbeat))
	setDefault(&o.AskTimeout, 10*time.Second)
	setDefault(&o.DrainTime, 5*time.Second)
	setDefault(&o.MaxRooms, 100)
	if o.Timeout > o.Heartbeat {
		panic("hub: Options.Timeout is longer than Options.Heartbeat: the next ping would come before the first is overdue")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Codec == nil {
		o.Codec = message.JSON
	}
	h.transports = append([]transport.Transport{transport.Piped()}, o.Transports...)
	if len(o.Transports) == 0 {
		h.transports = append(h.transports, transport.WebSocket(&transport.WebSocketOptions{Log: o.Log}))
	}
	h.root = newScope(h, "", nil)
	h.everyone = room.NewManager(&room.Options{Codec: o.Codec}).Get("")
	h.heart.init(o.Heartbeat, o.Timeout)
	return h
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// ServeHTTP implements http.Handler. It returns at once; the connection lives
// on, with the values of r's context but without its end.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.freeze()
	for _, t := range h.transports {
		if t.Match(r) {
			t.Serve(w, r, h.accept)
			return
		}
	}
	h.transports[len(h.transports)-1].Serve(w, r, h.accept) // says what it wants instead
}

// accept decides whether a client may connect.
func (h *Hub) accept(r *http.Request) (func(transport.Conn), error) {
	draining, full := h.crowded()
	switch {
	case draining:
		return nil, h.closedDown()
	case full:
		return nil, &transport.Refusal{Status: http.StatusTooManyRequests, Code: "too_many_connections",
			Message: "there are too many connections; come back later", RetryAfter: h.opts.Heartbeat}
	}
	user, err := h.identify(r)
	if err != nil {
		return nil, err
	}
	if draining, _ := h.crowded(); draining { // that took its time
		return nil, h.closedDown()
	}
	if err := h.startLogs(r.Context()); err != nil {
		return nil, &transport.Refusal{Status: http.StatusServiceUnavailable, Code: string(message.Unavailable),
			Message: "the history cannot be reached; come back later", RetryAfter: time.Second}
	}
	ctx := detach(r)
	return func(c transport.Conn) { h.serve(ctx, c, user) }, nil
}

// crowded reports why nobody else may connect, if so.
func (h *Hub) crowded() (draining, full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ending.begun(), h.full()
}

func (h *Hub) closedDown() error {
	return &transport.Refusal{Status: http.StatusServiceUnavailable, Code: "draining",
		Message: "the server is shutting down; come back later", RetryAfter: h.opts.DrainTime}
}

func (h *Hub) identify(r *http.Request) (string, error) {
	if h.opts.Identify == nil {
		return "", nil
	}
	user, err := h.opts.Identify(r)
	if err == nil {
		err = checkUser(user)
	}
	if err == nil {
		return user, nil
	}
	var refusal *transport.Refusal
	var public *message.Error
	switch {
	case errors.As(err, &refusal):
		return "", err
	case errors.As(err, &public):
		return "", &transport.Refusal{Status: http.StatusUnauthorized, Code: string(public.Code), Message: public.Message}
	}
	return "", &transport.Refusal{Status: http.StatusUnauthorized, Code: string(message.Unauthenticated),
		Message: "who are you? the identity is missing or wrong"}
}

// longestUser is how many bytes the name of a user may have: it is in each message
// that the user sends, to every member, and in each line that is logged.
const longestUser = 256

func checkUser(user string) error {
	switch {
	case len(user) > longestUser:
		return message.Errorf(message.Unauthenticated, "the user's name has %d bytes, allowed are %d", len(user), longestUser)
	case !utf8.ValidString(user): // or two users could look the same in JSON
		return message.Errorf(message.Unauthenticated, "the user's name is not valid UTF-8")
	}
	return nil
}

// serve begins the life of one peer. The rest is on a goroutine of its own, whose
// stack this leaves small.
func (h *Hub) serve(ctx context.Context, c transport.Conn, user string) {
	secret := newSecret()
	p := newPeer(ctx, h, c, user, secret)
	welcome := p.welcome(secret)
	if code := h.add(p, welcome); code != 0 {
		p.turnAway(code, welcome)
		return
	}
	h.heart.add(p)
	if p.connect() {
		go p.read()
	} else {
		h.running.Done()
	}
}

// add makes p known, at the very moment at which the client is welcomed: nothing
// comes before the welcome, and who has seen it is there for everybody. Others
// may have taken the last place since accept; then it returns the code to close
// with.
func (h *Hub) add(p *Peer, welcome *message.Frame) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ending.begun():
		return message.CloseAway
	case h.full():
		return message.CloseTooMany
	}
	p.turn.running = h.opts.Connect != nil // its turn is the first one
	h.peers[p.id] = p
	h.index(p)
	h.running.Add(1)
	h.ending.reading.Add(1)
	_ = h.everyone.Join(p.ctx, p, nil, room.Greet(welcome)) // p is new: nothing can fail
	return 0
}

// full reports whether all places are taken. h.mu is held.
func (h *Hub) full() bool { return h.opts.MaxPeers > 0 && len(h.peers) >= h.opts.MaxPeers }

// forget is the last thing that happens to a peer while it is known.
func (h *Hub) forget(p *Peer) {
	h.everyone.Leave(p)
	h.heart.remove(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.peers, p.id)
	h.unindex(p)
	if !p.unread {
		h.ending.leave(p)
	}
}

// Peer returns the connected peer with that ID, or nil, which may be used like one
// that has gone.
func (h *Hub) Peer(id string) *Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peers[id]
}

// Peers returns the peers that are connected when the iteration starts, in no
// order.
func (h *Hub) Peers() iter.Seq[*Peer] {
	return func(yield func(*Peer) bool) {
		for _, p := range h.snapshot() {
			if !yield(p) {
				return
			}
		}
	}
}

func (h *Hub) snapshot() []*Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Peer, 0, len(h.peers))
	for _, p := range h.peers {
		all = append(all, p)
	}
	return all
}

// Room returns the room of that name, for use from anywhere: an HTTP handler, a
// cron job. It need not have members. A name that no pattern of Rooms matches
// gives a room that nobody can be in. The first call for a recoverable room starts
// the engine and waits for it, up to a second; what is done with the room waits for
// it as long as its own context lasts.
func (h *Hub) Room(name string) *room.Room {
	if m := h.patterns.Match(name); m.Found() {
		if m.Value().window > 0 {
			h.freeze()
			h.tryLogs()
		}
		return m.Value().rooms.Get(name)
	}
	return h.root.rooms.Get(name)
}

// Broadcast queues e for every connected peer; room.Except and room.ExceptRooms
// leave some out.
func (h *Hub) Broadcast(ctx context.Context, e message.Envelope, opts ...room.BroadcastOption) error {
	return h.everyone.Broadcast(ctx, e, opts...)
}

// BroadcastTo queues e for whoever is in at least one of the rooms, once each.
func (h *Hub) BroadcastTo(ctx context.Context, rooms []string, e message.Envelope, opts ...room.BroadcastOption) error {
	list := make([]*room.Room, len(rooms))
	for i, name := range rooms {
		list[i] = h.Room(name)
	}
	return room.Broadcast(ctx, list, e, opts...)
}

// Stats are counts of a moment.
type Stats struct {
	Peers int // connected
	Rooms int // with members, or some that may be back within Presence.Grace
}

// Stats returns the hub's counts.
func (h *Hub) Stats() Stats {
	var s Stats
	for _, scope := range h.scopes {
		s.Rooms += scope.rooms.Len()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Peers = len(h.peers)
	return s
}
