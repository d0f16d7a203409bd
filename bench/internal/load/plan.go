//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"
)

// A Kind is what the connections do once they have all joined.
type Kind string

// The kinds of load.
const (
	Broadcast Kind = "broadcast" // publishers send to their rooms
	Echo      Kind = "echo"      // every connection asks and waits for its answer
	Connect   Kind = "connect"   // nothing: connecting itself is measured
	// Resume: one connection publishes Missed messages to a room that keeps them;
	// then all others join from before the first. Coming back is measured.
	Resume Kind = "resume"
)

// A Plan says what load to put on which server.
type Plan struct {
	Kind    Kind
	Address string
	Dialect string // of the server: "envelope" or "socketio"
	PID     int    // the server's process, whose CPU time is taken

	Prefix     string // of the rooms' names
	Rooms      int
	Members    int // of each room
	Publishers int // of each room
	InFlight   int // messages that wait for their last delivery, over all rooms
	// Rate makes an open loop: so many messages each second over all rooms,
	// whether or not earlier ones have arrived.
	Rate    int
	Payload int // bytes of each message as it is published

	Warmup time.Duration
	Window time.Duration // of the measurement
	Settle time.Duration // Connect: idle time before memory is measured
	Missed int           // Resume: messages
}

func (p Plan) connections() int { return p.Rooms * p.Members }

func (p Plan) check() error {
	if p.Rooms < 1 || p.Members < 1 {
		return errors.New("load: a plan needs rooms and members")
	}
	switch p.Kind {
	case Connect:
		return nil
	case Resume:
		if p.Rooms != 1 || p.Members < 2 || p.Missed < 1 {
			return errors.New("load: in a resume plan there is one room, somebody who comes back, and something to miss")
		}
		return nil
	case Echo:
		if p.Members != 1 || p.Publishers != 1 {
			return errors.New("load: in an echo plan each connection is by itself")
		}
	case Broadcast:
		if p.Publishers < 1 || p.Publishers > p.Members || p.Members < 2 {
			return fmt.Errorf("load: %d publishers in rooms of %d", p.Publishers, p.Members)
		}
	default:
		return fmt.Errorf("load: unknown kind %q", p.Kind)
	}
	if (p.Rate > 0) == (p.InFlight > 0) {
		return errors.New("load: a plan has either a rate or a bound of messages in flight")
	}
	if p.Window <= 0 {
		return errors.New("load: a plan needs a window")
	}
	return nil
}

// A Result is what one run measured.
type Result struct {
	Deliveries uint64        // within the window
	Elapsed    time.Duration // the window, or what all connects took
	ServerCPU  time.Duration // within it
	LoadCPU    time.Duration // the generator's own
	P50, P99   time.Duration // of the deliveries, or of connecting and joining
	Checked    uint64        // deliveries checked in the whole run
	// Connect plans only.
	Connections int
	Resident    int64 // bytes by which the server's resident set grew
}
