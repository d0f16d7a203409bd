package client

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

// Member is somebody in a room that shows presence.
type Member struct {
	ID      string      // of the peer; of the user's first one in a room merged by user
	User    string      // "" for an anonymous one
	Content message.Raw // the public state, as the server decided it; see Raw.Decode
	// Was, in Presence.Updated, is the ID under which the member was known until now, where
	// that is another one: it is back, or there on another connection instead.
	Was string
}

// Presence is a change of who is in a room.
type Presence struct {
	Count                 int // of members now, also where the room is too large for a list
	Joined, Left, Updated []Member
}

// wireMember is a member as it travels.
type wireMember struct {
	From    string          `json:"from"`
	Was     string          `json:"was"` // the id under which it was known
	User    string          `json:"user"`
	Content json.RawMessage `json:"content"`
}

func (w *wireMember) member() Member {
	return Member{ID: w.From, User: w.User, Content: message.Raw{Data: w.Content}}
}

// wirePresence is the content of a presence message.
type wirePresence struct {
	Members  *int         `json:"members"`
	Presence []wireMember `json:"presence"` // the whole list
	Joined   []wireMember `json:"joined"`
	Left     []wireMember `json:"left"`
	Updated  []wireMember `json:"updated"`
}

// whole reports whether it replaces the list, with none where only the number is told.
func (w *wirePresence) whole() bool {
	return w.Presence != nil || w.Members != nil && w.Joined == nil && w.Left == nil && w.Updated == nil
}

// presence takes a message that tells who comes and goes.
func (s *socket) presence(e *message.Envelope, size int) {
	r, from := s.room(e)
	if r == nil {
		return
	}
	if e.Type == envelope.Left && e.From == s.welcome.ID {
		s.expelled(r, size)
		return
	}
	s.client.mu.Lock()
	if !r.member.joined { // there is no list to begin with
		s.client.mu.Unlock()
		return
	}
	change, err := r.who.apply(e)
	s.client.mu.Unlock()
	told := func() {
		if err != nil {
			s.client.opts.OnError(inRoom(r.name, err))
			return
		}
		call(r, from, &r.onPresence, change)
		r.passed(from, e.Cursor)
	}
	if s.put(told, size) {
		r.received(from, e.Cursor)
	}
}

// expelled ends a membership that the server has ended; of one that was not asked for,
// only what was heard.
func (s *socket) expelled(r *Room, size int) {
	why := message.Errorf(message.NotMember, "the server has taken the client out of the room %q", r.name)
	s.client.mu.Lock()
	if !r.member.joined { // or it was left meanwhile
		r.member.heard = r.member.heard && r.member.wanted
		s.client.mu.Unlock()
		return
	}
	ends, then := r.lost(why, why)
	s.client.mu.Unlock()
	ends.tell()
	if !s.put(then, size) { // nothing else will say so
		s.client.inbox.post(event{run: then})
	}
}

// roster is who is in a room: the last whole list, and what came after it.
// Client.mu guards it.
type roster struct {
	list   []Member
	listed bool // the list is the whole room
	count  int
}

// reset takes a whole list; nil: there is none. The change is what differs from
// before.
func (r *roster) reset(list []wireMember, count int) Presence {
	before := r.list
	*r = roster{listed: list != nil, count: count}
	for i := range list {
		r.list = append(r.list, list[i].member())
	}
	p := Presence{Count: count}
	if list == nil {
		return p
	}
	for _, m := range r.list {
		if i := slices.IndexFunc(before, m.is); i < 0 {
			p.Joined = append(p.Joined, m)
		} else if !bytes.Equal(before[i].Content.Data, m.Content.Data) {
			p.Updated = append(p.Updated, m)
		}
	}
	for _, m := range before {
		if !slices.ContainsFunc(r.list, m.is) {
			p.Left = append(p.Left, m)
		}
	}
	return p
}

func (m Member) is(other Member) bool { return m.ID == other.ID }

// apply takes a message that tells a change.
func (r *roster) apply(e *message.Envelope) (Presence, error) {
	w := wirePresence{}
	one := []wireMember{{From: e.From, User: e.User, Content: e.Content.Data}}
	switch e.Type {
	case envelope.Joined:
		w.Joined = one
	case envelope.Left:
		w.Left = one
	default:
		if err := e.Content.Decode(nil, &w); err != nil {
			return Presence{}, err
		}
	}
	if w.whole() {
		count := len(w.Presence)
		if w.Members != nil {
			count = *w.Members
		}
		return r.reset(w.Presence, count), nil
	}
	p := Presence{}
	for i := range w.Left {
		p.Left = append(p.Left, r.leave(&w.Left[i]))
	}
	for i := range w.Updated {
		p.Updated = append(p.Updated, r.update(&w.Updated[i]))
	}
	for i := range w.Joined {
		p.Joined = append(p.Joined, r.join(&w.Joined[i]))
	}
	if w.Members != nil {
		r.count = *w.Members
	}
	p.Count = r.count
	return p, nil
}

// find looks for a member by its id, or by its user: where one entry stands for a
// user, it may be known by another of the user's ids.
func (r *roster) find(id, user string) int {
	i := slices.IndexFunc(r.list, func(m Member) bool { return m.ID == id })
	if i < 0 && user != "" {
		i = slices.IndexFunc(r.list, func(m Member) bool { return m.User == user })
	}
	return i
}

func (r *roster) join(w *wireMember) Member {
	m := w.member()
	if i := r.find(m.ID, ""); i >= 0 {
		r.list[i] = m
		return m
	}
	if r.listed {
		r.list = append(r.list, m)
	}
	r.count++
	return m
}

// leave removes a member; one that is not in a whole list has left before.
func (r *roster) leave(w *wireMember) Member {
	m, i := w.member(), r.find(w.From, w.User)
	switch {
	case i >= 0:
		if m.Content.Data == nil {
			m.Content = r.list[i].Content
		}
		r.list = slices.Delete(r.list, i, i+1)
	case r.listed:
		return m
	}
	r.count = max(0, r.count-1)
	return m
}

// update changes the state of a member, or the id under which it is known.
func (r *roster) update(w *wireMember) Member {
	m, was := w.member(), w.From
	if w.Was != "" {
		was = w.Was
	}
	if i := r.find(was, m.User); i >= 0 {
		was, r.list[i] = r.list[i].ID, m
	} else if r.listed {
		r.list = append(r.list, m)
	}
	if was != m.ID {
		m.Was = was // which is no news to who looks at the list
	}
	return m
}
