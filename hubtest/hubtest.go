// Package hubtest has clients for tests: in process, without a network, through
// all the middleware in front of the hub. They work inside testing/synctest, so
// that an hour of heartbeats takes milliseconds.
//
//	c := hubtest.Dial(t, h)
//	c.Join("chat/1", nil)
//	c.Send("chat/1", Say.New(Text{"hi"}))
//	got := hubtest.Expect(other, Say)
//
// Whatever is not as expected fails the test at once. Waiting is bounded by 5 s,
// real ones or those of the bubble.
//
// For what goes wrong there is a Network in memory, and a Proxy in front of any
// server, which do to connections what a test or a Schedule says. A Journal
// proves that what members saw follows from what was published.
package hubtest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

const (
	wait  = 5 * time.Second       // for what must come
	quiet = 50 * time.Millisecond // for what must not
)

// Client is one client of a hub. Its methods are safe for concurrent use, but
// those that can fail the test belong on the test's goroutine.
type Client struct {
	t    testing.TB
	conn *transport.PipeConn

	mu      sync.Mutex
	last    int                // id of the last question
	inbox   []message.Envelope // not asked for yet, oldest first
	answers map[string]func(message.Envelope) message.Envelope
	changed chan struct{} // closed and replaced when anything changes
	err     error         // how the connection ended
	id      string
}

// Dial connects to h, a hub or what a hub is mounted in at "/", and waits for
// the welcome. The client is closed when the test ends.
func Dial(t testing.TB, h http.Handler) *Client {
	t.Helper()
	c, err := DialRequest(t, h, httptest.NewRequest(http.MethodGet, "/", nil))
	var refusal *transport.Refusal
	if errors.As(err, &refusal) && refusal.Code == "refused" {
		t.Fatalf("hubtest: Dial: %v\n  Dial asks for \"/\": where the hub is mounted elsewhere, use DialRequest", err)
	}
	if err != nil {
		t.Fatalf("hubtest: Dial: %v", err)
	}
	return c
}

// DialRequest connects with a request of the test's making: its path, headers
// and context. The error is the *transport.Refusal that came instead.
func DialRequest(t testing.TB, h http.Handler, r *http.Request) (*Client, error) {
	t.Helper()
	conn, err := transport.Pipe(h, r, nil)
	if err != nil {
		return nil, err
	}
	c := &Client{t: t, conn: conn, answers: map[string]func(message.Envelope) message.Envelope{}, changed: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read()
	}()
	t.Cleanup(func() {
		conn.Freeze(false)
		conn.Close(message.CloseDone, "the test has ended")
		<-done
	})
	welcome, ok := c.wait(wait, typed(envelope.Welcome))
	if !ok {
		t.Fatalf("hubtest: no welcome%s", c.state())
	}
	var w struct {
		ID string `json:"id"`
	}
	if err := welcome.Content.Decode(nil, &w); err != nil {
		t.Fatalf("hubtest: welcome: %v", err)
	}
	c.id = w.ID
	return c, nil
}

func (c *Client) read() {
	for {
		m, err := c.conn.Read()
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.change()
			c.mu.Unlock()
			return
		}
		e, err := message.Decode(m.Data, m.Binary)
		m.Release()
		if err != nil {
			c.t.Errorf("hubtest: the server sent something wrong: %v", err)
			continue
		}
		c.receive(e)
	}
}

// receive answers a question, or keeps the message for the test.
func (c *Client) receive(e message.Envelope) {
	c.mu.Lock()
	var answer func(message.Envelope) message.Envelope
	if question(e) {
		answer = c.answers[e.Type]
	}
	if answer == nil {
		c.inbox = append(c.inbox, e)
		c.change()
	}
	c.mu.Unlock()
	if answer != nil {
		c.reply(e, answer)
	}
}

// question reports whether the hub waits for an answer to e.
func question(e message.Envelope) bool {
	return e.ID != "" && e.Type != envelope.Ack && e.Type != envelope.Error
}

func (c *Client) reply(e message.Envelope, answer func(message.Envelope) message.Envelope) {
	reply := answer(e)
	reply.ID = e.ID
	c.write(reply)
}

// change wakes who waits. c.mu is held.
func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait takes the first message that fits out of the inbox.
func (c *Client) wait(most time.Duration, fits func(message.Envelope) bool) (message.Envelope, bool) {
	end := time.NewTimer(most)
	defer end.Stop()
	for {
		c.mu.Lock()
		for i, e := range c.inbox {
			if fits(e) {
				c.inbox = append(c.inbox[:i:i], c.inbox[i+1:]...)
				c.mu.Unlock()
				return e, true
			}
		}
		changed, err := c.changed, c.err
		c.mu.Unlock()
		if err != nil {
			return message.Envelope{}, false
		}
		select {
		case <-changed:
		case <-end.C:
			return message.Envelope{}, false
		}
	}
}

func typed(typ string) func(message.Envelope) bool {
	return func(e message.Envelope) bool { return e.Type == typ }
}

func (c *Client) write(e message.Envelope) {
	f, err := message.Encode(e, nil, message.Disconnect)
	if err == nil {
		err = c.conn.Write(f)
	}
	if err != nil && !errors.Is(err, transport.ErrClosed) {
		c.t.Errorf("hubtest: sending %q: %v", e.Type, err)
	}
}

// ID returns the ID that the hub gave this client's peer.
func (c *Client) ID() string { return c.id }

// Send sends a message to a room, or to none if room is "", and asks for no
// answer.
func (c *Client) Send(room string, e message.Envelope) {
	e.Room = room
	c.write(e)
}

// Request sends a message, as Send does, and waits for its answer: the content
// of the ack, or the *message.Error that came instead.
func (c *Client) Request(room string, e message.Envelope) (message.Raw, error) {
	c.t.Helper()
	c.mu.Lock()
	c.last++
	id := strconv.Itoa(c.last)
	c.mu.Unlock()
	e.Room, e.ID = room, id
	c.write(e)
	answer, ok := c.wait(wait, func(a message.Envelope) bool {
		return a.ID == id && (a.Type == envelope.Ack || a.Type == envelope.Error)
	})
	if !ok {
		c.t.Fatalf("hubtest: no answer to %q%s", e.Type, c.state())
	}
	if answer.Type == envelope.Error {
		return message.Raw{}, message.ErrorFrom(answer.Content)
	}
	return answer.Content, nil
}

// Ask asks the hub a question and waits for the answer.
func Ask[Req, Res any](c *Client, room string, call message.Call[Req, Res], content Req) (Res, error) {
	c.t.Helper()
	var res Res
	raw, err := c.Request(room, call.New(content))
	if err == nil {
		if err := raw.Decode(nil, &res); err != nil {
			c.t.Fatalf("hubtest: the answer to %q: %v", string(call), err)
		}
	}
	return res, err
}

// Answer makes the client answer the hub's questions of this kind, from now on. Those
// that are there already, as one of Options.Connect, are answered before it returns.
func Answer[Req, Res any](c *Client, call message.Call[Req, Res], fn func(Req) (Res, error)) {
	answer := func(e message.Envelope) message.Envelope {
		var in Req
		err := e.Content.Decode(nil, &in)
		if err == nil {
			var out Res
			if out, err = fn(in); err == nil {
				return message.New(envelope.Ack, out)
			}
		}
		return message.New(envelope.Error, message.Public(err).Content())
	}
	for _, e := range c.answerWith(string(call), answer) {
		c.reply(e, answer)
	}
}

// answerWith sets what answers a type, and takes out of the inbox what waits for it.
func (c *Client) answerWith(typ string, answer func(message.Envelope) message.Envelope) (waiting []message.Envelope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[typ] = answer
	c.inbox = slices.DeleteFunc(c.inbox, func(e message.Envelope) bool {
		mine := e.Type == typ && question(e)
		if mine {
			waiting = append(waiting, e)
		}
		return mine
	})
	return waiting
}

// Join joins a room, with content for its rule, and fails the test if it is not
// admitted; content may be nil.
func (c *Client) Join(room string, content any) {
	c.t.Helper()
	if err := c.TryJoin(room, content); err != nil {
		c.t.Fatalf("hubtest: joining %q: %v", room, err)
	}
}

// TryJoin joins a room and returns the error that it may have been refused with.
func (c *Client) TryJoin(room string, content any) error {
	c.t.Helper()
	_, err := c.Request(room, message.New(envelope.Join, content))
	return err
}

// Leave leaves a room.
func (c *Client) Leave(room string) {
	c.t.Helper()
	if _, err := c.Request(room, message.New(envelope.Leave, nil)); err != nil {
		c.t.Fatalf("hubtest: leaving %q: %v", room, err)
	}
}

// Expect waits for a message of a kind and returns its content. Other messages
// stay for later.
func Expect[T any](c *Client, kind message.Kind[T]) T {
	c.t.Helper()
	var v T
	e := c.ExpectType(string(kind))
	if err := e.Content.Decode(nil, &v); err != nil {
		c.t.Fatalf("hubtest: the content of %q: %v", string(kind), err)
	}
	return v
}

// ExpectType waits for a message of a type, the protocol's own too, and returns
// it whole. Other messages stay for later.
func (c *Client) ExpectType(typ string) message.Envelope {
	c.t.Helper()
	e, ok := c.wait(wait, typed(typ))
	if !ok {
		c.t.Fatalf("hubtest: expected %q%s", typ, c.state())
	}
	return e
}

// Next waits for the next message, whatever it is.
func (c *Client) Next() message.Envelope {
	c.t.Helper()
	e, ok := c.wait(wait, func(message.Envelope) bool { return true })
	if !ok {
		c.t.Fatalf("hubtest: expected a message%s", c.state())
	}
	return e
}

// ExpectNone fails the test if there is, or comes within 50 ms, a message that
// nobody asked for. Inside a synctest bubble that is exact: time passes only
// when all else has come to rest.
func (c *Client) ExpectNone() {
	c.t.Helper()
	if e, ok := c.wait(quiet, func(message.Envelope) bool { return true }); ok {
		c.t.Fatalf("hubtest: expected nothing, got %q in room %q: %s", e.Type, e.Room, e.Content.Data)
	}
}

// Closed waits for the end of the connection and returns how it came.
func (c *Client) Closed() error {
	c.t.Helper()
	end := time.NewTimer(2 * wait)
	defer end.Stop()
	for {
		c.mu.Lock()
		changed, err := c.changed, c.err
		c.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-end.C:
			c.t.Fatal("hubtest: expected the connection to end")
		}
	}
}

// Freeze makes the client as good as dead: it reads nothing and answers no ping,
// but does not disconnect. Freeze(false) undoes it.
func (c *Client) Freeze(yes bool) { c.conn.Freeze(yes) }

// Close disconnects in good order, Cut without a word.
func (c *Client) Close() { c.conn.Close(message.CloseDone, "") }

// Cut breaks the connection.
func (c *Client) Cut() { c.conn.Abort() }

// state says, for a failure, what there is instead.
func (c *Client) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s strings.Builder
	for _, e := range c.inbox {
		fmt.Fprintf(&s, "\n  there is %q in room %q: %.200s", e.Type, e.Room, e.Content.Data)
	}
	if c.err != nil {
		fmt.Fprintf(&s, "\n  the connection has ended: %v", c.err)
	}
	return s.String()
}
