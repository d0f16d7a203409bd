package client

import (
	"context"
	"slices"
	"sync"
)

// What sixteen rooms that keep as much as they do by default catch up with has its place,
// so that answers are read beside it.
const (
	inboxMessages = 16 << 10
	inboxBytes    = 16 << 20
	mostStatuses  = 64
)

// event is one call of handlers.
type event struct {
	run    func()
	bytes  int  // of the message; 0: nothing that counts
	status bool // old ones give way
}

// inbox has what handlers have not been called for yet. The reader waits while
// it is full.
type inbox struct {
	filled, freed chan struct{} // of 1
	slow          func()        // is called, in place of a handler, when it has filled up

	mu       sync.Mutex
	events   []event
	messages int
	bytes    int
	running  bool // handlers of a message are being called
	full     bool // and has not been half empty since
	muted    bool // messages are thrown away
	ended    bool
}

func newInbox(slow func()) *inbox {
	return &inbox{filled: make(chan struct{}, 1), freed: make(chan struct{}, 1), slow: slow}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put adds the event of a message, and waits until there is space. held is told
// when a wait begins and ends. It is called by one goroutine at a time.
func (q *inbox) put(ctx context.Context, e event, held func(bool)) error {
	for waits := false; ; waits = true {
		if q.offer(e) {
			if waits {
				held(false)
			}
			return nil
		}
		held(true)
		select {
		case <-q.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (q *inbox) offer(e event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.messages >= inboxMessages || q.messages > 0 && q.bytes+e.bytes > inboxBytes {
		if !q.full && !q.half() { // it comes first, because it is about what waits
			q.full = true
			q.events = slices.Insert(q.events, 0, event{run: q.slow})
		}
		return false
	}
	q.add(e)
	return true
}

// half reports whether it is half empty at least.
func (q *inbox) half() bool { return q.messages <= inboxMessages/2 && q.bytes <= inboxBytes/2 }

// post adds what cannot wait: the few things that do not come from the server.
func (q *inbox) post(e event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for i := range q.events {
		if q.events[i].status {
			n++
		}
	}
	if e.status && n >= mostStatuses {
		q.events = slices.Delete(q.events, q.oldestStatus(), q.oldestStatus()+1)
	}
	q.add(e)
}

func (q *inbox) oldestStatus() int {
	return slices.IndexFunc(q.events, func(e event) bool { return e.status })
}

func (q *inbox) add(e event) {
	if q.ended || q.muted && e.bytes > 0 {
		return
	}
	q.events = append(q.events, e)
	if e.bytes > 0 {
		q.messages++
		q.bytes += e.bytes
	}
	signal(q.filled)
}

// take waits for the next event; false: none will come.
func (q *inbox) take() (event, bool) {
	for {
		q.mu.Lock()
		q.running = false
		if len(q.events) > 0 {
			e := q.events[0]
			q.events[0] = event{}
			q.events = q.events[1:]
			if e.bytes > 0 {
				q.messages--
				q.bytes -= e.bytes
				q.running = true
				q.full = q.full && !q.half()
			}
			q.mu.Unlock()
			signal(q.freed)
			return e, true
		}
		ended := q.ended
		q.mu.Unlock()
		if ended {
			return event{}, false
		}
		<-q.filled
	}
}

// idle reports whether the handlers of everything that has come have returned.
func (q *inbox) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.running && q.messages == 0
}

// mute throws away what came from the server, and what will.
func (q *inbox) mute() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = slices.DeleteFunc(q.events, func(e event) bool { return e.bytes > 0 })
	q.messages, q.bytes, q.muted = 0, 0, true
	signal(q.freed)
}

// end lets take return what there is and then nothing more.
func (q *inbox) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	signal(q.filled)
}
