// Package docs_test keeps what the documentation shows and cites true: every Go
// snippet is code that is compiled and run here or in an example.
package docs_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

var update = flag.Bool("update", false, "write the code into the documentation")

var (
	fence = regexp.MustCompile("(?ms)^(?:<!-- (\\S+?)(?:: (\\S+))? -->\n)?```(\\w+)\n(.*?)^```\n")
	shown = regexp.MustCompile("`((?:client|docs|hub|internal|js|room)/[^`: ]+)(?:: ([^`]+))?`")
	named = regexp.MustCompile("`(?:hub\\.|client\\.)?([A-Z]\\w+)\\.([A-Z]\\w+)[`({]")
	cited = regexp.MustCompile("`([a-z0-9/]+/[a-z0-9_]+_test\\.go|(?:hub|internal)/[a-z0-9]+)`")
)

// TestSnippets compares the code in README and guide with the file that the
// comment above it names. One without such a comment would be compiled by nobody.
func TestSnippets(t *testing.T) {
	for _, doc := range []string{"README.md", "docs/guide.md"} {
		text := read(t, doc)
		next := fence.ReplaceAllStringFunc(text, func(block string) string {
			m := fence.FindStringSubmatch(block)
			file, region, lang, shown := m[1], m[2], m[3], m[4]
			if file == "" {
				if lang == "go" {
					t.Errorf("%s: no comment says where this is from:\n%s", doc, shown)
				}
				return block
			}
			code := read(t, file)
			if region != "" {
				var err error
				if code, err = cut(code, region); err != nil {
					t.Errorf("%s: %s: %v", doc, file, err)
					return block
				}
			}
			if shown != code && !*update {
				t.Errorf("%s: %s %s is not what the file has; run go test ./docs -update", doc, file, region)
			}
			return strings.TrimSuffix(block, shown+"```\n") + code + "```\n"
		})
		if *update && next != text {
			if err := os.WriteFile(path.Join("..", doc), []byte(next), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCitations looks for the tests that docs/security.md names.
func TestCitations(t *testing.T) {
	all := cited.FindAllStringSubmatch(read(t, "docs/security.md"), -1)
	if len(all) < 20 {
		t.Fatalf("found only %d", len(all))
	}
	for _, m := range all {
		if _, err := os.Stat(path.Join("..", m[1])); err != nil {
			t.Error(err)
		}
	}
}

// TestDefects looks for the tests that docs/defects.md names.
func TestDefects(t *testing.T) {
	doc := read(t, "docs/defects.md")
	all := shown.FindAllStringSubmatch(doc, -1)
	if len(all) < 50 {
		t.Fatalf("found only %d", len(all))
	}
	for _, m := range all {
		if file, name := m[1], m[2]; !strings.Contains(read(t, file), name) {
			t.Errorf("%s has no %q", file, name)
		}
	}
	for row := range strings.SplitSeq(doc, "\n") {
		if strings.HasPrefix(row, "| ") && !shown.MatchString(row) && !strings.Contains(row, "| tests |") {
			t.Errorf("a row without a test: %s", row)
		}
	}
}

// known are the types whose fields and methods the documents name, by the name
// that they give them.
var known = map[string][]reflect.Type{
	"Hub":              {reflect.TypeFor[*hub.Hub]()},
	"Options":          {reflect.TypeFor[hub.Options](), reflect.TypeFor[client.Options]()},
	"Presence":         {reflect.TypeFor[room.Presence]()},
	"Room":             {reflect.TypeFor[*room.Room](), reflect.TypeFor[*client.Room]()},
	"Rule":             {reflect.TypeFor[hub.Rule]()},
	"WebSocketOptions": {reflect.TypeFor[transport.WebSocketOptions]()},
}

// TestNames looks for the fields and methods that the documents name.
func TestNames(t *testing.T) {
	for _, doc := range []string{"README.md", "SECURITY.md", "docs/guide.md", "docs/deploy.md", "docs/security.md"} {
		for _, m := range named.FindAllStringSubmatch(read(t, doc), -1) {
			if types := known[m[1]]; types != nil && !slices.ContainsFunc(types, func(typ reflect.Type) bool { return has(typ, m[2]) }) {
				t.Errorf("%s: there is no %s.%s", doc, m[1], m[2])
			}
		}
	}
}

func has(typ reflect.Type, name string) bool {
	_, ok := typ.MethodByName(name)
	if !ok && typ.Kind() == reflect.Struct {
		_, ok = typ.FieldByName(name)
	}
	return ok
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(path.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// cut returns the lines between //doc:region and //doc:end, without the
// indentation that they have in common with these.
func cut(code, region string) (string, error) {
	begin := regexp.MustCompile(`(?m)^(\t*)//doc:` + regexp.QuoteMeta(region) + "\n")
	at := begin.FindStringSubmatchIndex(code)
	if at == nil {
		return "", fmt.Errorf("there is no //doc:%s", region)
	}
	indent, rest := code[at[2]:at[3]], code[at[1]:]
	part, _, ok := strings.Cut("\n"+rest, "\n"+indent+"//doc:end\n")
	if !ok {
		return "", fmt.Errorf("//doc:%s has no end", region)
	}
	part = strings.ReplaceAll(part, "\n"+indent, "\n")
	return strings.Trim(part, "\n") + "\n", nil
}

func TestCut(t *testing.T) {
	code := "a\n\t//doc:one\n\tb {\n\n\t\tc\n\t}\n\t//doc:end\n//doc:two\nd\n\n//doc:end\n//doc:three\ne\n"
	for region, want := range map[string]string{"one": "b {\n\n\tc\n}\n", "two": "d\n", "three": "", "four": ""} {
		if got, err := cut(code, region); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", region, got, err)
		}
	}
}

// TestGuide runs the guide's code.
func TestGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(&hub.Options{Identify: users})
		chat := rooms(h)
		handlers(h, chat)
		moods(chat)
		addGames(h)
		addHistory(h.Rooms("support/{id}", &hub.Rule{Delivery: room.Recoverable{}}))
		c, err := hubtest.DialRequest(t, h, httptest.NewRequest("GET", "/?user=1", nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.TryJoin("chat/2", nil); err == nil {
			t.Fatal("joined a room of others")
		}
		c.Join("chat/1", nil)
		c.Join("game/1", nil)
		c.Send("game/1", Move.New(Step{X: 1, Y: 2}))
		if got := hubtest.Expect(c, Move); got != (Step{X: 1, Y: 2}) {
			t.Fatal(got)
		}
		if got, err := hubtest.Ask(c, "chat/1", Invite, Guest{}); err != nil || got.Body != "come" {
			t.Fatal(got, err)
		}
		c.ExpectNone()
		c.Join("support/1", nil)
		for _, body := range []string{"one", "two"} {
			if err := h.Room("support/1").Broadcast(t.Context(), Say.New(Text{body})); err != nil {
				t.Fatal(err)
			}
		}
		page, err := c.Request("support/1", History.New(Older{Most: 1}))
		one := `{"type":"chat.say","content":{"body":"two"},"timestamp":\d+,"room":"support/1","cursor":"[^"]+"}`
		if want := regexp.MustCompile(`^{"messages":\[` + one + `\],"more":true}$`); err != nil || !want.Match(page.Data) {
			t.Errorf("%s, %v", page.Data, err)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestGuideJSON holds what the guide says of the two codecs.
func TestGuideJSON(t *testing.T) {
	type value struct {
		Slice  []int          `json:"slice"`
		Map    map[string]int `json:"map"`
		Zero   int            `json:"zero,omitempty"`
		Empty  string         `json:"empty,omitempty"`
		Nought int            `json:"nought,omitzero"`
		Bytes  [2]byte        `json:"bytes"`
		Number json.Number    `json:"number"`
		Wait   time.Duration  `json:"wait"`
	}
	for codec, want := range map[message.Codec]string{
		message.JSON: `{"slice":[],"map":{},"zero":0,"bytes":"AAA=","number":"12","wait":5}`,
		v1{}:         `{"slice":null,"map":null,"bytes":[0,0],"number":12,"wait":5}`,
	} {
		h := hub.New(&hub.Options{Codec: codec})
		c := hubtest.Dial(t, h)
		if err := h.Peer(c.ID()).Send(message.New("value", value{Number: "12", Wait: 5})); err != nil {
			t.Fatal(err)
		}
		if got := string(c.ExpectType("value").Content.Data); got != want {
			t.Errorf("%T: %s, want %s", codec, got, want)
		}
		var back struct{ Name int }
		for _, content := range []string{`{"name":1}`, `{"Name":1,"Name":2}`} {
			strict := message.Raw{Data: []byte(content)}.Decode(codec, &back) != nil || back.Name == 0
			if back.Name = 0; strict != (codec == message.JSON) {
				t.Errorf("%T: %s is read strictly: %v", codec, content, strict)
			}
		}
	}
}

// TestSizeOfScript holds what the guide and js/client/README.md say of hub.Script.
func TestSizeOfScript(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/hubbub.js", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	hub.Script().ServeHTTP(w, r)
	plain := w.Body.Len()
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	_, _ = z.Write(w.Body.Bytes())
	_ = z.Close()
	says := fmt.Sprintf("%.0f KB, %.0f KB", float64(plain)/1024, float64(small.Len())/1024)
	if w.Header().Get("Content-Encoding") != "" || says != "12 KB, 5 KB" {
		t.Errorf("the script has %s compressed, and comes as %q", says, w.Header().Get("Content-Encoding"))
	}
	for _, doc := range []string{"docs/guide.md", "js/client/README.md"} {
		if !strings.Contains(strings.Join(strings.Fields(read(t, doc)), " "), says+" where something in front of it compresses") {
			t.Errorf("%s does not say that the script has %s compressed", doc, says)
		}
	}
}

// TestGuideAnswers runs the guide's streams, votes and tokens.
func TestGuideAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(&hub.Options{Identify: bearer(func(token string) (string, error) { return token, nil })})
		chat := rooms(h)
		addSearch(chat, func(_ context.Context, room, words string) iter.Seq2[Text, error] {
			return func(yield func(Text, error) bool) { yield(Text{words + " in " + room}, nil) }
		})
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Sec-WebSocket-Protocol", "hubbub.v1, bearer.1")
		c, err := hubtest.DialRequest(t, h, r)
		if err != nil {
			t.Fatal(err)
		}
		c.Join("chat/1", nil) // as the user 1
		if _, err := c.Request("chat/1", message.New(string(Search), "hello")); err != nil {
			t.Fatal(err)
		}
		if got := hubtest.Expect(c, message.Kind[Text](Search)); got.Body != "hello in chat/1" {
			t.Error(got)
		}
		hubtest.Answer(c, Vote, func(motion string) (bool, error) { return motion == "tea", nil })
		if yes := vote(t.Context(), h, "chat/1", "tea"); yes != 1 {
			t.Errorf("%d votes", yes)
		}
	})
}

func TestServeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := hub.New(nil)
	if err := serve(ctx, &http.Server{Addr: "127.0.0.1:0", Handler: h}, h); err != nil {
		t.Fatal(err)
	}
}
