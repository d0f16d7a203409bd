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
	heard   bool // before that, uninvited, what is kept: the join continues it
	epoch   int  // counts the calls of Join and Leave, so that nothing outlives its membership
	leaving int  // leaves that the server has not answered
	attempt int  // counts joins on the wire, so that a late answer finds itself outdated
	resumes int  // counts those that said where to resume
	void    int  // what is kept and came after fewer resumes than that comes again
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

// fresh reports whether the first join waits for its answer, and no earlier one on this
// connection may have been heard.
func (m *membership) fresh() bool {
	return m.joining() && !m.been && m.leaving == 0 && m.again == nil
}

// ended reports whether there was a membership and is none.
func (m *membership) ended() bool { return m.order > 0 && !m.wanted }

// origin says when something came: in which epoch, and after how many resumes.
type origin struct{ epoch, resumes int }

func (m *membership) now() origin { return origin{m.epoch, m.resumes} }

// uninvited marks, by a negative epoch, what comes from a room into which the server has
// put a client that did not ask for it.
func (m *membership) uninvited() origin { return origin{-1 - m.epoch, m.resumes} }

// over reports whether what came then is not to be handled any more. What came
// uninvited still is after the next Join, which does not end anything.
func (m *membership) over(o origin) bool {
	if o.epoch < 0 {
		return m.epoch > -o.epoch
	}
	return o.epoch != m.epoch
}

// repeats reports whether what came then, and has a place in the room's history, comes
// again, because the room was resumed before it was handled.
func (m *membership) repeats(o origin) bool { return o.resumes < m.void }

// hole reports whether one that came then is to be told. Where the room is about to be
// resumed in front of it the server is going to say what is missing.
func (m *membership) hole(o origin) bool {
	if o.resumes < m.resumes && !m.joined {
		m.void = m.resumes
	}
	return !m.repeats(o)
}
