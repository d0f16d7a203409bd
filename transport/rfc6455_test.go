package transport_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/message"
)

// trial is what a client sends, byte by byte, and what has to come of it.
type trial struct {
	name string
	send string
	want []string // what comes back: "ack …", "error …" and "pong …"
	code int      // and the close that follows; 0: the connection is as good as before
}

// TestRFC6455 tries a mounted hub with frames of every form, legal and not. Each
// trial ends as the RFC has it, and two bystanders never notice.
func TestRFC6455(t *testing.T) {
	trials := slices.Concat(lengths(), masks(), bits(), fragments(), controls(), encodings(), closes())
	for _, m := range sockets {
		t.Run(string(m), func(t *testing.T) {
			s := host(t, m, chat(t, nil))
			settled := resources(t)
			a, b := s.bystander(t), s.bystander(t)
			for _, tt := range trials {
				if t.Run(tt.name, func(t *testing.T) { tt.run(t, s) }) {
					talk(t, a, b, tt.name)
				}
			}
			for _, c := range []*socket{a, b} {
				c.close(1000, "")
				if err := c.next().err; code(err) != 1000 {
					t.Error(err)
				}
				c.cut()
			}
			settled(t)
		})
	}
}

func (tt trial) run(t *testing.T, s *server) {
	c := s.socket(t)
	defer c.cut()
	c.outcome() // the welcome
	c.put(tt.send)
	want := tt.want
	if tt.code == 0 {
		c.put(msg(ask("still here")))
		want = append(slices.Clone(want), "ack still here")
	}
	for _, w := range want {
		if got := c.outcome(); got != w {
			t.Fatalf("got %.200q, want %q", got, w)
		}
	}
	if tt.code == 0 {
		c.put(end(1000, ""))
		tt.code = 1000
	}
	if got := c.outcome(); got != fmt.Sprintf("close %d", tt.code) {
		t.Fatalf("got %.200q, want the close %d", got, tt.code)
	}
	if tt.code == 1002 || tt.code == 1009 {
		return // it waits for our end, so that nothing overtakes its close frame
	}
	c.put(end(tt.code, "")) // or what would be the answer
	if got := c.outcome(); got != "end" {
		t.Fatalf("behind the close frame came %.200q", got)
	}
}

// outcome is the next thing that the server does, in a word.
func (c *socket) outcome() string {
	first, payload, err := c.frame()
	for first == fin|opPing && err == nil { // the heartbeat
		c.put(control(opPong, payload))
		first, payload, err = c.frame()
	}
	switch {
	case err != nil:
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return "nothing"
		}
		return "end"
	case first == fin|opPong:
		return "pong " + payload
	case first == fin|opClose:
		if e := closed(payload); utf8.ValidString(e.Reason) {
			return fmt.Sprintf("close %d", e.Code)
		}
		return fmt.Sprintf("close with the reason %q", payload)
	case first == fin|opText && !utf8.ValidString(payload):
		return fmt.Sprintf("text %q", payload)
	}
	e, err := message.Decode([]byte(payload), first == fin|opBinary)
	if err != nil {
		return fmt.Sprintf("%#x %q", first, payload)
	}
	content := string(e.Content.Data)
	if e.Type == "error" {
		content = string(message.ErrorFrom(e.Content).Code)
	} else if !e.Content.Binary {
		_ = json.Unmarshal(e.Content.Data, &content)
	}
	return e.Type + " " + content
}

// bystander is a member of the room r.
func (s *server) bystander(t *testing.T) *socket {
	t.Helper()
	c := s.socket(t)
	c.outcome() // the welcome
	c.put(msg(`{"type":"join","room":"r","id":"1"}`))
	if got := c.outcome(); !strings.HasPrefix(got, "ack") {
		t.Fatal(got)
	}
	return c
}

func talk(t *testing.T, a, b *socket, what string) {
	t.Helper()
	for range 2 {
		a.put(msg(`{"type":"say","room":"r","content":"` + what + `"}`))
		if got := b.outcome(); got != "say "+what {
			t.Fatalf("a bystander got %q", got)
		}
		a, b = b, a
	}
}

// resources counts goroutines and file descriptors. What it returns waits until
// there are no more of them.
func resources(t *testing.T) (settled func(t *testing.T)) {
	t.Helper()
	count := func() (goroutines, files int) {
		list, _ := os.ReadDir("/proc/self/fd") // where there is none, nothing is counted
		return runtime.NumGoroutine(), len(list)
	}
	g, f := count()
	return func(t *testing.T) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d goroutines and %d files", g, f), func() bool {
			goroutines, files := count()
			return goroutines <= g && files <= f
		})
	}
}

// ask is a message that is answered with its content.
func ask(content string) string { return `{"type":"echo","id":"1","content":"` + content + `"}` }

// sized is an ask of that many bytes, and its content.
func sized(n int) (payload, content string) {
	content = strings.Repeat("x", n-len(ask("")))
	return ask(content), content
}

// msg is a text message in one frame.
func msg(payload string) string { return wire{first: fin | opText, payload: payload}.String() }

func control(op byte, payload string) string { return wire{first: fin | op, payload: payload}.String() }

func lengths() (all []trial) {
	for _, n := range []int{125, 126, 127, 65535, 65536} {
		payload, content := sized(n)
		all = append(all, trial{fmt.Sprint(n), msg(payload), []string{"ack " + content}, 0})
	}
	over, _ := sized(65537)
	long, _ := sized(70000)
	short := wire{first: fin | opText, payload: ask("short")}
	two, eight := short, short
	two.form, eight.form = 2, 8
	return append(all,
		trial{"empty text", msg(""), []string{"error malformed"}, 0},
		trial{"empty binary", control(opBinary, ""), []string{"error malformed"}, 0},
		// Not the fewest bytes, RFC 6455 §5.2. The library does not mind.
		trial{"two bytes of length", two.String(), []string{"ack short"}, 0},
		trial{"eight bytes of length", eight.String(), []string{"ack short"}, 0},
		trial{"one over the limit", msg(over), []string{"error too_large"}, 1009},
		trial{"2^62 declared", wire{first: fin | opText, payload: long, declared: 1 << 62}.String(), []string{"error too_large"}, 1009},
		trial{"2^63-1 declared", wire{first: fin | opText, payload: long, declared: 1<<63 - 1}.String(), []string{"error too_large"}, 1009},
		trial{"2^63 declared", wire{first: fin | opText, declared: 1 << 63}.String(), nil, 1002},
		trial{"2^64-1 declared", wire{first: fin | opText, declared: 1<<64 - 1}.String(), nil, 1002},
		trial{"2^63 declared in a fragment", wire{first: opText}.String() + wire{first: fin | opMore, declared: 1 << 63}.String(), nil, 1002},
	)
}

func masks() []trial {
	bare := func(first byte, payload string) string {
		return wire{first: first, payload: payload, bare: true}.String()
	}
	return []trial{
		{"bare text", bare(fin|opText, ask("x")), nil, 1002},
		{"bare binary", bare(fin|opBinary, "{}\n"), nil, 1002},
		{"bare ping", bare(fin|opPing, ""), nil, 1002},
		{"bare close", bare(fin|opClose, "\x03\xe8"), nil, 1002},
		{"bare continuation", wire{first: opText, payload: ask("x")[:9]}.String() + bare(fin|opMore, ask("x")[9:]), nil, 1002},
		{"bare after masked", msg(ask("x")) + bare(fin|opText, ask("y")), []string{"ack x"}, 1002},
	}
}

func bits() (all []trial) {
	for _, rsv := range []byte{rsv1, rsv2, rsv3, rsv1 | rsv2 | rsv3} {
		for _, op := range []byte{opText, opBinary, opPing, opClose} {
			all = append(all, trial{fmt.Sprintf("reserved bits %#x with opcode %d", rsv, op), control(rsv|op, ""), nil, 1002})
		}
		all = append(all, trial{fmt.Sprintf("reserved bits %#x in a continuation", rsv),
			wire{first: opText}.String() + control(rsv|opMore, ask("x")), nil, 1002})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		all = append(all, trial{fmt.Sprintf("opcode %d", op), msg(ask("x")) + control(op, "x"), []string{"ack x"}, 1002})
	}
	return append(all, trial{"opcode 3 without an end", wire{first: 3}.String(), nil, 1002})
}

// split makes fragments that end at the given bytes.
func split(op byte, payload string, at ...int) (frames []string) {
	last := 0
	for _, i := range at {
		frames = append(frames, wire{first: op, payload: payload[last:i]}.String())
		last, op = i, opMore
	}
	return append(frames, control(op, payload[last:]))
}

func fragments() []trial {
	payload := ask("fragments")
	ack := []string{"ack fragments"}
	every := make([]int, len(payload))
	for i := range every {
		every[i] = i
	}
	empty := strings.Repeat(wire{first: opMore}.String(), 1000)
	pinged := strings.Join(split(opText, payload, 5, 20), control(opPing, "in between"))
	bytewise := split(opText, payload, every...)
	open := wire{first: opText, payload: payload[:9]}.String()
	return []trial{
		{"two fragments", strings.Join(split(opText, payload, 9), ""), ack, 0},
		{"a fragment each byte", strings.Join(bytewise, ""), ack, 0},
		{"an empty first fragment", strings.Join(split(opText, payload, 0), ""), ack, 0},
		{"an empty last fragment", strings.Join(split(opText, payload, len(payload)), ""), ack, 0},
		{"a thousand empty fragments", open + empty + control(opMore, payload[9:]), ack, 0},
		{"nothing but empty fragments", strings.Join(split(opText, "", 0, 0), ""), []string{"error malformed"}, 0},
		{"binary in fragments", strings.Join(split(opBinary, `{"type":"echo","id":"1"}`+"\n\xff", 5), ""), []string{"ack \xff"}, 0},
		{"pings in between", pinged, []string{"pong in between", "pong in between", "ack fragments"}, 0},
		{"pongs in between", strings.Join(bytewise, control(opPong, "")), ack, 0},
		{"a close in between", open + end(1000, ""), nil, 1000},
		{"a continuation of nothing", control(opMore, payload), nil, 1002},
		{"an open continuation of nothing", wire{first: opMore, payload: payload}.String(), nil, 1002},
		{"a continuation after the end", msg(payload) + control(opMore, "x"), []string{"ack fragments"}, 1002},
		{"text inside a text", open + msg(payload), nil, 1002},
		{"binary inside a text", open + control(opBinary, "x"), nil, 1002},
		{"an open text inside a text", open + open, nil, 1002},
	}
}

func controls() (all []trial) {
	long := strings.Repeat("p", 125)
	for name, op := range map[string]byte{"ping": opPing, "pong": opPong, "close": opClose} {
		all = append(all,
			trial{name + " in fragments", wire{first: op, payload: "\x03"}.String() + control(opMore, "\xe8"), nil, 1002},
			trial{name + " of 126 bytes", control(op, "\x03\xe8"+long[1:]), nil, 1002},
			trial{name + " of 65536 bytes", control(op, strings.Repeat("p", 65536)), nil, 1002},
			trial{name + " of 2^63-1 bytes", wire{first: fin | op, declared: 1<<63 - 1}.String(), nil, 1002},
		)
	}
	slices.SortFunc(all, func(a, b trial) int { return strings.Compare(a.name, b.name) })
	return append(all,
		trial{"ping", control(opPing, ""), []string{"pong "}, 0},
		trial{"ping of 125 bytes", control(opPing, long), []string{"pong " + long}, 0},
		trial{"ping of bytes", control(opPing, "\x00\xff\xfe"), []string{"pong \x00\xff\xfe"}, 0},
		trial{"three pings", control(opPing, "1") + control(opPing, "2") + control(opPing, "3"), []string{"pong 1", "pong 2", "pong 3"}, 0},
		trial{"pongs that nobody asked for", control(opPong, "") + control(opPong, long), nil, 0},
	)
}

func encodings() (all []trial) {
	for name, s := range map[string]string{
		"Greek": "κόσμε", "four bytes": "😀", "last": "\U0010ffff", "no character": "\uffff\ufdd0", "byte order mark": "\ufeff",
		"around the surrogates": "\ud7ff\ue000",
	} {
		all = append(all, trial{"utf-8: " + name, msg(ask(s)), []string{"ack " + s}, 0})
		var at []int
		for i := range ask(s) + " " {
			at = append(at, i, min(i+1, len(ask(s))))
		}
		all = append(all, trial{"utf-8: " + name + ", split", strings.Join(split(opText, ask(s), at...), ""), []string{"ack " + s}, 0})
	}
	for name, s := range map[string]string{
		"overlong slash": "\xc0\xaf", "overlong in three": "\xe0\x80\xaf", "overlong in four": "\xf0\x80\x80\xaf", "overlong zero": "\xc0\x80",
		"first surrogate": "\xed\xa0\x80", "last surrogate": "\xed\xbf\xbf", "above the last": "\xf4\x90\x80\x80", "five bytes": "\xf8\x88\x80\x80\x80",
		"FE": "\xfe", "FF": "\xff", "lone continuation": "\x80", "truncated in two": "\xc3", "truncated in three": "\xe2\x82", "truncated in four": "\xf0\x9f\x98",
	} {
		all = append(all,
			trial{"not utf-8: " + name, msg(ask(s)), nil, 1007},
			trial{"not utf-8: " + name + ", split", strings.Join(split(opText, ask(s), len(ask(s))-3), ""), nil, 1007},
		)
	}
	slices.SortFunc(all, func(a, b trial) int { return strings.Compare(a.name, b.name) })
	return append(all,
		trial{"not utf-8 and no envelope", msg("\xff"), nil, 1007},
		trial{"not utf-8 at the very end", msg(ask("x") + "\xe2\x82"), nil, 1007},
		trial{"bytes in a binary message", control(opBinary, `{"type":"echo","id":"1"}`+"\n\xff\xfe\x00\n"), []string{"ack \xff\xfe\x00\n"}, 0},
		trial{"not utf-8 in the head of one", control(opBinary, "{\"type\":\"\xff\"}\n"), []string{"error malformed"}, 0},
	)
}

func closes() (all []trial) {
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all, trial{fmt.Sprintf("close %d", code), end(code, "why"), nil, code})
	}
	for _, code := range []int{0, 1, 999, 1004, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		all = append(all, trial{fmt.Sprintf("close %d", code), end(code, "why"), nil, 1002})
	}
	reason := strings.Repeat("y", 123)
	return append(all,
		trial{"close without a code", end(1005, ""), nil, 1005},
		trial{"close 1005", control(opClose, "\x03\xed"), nil, 1002},
		trial{"close of one byte", control(opClose, "\x03"), nil, 1002},
		trial{"close with 123 bytes of reason", end(1000, reason), nil, 1000},
		trial{"close with 124 bytes of reason", end(1000, reason+"y"), nil, 1002},
		trial{"close with a reason that is not utf-8", end(1000, "\xed\xa0\x80"), nil, 1007},
		trial{"close with a truncated reason", end(1000, "x\xe2\x82"), nil, 1007},
		trial{"a message behind the close", msg(ask("x")) + end(1000, "") + msg(ask("y")), []string{"ack x"}, 1000},
		trial{"a ping behind the close", end(1001, "") + control(opPing, ""), nil, 1001},
		trial{"two closes", end(1001, "") + end(1002, ""), nil, 1001},
		trial{"rubbish behind the close", end(1000, "") + strings.Repeat("\xff", 1000), nil, 1000},
	)
}

// A connection that breaks at whatever byte leaves nothing behind.
func TestBreakAtEveryByte(t *testing.T) {
	for m, step := range map[mode]int{plain: 1, secure: 7} {
		t.Run(string(m), func(t *testing.T) {
			s := host(t, m, chat(t, nil))
			a, b := s.bystander(t), s.bystander(t)
			settled := resources(t)
			all := handshake("x") + strings.Join(split(opText, ask("never"), 9), control(opPing, "p")) + end(1000, "")
			for n := 0; n < len(all); n += step {
				c := s.raw(t)
				c.put(all[:n])
				switch n % 3 {
				case 0:
					_ = c.tcp.SetLinger(0) // a reset
				case 1:
					_ = c.tcp.CloseWrite()
					_, _ = io.Copy(io.Discard, c.tcp)
				}
				c.cut()
			}
			talk(t, a, b, "still here")
			settled(t)
		})
	}
}

// The client of the library is served as any other, by all of this.
func TestLibraryClient(t *testing.T) {
	run(t, sockets, nil, func(t *testing.T, s *server) {
		c := s.library(t, websocket.DialOptions{Subprotocols: []string{"hubbub.v1"}})
		p := await(t, "the connection", s.peers)
		if c.Subprotocol() != "hubbub.v1" {
			t.Errorf("the subprotocol is %q", c.Subprotocol())
		}
		f := note{n: 1, size: 70000}.frame(t)
		p.write(t, f)
		if _, data, err := c.Read(t.Context()); string(data) != string(f.Payload()) || err != nil {
			t.Fatalf("%.100q, %v", data, err)
		}
		if err := c.Write(t.Context(), websocket.MessageBinary, note{n: 2, binary: true}.frame(t).Payload()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, p.next(t)); n != 2 {
			t.Fatal(n)
		}
	})
}
