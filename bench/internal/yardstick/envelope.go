//go:build linux

package yardstick

import "errors"

// envelope holds what a yardstick needs of a message: slices of the payload,
// values as they are written, strings without their quotes.
type envelope struct {
	kind, room, id, content []byte
}

var errEnvelope = errors.New("yardstick: not a JSON object")

// parse walks the members of the object. It validates no more than it must in
// order to find its way: a yardstick shows what cannot be saved, and how
// thoroughly to check is a server's choice.
func parse(b []byte) (e envelope, err error) {
	i := blank(b, 0)
	if i >= len(b) || b[i] != '{' {
		return e, errEnvelope
	}
	for {
		i = blank(b, i+1)
		if i < len(b) && b[i] == '}' {
			return e, nil
		}
		nameEnd := value(b, i)
		colon := blank(b, nameEnd)
		if nameEnd-i < 2 || b[i] != '"' || colon >= len(b) || b[colon] != ':' {
			return e, errEnvelope
		}
		start := blank(b, colon+1)
		end := value(b, start)
		if end == start {
			return e, errEnvelope
		}
		e.set(b[i+1:nameEnd-1], b[start:end])
		i = blank(b, end)
		if i >= len(b) || (b[i] != ',' && b[i] != '}') {
			return e, errEnvelope
		}
		if b[i] == '}' {
			return e, nil
		}
	}
}

func (e *envelope) set(name, text []byte) {
	switch string(name) {
	case "type":
		e.kind = unquoted(text)
	case "room":
		e.room = unquoted(text)
	case "id":
		e.id = unquoted(text)
	case "content":
		e.content = text
	}
}

func unquoted(text []byte) []byte {
	if len(text) >= 2 && text[0] == '"' {
		return text[1 : len(text)-1]
	}
	return nil
}

// blank is the next position at or after i that is no white space.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// value is the end of the JSON value that starts at i, or i if there is none
// or it is cut short.
func value(b []byte, i int) int {
	depth := 0
	for at := i; at < len(b); at++ {
		switch b[at] {
		case '"':
			if at = closingQuote(b, at); at == len(b) {
				return i
			}
			if depth == 0 {
				return at + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return at // the end of a number or word, and of what encloses it
			}
			if depth--; depth == 0 {
				return at + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return at
			}
		}
	}
	return i
}

func closingQuote(b []byte, i int) int {
	for i++; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return min(i, len(b))
}
