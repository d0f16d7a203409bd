// Package pattern matches room names with patterns such as "chat/{id}": names
// and patterns are cut at slashes, {id} stands for one non-empty segment, and
// {rest...}, which can only be last, for everything that is left. Where several
// patterns match, a literal segment beats {id}, which beats {rest...}, from left
// to right.
package pattern

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Set is a set of patterns, each with a value. It is built first and then only
// read; reading is safe for concurrent use.
type Set[T any] struct{ root node[T] }

type node[T any] struct {
	literal  map[string]*node[T]
	one      *node[T] // {id}
	end, all *leaf[T] // the pattern ends here; {rest...}
}

type leaf[T any] struct {
	pattern string
	names   []string
	value   T
}

// Match is what a name was found to be. The zero Match has matched nothing.
type Match[T any] struct {
	leaf   *leaf[T]
	values []string
}

// Found reports whether a pattern has matched.
func (m Match[T]) Found() bool { return m.leaf != nil }

// Value is the value of the pattern that has matched.
func (m Match[T]) Value() T { return m.leaf.value }

// Var is what stood for {name}, or "".
func (m Match[T]) Var(name string) string {
	if m.leaf != nil {
		for i, n := range m.leaf.names {
			if n == name {
				return m.values[i]
			}
		}
	}
	return ""
}

// Add adds a pattern. The error says what is wrong with it.
func (s *Set[T]) Add(pattern string, value T) error {
	if pattern == "" {
		return errors.New("the room pattern is empty; {room...} matches every name")
	}
	if !utf8.ValidString(pattern) || strings.ContainsFunc(pattern, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return fmt.Errorf("the room pattern %q matches no name: those are UTF-8 without control characters", pattern)
	}
	l := &leaf[T]{pattern: pattern, value: value}
	at := &s.root
	rest, more := pattern, true
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		name, all, err := variable(pattern, segment)
		switch {
		case err != nil:
			return err
		case all && more:
			return fmt.Errorf("in the room pattern %q something follows %s", pattern, segment)
		case name != "":
			if slices.Contains(l.names, name) {
				return fmt.Errorf("the room pattern %q has {%s} twice", pattern, name)
			}
			l.names = append(l.names, name)
		}
		if all {
			return place(&at.all, l)
		}
		at = at.child(segment, name != "")
	}
	return place(&at.end, l)
}

func place[T any](slot **leaf[T], l *leaf[T]) error {
	if *slot != nil {
		return fmt.Errorf("the room pattern %q matches the same names as %q", l.pattern, (*slot).pattern)
	}
	*slot = l
	return nil
}

func (n *node[T]) child(segment string, one bool) *node[T] {
	if one {
		if n.one == nil {
			n.one = &node[T]{}
		}
		return n.one
	}
	c := n.literal[segment]
	if c == nil {
		if n.literal == nil {
			n.literal = map[string]*node[T]{}
		}
		c = &node[T]{}
		n.literal[segment] = c
	}
	return c
}

// variable reads {name} and {name...}; name is "" for a literal segment.
func variable(pattern, segment string) (name string, all bool, err error) {
	inner, ok := strings.CutPrefix(segment, "{")
	if ok {
		inner, ok = strings.CutSuffix(inner, "}")
	}
	if !ok {
		if strings.ContainsAny(segment, "{}") {
			return "", false, fmt.Errorf("in the room pattern %q the segment %q is neither text nor {name}", pattern, segment)
		}
		return "", false, nil
	}
	inner, all = strings.CutSuffix(inner, "...")
	if inner == "" || strings.ContainsAny(inner, "{}.") {
		return "", false, fmt.Errorf("in the room pattern %q the variable %q has no plain name", pattern, segment)
	}
	return inner, all, nil
}

// Match finds the pattern of a name.
func (s *Set[T]) Match(name string) Match[T] {
	l, values := s.root.match(name, true, nil)
	return Match[T]{l, values}
}

// match walks down, best alternative first. more says that there is another
// segment, which may be empty.
func (n *node[T]) match(rest string, more bool, values []string) (*leaf[T], []string) {
	if !more {
		return n.end, values
	}
	segment, after, next := strings.Cut(rest, "/")
	if c := n.literal[segment]; c != nil {
		if l, v := c.match(after, next, values); l != nil {
			return l, v
		}
	}
	if n.one != nil && segment != "" {
		if l, v := n.one.match(after, next, append(values, segment)); l != nil {
			return l, v
		}
	}
	if n.all != nil {
		return n.all, append(values, rest)
	}
	return nil, nil
}
