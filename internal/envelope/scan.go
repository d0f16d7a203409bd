// Package envelope reads and writes the JSON envelope of docs/protocol.md on
// the hot path. It splits a message into its members without allocating and
// without touching what stands inside content beyond checking it.
package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of the wire protocol, in bytes and levels.
const (
	MaxType  = 128
	MaxRoom  = 256
	MaxID    = 64
	MaxDepth = 64
)

// Parts are the members of an envelope. Strings are unquoted; Content is JSON as
// it came. All of them point into the scanned bytes wherever no escape had to be
// undone. A missing member is nil. From, User, Cursor and Stream are the server's to set:
// a server that reads them ignores them, whatever they are.
type Parts struct {
	Type, Content, Room, ID, Since []byte
	From, User, Cursor, Stream     []byte
	Timestamp                      int64 // milliseconds since the Unix epoch; 0: missing
}

// Parse splits data, one JSON object and nothing else, and checks all of it:
// grammar, duplicate names at any depth, nesting, and the envelope's own
// members. That it is valid UTF-8 the caller has made sure of. What Parse accepts
// is what github.com/go-json-experiment/json accepts within those limits; a fuzz
// target holds the two together. On an error the members that could be read are
// filled in, those behind a member of the wrong form too, so that an answer can
// carry the id and the room; these two then keep the limits, or are missing.
func Parse(data []byte, p *Parts) error {
	*p = Parts{}
	s := scanner{data: data}
	err := s.envelope(p)
	limits := p.check()
	switch {
	case err != nil:
		return err
	case s.fault != nil:
		return s.fault
	case s.doubt && !jsontext.Value(data).IsValid():
		return errors.New("the message is not valid JSON, or has a duplicate member")
	}
	return limits
}

// Split cuts a binary message at its newline into the envelope and the content;
// a text message is all envelope. Nothing is copied.
func Split(data []byte, binary bool) (head, content []byte, err error) {
	if !binary {
		return data, nil, nil
	}
	head, content, ok := bytes.Cut(data, []byte{'\n'})
	if !ok {
		return nil, nil, errors.New("a binary message is an envelope in JSON, one newline and the content; there is no newline")
	}
	return head, content, nil
}

// Bare refuses the envelope of a binary message that has a content of its own.
func (p *Parts) Bare() error {
	if p.Content != nil {
		return errors.New(`a binary message has its content behind the newline, not in "content"`)
	}
	return nil
}

// check applies the limits of the envelope's own strings. An id or a room that
// breaks them is taken out: it cannot be repeated in an answer.
func (p *Parts) check() (err error) {
	if p.ID != nil && (len(p.ID) == 0 || len(p.ID) > MaxID) {
		err = fmt.Errorf(`the member "id" has %d bytes, allowed are 1 to %d`, len(p.ID), MaxID)
		p.ID = nil
	}
	if p.Room != nil {
		if bad := CheckName("room", p.Room, MaxRoom); bad != nil {
			err, p.Room = bad, nil
		}
	}
	if p.Type == nil {
		return errors.New(`the member "type" is missing`)
	}
	if bad := CheckName("type", p.Type, MaxType); bad != nil {
		return bad
	}
	return err
}

// CheckName says whether a type or a room name keeps the protocol's limits.
func CheckName[S []byte | string](member string, name S, most int) error {
	if len(name) == 0 || len(name) > most {
		return fmt.Errorf("the member %q has %d bytes, allowed are 1 to %d", member, len(name), most)
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c == 0x7f {
			return fmt.Errorf("the member %q contains a control character", member)
		}
	}
	return nil
}

// scanner walks one message. doubt is set where deciding alone would need more
// code than it saves (\u escapes, escaped or many names in one object); then
// the JSON library has the last word. fault is the first thing that is wrong with
// what is JSON; the scanner goes on behind it.
type scanner struct {
	data    []byte
	pos     int
	depth   int
	fault   error
	doubt   bool
	foreign bool     // a string is not ASCII
	names   [24]span // names of the open objects, innermost last
	used    int
}

type span struct{ from, to int32 }

func (s *scanner) blame(err error) {
	if s.fault == nil {
		s.fault = err
	}
}

func (s *scanner) envelope(p *Parts) error {
	s.space()
	if s.peek() != '{' {
		return errors.New("the message is not a JSON object")
	}
	s.depth = 1
	err := s.object(func(name []byte) error { return s.member(name, p) })
	if err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.data) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// member reads the value of one of the envelope's members.
func (s *scanner) member(name []byte, p *Parts) (err error) {
	if bytes.IndexByte(name, '\\') >= 0 {
		if name, err = unquote(name); err != nil {
			return err
		}
	}
	switch string(name) {
	case "type":
		return s.text("type", &p.Type)
	case "room":
		return s.text("room", &p.Room)
	case "id":
		return s.text("id", &p.ID)
	case "since":
		return s.textOrNull("since", &p.Since)
	case "from":
		return s.trusted(&p.From)
	case "user":
		return s.trusted(&p.User)
	case "cursor":
		return s.trusted(&p.Cursor)
	case "stream":
		return s.trusted(&p.Stream)
	case "timestamp":
		return s.timestamp(&p.Timestamp)
	case "content":
		from := s.pos
		if err := s.value(); err != nil {
			return err
		}
		if p.Content != nil {
			s.blame(duplicate("content"))
			return nil
		}
		p.Content = s.data[from:s.pos]
		return nil
	}
	return s.value()
}

// text reads a member that must be a string.
func (s *scanner) text(name string, into *[]byte) error {
	if s.peek() != '"' {
		s.blame(fmt.Errorf("the member %q is not a string", name))
		return s.value()
	}
	from := s.pos
	if err := s.str(); err != nil {
		return err
	}
	v := s.data[from+1 : s.pos-1]
	if bytes.IndexByte(v, '\\') >= 0 {
		var err error
		if v, err = unquote(v); err != nil {
			return err
		}
	}
	if *into != nil {
		s.blame(duplicate(name))
		return nil
	}
	*into = v
	return nil
}

// textOrNull is text where null is as good as nothing.
func (s *scanner) textOrNull(name string, into *[]byte) error {
	if s.peek() == 'n' { // or it is not JSON
		return s.value()
	}
	return s.text(name, into)
}

// trusted reads a member that is believed only from a server.
func (s *scanner) trusted(into *[]byte) error {
	if s.peek() == '"' {
		return s.text("", into)
	}
	return s.value()
}

// timestamp reads what a client claims; a server sets its own.
func (s *scanner) timestamp(into *int64) error {
	from := s.pos
	if err := s.value(); err != nil {
		return err
	}
	v := s.data[from:s.pos]
	if v[0] == '"' {
		if t, err := instant(v[1 : len(v)-1]); err == nil {
			*into = t.UnixMilli()
			return nil
		}
	} else if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		*into = n
		return nil
	}
	s.blame(errors.New(`the member "timestamp" is neither an integer nor an RFC 3339 string`))
	return nil
}

// instant reads all of RFC 3339: its letters may be small, and a second may be
// the 61st, which is the first one of the next minute.
func instant(v []byte) (time.Time, error) {
	if bytes.IndexByte(v, '\\') >= 0 {
		var err error
		if v, err = unquote(v); err != nil {
			return time.Time{}, err
		}
	}
	const second = len("2006-01-02T15:04:")
	text := strings.ToUpper(string(v))
	if len(text) > second+2 && text[second:second+2] == "60" {
		t, err := time.Parse(time.RFC3339, text[:second]+"59"+text[second+2:])
		return t.Add(time.Second), err
	}
	return time.Parse(time.RFC3339, text)
}

func duplicate(name string) error { return fmt.Errorf("the member %q is there twice", name) }

// unquote undoes the escapes of a string without its quotes.
func unquote(v []byte) ([]byte, error) {
	quoted := append(append([]byte{'"'}, v...), '"')
	out, err := jsontext.AppendUnquote([]byte{}, quoted)
	if err != nil {
		return nil, errors.New("a string has an invalid escape")
	}
	return out, nil
}
