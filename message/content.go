package message

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Raw is content as it travels, for handlers that pass it on unread.
type Raw struct {
	Data   []byte // JSON, or any bytes where Binary; nil: absent, which means null
	Binary bool
}

// MarshalJSON implements json.Marshaler: JSON is what it is, bytes are a string in
// base64.
func (r Raw) MarshalJSON() ([]byte, error) {
	switch {
	case r.Binary:
		return JSON.Marshal(r.Data)
	case r.Data == nil:
		return []byte("null"), nil
	}
	return r.Data, nil
}

// UnmarshalJSON implements json.Unmarshaler: it takes any JSON.
func (r *Raw) UnmarshalJSON(data []byte) error {
	*r = Raw{Data: bytes.Clone(data)}
	return nil
}

// RawOf returns v as it travels: a Raw as it is, a []byte as binary content, nil
// as absent, everything else as JSON made by codec; nil is JSON. The error says
// that v cannot be encoded, or that a Raw is not valid JSON.
func RawOf(v any, codec Codec) (Raw, error) {
	e := Envelope{Type: "result", value: v}
	return e.raw(codec)
}

// Codec encodes and decodes the content of text messages. Marshal must return
// valid JSON. Implementations are safe for concurrent use and keep nothing.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// JSON is the default Codec: encoding/json/v2 semantics, that is, names match
// exactly and duplicates are errors, with a time.Duration as nanoseconds.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

var durations = jsonv1.FormatDurationAsNano(true)

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v, durations) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v, durations) }

// Decode reads the content into v, a non-nil pointer, and checks it if it has a
// method Validate() error; where v points to a pointer to such a type, null and
// absent content are errors. The error is an *Error with the code Invalid that says
// which field is wrong. *Raw takes everything, *[]byte takes binary content only,
// all other types take JSON; absent content leaves v as it is.
func (r Raw) Decode(codec Codec, v any) error {
	switch v := v.(type) {
	case *Raw:
		*v = Raw{Data: bytes.Clone(r.Data), Binary: r.Binary}
		return nil
	case *[]byte:
		if !r.Binary && r.Data != nil {
			return Errorf(Invalid, "the content must come as a binary message")
		}
		*v = bytes.Clone(r.Data)
		return nil
	case *struct{}:
		return nil // a type without content
	}
	if r.Binary {
		return Errorf(Invalid, "the content must be JSON, not a binary message")
	}
	if r.Data != nil {
		if codec == nil {
			codec = JSON
		}
		if err := codec.Unmarshal(r.Data, v); err != nil {
			return invalid(err)
		}
	}
	c, null := validatorOf(v)
	if null { // nothing that Validate could be asked of, and a handler trusts it
		return &Error{Code: Invalid, Message: "content cannot be null", Field: "content"}
	}
	if c != nil {
		if err := c.Validate(); err != nil {
			return refused(err)
		}
	}
	return nil
}

// validatorOf finds Validate on v, or, for a handler that takes a pointer, on
// what v points to; null reports that this pointer is nil.
func validatorOf(v any) (c validator, null bool) {
	if c, ok := v.(validator); ok {
		return c, false
	}
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.Elem().Kind() == reflect.Pointer {
		c, ok := reflect.TypeAssert[validator](p.Elem())
		return c, ok && p.Elem().IsNil()
	}
	return nil, false
}

// invalid names the field at which decoding failed, and not more of the cause:
// Go type names are no business of a client.
func invalid(err error) *Error {
	e := &Error{Code: Invalid, Message: "the content does not have the expected form", Field: "content"}
	at, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return e
	}
	e.Field = field(string(at.JSONPointer))
	switch kind := at.JSONKind.String(); {
	case kind == "" || kind == "invalid":
	case errors.Is(at.Err, strconv.ErrRange):
		e.Message = e.Field + " is out of range"
	case at.Err != nil: // the kind is right: another value of it would do
		e.Message = e.Field + " does not have the right form"
	default:
		e.Message = e.Field + " cannot be " + article(kind)
	}
	return e
}

func article(kind string) string {
	switch kind {
	case "null", "true", "false":
		return kind
	case "{", "object":
		return "an object"
	case "[", "array":
		return "an array"
	}
	return "a " + kind
}

// refused turns the answer of Validate into the sender's error.
func refused(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Invalid, Message: err.Error(), Field: "content"}
}

// field turns the JSON pointer /to/0 into content.to.0.
func field(pointer string) string {
	return "content" + strings.NewReplacer("/", ".", "~1", "/", "~0", "~").Replace(pointer)
}
