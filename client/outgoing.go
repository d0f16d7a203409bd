package client

import (
	"container/list"
	"fmt"
	"slices"

	"github.com/hubbub-go/hubbub/message"
)

// policy says how often a request may go over a wire.
type policy uint8

const (
	repeat policy = iota // until it is answered
	once
	stream // once, and its end may take for ever
	now    // once, and only on this connection
)

// frame is one encoded message.
type frame struct {
	data   []byte
	binary bool
}

// request is what is to be written and, mostly, to be answered. Client.mu guards
// what changes.
type request struct {
	frame
	id     string // "": no answer is expected
	room   *Room  // waits while this room is being joined
	policy policy
	// answer is called once, without a lock: with the ack, or with an error.
	answer func(message.Envelope, error)
	// done is called once it is written.
	done func()

	results *results // of a stream
	since   string   // where the room is to be

	stop    func() bool   // ends its timer
	place   *list.Element // in outgoing.items; nil: not there
	written bool          // on the current connection
	sent    bool          // on some connection
	again   bool          // on an earlier connection, too
	doubted bool          // before a hole
	leaving bool          // before a leave that waits behind it, and so for no later join
}

// inPlace reports whether the answer stands in the place of the message in its room.
func (r *request) inPlace() bool { return !r.again && !r.doubted }

// bound reports whether r counts for Options.QueueMessages: what the protocol
// itself has to say does not.
func (r *request) bound() bool { return r.policy != now }

// outgoing has everything that is to be written or answered. There is one order,
// that of the calls; only what keeps the connection going overtakes. Client.mu
// guards it.
type outgoing struct {
	urgent   []*request
	items    list.List // of *request
	waiting  map[string]*request
	messages int // that are bound
	bytes    int
	freed    chan struct{} // closed when a bound one has gone; nil: nobody waits
}

// space returns what is closed when there may be space.
func (o *outgoing) space() <-chan struct{} {
	if o.freed == nil {
		o.freed = make(chan struct{})
	}
	return o.freed
}

func (o *outgoing) free() {
	if o.freed != nil {
		close(o.freed)
		o.freed = nil
	}
}

// expect waits for the answer of r.
func (o *outgoing) expect(r *request) {
	if r.id != "" {
		o.waiting[r.id] = r
	}
}

func (o *outgoing) add(r *request) {
	o.expect(r)
	r.place = o.items.PushBack(r)
	if r.bound() {
		o.messages++
		o.bytes += len(r.data)
	}
}

func (o *outgoing) hurry(r *request) {
	o.expect(r)
	o.urgent = append(o.urgent, r)
}

// take removes what has the id, if anything does: it has its answer.
func (o *outgoing) take(id string) *request {
	r := o.waiting[id]
	if r != nil {
		o.remove(r)
	}
	return r
}

// remove takes r out wherever it is.
func (o *outgoing) remove(r *request) {
	delete(o.waiting, r.id)
	if r.stop != nil {
		r.stop()
	}
	if r.place == nil {
		o.urgent = slices.DeleteFunc(o.urgent, func(u *request) bool { return u == r })
		return
	}
	o.release(r)
}

// release gives the place of r in the queue back.
func (o *outgoing) release(r *request) {
	o.items.Remove(r.place)
	r.place = nil
	if r.bound() {
		o.messages--
		o.bytes -= len(r.data)
		o.free()
	}
}

// next takes what is to be written now, or nil.
func (o *outgoing) next() *request {
	if len(o.urgent) > 0 {
		r := o.urgent[0]
		o.urgent = o.urgent[1:]
		r.written, r.sent = true, true
		return r
	}
	for e := o.items.Front(); e != nil; e = e.Next() {
		r := e.Value.(*request)
		if r.written || r.room != nil && r.room.member.joining() && !r.leaving {
			continue
		}
		r.written, r.sent = true, true
		switch {
		case r.id == "":
			o.remove(r)
		case r.policy == stream: // nothing waits for the end
			o.release(r)
		}
		return r
	}
	return nil
}

// unwritten is how many bytes wait for the connection.
func (o *outgoing) unwritten() (n int) {
	for e := o.items.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*request); !r.written {
			n += len(r.data)
		}
	}
	return n
}

// doubt notes a hole in a room: what was asked before it may be answered at any time.
func (o *outgoing) doubt(r *Room) {
	for _, q := range o.waiting {
		q.doubted = q.doubted || q.sent && q.room == r
	}
}

// leave lets what was sent to a room go before the leave that follows.
func (o *outgoing) leave(r *Room) {
	for e := o.items.Front(); e != nil; e = e.Next() {
		if q := e.Value.(*request); q.room == r {
			q.leaving = !q.written
		}
	}
}

// settled are requests that have been taken out, with their end.
type settled []struct {
	r   *request
	err error
}

func (s *settled) add(r *request, err error) {
	*s = append(*s, struct {
		r   *request
		err error
	}{r, err})
}

// tell is called without a lock.
func (s settled) tell() {
	for _, end := range s {
		if end.r.answer != nil {
			end.r.answer(message.Envelope{}, end.err)
		}
	}
}

// each removes the requests for which err returns one.
func (o *outgoing) each(err func(*request) error) (ends settled) {
	var all []*request
	for e := o.items.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*request))
	}
	for _, r := range o.waiting {
		if r.place == nil {
			all = append(all, r)
		}
	}
	for _, r := range all {
		if err := err(r); err != nil {
			o.remove(r)
			ends.add(r, err)
		}
	}
	return ends
}

// down forgets what belonged to the connection that was lost, and with it the
// answers to what is not repeated: also for a room that is not joined again, where it
// would be refused, handled or not.
func (o *outgoing) down() settled {
	ends := o.each(func(r *request) error {
		switch {
		case r.policy == now:
			return errLost
		case r.leaving && !r.sent: // the connection has left by its end
			return r.room.wasLeft()
		case r.sent && (r.policy != repeat || r.room != nil && r.room.member.ended()):
			return unknown(errLost)
		}
		r.written, r.again, r.leaving = false, r.sent, false
		return nil
	})
	o.urgent = nil
	o.free() // who waited for space no longer has a connection
	return ends
}

// over ends everything: no connection will come.
func (o *outgoing) over() settled {
	ends := o.each(func(r *request) error { return r.never(ErrClosed, ErrClosed) })
	o.urgent = nil
	o.free()
	return ends
}

// never is the error of a request that will have no answer because of cause;
// unsent is that of one that cannot have been handled.
func (r *request) never(cause, unsent error) error {
	if r.sent {
		return unknown(cause)
	}
	return unsent
}

func unknown(cause error) error { return fmt.Errorf("%w: %w", ErrUnknown, cause) }
