package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// publication is what a message of a client has published to its recoverable
// room. The answer to the message comes in the place of the first of it.
type publication struct {
	since   *string     // where the sender thinks that the room is; nil: it did not say
	begun   *outcomeKey // in Hub.history.outcomes, until it is settled
	sum     uint64      // of the message
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
		opts = append(opts, room.Once(r.Peer.Session(), r.ID, n, r.published.sum))
		if n == 0 {
			r.Peer.answers.expect(key)
		}
	}
	if r.published.since != nil && n == 0 {
		opts = append(opts, room.At(*r.published.since))
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

// stored reports whether a message that wants an answer has published.
func (r *Request) stored() bool { return r.published != nil && r.published.count > 0 && r.ID != "" }

// answers are what a peer is still to be told of messages that it published.
// They are for handlers that run, and for what is stored but has not come back
// from the log yet, or cannot be told as the client does not read. There are few:
// where too many wait, the peer's next message waits, too.
type answers struct {
	mu      sync.Mutex
	session room.Session // whose messages they are
	waiting map[answerKey]*waiting
	told    map[answerKey]*time.Timer // answered before their turn, until it comes or that is forgotten
	results int                       // bytes of those of waiting
	freed   chan struct{}             // closed when one has gone; nil: nobody waits for that
}

type answerKey struct{ room, id string }

// waiting is an answer that waits for the handler, or for the message's turn in
// its room.
type waiting struct {
	cursor string      // its turn has come: this is where it is
	ready  bool        // the handler has returned
	result message.Raw // what it returned
	timer  *time.Timer // of what is ready: until it is answered
}

const (
	patience = time.Second // for which a publisher waits for its message's turn
	oblivion = time.Minute // for which what is answered waits for it: it may never come
)

// How many answers of a peer may wait when its next message is handled, how many
// bytes their results may have, and how many that have been given are remembered.
const (
	mostWaiting = 64
	mostResults = 256 << 10
	mostTold    = 256
)

// space waits until one more answer may wait, and reports whether the message that
// it is for is to be handled: the peer may have gone meanwhile.
func (p *Peer) space() bool {
	for full := p.answers.full(); full != nil; full = p.answers.full() {
		select {
		case <-full:
		case <-p.ctx.Done():
			return false
		}
		p.mu.Lock()
		resting := p.resting()
		p.mu.Unlock()
		if resting {
			return false
		}
	}
	return true
}

// full returns nil if one more answer may wait, otherwise what is closed when that
// may have changed.
func (a *answers) full() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.results >= mostResults || len(a.waiting) >= mostWaiting {
		if a.freed == nil {
			a.freed = make(chan struct{})
		}
		return a.freed
	}
	return nil
}

// tell notes that one is answered whose turn has yet to come. It is, whatever becomes
// of the same message when it is sent again. a.mu is held.
func (a *answers) tell(k answerKey) {
	a.drop(k)
	a.dropTold(k)
	if len(a.told) >= mostTold {
		for other := range a.told {
			a.dropTold(other) // all that it costs is one more ack, in its place
			break
		}
	}
	if a.told == nil {
		a.told = map[answerKey]*time.Timer{}
	}
	var t *time.Timer
	t = time.AfterFunc(oblivion, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.told[k] == t {
			delete(a.told, k)
		}
	})
	a.told[k] = t
}

// dropTold forgets that one is answered, and reports whether it was. a.mu is held.
func (a *answers) dropTold(k answerKey) bool {
	t := a.told[k]
	if t != nil {
		t.Stop()
		delete(a.told, k)
	}
	return t != nil
}

// free lets the peer's next message look whether it has to wait on. a.mu is held.
func (a *answers) free() {
	if a.freed != nil {
		close(a.freed)
		a.freed = nil
	}
}

func (a *answers) expect(k answerKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[answerKey]*waiting{}
	}
	a.drop(k)
	a.waiting[k] = &waiting{}
}

// await is expect for a message that another connection of the session is having
// handled; it returns nil if this one has an answer to come already.
func (a *answers) await(k answerKey) *waiting {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting[k] != nil {
		return nil
	}
	w := &waiting{}
	if a.waiting == nil {
		a.waiting = map[answerKey]*waiting{}
	}
	a.waiting[k] = w
	return w
}

// awaited ends await. What was answered before its turn gets no other answer then.
func (a *answers) awaited(k answerKey, w *waiting, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case w == nil || a.waiting[k] != w:
	case answered && w.cursor == "":
		a.tell(k)
	default:
		a.drop(k)
	}
}

func (a *answers) forget(k answerKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(k)
}

// refused notes that a message which is stored was answered with an error: when its
// turn comes, there is no other answer. That of a duplicate has been before.
func (p *Peer) refused(k answerKey, duplicate bool) {
	a := &p.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.waiting[k]; w != nil && w.cursor == "" && !duplicate {
		a.tell(k)
		return
	}
	a.drop(k)
}

// drop is forget where a.mu is held.
func (a *answers) drop(k answerKey) {
	w := a.waiting[k]
	if w == nil {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	a.results -= len(w.result.Data)
	delete(a.waiting, k)
	a.free()
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
	for _, t := range a.told {
		t.Stop()
	}
	a.waiting, a.results, a.told = nil, 0, nil
	a.free()
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

// Published implements room.Publisher. The answer is written under the lock, like
// all that comes of answers, or late could answer as well. That it is made there,
// with the room locked, costs a copy: its content has been encoded before.
func (p *Peer) Published(name, id, cursor string) error {
	a, key := &p.answers, answerKey{name, id}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waiting[key]
	switch {
	case a.dropTold(key):
		return nil
	case w == nil:
		w = &waiting{}
	case !w.ready:
		w.cursor = cursor
		return nil
	}
	if err := p.conn.Write(acknowledge(name, id, cursor, w.result, message.CatchUp)); errors.Is(err, message.ErrBehind) {
		return err // it comes again, in its place
	}
	a.drop(key)
	return nil
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
func (p *Peer) settle(r *Request, result any) error {
	content, err := message.RawOf(result, p.hub.opts.Codec)
	if err != nil {
		return err
	}
	name := r.Room.Name()
	p.settled(r, content, true)
	key := answerKey{name, r.ID}
	if receipt := r.published.receipt; receipt.Duplicate {
		p.answers.forget(key)
		return p.conn.Write(acknowledge(name, r.ID, receipt.Cursor, content, message.Disconnect))
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
		a.results += len(content.Data)
		w.timer = time.AfterFunc(patience, func() { p.late(key, w) })
		a.mu.Unlock()
		return nil
	}
	a.drop(key)
	a.mu.Unlock()
	return r.Room.Answer(p, w.cursor, acknowledge(name, r.ID, w.cursor, content, message.Disconnect),
		acknowledge(name, r.ID, "", content, message.Disconnect))
}

// late answers a message that is stored, but whose turn has not come. Who is behind
// has to wait for it like for everything else.
func (p *Peer) late(k answerKey, w *waiting) {
	a := &p.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting[k] != w {
		return
	}
	select {
	case <-p.conn.Drained():
	default:
		w.timer.Reset(patience)
		return
	}
	_ = p.conn.Write(acknowledge(k.room, k.id, "", w.result, message.Disconnect))
	a.tell(k)
}

// hurry answers what waits for its turn in a room that the peer is about to leave; ""
// means all rooms.
func (a *answers) hurry(p *Peer, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, w := range a.waiting {
		if name != "" && k.room != name || !w.ready {
			continue
		}
		a.drop(k)
		_ = p.conn.Write(acknowledge(k.room, k.id, "", w.result, message.Disconnect))
	}
	for k := range a.told {
		if name == "" || k.room == name {
			a.dropTold(k)
		}
	}
}
