package hub

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// outcomes are the answers to messages that published, for when one comes again:
// its handler does not run twice, neither afterwards nor meanwhile. What is
// forgotten too early costs no more than that: the log itself recognises what it
// has stored, and whether that was the same message.
type outcomes struct {
	mu    sync.Mutex
	known map[outcomeKey]*outcome
	order list.List // of outcomeKey, oldest first; without those that are not done
	bytes int
}

type outcomeKey struct {
	session  room.Session
	room, id string
}

// outcome is what became of one message. What is not done has no result yet.
type outcome struct {
	sum    uint64        // of what was sent
	stream bool          // it is answered by one
	done   chan struct{} // closed when the rest is known, or the outcome forgotten
	result message.Raw
	cursor string
	at     time.Time     // zero: not done
	place  *list.Element // in order
}

// over reports whether the handler has returned.
func (o *outcome) over() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// mostOutcomes is how many bytes the outcomes of a hub may take.
const mostOutcomes = 16 << 20

func (k *outcomeKey) cost(o *outcome) int { return 480 + len(k.room) + len(k.id) + len(o.result.Data) }

// begin returns what is known of a message that came before in the last window,
// or notes it as begun and returns nil; then finish or abandon follows.
func (o *outcomes) begin(k outcomeKey, sum uint64, stream bool, window time.Duration) *outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v := o.recall(k, window); v != nil {
		return v
	}
	if o.known == nil {
		o.known = map[outcomeKey]*outcome{}
	}
	o.known[k] = &outcome{sum: sum, stream: stream, done: make(chan struct{})}
	return nil
}

// find is begin for a message that is not to begin.
func (o *outcomes) find(k outcomeKey, window time.Duration) *outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.recall(k, window)
}

// recall returns what is known of a message, unless the window is over. o.mu is held.
func (o *outcomes) recall(k outcomeKey, window time.Duration) *outcome {
	v := o.known[k]
	if v == nil || v.at.IsZero() || time.Since(v.at) <= window {
		return v
	}
	o.remove(k)
	return nil
}

// finish notes what became of a message.
func (o *outcomes) finish(k outcomeKey, result message.Raw, cursor string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.known[k]
	v.result, v.cursor, v.at, v.place = result, cursor, time.Now(), o.order.PushBack(k)
	close(v.done)
	o.bytes += k.cost(v)
	for o.bytes > mostOutcomes && o.order.Len() > 1 {
		o.remove(o.order.Front().Value.(outcomeKey))
	}
}

// remove forgets one that is done. o.mu is held.
func (o *outcomes) remove(k outcomeKey) {
	v := o.known[k]
	o.bytes -= k.cost(v)
	o.order.Remove(v.place)
	delete(o.known, k)
}

// abandon forgets a message that has published nothing.
func (o *outcomes) abandon(k outcomeKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.known[k].done)
	delete(o.known, k)
}

// sumOf tells messages apart, on every node alike. It is never 0.
func sumOf(typ string, content message.Raw) uint64 {
	h := sha256.New()
	kind := byte(0)
	if content.Binary {
		kind = 1
	}
	_, _ = h.Write([]byte(typ))
	_, _ = h.Write([]byte{0, kind})
	_, _ = h.Write(content.Data)
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1)
}

// again answers a message to a recoverable room that came before, and reports
// whether it did. It has an id.
func (p *Peer) again(r *Request, in *inbound, stream bool) bool {
	r.published.sum = sumOf(string(in.parts.Type), in.content)
	key := outcomeKey{p.Session(), r.Room.Name(), r.ID}
	for {
		o := p.hub.history.outcomes.begin(key, r.published.sum, stream, r.match.Value().window)
		switch {
		case o == nil:
			r.published.begun = &key
			return false
		case p.repeat(&key, o, r.published.sum, in):
			return true
		}
	}
}

// outside is again for a message to a room that the peer is not in: it may have been
// there when the message came before, and is to know what has become of it.
func (p *Peer) outside(in *inbound) bool {
	m := p.hub.patterns.Match(string(in.parts.Room))
	if len(in.parts.ID) == 0 || !m.Found() || m.Value().window <= 0 {
		return false
	}
	sum := sumOf(string(in.parts.Type), in.content)
	key := outcomeKey{p.Session(), string(in.parts.Room), string(in.parts.ID)}
	for {
		o := p.hub.history.outcomes.find(key, m.Value().window)
		if o == nil || p.repeat(&key, o, sum, in) {
			return o != nil
		}
	}
}

// repeat answers a message as it was answered before, and reports whether it did: it
// may have come to nothing. If it is still being handled, on another connection of
// the session, it waits for that; but not for a stream, which may go on for ever.
func (p *Peer) repeat(k *outcomeKey, o *outcome, sum uint64, in *inbound) bool {
	if o.sum != sum {
		p.answer(in, message.Errorf(message.Conflict, "the id was used for another message"))
		return true
	}
	switch {
	case o.over():
		return p.recount(k, o)
	case o.stream:
		p.answer(in, errStreamOpen())
		return true
	}
	key := answerKey{k.room, k.id}
	w := p.answers.await(key)
	p.readOn()
	select {
	case <-o.done:
	case <-p.ctx.Done():
		return true
	}
	answered := p.recount(k, o)
	p.answers.awaited(key, w, answered)
	return answered
}

// recount answers a message whose handler has returned, unless it came to nothing.
func (p *Peer) recount(k *outcomeKey, o *outcome) bool {
	if o.at.IsZero() {
		return false
	}
	_ = p.conn.Write(acknowledge(k.room, k.id, o.cursor, o.result, message.Disconnect))
	return true
}

// settled notes how the handling of a message ended, whatever way.
func (p *Peer) settled(r *Request, content message.Raw, published bool) {
	if r.published == nil || r.published.begun == nil {
		return
	}
	k := r.published.begun
	if r.published.begun = nil; published {
		p.hub.history.outcomes.finish(*k, content, r.published.receipt.Cursor)
	} else {
		p.hub.history.outcomes.abandon(*k)
	}
}
