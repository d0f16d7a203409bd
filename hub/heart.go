package hub

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// heart pings every peer once in an interval, spread over it, and ends those
// that show no sign of life. It is a wheel: one goroutine, while there are peers,
// and no timer for a peer.
type heart struct {
	tick time.Duration
	lag  int // ticks from the ping to the check

	mu    sync.Mutex
	slots [][]*Peer
	next  int // slot of the next peer
	count int
	came  int           // ever
	stop  chan struct{} // nil: not running
	runs  sync.WaitGroup
}

// place is where a peer stands in the wheel; the heart's lock guards it.
type place struct {
	slot, at int
	nth      int // of all that came
	in       bool
}

func (h *heart) init(interval, timeout time.Duration) {
	const finest, most = 5 * time.Millisecond, 64
	n := min(max(int(interval/finest), 1), most)
	h.slots = make([][]*Peer, n)
	h.tick = interval / time.Duration(n)
	h.lag = max(int(timeout/h.tick), 1)
}

func (h *heart) add(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.ctx.Err() != nil {
		return // it has been removed already
	}
	h.next = (h.next + 1) % len(h.slots)
	h.came++
	p.beat = place{slot: h.next, at: len(h.slots[h.next]), nth: h.came, in: true}
	h.slots[h.next] = append(h.slots[h.next], p)
	if h.count++; h.stop == nil {
		h.stop = make(chan struct{})
		h.runs.Add(1)
		go h.run(h.stop)
	}
}

func (h *heart) remove(p *Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !p.beat.in {
		return
	}
	slot := h.slots[p.beat.slot]
	last := slot[len(slot)-1]
	slot[p.beat.at], last.beat.at = last, p.beat.at
	slot[len(slot)-1] = nil
	h.slots[p.beat.slot] = slot[:len(slot)-1]
	p.beat.in = false
	if h.count--; h.count == 0 {
		close(h.stop)
		h.stop = nil
	}
}

func (h *heart) run(stop chan struct{}) {
	defer h.runs.Done()
	t := time.NewTicker(h.tick)
	defer t.Stop()
	for now := 0; ; now++ {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		// First the check of those pinged lag ticks ago, then the pings: where
		// both are of one slot, a new ping must not hide a missing answer.
		for _, p := range h.slot(now - h.lag) {
			if !p.conn.Seen() && !p.overheard() {
				p.apart(p.silent)
			}
		}
		for _, p := range h.slot(now) {
			if err := p.conn.Ping(); p.listen() && err != nil {
				p.apart(func() { p.end(err) }) // nobody reads that it has ended
			}
		}
	}
}

// inOrder sorts peers by when they came.
func (h *heart) inOrder(peers []*Peer) []*Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortFunc(peers, func(a, b *Peer) int { return cmp.Compare(a.beat.nth, b.beat.nth) })
	return peers
}

// slot returns the peers that stand there; a negative one has not been pinged.
func (h *heart) slot(i int) []*Peer {
	if i < 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Peer(nil), h.slots[i%len(h.slots)]...)
}

// listen makes sure that the answer to a ping is read, and reports whether that has
// to wait until there is space in the backlog.
func (p *Peer) listen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relieve()
	r := p.turn.relief
	p.turn.deaf = r != nil && r.full
	return p.turn.deaf
}

// overheard reports whether a sign of life may have come that nobody has read yet.
// From now on somebody reads, if there is space.
func (p *Peer) overheard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	deaf := p.turn.deaf || p.turn.running && p.turn.relief == nil
	p.relieve()
	return deaf
}

// silent ends a peer that shows no sign of life.
func (p *Peer) silent() {
	const reason = "no sign of life"
	p.conn.Close(message.CloseSilent, reason)
	p.end(&transport.CloseError{Code: message.CloseSilent, Reason: reason, Local: true})
}
