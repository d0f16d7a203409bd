package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// TestTranscript replays the conversation that docs/protocol.md prints, so that
// the document cannot say what the server does not.
func TestTranscript(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```transcript\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/protocol.md has no transcript")
	}
	_, addr := startRelay(t)
	p := play{t: t, addr: addr, clients: map[string]*client{}, stands: map[string]string{}}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !p.line(line) {
			t.Fatalf("cannot read the line %q", line)
		}
	}
	for _, c := range p.clients {
		c.conn.Close()
	}
}

// play is a transcript under way.
type play struct {
	t       *testing.T
	addr    string
	clients map[string]*client
	stands  map[string]string // what the server said, to what the document says instead
}

func (p *play) line(line string) (understood bool) {
	who, rest, _ := strings.Cut(line, " ")
	c := p.clients[who]
	switch sign, what, _ := strings.Cut(rest, " "); {
	case strings.HasPrefix(rest, "connects"):
		_, subprotocol, _ := strings.Cut(rest, "subprotocol ")
		p.clients[who], _ = request(p.t, p.addr, handshake(p.addr, map[string]string{"Sec-WebSocket-Protocol": subprotocol}))
	case c == nil:
		return false
	case sign == "→":
		op, payload := p.frame(what)
		c.frame(fin|op, payload)
	case sign == "←":
		p.expect(c, what)
	default:
		return false
	}
	return true
}

// frame makes of a line what goes over the wire.
func (p *play) frame(what string) (op byte, payload []byte) {
	kind, rest, _ := strings.Cut(what, " ")
	switch kind {
	case "close":
		code, err := strconv.ParseUint(rest, 10, 16)
		if err != nil {
			p.t.Fatal(err)
		}
		return opClose, binary.BigEndian.AppendUint16(nil, uint16(code))
	case "bytes":
		end := strings.LastIndex(rest, "}") + 1
		content, err := hex.DecodeString(strings.ReplaceAll(rest[end:], " ", ""))
		if err != nil {
			p.t.Fatal(err)
		}
		return opBinary, append([]byte(rest[:end]), content...)
	}
	return opText, []byte(what)
}

func (p *play) expect(c *client, what string) {
	p.t.Helper()
	wantOp, want := p.frame(what)
	op, got, err := c.read()
	if err != nil || op != wantOp {
		p.t.Fatalf("want %s\ngot  opcode %d, %q, %v", what, op, got, err)
	}
	if op == opClose {
		if !bytes.Equal(got, want) {
			p.t.Fatalf("closed with %q, want %q", got, want)
		}
		return
	}
	w, g := p.parse(want), p.parse(got)
	p.learn(g, w)
	if g := p.translate(g); !reflect.DeepEqual(g, any(w)) {
		p.t.Fatalf("want %v\ngot  %v", w, g)
	}
}

// parse returns the envelope, with the bytes of a binary message as a member.
func (p *play) parse(data []byte) map[string]any {
	p.t.Helper()
	head, content, isBinary := strings.Cut(string(data), "\n")
	var e map[string]any
	if err := json.Unmarshal([]byte(head), &e); err != nil {
		p.t.Fatalf("%q: %v", data, err)
	}
	if isBinary {
		e["bytes"] = content
	}
	return e
}

// learn notes what the document calls the values that differ each time.
func (p *play) learn(got, want map[string]any) {
	if _, ok := got["timestamp"].(float64); ok {
		got["timestamp"] = want["timestamp"]
	}
	if want["type"] != "welcome" {
		return
	}
	said, _ := got["content"].(map[string]any)
	meant, _ := want["content"].(map[string]any)
	for _, name := range []string{"id", "session"} {
		if s, ok := said[name].(string); ok {
			p.stands[s], _ = meant[name].(string)
		}
	}
}

func (p *play) translate(v any) any {
	switch v := v.(type) {
	case string:
		if s, ok := p.stands[v]; ok {
			return s
		}
	case map[string]any:
		for k := range v {
			v[k] = p.translate(v[k])
		}
	}
	return v
}
