package client

import (
	"time"

	"github.com/hubbub-go/hubbub/message"
)

// membership is whether a room is joined, and how it came to be.
type membership struct {
	wanted  bool // by the application
	joined  bool
	been    bool // joined before, by the same call of Join
	epoch   int  // counts the calls of Join, so that nothing outlives its membership
	leaving int  // leaves that the server has not answered
	attempt int  // counts joins on the wire, so that a late answer finds itself outdated
	order   int  // among the rooms, by the first call of Join
	content message.Raw
	info    Info
	waiter  *waiter
	again   *time.Timer // until the join is tried again
}

// waiter is where calls of Join wait for the outcome.
type waiter struct {
	calls int
	done  chan struct{}
	info  Info
	err   error
}

// joining reports whether messages to the room have to wait.
func (m *membership) joining() bool { return m.wanted && !m.joined }

// uninvited marks, by being negative, the epoch of what comes from a room into which
// the server has put a client that did not ask for it.
func (m *membership) uninvited() int { return -1 - m.epoch }

// over reports whether what came in that epoch is not to be handled any more. What
// came uninvited still is after the next Join, which does not end anything.
func (m *membership) over(epoch int) bool {
	if epoch < 0 {
		return m.epoch > -epoch
	}
	return epoch != m.epoch
}

// counts reports whether what came in that epoch moves the position.
func (m *membership) counts(epoch int) bool {
	return epoch == m.epoch || epoch == m.uninvited() && !m.wanted
}
