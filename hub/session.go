package hub

import (
	"crypto/rand"
	"slices"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// The bounds of a session's secret. A client that continues a session proves it
// by knowing the secret: nothing has to be kept about it.
const (
	shortestSecret = 20
	longestSecret  = 64
)

func newSecret() string { return rand.Text() }

// sessionOf makes a secret of no use to another user.
func sessionOf(user, secret string) room.Session { return room.SessionOf(user + "\x00" + secret) }

// memberships returns the rooms that the peer is in, and whether it has joined one
// of them itself.
func (p *Peer) memberships() (rooms []*membership, joined bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.rooms.list {
		joined = joined || m.asked
	}
	return slices.Clone(p.rooms.list), joined
}

// auth continues an earlier session of the client.
func (p *Peer) auth(in *inbound) error {
	var content struct {
		Session string `json:"session"`
	}
	if err := in.content.Decode(nil, &content); err != nil {
		return err
	}
	if n := len(content.Session); n < shortestSecret || n > longestSecret {
		return &message.Error{Code: message.Invalid, Message: "this is not the session of a welcome", Field: "content.session"}
	}
	if _, joined := p.memberships(); joined {
		return message.Errorf(message.Denied, "a session is continued before the first join")
	}
	p.answers.mu.Lock()
	p.answers.session = sessionOf(p.user, content.Session)
	p.answers.mu.Unlock()
	rooms, _ := p.memberships() // that the application has put it into; who enters from now on has the new one
	for _, m := range rooms {
		m.room.Renew(p)
	}
	if in.parts.ID == nil {
		return nil
	}
	answer, err := message.RawOf(content, message.JSON) // the protocol's, not the application's
	if err != nil {
		return err
	}
	return ignoreClosed(p.reply("", string(in.parts.ID), answer))
}
