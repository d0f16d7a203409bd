//go:build linux

package load

import (
	"bytes"
	"fmt"
	"strings"
)

// A dialect is how a server wants to be spoken to over its WebSocket. All
// results are payloads of text frames.
type dialect interface {
	path() string
	// hello is what a client sends first, nil for nothing. since is where it was
	// before, "" if it was not.
	hello(room, since string) []byte
	// answer serves a payload that carries no marker: what to reply, if
	// anything, and whether it says that the client has joined the room.
	answer(payload []byte, room string) (reply []byte, joined bool, err error)
	publish(room, content string) string
	echo(content string) string
}

var dialects = map[string]dialect{"envelope": envelope{}, "socketio": socketIO{}}

// envelope is hubbub's protocol, as far as the benchmark uses it.
type envelope struct{}

func (envelope) path() string { return "/ws" }

func (envelope) hello(room, since string) []byte {
	if since != "" {
		return fmt.Appendf(nil, `{"type":"join","room":%q,"since":%q,"id":"1"}`, room, since)
	}
	return fmt.Appendf(nil, `{"type":"join","room":%q,"id":"1"}`, room)
}

func (envelope) answer(payload []byte, _ string) ([]byte, bool, error) {
	switch {
	case bytes.Contains(payload, []byte(`"type":"error"`)), bytes.Contains(payload, []byte(`"type":"bye"`)):
		return nil, false, fmt.Errorf("server says %s", payload)
	case bytes.Contains(payload, []byte(`"type":"ack"`)):
		return nil, true, nil
	}
	return nil, false, nil // welcome, joined and the like
}

func (envelope) publish(room, content string) string {
	return fmt.Sprintf(`{"type":"msg","room":%q,"content":%q}`, room, content)
}

func (envelope) echo(content string) string {
	return fmt.Sprintf(`{"type":"echo","id":"2","content":%q}`, content)
}

// socketIO is Socket.IO 4 (Engine.IO 4) with nothing but its WebSocket
// transport. The leading digits are packet types: 0 open, 2 ping, 3 pong,
// 40 connect, 41 disconnect, 42 event, 43 acknowledgement, 44 refusal; a number
// behind 42 asks for the acknowledgement with that number.
type socketIO struct{}

func (socketIO) path() string { return "/socket.io/?EIO=4&transport=websocket" }

func (socketIO) hello(string, string) []byte { return nil }

func (socketIO) answer(payload []byte, room string) ([]byte, bool, error) {
	text := string(payload)
	switch {
	case strings.HasPrefix(text, "0{"):
		return []byte("40"), false, nil
	case strings.HasPrefix(text, "40"):
		return fmt.Appendf(nil, `421["join",%q]`, room), false, nil
	case strings.HasPrefix(text, "431"):
		return nil, true, nil
	case text == "2":
		return []byte("3"), false, nil
	case text == "1", strings.HasPrefix(text, "41"), strings.HasPrefix(text, "44"):
		return nil, false, fmt.Errorf("server says %s", text)
	}
	return nil, false, nil
}

func (socketIO) publish(room, content string) string {
	return fmt.Sprintf(`42["msg",{"room":%q,"content":%q}]`, room, content)
}

func (socketIO) echo(content string) string {
	return fmt.Sprintf(`422["echo",%q]`, content)
}
