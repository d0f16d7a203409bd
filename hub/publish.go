package hub

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// publication is what a message of a client has published to its recoverable
// room. The answer to the message comes in the place of the first of it.
type publication struct {
	count   int
	receipt room.Receipt
}

// publish stores e for all in the room but those whom opts leave out. What a
// message publishes is stored once, however often the message is sent.
func (r *Request) publish(ctx context.Context, e message.Envelope, opts []room.BroadcastOption) error {
	n := r.published.count
	r.published.count++
	key := answerKey{r.Room.Name(), r.ID}
	if r.ID != "" {
		opts = append(opts, room.Once(r.Peer.Session(), r.ID, n))
		if n == 0 {
			r.Peer.answers.expect(key)
		}
	}
	if r.since != "" && n == 0 {
		opts = append(opts, room.At(r.since))
	}
	receipt, err := r.Room.Publish(ctx, e, opts...)
	if err != nil {
		r.published.count = n
		if n == 0 {
			r.Peer.answers.forget(key)
		}
		return err
	}
	if n == 0 {
		r.published.receipt = receipt
	}
	return nil
}

// answers are what a peer is still to be told of messages that it published.
// They are for handlers that run, and for what is stored but has not come back
// from the log yet, so there are few.
type answers struct {
	mu      sync.Mutex
	session room.Session // whose messages they are
	waiting map[answerKey]*waiting
}

type answerKey struct{ room, id string }

// waiting is an answer that waits for the handler, or for the message's turn in
// its room.
type waiting struct {
	cursor string      // its turn has come: this is where it is
	ready  bool        // the handler has returned
	result message.Raw // what it returned
	timer  *time.Timer
}

// patience is for how long a publisher waits for its message's turn.
const patience = time.Second

func (a *answers) expect(k answerKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[answerKey]*waiting{}
	}
	a.waiting[k] = &waiting{}
}

func (a *answers) forget(k answerKey) *waiting {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting[k]
	delete(a.waiting, k)
	if w != nil && w.timer != nil {
		w.timer.Stop()
	}
	return w
}

// clear forgets all: nobody is left to be told.
func (a *answers) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.waiting {
		if w.timer != nil {
			w.timer.Stop()
		}
	}
	a.waiting = nil
}

// Session implements room.Publisher: it is the same for a client that continues
// its session after a reconnect, as the protocol's "auth" does.
func (p *Peer) Session() room.Session {
	if p == nil {
		return room.Session{}
	}
	p.answers.mu.Lock()
	defer p.answers.mu.Unlock()
	return p.answers.session
}

// Published implements room.Publisher.
func (p *Peer) Published(name, id, cursor string) error {
	a := &p.answers
	a.mu.Lock()
	w := a.waiting[answerKey{name, id}]
	if w != nil && !w.ready {
		w.cursor = cursor
		a.mu.Unlock()
		return nil
	}
	var result message.Raw
	if w != nil {
		w.timer.Stop()
		result = w.result
		delete(a.waiting, answerKey{name, id})
	}
	a.mu.Unlock()
	return p.conn.Write(acknowledge(name, id, cursor, result, message.CatchUp))
}

// acknowledge returns an ack. What is in result has been encoded before.
func acknowledge(name, id, cursor string, result message.Raw, policy message.Policy) *message.Frame {
	e := message.New(envelope.Ack, result)
	if !result.Binary && result.Data != nil {
		e = message.New(envelope.Ack, envelope.Checked(result.Data))
	}
	e.Room, e.ID, e.Cursor = name, id, cursor
	f, _ := message.Encode(e, nil, policy)
	return f
}

// settle answers a message that published, in its place in the room, and
// remembers the answer for when the message comes again.
func (p *Peer) settle(r *Request, in *inbound, result any) error {
	content, err := message.RawOf(result, p.hub.opts.Codec)
	if err != nil {
		return err
	}
	name, cursor := r.Room.Name(), r.published.receipt.Cursor
	p.hub.history.outcomes.add(p.outcomeKey(r), outcome{sum: sum(r.Type, in.content), result: content, cursor: cursor})
	key := answerKey{name, r.ID}
	if r.published.receipt.Duplicate {
		p.answers.forget(key)
		return p.conn.Write(acknowledge(name, r.ID, cursor, content, message.Disconnect))
	}
	a := &p.answers
	a.mu.Lock()
	w := a.waiting[key]
	if w == nil { // the peer has gone
		a.mu.Unlock()
		return nil
	}
	if w.cursor == "" {
		w.ready, w.result = true, content
		w.timer = time.AfterFunc(patience, func() { p.late(key) })
		a.mu.Unlock()
		return nil
	}
	delete(a.waiting, key)
	a.mu.Unlock()
	return r.Room.Answer(p, w.cursor, acknowledge(name, r.ID, w.cursor, content, message.Disconnect),
		acknowledge(name, r.ID, "", content, message.Disconnect))
}

// late answers a message that is stored, but whose turn has not come.
func (p *Peer) late(k answerKey) {
	if w := p.answers.forget(k); w != nil {
		_ = p.conn.Write(acknowledge(k.room, k.id, "", w.result, message.Disconnect))
	}
}

// outcomes are the answers to messages that published, for when one comes again:
// its handler does not run twice. What is forgotten too early costs no more than
// that: the log itself recognises what it has stored.
type outcomes struct {
	mu    sync.Mutex
	known map[outcomeKey]*outcome
	order []outcomeKey // oldest first
	bytes int
}

type outcomeKey struct {
	session  room.Session
	room, id string
}

type outcome struct {
	sum    uint64 // of what was sent
	result message.Raw
	cursor string
	at     time.Time
}

// mostOutcomes is how many bytes the outcomes of a hub may take.
const mostOutcomes = 16 << 20

func (k *outcomeKey) cost(o *outcome) int { return 300 + len(k.room) + len(k.id) + len(o.result.Data) }

func (p *Peer) outcomeKey(r *Request) outcomeKey { return outcomeKey{p.Session(), r.Room.Name(), r.ID} }

func (o *outcomes) add(k outcomeKey, v outcome) {
	v.at = time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = map[outcomeKey]*outcome{}
	}
	if o.known[k] != nil {
		return
	}
	o.known[k] = &v
	o.order = append(o.order, k)
	o.bytes += k.cost(&v)
	for o.bytes > mostOutcomes {
		oldest := o.order[0]
		o.bytes -= oldest.cost(o.known[oldest])
		delete(o.known, oldest)
		o.order = o.order[1:]
	}
}

// get returns what became of a message in the last window, or nil.
func (o *outcomes) get(k outcomeKey, window time.Duration) *outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.known[k]
	if v == nil || time.Since(v.at) > window {
		return nil
	}
	return v
}

var seed = maphash.MakeSeed()

func sum(typ string, content message.Raw) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(typ)
	_ = h.WriteByte(0)
	_, _ = h.Write(content.Data)
	return h.Sum64()
}

// again answers a message that came before, and reports whether it did.
func (p *Peer) again(r *Request, typ []byte, in *inbound) bool {
	if r.ID == "" || r.match.Value().window == 0 {
		return false
	}
	o := p.hub.history.outcomes.get(p.outcomeKey(r), r.match.Value().window)
	switch {
	case o == nil:
		return false
	case o.sum != sum(string(typ), in.content):
		p.answer(in, message.Errorf(message.Conflict, "the id was used for another message"))
	default:
		_ = p.conn.Write(acknowledge(r.Room.Name(), r.ID, o.cursor, o.result, message.Disconnect))
	}
	return true
}
