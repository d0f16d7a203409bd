package hubtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

// TestRoomsWithHistory lets members come back to a room that keeps its latest
// messages, and repeat what was not acknowledged: each message arrives exactly
// once, in one order for all. Nobody is away for so long that there could be a
// hole. The server does not restart, as it would forget what was published.
func TestRoomsWithHistory(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 10
	}
	for seed := uint64(1); seed <= seeds && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			p := newParty(t, seed, honest)
			p.journal.AtMostOnce = false
			p.run(func(ctx context.Context, name string, farewell <-chan struct{}) {
				(&returner{party: p, name: name, rnd: rand.New(rand.NewPCG(seed, uint64(name[0])))}).run(ctx, farewell)
			}, hubtest.Cut, hubtest.End, hubtest.HalfOpen, hubtest.Stall, hubtest.Delay, hubtest.Refuse, hubtest.Overlap)
			if err := p.journal.Check(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
}

const log1 = "log/1"

// returner is a member that continues where it was.
type returner struct {
	*party
	name string
	rnd  *rand.Rand

	mu      sync.Mutex
	ws      *websocket.Conn
	session string
	cursor  string
	said    int
	open    []int // not acknowledged yet
}

func (m *returner) run(ctx context.Context, farewell <-chan struct{}) {
	transport := &http.Transport{DialContext: m.network.DialContext}
	defer transport.CloseIdleConnections()
	defer func() {
		if len(m.open) > 0 {
			m.Errorf("seed %d: %s has no answer to %v", m.seed, m.name, m.open)
		}
	}()
	for ctx.Err() == nil {
		dialing, cancel := context.WithTimeout(ctx, 3*time.Second)
		ws, _, err := websocket.Dial(dialing, "ws://hub/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		cancel()
		if err == nil {
			m.ws = ws
			m.talk(ctx, farewell)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(m.rnd.IntN(500)) * time.Millisecond):
		}
	}
}

// talk comes back and says something now and then.
func (m *returner) talk(ctx context.Context, farewell <-chan struct{}) {
	defer func() { _ = m.ws.CloseNow() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	joined, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		m.listen(ctx, joined)
		cancel()
	}()
	select {
	case <-joined:
	case <-done:
	}
	m.mu.Lock()
	again := slices.Clone(m.open)
	m.mu.Unlock()
	for _, n := range again {
		m.say(ctx, n)
	}
	for quiet := false; ctx.Err() == nil; {
		pause := time.After(time.Duration(150+m.rnd.IntN(300)) * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-farewell:
			quiet, farewell = true, nil
		case <-pause:
			if !quiet {
				m.mu.Lock()
				m.said++
				n := m.said
				m.open = append(m.open, n)
				m.mu.Unlock()
				m.say(ctx, n)
			}
		}
	}
	<-done
}

func (m *returner) say(ctx context.Context, n int) {
	body := fmt.Sprintf("%s: %d", m.name, n)
	m.journal.Publish(log1, m.name, fmt.Sprint(n), body)
	m.write(ctx, fmt.Appendf(nil, `{"type":%q,"room":%q,"id":"%d","content":{"body":%q}}`, string(say), log1, n, body))
}

func (m *returner) write(ctx context.Context, envelope []byte) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = m.ws.Write(ctx, websocket.MessageText, envelope)
}

func (m *returner) listen(ctx context.Context, joined chan<- struct{}) {
	defer m.journal.Leave(log1, m.name)
	for {
		_, data, err := m.ws.Read(ctx)
		if err != nil {
			return
		}
		e, err := message.Decode(data, false)
		if err != nil {
			m.Errorf("%v", err)
			return
		}
		switch {
		case e.Type == "welcome":
			m.welcome(ctx, e)
		case e.Type == "error":
			m.Errorf("seed %d: %s is told %s", m.seed, m.name, data)
		case e.Type == "ack" && e.ID == "join":
			m.joined(e)
			close(joined)
		case e.Type == "gap":
			m.journal.Gap(log1, m.name)
			m.cursor = position(m.T, e).Cursor
		case e.Type == "ack" && e.ID != "auth":
			m.acked(e)
		case e.Type == string(say):
			var in text
			_ = e.Content.Decode(nil, &in)
			m.journal.See(log1, m.name, in.Body, e.Cursor)
			m.cursor = e.Cursor
		}
	}
}

// welcome introduces the member as who it was before.
func (m *returner) welcome(ctx context.Context, e message.Envelope) {
	if m.session == "" {
		m.session = position(m.T, e).Session
	} else {
		m.write(ctx, fmt.Appendf(nil, `{"type":"auth","id":"auth","content":{"session":%q}}`, m.session))
	}
	since := ""
	if m.cursor != "" {
		since = fmt.Sprintf(`,"since":%q`, m.cursor)
	}
	m.write(ctx, fmt.Appendf(nil, `{"type":"join","room":%q,"id":"join"%s}`, log1, since))
}

func (m *returner) joined(e message.Envelope) {
	at := position(m.T, e)
	if m.cursor == "" {
		m.journal.Join(log1, m.name)
	} else {
		m.journal.Resume(log1, m.name, at.Recovered)
	}
	m.cursor = at.Cursor
}

func (m *returner) acked(e message.Envelope) {
	m.journal.Ack(log1, m.name, e.ID, e.Cursor)
	if e.Cursor != "" {
		m.cursor = e.Cursor
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = slices.DeleteFunc(m.open, func(n int) bool { return fmt.Sprint(n) == e.ID })
}

type at struct {
	Session, Cursor string
	Recovered       bool
}

func position(t *testing.T, e message.Envelope) at {
	var p struct {
		Session   string `json:"session"`
		Cursor    string `json:"cursor"`
		Recovered bool   `json:"recovered"`
	}
	if err := e.Content.Decode(nil, &p); err != nil {
		t.Errorf("%s: %v", e.Content.Data, err)
	}
	return at(p)
}
