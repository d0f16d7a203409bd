package main

import (
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

func TestChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newChat(nil)
		ada, bob := hubtest.Dial(t, h), hubtest.Dial(t, h)
		ada.Join("chat/lounge", person{"Ada"})
		bob.Join("chat/lounge", person{" Bob "})
		if e := ada.ExpectType("joined"); !strings.Contains(string(e.Content.Data), `"Bob"`) {
			t.Fatalf("joined with %s", e.Content.Data)
		}
		ada.Send("chat/lounge", sayKind.New(text{Name: "Eve", Body: "hello"}))
		if got := hubtest.Expect(bob, sayKind); got != (text{"Ada", "hello"}) {
			t.Fatalf("%+v", got)
		}
		ada.Send("chat/lounge", typingKind.New(typing{On: true}))
		if got := hubtest.Expect(bob, typingKind); got != (typing{"Ada", true}) {
			t.Fatalf("%+v", got)
		}
		ada.ExpectNone()
		bob.Close()
		ada.ExpectType("left")
	})
}

func TestChatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hubtest.Dial(t, newChat(nil))
		var e *message.Error
		if err := c.TryJoin("chat/lounge", person{"  "}); !errors.As(err, &e) || e.Field != "content.name" {
			t.Fatal(err)
		}
		c.Join("chat/lounge", person{"Ada"})
		if _, err := c.Request("chat/lounge", sayKind.New(text{Body: ""})); !errors.As(err, &e) || e.Field != "content.body" {
			t.Fatal(err)
		}
	})
}

// Whoever enters a second room keeps the name of the first.
func TestOneNameForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newChat(nil)
		ada, bob := hubtest.Dial(t, h), hubtest.Dial(t, h)
		bob.Join("chat/lounge", person{"Bob"})
		ada.Join("chat/lounge", person{"Ada"})
		bob.ExpectType("joined")
		var e *message.Error
		if err := ada.TryJoin("chat/workshop", person{"Bob"}); !errors.As(err, &e) || e.Code != message.Invalid || e.Field != "content.name" {
			t.Fatal(err)
		}
		ada.Join("chat/workshop", person{" Ada "})
		ada.Send("chat/lounge", sayKind.New(text{Body: "hello"}))
		if got := hubtest.Expect(bob, sayKind); got.Name != "Ada" {
			t.Fatalf("%+v", got)
		}
		ada.Leave("chat/lounge")
		ada.Leave("chat/workshop")
		if err := ada.TryJoin("chat/lounge", person{"Bob"}); !errors.As(err, &e) {
			t.Fatal(err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, name := range []string{
		"Ada", " Ada Lovelace ", "李", "Müller-Lüdenscheidt", "e\u0301", "محمد", "می\u200cخواهم", "👩\u200d💻", "!", "7",
	} {
		if err := (&person{name}).Validate(); err != nil {
			t.Errorf("%+q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "  ", strings.Repeat("a", 33),
		"\u200b", "\u200b\u202e", "\u200d\u2060\ufeff", "\u00ad", "\u0301", "\ufe0f", "\u3164", "\u115f \u1160", "\uffa0", "\u2800", "\u034f", "\ue000", "\U000e0041",
		"A\nB", "A\x00", "A\x7f", "A\u0085B", "\u202eadA", "A\u2066B", "A\u200fB", "A\u061cB", "A\u2028B", "A\u2029B",
	} {
		var e *message.Error
		if err := (&person{name}).Validate(); !errors.As(err, &e) || e.Code != message.Invalid || e.Field != "content.name" {
			t.Errorf("%+q: %v", name, err)
		}
	}
}

func TestPageIsServed(t *testing.T) {
	w := httptest.NewRecorder()
	routes(newChat(nil)).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<html") || w.Header().Get("Content-Security-Policy") == "" {
		t.Fatalf("%d %.80s", w.Code, w.Body.String())
	}
}

func TestTakenPortIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := run(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "cannot listen on "+l.Addr().String()) {
		t.Fatal(err)
	}
}
