package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// What can happen to a message besides an ack and a *message.Error of the
// server. All are wrapped; after all but ErrUnknown the message has not been
// handled, except that a Stream ends with ErrOverflow after it has begun.
var (
	// ErrClosed says that the client is closed, or the room was left.
	ErrClosed = errors.New("client: closed")
	// ErrOverflow says that there is no connection and the queue is full, or that a
	// loop did not keep up with its Stream.
	ErrOverflow = errors.New("client: too much waits")
	// ErrExpired says that its time passed before the message could be sent.
	ErrExpired = errors.New("client: not sent in time")
	// ErrUnknown says that the message was sent and no answer came, or none that tells
	// about an earlier connection: the server may or may not have handled it.
	ErrUnknown = errors.New("client: sent, but not answered")
	// ErrDropped says that a volatile message was not sent, because there is no
	// connection or too much waits for it.
	ErrDropped = errors.New("client: dropped")
)

var (
	errSilent   = errors.New("client: no sign of life from the server")
	errNoAnswer = errors.New("client: no answer in time")
	errLost     = errors.New("client: the connection was lost")
	errSlow     = errors.New("client: handlers are too slow: nothing more was read, answers neither, until they took some of what waits")
)

// CloseError says with which close frame the server ended the connection; the
// codes are those of package message.
type CloseError struct {
	Code   int
	Reason string // for people
}

// Error implements error.
func (e *CloseError) Error() string {
	return fmt.Sprintf("client: closed by the server with %d %s", e.Code, e.Reason)
}

// Refusal says with which HTTP answer the server refused the connection.
type Refusal struct {
	Status     int
	Code       string        // for programs; "" if it did not come from a hub
	Message    string        // for people
	RetryAfter time.Duration // when to come back; 0: not said
}

// Error implements error.
func (e *Refusal) Error() string {
	s := fmt.Sprintf("client: refused with HTTP status %d", e.Status)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// refusalOf reads the answer to a handshake; nil if that was none.
func refusalOf(r *http.Response) *Refusal {
	if r == nil || r.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	e := &Refusal{Status: r.StatusCode, RetryAfter: retryAfter(r.Header.Get("Retry-After"))}
	var body struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if b, err := io.ReadAll(r.Body); err == nil && json.Unmarshal(b, &body) == nil {
		e.Code, e.Message = body.Code, body.Message
	}
	return e
}

// retryAfter reads the header, which has seconds or a date.
func retryAfter(v string) time.Duration {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(max(0, min(n, int(longestWait.Seconds())))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// passing reports whether a second try may go better than the one that ended
// with err. Everything else is the server's last word.
func passing(err error) bool {
	var e *message.Error
	if !errors.As(err, &e) {
		return errors.Is(err, errNoAnswer)
	}
	switch e.Code {
	case message.RateLimited, message.Unavailable, message.Timeout, message.Internal:
		return true
	}
	return false
}
