package peer

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/lxzan/gws"
)

// Event handler and Broadcaster of lxzan/gws as in its README; the room is a
// set of connections behind a lock. Messages are handled one after the other
// (no ParallelEnabled), which order within a room needs. There is no heartbeat:
// in gws's own examples that is the client's task.

type gwsHandler struct {
	gws.BuiltinEventHandler
	mu    sync.RWMutex
	rooms map[string]map[*gws.Conn]struct{}
}

func newGWS() http.Handler {
	handler := &gwsHandler{rooms: map[string]map[*gws.Conn]struct{}{}}
	upgrader := gws.NewUpgrader(handler, &gws.ServerOption{
		Recovery:           gws.Recovery,
		ReadMaxPayloadSize: messageLimit,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		// In a goroutine of its own, so that net/http can let go of the request.
		go socket.ReadLoop()
	})
}

// roomKey is where a connection's session storage keeps its room.
const roomKey = "room"

func (h *gwsHandler) OnClose(socket *gws.Conn, _ error) {
	if room, ok := socket.Session().Load(roomKey); ok {
		h.mu.Lock()
		delete(h.rooms[room.(string)], socket)
		h.mu.Unlock()
	}
}

func (h *gwsHandler) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	var e envelope
	if err := json.Unmarshal(message.Bytes(), &e); err != nil {
		socket.WriteClose(1008, nil)
		return
	}
	switch e.Type {
	case "join":
		h.join(socket, e.Room)
		_ = socket.WriteMessage(gws.OpcodeText, acknowledge(e))
	case "msg":
		h.publish(socket, e.Room, message.Bytes())
	case "echo":
		_ = socket.WriteMessage(gws.OpcodeText, acknowledge(e))
	}
}

func (h *gwsHandler) join(socket *gws.Conn, room string) {
	socket.Session().Store(roomKey, room)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[room] == nil {
		h.rooms[room] = map[*gws.Conn]struct{}{}
	}
	h.rooms[room][socket] = struct{}{}
}

func (h *gwsHandler) publish(from *gws.Conn, room string, data []byte) {
	broadcaster := gws.NewBroadcaster(gws.OpcodeText, data)
	defer broadcaster.Close()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for member := range h.rooms[room] {
		if member != from {
			_ = broadcaster.Broadcast(member)
		}
	}
}
