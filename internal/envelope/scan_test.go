package envelope_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/hubbub-go/hubbub/internal/envelope"
)

func TestParse(t *testing.T) {
	nest := func(n int) string {
		return `{"type":"a","content":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	var many strings.Builder
	many.WriteString(`{"type":"a","content":{`)
	for i := range 40 {
		many.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
	}
	tests := []struct {
		name, in string
		want     string // part of the error; "" accepts
	}{
		{"smallest", `{"type":"a"}`, ""},
		{"all", ` {"type":"a","content":{"x":[1,-2.5e+3,true,null,"\n"]},"timestamp":1,"room":"r","id":"1","from":3,"more":[]} `, ""},
		{"escaped name", `{"\u0074ype":"a"}`, ""},
		{"time as text", `{"type":"a","timestamp":"2026-01-02T03:04:05.5+01:00"}`, ""},
		{"small letters in a time", `{"type":"a","timestamp":"2026-01-02t03:04:05.5z"}`, ""},
		{"leap second", `{"type":"a","timestamp":"2016-12-31T23:59:60Z"}`, ""},
		{"escapes in a time", `{"type":"a","timestamp":"2026-01-02T03\u003a04:05\u005a"}`, ""},
		{"largest integer", `{"type":"a","timestamp":9223372036854775807}`, ""},
		{"too large an integer", `{"type":"a","timestamp":9223372036854775808}`, "timestamp"},
		{"no such second", `{"type":"a","timestamp":"2016-12-31T23:59:61Z"}`, "timestamp"},
		{"cut time", `{"type":"a","timestamp":"2016-12-31T23:59:60"}`, "timestamp"},
		{"C1 control in room", "{\"type\":\"a\",\"room\":\"\u0085\"}", ""},
		{"many names", many.String() + `"z":1}}`, ""},
		{"surrogate pair", `{"type":"a","content":"\ud83d\ude00"}`, ""},
		{"depth 64", nest(64), ""},
		{"depth 65", nest(65), "deeper"},
		{"duplicate", `{"type":"a","type":"b"}`, "twice"},
		{"duplicate by escape", `{"type":"a","\u0074ype":"b"}`, "twice"},
		{"duplicate inside", `{"type":"a","content":{"x":1,"x":2}}`, "twice"},
		{"duplicate inside by escape", `{"type":"a","content":{"x":1,"\u0078":2}}`, "duplicate"},
		{"duplicate among many", many.String() + `"k":1}}`, "duplicate"},
		{"lone surrogate", `{"type":"a","content":"\ud83d"}`, "not valid JSON"},
		{"other case", `{"Type":"a"}`, "missing"},
		{"no type", `{"content":1}`, "missing"},
		{"empty type", `{"type":""}`, "0 bytes"},
		{"long type", `{"type":"` + strings.Repeat("a", 129) + `"}`, "129 bytes"},
		{"control in type", `{"type":"a\u0000"}`, "control"},
		{"number as type", `{"type":1}`, "not a string"},
		{"number as room", `{"type":"a","room":1}`, "not a string"},
		{"null as room", `{"type":"a","room":null}`, "not a string"},
		{"number as since", `{"type":"a","since":1}`, "not a string"},
		{"null as since", `{"type":"a","since":null}`, ""},
		{"null and another since", `{"type":"a","since":null,"since":"x"}`, "twice"},
		{"no JSON as since", `{"type":"a","since":nil}`, "not valid"},
		{"long room", `{"type":"a","room":"` + strings.Repeat("r", 257) + `"}`, "257 bytes"},
		{"long id", `{"type":"a","id":"` + strings.Repeat("r", 65) + `"}`, "65 bytes"},
		{"bad time", `{"type":"a","timestamp":1.5}`, "timestamp"},
		{"two objects", `{"type":"a"}{"type":"b"}`, "follows"},
		{"array", `[1]`, "not a JSON object"},
		{"nothing", ``, "not a JSON object"},
		{"cut", `{"type":"a"`, "not valid"},
		{"raw newline in text", "{\"type\":\"a\",\"content\":\"\n\"}", "control"},
		{"leading zero", `{"type":"a","content":01}`, "not valid"},
		{"trailing comma", `{"type":"a",}`, "not valid"},
		{"bad escape", `{"type":"a","content":"\x"}`, "not valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p envelope.Parts
			err := envelope.Parse([]byte(tt.in), &p)
			if tt.want == "" && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// What is wrong with one member does not hide the others, before it or behind.
func TestParseKeepsWhatAnAnswerNeeds(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ in, id, room, want string }{
		{`{"id":"7","room":"r","type":""}`, "7", "r", "0 bytes"},
		{`{"type":5,"id":"7","room":"r"}`, "7", "r", `"type" is not a string`},
		{`{"type":{"id":"6"},"id":"7"}`, "7", "", `"type" is not a string`},
		{`{"type":"a","timestamp":"x","room":1,"id":"7"}`, "7", "", `"timestamp" is`},
		{`{"type":"a","type":"b","id":"7","room":"r"}`, "7", "r", `"type" is there twice`},
		{`{"type":"a","content":{"x":1,"x":1},"id":"7","room":"r"}`, "7", "r", `"x" is there twice`},
		{`{"type":"a","id":"7","id":"8","room":"r"}`, "7", "r", `"id" is there twice`},
		{`{"content":1,"id":"7","content":2,"room":"r"}`, "7", "r", `"content" is there twice`},
		{`{"type":5,"id":"` + long + `","room":"` + long + `"}`, "", "", `"type" is not a string`},
		{`{"type":"a","id":"","room":"r"}`, "", "r", `"id" has 0 bytes`},
		{`{"type":"a","id":"7","room":"a\nb"}`, "7", "", `"room" contains`},
		{`{"id":"7","room":"r","type":"a"`, "7", "r", "not valid JSON"},
		{`{"type":5,"id":"7","room":"r"} x`, "7", "r", "something follows"},
	} {
		var p envelope.Parts
		err := envelope.Parse([]byte(tt.in), &p)
		if err == nil || !strings.Contains(err.Error(), tt.want) || string(p.ID) != tt.id || string(p.Room) != tt.room {
			t.Errorf("%.60s: id %q, room %q, error %v", tt.in, p.ID, p.Room, err)
		}
	}
}

func TestParseReadsTimes(t *testing.T) {
	for in, want := range map[string]int64{
		`1483228800123`:                    1483228800123,
		`"2017-01-01T00:00:00.5Z"`:         1483228800500,
		`"2016-12-31t23:59:60.5z"`:         1483228800500,
		`"2017-01-01T01:00:00\u002b01:00"`: 1483228800000,
		`-1`:                               -1,
	} {
		var p envelope.Parts
		if err := envelope.Parse([]byte(`{"type":"a","timestamp":`+in+`}`), &p); err != nil || p.Timestamp != want {
			t.Errorf("%s: %d, %v", in, p.Timestamp, err)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	msg := []byte(`{"type":"chat.say","room":"chat/1","id":"17","content":{"body":"hello there","to":["a","b"],"n":12.5},"timestamp":1700000000000}`)
	var p envelope.Parts
	if n := testing.AllocsPerRun(100, func() {
		if err := envelope.Parse(msg, &p); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations a message", n)
	}
}

// FuzzParse holds the scanner to the strict JSON library.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"type":"a","content":{"x":[1,-2.5e+3,true,null,"\n"]},"timestamp":1,"room":"r","id":"1","since":"s"}`,
		`{"type":"a","content":{"x":1,"\u0078":2}}`, `{"type":"a","content":"\ud83d\ude00"}`, `{"\u0074ype":"a"}`, `[]`, `{}`, `{"type":"é"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return // the caller's to refuse
		}
		var p envelope.Parts
		err := envelope.Parse(data, &p)
		strict := jsontext.Value(data).IsValid()
		if err == nil && !strict {
			t.Fatalf("accepted what the library refuses: %q", data)
		}
		var ref struct {
			Type    *string        `json:"type"`
			Room    *string        `json:"room"`
			ID      *string        `json:"id"`
			Content jsontext.Value `json:"content"`
		}
		if json.Unmarshal(data, &ref) != nil || ref.Type == nil {
			if err == nil {
				t.Fatalf("accepted what does not decode: %q", data)
			}
			return
		}
		if err != nil { // refused for a limit of the protocol; TestParse has those
			if len(p.ID) > envelope.MaxID || len(p.Room) > envelope.MaxRoom {
				t.Fatalf("an answer to %q would have the id %q, the room %q", data, p.ID, p.Room)
			}
			return
		}
		if string(p.Type) != *ref.Type || ref.Room != nil && string(p.Room) != *ref.Room || ref.ID != nil && string(p.ID) != *ref.ID ||
			string(p.Content) != string(ref.Content) {
			t.Fatalf("%q: read %q %q %q %q", data, p.Type, p.Room, p.ID, p.Content)
		}
		h := envelope.Head{Type: string(p.Type), Room: string(p.Room), ID: string(p.ID)}
		var again envelope.Parts
		if err := envelope.Parse(envelope.Append(nil, &h, p.Content), &again); err != nil || string(again.Type) != h.Type ||
			string(again.Room) != h.Room || string(again.Content) != string(p.Content) {
			t.Fatalf("%q does not survive being written again: %v", data, err)
		}
	})
}

// FuzzContent holds the content check to the library.
func FuzzContent(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"c"}]}`, `"\u00e9"`, `"é"`, `01`, ` 1 `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if envelope.ValidContent(data) && !jsontext.Value(data).IsValid() {
			t.Fatalf("accepted %q", data)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	msg := []byte(`{"type":"chat.say","room":"chat/1","id":"17","content":{"body":"hello there","to":["a","b"],"n":12.5},"timestamp":1700000000000}`)
	var p envelope.Parts
	for b.Loop() {
		if err := envelope.Parse(msg, &p); err != nil {
			b.Fatal(err)
		}
	}
}
