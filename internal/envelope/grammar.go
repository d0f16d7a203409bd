package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	errGrammar = errors.New("the message is not valid JSON")
	errDepth   = fmt.Errorf("the message nests deeper than %d levels", MaxDepth)
)

// ValidContent reports whether data is one JSON value that may stand in an
// envelope. It is how content made by an application is checked before every
// member of a room gets it.
func ValidContent(data []byte) bool {
	s := scanner{data: data, depth: 1}
	s.space()
	if s.value() != nil || s.fault != nil {
		return false
	}
	s.space()
	if s.pos != len(data) {
		return false
	}
	return !s.doubt && (!s.foreign || utf8.Valid(data)) || jsontext.Value(data).IsValid()
}

// Same reports whether two values that ValidContent has passed are equal but for
// the order of members: that of a Go map is another one each time.
func Same(a, b []byte) bool {
	if bytes.Equal(a, b) || len(a) != len(b) {
		return len(a) == len(b)
	}
	x, y := jsontext.Value(a).Clone(), jsontext.Value(b).Clone()
	sorted := jsontext.ReorderRawObjects(true)
	return x.Compact(sorted) == nil && y.Compact(sorted) == nil && bytes.Equal(x, y)
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// value checks one JSON value at pos and moves behind it.
func (s *scanner) value() error {
	switch c := s.peek(); c {
	case '"':
		return s.str()
	case '{':
		return s.nested(func() error {
			return s.object(func([]byte) error { return s.value() })
		})
	case '[':
		return s.nested(s.array)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) nested(walk func() error) error {
	if s.depth++; s.depth > MaxDepth {
		return errDepth
	}
	err := walk()
	s.depth--
	return err
}

// object walks the members of the object at pos; member reads each value.
func (s *scanner) object(member func(name []byte) error) error {
	base := s.used
	s.pos++ // {
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.peek() != '"' {
			return errGrammar
		}
		from := s.pos + 1
		if err := s.str(); err != nil {
			return err
		}
		s.remember(base, from, s.pos-1)
		name := s.data[from : s.pos-1]
		s.space()
		if s.peek() != ':' {
			return errGrammar
		}
		s.pos++
		s.space()
		if err := member(name); err != nil {
			return err
		}
		if more, err := s.next('}'); !more {
			s.used = base
			return err
		}
	}
}

func (s *scanner) array() error {
	s.pos++ // [
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if more, err := s.next(']'); !more {
			return err
		}
	}
}

// next reads a comma, after which more follows, or the end of the list.
func (s *scanner) next(end byte) (more bool, err error) {
	s.space()
	switch s.peek() {
	case ',':
		s.pos++
		s.space()
		return true, nil
	case end:
		s.pos++
		return false, nil
	}
	return false, errGrammar
}

// remember notes a name of the object whose names start at base, and blames one
// that is there already.
func (s *scanner) remember(base, from, to int) {
	name := s.data[from:to]
	if s.used == len(s.names) || bytes.IndexByte(name, '\\') >= 0 {
		s.doubt = true
		return
	}
	for _, n := range s.names[base:s.used] {
		if bytes.Equal(s.data[n.from:n.to], name) {
			s.blame(duplicate(string(name)))
			return
		}
	}
	s.names[s.used] = span{int32(from), int32(to)}
	s.used++
}

// What a byte means inside a string.
const (
	plain byte = iota
	high       // not ASCII
	quote
	escape
	control
)

var class = func() (c [256]byte) {
	for i := range c {
		switch {
		case i < 0x20:
			c[i] = control
		case i >= 0x80:
			c[i] = high
		}
	}
	c['"'], c['\\'] = quote, escape
	return c
}()

// str checks the string at pos. Whether it is UTF-8 is not its affair, but
// foreign tells whether that is a question.
func (s *scanner) str() error {
	for i := s.pos + 1; i < len(s.data); i++ {
		switch class[s.data[i]] {
		case plain:
		case high:
			s.foreign = true
		case quote:
			s.pos = i + 1
			return nil
		case escape:
			i++
			if !s.escaped(i) {
				return errGrammar
			}
		case control:
			return errors.New("a string contains a control character")
		}
	}
	return errGrammar
}

// escaped checks what follows a backslash. Whether \u escapes make sense the
// library decides.
func (s *scanner) escaped(i int) bool {
	if i == len(s.data) {
		return false
	}
	switch s.data[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		s.doubt = true
		return true
	}
	return false
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return errGrammar
	}
	s.pos += len(word)
	return nil
}

// number checks -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return errGrammar
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return errGrammar
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return errGrammar
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > from
}
