package message

import "bytes"

// Kept makes the frame of a message that a log has kept: payload is what
// Frame.Payload returned of it, cursor its place in the log of that room. The
// text of a cursor needs no escapes.
func Kept(payload []byte, binary bool, room, cursor string) *Frame {
	head, content := payload, []byte(nil)
	if binary {
		end := bytes.IndexByte(payload, '\n')
		head, content = payload[:end], payload[end:]
	}
	const member = `,"cursor":"`
	b := make([]byte, headroom, headroom+len(payload)+len(member)+len(cursor)+2)
	b = append(b, head[:len(head)-1]...) // without the brace
	b = append(append(append(b, member...), cursor...), `"}`...)
	return &Frame{buf: append(b, content...), room: room, policy: CatchUp, binary: binary}
}
