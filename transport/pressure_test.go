package transport_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// pending is small, but more than the kernel's buffers on the way hold.
const pending = 256 << 10

// flood is a message of which a few dozen fill all buffers.
func flood(n int, policy message.Policy) note {
	return note{n: n, size: 4096, room: "flood", policy: policy}
}

// A client that reads too little is cut off behind a bound, and told so when it
// reads again. Others, on the same worker too, get everything meanwhile.
func TestTooSlow(t *testing.T) {
	run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
		slow, sc := s.dial(t)
		sc.stall(true)
		type pair struct {
			*peer
			client
		}
		var others []pair
		for range 3 {
			p, c := s.dial(t)
			others = append(others, pair{p, c})
		}
		n := 0
		for ; ; n++ {
			if n > 4*(pending+kernel*4)/4096 {
				t.Fatalf("%d messages are pending", n)
			}
			f := flood(n, message.Disconnect).frame(t)
			err := slow.Write(f)
			for _, o := range others {
				o.write(t, f)
				if got := number(t, o.client.next()); got != n {
					t.Fatalf("another client got %d, want %d", got, n)
				}
			}
			if err != nil {
				break
			}
		}
		if err := slow.Write(note{}.frame(t)); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		sc.stall(false)
		for i := 0; ; i++ {
			e := sc.next()
			if e.err != nil {
				if code(e.err) != message.CloseSlow {
					t.Fatalf("after %d messages: %v", i, e.err)
				}
				break
			}
			if got := number(t, e); got != i || i >= n-pending/2/4096 { // the rest was thrown away
				t.Fatalf("got %d, want %d of %d", got, i, n)
			}
		}
		var end *transport.CloseError
		if err := slow.next(t).err; !errors.As(err, &end) || end.Code != message.CloseSlow || !end.Local {
			t.Fatal(err)
		}
	})
}

// A message of any size reaches whom nothing else is waiting for, and what is said
// right behind it does, too.
func TestLargerThanPending(t *testing.T) {
	for _, policy := range []message.Policy{message.Disconnect, message.DropOldest, message.LatestOnly, message.CatchUp, message.CatchUpLatest} {
		t.Run(strconv.Itoa(int(policy)), func(t *testing.T) {
			run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
				p, c := s.dial(t)
				for n := range 5 {
					p.write(t, note{n: 2 * n, size: 4 * pending, room: "r", policy: policy}.frame(t))
					p.write(t, note{n: 2*n + 1}.frame(t))
					for i := range 2 {
						if got := number(t, c.next()); got != 2*n+i {
							t.Fatalf("got %d, want %d", got, 2*n+i)
						}
					}
				}
			})
		})
	}
}

// A large message is not copied for each of those who take their time.
func TestLargeIsShared(t *testing.T) {
	const clients, size = 8, 4 << 20
	run(t, []mode{plain, wrapped}, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
		var peers [clients]*peer
		var ends [clients]*socket
		for i := range peers {
			p, c := s.dial(t)
			peers[i], ends[i] = p, c.(*socket)
		}
		f := note{n: 1, size: size}.frame(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, p := range peers {
			p.write(t, f)
		}
		for _, c := range ends {
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.CopyN(io.Discard, c.br, 10+size); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 2*size {
			t.Errorf("%d bytes were allocated for a message of %d", n, size)
		}
	})
}

// A limit that no client could be sent is a mistake that shows at once.
func TestLimitFitsPending(t *testing.T) {
	for _, tt := range []struct {
		limit, pending int
		want           string
	}{
		{2 << 20, 0, "set Pending to 2098432 or more; it is 1048576"},
		{0, 64 << 10, "set Pending to 66816 or more; it is 65536"},
		{0, 66816, ""},
		{2 << 20, 3 << 20, ""},
	} {
		for name, f := range map[string]func(){
			"WebSocket": func() { transport.WebSocket(&transport.WebSocketOptions{Limit: tt.limit, Pending: tt.pending}) },
			"Pipe": func() {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				_, _ = transport.Pipe(http.NotFoundHandler(), r, &transport.PipeOptions{Limit: tt.limit, Pending: tt.pending})
			},
		} {
			said := func() (v string) {
				defer func() {
					if r := recover(); r != nil {
						v = fmt.Sprint(r)
					}
				}()
				f()
				return ""
			}()
			if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) {
				t.Errorf("%s: %q, want %q", name, said, tt.want)
			}
		}
	}
}

// overtake writes to a client that does not read until that is refused, and goes
// on being refused: a socket takes some more at first.
func overtake(t *testing.T, p *peer, from int) (n int) {
	t.Helper()
	n = from
	refused := 0
	eventually(t, "a client that is behind", func() bool {
		for refused++; ; refused = 0 {
			err := p.Write(flood(n, message.CatchUp).frame(t))
			if errors.Is(err, message.ErrBehind) {
				return refused == 20
			}
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > from+4*(pending+kernel*4)/4096 {
				t.Fatalf("%d messages are pending", n)
			}
		}
	})
	return n
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// What a slow client of a room with a log does not get is refused, and the
// connection lives and takes everything else. It says when it has caught up.
func TestCatchUp(t *testing.T) {
	run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		if !isClosed(p.Drained()) {
			t.Error("nothing is pending, and it is not drained")
		}
		c.stall(true)
		next, read := 0, 0
		for range 3 {
			next = overtake(t, p, next)
			p.write(t, note{n: next}.frame(t)) // another room's
			next++
			up := p.Drained()
			if isClosed(up) || p.Drained() != up {
				t.Error("it is drained while half of the limit is pending")
			}
			c.stall(false)
			for !isClosed(up) && read < next {
				if got := number(t, c.next()); got != read {
					t.Fatalf("got %d, want %d", got, read)
				}
				read++
			}
			await(t, "Drained", up)
			p.write(t, flood(next, message.CatchUp).frame(t))
			next++
			c.stall(true)
		}
		c.stall(false)
		for ; read < next; read++ {
			if got := number(t, c.next()); got != read {
				t.Fatalf("got %d, want %d", got, read)
			}
		}
		eventually(t, "Drained", func() bool { return isClosed(p.Drained()) })
	})
}

// One who waits to send a large message is woken when it fits, not before.
func TestCatchUpWithLargeMessages(t *testing.T) {
	run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		c.stall(true)
		last := overtake(t, p, 0)
		c.stall(false)
		large := note{n: last, size: 3 * pending, room: "flood", policy: message.CatchUp}.frame(t)
		tries := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ; errors.Is(p.Write(large), message.ErrBehind); tries++ {
				<-p.Drained()
			}
		}()
		for n := range last + 1 {
			if got := number(t, c.next()); got != n {
				t.Fatalf("got %d, want %d", got, n)
			}
		}
		await(t, "the writer", done)
		if tries > 2 {
			t.Errorf("%d tries", tries)
		}
	})
}

// Nobody waits for a connection that takes no more.
func TestDrainedAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, p *peer, c client){
		"Close":          func(_ *testing.T, p *peer, _ client) { p.Close(message.CloseDone, "") },
		"Abort":          func(_ *testing.T, p *peer, _ client) { p.Abort() },
		"the client":     func(_ *testing.T, _ *peer, c client) { c.stall(false); c.cut() },
		"a client close": func(_ *testing.T, _ *peer, c client) { c.close(1000, ""); c.stall(false) },
		"too slow": func(t *testing.T, p *peer, _ client) {
			for n := 0; p.Write(flood(n, message.Disconnect).frame(t)) == nil; n++ {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
				p, c := s.dial(t)
				c.stall(true)
				overtake(t, p, 0)
				before := runtime.NumGoroutine()
				up := p.Drained()
				if isClosed(up) {
					t.Fatal("it is drained")
				}
				for range 100 {
					p.Drained()
				}
				if n := runtime.NumGoroutine(); n > before+10 { // of others
					t.Errorf("%d goroutines more", n-before)
				}
				end(t, p, c)
				await(t, "Drained", up)
				eventually(t, "the end", func() bool { return errors.Is(p.Write(flood(0, message.CatchUp).frame(t)), transport.ErrClosed) })
				if !isClosed(p.Drained()) {
					t.Error("it takes nothing, and is not drained")
				}
			})
		})
	}
}

// Each key has its latest, in the place of the one that was pending before.
func TestLatestOfEachKey(t *testing.T) {
	const keys, rounds = 40, 20
	run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		c.stall(true)
		n := overtake(t, p, 0)
		first := n
		for range rounds {
			for k := range keys {
				p.write(t, note{n: n, room: "keys", key: strconv.Itoa(k), policy: message.LatestOnly}.frame(t))
				n++
			}
		}
		c.stall(false)
		for i := range first + keys {
			want := i
			if i >= first {
				want += (rounds - 1) * keys
			}
			if got := number(t, c.next()); got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
		}
	})
}

// rooms reads until the message last, and returns the numbers of each room.
func rooms(t *testing.T, c client, last int) map[string][]int {
	t.Helper()
	got := map[string][]int{}
	for {
		e := c.next()
		n := number(t, e)
		if n == last {
			return got
		}
		room := "kept"
		if strings.Contains(e.data, `"room":"flood"`) {
			room = "flood"
		}
		if all := got[room]; len(all) > 0 && n <= all[len(all)-1] {
			t.Fatalf("%d comes behind %d", n, all[len(all)-1])
		}
		got[room] = append(got[room], n)
	}
}

// The policies at a client that does not read: what may be dropped is, what may
// not is not, and each room's rest comes in order.
func TestPolicies(t *testing.T) {
	const messages = 600
	for _, tt := range []struct {
		name     string
		policy   message.Policy
		volatile bool
		most     int // of them may arrive
		newest   bool
	}{
		{"drop oldest", message.DropOldest, false, 300, true},
		{"latest only", message.LatestOnly, false, 60, true},
		{"volatile", message.Disconnect, true, 300, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, everywhere, &transport.WebSocketOptions{Pending: pending}, func(t *testing.T, s *server) {
				p, c := s.dial(t)
				c.stall(true)
				kept, newest := 0, 0
				for n := range messages {
					f := flood(n, tt.policy)
					f.volatile = tt.volatile
					if n%10 == 9 { // of another room, and not to be lost
						f = note{n: n, room: "kept"}
						kept++
					} else {
						newest = n
					}
					p.write(t, f.frame(t))
				}
				p.write(t, note{n: messages, room: "kept"}.frame(t))
				c.stall(false)
				got := rooms(t, c, messages)
				if n := len(got["kept"]); n != kept {
					t.Errorf("of %d messages that may not be dropped %d came", kept, n)
				}
				if n := len(got["flood"]); n > tt.most {
					t.Errorf("%d of the room arrived, at most %d should", n, tt.most)
				}
				if flood := got["flood"]; tt.newest && flood[len(flood)-1] != newest {
					t.Errorf("the newest was %d, want %d", flood[len(flood)-1], newest)
				}
			})
		})
	}
}

// block fills all buffers on the way to a client that does not read, quickly,
// and returns how many messages that took.
func block(t *testing.T, p *peer) int {
	t.Helper()
	frames := make([]*message.Frame, 2*pending/4096)
	for n := range frames {
		frames[n] = flood(n, message.Disconnect).frame(t)
	}
	for _, f := range frames {
		_ = p.Write(f)
	}
	return len(frames)
}

// A client that was slow once is an ordinary one afterwards: what ended the wait
// for it must not end it, however much later.
func TestSlowOnce(t *testing.T) {
	t.Parallel() // with others that have to wait
	const timeout = time.Second
	run(t, []mode{plain, secure}, &transport.WebSocketOptions{Pending: 4 * pending, WriteTimeout: timeout}, func(t *testing.T, s *server) {
		t.Parallel()
		p, c := s.dial(t)
		for n := range block(t, p) {
			if got := number(t, c.next()); got != n {
				t.Fatalf("got %d, want %d", got, n)
			}
		}
		c.(*socket).silent(t, timeout+timeout/5)
		p.write(t, note{n: 1}.frame(t))
		if n := number(t, c.next()); n != 1 {
			t.Fatal(n)
		}
	})
}

// A client whose socket takes nothing at all is cut after WriteTimeout.
func TestWriteTimeout(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Pending: 4 * pending, WriteTimeout: 50 * time.Millisecond}, func(t *testing.T, s *server) {
		p, _ := s.dial(t)
		start := time.Now()
		block(t, p)
		if err := p.next(t).err; err == nil || code(err) != 0 {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 4*time.Second {
			t.Errorf("after %v", d)
		}
		if err := p.Write(note{}.frame(t)); !errors.Is(err, transport.ErrClosed) {
			t.Fatal(err)
		}
	})
}

// A congested client is owed one ping, however many there should have been, and
// does not have to wait for it behind everything else. One that takes it all at
// once must not go without.
func TestPingUnderPressure(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Pending: 4 * pending}, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		c := pc.(*socket)
		last := block(t, p) - 1
		for range 1000 {
			if err := p.Ping(); err != nil {
				t.Fatal(err)
			}
		}
		for n := -1; n < last; {
			n = number(t, c.next())
		}
		if c.pings < 1 || c.pings == 1000 { // one each time that something was taken meanwhile
			t.Errorf("%d pings were sent", c.pings)
		}
		eventually(t, "Seen", p.Seen)
	})
}

// A client that is slow, and whose pong is far behind, lives as long as it takes
// something.
func TestProgress(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Pending: 4 * pending}, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		_, other := s.dial(t)
		c := pc.(*socket)
		c.mute = true
		last := block(t, p) - 1
		for range 100 { // until the kernel takes no more, either
			_ = p.Ping()
			other.(*socket).silent(t, 100*time.Millisecond)
			if !p.Seen() {
				break
			}
		}
		if p.Seen() {
			t.Error("it has taken nothing and was seen")
		}
		for n := -1; n < last; {
			n = number(t, c.next())
		}
		eventually(t, "Seen", p.Seen)
	})
}

// Bytes of a client that cannot keep up are not kept after it has gone.
func TestGoneWhileSlow(t *testing.T) {
	run(t, everywhere, &transport.WebSocketOptions{Pending: 4 * pending}, func(t *testing.T, s *server) {
		for _, end := range []struct {
			name string
			of   func(p *peer, c client)
		}{
			{"the client cuts", func(p *peer, c client) { c.cut() }},
			{"Abort", func(p *peer, c client) { p.Abort() }},
			{"Close, then Abort", func(p *peer, c client) { p.Close(1001, ""); p.Abort() }},
		} {
			p, c := s.dial(t)
			c.stall(true)
			block(t, p)
			end.of(p, c)
			if err := p.ended(t); err == nil {
				t.Fatal(end.name)
			}
		}
	})
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A connection that was congested once gives the memory back when it is quiet.
func TestQuietAgain(t *testing.T) {
	const messages = 100_000
	conn, c := bare(t, plain)
	f := note{n: 1}.frame(t)
	before := heap()
	for range messages {
		if err := conn.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	for range messages {
		if _, _, err := c.frame(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "Drained", func() bool { return isClosed(conn.Drained()) })
	if err := conn.Ping(); err != nil {
		t.Fatal(err)
	}
	if grown := heap() - before; grown > messages*8 {
		t.Errorf("%d bytes are left of %d messages", grown, messages)
	}
}

// A connection that has ended holds no buffer, whoever still knows it.
func TestEndedWithUnread(t *testing.T) {
	const connections = 64
	s := serve(t, plain, nil)
	var peers [connections]*peer
	var clients [connections]*socket
	for i := range peers {
		p, c := s.dial(t)
		peers[i], clients[i] = p, c.(*socket)
	}
	before := heap()
	for i, c := range clients {
		c.put(end(1000, "") + strings.Repeat("x", 3000))
		wantEnd(t, peers[i].next(t).err, transport.CloseError{Code: 1000})
	}
	if grown := heap() - before; grown > connections*8<<10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	runtime.KeepAlive(&peers)
}

// tally is a connection whose Read and Write do more than the socket's beneath.
type tally struct {
	*net.TCPConn
	read, written *atomic.Int64
}

func (c *tally) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c *tally) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// A connection that embeds a TCP connection has its methods, and the socket too;
// but going around its Read and Write would be wrong.
func TestEmbeddedSocket(t *testing.T) {
	var read, written atomic.Int64
	s := serve(t, plain, nil, func(s *server) {
		s.beneath = func(c net.Conn) net.Conn { return &tally{c.(*net.TCPConn), &read, &written} }
	})
	p, c := s.dial(t)
	f := note{n: 1, size: 1000}.frame(t)
	c.send(t, f)
	p.write(t, f)
	if a, b := number(t, p.next(t)), number(t, c.next()); a != 1 || b != 1 {
		t.Fatal(a, b)
	}
	eventually(t, "a message that went through its Read and Write", func() bool {
		return read.Load() > 1000 && written.Load() > 1000 // the handshake has less
	})
}
