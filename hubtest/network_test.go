package hubtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hubtest"
)

// wire is a faulty network with a server that the test itself plays.
type wire struct {
	*testing.T
	*hubtest.Faults
	dial     func() (net.Conn, error)
	listener net.Listener
}

// connect returns both ends of a new connection.
func (w *wire) connect() (client, server net.Conn) {
	w.Helper()
	client, err := w.dial()
	if err != nil {
		w.Fatal(err)
	}
	server, err = w.listener.Accept()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// send writes without waiting.
func (w *wire) send(c net.Conn, s string) {
	w.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		w.Errorf("writing %q: %v", s, err)
	}
}

// nothing wants silence for a moment.
func (w *wire) nothing(conns ...net.Conn) {
	w.Helper()
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := c.Read(make([]byte, 10)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			w.Errorf("read %d bytes, %v, want silence", n, err)
		}
		_ = c.SetReadDeadline(time.Time{})
	}
}

// arrives wants some bytes to be the next ones.
func (w *wire) arrives(c net.Conn, want string) {
	w.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		w.Errorf("read %q, %v, want %q", b, err, want)
	}
	_ = c.SetReadDeadline(time.Time{})
}

// ends wants the connections to end, with io.EOF or a reset.
func (w *wire) ends(how error, conns ...net.Conn) {
	w.Helper()
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := c.Read(make([]byte, 10)); n > 0 || !errors.Is(err, how) {
			w.Errorf("read %d bytes, %v, want %v", n, err, how)
		}
	}
}

const rst = syscall.ECONNRESET

// networks runs a test on both kinds of networks.
func networks(t *testing.T, test func(w *wire)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := hubtest.NewNetwork(t)
			dial := func() (net.Conn, error) { return n.DialContext(t.Context(), "tcp", "anywhere:1") }
			test(&wire{t, &n.Faults, dial, n.Listener()})
		})
	})
	t.Run("proxy", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		p := hubtest.NewProxy(t, l.Addr().String())
		dial := func() (net.Conn, error) { return net.Dial("tcp", p.Addr()) }
		test(&wire{t, &p.Faults, dial, l})
	})
}

func TestCut(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Cut()
		w.ends(rst, client, server)
		client, server = w.connect()
		w.send(client, "again")
		w.arrives(server, "again")
	})
}

func TestEnd(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Do(hubtest.Fault{Kind: hubtest.End})
		w.ends(io.EOF, client, server)
	})
}

func TestEndsAreCarriedOver(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.send(client, "last words")
		_ = client.Close()
		w.arrives(server, "last words")
		w.ends(io.EOF, server)
	})
}

func TestHalfOpen(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		quietClient, quietServer := w.connect()
		w.HalfOpen(0)
		w.send(client, "lost")
		w.send(server, "lost")
		w.nothing(client, server)
		lateClient, lateServer := w.connect()
		w.send(lateClient, "lost")
		_ = lateClient.Close()
		w.nothing(lateServer)
		w.Heal()
		w.ends(rst, client, server, lateServer)
		w.send(quietClient, "on and on")
		w.arrives(quietServer, "on and on")
	})
}

// TestNoHoles wants what arrives of a half-open connection to be the beginning of
// what was sent.
func TestNoHoles(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		var sending sync.WaitGroup
		sending.Go(func() {
			tick := time.NewTicker(100 * time.Microsecond)
			defer tick.Stop()
			for n := byte(0); ; n++ {
				if _, err := client.Write([]byte{n}); err != nil {
					return
				}
				<-tick.C
			}
		})
		b := make([]byte, 1)
		for n := byte(0); ; n++ {
			if n == 20 {
				w.HalfOpen(5 * time.Millisecond)
			}
			if _, err := server.Read(b); err != nil {
				break
			}
			if b[0] != n {
				w.Errorf("%d follows %d", b[0], n-1)
				break
			}
		}
		_ = server.Close()
		w.Cut()
		sending.Wait()
	})
}

func TestHalfOpenOneWay(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Do(hubtest.Fault{Kind: hubtest.HalfOpen, Way: hubtest.Down})
		w.send(client, "question")
		w.arrives(server, "question")
		w.send(server, "answer")
		w.nothing(client)
	})
}

func TestStall(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Stall(0)
		w.send(client, "question")
		w.send(server, "answer")
		_ = server.(interface{ CloseWrite() error }).CloseWrite()
		w.nothing(client, server)
		w.Heal()
		w.arrives(client, "answer")
		w.ends(io.EOF, client)
		w.arrives(server, "question")
	})
}

func TestCutWhileStalled(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Do(hubtest.Fault{Kind: hubtest.Stall, Way: hubtest.Up})
		w.send(client, "question")
		w.nothing(server)
		w.Cut()
		w.ends(rst, client, server)
	})
}

// TestPick lets a fault happen to one of two connections.
func TestPick(t *testing.T) {
	for pick, second := range map[int]bool{1: false, 2: true, 3: false} {
		networks(t, func(w *wire) {
			c1, s1 := w.connect()
			w.send(c1, "1") // so that it is the older one for the proxy, too
			w.arrives(s1, "1")
			c2, s2 := w.connect()
			w.send(c2, "2")
			w.arrives(s2, "2")
			w.Do(hubtest.Fault{Kind: hubtest.Stall, Pick: pick})
			if second {
				c1, s1, c2, s2 = c2, s2, c1, s1
			}
			w.send(c1, "stalled")
			w.send(c2, "not")
			w.arrives(s2, "not")
			w.nothing(s1)
			c3, s3 := w.connect() // is spared
			w.send(c3, "3")
			w.arrives(s3, "3")
		})
	}
}

func TestRefuse(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Refuse(0)
		c, err := w.dial()
		if err == nil { // a proxy cannot refuse
			w.ends(rst, c)
			_ = c.Close()
		} else if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, rst) {
			w.Errorf("dialing: %v", err)
		}
		w.send(client, "old")
		w.arrives(server, "old")
		w.Heal()
		client, server = w.connect()
		w.send(client, "new")
		w.arrives(server, "new")
	})
}

// TestOverlap lets what was sent on the old connection arrive after what was
// sent on the new one.
func TestOverlap(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Do(hubtest.Fault{Kind: hubtest.Overlap, For: 200 * time.Millisecond})
		w.send(client, "1")
		w.send(client, "2")
		w.send(server, "seen")
		w.arrives(client, "seen")
		w.ends(rst, client)
		again, late := w.connect()
		w.send(again, "1")
		w.arrives(late, "1")
		w.send(server, "not seen") // is no error for the server
		w.arrives(server, "12")
		w.ends(io.EOF, server)
	})
}

func TestOverlapHealed(t *testing.T) {
	networks(t, func(w *wire) {
		client, server := w.connect()
		w.Do(hubtest.Fault{Kind: hubtest.Overlap, For: time.Hour})
		w.send(client, "late")
		w.nothing(client, server)
		w.Heal()
		w.ends(rst, client)
		w.arrives(server, "late")
		w.ends(io.EOF, server)
	})
}

// TestTimes has the faults that are about time, to the microsecond.
func TestTimes(t *testing.T) {
	const long = "0123456789"
	for _, tt := range []struct {
		fault hubtest.Fault
		want  time.Duration
	}{
		{hubtest.Fault{Kind: hubtest.Stall, For: time.Minute}, time.Minute},
		{hubtest.Fault{Kind: hubtest.Stall, For: time.Minute, Way: hubtest.Down}, 0},
		{hubtest.Fault{Kind: hubtest.Delay, By: time.Second}, time.Second},
		{hubtest.Fault{Kind: hubtest.Delay}, 100 * time.Millisecond},
		{hubtest.Fault{Kind: hubtest.Throttle, Rate: 10}, time.Second},
		{hubtest.Fault{Kind: hubtest.Throttle, Rate: 1000, Way: hubtest.Down}, 0},
		{hubtest.Fault{Kind: hubtest.Slice}, 10 * time.Microsecond},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := hubtest.NewNetwork(t)
				w := &wire{t, &n.Faults, func() (net.Conn, error) { return n.DialContext(t.Context(), "", "") }, n.Listener()}
				client, server := w.connect()
				w.Do(tt.fault)
				start := time.Now()
				w.send(client, long)
				b, largest := make([]byte, 0, 2*len(long)), 0
				for len(b) < len(long) {
					n, err := server.Read(b[len(b):cap(b)])
					if err != nil {
						t.Fatal(err)
					}
					b, largest = b[:len(b)+n], max(largest, n)
				}
				if string(b) != long || tt.fault.Kind == hubtest.Slice && largest != 1 {
					t.Errorf("read %q, up to %d bytes at a time", b, largest)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hubtest.NewNetwork(t)
		w := &wire{t, &n.Faults, func() (net.Conn, error) { return n.DialContext(t.Context(), "", "") }, n.Listener()}
		client, server := w.connect()
		refused := func(when string) {
			t.Helper()
			if _, err := w.dial(); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dialing %s: %v", when, err)
			}
		}
		n.OnRestart = func() {
			refused("while the server restarts")
			_ = w.listener.Close()
			w.listener = n.Listener()
			<-time.After(time.Second)
		}
		n.Do(hubtest.Fault{Kind: hubtest.Restart, For: 3 * time.Second})
		w.ends(rst, client, server)
		<-time.After(2*time.Second - 1)
		refused("before its time is over")
		<-time.After(2)
		client, server = w.connect()
		w.send(client, "hello")
		w.arrives(server, "hello")
	})
}

func TestNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hubtest.NewNetwork(t)
		refused := func(when string) {
			t.Helper()
			if _, err := n.DialContext(t.Context(), "tcp", "hub:80"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dialing %s: %v", when, err)
			}
		}
		refused("before anybody listens")
		l := n.Listener()
		if n.Listener() != l {
			t.Error("there are two listeners")
		}
		waiting, err := n.DialContext(t.Context(), "tcp", "hub:80")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, rst) {
			t.Errorf("who was not accepted reads %v", err)
		}
		refused("after the listener was closed")
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		if n.Listener() == l {
			t.Error("there is no new listener")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for err = nil; err == nil; { // as nobody accepts
			_, err = n.DialContext(ctx, "tcp", "hub:80")
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialing when many wait: %v", err)
		}
	})
}

// TestProxyWithoutServer resets who connects.
func TestProxyWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	p := hubtest.NewProxy(t, l.Addr().String())
	c, err := net.Dial("tcp", p.Addr()) // may see it already
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, rst) {
		t.Errorf("%v, want a reset", err)
	}
}

// TestConn holds the connections in memory to what net.Conn promises.
func TestConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hubtest.NewNetwork(t)
		w := &wire{t, &n.Faults, func() (net.Conn, error) { return n.DialContext(t.Context(), "", "") }, n.Listener()}
		client, server := w.connect()
		if client.LocalAddr().String() != server.RemoteAddr().String() || client.RemoteAddr().String() != w.listener.Addr().String() {
			t.Errorf("from %v to %v", client.LocalAddr(), client.RemoteAddr())
		}

		big := bytes.Repeat([]byte("0123456789"), 100_000)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := client.Write(big); n != len(big) || err != nil {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
		})
		got := make([]byte, len(big))
		if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, big) {
			t.Errorf("a large message did not arrive: %v", err)
		}
		wg.Wait()

		_ = client.SetWriteDeadline(time.Now().Add(time.Second))
		start := time.Now()
		if n, err := client.Write(big); n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("wrote %d bytes, %v, after %v", n, err, time.Since(start))
		}
		wg.Go(func() {
			if _, err := client.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
		})
		synctest.Wait()
		_ = client.SetDeadline(time.Unix(1, 0)) // wakes who waits
		wg.Wait()
		_ = client.SetDeadline(time.Time{})
		wg.Go(func() {
			if _, err := client.Read(got); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read: %v", err)
			}
		})
		synctest.Wait()
		_ = client.Close()
		wg.Wait()
		for what, err := range map[string]error{"closing again": client.Close(), "a deadline": client.SetDeadline(time.Now())} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := client.Write(got); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		_ = server.(interface{ CloseWrite() error }).CloseWrite()
		if _, err := server.Write(got); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after CloseWrite: %v", err)
		}
	})
}

func TestScheduleIsMadeOfItsSeed(t *testing.T) {
	kinds := map[hubtest.Kind]int{}
	texts := map[string]bool{}
	for seed := range uint64(200) {
		s := hubtest.NewSchedule(seed, time.Minute)
		if again := hubtest.NewSchedule(seed, time.Minute); s.String() != again.String() {
			t.Fatalf("seed %d makes\n%v\nand\n%v", seed, s, again)
		}
		texts[s.String()] = true
		last := time.Duration(0)
		for _, f := range s {
			kinds[f.Kind]++
			if f.At < last || f.At+f.For > time.Minute || (f.For == 0) != (f.Kind == hubtest.Cut || f.Kind == hubtest.End) {
				t.Errorf("seed %d: %v after %v", seed, f, last)
			}
			last = f.At
		}
	}
	if len(kinds) != 10 || len(texts) < 199 {
		t.Errorf("%d kinds in %d schedules", len(kinds), len(texts))
	}
	for _, f := range hubtest.NewSchedule(7, time.Second, hubtest.Stall) {
		if f.Kind != hubtest.Stall {
			t.Errorf("%v was not asked for", f)
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hubtest.NewNetwork(t)
		start := time.Now()
		n.Run(t.Context(), hubtest.Schedule{{Kind: hubtest.Cut, At: time.Second}, {Kind: hubtest.Stall, At: 2 * time.Second, For: time.Second}})
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("the schedule took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n.Run(ctx, hubtest.Schedule{{Kind: hubtest.Cut, At: time.Hour}})
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

// TestFailuresTellTheFaults logs them, but only where a test has failed.
func TestFailuresTellTheFaults(t *testing.T) {
	for _, failed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			j := &lost{judge: judge{TB: t}, failed: failed}
			n := hubtest.NewNetwork(j)
			<-time.After(time.Second)
			n.Do(hubtest.Fault{Kind: hubtest.Delay, By: time.Second, For: time.Minute, Way: hubtest.Up, Pick: 2})
			n.Do(hubtest.Fault{Kind: hubtest.Throttle})
			n.Cut()
			j.cleanup()
			got := strings.Join(j.said, "\n")
			for _, want := range []string{"1s delay by 1s up for 1m0s of connection 2", "1s throttle to 1024 bytes/s", "1s cut"} {
				if strings.Contains(got, want) != failed {
					t.Errorf("failed: %v, and it says %q", failed, got)
				}
			}
		})
	}
}

// lost is a test that has failed, or has not.
type lost struct {
	judge
	failed   bool
	cleanups []func()
}

func (l *lost) Failed() bool            { return l.failed }
func (l *lost) Cleanup(f func())        { l.cleanups = append(l.cleanups, f) }
func (l *lost) Logf(f string, a ...any) { l.Errorf(f, a...) }
func (l *lost) cleanup() {
	for i := range l.cleanups {
		l.cleanups[len(l.cleanups)-1-i]()
	}
}

func TestUnknownFault(t *testing.T) {
	n := hubtest.NewNetwork(t)
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, `no fault "magic"`) {
			t.Errorf("panics with %q", got)
		}
	}()
	n.Do(hubtest.Fault{Kind: "magic"})
}
