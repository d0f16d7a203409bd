package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// What travels. The page in page/ is the other side of it.
type (
	quote struct {
		Symbol string `json:"symbol"`
		Cents  int    `json:"cents"`
		Open   int    `json:"open"` // what it was in the beginning, in cents
	}
	// rates are of the last second.
	rates struct {
		Changes int `json:"changes"` // of prices, in the market
		Sent    int `json:"sent"`    // of them to this room
	}
)

const (
	quoteKind message.Kind[quote] = "ticker.quote"
	ratesKind message.Kind[rates] = "ticker.rates"
)

const (
	everything = "prices/all"
	calm       = "prices/calm"
)

var symbols = strings.Fields(`
	ACRE ALTO AMBR ARCH ATOL BASK BELL BOLT BRIM CALM CEDR CLAY CORK DAWN DELT DUNE EBBS ECHO ELMS EMBR
	FERN FLAX FOAM GALE GLEN GROV HAZE HILL IRIS JADE KELP KITE LARK LIME LOAM MESA MINT MOSS NOOK OPAL
	PINE QUAY REED RILL SAGE TARN VALE WEIR WREN YARR`)

// newHub returns a hub with the two rooms. Nobody but this program publishes.
func newHub(opts *hub.Options) *hub.Hub {
	h := hub.New(opts)
	for _, name := range []string{everything, calm} {
		h.Rooms(name, &hub.Rule{Delivery: room.Latest{}})
	}
	return h
}

// pace is how fast the market is.
type pace struct {
	changes int // of prices, in a second
	calm    int // messages for one symbol to the calm room in a second, at most
}

// market has the prices. It belongs to the goroutine that calls trade.
type market struct {
	pace      pace
	all, calm *room.Room
	quotes    []quote
	changed   []bool // since the calm room was told
	count     rates  // of this second; Sent is that of the calm room
}

func newMarket(h *hub.Hub, p pace) *market {
	m := &market{pace: p, all: h.Room(everything), calm: h.Room(calm), changed: make([]bool, len(symbols))}
	for _, s := range symbols {
		cents := 1000 + random(40_000)
		m.quotes = append(m.quotes, quote{Symbol: s, Cents: cents, Open: cents})
	}
	return m
}

// trade lets prices change until ctx ends.
func (m *market) trade(ctx context.Context) {
	const steps = 100 // a second
	step := time.NewTicker(time.Second / steps)
	breath := time.NewTicker(time.Second / time.Duration(m.pace.calm))
	second := time.NewTicker(time.Second)
	defer step.Stop()
	defer breath.Stop()
	defer second.Stop()
	for i := range m.quotes { // who comes early has all of them, too
		m.changed[i] = true
		m.post(m.all, i)
	}
	m.breathe()
	for {
		select {
		case <-ctx.Done():
			return
		case <-step.C:
			for range m.pace.changes / steps {
				m.change(random(len(m.quotes)))
			}
		case <-breath.C:
			m.breathe()
		case <-second.C:
			m.tell()
		}
	}
}

// change moves a price by up to half a per cent, and says so to who wants all.
func (m *market) change(i int) {
	q := &m.quotes[i]
	most := max(1, q.Cents/200)
	q.Cents = max(100, q.Cents+random(2*most+1)-most)
	m.changed[i] = true
	m.count.Changes++
	m.post(m.all, i)
}

// breathe says what has changed since the last time to the calm room.
func (m *market) breathe() {
	for i, changed := range m.changed {
		if changed {
			m.changed[i] = false
			m.count.Sent++
			m.post(m.calm, i)
		}
	}
}

// tell tells both rooms how much went on.
func (m *market) tell() {
	n := m.count
	m.count = rates{}
	publish(m.calm, ratesKind.New(n).Keyed("rates"))
	n.Sent = n.Changes
	publish(m.all, ratesKind.New(n).Keyed("rates"))
}

// post sends the price of a symbol. The symbol is the key: the room keeps the
// newest, and a client that is slow gets the newest.
func (m *market) post(r *room.Room, i int) {
	publish(r, quoteKind.New(m.quotes[i]).Keyed(m.quotes[i].Symbol))
}

func random(below int) int { return rand.IntN(below) } //nolint:gosec // the market is made up

// publish waits for nobody, so there is nothing to cancel.
func publish(r *room.Room, e message.Envelope) {
	_ = r.Broadcast(context.Background(), e) // it fails for what is no JSON
}
