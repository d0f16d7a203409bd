//go:build linux

package load

import (
	"fmt"
	"math"
)

// A ledger knows what each connection must receive next. Every delivery of a
// run goes through it, so that a server which loses, repeats, reorders or
// misdirects a single one fails the run.
type ledger struct {
	publishers int // of each room
	members    int // of each room
	next       []uint32
}

// own stands for a publisher's own messages, of which it gets none.
const own = math.MaxUint32

// newLedger: connections are numbered room by room, and the first of each room
// are its publishers. With reflect, a publisher receives its own messages.
func newLedger(plan Plan, reflect bool) *ledger {
	l := &ledger{
		publishers: plan.Publishers,
		members:    plan.Members,
		next:       make([]uint32, plan.connections()*plan.Publishers),
	}
	for connection := range plan.connections() {
		if place := connection % plan.Members; place < plan.Publishers && !reflect {
			l.next[connection*plan.Publishers+place] = own
		}
	}
	return l
}

// connection is the number of the connection that a publisher sends on.
func (l *ledger) connection(publisher int) int {
	return publisher/l.publishers*l.members + publisher%l.publishers
}

// accept enters a delivery. Publishers are numbered over all rooms.
func (l *ledger) accept(connection int, publisher, sequence uint32) error {
	place := int(publisher) - connection/l.members*l.publishers
	if place < 0 || place >= l.publishers {
		return fmt.Errorf("connection %d got message %d of publisher %d, who is in another room", connection, sequence, publisher)
	}
	slot := &l.next[connection*l.publishers+place]
	switch {
	case sequence == *slot:
		*slot++
		return nil
	case *slot == own:
		return fmt.Errorf("publisher %d got its own message %d", publisher, sequence)
	case sequence < *slot:
		return fmt.Errorf("connection %d got message %d of publisher %d again or out of order: %d was next", connection, sequence, publisher, *slot)
	}
	return fmt.Errorf("connection %d got message %d of publisher %d, but %d was next: lost or out of order", connection, sequence, publisher, *slot)
}

// settle checks at the end of a run that everybody has everything.
func (l *ledger) settle(published func(publisher int) int) error {
	for i, next := range l.next {
		connection, place := i/l.publishers, i%l.publishers
		publisher := connection/l.members*l.publishers + place
		if want := published(publisher); next != own && int(next) != want {
			return fmt.Errorf("connection %d got %d of %d messages of publisher %d", connection, next, want, publisher)
		}
	}
	return nil
}
