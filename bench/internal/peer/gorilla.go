package peer

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// The chat example of gorilla/websocket, with a hub goroutine for each room
// instead of a single one, and with one message a frame: the example joins
// queued messages with newlines, which envelopes do not allow.

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
)

type gorilla struct {
	upgrader websocket.Upgrader
	mu       sync.Mutex
	hubs     map[string]*hub
}

func newGorilla() http.Handler {
	return &gorilla{
		upgrader: websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024},
		hubs:     map[string]*hub{},
	}
}

func (g *gorilla) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := g.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	c := &client{conn: conn, send: make(chan []byte, 256), done: make(chan struct{})}
	go c.writePump()
	go c.readPump(g)
}

func (g *gorilla) hub(room string) *hub {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.hubs[room]
	if h == nil {
		h = &hub{
			register:   make(chan *client),
			unregister: make(chan *client),
			broadcast:  make(chan broadcast),
			clients:    map[*client]bool{},
		}
		g.hubs[room] = h
		go h.run()
	}
	return h
}

type broadcast struct {
	from *client
	data []byte
}

type hub struct {
	register, unregister chan *client
	broadcast            chan broadcast
	clients              map[*client]bool
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.register:
			h.clients[c] = true
		case c := <-h.unregister:
			delete(h.clients, c)
		case message := <-h.broadcast:
			for c := range h.clients {
				if c == message.from {
					continue
				}
				select {
				case c.send <- message.data:
				default: // too slow
					delete(h.clients, c)
					c.conn.Close()
				}
			}
		}
	}
}

type client struct {
	conn *websocket.Conn
	hub  *hub
	send chan []byte
	done chan struct{} // closed when reading has ended
}

func (c *client) readPump(g *gorilla) {
	defer func() {
		if c.hub != nil {
			c.hub.unregister <- c
		}
		close(c.done)
		c.conn.Close()
	}()
	c.conn.SetReadLimit(messageLimit)
	extend := func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) }
	c.conn.SetPongHandler(extend)
	if extend("") != nil {
		return
	}
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		var e envelope
		if json.Unmarshal(data, &e) != nil {
			return
		}
		switch e.Type {
		case "join":
			c.hub = g.hub(e.Room)
			c.hub.register <- c
			c.send <- acknowledge(e)
		case "msg":
			if c.hub != nil {
				c.hub.broadcast <- broadcast{from: c, data: data}
			}
		case "echo":
			c.send <- acknowledge(e)
		}
	}
}

func (c *client) writePump() {
	ticker := time.NewTicker(pingPeriod)
	defer func() {
		ticker.Stop()
		c.conn.Close()
	}()
	write := func(kind int, data []byte) bool {
		return c.conn.SetWriteDeadline(time.Now().Add(writeWait)) == nil && c.conn.WriteMessage(kind, data) == nil
	}
	for {
		select {
		case data := <-c.send:
			if !write(websocket.TextMessage, data) {
				return
			}
		case <-ticker.C:
			if !write(websocket.PingMessage, nil) {
				return
			}
		case <-c.done:
			return
		}
	}
}
