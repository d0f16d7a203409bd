//go:build linux

package load

import (
	"strings"
	"testing"
)

// Two rooms of three; the first two of each publish. Connections 0 to 2 and
// publishers 0 and 1 are in the first room, the others in the second.
var rooms = Plan{Kind: Broadcast, Rooms: 2, Members: 3, Publishers: 2}

func TestLedgerFindsFaults(t *testing.T) {
	type delivery struct {
		connection          int
		publisher, sequence uint32
	}
	for name, c := range map[string]struct {
		deliveries []delivery
		fault      string // of the last delivery
	}{
		"in order":      {[]delivery{{2, 0, 0}, {2, 1, 0}, {2, 0, 1}, {1, 0, 0}, {5, 3, 0}}, ""},
		"lost":          {[]delivery{{2, 0, 0}, {2, 0, 2}}, "lost"},
		"first lost":    {[]delivery{{2, 0, 1}}, "lost"},
		"repeated":      {[]delivery{{2, 0, 0}, {2, 0, 1}, {2, 0, 1}}, "again"},
		"out of order":  {[]delivery{{2, 0, 0}, {2, 0, 1}, {2, 0, 0}}, "out of order"},
		"own":           {[]delivery{{1, 1, 0}}, "its own"},
		"another room":  {[]delivery{{2, 2, 0}}, "another room"},
		"one room down": {[]delivery{{4, 1, 0}}, "another room"},
		"nobody":        {[]delivery{{4, 4, 0}}, "another room"},
		"huge number":   {[]delivery{{0, 1 << 31, 0}}, "another room"},
	} {
		l := newLedger(rooms, false)
		for i, d := range c.deliveries {
			err := l.accept(d.connection, d.publisher, d.sequence)
			last := i == len(c.deliveries)-1
			if faulty := last && c.fault != ""; faulty != (err != nil) || faulty && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: delivery %d: error %v", name, i, err)
			}
		}
	}
}

func TestLedgerSettles(t *testing.T) {
	l := newLedger(rooms, false)
	published := func(publisher int) int { return []int{1, 0, 0, 0}[publisher] }
	if err := l.accept(1, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.settle(published); err == nil || !strings.Contains(err.Error(), "connection 2 got 0 of 1") {
		t.Fatalf("a member without the message: %v", err)
	}
	if err := l.accept(2, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.settle(published); err != nil {
		t.Fatal(err)
	}
}

func TestLedgerReflects(t *testing.T) {
	l := newLedger(Plan{Kind: Echo, Rooms: 2, Members: 1, Publishers: 1}, true)
	if err := l.accept(1, 1, 0); err != nil {
		t.Fatal(err)
	}
	if l.accept(1, 0, 0) == nil {
		t.Fatal("an answer to somebody else is accepted")
	}
}

func TestLedgerConnections(t *testing.T) {
	l := newLedger(rooms, false)
	for publisher, want := range []int{0, 1, 3, 4} {
		if got := l.connection(publisher); got != want {
			t.Errorf("publisher %d is connection %d, want %d", publisher, got, want)
		}
	}
}
