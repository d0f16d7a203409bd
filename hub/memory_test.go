package hub_test

import (
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/room"
)

// TestWorstCase: the figure follows from the configuration, and only from that.
func TestWorstCase(t *testing.T) {
	const mib = 1 << 20
	plain := hub.New(nil).WorstCase()
	if plain.Peer < 3*mib || plain.Peer > 8*mib || plain.Peers != 0 || plain.Kept != 0 {
		t.Errorf("without any rooms: %+v", plain)
	}
	h := hub.New(&hub.Options{MaxPeers: 1000, MaxRooms: 10})
	h.Rooms("a/{id}", &hub.Rule{Delivery: room.Latest{Total: 5 * mib}})
	h.Rooms("b/{id}", &hub.Rule{Delivery: room.Latest{}})
	if got := h.WorstCase(); got.Peers != 1000*got.Peer || got.Peer >= plain.Peer || got.Kept != 69*mib {
		t.Errorf("with the latest of each key: %+v", got)
	}
	h.Rooms("p/{id}", &hub.Rule{Presence: &room.Presence{}})
	h.Rooms("g/{id}", &hub.Rule{Presence: &room.Presence{Grace: time.Second, GraceBytes: 3 * mib}})
	if got := h.WorstCase(); got.Kept != (69+6)*mib {
		t.Errorf("with members in grace: %+v", got)
	}
	few := hub.New(&hub.Options{MaxRooms: 10})
	few.Rooms("a/{id}", &hub.Rule{Delivery: room.Latest{Keys: 10}})
	if got, less := h.WorstCase().Peer, few.WorstCase().Peer; got <= less || got > less+10*16*1000 {
		t.Errorf("a peer takes %d with the default number of keys, %d with 10", got, less)
	}
	before := h.WorstCase().Peer
	h.Rooms("c/{id}", &hub.Rule{Delivery: room.Recoverable{}})
	if got := h.WorstCase(); got.Kept != (69+6+256+64+16)*mib || got.Peer < before+7*mib/4 || got.Peer > before+5*mib/2 {
		t.Errorf("with histories: %+v, a peer took %d without", got, before)
	}
}
