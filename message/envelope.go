// Package message has the envelope that every message travels in, and the typed
// names that bind a wire type to a Go type:
//
//	const Say message.Kind[Text] = "chat.say"
//
// The wire format is docs/protocol.md. All types are safe to copy; a Frame is
// shared and immutable.
package message

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/internal/envelope"
)

// Envelope is a message with its address, as protocol v1 defines it. Applications
// make one with Kind.New, Call.New or New; the other members are set by the hub,
// which overwrites From, User, Cursor and Timestamp of whatever a client sends.
type Envelope struct {
	Type      string // 1 to 128 bytes, no control characters
	Room      string // at most 256 bytes; empty: addressed to no room
	ID        string // correlates a question with its answer; at most 64 bytes
	From      string // id of the sending peer; empty: the server
	User      string // id of the sending user; empty: not authenticated
	Cursor    string // position in a room that keeps history
	Timestamp time.Time
	Content   Raw // as it travels; New keeps a Go value instead

	value    any
	volatile bool
}

// New returns an envelope of the given type around content, which is encoded
// once, when the envelope is sent: a []byte travels as a binary message, a Raw
// as it is, everything else as JSON made by the Codec.
func New(typ string, content any) Envelope { return Envelope{Type: typ, value: content} }

// Volatile returns a copy that is dropped for every receiver that cannot take it
// at once, because its connection is full: typing notices, cursors.
func (e Envelope) Volatile() Envelope {
	e.volatile = true
	return e
}

// Decode reads one text message from data. The error, if any, is an *Error with
// the code Malformed; the envelope then holds what was readable, so that an
// answer can carry the ID. Content is a copy.
func Decode(data []byte) (Envelope, error) {
	if !utf8.Valid(data) {
		return Envelope{}, Errorf(Malformed, "the message is not valid UTF-8")
	}
	var p envelope.Parts
	err := envelope.Parse(data, &p)
	e := Envelope{
		Type: string(p.Type), Room: string(p.Room), ID: string(p.ID),
		From: string(p.From), User: string(p.User), Cursor: string(p.Cursor),
		Content: Raw{Data: bytes.Clone(p.Content)},
	}
	if p.Timestamp != 0 {
		e.Timestamp = time.UnixMilli(p.Timestamp)
	}
	if err != nil {
		return e, &Error{Code: Malformed, Message: err.Error()}
	}
	return e, nil
}

// DecodeBinary reads one binary message: an envelope in JSON without content, a
// newline, and the content's bytes. Errors are those of Decode.
func DecodeBinary(data []byte) (Envelope, error) {
	head, content, err := SplitBinary(data)
	if err != nil {
		return Envelope{}, err
	}
	e, err := Decode(head)
	if err == nil && e.Content.Data != nil {
		err = Errorf(Malformed, `a binary message has its content behind the newline, not in "content"`)
	}
	e.Content = Raw{Data: bytes.Clone(content), Binary: true}
	return e, err
}

// SplitBinary cuts a binary message at its newline, without copying.
func SplitBinary(data []byte) (head, content []byte, err error) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return nil, nil, Errorf(Malformed, "a binary message is an envelope in JSON, one newline and the content; there is no newline")
	}
	return data[:i], data[i+1:], nil
}

// Encode makes the frame of e that is shared by all who get it. A Timestamp that
// is zero becomes now; a nil codec is JSON; policy says what happens to the
// frame at a receiver that is too slow. An error says that the content cannot be
// encoded, or that the type or room breaks the protocol's limits.
func Encode(e Envelope, codec Codec, policy Policy) (*Frame, error) {
	content, err := e.raw(codec)
	if err != nil {
		return nil, err
	}
	if err := envelope.CheckName("type", e.Type, envelope.MaxType); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if len(e.Room) > envelope.MaxRoom || len(e.ID) > envelope.MaxID || !utf8.ValidString(e.Type) {
		return nil, fmt.Errorf("message: %q: the room, the id or the type breaks the limits of the protocol", e.Type)
	}
	h := envelope.Head{Type: e.Type, Room: e.Room, ID: e.ID, From: e.From, User: e.User, Cursor: e.Cursor}
	if e.Timestamp.IsZero() {
		h.Timestamp = time.Now().UnixMilli()
	} else {
		h.Timestamp = e.Timestamp.UnixMilli()
	}
	f := &Frame{room: e.Room, policy: policy, volatile: e.volatile, binary: content.Binary}
	buf := make([]byte, headroom, headroom+h.Size()+len(content.Data))
	if content.Binary {
		buf = append(envelope.Append(buf, &h, nil), '\n')
		f.buf = append(buf, content.Data...)
	} else {
		f.buf = envelope.Append(buf, &h, content.Data)
	}
	return f, nil
}

// raw is the content as it travels.
func (e *Envelope) raw(codec Codec) (Raw, error) {
	raw := e.Content
	switch v := e.value.(type) {
	case nil:
	case Raw:
		raw = v
	case []byte:
		raw = Raw{Data: v, Binary: true}
	default:
		if codec == nil {
			codec = JSON
		}
		data, err := codec.Marshal(v)
		if err != nil {
			return raw, fmt.Errorf("message: %q: the content cannot be encoded: %w", e.Type, err)
		}
		return Raw{Data: data}, nil
	}
	if !raw.Binary && raw.Data != nil && !envelope.ValidContent(raw.Data) {
		return raw, fmt.Errorf("message: %q: the content is not valid JSON", e.Type)
	}
	return raw, nil
}
