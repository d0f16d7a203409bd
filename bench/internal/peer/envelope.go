// Package peer holds servers on other Go WebSocket libraries, each written the
// way its own documentation shows: rooms of members, a message to the others in
// the room, an answered request. They relay what a publisher sent without
// adding to it.
package peer

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// messageLimit is the largest message that a server accepts.
const messageLimit = 64 << 10

type envelope struct {
	Type    string          `json:"type"`
	Room    string          `json:"room,omitempty"`
	ID      string          `json:"id,omitempty"`
	Content json.RawMessage `json:"content,omitempty"`
}

// acknowledge answers a message that has an id.
func acknowledge(e envelope) []byte {
	answer, err := json.Marshal(envelope{Type: "ack", ID: e.ID, Content: e.Content})
	if err != nil {
		// Content has just been decoded, so it is valid JSON.
		panic(err)
	}
	return answer
}

// Handlers makes the handler of each server, by the name of its library.
var Handlers = map[string]func() http.Handler{
	"gorilla": newGorilla,
	"gws":     newGWS,
	"melody":  newMelody,
}

// Serve listens, announces the address and serves until that fails.
func Serve(announce io.Writer, address string, handler http.Handler) error {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(announce, "listening on", listener.Addr()); err != nil {
		return err
	}
	return http.Serve(listener, handler)
}
