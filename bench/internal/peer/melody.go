package peer

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/olahol/melody"
)

// The handlers of olahol/melody. Its examples choose the members of a room by
// BroadcastFilter, which asks every session of the server; this one keeps lists
// and writes to them, or many small rooms would measure nothing else.

type melodyRooms struct {
	mu    sync.RWMutex
	rooms map[string][]*melody.Session
}

func newMelody() http.Handler {
	m := melody.New()
	m.Config.MaxMessageSize = messageLimit
	rooms := &melodyRooms{rooms: map[string][]*melody.Session{}}
	m.HandleMessage(rooms.message)
	m.HandleDisconnect(rooms.leave)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = m.HandleRequest(w, r) // it has answered where it refuses
	})
}

func (r *melodyRooms) message(s *melody.Session, data []byte) {
	var e envelope
	if json.Unmarshal(data, &e) != nil {
		_ = s.Close()
		return
	}
	switch e.Type {
	case "join":
		s.Set(roomKey, e.Room)
		r.mu.Lock()
		r.rooms[e.Room] = append(r.rooms[e.Room], s)
		r.mu.Unlock()
		_ = s.Write(acknowledge(e))
	case "msg":
		r.publish(s, e.Room, data)
	case "echo":
		_ = s.Write(acknowledge(e))
	}
}

// publish sends to all but the publisher: to those before it, then to those
// behind it.
func (r *melodyRooms) publish(from *melody.Session, room string, data []byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	members := r.rooms[room]
	at := slices.Index(members, from)
	if at < 0 {
		return
	}
	for _, part := range [][]*melody.Session{members[:at], members[at+1:]} {
		for _, member := range part {
			_ = member.Write(data) // one closed session must not end the broadcast
		}
	}
}

func (r *melodyRooms) leave(s *melody.Session) {
	room, ok := s.Get(roomKey)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := room.(string)
	r.rooms[name] = slices.DeleteFunc(r.rooms[name], func(member *melody.Session) bool { return member == s })
}
