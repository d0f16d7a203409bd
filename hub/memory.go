package hub

import (
	"github.com/hubbub-go/hubbub/internal/feed"
	"github.com/hubbub-go/hubbub/room"
)

// Memory is what a hub can take at worst, in bytes, whatever clients do. What the
// application's handlers and states take is not in it, nor what those that are
// Concurrent answer, up to 16 at once for each peer.
type Memory struct {
	// Peer is what one connection takes at worst: it reads nothing, sends the
	// largest messages to a handler that asks it something, is in as many rooms as
	// it may be, publishes to them, and asks for their history. An idle one takes some
	// 10 KB.
	Peer int
	// Peers is that for Options.MaxPeers connections; 0: there is no limit to them.
	Peers int
	// Kept is what stays of messages: histories, the latest of each key, answers;
	// and of members in grace (room.Presence.Bound). 0: the engine does not say how
	// much it keeps in this process.
	Kept int
}

// bounded is what can say how much memory it takes at most.
type bounded interface{ Bound() int }

// perRoom is what a peer's membership of one room takes, presence included.
const perRoom = 8 << 10

// perAnswer is what an answer that waits takes beside its result.
const perAnswer = 1 << 10

// perPage is what pages of history take of a peer: the messages of one and the answer
// that is made of them, while the one before waits to be written.
const perPage = 3 << 19

// WorstCase returns the memory that the hub's configuration allows. Transports
// that cannot say how much a connection takes count for nothing.
func (h *Hub) WorstCase() Memory {
	var m Memory
	for _, t := range h.transports {
		if b, ok := t.(bounded); ok {
			m.Peer = max(m.Peer, b.Bound())
		}
	}
	behind := 0
	for _, s := range h.scopes {
		if d, ok := s.rule.Delivery.(room.Latest); ok {
			m.Kept += d.Bound()
			behind = max(behind, d.BoundBehind())
		}
		m.Kept += s.rule.Presence.Bound()
	}
	m.Peer += askingBacklog + h.opts.MaxRooms*(perRoom+behind) + 32<<10
	if h.history.logs != nil {
		m.Peer += (2*(mostWaiting+concurrent)+mostTold)*perAnswer + mostResults + perPage
	}
	m.Peers = m.Peer * h.opts.MaxPeers
	if h.history.logs != nil {
		b, ok := h.opts.Engine.(bounded)
		if !ok {
			return Memory{Peer: m.Peer, Peers: m.Peers}
		}
		m.Kept += b.Bound() + feed.DefaultRings + mostOutcomes
	}
	return m
}
