package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var rooms atomic.Int64

// newRoom names a room that no other test uses.
func newRoom() string { return fmt.Sprintf("e2e/%d", rooms.Add(1)) }

func TestRelay(t *testing.T) {
	_, addr := startRelay(t)
	conversation(t, addr)
}

// conversation is what every client may rely on, whatever stands between it and
// the server.
func conversation(t *testing.T, addr string) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, addr string)
	}{
		{"Handshake", testHandshake},
		{"Welcome", testWelcome},
		{"Join", testJoin},
		{"Message", testMessage},
		{"ServerMembers", testServerMembers},
		{"Echo", testEcho},
		{"Binary", testBinary},
		{"Fragments", testFragments},
		{"UnknownType", testUnknownType},
		{"Malformed", testMalformed},
		{"NotMember", testNotMember},
		{"Ping", testPing},
		{"Leave", testLeave},
		{"Departure", testDeparture},
		{"Limit", testLimit},
		{"Close", testClose},
		{"Violation", testViolation},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, addr) })
	}
}

func testHandshake(t *testing.T, addr string) {
	tests := []struct {
		name   string
		change map[string]string
		status int
		body   string // a part of it
	}{
		{"plain", nil, 101, ""},
		{"subprotocol", map[string]string{"Sec-WebSocket-Protocol": "other.v1, hubbub.v1"}, 101, ""},
		{"only other subprotocols", map[string]string{"Sec-WebSocket-Protocol": "other.v1"}, 400, "hubbub.v1"},
		{"page of the same host", map[string]string{"Origin": "http://" + addr}, 101, ""},
		{"page of the same named host", map[string]string{"Host": "app.example:8080", "Origin": "http://app.example:8080"}, 101, ""},
		{"page of another port", map[string]string{"Host": "app.example:8080", "Origin": "http://app.example"}, 403, "app.example:8080"},
		{"page of another host", map[string]string{"Origin": "http://evil.example"}, 403, "evil.example"},
		{"sandboxed page", map[string]string{"Origin": "null"}, 403, ""},
		{"other version", map[string]string{"Sec-WebSocket-Version": "8"}, 426, ""},
		{"no upgrade", map[string]string{"Connection": "close", "Upgrade": ""}, 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, res := request(t, addr, handshake(addr, tt.change))
			if res.StatusCode != tt.status {
				t.Fatalf("answer %s, want %d", res.Status, tt.status)
			}
			if res.StatusCode == http.StatusSwitchingProtocols {
				wantUpgrade(t, res.Header, tt.change["Sec-WebSocket-Protocol"] != "")
				return
			}
			body, err := io.ReadAll(res.Body)
			var refusal struct {
				Code    string `json:"code"`
				Message string `json:"message"`
			}
			if err != nil || json.Unmarshal(body, &refusal) != nil || refusal.Code == "" || refusal.Message == "" || !strings.Contains(string(body), tt.body) {
				t.Errorf("body %q, want code and message in JSON with %q", body, tt.body)
			}
		})
	}
}

func wantUpgrade(t *testing.T, h http.Header, subprotocol bool) {
	t.Helper()
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade") {
		t.Errorf("headers %v upgrade nothing", h)
	}
	if got := h.Get("Sec-WebSocket-Accept"); got != handshakeAnswer {
		t.Errorf("Sec-WebSocket-Accept %q, want %q", got, handshakeAnswer)
	}
	want := ""
	if subprotocol {
		want = "hubbub.v1"
	}
	if got := h.Get("Sec-WebSocket-Protocol"); got != want {
		t.Errorf("Sec-WebSocket-Protocol %q, want %q", got, want)
	}
}

// TestRefusal is no part of the conversation: a proxy may mend or refuse such
// requests itself.
func TestRefusal(t *testing.T) {
	_, addr := startRelay(t)
	for _, header := range [][2]string{{"Sec-WebSocket-Key", ""}, {"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}} {
		t.Run(header[0], func(t *testing.T) {
			begin := time.Now()
			c, res := request(t, addr, handshake(addr, map[string]string{header[0]: header[1]}))
			if res.StatusCode != http.StatusBadRequest || !res.Close {
				t.Errorf("answer %s %v, want 400 and Connection: close", res.Status, res.Header)
			}
			if d := time.Since(begin); d > time.Second {
				t.Errorf("answered after %v", d)
			}
			if _, err := io.Copy(io.Discard, c.br); err != nil {
				t.Errorf("the server does not end the connection: %v", err)
			}
		})
	}
}

func testWelcome(t *testing.T, addr string) {
	seen := map[string]bool{}
	for range 2 {
		c, _ := request(t, addr, handshake(addr, nil))
		var content struct {
			ID, Session      string
			User             *string
			Heartbeat, Limit int
		}
		c.decode(c.want("welcome", "").Content, &content)
		if content.ID == "" || len(content.ID) > 64 || content.Session == "" || content.Heartbeat <= 0 || content.Limit <= 0 || content.User != nil {
			t.Errorf("welcome %+v", content)
		}
		if seen[content.ID] || seen[content.Session] {
			t.Errorf("welcome %+v repeats an id or a session", content)
		}
		seen[content.ID], seen[content.Session] = true, true
	}
}

func testJoin(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	if n := a.join(room); n != 1 {
		t.Errorf("%d members, want 1", n)
	}
	if n := b.join(room); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	if n := b.join(room); n != 2 { // again
		t.Errorf("%d members, want 2", n)
	}
	a.sendf(`{"type":"join","room":%q}`, newRoom()) // no id, no answer
	a.alive()
	a.sendf(`{"type":"join","id":"1"}`)
	if e := a.next(); e.Type != "error" || e.ID != "1" {
		t.Errorf("join without a room is answered by %+v", e)
	}
	a.alive()
}

func testMessage(t *testing.T, addr string) {
	room := newRoom()
	a, b, c := connect(t, addr), connect(t, addr), connect(t, addr)
	for _, member := range []*client{a, b, c} {
		member.join(room)
	}
	stranger := connect(t, addr)
	for i, content := range []string{
		`{"body":"hello","n":1.50,"more":[true,null,{"x":"é\u00e9😀\n"}]}`, `"text"`, `0`, `false`, `[]`, `null`, `{}`,
	} {
		a.sendf(`{"type":"msg","room":%q,"content":%s}`, room, content)
		for _, member := range []*client{b, c} {
			e := member.want("msg", "")
			if string(e.Content) != content && content != "null" || e.Room != room || e.From != a.id {
				t.Errorf("%d: got %+v with %s, want %s", i, e, e.Content, content)
			}
		}
	}
	a.alive() // and heard nothing of its own
	a.sendf(`{"type":"msg","room":%q,"content":1,"id":"7"}`, room)
	a.want("ack", "7")
	a.alive() // one answer
	b.next()
	b.alive()
	stranger.alive()
}

// testServerMembers forges what only the server says.
func testServerMembers(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	a.join(room)
	b.join(room)
	a.sendf(`{"type":"msg","room":%q,"from":"boss","user":"root","cursor":"9","timestamp":1,"other":{"x":1}}`, room)
	if e := b.want("msg", ""); e.From != a.id || e.User != "" {
		t.Errorf("from %q, user %q", e.From, e.User)
	}
	a.sendf(`{"type":"msg","room":%q,"timestamp":"2026-01-02T03:04:05Z"}`, room)
	b.want("msg", "")
	for _, typ := range []string{"welcome", "joined", "left", "presence", "pong", "gap", "bye"} {
		a.sendf(`{"type":%q,"room":%q,"id":"forged"}`, typ, room)
		if e := a.next(); e.Type != "error" || e.ID != "forged" {
			t.Errorf("%s is answered by %+v", typ, e)
		}
	}
	a.alive()
	b.alive()
}

func testEcho(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	a.join(room)
	b.join(room)
	for _, content := range []string{`{"a":[1,2],"b":"\u00e9"}`, `"x"`, `17`} {
		a.sendf(`{"type":"echo","room":%q,"id":"q","content":%s}`, room, content)
		if e := a.want("ack", "q"); string(e.Content) != content {
			t.Errorf("echo %s, want %s", e.Content, content)
		}
	}
	a.alive()
	b.alive()
}

func testBinary(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	a.join(room)
	b.join(room)
	all := make([]byte, 4096)
	for i := range all {
		all[i] = byte(i)
	}
	for _, content := range []string{"", "\n", "\x00\xff\xfe\n\n{}", string(all)} {
		a.frame(fin|opBinary, fmt.Appendf(nil, `{"type":"msg","room":%q}`+"\n%s", room, content))
		e := b.want("msg", "")
		if !e.binary || string(e.raw) != content || e.Content != nil || e.From != a.id || e.Room != room {
			t.Errorf("got %+v with %q, want the bytes %q", e, e.raw, content)
		}
		a.sendf(`{"type":"msg","room":%q,"content":"text"}`, room)
		if e := b.want("msg", ""); e.binary {
			t.Errorf("text arrived as binary")
		}
	}
	for _, bad := range []string{"", "{}", "\n", "{}\n", "no json\nx", `{"type":"msg"}`, "{\"type\":\"\xff\"}\nx", `{"type":"msg","content":1}` + "\nx"} {
		a.frame(fin|opBinary, []byte(bad))
		a.wantError("malformed", "")
		a.alive()
	}
	b.alive()
}

// testFragments splits a message, in the middle of a character, with a ping in
// between; all of that is legal.
func testFragments(t *testing.T, addr string) {
	a := connect(t, addr)
	room := newRoom()
	a.join(room)
	text := fmt.Sprintf(`{"type":"echo","room":%q,"id":"f","content":"é"}`, room)
	cut := strings.Index(text, "é") + 1
	a.frame(opText, []byte(text[:3]))
	a.frame(opContinuation, nil)
	a.frame(opContinuation, []byte(text[3:cut]))
	a.frame(fin|opPing, []byte("now"))
	if op, payload, err := a.read(); err != nil || op != opPong || string(payload) != "now" {
		t.Fatalf("ping answered by opcode %d, %q, %v", op, payload, err)
	}
	a.frame(fin|opContinuation, []byte(text[cut:]))
	if e := a.want("ack", "f"); string(e.Content) != `"é"` {
		t.Errorf("echo %s", e.Content)
	}
	var burst []byte // many messages in one segment
	for i := range 50 {
		burst = appendFrame(burst, fin|opText, fmt.Appendf(nil, `{"type":"ping","id":"%d"}`, i))
	}
	a.write(burst)
	for i := range 50 {
		a.want("pong", fmt.Sprint(i))
	}
}

func testUnknownType(t *testing.T, addr string) {
	a := connect(t, addr)
	room := newRoom()
	a.join(room)
	a.sendf(`{"type":"no.such","room":%q,"id":"1"}`, room)
	a.wantError("unknown_type", "1")
	a.sendf(`{"type":"no.such"}`)
	a.wantError("unknown_type", "")
	a.alive()
}

func testMalformed(t *testing.T, addr string) {
	nested := func(levels int) string {
		return `{"type":"ping","content":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
	}
	a := connect(t, addr)
	for _, text := range []string{
		``, `x`, `[]`, `"ping"`, `null`, `1`, `{`, `{}`, `{"type":""}`, `{"type":1}`, `{"type":null}`, `{"Type":"ping"}`,
		`{"type":"ping"}{"type":"ping"}`, `{"type":"ping"} x`, `{"type":"ping","type":"ping"}`, `{"type":"ping","\u0074ype":"x"}`,
		`{"type":"ping","content":{"a":1,"a":2}}`, `{"type":"a\u0007"}`, `{"type":"` + strings.Repeat("a", 129) + `"}`,
		`{"type":"ping","room":1}`, `{"type":"ping","room":"` + strings.Repeat("a", 257) + `"}`,
		`{"type":"ping","id":"` + strings.Repeat("a", 65) + `"}`, `{"type":"ping","id":1}`,
		`{"type":"ping","timestamp":"yesterday"}`, `{"type":"ping","content":"\ud800"}`, nested(65),
	} {
		a.sendf("%s", text)
		a.wantError("malformed", "")
		a.alive()
	}
	a.sendf(`{"id":"9","type":""}`)
	a.wantError("malformed", "9")
	a.sendf("%s", nested(64))
	a.want("pong", "")

	// Without a good message in between, the server's patience ends.
	b := connect(t, addr)
	var burst []byte
	for range 1000 {
		burst = appendFrame(burst, fin|opText, []byte("x"))
	}
	b.conn.Write(burst) // the server may have closed by then
	b.wantClose(1008)
}

func testNotMember(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	b.join(room)
	a.sendf(`{"type":"msg","room":%q,"content":1,"id":"1"}`, room)
	a.wantError("not_member", "1")
	a.sendf(`{"type":"msg","room":%q,"content":1}`, room)
	a.wantError("not_member", "")
	a.alive()
	b.alive()
}

func testPing(t *testing.T, addr string) {
	a := connect(t, addr)
	a.sendf(`{"type":"ping","id":"1","content":{"t":12.50}}`)
	if e := a.want("pong", "1"); string(e.Content) != `{"t":12.50}` {
		t.Errorf("pong %s", e.Content)
	}
	a.sendf(`{"type":"ping"}`)
	a.want("pong", "")
	for _, payload := range []string{"", "x", strings.Repeat("p", 125)} {
		a.frame(fin|opPing, []byte(payload))
		if op, got, err := a.read(); err != nil || op != opPong || string(got) != payload {
			t.Fatalf("ping answered by opcode %d, %q, %v", op, got, err)
		}
	}
	a.frame(fin|opPong, []byte("unasked"))
	a.alive()
}

func testLeave(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	a.join(room)
	b.join(room)
	for _, id := range []string{"1", "again"} {
		b.sendf(`{"type":"leave","room":%q,"id":%q}`, room, id)
		b.want("ack", id)
	}
	a.sendf(`{"type":"msg","room":%q,"content":1,"id":"2"}`, room)
	a.want("ack", "2")
	b.alive() // and has heard nothing
	b.sendf(`{"type":"msg","room":%q,"content":1,"id":"3"}`, room)
	b.wantError("not_member", "3")
	if n := b.join(room); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
}

// testDeparture sees a closed connection leave its rooms.
func testDeparture(t *testing.T, addr string) {
	room := newRoom()
	a, b := connect(t, addr), connect(t, addr)
	a.join(room)
	b.join(room)
	b.frame(fin|opClose, []byte{0x03, 0xE8})
	b.wantClose(1000)
	for begin := time.Now(); ; {
		n := a.join(room) // each join tells the number of members
		if n == 1 {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("%d members, want 1", n)
		}
	}
}

func testLimit(t *testing.T, addr string) {
	c, _ := request(t, addr, handshake(addr, nil))
	var welcome struct{ Limit int }
	c.decode(c.want("welcome", "").Content, &welcome)
	message := func(size int) []byte {
		head := `{"type":"ping","id":"big","content":"`
		return []byte(head + strings.Repeat("x", size-len(head)-2) + `"}`)
	}
	c.frame(fin|opText, message(welcome.Limit))
	c.want("pong", "big")
	c.frame(fin|opText, message(welcome.Limit+1))
	c.wantError("too_large", "")
	c.wantClose(1009)

	d := connect(t, addr) // the same in two frames
	d.frame(opText, message(welcome.Limit + 1)[:welcome.Limit])
	d.frame(fin|opContinuation, []byte(`}`))
	d.wantError("too_large", "")
	d.wantClose(1009)
}

func testClose(t *testing.T, addr string) {
	for _, code := range []int{1000, 1001, 3000, 4999} {
		c := connect(t, addr)
		c.frame(fin|opClose, []byte{byte(code >> 8), byte(code), 'b', 'y', 'e'})
		c.wantClose(code)
	}
}

func testViolation(t *testing.T, addr string) {
	type frame struct {
		first   byte
		payload string
	}
	tests := []struct {
		name   string
		frames []frame
		code   int
	}{
		{"reserved bit", []frame{{fin | 0x40 | opText, "{}"}}, 1002},
		{"reserved opcode", []frame{{fin | 0x3, ""}}, 1002},
		{"reserved control opcode", []frame{{fin | 0xB, ""}}, 1002},
		{"fragmented ping", []frame{{opPing, ""}}, 1002},
		{"long ping", []frame{{fin | opPing, strings.Repeat("p", 126)}}, 1002},
		{"continuation of nothing", []frame{{fin | opContinuation, "{}"}}, 1002},
		{"text inside a text", []frame{{opText, "{"}, {fin | opText, "}"}}, 1002},
		{"close with half a code", []frame{{fin | opClose, "\x03"}}, 1002},
		{"close with a code of no wire", []frame{{fin | opClose, "\x03\xED"}}, 1002}, // 1005
		{"byte that is no UTF-8", []frame{{fin | opText, "{\"type\":\"ping\",\"content\":\"\xff\"}"}}, 1007},
		{"overlong UTF-8", []frame{{fin | opText, "{\"type\":\"ping\",\"content\":\"\xc0\xaf\"}"}}, 1007},
		{"half a character", []frame{{opText, "{\"type\":\"ping\",\"content\":\"\xc3"}, {fin | opContinuation, "\"}"}}, 1007},
	}
	// All of them at once, because the server waits a while before it ends each.
	clients := make([]*client, len(tests))
	for i, tt := range tests {
		clients[i] = connect(t, addr)
		for _, f := range tt.frames {
			clients[i].frame(f.first, []byte(f.payload))
		}
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clients[i].t = t
			clients[i].wantClose(tt.code)
		})
	}
	t.Run("no mask", func(t *testing.T) {
		c := connect(t, addr)
		c.write([]byte{fin | opText, 2, '{', '}'})
		c.wantClose(1002)
	})
}

// TestShutdown tells clients to come back before the server is gone.
func TestShutdown(t *testing.T) {
	p, addr := startRelay(t, "-drain", "1ms")
	clients := []*client{connect(t, addr), connect(t, addr), connect(t, addr)}
	p.terminate(t)
	later := 0
	for _, c := range clients {
		var content struct {
			Reason     string
			RetryAfter int
		}
		c.decode(c.want("bye", "").Content, &content)
		if content.Reason == "" || content.RetryAfter < 0 {
			t.Errorf("bye %+v", content)
		}
		if content.RetryAfter > 0 {
			later++
		}
		c.wantClose(1001)
	}
	if later == 0 { // one may be told to come at once: the times are random
		t.Error("no client was told when to come back")
	}
	if err := p.wait(t); err != nil {
		t.Errorf("relay ended with %v", err)
	}
}
