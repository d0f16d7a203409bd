package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// These tests pin what transport takes for granted of coder/websocket v1.8.15
// and does not find in its documentation. One that fails after an update of the
// library says what has to be thought through again.

// Fact: the library writes control frames only, each at once, so that they can
// share a queue with our data frames and never tear one.
func TestInterleaving(t *testing.T) {
	const members, messages = 8, 300
	for _, m := range []mode{plain, secure} {
		t.Run(string(m), func(t *testing.T) {
			s := host(t, m, chat(t, &transport.WebSocketOptions{Pending: 64 << 20}))
			ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
			defer cancel()
			var all [members]*websocket.Conn
			for i := range all {
				c := s.library(t, websocket.DialOptions{})
				_ = c.Write(ctx, websocket.MessageText, []byte(`{"type":"join","room":"r","id":"1"}`))
				for answer := ""; !strings.Contains(answer, `"ack"`); {
					_, b, err := c.Read(ctx)
					if answer = string(b); err != nil {
						t.Fatal(err)
					}
				}
				all[i] = c
			}
			var group sync.WaitGroup
			for i, c := range all {
				group.Go(func() {
					if err := hear(ctx, c, i, members, messages); err != nil {
						t.Errorf("member %d: %v", i, err)
					}
					_ = c.CloseRead(ctx) // a ping may still wait for its pong
				})
				group.Go(func() {
					if err := speak(ctx, c, i, messages); err != nil {
						t.Errorf("member %d: %v", i, err)
					}
				})
			}
			group.Wait()
			for _, c := range all {
				if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
					t.Errorf("the close handshake: %v", err)
				}
			}
		})
	}
}

// said is what member i says, its nth time: 0 to 9 kB.
func said(i, n int) string {
	return fmt.Sprintf(`"%d %d %s"`, i, n, strings.Repeat("x", n*37%9000))
}

// speak says its messages and waits for a pong now and then.
func speak(ctx context.Context, c *websocket.Conn, i, messages int) error {
	for n := range messages {
		if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"say","room":"r","content":`+said(i, n)+`}`)); err != nil {
			return err
		}
		if n%10 == 0 {
			if err := c.Ping(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// hear reads every message of every other member, each whole and in its order.
func hear(ctx context.Context, c *websocket.Conn, i, members, messages int) error {
	next := make([]int, members)
	for range (members - 1) * messages {
		_, b, err := c.Read(ctx)
		if err != nil {
			return err
		}
		_, content, _ := bytes.Cut(b, []byte(`"content":`))
		if len(content) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
			return fmt.Errorf("torn: %.100q", b)
		}
		from := int(content[1] - '0')
		if from == i || from >= members || !bytes.HasPrefix(content, []byte(said(from, next[from]))) {
			return fmt.Errorf("from %d, instead of number %d, came %.100q", from, next[from], b)
		}
		next[from]++
	}
	return nil
}

// Fact: Accept puts what is buffered in the hijacked reader in front of the
// connection, however much of however many frames that is.
func TestEarlyFrames(t *testing.T) {
	frames := ""
	for n, size := range []int{0, 700, 5000} { // net/http buffers 4096 bytes
		frames += wire{first: fin | opText, payload: string(note{n: n, size: size}.frame(t).Payload())}.String()
	}
	for _, early := range []int{0, 1, 2, 5, 6, 7, 50, 100, 800, 3000, 4000, len(frames) - 1, len(frames)} {
		t.Run(strconv.Itoa(early), func(t *testing.T) {
			run(t, sockets, nil, func(t *testing.T, s *server) {
				c := s.raw(t)
				c.put(handshake("x") + frames[:early])
				if err := c.upgraded(); err != nil {
					t.Fatal(err)
				}
				c.put(frames[early:])
				p := await(t, "the connection", s.peers)
				for n := range 3 {
					if got := number(t, p.next(t)); got != n {
						t.Fatalf("got %d, want %d", got, n)
					}
				}
			})
		})
	}
}

// A frame that came with the handshake is read, though nothing else comes.
func TestEarlyFrame(t *testing.T) {
	run(t, sockets, nil, func(t *testing.T, s *server) {
		c := s.raw(t)
		two := wire{first: fin | opText, payload: string(note{n: 1}.frame(t).Payload())}.String() +
			wire{first: fin | opText, payload: string(note{n: 2, size: 100}.frame(t).Payload())}.String()
		c.put(handshake("x") + two)
		if err := c.upgraded(); err != nil {
			t.Fatal(err)
		}
		p := await(t, "the connection", s.peers)
		for n := range 2 {
			if got := number(t, p.next(t)); got != n+1 {
				t.Fatalf("got %d, want %d", got, n+1)
			}
		}
	})
}

// writes is a connection that keeps what is written, one Write an element.
type writes struct {
	net.Conn
	all chan []byte
}

func (w *writes) Write(b []byte) (int, error) {
	w.all <- append([]byte(nil), b...)
	return w.Conn.Write(b)
}

// hijack is a ResponseWriter whose connection is another one.
type hijack struct {
	http.ResponseWriter
	all chan []byte
}

func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	w := &writes{c, h.all}
	return w, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(w, 131)), err
}

// Fact: with a write buffer of 131 bytes, which holds the largest control frame,
// the library writes each of its frames with one Write, and in order.
func TestControlFramesAreWrittenWhole(t *testing.T) {
	all := make(chan []byte, 200)
	s := host(t, plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(&hijack{w, all}, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, _, _ = c.Reader(context.Background())
		_ = c.CloseNow()
	}))
	for _, last := range []string{"", "\x03\xe8", "\x03\xe8" + strings.Repeat("x", 123)} {
		c := s.socket(t)
		for n := range 126 {
			c.put(wire{first: fin | opPing, payload: strings.Repeat("p", n)}.String())
		}
		c.put(wire{first: fin | opClose, payload: last}.String())
		for n := range 126 {
			want := wire{first: fin | opPong, payload: strings.Repeat("p", n), bare: true}.String()
			if got := await(t, "a pong", all); string(got) != want {
				t.Fatalf("a Write of %q, want %q", got, want)
			}
		}
		if got := await(t, "the close", all); string(got) != (wire{first: fin | opClose, payload: last, bare: true}).String() {
			t.Fatalf("a Write of %q", got)
		}
	}
}

// Fact: the library answers a close frame, and its end of the connection ends,
// whoever began and whether or not the answer is ours.
func TestCloseHandshake(t *testing.T) {
	run(t, sockets, nil, func(t *testing.T, s *server) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c := s.library(t, websocket.DialOptions{})
		p := await(t, "the connection", s.peers)
		p.write(t, note{n: 1}.frame(t))
		if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
			t.Errorf("the client's close: %v", err)
		}
		wantEnd(t, p.next(t).err, transport.CloseError{Code: 1000, Reason: "bye"})

		c = s.library(t, websocket.DialOptions{})
		p = await(t, "the connection", s.peers)
		p.write(t, note{n: 1}.frame(t))
		p.Close(message.CloseRestart, "again")
		if _, _, err := c.Read(ctx); err != nil {
			t.Fatal(err)
		}
		var e websocket.CloseError
		if _, _, err := c.Read(ctx); !errors.As(err, &e) || e.Code != 1012 || e.Reason != "again" {
			t.Fatalf("the client was told %v", err)
		}
		wantEnd(t, p.next(t).err, transport.CloseError{Code: 1012, Reason: "again", Local: true})
	})
}

// Fact: the library's Reader needs no more than our read buffer of 64 bytes,
// wherever a segment ends.
func TestSegments(t *testing.T) {
	sizes := []int{0, 125, 126, 127, 128, 16<<10 - 10, 16<<10 - 8, 16 << 10, 65535, 65536}
	run(t, sockets, nil, func(t *testing.T, s *server) {
		for _, piece := range []int{1, 63, 64, 65, 4096, 16 << 10, 1 << 20} {
			p, pc := s.dial(t)
			go func() {
				for n, size := range sizes {
					if piece < 64 && size > 1000 {
						size = 1000 // enough of single bytes
					}
					all := wire{first: fin | opText, payload: string(note{n: n, size: size}.frame(t).Payload())}.String()
					for len(all) > piece {
						pc.(*socket).put(all[:piece])
						all = all[piece:]
					}
					pc.(*socket).put(all)
				}
			}()
			for n := range sizes {
				if got := number(t, p.next(t)); got != n {
					t.Fatalf("in pieces of %d: got %d, want %d", piece, got, n)
				}
			}
		}
	})
}

// Fact: a read that fails does not spoil the library's connection: Reader goes on
// where it was. We make it fail, once for each reason, when nothing is there; but
// never inside a frame or a message.
func TestIdle(t *testing.T) {
	conn, c := bare(t, plain)
	idle := func() {
		t.Helper()
		if m, err := conn.Read(); !errors.Is(err, transport.ErrIdle) {
			t.Fatalf("%v, %v", m, err)
		}
	}
	c.put(msg("first"))
	if m, err := conn.Read(); err != nil || string(m.Data) != "first" {
		t.Fatal(err)
	}
	idle() // has handled a message
	for range 3 {
		go func() {
			for _, b := range []byte(strings.Join(split(opText, "second", 2), control(opPong, "p"))) {
				c.put(string([]byte{b}))
			}
		}()
		if m, err := conn.Read(); err != nil || string(m.Data) != "second" {
			t.Fatal(err)
		}
	}
	if err := conn.Ping(); err != nil {
		t.Fatal(err)
	}
	if first, _, err := c.frame(); first != fin|opPing || err != nil {
		t.Fatalf("%#x, %v", first, err)
	}
	c.put(control(opPong, ""))
	idle() // has handled a pong
	c.put(msg("last"))
	if m, err := conn.Read(); err != nil || string(m.Data) != "last" {
		t.Fatal(err)
	}
}

// Fact: the library answers each ping from within Reader, which goes on while the
// client reads nothing. It is owed the last pong, behind whatever else it is.
func TestPongUnderPressure(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{Pending: 4 * pending}, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		c := pc.(*socket)
		last := block(t, p) - 1
		for _, payload := range []string{"1", "2", "3"} {
			c.put(wire{first: fin | opPing, payload: payload}.String())
		}
		c.send(t, note{n: 1}.frame(t))
		number(t, p.next(t)) // the pings have been read
		for n := -1; n < last; {
			n = number(t, c.next())
		}
		p.write(t, note{n: 1}.frame(t))
		number(t, c.next())
		if !slices.Contains(c.pongs, "3") {
			t.Errorf("the pongs were %q", c.pongs)
		}
	})
}

// Fact: the library writes a pong for every ping, as fast as they come. One that
// sends pings and reads no pongs costs nothing, as it is owed the last one only.
func TestPingFlood(t *testing.T) {
	const pings = 10_000
	run(t, sockets, nil, func(t *testing.T, s *server) {
		p, pc := s.dial(t)
		c := pc.(*socket)
		flood := strings.Repeat(wire{first: fin | opPing, payload: strings.Repeat("p", 125)}.String(), pings/100)
		before := heap()
		for range 100 {
			c.put(flood)
		}
		c.put(wire{first: fin | opPing, payload: "last"}.String())
		c.send(t, note{n: 1}.frame(t))
		number(t, p.next(t))
		if grown := heap() - before; grown > 1<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		p.write(t, note{n: 2}.frame(t))
		number(t, c.next())
		eventually(t, "the last pong", func() bool {
			if slices.Contains(c.pongs, "last") {
				return true
			}
			p.write(t, note{n: 3}.frame(t))
			number(t, c.next())
			return false
		})
		if len(c.pongs) > pings/2 {
			t.Errorf("%d pongs were queued", len(c.pongs))
		}
	})
}

// Fact: the library takes io.EOF for the end of a message, in its middle too. So
// the connection must never say io.EOF, or a cut message would pass for a whole.
func TestCutMessage(t *testing.T) {
	whole := note{n: 1, size: 1300}.frame(t).Payload()
	one := wire{first: fin | opText, payload: string(whole)}.String()
	two := wire{first: opText, payload: string(whole[:600])}.String() + wire{first: fin | opMore, payload: string(whole[600:])}.String()
	run(t, sockets, nil, func(t *testing.T, s *server) {
		for _, data := range []string{one, two} {
			for _, n := range []int{0, 1, 2, 4, 7, 8, 9, 300, 520, 600, 607, 608, 609, 610, 613, 615, 616, 617, 1032, len(data) - 1} {
				p, pc := s.dial(t)
				c := pc.(*socket)
				c.put(data[:n])
				if tc, ok := c.Conn.(*tls.Conn); ok && n%2 == 0 {
					_ = tc.CloseWrite()
				} else {
					_ = c.tcp.CloseWrite()
				}
				if e := p.next(t); e.err == nil || code(e.err) != 0 {
					t.Errorf("cut after %d bytes: %.50q, %v", n, e.data, e.err)
				}
			}
		}
	})
}

// Wait spends the silence between two messages with less stack than Read: it sees
// what comes, keeps it for Read, and leaves the end of the connection to it, too.
func TestWait(t *testing.T) {
	conn, c := bare(t, plain)
	wait := func() {
		t.Helper()
		if !conn.Wait() {
			t.Fatal("Wait cannot tell whether there is something to be read")
		}
	}
	read := func(want string) {
		t.Helper()
		if m, err := conn.Read(); err != nil || string(m.Data) != want {
			t.Fatalf("%v, %v", m, err)
		}
	}
	c.put(msg("first"))
	wait()
	wait() // there is nothing to wait for
	read("first")
	if m, err := conn.Read(); !errors.Is(err, transport.ErrIdle) {
		t.Fatalf("%v, %v", m, err)
	}
	c.put(msg("second") + msg("last"))
	wait()
	read("second")
	wait()
	read("last")
	c.cut()
	wait()
	if m, err := conn.Read(); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("%v, %v", m, err)
	}
}

// Beneath TLS, Wait does not even try: what is there may be no message.
func TestWaitBeneathTLS(t *testing.T) {
	if conn, _ := bare(t, secure); conn.Wait() {
		t.Error("Wait has waited")
	}
}
