package hubtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestRoomsWithoutHistory lets members talk over a network that fails in all ways
// but at random, and come back whenever it has thrown them out. What arrives
// comes once and in its publisher's order, and when the network has healed
// everybody hears everybody.
func TestRoomsWithoutHistory(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 10
	}
	for seed := uint64(1); seed <= seeds && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			p := newParty(t, seed, honest)
			p.run(p.member)
			if err := p.journal.Check(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			for name, others := range p.last {
				if len(others) != 2 {
					t.Errorf("seed %d: in the end %s hears only %v", seed, name, others)
				}
			}
		})
	}
}

// TestBrokenRooms has rooms that break the rules, which the journal has to see.
func TestBrokenRooms(t *testing.T) {
	var mu sync.Mutex
	kept := map[string]text{}
	tests := []struct {
		rule    hubtest.Rule
		deliver delivery
	}{
		{hubtest.Duplicate, func(_ string, in text) []text { return []text{in, in} }},
		{hubtest.Invented, func(_ string, in text) []text { return []text{{"not " + in.Body}} }},
		{hubtest.Reordered, func(from string, in text) []text {
			mu.Lock()
			defer mu.Unlock()
			if before, ok := kept[from]; ok {
				delete(kept, from)
				return []text{in, before}
			}
			kept[from] = in
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(string(tt.rule), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParty(t, 1, tt.deliver)
				p.run(p.member)
				var v *hubtest.Violation
				if err := p.journal.Check(); !errors.As(err, &v) || v.Rule != tt.rule {
					t.Errorf("the journal says %v, want something %s", err, tt.rule)
				}
			})
		})
	}
}

// delivery decides what the others hear of what one has said.
type delivery func(from string, in text) []text

func honest(_ string, in text) []text { return []text{in} }

// party is some members in one room.
type party struct {
	*testing.T
	seed    uint64
	deliver delivery
	hub     *hub.Hub
	network *hubtest.Network
	journal hubtest.Journal
	server  sync.WaitGroup
	web     *http.Server

	mu   sync.Mutex
	last map[string]map[string]bool // member, and whose farewell it has seen
}

const chat1 = "chat/1"

func newParty(t *testing.T, seed uint64, deliver delivery) *party {
	p := &party{T: t, seed: seed, deliver: deliver, network: hubtest.NewNetwork(t), last: map[string]map[string]bool{}}
	p.journal.AtMostOnce = true
	p.serve()
	p.network.OnRestart = func() {
		p.stop()
		p.serve()
	}
	return p
}

// serve starts a server.
func (p *party) serve() {
	p.hub = hub.New(&hub.Options{Log: slog.New(slog.DiscardHandler), DrainTime: time.Millisecond})
	hub.On(p.hub.Rooms("chat/{id}", nil), say, func(ctx context.Context, r *hub.Request, in text) error {
		for _, out := range p.deliver(r.Peer.ID(), in) {
			if err := r.Others(ctx, say.New(out)); err != nil {
				return err
			}
		}
		return nil
	})
	hub.On(p.hub.Rooms("log/{id}", &hub.Rule{Delivery: room.Recoverable{}}), say, func(ctx context.Context, r *hub.Request, in text) error {
		return r.Others(ctx, say.New(in))
	})
	web, l := &http.Server{Handler: p.hub}, p.network.Listener()
	p.web = web
	p.server.Go(func() { _ = web.Serve(l) })
}

// stop ends it.
func (p *party) stop() {
	_ = p.web.Close()
	if err := p.hub.Shutdown(p.Context()); err != nil {
		p.Errorf("Shutdown: %v", err)
	}
	p.server.Wait()
}

// run lets three members talk until the network has failed and healed again, and
// then each say a last word.
func (p *party) run(member func(ctx context.Context, name string, farewell <-chan struct{}), kinds ...hubtest.Kind) {
	schedule := hubtest.NewSchedule(p.seed, 6*time.Second, kinds...)
	ctx, cancel := context.WithCancel(p.Context())
	farewell := make(chan struct{})
	var members sync.WaitGroup
	for _, name := range []string{"ada", "bob", "eve"} {
		members.Go(func() { member(ctx, name, farewell) })
	}
	p.network.Run(ctx, schedule)
	<-time.After(5 * time.Second) // time enough for all to come back
	close(farewell)
	<-time.After(2 * time.Second)
	cancel()
	members.Wait()
	p.stop()
}

// member stays in the room until ctx is over.
func (p *party) member(ctx context.Context, name string, farewell <-chan struct{}) {
	p.mu.Lock()
	p.last[name] = map[string]bool{}
	p.mu.Unlock()
	rnd := rand.New(rand.NewPCG(p.seed, uint64(name[0])))
	transport := &http.Transport{DialContext: p.network.DialContext}
	defer transport.CloseIdleConnections()
	for n := 1; ctx.Err() == nil; n++ {
		dialing, cancel := context.WithTimeout(ctx, 3*time.Second)
		ws, _, err := websocket.Dial(dialing, "ws://hub/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		cancel()
		if err == nil {
			c := &connection{p, ws, name, fmt.Sprintf("%s/%d", name, n)}
			c.talk(ctx, rnd, farewell)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rnd.IntN(500)) * time.Millisecond):
		}
	}
}

// connection is one of a member's connections, by a name of its own.
type connection struct {
	*party
	ws     *websocket.Conn
	member string
	name   string
}

// talk joins and says something now and then, and to everybody in the end.
func (c *connection) talk(ctx context.Context, rnd *rand.Rand, farewell <-chan struct{}) {
	defer func() { _ = c.ws.CloseNow() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	joined, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c.listen(ctx, joined)
		cancel()
	}()
	join := message.New("join", nil)
	join.ID = "join"
	c.write(ctx, join)
	select {
	case <-joined:
	case <-done:
	}
	for n := 0; ctx.Err() == nil && n < 1000; n++ {
		pause := time.After(time.Duration(150+rnd.IntN(300)) * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-pause:
			c.say(ctx, n, fmt.Sprintf("%s: %d", c.name, n))
		case <-farewell:
			c.say(ctx, n, "farewell from "+c.name)
			n = 1000
		}
	}
	<-done
}

func (c *connection) say(ctx context.Context, n int, body string) {
	e := say.New(text{body})
	e.ID = fmt.Sprint(n)
	c.journal.Publish(chat1, c.name, e.ID, body)
	c.write(ctx, e)
}

func (c *connection) write(ctx context.Context, e message.Envelope) {
	e.Room = chat1
	f, err := message.Encode(e, nil, message.Disconnect)
	if err != nil {
		c.Errorf("%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = c.ws.Write(ctx, websocket.MessageText, f.Payload())
}

// listen writes down what comes, until the connection ends.
func (c *connection) listen(ctx context.Context, joined chan<- struct{}) {
	defer c.journal.Leave(chat1, c.name)
	for {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			return
		}
		e, err := message.Decode(data, false)
		switch {
		case err != nil:
			c.Errorf("%v", err)
		case e.Type == "ack" && e.ID == "join":
			c.journal.Join(chat1, c.name)
			close(joined)
		case e.Type == "ack":
			c.journal.Ack(chat1, c.name, e.ID, e.Cursor)
		case e.Type == string(say):
			c.hear(e)
		}
	}
}

func (c *connection) hear(e message.Envelope) {
	var in text
	if err := e.Content.Decode(nil, &in); err != nil {
		c.Errorf("%v", err)
	}
	c.journal.See(chat1, c.name, in.Body, e.Cursor)
	if from, ok := cutName(in.Body); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last[c.member][from] = true
	}
}

func cutName(body string) (string, bool) {
	var name string
	n, _ := fmt.Sscanf(body, "farewell from %3s", &name) // all their names have three letters
	return name, n == 1
}
