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
	heard   bool // uninvited, on this connection, what is kept: the next join continues it
	kept    bool // the application named where to go on
	epoch   int  // counts what begins without a past: a Join, or being put in
	left    int  // by Leave: nothing of an epoch before that is handled any more
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

// continues reports whether the join goes on from somewhere.
func (m *membership) continues() bool { return m.been || m.heard || m.kept }

// fresh reports whether the first join waits for its answer, and no earlier one on this
// connection may have been heard.
func (m *membership) fresh() bool {
	return m.joining() && !m.been && m.leaving == 0 && m.again == nil
}

// ended reports whether there was a membership and is none.
func (m *membership) ended() bool { return m.order > 0 && !m.wanted }

// over reports whether what came in that epoch is not to be handled any more. Only Leave
// ends that: what the server has ended, or a Join follows, is handled before what follows.
func (m *membership) over(epoch int) bool { return epoch < m.left }
