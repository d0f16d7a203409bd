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
	"errors"
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
	Stream    string // id of the question of whose results this is one
	Timestamp time.Time
	Content   Raw // as it travels; New keeps a Go value instead

	value    any
	key      string
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

// IsVolatile reports whether Volatile made e.
func (e Envelope) IsVolatile() bool { return e.volatile }

// Keyed returns a copy that, in rooms which keep the latest message of each key,
// replaces the one before with the same key. A key has at most 256 bytes.
func (e Envelope) Keyed(key string) Envelope {
	e.key = key
	return e
}

// Decode reads one message: a text message, which is the envelope as JSON, or a
// binary one, which is the envelope without content, a newline, and the content's
// bytes. The error, if any, is an *Error with the code Malformed; the envelope
// then holds what was readable, so that an answer can carry the ID. Content is a
// copy.
func Decode(data []byte, binary bool) (Envelope, error) {
	head, content, err := envelope.Split(data, binary)
	if err == nil && !utf8.Valid(head) {
		err = errors.New("the message is not valid UTF-8")
	}
	var p envelope.Parts
	if err == nil {
		err = envelope.Parse(head, &p)
	}
	if !binary {
		content = p.Content
	} else if err == nil {
		err = p.Bare()
	}
	e := Envelope{
		Type: string(p.Type), Room: string(p.Room), ID: string(p.ID),
		From: string(p.From), User: string(p.User), Cursor: string(p.Cursor), Stream: string(p.Stream),
		Content: Raw{Data: bytes.Clone(content), Binary: binary},
	}
	if p.Timestamp != 0 {
		e.Timestamp = time.UnixMilli(p.Timestamp)
	}
	if err != nil {
		return e, &Error{Code: Malformed, Message: err.Error()}
	}
	return e, nil
}

// MarshalJSON implements json.Marshaler: the envelope as it travels, with binary
// content as a string in base64.
func (e Envelope) MarshalJSON() ([]byte, error) {
	content, err := e.raw(nil)
	if err == nil && content.Binary {
		content.Data, err = content.MarshalJSON()
	}
	if err != nil {
		return nil, err
	}
	h := e.head()
	return envelope.Append(nil, &h, content.Data), nil
}

// Encode makes the frame of e that is shared by all who get it. A Timestamp that
// is zero becomes now; a nil codec is JSON; policy says what happens to the
// frame at a receiver that is too slow. An error says that the content cannot be
// encoded, or that the type, the room, the id or the key breaks its limits.
func Encode(e Envelope, codec Codec, policy Policy) (*Frame, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	content, err := e.raw(codec)
	if err != nil {
		return nil, err
	}
	if e.volatile {
		policy = Volatile
	}
	return &Frame{buf: e.append(content), room: e.Room, key: e.key, policy: policy, binary: content.Binary}, nil
}

// maxKey is the size of the longest key, in bytes.
const maxKey = 256

// check applies the limits to what applications choose.
func (e *Envelope) check() error {
	if err := envelope.CheckName("type", e.Type, envelope.MaxType); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if len(e.Room) > envelope.MaxRoom || len(e.ID) > envelope.MaxID || len(e.Stream) > envelope.MaxID || !utf8.ValidString(e.Type) {
		return fmt.Errorf("message: %q: the room, the id or the type breaks the limits of the protocol", e.Type)
	}
	if len(e.key) > maxKey {
		return fmt.Errorf("message: %q: the key has %d bytes, allowed are %d", e.Type, len(e.key), maxKey)
	}
	return nil
}

// head is what stands in the envelope besides the content.
func (e *Envelope) head() envelope.Head {
	h := envelope.Head{Type: e.Type, Room: e.Room, ID: e.ID, From: e.From, User: e.User, Cursor: e.Cursor, Stream: e.Stream}
	if e.Timestamp.IsZero() {
		h.Timestamp = time.Now().UnixMilli()
	} else {
		h.Timestamp = e.Timestamp.UnixMilli()
	}
	return h
}

// append writes the message behind the headroom of a frame.
func (e *Envelope) append(content Raw) []byte {
	h := e.head()
	b := make([]byte, headroom, headroom+h.Size()+len(content.Data))
	if !content.Binary {
		return envelope.Append(b, &h, content.Data)
	}
	b = append(envelope.Append(b, &h, nil), '\n')
	return append(b, content.Data...)
}

// raw is the content as it travels.
func (e *Envelope) raw(codec Codec) (Raw, error) {
	raw := e.Content
	switch v := e.value.(type) {
	case nil:
	case envelope.Checked:
		return Raw{Data: v}, nil
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
