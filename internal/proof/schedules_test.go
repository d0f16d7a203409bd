package proof_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/transport"
)

const (
	members = 20
	sayings = 5 // of each member, and one more in the end
	groups  = 8 // of schedules, that run at the same time
)

var only = flag.Uint64("seed", 0, "run the schedule of this seed alone")

// TestSchedules lets 20 clients talk in a room with history while their
// connections and the server fail, 1,000 times in different ways, each made from
// its seed. Every message is acknowledged; who is told of no gap sees each one
// exactly once, and all see them in one order. A server that loses its history
// tells everybody of a gap. One that keeps it tells nobody; but in every fourth
// schedule the room keeps little, and who has missed more than that, because it was
// away or is too slow, is told. A seed that fails fails again, alone too, with -seed:
// see TestSameSeed.
func TestSchedules(t *testing.T) {
	if *only > 0 {
		synctest.Test(t, func(t *testing.T) { newPlay(t, *only).run() })
		return
	}
	seeds := uint64(1000)
	switch {
	case testing.Short():
		seeds = 50
	case race:
		seeds = 200 // they take ten times as long
	}
	var away, slow atomic.Int64 // who was told that more was missed than is kept
	t.Cleanup(func() {
		if !t.Failed() && (away.Load() == 0 || slow.Load() == 0) {
			t.Errorf("nothing is proved of rooms that keep little: %d came back too late, %d were too slow", away.Load(), slow.Load())
		}
	})
	for group := range uint64(groups) {
		t.Run(fmt.Sprintf("group %d", group), func(t *testing.T) {
			t.Parallel()
			for seed := group + 1; seed <= seeds && !t.Failed(); seed += groups {
				synctest.Test(t, func(t *testing.T) {
					p := newPlay(t, seed)
					p.run()
					for _, m := range p.members {
						m.mu.Lock()
						away.Add(m.holes.away)
						slow.Add(m.holes.slow)
						m.mu.Unlock()
					}
				})
			}
		})
	}
}

// play is one schedule.
type play struct {
	*testing.T
	seed     uint64
	server   *server
	schedule hubtest.Schedule
	drainAt  time.Duration // 0: never
	length   time.Duration
	keep     int           // messages; 0: more than are sent
	slow     bool          // in the end, when all talk at once, all are too slow
	latency  time.Duration // of the network, so that there is something on the way
	journal  hubtest.Journal
	members  []*member
	turn     chan struct{} // of 1: taken while the server restarts
	lost     []time.Time   // when the history was
}

// newPlay decides everything about a schedule from its seed.
func newPlay(t *testing.T, seed uint64) *play {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := &play{T: t, seed: seed, turn: make(chan struct{}, 1), length: 8 * time.Second}
	if rnd.IntN(4) == 0 {
		p.length = 5 * time.Minute // time enough to miss signs of life
	}
	p.schedule = hubtest.NewSchedule(seed, p.length, hubtest.Cut, hubtest.End, hubtest.HalfOpen, hubtest.Stall,
		hubtest.Delay, hubtest.Refuse, hubtest.Overlap, hubtest.Restart)
	if rnd.IntN(2) == 0 {
		p.drainAt = time.Duration(rnd.Int64N(int64(p.length)))
	}
	opts := hub.Options{DrainTime: time.Second, Seed: seed}
	talk := talk{keeps: rnd.IntN(2) == 0, echo: rnd.IntN(2) == 0}
	if seed%4 == 0 {
		talk.keep = 8 + int(seed/4%4)*4
		talk.keeps = talk.keeps || seed%8 == 4 // or nobody would come back too late
	}
	if seed%20 == 0 {
		talk.keep, talk.large, talk.echo, p.slow = 8, true, false, true
		opts.Transports = []transport.Transport{transport.WebSocket(&transport.WebSocketOptions{
			Limit: 1 << 10, Pending: 4 << 10, Log: slog.New(slog.DiscardHandler), // some ten messages
		})}
	}
	p.keep = talk.keep
	p.server = serveLog(t, talk, opts)
	p.latency = time.Duration(rnd.IntN(200)) * time.Millisecond
	p.server.network.OnRestart = func() { p.restart((*server).crash) }
	return p
}

// restart ends the server and starts the next one.
func (p *play) restart(end func(*server)) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	end(p.server)
	if p.server.store == nil {
		p.journal.Lost(log1)
		p.lost = append(p.lost, time.Now())
	}
	p.server.start()
}

func (p *play) run() {
	p.server.network.Do(hubtest.Fault{Kind: hubtest.Delay, By: max(1, p.latency)})
	p.server.network.Do(hubtest.Fault{Kind: hubtest.Slice, Size: 64}) // less than a message
	for i := range members {
		m := &member{play: p, nth: i, name: fmt.Sprintf("m%02d", i), rnd: rand.New(rand.NewPCG(p.seed, uint64(100+i)))}
		p.members = append(p.members, m)
		if m.enter(); p.Failed() {
			return
		}
	}
	var all sync.WaitGroup
	for _, m := range p.members {
		all.Go(m.talk)
	}
	if p.drainAt > 0 {
		all.Go(func() {
			<-time.After(p.drainAt)
			p.restart((*server).drain)
		})
	}
	p.server.network.Run(context.Background(), p.schedule)
	all.Wait()
	<-time.After(2 * time.Minute) // everybody is back
	if p.slow {
		// Now that nobody is to get two messages at one instant: what goes in one write
		// would depend on goroutines.
		p.server.pause.Store(int64(300 * time.Millisecond))
	}
	for _, m := range p.members {
		m.say()
	}
	<-time.After(10 * time.Second)
	p.check()
	for _, m := range p.members {
		all.Go(m.leave)
	}
	all.Wait()
	p.server.crash()
	if p.Failed() {
		p.Logf("seed %d, history kept: %t, drain at %v, faults:\n%v", p.seed, p.server.store != nil, p.drainAt, p.schedule)
	}
}

func (p *play) check() {
	if err := p.journal.Check(); err != nil {
		p.Errorf("seed %d: %v", p.seed, err)
	}
	for _, m := range p.members {
		m.mu.Lock()
		if m.open > 0 {
			p.Errorf("seed %d: %s has no answer to %d messages", p.seed, m.name, m.open)
		}
		m.checkGaps()
		m.mu.Unlock()
	}
}

// member is a client in the room. Its connection is its own affair.
type member struct {
	*play
	nth    int
	name   string
	rnd    *rand.Rand
	client *client.Client
	room   *client.Room
	said   int

	mu    sync.Mutex
	open  int // not acknowledged yet
	gaps  []gap
	heard []string // what its handlers were told, with the time
	acks  []string // the same of the answers, which have a goroutine each
	left  bool     // what comes then is not kept
	where place
	holes holes
}

// place is how far a member has got.
type place struct {
	last engine.Position // of what it has seen, or was told of
	back bool            // and has seen nothing since
}

// holes counts how often a member was told that more was missed than is kept.
type holes struct {
	away int64 // when it came back
	slow int64 // while it was there
}

// note adds to what the member keeps.
func (m *member) note(to *[]string, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.left {
		*to = append(*to, time.Now().Format("04:05.000000000 ")+fmt.Sprintf(format, args...))
	}
}

type gap struct {
	client.Gap
	at    time.Time
	after engine.Position // the last that was seen before
}

// move notes how far the member is, and returns how far it was. m.mu is held.
func (m *member) move(cursor string) (before engine.Position) {
	at, err := engine.ParsePosition(cursor)
	if err != nil {
		m.Errorf("seed %d: %s is told of the cursor %q: %v", m.seed, m.name, cursor, err)
	}
	before, m.where.last = m.where.last, at
	return before
}

// enter joins, while all is well. Nobody says anything before all are there.
func (m *member) enter() {
	var err error
	m.client, err = client.Dial(m.Context(), "ws://hub/", &client.Options{
		Dial: m.server.dial,
		Seed: m.seed<<8 + uint64(m.nth) + 1,
		OnStatus: func(s client.Status) {
			m.note(&m.heard, "is %v, resumed: %t, retry: %v", s.State, s.Resumed, s.Retry)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.where.back = m.where.back || s.State == client.Connected
		},
		OnError: func(err error) { m.Errorf("seed %d: %s: %v", m.seed, m.name, err) },
	})
	if err != nil {
		m.Errorf("seed %d: %v", m.seed, err)
		return
	}
	m.room = m.client.Room(log1)
	m.room.OnGap(func(g client.Gap) {
		m.note(&m.heard, "is told of the gap %t %q", g.Certain, g.Reason)
		m.journal.Gap(log1, m.name)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.gaps = append(m.gaps, gap{g, time.Now(), m.move(g.Cursor)})
		switch {
		case g.Reason != "window":
		case m.where.back:
			m.holes.away++
		default:
			m.holes.slow++
		}
		m.where.back = false
	})
	m.room.OnLost(func(err error) { m.Errorf("seed %d: %s is out: %v", m.seed, m.name, err) })
	client.On(m.room, say, func(in client.Message[text]) {
		m.note(&m.heard, "sees %q", in.Content.Body)
		m.journal.See(log1, m.name, in.Content.Body, in.Cursor)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.move(in.Cursor)
		m.where.back = false
	})
	info, err := m.room.Join(m.Context(), nil)
	if err != nil {
		m.Errorf("seed %d: %v", m.seed, err)
		return
	}
	m.mu.Lock()
	m.move(info.Cursor)
	m.mu.Unlock()
	m.journal.Join(log1, m.name)
}

func (m *member) leave() {
	m.mu.Lock()
	m.left = true
	m.mu.Unlock()
	if err := m.client.Close(context.Background()); err != nil {
		m.Errorf("seed %d: %s: %v", m.seed, m.name, err)
	}
}

// talk says something now and then, mostly just before something goes wrong, and
// sometimes several things at once.
func (m *member) talk() {
	began := time.Now()
	for range sayings {
		at := time.Duration(m.rnd.Int64N(int64(m.length)))
		if m.rnd.IntN(3) > 0 {
			at = m.schedule[m.rnd.IntN(len(m.schedule))].At - time.Duration(m.rnd.Int64N(int64(500*time.Millisecond)))
		}
		<-time.After(max(time.Duration(m.rnd.IntN(1e6)), at-time.Since(began)))
		m.say()
	}
}

// say sends a message, and again until it is acknowledged.
func (m *member) say() {
	m.said++
	id := fmt.Sprint(m.said)
	body := m.name + ": " + id
	m.journal.Publish(log1, m.name, id, body)
	m.mu.Lock()
	m.open++
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	sending := client.Start(ctx, m.room, say, text{body})
	go func() {
		defer cancel()
		receipt, err := sending.Wait()
		if err != nil {
			m.Errorf("seed %d: %s gave up %q: %v", m.seed, m.name, body, err)
			return
		}
		m.note(&m.acks, "has the answer to %q", body)
		m.journal.Ack(log1, m.name, id, receipt.Cursor)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.open--
	}()
}

// checkGaps wants a gap for each history that was lost, unless the member was away
// for several of them; one where the room keeps little only if the member had missed
// more than that; and no others. That none is missing, the journal proves.
func (m *member) checkGaps() {
	var anew []gap
	for _, g := range m.gaps {
		to, err := engine.ParsePosition(g.Cursor)
		switch missed := int64(to.Offset) - int64(g.after.Offset); {
		case err == nil && g.Certain && g.Reason == "epoch":
			anew = append(anew, g)
		case err != nil || !g.Certain || g.Reason != "window" || m.keep == 0:
			m.Errorf("seed %d: %s is told of the gap %+v", m.seed, m.name, g)
		case to.Epoch != g.after.Epoch || missed <= int64(m.keep):
			m.Errorf("seed %d: %s is told of the gap %+v, though the %d messages after its last one, %v, were all kept",
				m.seed, m.name, g, missed, g.after)
		}
	}
	if len(anew) > len(m.lost) {
		m.Errorf("seed %d: %s is told of the gaps %+v, and the history was lost at %v", m.seed, m.name, anew, m.lost)
	}
	if n := len(m.lost); n > 0 && (len(anew) == 0 || anew[len(anew)-1].at.Before(m.lost[n-1])) {
		m.Errorf("seed %d: %s is not told of the gap of %v, but of %+v", m.seed, m.name, m.lost[n-1], m.gaps)
	}
}
