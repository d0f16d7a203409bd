package room

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/message"
)

// Delivery is what the rooms of a Manager promise about their messages. It is
// Ephemeral, Recoverable or Latest.
type Delivery interface{ delivery() }

// Ephemeral rooms deliver to who is there, at most once. They keep nothing.
type Ephemeral struct {
	// Slow is what happens at a member that takes messages more slowly than they
	// come; default message.Disconnect.
	Slow message.Policy
}

// Recoverable rooms keep their latest messages in a log. All members get them in
// the order of the log, each with its cursor; who was away, or too slow, gets
// what it missed, or is told that there is a gap. A message that is
// message.Envelope.Volatile is not kept.
type Recoverable struct {
	// Keep is how many messages a room keeps, default 1,000; Bytes how many bytes
	// of them, default 1 MiB; KeepFor for how long, default an hour. Whichever
	// bound is met first counts. In memory a message counts 96 bytes and what it has:
	// its content, and an envelope of some 200 bytes. Where Bytes is more than the
	// engine's options allow a room, the default included, NewManager panics for an
	// engine of package engine/memory, which allows 128 MiB unless it is told
	// otherwise; another does not start.
	Keep, Bytes int
	KeepFor     time.Duration
	// Replay is how many of the latest messages who joins gets at once; default
	// none. A member that comes back gets what it missed instead.
	Replay int
	// Dedupe is for how long a message that is sent again with the same id is
	// recognised; default a minute. A room that would have more ids in that time
	// than its engine allows it refuses further ones as Unavailable.
	Dedupe time.Duration
}

// DefaultDedupe is what Recoverable.Dedupe is by default.
const DefaultDedupe = time.Minute

func (Ephemeral) delivery()   {}
func (Recoverable) delivery() {}

func (d Recoverable) withDefaults() Recoverable {
	setDefault(&d.Keep, 1000)
	setDefault(&d.Bytes, 1<<20)
	setDefault(&d.KeepFor, time.Hour)
	setDefault(&d.Dedupe, DefaultDedupe)
	return d
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// class returns the class of rooms that an engine provisions for a name, the same
// on every node.
func (d Recoverable) class(name string) engine.Class {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return engine.Class{
		Name: fmt.Sprintf("%.15s-%08x", plain, h.Sum32()), Level: engine.Recoverable,
		Keep: d.Keep, Bytes: d.Bytes, KeepFor: d.KeepFor, Dedupe: d.Dedupe,
	}
}
