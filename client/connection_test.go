package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
)

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestDial(t *testing.T) {
	bubble(t, "it offers the subprotocol and waits for the welcome", func(t *testing.T) {
		s := newServer(t)
		done := later(func() *client.Client {
			c, err := client.Dial(t.Context(), "http://hub/ws", &client.Options{Dial: s.dial})
			if err != nil {
				t.Error(err)
			}
			return c
		})
		p := s.next()
		if got := p.request.Header.Get("Sec-WebSocket-Protocol"); got != "hubbub.v1" {
			t.Errorf("subprotocol %q", got)
		}
		pending(t, done)
		p.send(`{"type":"news","content":1}`) // not before the welcome
		pending(t, done)
		p.welcome()
		c := <-done
		if st := c.Status(); st.State != client.Connected || st.ID != "peer-1" || st.User != "ana" || st.Err != nil || st.Resumed {
			t.Errorf("%+v", st)
		}
		p.quiet()
		over(c)
	})
	bubble(t, "a server that is not there", func(t *testing.T) {
		refused := errors.New("connection refused")
		_, err := client.Dial(t.Context(), "ws://hub", &client.Options{Dial: func(context.Context) (net.Conn, error) { return nil, refused }})
		if !errors.Is(err, refused) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "no welcome", func(t *testing.T) {
		s := newServer(t)
		began := time.Now()
		_, err := client.Dial(t.Context(), "ws://hub", &client.Options{Dial: s.dial})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.next().expect("end")
	})
	bubble(t, "the context ends", func(t *testing.T) {
		s := newServer(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Dial(ctx, "ws://hub", &client.Options{Dial: s.dial}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		s.next().expect("end")
	})
	bubble(t, "a refusal", func(t *testing.T) {
		s := newServer(t)
		s.gate = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"code":"unavailable","message":"draining"}`)
			return false
		}
		_, err := client.Dial(t.Context(), "ws://hub", &client.Options{Dial: s.dial})
		var refusal *client.Refusal
		if !errors.As(err, &refusal) || *refusal != (client.Refusal{503, "unavailable", "draining", 7 * time.Second}) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "closed before the welcome", func(t *testing.T) {
		s := newServer(t)
		done := later(func() error {
			_, err := client.Dial(t.Context(), "ws://hub", &client.Options{Dial: s.dial})
			return err
		})
		s.next().close(4004, "enough")
		var closed *client.CloseError
		if err := <-done; !errors.As(err, &closed) || *closed != (client.CloseError{4004, "enough"}) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "what is no URL", func(t *testing.T) {
		if _, err := client.Dial(t.Context(), "ftp://hub", nil); err == nil {
			t.Error("no error")
		}
	})
}

func TestHeaderIsAskedBeforeEveryConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		n := 0
		c, p := dial(t, s, client.Options{Header: func(context.Context) (http.Header, error) {
			n++
			if n == 2 {
				return nil, errors.New("the token server is away")
			}
			return http.Header{"Authorization": {fmt.Sprint("Bearer ", n)}}, nil
		}})
		if got := p.request.Header.Get("Authorization"); got != "Bearer 1" {
			t.Errorf("%q", got)
		}
		p.close(4001, "expired")
		p = s.welcomed()
		if got := p.request.Header.Get("Authorization"); got != "Bearer 3" {
			t.Errorf("%q", got)
		}
		p.again()
		if c.Status().State == client.Closed {
			t.Errorf("%+v", c.Status())
		}
	})
}

// statuses are told in order, one after the other.
func statuses(r *record) func(client.Status) {
	return func(s client.Status) {
		r.add("%v %s resumed=%v", s.State, s.ID, s.Resumed)
	}
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := newServer(t), &record{}
		c := lazy(t, s, client.Options{OnStatus: statuses(r)})
		if c.Status().State != client.Connecting {
			t.Errorf("%+v", c.Status())
		}
		p := s.welcomed()
		synctest.Wait()
		p.close(1001, "drain")
		s.welcomed().again().cut()
		p = s.welcomed()
		p.refuse(p.expect("auth"), `{"code":"unknown_type"}`)
		synctest.Wait()
		p.close(4002, "behave")
		<-c.Done()
		want := []string{
			"connecting  resumed=false", "connected peer-1 resumed=false", "disconnected  resumed=false",
			"connecting  resumed=false", "connected peer-2 resumed=true", "disconnected  resumed=false",
			"connecting  resumed=false", "connected peer-3 resumed=false", "closed  resumed=false",
		}
		if got := r.take(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		var closed *client.CloseError
		if st := c.Status(); !errors.As(st.Err, &closed) || closed.Code != 4002 {
			t.Errorf("%+v", st)
		}
	})
}

// TestOneConnection, T5: a lost connection is replaced by exactly one.
func TestOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		_, p := dial(t, s, client.Options{})
		for range 50 {
			p.cut()
			p = s.welcomed().again()
		}
		<-time.After(20 * time.Second)
		if live, most, count := s.numbers(); live != 1 || most != 1 || count != 51 {
			t.Errorf("%d, at most %d, in all %d", live, most, count)
		}
	})
}

// waits returns how long the client stays away after each loss of a connection
// that never held.
func waits(t *testing.T, n int, opts client.Options) (all []time.Duration) {
	s := newServer(t)
	c, p := dial(t, s, opts)
	defer over(c)
	for range n {
		p.cut()
		began := time.Now()
		select {
		case p = <-s.peers:
			all = append(all, time.Since(began))
			p.welcome()
			p.again()
		case <-c.Done():
			return all
		}
	}
	return all
}

// TestBackoff, T18: the bound doubles from 4 s to 20 s and the jitter is full,
// at the cap as well.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var atCap []time.Duration
		for range 20 {
			bound := 4 * time.Second
			for i, wait := range waits(t, 16, client.Options{}) {
				if wait > bound {
					t.Errorf("wait %d was %v, at most %v", i, wait, bound)
				}
				if bound == 20*time.Second {
					atCap = append(atCap, wait)
				}
				bound = min(2*bound, 20*time.Second)
			}
		}
		slices.Sort(atCap)
		// 260 values, even from 0 to 20 s.
		if n := len(atCap); atCap[n/10] > 6*time.Second || atCap[n/2] < 6*time.Second || atCap[n/2] > 14*time.Second || atCap[n-n/10] < 14*time.Second {
			t.Errorf("waits at the cap: %v", atCap)
		}
	})
}

// TestRetries, T14: it gives up and says so.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := waits(t, 100, client.Options{RetryMin: time.Second, RetryMax: time.Minute, Retries: 5})
		if len(got) != 5 {
			t.Fatalf("%v", got)
		}
		for i, wait := range got {
			if wait > time.Second<<i {
				t.Errorf("%v", got)
			}
		}
	})
}

// TestStableConnection: after 5 s up the waits begin anew, and not before.
func TestStableConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		var wait time.Duration
		opts := client.Options{RetryMin: time.Millisecond, RetryMax: time.Hour, OnStatus: func(s client.Status) {
			if s.State == client.Disconnected {
				wait = s.Retry
			}
		}}
		_, p := dial(t, s, opts)
		grown := false
		for range 25 {
			<-time.After(4 * time.Second)
			p.cut()
			p = s.welcomed().again()
			grown = grown || wait > time.Second
		}
		if !grown {
			t.Error("the waits did not grow")
		}
		<-time.After(5 * time.Second)
		p.cut()
		s.welcomed().again()
		if wait > time.Millisecond {
			t.Errorf("the wait after a stable connection was %v", wait)
		}
	})
}

func TestCloseCodes(t *testing.T) {
	for _, code := range []int{1001, 1011, 1012, 1013, 4003, 4008, 4711, 3000} {
		bubble(t, fmt.Sprintf("it comes back after %d", code), func(t *testing.T) {
			s := newServer(t)
			_, p := dial(t, s, client.Options{})
			p.close(code, "why")
			s.welcomed().again()
		})
	}
	for _, code := range []int{1000, 1002, 1007, 1008, 1009, 4001, 4002, 4004} {
		bubble(t, fmt.Sprintf("it stays away after %d", code), func(t *testing.T) {
			s := newServer(t)
			c, p := dial(t, s, client.Options{})
			p.close(code, "why")
			<-c.Done()
			var closed *client.CloseError
			if st := c.Status(); st.State != client.Closed || !errors.As(st.Err, &closed) || *closed != (client.CloseError{code, "why"}) {
				t.Errorf("%+v", st)
			}
			<-time.After(time.Hour)
			if _, _, count := s.numbers(); count != 1 {
				t.Errorf("%d connections", count)
			}
		})
	}
	bubble(t, "a refused identity needs a new one", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		s.gate = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}
		p.cut()
		<-c.Done()
		var refusal *client.Refusal
		if st := c.Status(); !errors.As(st.Err, &refusal) || refusal.Status != 401 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRetryAfterIsALowerBound(t *testing.T) {
	for _, code := range []int{1001, 1012, 4004} {
		bubble(t, fmt.Sprint("of bye before ", code), func(t *testing.T) {
			s := newServer(t)
			_, p := dial(t, s, client.Options{})
			p.send(`{"type":"bye","content":{"reason":"drain","retryAfter":30000}}`)
			p.close(code, "")
			began := time.Now()
			p = s.welcomed()
			if d := time.Since(began); d < 30*time.Second || d > 34*time.Second {
				t.Errorf("it came back after %v", d)
			}
			p.again()
			p.cut()
			began = time.Now()
			s.welcomed().again()
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("the next time it came back after %v", d)
			}
		})
	}
	bubble(t, "of a bye in place of a welcome", func(t *testing.T) {
		s := newServer(t)
		lazy(t, s, client.Options{})
		p := s.next()
		p.send(`{"type":"bye","content":{"retryAfter":60000}}`)
		p.close(4004, "")
		began := time.Now()
		s.welcomed()
		if d := time.Since(began); d < time.Minute {
			t.Errorf("it came back after %v", d)
		}
	})
	for _, header := range []string{"20", "a date"} {
		bubble(t, "of a refusal with "+header, func(t *testing.T) {
			s, header := newServer(t), header
			_, p := dial(t, s, client.Options{})
			began, refused := time.Now(), 0
			s.gate = func(w http.ResponseWriter, _ *http.Request) bool {
				if refused++; refused > 1 {
					return true
				}
				began = time.Now()
				if header == "a date" { // without fractions of a second
					header = began.Add(20 * time.Second).UTC().Format(http.TimeFormat)
				}
				w.Header().Set("Retry-After", header)
				w.WriteHeader(http.StatusTooManyRequests)
				return false
			}
			p.cut()
			s.welcomed().again()
			if d := time.Since(began); d < 19*time.Second || d > 29*time.Second {
				t.Errorf("it came back after %v", d)
			}
		})
	}
}

// TestSilence, T17: a server that swallows pings is found, within its heartbeat
// and what it is granted.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		began := time.Now()
		p.expect("ping")
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("it asked after %v", d)
		}
		p.send(`{"type":"pong"}`)
		p.expect("ping")
		p.send(`{"type":"anything"}`) // is a sign of life as well
		began = time.Now()
		p.expect("ping")
		p.expect("end")
		if d := time.Since(began); d != 40*time.Second {
			t.Errorf("it gave up after %v", d)
		}
		s.welcomed().again()
		if st := c.Status(); st.State == client.Closed {
			t.Errorf("%+v", st)
		}
	})
}

// TestHeartbeat, T16: pings of the WebSocket are signs of life, too.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		_, p := dial(t, s, client.Options{})
		for range 100 {
			<-time.After(25 * time.Second)
			if err := p.ws.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p.quiet()
	})
}

// TestDeafServer: a server whose handler is slow does not read, but it is there.
func TestDeafServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.deaf = true
		c, p := dial(t, s, client.Options{})
		result := send(c, "hello?")
		synctest.Wait() // it is being written
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
			_ = p.ws.Ping(ctx) // its pong would not be read
			cancel()
		}
		if got := <-result; !errors.Is(got.err, client.ErrUnknown) {
			t.Errorf("%v", got.err)
		}
		if live, _, count := s.numbers(); live != 1 || count != 1 || c.Status().State != client.Connected {
			t.Errorf("%d of %d connections, %+v", live, count, c.Status())
		}
	})
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		rtt := later(func() time.Duration {
			d, err := c.Ping(t.Context())
			if err != nil {
				t.Error(err)
			}
			return d
		})
		w := p.expect("ping")
		<-time.After(70 * time.Millisecond)
		p.send(`{"type":"pong","id":%q}`, w.ID)
		if d := <-rtt; d != 70*time.Millisecond {
			t.Errorf("%v", d)
		}
		done := later(func() error {
			_, err := c.Ping(t.Context())
			return err
		})
		p.expect("ping")
		if err := <-done; !errors.Is(err, client.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// TestSession: the first secret is told before anything else, as long as it is
// worth something.
func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		joined(t, c, p, "chat/1", `{"members":1}`)
		secret := func(p *peer) (wire, string) {
			w := p.expect("auth")
			var content struct{ Session string }
			if err := json.Unmarshal(w.Content, &content); err != nil || w.Room != "" {
				t.Errorf("%+v: %v", w, err)
			}
			return w, content.Session
		}
		for _, answer := range []string{"ack", "unknown_type", "nothing", "invalid"} {
			p.cut()
			p = s.welcomed()
			w, got := secret(p)
			if got != "secret-of-connection-1" {
				t.Errorf("%q before %q", got, answer)
			}
			p.expect("join") // does not wait
			switch answer {
			case "ack":
				p.ack(w, string(w.Content), "")
			case "nothing":
			default:
				p.refuse(w, fmt.Sprintf(`{"code":%q}`, answer))
			}
			<-time.After(11 * time.Second)
			if st := c.Status(); st.State != client.Connected || st.Resumed != (answer == "ack") {
				t.Errorf("after %q: %+v", answer, st)
			}
		}
		last := p.n
		p.cut()
		if _, got := secret(s.welcomed()); got != fmt.Sprintf("secret-of-connection-%d", last) {
			t.Errorf("after a session that was refused: %q", got)
		}
	})
}

func TestClose(t *testing.T) {
	bubble(t, "it waits for what was sent and says goodbye", func(t *testing.T) {
		s, r := newServer(t), &record{}
		c, p := dial(t, s, client.Options{OnStatus: statuses(r)})
		result := send(c, "last words")
		w := p.expect("say")
		closed := later(func() error { return c.Close(context.Background()) })
		pending(t, closed)
		if _, err := client.Send(t.Context(), c, say, text{"too late"}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("%v", err)
		}
		p.ack(w, "", "")
		if got := <-result; got.err != nil {
			t.Error(got.err)
		}
		if end := p.expect("end"); !strings.Contains(end.end.Error(), "1000") && !strings.Contains(end.end.Error(), "StatusNormalClosure") {
			t.Errorf("%v", end.end)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		<-c.Done()
		if st := c.Status(); st.State != client.Closed || st.Err != nil {
			t.Errorf("%+v", st)
		}
		if got := r.take(); got[len(got)-1] != "closed  resumed=false" {
			t.Errorf("%q", got)
		}
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("again: %v", err)
		}
		<-time.After(time.Hour)
		if _, _, count := s.numbers(); count != 1 {
			t.Errorf("%d connections", count)
		}
	})
	bubble(t, "what has no answer in time is told", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		result := send(c, "sent")
		p.expect("say")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if got := <-result; !errors.Is(got.err, client.ErrUnknown) || !errors.Is(got.err, client.ErrClosed) {
			t.Errorf("%v", got.err)
		}
	})
	bubble(t, "while there is no connection", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		p.cut()
		synctest.Wait()
		result := send(c, "not sent")
		join := later(func() error {
			_, err := c.Room("chat/1").Join(context.Background(), nil)
			return err
		})
		synctest.Wait()
		over(c)
		if got := <-result; !errors.Is(got.err, client.ErrClosed) || errors.Is(got.err, client.ErrUnknown) {
			t.Errorf("%v", got.err)
		}
		if err := <-join; !errors.Is(err, client.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "while it connects", func(t *testing.T) {
		s := newServer(t)
		c := lazy(t, s, client.Options{})
		p := s.next()
		over(c)
		p.expect("end")
	})
	bubble(t, "in a handler", func(t *testing.T) {
		s := newServer(t)
		c, p := dial(t, s, client.Options{})
		n, start := 0, make(chan struct{})
		client.On(c, say, func(client.Message[text]) {
			n++
			<-start
			if err := c.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		p.send(`{"type":"say"}`)
		p.send(`{"type":"say"}`)
		close(start)
		<-c.Done()
		p.expect("end")
		synctest.Wait()
		if n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}
