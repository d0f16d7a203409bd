package hub

import (
	"context"
	"errors"

	"github.com/hubbub-go/hubbub/message"
)

// User is everybody who is connected as one user: all devices, all tabs. Its
// methods are safe for concurrent use, and do nothing for a user who is not
// connected.
type User struct {
	hub *Hub
	id  string
}

// User returns the user of that ID, as Options.Identify says it, connected or
// not. Anonymous peers have none: "" is a user without connections.
func (h *Hub) User(id string) User { return User{h, id} }

// Peers returns the user's connections, in no order.
func (u User) Peers() []*Peer {
	if u.id == "" {
		return nil
	}
	u.hub.mu.Lock()
	defer u.hub.mu.Unlock()
	peers := make([]*Peer, 0, len(u.hub.users[u.id]))
	for p := range u.hub.users[u.id] {
		peers = append(peers, p)
	}
	return peers
}

// Send queues e for all of the user's connections. It is encoded once. The error
// says that it cannot be. What has to reach a user who is away belongs into a
// recoverable room, see Inbox.
func (u User) Send(e message.Envelope) error {
	f, err := message.Encode(e, u.hub.opts.Codec, message.Disconnect)
	if err != nil {
		return err
	}
	for _, p := range u.Peers() {
		_ = p.Deliver(f)
	}
	return nil
}

// Join puts all of the user's connections into a room, see Peer.Join. The error
// joins those of the connections that could not.
func (u User) Join(ctx context.Context, room string, state any) error {
	var all []error
	for _, p := range u.Peers() {
		all = append(all, p.Join(ctx, room, state))
	}
	return errors.Join(all...)
}

// Leave takes all of the user's connections out of a room.
func (u User) Leave(room string) {
	for _, p := range u.Peers() {
		p.Leave(room)
	}
}

// Disconnect closes all of the user's connections, see Peer.Close.
func (u User) Disconnect(code int, reason string) {
	for _, p := range u.Peers() {
		p.Close(code, reason)
	}
}

// index notes who is connected as whom. h.mu is held.
func (h *Hub) index(p *Peer) {
	if p.user == "" {
		return
	}
	if h.users[p.user] == nil {
		if h.users == nil {
			h.users = map[string]map[*Peer]struct{}{}
		}
		h.users[p.user] = map[*Peer]struct{}{}
	}
	h.users[p.user][p] = struct{}{}
}

// unindex is the inverse of index. h.mu is held.
func (h *Hub) unindex(p *Peer) {
	if delete(h.users[p.user], p); len(h.users[p.user]) == 0 {
		delete(h.users, p.user)
	}
}
