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
	"unicode"
	"unicode/utf8"

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
		"long key":         message.New("a", 1).Keyed(strings.Repeat("k", 257)),
	} {
		if f, err := message.Encode(e, nil, message.Disconnect); err == nil {
			t.Errorf("%s: encoded as %q", name, f.Payload())
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
		{&message.Error{Message: "secret"}, message.Internal},
		{fmt.Errorf("%w", &message.Error{Code: "teapot", Message: "secret"}), message.Internal},
		{(*message.Error)(nil), message.Internal},
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

// An error always arrives, with a code of the protocol, whatever is in it.
func TestErrorIsAlwaysSent(t *testing.T) {
	for _, tt := range []struct {
		e    message.Error
		want string
	}{
		{message.Error{Code: message.Denied, Message: "no \xff\xfe!", Field: "content.\xc3"}, `{"code":"denied","message":"no �!","field":"content.�"}`},
		{message.Error{Message: "secret"}, `{"code":"internal","message":""}`},
		{message.Error{Code: "teapot", Message: "secret", Field: "x"}, `{"code":"internal","message":""}`},
		{message.Error{Code: message.Internal, Message: "ask support"}, `{"code":"internal","message":"ask support"}`},
		{message.Error{Code: message.RateLimited, RetryAfter: -time.Second}, `{"code":"rate_limited","message":""}`},
	} {
		f := encode(t, message.New("error", tt.e.Content()))
		got, err := message.Decode(f.Payload(), false)
		if err != nil || string(got.Content.Data) != tt.want {
			t.Errorf("%+v became %s, %v", tt.e, got.Content.Data, err)
		}
	}
}

// What a client says in its errors is not believed more than what it says else.
func TestErrorFromAStranger(t *testing.T) {
	for content, want := range map[string]message.Error{
		`{"code":"denied","message":"no","field":"content.a","retryAfter":5}`: {Code: message.Denied, Message: "no", Field: "content.a", RetryAfter: 5 * time.Millisecond},
		`{"code":"internal","message":"at db.go:7"}`:                          {Code: message.Internal},
		`{"code":"teapot","message":"boo","retryAfter":1}`:                    {Code: message.Internal},
		`{"code":"Denied","message":"boo"}`:                                   {Code: message.Internal},
		`{"message":"boo"}`:                                                   {Code: message.Internal},
		`"boo"`:                                                               {Code: message.Internal},
		`{"code":"conflict","retryAfter":-1}`:                                 {Code: message.Conflict},
		`{"code":"conflict","retryAfter":9223372036854775807}`:                {Code: message.Conflict, RetryAfter: 24 * time.Hour},
		`{"code":"conflict","retryAfter":9223372036855}`:                      {Code: message.Conflict, RetryAfter: 24 * time.Hour},
	} {
		if got := message.ErrorFrom(raw(content)); *got != want {
			t.Errorf("%s became %+v", content, *got)
		}
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
				if !bytes.Equal(b.Bytes, append([]byte("head"), f.Payload()...)) {
					t.Errorf("%q", b.Bytes)
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
	if b := f.Encoding(message.WebSocket, nil); b.Frame != f || !bytes.HasPrefix(b.Bytes, []byte("head")) {
		t.Errorf("the first encoding has changed: %q", b.Bytes)
	}
}

func TestWordsOfAnError(t *testing.T) {
	for want, e := range map[string]*message.Error{
		"denied":                      {Code: message.Denied},
		"denied: no":                  {Code: message.Denied, Message: "no"},
		"invalid: no (content.to.0)":  {Code: message.Invalid, Message: "no", Field: "content.to.0"},
		"conflict (content.version)":  {Code: message.Conflict, Field: "content.version"},
		"rate_limited: 3 in a second": message.Errorf(message.RateLimited, "%d in a %s", 3, "second"),
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}

func TestFrameSaysWhatItIs(t *testing.T) {
	const call message.Call[int, string] = "call"
	plain := call.New(7)
	plain.Room = "r"
	for _, tt := range []struct {
		e      message.Envelope
		given  message.Policy
		policy message.Policy
		binary bool
	}{
		{plain, message.DropOldest, message.DropOldest, false},
		{plain.Volatile(), message.DropOldest, message.Volatile, false},
		{message.New("b", []byte("x")), message.LatestOnly, message.LatestOnly, true},
	} {
		for _, key := range []string{"", "k", strings.Repeat("k", 256)} {
			f, err := message.Encode(tt.e.Keyed(key), nil, tt.given)
			if err != nil || f.Policy() != tt.policy || f.Binary() != tt.binary || f.Room() != tt.e.Room || f.Key() != key {
				t.Errorf("%+v became %+v, %v", tt.e, f, err)
			}
		}
	}
	if f := encode(t, plain.Keyed("k")); bytes.Contains(f.Payload(), []byte(`"k"`)) {
		t.Errorf("a key is not sent: %s", f.Payload())
	}
	if f := encode(t, plain); f.Policy() != message.Disconnect {
		t.Error("Volatile has changed the envelope that it was called on")
	}
}

// TestEncodedAgain: an envelope that was decoded can be sent on as it is, and one
// that was made can be sent twice.
func TestEncodedAgain(t *testing.T) {
	e, err := message.Decode([]byte(`{"type":"a","content":{"x":1}}`), false)
	if err != nil {
		t.Fatal(err)
	}
	made := message.New("a", message.Raw{Data: []byte(`{"x":1}`)})
	for _, e := range []message.Envelope{e, made, made} {
		e.Timestamp = time.UnixMilli(7)
		if got := string(encode(t, e).Payload()); got != `{"type":"a","content":{"x":1},"timestamp":7}` {
			t.Errorf("%s", got)
		}
	}
}

// FuzzEncode: what an application sends arrives, whatever is in it.
func FuzzEncode(f *testing.F) {
	f.Add("say", "chat/1", "1", "peer", "text")
	f.Add("é\"\\", "\u2028", "\x00", "\x7f", "\U0001f600\n")
	f.Fuzz(func(t *testing.T, typ, room, id, from, text string) {
		e := message.New(typ, text)
		e.Room, e.ID, e.From = room, id, from
		frame, err := message.Encode(e, nil, message.Disconnect)
		if err != nil || !utf8.ValidString(room+"/"+id+"/"+from) {
			return
		}
		got, err := message.Decode(frame.Payload(), false)
		if err != nil && strings.ContainsFunc(room, unicode.IsControl) {
			return // the sender's fault: see TestEncodeRefuses
		}
		var back string
		if err == nil {
			err = got.Content.Decode(nil, &back)
		}
		if err != nil || got.Type != typ || got.Room != room || got.ID != id || got.From != from || back != text {
			t.Fatalf("%+v became %q: %v", e, frame.Payload(), err)
		}
	})
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
