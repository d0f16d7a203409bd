package hub

import (
	"context"
	"iter"
	"sync"

	"github.com/hubbub-go/hubbub/message"
)

// Answer is what one of several peers answered.
type Answer[Res any] struct {
	Peer  *Peer
	Value Res
	Err   error // as that of Ask
}

// Members returns the peers in a room, in no order.
func (h *Hub) Members(room string) []*Peer {
	var peers []*Peer
	for id := range h.Room(room).Members() {
		if p := h.Peer(id); p != nil {
			peers = append(peers, p)
		}
	}
	return peers
}

// AskAll asks several peers at once and yields their answers as they come, one
// for each peer. Who does not answer in time yields a Timeout, so the iteration
// ends when ctx does, or after Options.AskTimeout, and never says less than what
// is known. Breaking it off withdraws the questions that are open.
func AskAll[Req, Res any](ctx context.Context, peers []*Peer, call message.Call[Req, Res], content Req) iter.Seq[Answer[Res]] {
	return func(yield func(Answer[Res]) bool) {
		ctx, cancel := context.WithCancel(ctx)
		answers := make(chan Answer[Res], len(peers))
		var asking sync.WaitGroup
		for _, p := range peers {
			asking.Go(func() {
				v, err := Ask(ctx, p, call, content)
				answers <- Answer[Res]{p, v, err}
			})
		}
		defer asking.Wait()
		defer cancel()
		for range peers {
			if !yield(<-answers) {
				return
			}
		}
	}
}
