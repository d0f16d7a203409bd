package hub_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew, from what happens over a pipe")

// A transcript in testdata is a conversation with scriptHub, line by line:
//
//	ana connects              ana connects as Ana
//	ana > {"type":"ping"}     ana sends a text message
//	ana > bytes {…} 00 FF     a binary message, the end of it in hexadecimal
//	ana > quoted "\xff"       a text message as a Go string
//	ana > close 1000          a close frame
//	ana cuts                  ana's connection breaks
//	the hub shuts down
//	ana < {"type":"pong"}     what ana got of it
//
// $(5) stands for five x, $ana for the secret of ana's session, and "c3" for the
// third cursor that came. IDs of peers are their names, secrets and times are
// normalised. Over a pipe the whole output is compared, so nothing may come that
// is not there; over a socket that is checked at the end.
func TestTranscripts(t *testing.T) {
	for _, file := range transcripts(t) {
		t.Run("pipe/"+filepath.Base(file), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := scriptHub()
				p := &player{t: t, hub: h, dial: func(user string) socket { return pipeSocket(t, h, user) }}
				p.settle = func(string, int) { synctest.Wait() }
				compare(t, file, p.play(readFile(t, file)))
			})
		})
		t.Run("websocket/"+filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			h := scriptHub()
			server := httptest.NewServer(h)
			p := &player{t: t, hub: h, dial: func(user string) socket { return webSocket(t, server.URL, user) }}
			p.settle = func(name string, n int) { p.clients[name].inbox.wait(t, n) }
			got := p.play(readFile(t, file))
			p.nothingMore()
			p.finish()
			server.Close()
			if want := readFile(t, file); got != want && !*update {
				t.Errorf("over a socket:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func transcripts(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	return files
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if want := readFile(t, file); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// player plays a transcript with clients of one dialect.
type player struct {
	t       *testing.T
	hub     *hub.Hub
	dial    func(user string) socket
	settle  func(name string, n int) // waits for n frames that a client gets
	clients map[string]*actor
	order   []*actor
	names   []string // pairs of an ID, or a cursor, and the name it is replaced with
	secrets []string // pairs of a name and the secret it is replaced with
	cursors []string // pairs of a name and the cursor it is replaced with
}

// actor is one client of a transcript.
type actor struct {
	name  string
	inbox *inbox
	socket
}

// play does what the transcript says and returns it with what really came.
func (p *player) play(script string) string {
	p.clients = map[string]*actor{}
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	for i, line := range lines {
		if received(line) != "" {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p.do(line)
		expected := map[string]int{}
		for _, l := range lines[i+1:] {
			if received(l) == "" {
				break
			}
			expected[received(l)]++
		}
		for _, c := range p.order {
			p.settle(c.name, expected[c.name])
		}
		for _, c := range p.order {
			for _, f := range c.inbox.take() {
				fmt.Fprintf(&out, "%s < %s\n", c.name, p.normalise(c, f))
			}
		}
	}
	return out.String()
}

// received is who gets what is on a line, or "".
func received(line string) string {
	name, _, ok := strings.Cut(line, " < ")
	if !ok || strings.ContainsAny(name, " #") {
		return ""
	}
	return name
}

func (p *player) do(line string) {
	name, rest, _ := strings.Cut(line, " ")
	verb, what, _ := strings.Cut(rest, " ")
	c := p.clients[name]
	switch {
	case line == "the hub shuts down":
		if err := p.hub.Shutdown(context.Background()); err != nil {
			p.t.Errorf("Shutdown: %v", err)
		}
	case verb == "connects":
		c = &actor{name: name, socket: p.dial(strings.TrimPrefix(what, "as "))}
		c.inbox = c.received()
		p.clients[name] = c
		p.order = append(p.order, c)
	case verb == "cuts":
		there := p.hub.Stats().Peers
		c.cut()
		for p.hub.Stats().Peers == there { // the hub has to notice
			<-time.After(time.Millisecond)
		}
	case verb == ">":
		p.send(c, what)
	default:
		p.t.Fatalf("the transcript has the line %q", line)
	}
}

var (
	repeated = regexp.MustCompile(`\$\((\d+)\)`)
	binary   = regexp.MustCompile(`^bytes (.*?)((?: [0-9A-F]{2})*)$`)
)

func (p *player) send(c *actor, what string) {
	if code, ok := strings.CutPrefix(what, "close "); ok {
		n, _ := strconv.Atoi(code)
		c.close(n)
		return
	}
	if s, ok := strings.CutPrefix(what, "quoted "); ok {
		raw, err := strconv.Unquote(s)
		if err != nil {
			p.t.Fatalf("%s: %v", s, err)
		}
		c.send([]byte(raw), false)
		return
	}
	what = repeated.ReplaceAllStringFunc(what, func(s string) string {
		n, _ := strconv.Atoi(s[2 : len(s)-1])
		return strings.Repeat("x", n)
	})
	what = strings.NewReplacer(append(p.secrets, p.cursors...)...).Replace(what)
	m := binary.FindStringSubmatch(what)
	if m == nil {
		c.send([]byte(what), false)
		return
	}
	data := []byte(m[1])
	for x := range strings.FieldsSeq(m[2]) {
		b, _ := strconv.ParseUint(x, 16, 8)
		data = append(data, byte(b))
	}
	c.send(data, true)
}

var (
	timestamps = regexp.MustCompile(`"timestamp":(\d+)`)
	identity   = regexp.MustCompile(`"id":"([0-9a-f-]{36})"`)
	secret     = regexp.MustCompile(`"session":"[A-Z2-7]{26}"`)
	cursors    = regexp.MustCompile(`"cursor":("[A-Za-z0-9_-]{19,31}")`)
	later      = regexp.MustCompile(`,"retryAfter":\d+`)
)

// normalise replaces what differs from run to run. A time that is not now, and a
// secret that is none, stay as they are.
func (p *player) normalise(c *actor, f frame) string {
	s := f.data
	if strings.HasPrefix(s, `{"type":"welcome"`) {
		if id := identity.FindStringSubmatch(s); id != nil {
			p.names = append(p.names, `"`+id[1]+`"`, `"`+c.name+`"`)
		}
		if m := secret.FindString(s); m != "" {
			p.secrets = append(p.secrets, "$"+c.name, strings.Trim(m[len(`"session":`):], `"`))
		}
	}
	s = secret.ReplaceAllString(s, `"session":"secret"`)
	for _, m := range cursors.FindAllStringSubmatch(s, -1) {
		if name := fmt.Sprintf(`"c%d"`, len(p.cursors)/2+1); !slices.Contains(p.cursors, m[1]) {
			p.names, p.cursors = append(p.names, m[1], name), append(p.cursors, name, m[1])
		}
	}
	s = strings.NewReplacer(p.names...).Replace(s)
	s = timestamps.ReplaceAllStringFunc(s, func(m string) string {
		ms, _ := strconv.ParseInt(m[len(`"timestamp":`):], 10, 64)
		if time.Since(time.UnixMilli(ms)).Abs() < 10*time.Second {
			return `"timestamp":0`
		}
		return m
	})
	if strings.HasPrefix(s, `{"type":"bye"`) {
		s = later.ReplaceAllString(s, "") // a random one may be less than a millisecond
	}
	if !f.binary {
		return s
	}
	head, tail, _ := bytes.Cut([]byte(s), []byte{'\n'})
	return strings.TrimRight(fmt.Sprintf("bytes %s 0A % X", head, tail), " ")
}

// nothingMore fails the test if a client that is still connected has got more
// than the transcript says.
func (p *player) nothingMore() {
	for _, c := range p.order {
		if c.inbox.ended() {
			continue
		}
		c.send([]byte(`{"type":"ping","id":"the end"}`), false)
		c.inbox.wait(p.t, 1)
		if f := c.inbox.take()[0]; !strings.HasPrefix(f.data, `{"type":"pong"`) {
			p.t.Errorf("%s got, and the transcript has not: %s", c.name, f.data)
		}
	}
}

func (p *player) finish() {
	for _, c := range p.order {
		c.cut()
	}
	if err := p.hub.Shutdown(context.Background()); err != nil {
		p.t.Error(err)
	}
}
