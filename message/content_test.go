package message_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

type inner struct {
	To []struct {
		N int `json:"n"`
	} `json:"to"`
	Flag  bool           `json:"flag"`
	Map   map[string]int `json:"a/b~c"`
	Delay time.Duration  `json:"delay"`
	Small uint8          `json:"small"`
	Ratio float32        `json:"ratio"`
	Since time.Time      `json:"since"`
	Pair  [2]int         `json:"pair"`
	Bytes []byte         `json:"bytes"`
}

func raw(json string) message.Raw { return message.Raw{Data: []byte(json)} }

// TestDecodeNamesTheField at which a content is wrong, in words that do not
// depend on Go.
func TestDecodeNamesTheField(t *testing.T) {
	tests := []struct{ content, field, message string }{
		{`{"to":[{"n":1},{"n":"x"}]}`, "content.to.1.n", "content.to.1.n cannot be a string"},
		{`{"to":{}}`, "content.to", "content.to cannot be an object"},
		{`{"to":[[]]}`, "content.to.0", "content.to.0 cannot be an array"},
		{`{"to":true}`, "content.to", "content.to cannot be true"},
		{`{"flag":"yes"}`, "content.flag", "content.flag cannot be a string"},
		{`{"flag":7}`, "content.flag", "content.flag cannot be a number"},
		{`{"a/b~c":{"k":1.5}}`, "content.a/b~c.k", "content.a/b~c.k does not have the right form"},
		{`{"to":[{"n":99999999999999999999}]}`, "content.to.0.n", "content.to.0.n is out of range"},
		{`{"small":256}`, "content.small", "content.small is out of range"},
		{`{"small":-1}`, "content.small", "content.small does not have the right form"},
		{`{"small":"1"}`, "content.small", "content.small cannot be a string"},
		{`{"ratio":1e99}`, "content.ratio", "content.ratio is out of range"},
		{`{"since":"x"}`, "content.since", "content.since does not have the right form"},
		{`{"since":5}`, "content.since", "content.since cannot be a number"},
		{`{"pair":[1,2,3]}`, "content.pair", "content.pair does not have the right form"},
		{`{"pair":[1]}`, "content.pair", "content.pair does not have the right form"},
		{`{"bytes":"!!"}`, "content.bytes", "content.bytes does not have the right form"},
		{`{"delay":"1s"}`, "content.delay", "content.delay cannot be a string"},
		{`"x"`, "content", "content cannot be a string"},
		{`[]`, "content", "content cannot be an array"},
		{`{"to":`, "content", "the content does not have the expected form"},
		{`{"flag":true,"flag":true}`, "content", "the content does not have the expected form"},
	}
	for _, tt := range tests {
		var in inner
		err := raw(tt.content).Decode(nil, &in)
		var e *message.Error
		if !errors.As(err, &e) || e.Code != message.Invalid || e.Field != tt.field || e.Message != tt.message {
			t.Errorf("%s: %#v", tt.content, err)
		}
	}
}

func TestDecodeReads(t *testing.T) {
	var in inner
	if err := raw(`{"to":[{"n":1}],"flag":true,"delay":5,"more":1,"Flag":false}`).Decode(nil, &in); err != nil {
		t.Fatal(err)
	}
	if in.To[0].N != 1 || !in.Flag || in.Delay != 5 {
		t.Errorf("%+v", in)
	}
}

// TestDecodeByKind: which Go type takes which content.
func TestDecodeByKind(t *testing.T) {
	json, binary, absent := raw(`[1]`), message.Raw{Data: []byte("a\n"), Binary: true}, message.Raw{}
	empty := message.Raw{Data: []byte{}, Binary: true}
	tests := []struct {
		name    string
		content message.Raw
		into    func() any
		want    string // what is read; "" refuses
	}{
		{"JSON as JSON", json, func() any { return new([]int) }, "&[1]"},
		{"JSON as anything", json, func() any { return new(any) }, "*any [1]"},
		{"JSON as Raw", json, func() any { return new(message.Raw) }, "&{[91 49 93] false}"},
		{"JSON as bytes", json, func() any { return new([]byte) }, ""},
		{"JSON as nothing", json, func() any { return new(struct{}) }, "&{}"},
		{"bytes as JSON", binary, func() any { return new([]int) }, ""},
		{"bytes as anything", binary, func() any { return new(any) }, ""},
		{"bytes as Raw", binary, func() any { return new(message.Raw) }, "&{[97 10] true}"},
		{"bytes as bytes", binary, func() any { return new([]byte) }, "&[97 10]"},
		{"bytes as nothing", binary, func() any { return new(struct{}) }, "&{}"},
		{"no bytes as bytes", empty, func() any { return new([]byte) }, "&[]"},
		{"absent as JSON", absent, func() any { return &[]int{7} }, "&[7]"},
		{"absent as bytes", absent, func() any { return new([]byte) }, "&[]"},
		{"absent as Raw", absent, func() any { return new(message.Raw) }, "&{[] false}"},
		{"null as JSON", raw("null"), func() any { return &[]int{7} }, "&[]"},
	}
	for _, tt := range tests {
		v := tt.into()
		err := tt.content.Decode(nil, v)
		got := fmt.Sprint(v)
		if p, ok := v.(*any); ok {
			got = fmt.Sprint("*any ", *p)
		}
		if tt.want == "" {
			var e *message.Error
			if !errors.As(err, &e) || e.Code != message.Invalid {
				t.Errorf("%s: %s, %v", tt.name, got, err)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

// TestDecodedBytesAreCopies: the buffer they came in is used again.
func TestDecodedBytesAreCopies(t *testing.T) {
	data := []byte("abc")
	var r message.Raw
	var b []byte
	for _, v := range []any{&r, &b} {
		if err := (message.Raw{Data: data, Binary: true}).Decode(nil, v); err != nil {
			t.Fatal(err)
		}
	}
	copy(data, "xyz")
	if string(r.Data) != "abc" || string(b) != "abc" {
		t.Errorf("%q %q", r.Data, b)
	}
}

type picky struct{ err error }

func (p *picky) Validate() error { return p.err }

type strict string

func (s strict) Validate() error {
	if s == "" {
		return errors.New("it is empty")
	}
	return nil
}

func TestValidate(t *testing.T) {
	own := message.Errorf(message.Denied, "not you")
	pointer, none := &picky{errors.New("no")}, (*picky)(nil)
	tests := []struct {
		name string
		into any
		want string // of the refusal; "" accepts
	}{
		{"error", &picky{errors.New("no")}, "invalid: no (content)"},
		{"error for the client", &picky{own}, "denied: not you"},
		{"wrapped", &picky{fmt.Errorf("wrapped: %w", own)}, "denied: not you"},
		{"none", &picky{}, ""},
		{"on the value", new(strict), "invalid: it is empty (content)"},
		{"of a handler that takes a pointer", &pointer, "invalid: no (content)"},
		{"of a pointer that is nil", &none, "invalid: content cannot be null (content)"},
		{"on the value, of a pointer that is nil", new(*strict), "invalid: content cannot be null (content)"},
		{"of a pointer without a validator", new(*inner), ""},
		{"no validator", &inner{}, ""},
	}
	for _, tt := range tests {
		err := (message.Raw{}).Decode(nil, tt.into)
		if got := fmt.Sprint(err); err != nil && got != tt.want || err == nil && tt.want != "" {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for _, content := range []string{"null", " null "} {
		var e *message.Error
		if err := raw(content).Decode(nil, &pointer); !errors.As(err, &e) || e.Code != message.Invalid || e.Field != "content" {
			t.Errorf("%s for a pointer: %v", content, err)
		}
	}
	var p *strict
	if err := raw(`""`).Decode(nil, &p); err == nil || *p != "" {
		t.Errorf("a pointer that decoding has made: %v", err)
	}
}

// upper is a codec of its own.
type upper struct{ fail bool }

func (u upper) Marshal(v any) ([]byte, error) {
	if u.fail {
		return nil, errors.New("out of letters")
	}
	return bytes.ToUpper(fmt.Appendf(nil, "%q", v)), nil
}

func (u upper) Unmarshal(data []byte, v any) error {
	if u.fail {
		return errors.New("out of letters")
	}
	*v.(*string) = strings.ToUpper(string(data))
	return nil
}

func TestCodec(t *testing.T) {
	f, err := message.Encode(message.New("a", "b"), upper{}, message.Disconnect)
	if err != nil || !bytes.HasPrefix(f.Payload(), []byte(`{"type":"a","content":"B",`)) {
		t.Errorf("%s, %v", f.Payload(), err)
	}
	var s string
	if err := raw("x").Decode(upper{}, &s); err != nil || s != "X" {
		t.Errorf("%q, %v", s, err)
	}
	if _, err := message.Encode(message.New("a", "b"), upper{fail: true}, message.Disconnect); err == nil || !strings.Contains(err.Error(), "out of letters") {
		t.Errorf("%v", err)
	}
	var e *message.Error
	if err := raw("x").Decode(upper{fail: true}, &s); !errors.As(err, &e) || e.Code != message.Invalid || strings.Contains(e.Message, "letters") {
		t.Errorf("%v", err)
	}
	for _, content := range []any{message.Raw{Data: []byte("1")}, []byte("1"), nil} { // the codec is not asked
		if _, err := message.Encode(message.New("a", content), upper{fail: true}, message.Disconnect); err != nil {
			t.Errorf("%v: %v", content, err)
		}
	}
}

// TestJSONInJSON: content and envelopes nest in other contents.
func TestJSONInJSON(t *testing.T) {
	type page struct {
		All  []message.Envelope `json:"all"`
		None message.Raw        `json:"none"`
		Raw  message.Raw        `json:"raw"`
	}
	at := time.UnixMilli(1_800_000_000_000)
	say := message.New("say", map[string]int{"a": 1})
	say.Timestamp, say.Cursor = at, "c1"
	bytes := message.New("bytes", []byte{0, 255})
	bytes.Timestamp = at
	got, err := message.JSON.Marshal(page{All: []message.Envelope{say, bytes}, Raw: message.Raw{Data: []byte(`[1]`)}})
	const want = `{"all":[{"type":"say","content":{"a":1},"timestamp":1800000000000,"cursor":"c1"},` +
		`{"type":"bytes","content":"AP8=","timestamp":1800000000000}],"none":null,"raw":[1]}`
	if string(got) != want || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	var back struct{ Raw message.Raw }
	if err := message.JSON.Unmarshal([]byte(`{"Raw":{"x":[1,2]}}`), &back); err != nil || string(back.Raw.Data) != `{"x":[1,2]}` {
		t.Errorf("%s, %v", back.Raw.Data, err)
	}
	if _, err := message.JSON.Marshal(message.New("bad", message.Raw{Data: []byte("{")})); err == nil {
		t.Error("an envelope with broken content was encoded")
	}
}
