//go:build linux

package suite

import (
	"slices"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/load"
)

// A Scenario is one kind of load, with the table that its results make.
type Scenario struct {
	Name  string
	Title string
	Table Table
	Plan  load.Plan
	// Kinds of hubbub's rooms to compare, where no other server does that.
	Kinds []Kind
}

// A Kind is what makes a room of examples/relay: how its name begins.
type Kind struct {
	Name, Prefix string
}

// Ephemeral is hubbub with rooms that keep nothing, beside those that do.
const Ephemeral = "ephemeral"

// entries are the servers that the scenario is for.
func (s Scenario) entries(all []Entry) []Entry {
	i := slices.IndexFunc(all, func(e Entry) bool { return e.Name == Hubbub })
	switch {
	case s.Kinds == nil:
		return all
	case i < 0:
		return nil
	}
	var entries []Entry
	for _, kind := range s.Kinds {
		entry := all[i]
		entry.Name, entry.prefix = kind.Name, kind.Prefix
		entries = append(entries, entry)
	}
	return entries
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
		{Name: "saturated-100", Title: "Saturated fan-out, one room of 100: 4 publishers, 32 messages in flight", Table: Deliveries, Plan: saturated(100)},
		{Name: "saturated-1000", Title: "Saturated fan-out, one room of 1,000: 4 publishers, 32 messages in flight", Table: Deliveries, Plan: saturated(1000)},
		{Name: "recoverable-1000", Title: "Saturated fan-out as above, one room of 1,000: one of hubbub's that keeps its history, and one that keeps nothing", Table: Deliveries,
			Kinds: []Kind{{Hubbub, "log/"}, {Ephemeral, ""}}, Plan: saturated(1000)},
		{Name: "saturated-9000", Title: "Saturated fan-out, one room of 9,000: 4 publishers, 32 messages in flight", Table: Deliveries, Plan: saturated(9000)},
		{Name: "sparse-1000", Title: "Sparse fan-out, one room of 1,000: 100 messages/s, latency from the intended send time", Table: Deliveries,
			Plan: load.Plan{Kind: load.Broadcast, Rooms: 1, Members: 1000, Publishers: 4, Rate: 100}},
		{Name: "small-rooms", Title: "4,500 rooms of 2: one publisher a room, 256 messages in flight over all", Table: Deliveries,
			Plan: load.Plan{Kind: load.Broadcast, Rooms: 4500, Members: 2, Publishers: 1, InFlight: 256}},
		{Name: "echo", Title: "RPC echo: 100 clients, one request in flight each (a delivery is an answer)", Table: Deliveries,
			Plan: load.Plan{Kind: load.Echo, Rooms: 100, Members: 1, Publishers: 1, InFlight: 100}},
		{Name: "resume", Title: "Resume: 1,000 clients come back, up to 128 at a time, to 100 messages that each has missed", Table: Connects,
			Kinds: []Kind{{Hubbub, "log/"}}, Plan: load.Plan{Kind: load.Resume, Rooms: 1, Members: 1001, Missed: 100}},
		{Name: "idle", Title: "Idle memory: 5,000 connections, joined", Table: Memory, Plan: hold},
		{Name: "storm", Title: "Connect storm: 5,000 connections connect and join, up to 128 at a time", Table: Connects, Plan: storm},
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
