package message

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is one of the error codes of protocol v1; the list is closed.
type Code string

// The codes, with what each says of the message that it answers.
const (
	Malformed       Code = "malformed"       // no envelope
	UnknownType     Code = "unknown_type"    // no handler
	Invalid         Code = "invalid"         // content does not decode or is refused; Field says where
	Unauthenticated Code = "unauthenticated" // needs an identity
	Denied          Code = "denied"          // a rule or a handler said no
	NotMember       Code = "not_member"      // addressed to a room that the peer is not in
	TooLarge        Code = "too_large"       // over the limit; the connection ends
	RateLimited     Code = "rate_limited"    // over a rate or a bound; RetryAfter says when
	Conflict        Code = "conflict"        // an optimistic check failed
	Timeout         Code = "timeout"         // the handler, or the peer that was asked, took too long
	Unavailable     Code = "unavailable"     // what the room needs cannot be reached; nothing was published
	Internal        Code = "internal"        // anything else; the cause stays on the server
)

// Error is a failure that the other side is told. A handler that returns one
// sends it to the client; every other error becomes Internal without its text.
type Error struct {
	Code       Code
	Message    string        // a sentence for a person; "" is allowed
	Field      string        // where in the message, as content.to; "" if nowhere
	RetryAfter time.Duration // when to try again, in whole milliseconds on the wire; 0: not said
}

// Error implements error.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	return s
}

// Errorf returns an *Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// known reports whether c is one of the list.
func (c Code) known() bool {
	switch c {
	case Malformed, UnknownType, Invalid, Unauthenticated, Denied, NotMember, TooLarge, RateLimited, Conflict, Timeout, Unavailable, Internal:
		return true
	}
	return false
}

// Public returns what the other side may know of err: the *Error that it wraps,
// if its Code is one of the list, Timeout for a deadline, otherwise Internal with
// no text. nil stays nil.
func Public(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e != nil && e.Code.known():
		return e
	case e != nil:
		return &Error{Code: Internal}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: Timeout}
	}
	return &Error{Code: Internal}
}

// wireError is the content of an error message.
type wireError struct {
	Code       Code   `json:"code"`
	Message    string `json:"message"`
	Field      string `json:"field,omitempty"`
	RetryAfter int64  `json:"retryAfter,omitzero"` // milliseconds
}

// Content is the content of an error message that carries e. It can always be
// encoded: what is not UTF-8 is replaced. A Code that is not of the list becomes
// Internal without text.
func (e *Error) Content() any {
	if !e.Code.known() {
		return wireError{Code: Internal}
	}
	return wireError{e.Code, strings.ToValidUTF8(e.Message, "\uFFFD"), strings.ToValidUTF8(e.Field, "\uFFFD"), max(0, e.RetryAfter.Milliseconds())}
}

// maxRetry is the longest time that the other side can ask to wait.
const maxRetry = 24 * time.Hour

// ErrorFrom reads the content of an error message. It may be passed on to a third
// party: what has no Code of the list becomes Internal, the text of an Internal is
// left out, and RetryAfter is at least 0 and at most a day.
func ErrorFrom(content Raw) *Error {
	var w wireError
	if err := content.Decode(nil, &w); err != nil || w.Code == Internal || !w.Code.known() {
		return &Error{Code: Internal}
	}
	retry := min(max(0, w.RetryAfter), maxRetry.Milliseconds())
	return &Error{w.Code, w.Message, w.Field, time.Duration(retry) * time.Millisecond}
}
