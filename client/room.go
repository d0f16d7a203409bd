package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hubbub-go/hubbub/internal/envelope"
	"github.com/hubbub-go/hubbub/message"
)

const againAfter = time.Second // at least, until a join is tried again

// Room is a room as this client sees it.
type Room struct {
	client *Client
	name   string
	own    place

	// Client.mu guards what follows.
	member     membership
	position   position
	who        roster
	onGap      []func(Gap)
	onLost     []func(error)
	onPresence []func(Presence)
}

// Info is what the server says about a room that was joined.
type Info struct {
	Members  int      // this client included
	Presence []Member // nil where the room shows none or is too large
	Cursor   string   // the position from which messages follow; "" where none is kept
}

// Gap says that messages of a room are missing: load anew what you show.
type Gap struct {
	// Certain: the server says so. Otherwise something may have been missed: the room
	// keeps no history and the connection was away, or the client did not get all of a
	// room into which the server has put it, while it joined by itself.
	Certain bool
	// Reason is "window" (too long ago), "epoch" (another life of the room) or
	// "regress" (the room lost its tail); "" if it is not certain.
	Reason string
	// Cursor is the position from which the room continues.
	Cursor string
}

func (r *Room) at() *place { return &r.own }

// Name is the name of the room.
func (r *Room) Name() string { return r.name }

// Joined reports whether the room is joined on the current connection.
func (r *Room) Joined() bool {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return r.member.joined
}

// Members lists who is in the room, nil where the room shows no presence or is
// too large for a list. It may be ahead of the handlers.
func (r *Room) Members() []Member {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return slices.Clone(r.who.list)
}

// Count is how many are in the room, as far as the server has said.
func (r *Room) Count() int {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	return r.who.count
}

// OnGap calls fn when messages are missing, before those that follow the hole.
func (r *Room) OnGap(fn func(Gap)) { add(r, &r.onGap, fn) }

// OnLost calls fn when the client is no longer a member although it did not
// leave: it was not let in again after a reconnect, or the server has taken it out,
// which is a *message.Error of the code message.NotMember. It comes after the
// messages before it.
func (r *Room) OnLost(fn func(error)) { add(r, &r.onLost, fn) }

// OnPresence calls fn with each change of who is in the room; after a join, and where
// the server tells the whole list anew, with what differs from before. Where Members
// is nil, forget who was told: only Count goes on, and all are Joined in a later list.
func (r *Room) OnPresence(fn func(Presence)) { add(r, &r.onPresence, fn) }

func add[T any](r *Room, to *[]func(T), fn func(T)) {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	*to = append(slices.Clone(*to), fn)
}

// call runs the handlers in fns, unless the room was left meanwhile.
func call[T any](r *Room, epoch int, fns *[]func(T), v T) {
	r.client.mu.Lock()
	all, left := *fns, r.member.over(epoch)
	r.client.mu.Unlock()
	if left {
		return
	}
	for _, fn := range all {
		fn(v)
	}
}

// Join becomes a member, and again after every reconnect, until Leave. content,
// which may be nil, is for the server's admission rule. Join waits for the
// connection; without a deadline in ctx it gives up after Options.Timeout. The
// error is a *message.Error if the server refuses. A second Join of the same room
// changes nothing. Where the server has put the client into the room before, on the same
// connection, what was heard of its history continues, or OnGap tells what is missing.
// What was received before Join is handled before what follows it.
func (r *Room) Join(ctx context.Context, content any) (Info, error) {
	return r.join(ctx, content, "")
}

// JoinSince is Join for a program that has kept a cursor from before it was started
// anew, that of the last message it has dealt with: what came after it follows, or OnGap
// tells what is missing. With an empty cursor it is Join; where the room is joined
// already, it changes nothing.
func (r *Room) JoinSince(ctx context.Context, content any, cursor string) (Info, error) {
	return r.join(ctx, content, cursor)
}

func (r *Room) join(ctx context.Context, content any, since string) (Info, error) {
	c := r.client
	ctx, cancel := bounded(ctx, c.opts.Timeout)
	defer cancel()
	raw, err := r.admission(content)
	if err != nil {
		return Info{}, err
	}
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return Info{}, ErrClosed
	}
	if r.member.joined {
		defer c.mu.Unlock()
		return r.member.info, nil
	}
	w := r.wait(raw, since)
	c.mu.Unlock()
	select {
	case <-w.done:
		return w.info, w.err
	case <-ctx.Done():
		return r.giveUp(w, fmt.Errorf("client: joining %q: %w", r.name, context.Cause(ctx)))
	}
}

// admission is the content of the join as it travels.
func (r *Room) admission(content any) (message.Raw, error) {
	if err := r.own.check(envelope.Join); err != nil {
		return message.Raw{}, err
	}
	raw, ok := content.(message.Raw)
	if content != nil && !ok {
		data, err := r.client.opts.Codec.Marshal(content)
		if err != nil {
			return raw, fmt.Errorf("client: joining %q: the content cannot be encoded: %w", r.name, err)
		}
		raw.Data = data
	}
	_, err := r.client.encode(message.Envelope{Type: envelope.Join, Content: raw})
	return raw, err
}

// wait begins a membership, unless there is one that only the connection keeps
// from being joined; it continues behind since, unless that is empty. Client.mu is held.
func (r *Room) wait(content message.Raw, since string) *waiter {
	if r.member.waiter == nil {
		r.member.waiter = &waiter{done: make(chan struct{})}
	}
	r.member.waiter.calls++
	if !r.member.wanted {
		r.member.wanted, r.member.content = true, content
		if !r.member.heard || since != "" {
			r.begin()
		}
		if r.member.kept = since != ""; r.member.kept {
			r.position.restart(since)
			r.position.latest = since
		}
		if r.member.order == 0 {
			r.client.joins++
			r.member.order = r.client.joins
		}
		if s := r.client.socket; s != nil {
			r.client.out.add(r.request())
			signal(s.wake)
		}
	}
	return r.member.waiter
}

// giveUp ends the wait of one call of Join, unless it has been decided. Where it
// was the last one, and the room never was joined, the application is no longer
// interested.
func (r *Room) giveUp(w *waiter, why error) (Info, error) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.member.waiter != w {
		return w.info, w.err
	}
	w.calls--
	switch {
	case w.calls > 0:
	case r.member.been:
		r.member.waiter = nil
	default:
		if c.socket != nil { // it might be let in
			c.out.add(r.farewell(nil))
			signal(c.socket.wake)
		}
		r.forget(why)
	}
	return Info{}, why
}

// request is the join of a connection. Client.mu is held.
func (r *Room) request() *request {
	r.member.attempt++
	r.stopAgain()
	attempt := r.member.attempt
	q := &request{id: newID(), policy: now}
	// The content was encoded and checked before; it cannot fail here.
	q.frame, _ = r.client.encode(message.Envelope{Type: envelope.Join, Room: r.name, ID: q.id, Content: r.member.content})
	if r.position.cursor != "" {
		q.data = withSince(q.frame, r.position.cursor)
	}
	q.answer = func(e message.Envelope, err error) { r.answered(attempt, len(q.data), e, err) }
	q.stop = r.client.after(q.id, r.client.opts.Timeout)
	return q
}

// withSince adds the member to an envelope, before the brace that ends it.
func withSince(f frame, cursor string) []byte {
	end := len(f.data) - 1
	if f.binary {
		end = slices.Index(f.data, '\n') - 1
	}
	quoted, _ := json.Marshal(cursor) // a string always can be
	return slices.Insert(slices.Clone(f.data), end, append([]byte(`,"since":`), quoted...)...)
}

// answered takes the answer to a join.
func (r *Room) answered(attempt, size int, e message.Envelope, err error) {
	c := r.client
	var answer joinAnswer
	if err == nil {
		err = e.Content.Decode(nil, &answer)
	}
	c.mu.Lock()
	if attempt != r.member.attempt || errors.Is(err, errLost) { // the next connection joins
		c.mu.Unlock()
		return
	}
	s := c.socket
	from, hole := r.member.epoch, r.hole(&answer)
	var ends settled
	var then func()
	switch {
	case err == nil:
		then = r.entered(&answer, hole)
	case r.foreign(err):
		r.position = position{} // which the next answer makes a gap
		c.out.hurry(r.request())
	case passing(err) && (r.member.been || errors.Is(err, errNoAnswer)):
		r.joinAgain(err)
	default:
		ends, then = r.refused(err)
	}
	if s != nil {
		signal(s.wake)
	}
	c.mu.Unlock()
	ends.tell()
	switch {
	case then == nil:
	case err == nil: // an ack is only read from a socket
		if s.put(then, size) && hole {
			r.restart(from, answer.Cursor)
		}
	default:
		c.inbox.post(event{run: then})
	}
}

// foreign reports whether the server does not understand the cursor: it is that
// of another one. Client.mu is held.
func (r *Room) foreign(err error) bool {
	var e *message.Error
	return errors.As(err, &e) && e.Field == "since" && r.position.cursor != ""
}

// joinAnswer is the content of the ack of a join.
type joinAnswer struct {
	Members   int          `json:"members"`
	Presence  []wireMember `json:"presence"`
	Cursor    string       `json:"cursor"`
	Recovered *bool        `json:"recovered"`
	Reason    string       `json:"reason"`
}

// hole reports whether the room continues and the server does not say that nothing is
// missing. Client.mu is held.
func (r *Room) hole(a *joinAnswer) bool {
	return r.member.continues() && (a.Recovered == nil || !*a.Recovered)
}

// entered returns what the handlers are to be told. Client.mu is held.
func (r *Room) entered(a *joinAnswer, hole bool) func() {
	from, before := r.member.epoch, r.who.count
	change := r.who.reset(a.Presence, a.Members)
	if !r.member.continues() {
		r.position = position{cursor: a.Cursor, latest: a.Cursor}
	}
	if hole {
		r.client.out.doubt(r)
	}
	r.member.joined, r.member.been = true, true
	r.member.info = Info{Members: a.Members, Presence: slices.Clone(r.who.list), Cursor: a.Cursor}
	r.settle(r.member.info, nil)
	told := r.onPresence // not those that come later: they know the list
	gap := Gap{Certain: a.Recovered != nil, Reason: a.Reason, Cursor: a.Cursor}
	return func() {
		if hole {
			r.gap(from, gap)
		}
		if len(change.Joined)+len(change.Left)+len(change.Updated) > 0 || change.Count != before {
			call(r, from, &told, change)
		}
	}
}

// gap tells of a hole; the room continues behind it.
func (r *Room) gap(epoch int, gap Gap) {
	r.client.mu.Lock()
	if r.member.epoch == epoch {
		r.position.latest = gap.Cursor
	}
	r.client.mu.Unlock()
	call(r, epoch, &r.onGap, gap)
}

// joinAgain tries once more, later, on the same connection. A join without an
// answer may have been heard, or be so yet: leaving makes the next answer say what
// was missed, and not that the client is there already. Client.mu is held.
func (r *Room) joinAgain(err error) {
	wait := againAfter + r.client.dice.upTo(againAfter)
	var e *message.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		wait = e.RetryAfter
	}
	attempt, c := r.member.attempt, r.client
	r.member.again = time.AfterFunc(min(wait, longestWait), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if attempt == r.member.attempt && r.member.wanted && c.socket != nil {
			if errors.Is(err, errNoAnswer) {
				c.out.hurry(r.farewell(nil))
			}
			c.out.hurry(r.request())
			signal(c.socket.wake)
		}
	})
}

func (r *Room) stopAgain() {
	if r.member.again != nil {
		r.member.again.Stop()
		r.member.again = nil
	}
}

// refused ends the membership: it is the server's last word. What came uninvited
// meanwhile has been dropped. Client.mu is held.
func (r *Room) refused(err error) (settled, func()) {
	heard, from := r.member.heard, r.member.epoch
	ends, then := r.lost(err, fmt.Errorf("client: joining %q again: %w", r.name, err))
	if then == nil && heard {
		then = func() { r.gap(from, Gap{}) }
	}
	return ends, then
}

// lost ends the membership, and what waits for the room with it. Handlers of a client
// that was a member are told why. Client.mu is held.
func (r *Room) lost(err, why error) (ends settled, then func()) {
	ends = r.client.out.each(func(q *request) error {
		if q.room != r || q.written {
			return nil
		}
		return q.never(err, err)
	})
	been, from := r.member.been, r.member.epoch
	r.forget(err)
	if !been {
		return ends, nil // Join tells it
	}
	return ends, func() { call(r, from, &r.onLost, why) }
}

// forget ends the membership; whoever waits for a join is told why. Client.mu is
// held.
func (r *Room) forget(why error) {
	r.settle(Info{}, why)
	r.stopAgain()
	r.member.attempt++
	r.member.wanted, r.member.joined, r.member.been, r.member.heard, r.member.kept = false, false, false, false, false
	r.member.info, r.who = Info{}, roster{}
}

func (r *Room) settle(info Info, err error) {
	if w := r.member.waiter; w != nil {
		w.info, w.err = info, err
		close(w.done)
		r.member.waiter = nil
	}
}

// down keeps the membership for the next connection; where there is none, the server
// decides anew, and nothing that was heard continues. Client.mu is held.
func (r *Room) down() {
	r.member.joined = false
	r.member.heard = r.member.heard && r.member.wanted
	r.member.attempt++
	r.stopAgain()
}

// Leave ends the membership at once: no handler of the room is called any more,
// and a Join that waits ends with ErrClosed. Then it waits for the server; without
// a deadline in ctx for Options.Timeout. Messages to the room that were sent
// before Leave go before it, whatever follows; without a connection they end with
// ErrClosed, and with ErrUnknown if it was lost before their answer. Leaving a room that is not joined, or
// not any more, tells the server nothing.
func (r *Room) Leave(ctx context.Context) error {
	c := r.client
	ctx, cancel := bounded(ctx, c.opts.Timeout)
	defer cancel()
	result := make(chan error, 1)
	c.mu.Lock()
	r.begin()
	r.member.left, r.member.heard = r.member.epoch, false
	if !r.member.wanted { // but what came before may wait for handlers
		c.mu.Unlock()
		return nil
	}
	r.forget(r.wasLeft())
	if c.socket == nil { // a connection that ends leaves all its rooms
		ends := c.out.each(func(q *request) error {
			if q.room != r {
				return nil
			}
			return q.never(ErrClosed, r.wasLeft())
		})
		c.mu.Unlock()
		ends.tell()
		return nil
	}
	c.out.leave(r)
	c.out.add(r.farewell(func(_ message.Envelope, err error) { result <- err }))
	signal(c.socket.wake)
	c.mu.Unlock()
	select {
	case err := <-result:
		if errors.Is(err, errLost) || errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("client: leaving %q: %w", r.name, context.Cause(ctx))
	}
}

func (r *Room) wasLeft() error { return fmt.Errorf("%w: the room %q was left", ErrClosed, r.name) }

// farewell is a leave. Client.mu is held.
func (r *Room) farewell(answer func(message.Envelope, error)) *request {
	r.member.leaving++
	q := &request{id: newID(), policy: now}
	q.answer = func(e message.Envelope, err error) {
		r.client.mu.Lock()
		r.member.leaving--
		r.client.mu.Unlock()
		if answer != nil {
			answer(e, err)
		}
	}
	q.frame, _ = r.client.encode(message.Envelope{Type: envelope.Leave, Room: r.name, ID: q.id})
	return q
}
