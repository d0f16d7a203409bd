//go:build linux

package load

import (
	"fmt"
	"strings"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/frame"
)

// A message waits for its deliveries.
type message struct {
	due  time.Duration // when it was, or should have been, sent
	left int           // deliveries
}

// A publisher sends messages of one size on one connection.
type publisher struct {
	number     int
	connection *connection
	template   []byte // the payload, with the marker of a message still to be written
	marker     int    // where in the template
	messages   []message
}

func (g *generator) preparePublishers() error {
	for number := range g.plan.Rooms * g.plan.Publishers {
		c := g.connections[g.ledger.connection(number)]
		compose := func(content string) string { return g.dialect.publish(c.room, content) }
		if g.plan.Kind == Echo {
			compose = g.dialect.echo
		}
		marker := string(appendMarker(nil, uint32(number), 0))
		padding := g.plan.Payload - len(compose(marker))
		if padding < 0 {
			return fmt.Errorf("load: a payload of %d bytes is too short by %d", g.plan.Payload, -padding)
		}
		text := compose(marker + strings.Repeat("x", padding))
		g.publishers = append(g.publishers, &publisher{
			number:     number,
			connection: c,
			template:   []byte(text),
			marker:     strings.Index(text, sign),
			messages:   make([]message, 0, 1024),
		})
	}
	return nil
}

// publish sends the publisher's next message.
func (g *generator) publish(p *publisher, due time.Duration) error {
	receivers := g.plan.Members - 1
	if g.plan.Kind == Echo {
		receivers = 1
	}
	writeHex(p.template[p.marker+markerLength-digits:], uint32(len(p.messages)))
	p.messages = append(p.messages, message{due: due, left: receivers})
	g.outstanding += receivers
	g.output = frame.AppendMasked(g.output[:0], frame.Text, p.template, maskKey)
	return g.send(p.connection, g.output)
}

// deliver checks and counts one delivery.
func (g *generator) deliver(c *connection, number, sequence uint32) error {
	if g.ledger == nil {
		return fmt.Errorf("connection %d got message %d of publisher %d before any was sent", c.number, sequence, number)
	}
	if err := g.ledger.accept(c.number, number, sequence); err != nil {
		return err
	}
	p := g.publishers[number]
	if int(sequence) >= len(p.messages) {
		return fmt.Errorf("connection %d got message %d of publisher %d, which was never sent", c.number, sequence, number)
	}
	m := &p.messages[sequence]
	g.latency.Record(g.received - m.due)
	g.delivered++
	g.outstanding--
	if m.left--; m.left == 0 && g.plan.Rate == 0 && !g.stopping {
		return g.publish(g.successor(p), g.now())
	}
	return nil
}

// successor is who publishes when a message of p has reached everybody: p
// itself, or, where there are more publishers than messages in flight, the one
// who has waited longest.
func (g *generator) successor(p *publisher) *publisher {
	if len(g.publishers) <= g.plan.InFlight {
		return p
	}
	return g.turn()
}

func (g *generator) turn() *publisher {
	p := g.publishers[g.cursor]
	g.cursor = (g.cursor + 1) % len(g.publishers)
	return p
}

// begin puts the first messages in flight, or sets the pace of the open loop.
func (g *generator) begin() error {
	if g.plan.Rate > 0 {
		g.paceStart = g.now()
		return g.ticker.start(time.Second / time.Duration(g.plan.Rate))
	}
	for range g.plan.InFlight {
		if err := g.publish(g.turn(), g.now()); err != nil {
			return err
		}
	}
	return nil
}

// pace publishes what is due in the open loop. A message that is late, for
// whatever reason, counts from when it should have been sent.
func (g *generator) pace() error {
	if err := g.ticker.clear(); err != nil {
		return err
	}
	interval := time.Second / time.Duration(g.plan.Rate)
	for due := g.paceStart + time.Duration(g.paced+1)*interval; due <= g.now() && !g.stopping; due += interval {
		g.paced++
		if err := g.publish(g.turn(), due); err != nil {
			return err
		}
	}
	return nil
}
