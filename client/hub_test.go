package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// These tests are over real sockets, against a real hub.

const patience = 10 * time.Second

func chatHub(t *testing.T, opts *hub.Options) *hub.Hub {
	t.Helper()
	if opts == nil {
		opts = &hub.Options{}
	}
	opts.Log, opts.DrainTime = slog.New(slog.DiscardHandler), 100*time.Millisecond
	h := hub.New(opts)
	chat := h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}, Join: func(_ context.Context, r *hub.Request) (any, error) {
		if r.Var("id") == "secret" {
			return nil, message.Errorf(message.Denied, "members only")
		}
		return text{r.Peer.User()}, nil
	}})
	hub.On(chat, say, func(ctx context.Context, r *hub.Request, in text) error { return r.Others(ctx, say.New(in)) })
	hub.On(chat, blob, func(ctx context.Context, r *hub.Request, in []byte) error { return r.All(ctx, blob.New(in)) })
	hub.Reply(chat, history, func(_ context.Context, _ *hub.Request, n int) ([]text, error) {
		if n < 0 {
			return nil, message.Errorf(message.Invalid, "a page is not negative")
		}
		return make([]text, n), nil
	})
	hub.Reply(h, "erase", func(ctx context.Context, r *hub.Request, _ struct{}) (bool, error) {
		return hub.Ask(ctx, r.Peer, confirm, "sure?")
	})
	return h
}

// listen serves h, at the address of an earlier server if that is not "".
func listen(t *testing.T, h http.Handler, addr string) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Listener.Close()
		s.Listener = l
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, s *httptest.Server, opts client.Options) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	opts.RetryMin, opts.RetryMax = time.Millisecond, 50*time.Millisecond
	c, err := client.Dial(ctx, s.URL, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

func enter(t *testing.T, c *client.Client, name string) *client.Room {
	t.Helper()
	r := c.Room(name)
	if _, err := r.Join(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// get waits for a value.
func get[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing has come")
		panic("unreachable")
	}
}

func byQuery(r *http.Request) (string, error) {
	if r.Header.Get("Authorization") == "wrong" {
		return "", errors.New("who?")
	}
	return r.Header.Get("Authorization"), nil
}

func as(user string) func(context.Context) (http.Header, error) {
	return func(context.Context) (http.Header, error) { return http.Header{"Authorization": {user}}, nil }
}

func TestHub(t *testing.T) {
	s := listen(t, chatHub(t, &hub.Options{Identify: byQuery}), "")
	ana, ben := connect(t, s, client.Options{Header: as("ana")}), connect(t, s, client.Options{Header: as("ben")})
	ra := ana.Room("chat/1")
	changes := make(chan client.Presence, 10)
	ra.OnPresence(func(p client.Presence) { changes <- p })
	enter(t, ana, "chat/1")
	get(t, changes) // herself
	rb := enter(t, ben, "chat/1")

	if p := get(t, changes); p.Count != 2 || len(p.Joined) != 1 || p.Joined[0].User != "ben" || p.Joined[0].ID != ben.Status().ID {
		t.Errorf("%+v", p)
	}
	if got := rb.Members(); len(got) != 2 {
		t.Errorf("%+v", got)
	}
	heard := make(chan client.Message[text], 10)
	client.On(ra, say, func(m client.Message[text]) { heard <- m })
	if _, err := client.Send(t.Context(), rb, say, text{"hi"}); err != nil {
		t.Error(err)
	}
	if m := get(t, heard); m.Content.Body != "hi" || m.User != "ben" || m.From != ben.Status().ID || time.Since(m.Time) > time.Minute {
		t.Errorf("%+v", m)
	}
	raw := make(chan []byte, 10)
	client.On(rb, blob, func(m client.Message[[]byte]) { raw <- m.Content })
	if _, err := client.Send(t.Context(), rb, blob, []byte("\n\x00")); err != nil || string(get(t, raw)) != "\n\x00" {
		t.Error(err)
	}
	if got, err := client.Call(t.Context(), ra, history, 3); err != nil || len(got) != 3 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := client.Call(t.Context(), ra, history, -1); codeOf(err) != message.Invalid {
		t.Error(err)
	}
	if _, err := client.Call(t.Context(), ra, message.Call[int, int]("dance"), 1); codeOf(err) != message.UnknownType {
		t.Error(err)
	}
	if _, err := ana.Room("chat/secret").Join(t.Context(), nil); codeOf(err) != message.Denied {
		t.Error(err)
	}
	if _, err := client.Send(t.Context(), ana.Room("chat/2"), say, text{}); codeOf(err) != message.NotMember {
		t.Error(err)
	}
	client.OnAsk(ana, confirm, func(context.Context, string) (bool, error) { return true, nil })
	erase := message.Call[struct{}, bool]("erase")
	if ok, err := client.Call(t.Context(), ana, erase, struct{}{}); err != nil || !ok {
		t.Error(ok, err)
	}
	if _, err := client.Call(t.Context(), ben, erase, struct{}{}); codeOf(err) != message.UnknownType {
		t.Error(err)
	}
	if d, err := ana.Ping(t.Context()); err != nil || d <= 0 {
		t.Error(d, err)
	}
	if err := rb.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if p := get(t, changes); p.Count != 1 || len(p.Left) != 1 || p.Left[0].User != "ben" {
		t.Errorf("%+v", p)
	}
}

func TestHubRefuses(t *testing.T) {
	s := listen(t, chatHub(t, &hub.Options{Identify: byQuery}), "")
	_, err := client.Dial(t.Context(), s.URL, &client.Options{Header: as("wrong")})
	var refusal *client.Refusal
	if !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized || refusal.Code == "" {
		t.Errorf("%v", err)
	}
}

func TestHubKicks(t *testing.T) {
	h := chatHub(t, nil)
	s := listen(t, h, "")
	c := connect(t, s, client.Options{})
	h.Peer(c.Status().ID).Close(message.CloseKicked, "behave")
	get(t, c.Done())
	var closed *client.CloseError
	if st := c.Status(); !errors.As(st.Err, &closed) || *closed != (client.CloseError{Code: 4002, Reason: "behave"}) {
		t.Errorf("%+v", st)
	}
}

func TestHubTakesOut(t *testing.T) {
	h := chatHub(t, &hub.Options{Identify: byQuery})
	c := connect(t, listen(t, h, ""), client.Options{Header: as("ana")})
	r := enter(t, c, "chat/1")
	lost := make(chan error, 1)
	r.OnLost(func(err error) { lost <- err })
	h.User("ana").Leave("chat/1")
	if err := get(t, lost); codeOf(err) != message.NotMember || r.Joined() {
		t.Errorf("%v, joined %t", err, r.Joined())
	}
	if _, err := client.Send(t.Context(), r, say, text{"hi"}); codeOf(err) != message.NotMember {
		t.Errorf("%v", err)
	}
	enter(t, c, "chat/1")
}

func TestHubPutsIn(t *testing.T) {
	h := chatHub(t, &hub.Options{Identify: byQuery})
	s := listen(t, h, "")
	c := connect(t, s, client.Options{Header: as("ana")})
	heard := make(chan string, 1)
	client.On(c.Room("chat/secret"), say, func(m client.Message[text]) { heard <- m.Content.Body })
	if err := h.User("ana").Join(t.Context(), "chat/secret", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Room("chat/secret").Broadcast(t.Context(), say.New(text{"hello"})); err != nil {
		t.Fatal(err)
	}
	if got := get(t, heard); got != "hello" {
		t.Error(got)
	}
}

// TestRestart, T5: the server goes and another one comes: everybody is back with
// exactly one connection, in the rooms, and what was sent meanwhile arrives.
func TestRestart(t *testing.T) {
	h := chatHub(t, nil)
	s := listen(t, h, "")
	addr := strings.TrimPrefix(s.URL, "http://")
	gaps := make(chan client.Gap, 100)
	heard := make(chan string, 100)
	var rooms []*client.Room
	for range 5 {
		r := enter(t, connect(t, s, client.Options{}), "chat/1")
		r.OnGap(func(g client.Gap) { gaps <- g })
		rooms = append(rooms, r)
	}
	client.On(rooms[0], say, func(m client.Message[text]) { heard <- m.Content.Body })

	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	sent := client.Start(t.Context(), rooms[1], say, text{"while away"})
	h = chatHub(t, nil)
	listen(t, h, addr)
	for range rooms {
		if g := get(t, gaps); g.Certain {
			t.Errorf("%+v", g)
		}
	}
	if _, err := sent.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := client.Send(t.Context(), rooms[2], say, text{"back"}); err != nil {
		t.Error(err)
	}
	for body := get(t, heard); body != "back"; body = get(t, heard) {
		if body != "while away" {
			t.Errorf("%q", body)
		}
	}
	if n := h.Stats().Peers; n != 5 {
		t.Errorf("%d connections", n)
	}
}

// TestCuts: connections break at any moment, and nothing that was acknowledged
// is missing at the server; the order is that of sending.
func TestCuts(t *testing.T) {
	const messages = 300
	var mu sync.Mutex
	var got []string
	h := hub.New(&hub.Options{Log: slog.New(slog.DiscardHandler)})
	hub.On(h.Rooms("chat/{id}", nil), say, func(_ context.Context, _ *hub.Request, in text) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, in.Body)
		return nil
	})
	s := listen(t, h, "")
	c := connect(t, s, client.Options{})
	r := enter(t, c, "chat/1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c.Status().State != client.Closed {
			for p := range h.Peers() {
				p.Close(message.CloseRestart, "again")
			}
			select {
			case <-c.Done():
			case <-time.After(7 * time.Millisecond):
			}
		}
	}()
	var all []*client.Sending
	for i := range messages {
		if i%50 == 0 {
			for _, s := range all { // do not overflow the queue of 256
				_, _ = s.Wait()
			}
		}
		all = append(all, client.Start(t.Context(), r, say, text{fmt.Sprintf("%04d", i)}))
	}
	for i, s := range all {
		if _, err := s.Wait(); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-done
	mu.Lock()
	defer mu.Unlock()
	// What was repeated came twice: this hub knows no sessions.
	seen := map[string]bool{}
	var order []string
	for _, body := range got {
		if !seen[body] {
			order = append(order, body)
		}
		seen[body] = true
	}
	if len(order) != messages || !slices.IsSorted(order) {
		t.Errorf("%d messages: %q", len(order), order)
	}
}

// streaming is a hub that counts up, here and in rooms count/{id}: to the number
// that is asked for, or without end for 0. ended gets how far it has come when
// nobody listens any more.
func streaming(t *testing.T, ended chan<- int) *httptest.Server {
	t.Helper()
	h := hub.New(&hub.Options{Log: slog.New(slog.DiscardHandler), DrainTime: 50 * time.Millisecond})
	up := func(ctx context.Context, r *hub.Request, to int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			if to < 0 {
				yield(0, message.Errorf(message.Invalid, "that is down"))
				return
			}
			for i := 1; to == 0 || i <= to; i++ {
				if !yield(i, nil) || ctx.Err() != nil {
					ended <- i
					return
				}
			}
		}
	}
	hub.Stream(h, numbers, up)
	hub.Stream(h.Rooms("count/{id}", nil), numbers, up)
	return listen(t, h, "")
}

func TestHubStreams(t *testing.T) {
	ended := make(chan int, 10)
	s := streaming(t, ended)
	c := connect(t, s, client.Options{})
	testStreams(t, c, ended)
	testStreams(t, enter(t, c, "count/1"), ended)
	for _, err := range client.Stream(t.Context(), c.Room("count/2"), numbers, 1) {
		if codeOf(err) != message.NotMember {
			t.Error(err)
		}
	}
	// All of them have ended at the server: 8 may be open.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, err := range client.Stream(t.Context(), c, numbers, 0) {
				if err != nil {
					t.Error(err)
				}
				break
			}
		})
	}
	all.Wait()
	for range 8 {
		get(t, ended)
	}
}

func testStreams(t *testing.T, p client.Place, ended <-chan int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sum, n := 0, 5000 // many more than may wait
	for v, err := range client.Stream(ctx, p, numbers, n) {
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	if sum != n*(n+1)/2 {
		t.Errorf("sum %d", sum)
	}
	for _, err := range client.Stream(ctx, p, numbers, -1) {
		if codeOf(err) != message.Invalid {
			t.Error(err)
		}
	}
	for v := range client.Stream(ctx, p, numbers, 0) {
		if v == 3 {
			break
		}
	}
	get(t, ended)
	var last error
	for v, err := range client.Stream(ctx, p, numbers, 0) {
		if last = err; v == 3 {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
	get(t, ended)
}

// TestHubStreamIsLost: with the connection, or as its loop is too slow, and is told.
func TestHubStreamIsLost(t *testing.T) {
	ended := make(chan int, 10)
	c := connect(t, streaming(t, ended), client.Options{})
	var last error
	for v, err := range client.Stream(t.Context(), c, numbers, 0) {
		if last = err; v == 1 {
			get(t, ended) // by a leave
		}
	}
	if !errors.Is(last, client.ErrOverflow) {
		t.Error(last)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}

	h := hub.New(&hub.Options{Log: slog.New(slog.DiscardHandler)})
	hub.Stream(h, numbers, func(ctx context.Context, r *hub.Request, _ int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			yield(1, nil)
			r.Peer.Close(message.CloseRestart, "again")
			<-ctx.Done()
			ended <- 1
		}
	})
	c = connect(t, listen(t, h, ""), client.Options{})
	var got []int
	for v, err := range client.Stream(t.Context(), c, numbers, 0) {
		got, last = append(got, v), err
	}
	if !errors.Is(last, client.ErrUnknown) || !slices.Equal(got, []int{1, 0}) {
		t.Errorf("%v %v", got, last)
	}
	get(t, ended)
}
