package envelope

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The system types of docs/protocol.md, section 3.
const (
	Join     = "join"
	Leave    = "leave"
	Ping     = "ping"
	Auth     = "auth"
	Welcome  = "welcome"
	Ack      = "ack"
	Error    = "error"
	Pong     = "pong"
	Joined   = "joined"
	Left     = "left"
	Presence = "presence"
	Gap      = "gap"
	Bye      = "bye"
)

// System reports whether t belongs to the protocol and not to applications.
func System(t string) bool {
	switch t {
	case Join, Leave, Ping, Auth, Welcome, Ack, Error, Pong, Joined, Left, Presence, Gap, Bye:
		return true
	}
	return false
}

// Checked is content that is known to be valid JSON, as it was put together from
// checked parts.
type Checked []byte

// Head is what an envelope carries besides its content. Empty members are left
// out; the timestamp, in milliseconds since the Unix epoch, is always written.
type Head struct {
	Type, Room, ID, From, User, Cursor, Stream string
	Timestamp                                  int64
}

// Append writes the envelope with content as it is, or without where it is nil.
func Append(b []byte, h *Head, content []byte) []byte {
	b = append(b, `{"type":`...)
	b = appendString(b, h.Type)
	if content != nil {
		b = append(b, `,"content":`...)
		b = append(b, content...)
	}
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, h.Timestamp, 10)
	b = appendMember(b, `,"room":`, h.Room)
	b = appendMember(b, `,"id":`, h.ID)
	b = appendMember(b, `,"from":`, h.From)
	b = appendMember(b, `,"user":`, h.User)
	b = appendMember(b, `,"cursor":`, h.Cursor)
	b = appendMember(b, `,"stream":`, h.Stream)
	return append(b, '}')
}

// Size is how many bytes Append writes besides the content, for names that need
// no escapes; a few more at most.
func (h *Head) Size() int {
	const always = len(`{"type":"","content":,"timestamp":1700000000000}`)
	n := always + len(h.Type)
	for _, v := range [...]string{h.Room, h.ID, h.From, h.User, h.Cursor, h.Stream} {
		if v != "" {
			n += len(v) + len(`,"cursor":""`)
		}
	}
	return n
}

func appendMember(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return appendString(append(b, name...), v)
}

func appendString(b []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			b, _ = jsontext.AppendQuote(b, v) // bad UTF-8 becomes U+FFFD
			return b
		}
	}
	b = append(b, '"')
	b = append(b, v...)
	return append(b, '"')
}
