package message_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/message"
)

func encode(t testing.TB, e message.Envelope) *message.Frame {
	t.Helper()
	f, err := message.Encode(e, nil, message.Disconnect)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEncodeDecode(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	for _, content := range []any{"text", 1.5, []int{1, 2}, nil, map[string]any{"é\n\"": "\u2028"}, []byte{0, 255, '\n'}, []byte{}, message.Raw{Data: []byte(` [1] `)}} {
		e := message.New("kind \"x\" é", content)
		e.Room, e.ID, e.From, e.User, e.Cursor, e.Timestamp = "a/\u00e9", "1", "p", "u", "c", at
		f := encode(t, e)
		got, err := message.Decode(f.Payload(), f.Binary())
		if err != nil {
			t.Fatalf("%v: %v in %q", content, err, f.Payload())
		}
		if got.Type != e.Type || got.Room != e.Room || got.ID != e.ID || got.From != e.From || got.User != e.User ||
			got.Cursor != e.Cursor || !got.Timestamp.Equal(at) {
			t.Errorf("%v: got %+v", content, got)
		}
		if b, ok := content.([]byte); ok && (!got.Content.Binary || !bytes.Equal(got.Content.Data, b)) {
			t.Errorf("%v: got %+v", content, got.Content)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, e := range map[string]message.Envelope{
		"no type":          message.New("", nil),
		"long type":        message.New(strings.Repeat("x", 129), nil),
		"control in type":  message.New("a\n", nil),
		"bad UTF-8":        message.New("\xff", nil),
		"a channel":        message.New("a", make(chan int)),
		"no JSON":          message.New("a", message.Raw{Data: []byte(`{"a":`)}),
		"two values":       message.New("a", message.Raw{Data: []byte(`1 2`)}),
		"duplicate names":  message.New("a", message.Raw{Data: []byte(`{"a":1,"a":2}`)}),
		"bad UTF-8 inside": message.New("a", message.Raw{Data: []byte("\"\xff\"")}),
		"long room":        {Type: "a", Room: strings.Repeat("r", 257)},
		"long id":          {Type: "a", ID: strings.Repeat("i", 65)},
	} {
		if f, err := message.Encode(e, nil, message.Disconnect); err == nil {
			t.Errorf("%s: encoded as %q", name, f.Payload())
		}
	}
}

type inner struct {
	To []struct {
		N int `json:"n"`
	} `json:"to"`
}

type picky struct{ err error }

func (p *picky) Validate() error { return p.err }

func TestDecodeContent(t *testing.T) {
	json, binary := message.Raw{Data: []byte(`{"to":[{"n":1},{"n":"x"}]}`)}, message.Raw{Data: []byte("abc"), Binary: true}
	var in inner
	var e *message.Error
	if err := json.Decode(nil, &in); !errors.As(err, &e) || e.Code != message.Invalid || e.Field != "content.to.1.n" {
		t.Errorf("wrong field: %v", err)
	}
	if strings.Contains(e.Message, "int") || strings.Contains(e.Message, "Go") {
		t.Errorf("tells the client of Go: %q", e.Message)
	}
	var b []byte
	if err := json.Decode(nil, &b); err == nil {
		t.Error("JSON as bytes")
	}
	if err := binary.Decode(nil, &in); err == nil {
		t.Error("bytes as JSON")
	}
	if err := binary.Decode(nil, &b); err != nil || string(b) != "abc" {
		t.Errorf("%q %v", b, err)
	}
	var r message.Raw
	if err := binary.Decode(nil, &r); err != nil || !r.Binary || string(r.Data) != "abc" || &r.Data[0] == &binary.Data[0] {
		t.Errorf("Raw must be a copy: %+v %v", r, err)
	}
	n := 7
	if err := (message.Raw{}).Decode(nil, &n); err != nil || n != 7 {
		t.Errorf("absent content: %d %v", n, err)
	}
}

func TestValidate(t *testing.T) {
	own := message.Errorf(message.Denied, "not you")
	for _, tt := range []struct {
		err  error
		code message.Code
	}{{errors.New("no"), message.Invalid}, {own, message.Denied}, {fmt.Errorf("wrapped: %w", own), message.Denied}} {
		var e *message.Error
		if err := (message.Raw{}).Decode(nil, &picky{tt.err}); !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}

func TestPublic(t *testing.T) {
	denied := message.Errorf(message.Denied, "no")
	for _, tt := range []struct {
		err  error
		want message.Code
	}{
		{fmt.Errorf("store: %w", denied), message.Denied},
		{fmt.Errorf("query: %w", context.DeadlineExceeded), message.Timeout},
		{errors.New("secret"), message.Internal},
	} {
		if e := message.Public(tt.err); e.Code != tt.want || strings.Contains(e.Error(), "secret") {
			t.Errorf("%v: %v", tt.err, e)
		}
	}
	if message.Public(nil) != nil {
		t.Error("nil is no error")
	}
}

func TestErrorTravels(t *testing.T) {
	e := &message.Error{Code: message.RateLimited, Message: "slowly", Field: "content.x", RetryAfter: 1500 * time.Millisecond}
	f := encode(t, message.New("error", e.Content()))
	got, err := message.Decode(f.Payload(), false)
	if err != nil || *message.ErrorFrom(got.Content) != *e {
		t.Fatalf("%q %v", f.Payload(), err)
	}
	if message.ErrorFrom(message.Raw{Data: []byte(`[]`)}).Code != message.Internal {
		t.Error("what is no error must still be one")
	}
}

func TestFrameIsEncodedOnce(t *testing.T) {
	f := encode(t, message.New("a", "b"))
	made := 0 // under the frame's own guard
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				b := f.Encoding(message.WebSocket, func(f *message.Frame) []byte {
					made++
					return f.Prefixed([]byte("head"))
				})
				if !bytes.Equal(b, append([]byte("head"), f.Payload()...)) {
					t.Errorf("%q", b)
				}
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("made %d times", made)
	}
	if other := f.Prefixed([]byte("HEAD")); !bytes.HasPrefix(other, []byte("HEAD")) || !bytes.HasPrefix(f.Prefixed([]byte("x")), []byte("x{")) {
		t.Errorf("a second prefix must not touch the first: %q", other)
	}
	if b := f.Encoding(message.WebSocket, nil); !bytes.HasPrefix(b, []byte("head")) {
		t.Errorf("the first encoding has changed: %q", b)
	}
}

// FuzzDecode: what is accepted survives being encoded again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"a","content":{"b":[1]},"room":"r","id":"1","timestamp":1}`), false)
	f.Add([]byte("{\"type\":\"a\"}\n\x00\xff"), true)
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		e, err := message.Decode(data, binary)
		if err != nil {
			var m *message.Error
			if !errors.As(err, &m) || m.Code != message.Malformed {
				t.Fatalf("not malformed: %v", err)
			}
			return
		}
		again := encode(t, e)
		got, err := message.Decode(again.Payload(), again.Binary())
		if err != nil || got.Type != e.Type || got.Room != e.Room || got.ID != e.ID || !bytes.Equal(got.Content.Data, e.Content.Data) {
			t.Fatalf("%q became %q: %v", data, again.Payload(), err)
		}
	})
}
