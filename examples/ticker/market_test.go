package main

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

const closing message.Kind[string] = "closing"

// open lets a market run. The function that it returns ends it: everybody is told
// "closing".
func open(t *testing.T, h *hub.Hub, p pace) (*market, func()) {
	m := newMarket(h, p)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.trade(ctx)
	}()
	return m, func() {
		cancel()
		<-done
		m.breathe() // what was held back
		for _, r := range []string{everything, calm} {
			if err := h.Room(r).Broadcast(t.Context(), closing.New("bell")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// hear returns how many quotes came until the market closed, and the last of
// each symbol.
func hear(t *testing.T, c *hubtest.Client) (int, map[string]quote) {
	n, last := 0, map[string]quote{}
	for {
		switch e := c.Next(); e.Type {
		case string(closing):
			return n, last
		case string(quoteKind):
			var q quote
			if err := e.Content.Decode(nil, &q); err != nil {
				t.Fatal(err)
			}
			last[q.Symbol] = q
			n++
		}
	}
}

func expectPrices(t *testing.T, m *market, got map[string]quote) {
	t.Helper()
	if len(got) != len(symbols) {
		t.Fatalf("%d symbols", len(got))
	}
	for _, q := range m.quotes {
		if got[q.Symbol] != q {
			t.Errorf("%+v, want %+v", got[q.Symbol], q)
		}
	}
}

// Who is fast gets a few messages a second in the calm room and each change in
// the other, and has the right prices in the end.
func TestPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(nil)
		few, all := hubtest.Dial(t, h), hubtest.Dial(t, h)
		few.Join(calm, nil)
		all.Join(everything, nil)
		m, end := open(t, h, pace{500, 5})
		<-time.After(3500 * time.Millisecond)
		end()
		n, last := hear(t, few)
		expectPrices(t, m, last)
		if most := len(symbols) * (5*3 + 4); n > most || n < most/2 {
			t.Errorf("%d messages in the calm room, at most %d", n, most)
		}
		n, last = hear(t, all)
		expectPrices(t, m, last)
		if n < 1700 || n > 1850 {
			t.Errorf("%d messages in the room for everything, there were 1750 changes", n)
		}
	})
}

// Who comes late has all prices at once.
func TestLateJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(nil)
		m, end := open(t, h, pace{2000, 5})
		<-time.After(time.Second)
		end()
		for _, name := range []string{everything, calm} {
			c := hubtest.Dial(t, h)
			c.Join(name, nil)
			n, last := hear(t, c)
			expectPrices(t, m, last)
			if n != len(symbols) {
				t.Errorf("%s: %d messages for %d symbols", name, n, len(symbols))
			}
		}
	})
}

// Who takes nothing for 10 s is neither cut off nor given what is old: the hub
// keeps the newest price of each symbol for it.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(nil)
		c := hubtest.Dial(t, h)
		c.Join(everything, nil)
		c.Freeze(true)
		m, end := open(t, h, pace{2000, 5})
		<-time.After(10 * time.Second)
		end()
		c.Freeze(false)
		n, last := hear(t, c)
		expectPrices(t, m, last)
		if n > 2*len(symbols) {
			t.Errorf("%d messages for %d symbols", n, len(symbols))
		}
	})
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(nil)
		c := hubtest.Dial(t, h)
		_, end := open(t, h, pace{2000, 5})
		<-time.After(2500 * time.Millisecond)
		end()
		c.Join(calm, nil)
		if got := hubtest.Expect(c, ratesKind); got.Changes < 1900 || got.Changes > 2100 || got.Sent < 200 || got.Sent > 300 {
			t.Errorf("%+v", got)
		}
	})
}

func TestPageIsServed(t *testing.T) {
	for path, want := range map[string]string{"/": "<html", "/ticker.js": "from '/hubbub.js'", "/hubbub.js": "export"} {
		w := httptest.NewRecorder()
		routes(newHub(nil)).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %.80s", path, w.Code, w.Body.String())
		}
	}
}

func TestTakenPortIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := run(l.Addr().String(), pace{100, 1}); err == nil || !strings.Contains(err.Error(), "cannot listen on "+l.Addr().String()) {
		t.Fatal(err)
	}
}
