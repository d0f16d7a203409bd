package room_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/engine"
	"github.com/hubbub-go/hubbub/engine/memory"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// disk is an engine in memory whose logs can be lost.
type disk struct {
	*memory.Engine
	net   *memory.Network
	class string
}

func (d *disk) Start(ctx context.Context, node string, classes []engine.Class, sink engine.Sink) error {
	d.class = classes[0].Name
	return d.Engine.Start(ctx, node, classes, sink)
}

func (d *disk) topic(name string) engine.Topic {
	return engine.Topic{Kind: engine.KindRoom, Class: d.class, Name: name}
}

// recoverable returns a manager of recoverable rooms on an engine of its own.
func recoverable(t *testing.T, d room.Recoverable) (*room.Manager, *disk) {
	t.Helper()
	net := memory.NewNetwork(nil)
	store := &disk{Engine: net.Join(), net: net}
	logs := room.NewLogs(store)
	m := room.NewManager(&room.Options{Delivery: d, Logs: logs, Class: "test"})
	if err := logs.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m, store
}

// reader is a member with a short queue, which takes from it when it is told.
type reader struct {
	id, secret string
	most       int // how many messages may wait; 0: any number

	mu      sync.Mutex
	queue   []message.Envelope
	drained chan struct{}
	seen    []string // what was taken: bodies, "gap", and "recovered" or "lost" of a join
	cursor  string   // of the last that was taken
	acked   []string
}

func (r *reader) ID() string            { return r.id }
func (r *reader) Session() room.Session { return room.SessionOf(r.secret) }

func (r *reader) Published(_, id, cursor string) error {
	e := message.New("ack", nil)
	e.ID, e.Cursor = id, cursor
	return r.add(e, true)
}

func (r *reader) Deliver(f *message.Frame) error {
	e, err := message.Decode(f.Payload(), f.Binary())
	if err != nil {
		return err
	}
	return r.add(e, f.Policy() == message.CatchUp)
}

func (r *reader) add(e message.Envelope, refusable bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if refusable && r.most > 0 && len(r.queue) >= r.most {
		return message.ErrBehind
	}
	r.queue = append(r.queue, e)
	return nil
}

func (r *reader) Drained() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{})
	if len(r.queue) == 0 {
		close(c)
	} else if r.drained == nil {
		r.drained = c
	} else {
		c = r.drained
	}
	return c
}

// take takes all that waits.
func (r *reader) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.queue {
		switch e.Type {
		case "ack":
			if e.ID == "join" {
				r.welcome(e)
			} else {
				r.acked = append(r.acked, e.ID)
				r.seen = append(r.seen, e.ID)
			}
		case "gap":
			r.seen = append(r.seen, "gap")
		default:
			r.seen = append(r.seen, strings.Trim(string(e.Content.Data), `"`))
		}
		if e.Cursor != "" {
			r.cursor = e.Cursor
		}
	}
	r.queue = nil
	if r.drained != nil {
		close(r.drained)
		r.drained = nil
	}
}

// welcome notes where a join goes on. r.mu is held.
func (r *reader) welcome(e message.Envelope) {
	var w struct {
		Cursor    string `json:"cursor"`
		Recovered *bool  `json:"recovered"`
	}
	if err := e.Content.Decode(nil, &w); err != nil {
		panic(err)
	}
	if w.Recovered != nil && !*w.Recovered {
		r.seen = append(r.seen, "gap")
	}
	r.cursor = w.Cursor
}

// TestNothingLost: whatever members do - read slowly, go and come back, say that they
// have got less than they were sent - each sees one unbroken run of what was
// published, in one order, with its own messages in their place; and every hole is
// told.
func TestNothingLost(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nothingLost(t, rand.New(rand.NewPCG(seed, 1)), seed%3 == 0) })
		})
	}
}

func nothingLost(t *testing.T, rnd *rand.Rand, holes bool) {
	keep := 10_000
	if holes {
		keep = 5
	}
	m, _ := recoverable(t, room.Recoverable{Keep: keep, Bytes: 10 << 20})
	r := m.Get("room")
	all := make([]*reader, 6)
	present := make([]bool, len(all))
	for i := range all {
		all[i] = &reader{id: fmt.Sprint("m", i), secret: fmt.Sprint("secret", i), most: 1 + rnd.IntN(8)}
	}
	var published []string
	for step := range 400 {
		i := rnd.IntN(len(all))
		one := all[i]
		switch {
		case rnd.IntN(3) == 0:
			one.take()
		case rnd.IntN(4) == 0 && !present[i]:
			opts := []room.JoinOption{room.Ack("join")}
			if one.cursor != "" {
				opts = append(opts, room.Since(one.cursor))
			}
			if err := r.Join(t.Context(), one, nil, opts...); err != nil {
				t.Fatal(err)
			}
			present[i] = true
		case rnd.IntN(8) == 0 && present[i]:
			one.mu.Lock() // what is on its way is lost, and so is what has not been taken
			one.queue = nil
			one.mu.Unlock()
			r.Leave(one)
			present[i] = false
		case rnd.IntN(16) == 0 && present[i] && one.cursor != "":
			one.mu.Lock() // it says how far it has got, and drops what came before the answer
			one.queue = nil
			one.mu.Unlock()
			if err := r.Join(t.Context(), one, nil, room.Ack("join"), room.Since(one.cursor)); err != nil {
				t.Fatal(err)
			}
		case present[i]:
			body := fmt.Sprint("b", step)
			if _, err := r.Publish(t.Context(), message.New("say", body), room.Once(one.Session(), body, 0, 0), room.Except(one.id)); err != nil {
				t.Fatal(err)
			}
			published = append(published, body)
		}
		synctest.Wait()
	}
	for i, one := range all {
		if present[i] {
			for range 1000 { // each time a little more comes
				one.take()
				synctest.Wait()
			}
			r.Leave(one)
		}
		unbroken(t, one, published, present[i], holes)
	}
}

// unbroken checks what a member saw: runs of what was published, between gaps.
func unbroken(t *testing.T, r *reader, published []string, complete, holes bool) {
	t.Helper()
	at := -1
	for _, body := range r.seen {
		if body == "gap" {
			if !holes {
				t.Errorf("%s was told of a gap though everything is kept", r.id)
			}
			at = -1
			continue
		}
		found := -1
		for i, p := range published {
			if p == body {
				found = i
			}
		}
		if at >= 0 && found != at+1 {
			t.Fatalf("%s saw %s (%d) after %s (%d)", r.id, body, found, published[at], at)
		}
		at = found
	}
	if complete && at >= 0 && at != len(published)-1 {
		t.Errorf("%s saw no more than %d of %d", r.id, at+1, len(published))
	}
}

// TestPublishing: an id is stored once for each session, a condition is kept, and
// errors say what clients understand.
func TestPublishing(t *testing.T) {
	m, _ := recoverable(t, room.Recoverable{})
	r := m.Get("room")
	ana, ben := room.SessionOf("ana"), room.SessionOf("ben")
	publish := func(body string, opts ...room.BroadcastOption) (room.Receipt, error) {
		return r.Publish(t.Context(), message.New("say", body), opts...)
	}
	first, err := publish("one", room.Once(ana, "1", 0, 0))
	if err != nil || first.Cursor == "" || first.Duplicate {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := publish("one", room.Once(ana, "1", 0, 0)); err != nil || !again.Duplicate || again.Cursor != first.Cursor {
		t.Errorf("again: %+v, %v", again, err)
	}
	for _, o := range []room.BroadcastOption{room.Once(ana, "1", 1, 0), room.Once(ben, "1", 0, 0), room.Once(ana, "2", 0, 0)} {
		if other, err := publish("two", o); err != nil || other.Duplicate {
			t.Errorf("another message: %+v, %v", other, err)
		}
	}
	code := func(err error, want message.Code) {
		t.Helper()
		var e *message.Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("error %v, want the code %s", err, want)
		}
	}
	_, err = publish("late", room.At(first.Cursor))
	code(err, message.Conflict)
	for _, cursor := range []string{"garbage", ""} {
		_, err = publish("bad", room.At(cursor))
		code(err, message.Invalid)
		code(r.Join(t.Context(), &reader{id: "x"}, nil, room.Since(cursor)), message.Invalid)
	}
	if n := r.Len(); n != 0 {
		t.Errorf("%d members after a refused join", n)
	}
	idle := room.NewManager(&room.Options{Delivery: room.Recoverable{}, Logs: room.NewLogs(memory.New(nil)), Class: "x"}).Get("room")
	_, err = idle.Publish(t.Context(), message.New("say", "x"))
	code(err, message.Unavailable)
	code(idle.Join(t.Context(), &reader{id: "x"}, nil), message.Unavailable)
}

// TestAnotherMessageWithTheID: what is stored already is compared with what comes
// again, as long as it is kept and both are known.
func TestAnotherMessageWithTheID(t *testing.T) {
	m, _ := recoverable(t, room.Recoverable{Keep: 1})
	r := m.Get("room")
	ana := room.SessionOf("ana")
	publish := func(id, body string, sum uint64) (room.Receipt, error) {
		return r.Publish(t.Context(), message.New("say", body), room.Once(ana, id, 0, sum))
	}
	first, err := publish("1", "one", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, sum := range []uint64{0, 1} { // 0 is not known
		if again, err := publish("1", "one", sum); err != nil || !again.Duplicate || again.Cursor != first.Cursor {
			t.Errorf("again, with the sum %d: %+v, %v", sum, again, err)
		}
	}
	var conflict *message.Error
	if _, err := publish("1", "two", 2); !errors.As(err, &conflict) || conflict.Code != message.Conflict {
		t.Errorf("another message with the id: %v", err)
	}
	if _, err := publish("2", "three", 3); err != nil { // the first is not kept any more
		t.Fatal(err)
	}
	if again, err := publish("1", "two", 2); err != nil || !again.Duplicate {
		t.Errorf("where the first cannot be compared: %+v, %v", again, err)
	}
	page, err := r.History(t.Context(), "", 0)
	if err != nil || len(page.Messages) != 1 || string(page.Messages[0].Content.Data) != `"three"` {
		t.Errorf("kept: %+v, %v", page.Messages, err)
	}
}

// TestHistory: pages go back to where the log begins.
func TestHistory(t *testing.T) {
	m, _ := recoverable(t, room.Recoverable{Keep: 25})
	r := m.Get("room")
	for i := range 30 {
		if err := r.Broadcast(t.Context(), message.New("say", i)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	before := ""
	for {
		p, err := r.History(t.Context(), before, 10)
		if err != nil {
			t.Fatal(err)
		}
		var page []string
		for _, e := range p.Messages {
			page = append(page, string(e.Content.Data))
		}
		got = append([]string{strings.Join(page, " ")}, got...)
		if !p.More {
			break
		}
		before = p.Messages[0].Cursor
	}
	if want := "5 6 7 8 9|10 11 12 13 14 15 16 17 18 19|20 21 22 23 24 25 26 27 28 29"; strings.Join(got, "|") != want {
		t.Errorf("pages %q, want %q", strings.Join(got, "|"), want)
	}
	empty := &reader{id: "empty"}
	join(t, m.Get("empty"), empty, nil, room.Ack("join"))
	empty.take()
	for _, r := range []*room.Room{m.Get("empty"), r} { // the cursor before everything
		if p, err := r.History(t.Context(), empty.cursor, 10); err != nil || len(p.Messages) != 0 || p.More {
			t.Errorf("before everything: %+v, %v", p, err)
		}
	}
	m.Get("empty").Leave(empty)
	for _, cursor := range []string{"garbage", engine.Position{Epoch: 1, Offset: 2}.String()} {
		if _, err := r.History(t.Context(), cursor, 1); err == nil {
			t.Errorf("a page before %s", cursor)
		}
	}
	if p, err := m.Get("empty").History(t.Context(), "", 0); err != nil || len(p.Messages) != 0 || p.More {
		t.Errorf("the history of nothing is %+v, %v", p, err)
	}
	if _, err := room.NewManager(nil).Get("r").History(t.Context(), "", 0); err == nil {
		t.Error("a room that keeps nothing has a history")
	}
}

// TestHistoryBeforeAForeignCursor: cursors of other rooms are refused, whatever their
// offset is, as long as the room knows better.
func TestHistoryBeforeAForeignCursor(t *testing.T) {
	m, store := recoverable(t, room.Recoverable{Keep: 10})
	cursors := map[string][]string{}
	for _, name := range []string{"own", "other"} {
		for i := range 20 {
			got, err := m.Get(name).Publish(t.Context(), message.New("say", i))
			if err != nil {
				t.Fatal(err)
			}
			cursors[name] = append(cursors[name], got.Cursor)
		}
	}
	r := m.Get("own")
	for i := range 20 {
		kept := i >= 10
		p, err := r.History(t.Context(), cursors["own"][i], 100)
		if err != nil || len(p.Messages) != max(0, i-10) {
			t.Errorf("before its own message %d: %d messages, %v", i, len(p.Messages), err)
		}
		p, err = r.History(t.Context(), cursors["other"][i], 100)
		var refused *message.Error
		if got := errors.As(err, &refused) && refused.Code == message.Invalid && refused.Field == "content.before"; got != kept || len(p.Messages) > 0 {
			t.Errorf("before message %d of another room: %d messages, %v", i, len(p.Messages), err)
		}
	}
	store.net.Truncate(store.topic("own"), 2) // and its offsets are used again
	for range 3 {
		if _, err := r.Publish(t.Context(), message.New("say", "other")); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := r.History(t.Context(), cursors["own"][19], 100); err == nil {
		t.Errorf("before a message that was lost: %d messages", len(p.Messages))
	}
}

// TestReplayOfOwnMessages: who comes back gets its own messages as answers, and who
// is new gets them as messages, whoever it was before.
func TestReplayOfOwnMessages(t *testing.T) {
	m, _ := recoverable(t, room.Recoverable{Replay: 10})
	r := m.Get("room")
	ana := &reader{id: "a1", secret: "ana"}
	if err := r.Join(t.Context(), ana, nil); err != nil {
		t.Fatal(err)
	}
	var cursors []string
	for _, body := range []string{"1", "2"} { // what she sent, and is not to get as a message
		receipt, err := r.Publish(t.Context(), message.New("say", body), room.Once(ana.Session(), "id "+body, 0, 0), room.Except(ana.id))
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, receipt.Cursor)
	}
	r.Leave(ana)
	ana.take()
	for name, tt := range map[string]struct {
		opts []room.JoinOption
		want []string
	}{
		"new here": {nil, []string{"1", "2"}},
		"back":     {[]room.JoinOption{room.Since(cursors[0])}, []string{"id 2"}},
	} {
		back := &reader{id: "a2", secret: "ana"}
		if err := r.Join(t.Context(), back, nil, tt.opts...); err != nil {
			t.Fatal(err)
		}
		r.Leave(back)
		if back.take(); !slices.Equal(back.seen, tt.want) {
			t.Errorf("%s: got %q, want %q", name, back.seen, tt.want)
		}
	}
}

// TestTwoConnectionsOfASession: what a client sends reaches all that it is connected by
// as an answer, and as a message only where the sender is not left out; also where the
// connection that it came on has left, or another is behind.
func TestTwoConnectionsOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := recoverable(t, room.Recoverable{})
		r := m.Get("room")
		old, fresh := &reader{id: "a1", secret: "ana"}, &reader{id: "a2", secret: "ana"}
		slow, other := &reader{id: "a3", secret: "ana", most: 1}, &reader{id: "b", secret: "ben"}
		for _, one := range []*reader{old, fresh, other} {
			join(t, r, one, nil)
		}
		publish := func(body string, opts ...room.BroadcastOption) {
			t.Helper()
			e := message.New("say", body)
			e.From = old.id
			if _, err := r.Publish(t.Context(), e, append(opts, room.Once(old.Session(), "id "+body, 0, 0))...); err != nil {
				t.Fatal(err)
			}
		}
		publish("1", room.Except(old.id))
		publish("2")
		join(t, r, slow, nil)
		r.Leave(old)
		publish("3", room.Except(old.id))
		publish("4", room.Except(old.id))
		for range 5 {
			slow.take()
			synctest.Wait()
		}
		for _, tt := range []struct {
			*reader
			want []string
		}{
			{old, []string{"id 1", "2", "id 2"}},
			{fresh, []string{"id 1", "2", "id 2", "id 3", "id 4"}},
			{slow, []string{"id 3", "id 4"}},
			{other, []string{"1", "2", "3", "4"}},
		} {
			if tt.take(); !slices.Equal(tt.seen, tt.want) {
				t.Errorf("%s got %q, want %q", tt.id, tt.seen, tt.want)
			}
		}
		for _, one := range []*reader{fresh, slow, other} {
			r.Leave(one)
		}
	})
}

// TestGapWhileConnected: what the engine lost is told to who is there.
func TestGapWhileConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := recoverable(t, room.Recoverable{})
		r := m.Get("room")
		one := &reader{id: "one"}
		if err := r.Join(t.Context(), one, nil, room.Ack("join")); err != nil {
			t.Fatal(err)
		}
		send := func(body string) {
			t.Helper()
			if err := r.Broadcast(t.Context(), message.New("say", body)); err != nil {
				t.Fatal(err)
			}
		}
		send("before")
		store.net.Reset(store.topic("room"))
		send("after")
		<-time.After(2 * time.Minute)
		one.take()
		if got := strings.Join(one.seen, " "); got != "before gap" && got != "before gap after" {
			t.Errorf("saw %q", got)
		}
		r.Leave(one)
	})
}

// TestRenewInACrowd: that a member changes its session costs the same however many
// members there are, and its messages are known by the session that it has last.
func TestRenewInACrowd(t *testing.T) {
	took := func(crowd int) time.Duration {
		m, _ := recoverable(t, room.Recoverable{})
		r := m.Get("room")
		all := make([]*reader, crowd)
		for i := range all {
			all[i] = &reader{id: fmt.Sprint(i), secret: fmt.Sprint("of ", i)}
			if err := r.Join(t.Context(), all[i], nil); err != nil {
				t.Fatal(err)
			}
		}
		least := time.Hour
		for range 5 {
			began := time.Now()
			for i := range 20 {
				all[i].secret += "+"
				r.Renew(all[i])
			}
			least = min(least, time.Since(began))
		}
		for _, secret := range []string{"of 7", "of 7+", "of 7+++++"} {
			if _, err := r.Publish(t.Context(), message.New("say", secret), room.Once(room.SessionOf(secret), secret, 0, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if all[7].take(); !slices.Equal(all[7].acked, []string{"of 7+++++"}) {
			t.Errorf("%d members: answered %q", crowd, all[7].acked)
		}
		for _, one := range all {
			r.Leave(one)
		}
		return least
	}
	if few, many := took(20), took(10_000); many > 10*few+500*time.Microsecond {
		t.Errorf("20 of 20 members: %v, of 10,000: %v", few, many)
	}
}

// TestReplayAnew: a member that is there already gets the replay if it says so, and
// what comes after it once. One that is further behind gets all that it has not got.
func TestReplayAnew(t *testing.T) {
	for _, tt := range []struct {
		name         string
		replay, most int // of what the member can take
		want         string
	}{
		{"replay", 2, 0, "1 2 3 4 | 3 4 live"},
		{"nothing to replay", 0, 0, "1 2 3 4 | live"},
		{"behind the replay", 3, 3, "1 2 3 | 2 3 4 live"},
		{"behind in front of the replay", 2, 1, "1 | 2 3 4 live"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _ := recoverable(t, room.Recoverable{Replay: tt.replay})
				r := m.Get("room")
				one := &reader{id: "one", secret: "s", most: tt.most}
				join(t, r, one, nil)
				publish := func(all ...string) {
					for _, body := range all {
						if _, err := r.Publish(t.Context(), message.New("say", body)); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
				}
				publish("1", "2", "3", "4")
				one.mu.Lock()
				one.most = 0
				one.mu.Unlock()
				join(t, r, one, nil, room.Ack("join"), room.Anew())
				publish("live")
				one.mu.Lock()
				at := slices.IndexFunc(one.queue, func(e message.Envelope) bool { return e.ID == "join" })
				rest := slices.Clone(one.queue[at:])
				one.queue = one.queue[:at]
				one.mu.Unlock()
				one.take()
				synctest.Wait()
				one.seen = append(one.seen, "|")
				one.mu.Lock()
				one.queue = append(rest, one.queue...)
				one.mu.Unlock()
				one.take()
				if got := strings.Join(one.seen, " "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				r.Leave(one)
			})
		})
	}
}
