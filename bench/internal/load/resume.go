//go:build linux

package load

import (
	"fmt"
	"regexp"
)

var cursor = regexp.MustCompile(`"cursor":"([^"]+)"`)

// leave makes the messages that all but the first connection have missed.
func (g *generator) leave() error {
	if err := g.dial(); err != nil {
		return err
	}
	if err := g.until(joinTimeout, func() bool { return g.joined == 1 }); err != nil {
		return err
	}
	c := g.connections[0]
	for sequence := range g.plan.Missed {
		marker := string(appendMarker(nil, 0, uint32(sequence)))
		if err := g.sendText(c, []byte(g.dialect.publish(c.room, marker))); err != nil {
			return err
		}
	}
	if err := g.sendText(c, []byte(g.dialect.echo("all"))); err != nil {
		return err
	}
	return g.until(joinTimeout, func() bool { return g.since != "" })
}

// settled notes an answer that the first connection got: to its join, which says
// where everybody was, and to what it sent last, when all is published.
func (g *generator) settled(payload []byte) error {
	if g.before != "" {
		g.since = g.before
		return nil
	}
	m := cursor.FindSubmatch(payload)
	if m == nil {
		return fmt.Errorf("the server keeps no history: %s", payload)
	}
	g.before = string(m[1])
	return nil
}

// recover checks and counts one message that was missed.
func (g *generator) recover(c *connection, sequence uint32) error {
	if sequence != c.next {
		return fmt.Errorf("connection %d got message %d, but %d was next", c.number, sequence, c.next)
	}
	if c.next++; int(c.next) == g.plan.Missed {
		g.enter(c)
	}
	return nil
}
