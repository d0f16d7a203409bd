//go:build linux

package suite

import (
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/load"
)

// A Scenario is one kind of load, with the table that its results make.
type Scenario struct {
	Name  string
	Title string
	Table Table
	Plan  load.Plan
}

// A Pace is how long the runs take.
type Pace struct {
	Warmup, Window, Settle time.Duration
}

// The paces of a full and of a quick benchmark.
var (
	Full  = Pace{Warmup: 500 * time.Millisecond, Window: 4 * time.Second, Settle: 3 * time.Second}
	Quick = Pace{Warmup: 300 * time.Millisecond, Window: time.Second, Settle: time.Second}
)

// payload is the size of each published message, envelope included.
const payload = 128

// Scenarios lists all of them at the given pace.
func Scenarios(pace Pace) []Scenario {
	saturated := func(members int) load.Plan {
		return load.Plan{Kind: load.Broadcast, Rooms: 1, Members: members, Publishers: 4, InFlight: 32}
	}
	hold := load.Plan{Kind: load.Connect, Rooms: 1, Members: 5000}
	storm := hold // which does not wait for anything to settle
	hold.Settle = pace.Settle
	list := []Scenario{
		{"saturated-100", "Saturated fan-out, one room of 100: 4 publishers, 32 messages in flight", Deliveries, saturated(100)},
		{"saturated-1000", "Saturated fan-out, one room of 1,000: 4 publishers, 32 messages in flight", Deliveries, saturated(1000)},
		{"saturated-9000", "Saturated fan-out, one room of 9,000: 4 publishers, 32 messages in flight", Deliveries, saturated(9000)},
		{"sparse-1000", "Sparse fan-out, one room of 1,000: 100 messages/s, latency from the intended send time", Deliveries,
			load.Plan{Kind: load.Broadcast, Rooms: 1, Members: 1000, Publishers: 4, Rate: 100}},
		{"small-rooms", "4,500 rooms of 2: one publisher a room, 256 messages in flight over all", Deliveries,
			load.Plan{Kind: load.Broadcast, Rooms: 4500, Members: 2, Publishers: 1, InFlight: 256}},
		{"echo", "RPC echo: 100 clients, one request in flight each (a delivery is an answer)", Deliveries,
			load.Plan{Kind: load.Echo, Rooms: 100, Members: 1, Publishers: 1, InFlight: 100}},
		{"idle", "Idle memory: 5,000 connections, joined", Memory, hold},
		{"storm", "Connect storm: 5,000 connections connect and join, up to 128 at a time", Connects, storm},
	}
	for i := range list {
		plan := &list[i].Plan
		plan.Payload, plan.Warmup, plan.Window = payload, pace.Warmup, pace.Window
		if plan.InFlight*plan.Members > 100_000 {
			// A full round of all that is in flight takes one-write a second or two.
			plan.Warmup, plan.Window = 2*plan.Warmup, 2*plan.Window
		}
	}
	return list
}
