package main

import (
	"errors"
	"fmt"
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
		ada.Send("chat/lounge", sayKind.New(text{ID: "mine", Name: "Eve", Body: "hello"}))
		for _, c := range []*hubtest.Client{ada, bob} {
			if got, _ := said(c); got != (text{Name: "Ada", Body: "hello"}) {
				t.Fatalf("%+v", got)
			}
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

// said returns what comes next, and its author apart.
func said(c *hubtest.Client) (text, string) {
	got := hubtest.Expect(c, sayKind)
	author := got.Author
	got.Author = ""
	return got, author
}

// Whoever takes the id of another's message does not take its author's place, and
// who comes back is the same author.
func TestAuthorsAreSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newChat(nil)
		bob := hubtest.Dial(t, h)
		bob.Join("chat/lounge", person{"Bob"})
		say := func(name, id, claims string) string {
			c := hubtest.Dial(t, h)
			if _, err := c.Request("", message.New("auth", map[string]string{"session": "the secret session of " + name})); err != nil {
				t.Fatal(err)
			}
			c.Join("chat/lounge", person{name})
			bob.ExpectType("joined")
			e := sayKind.New(text{Author: claims, Body: "hello"})
			e.ID = id
			c.Send("chat/lounge", e)
			got, author := said(bob)
			if got.ID != id || author == "" {
				t.Fatalf("%s: %+v", name, got)
			}
			c.Close()
			bob.ExpectType("left")
			return author
		}
		ada := say("Ada", "1", "")
		if eve := say("Eve", "1", ada); eve == ada {
			t.Fatal("Eve speaks as Ada")
		}
		if again := say("Ada", "2", ""); again != ada {
			t.Fatal("Ada is another after coming back")
		}
	})
}

// A message that is sent twice is there once, for those present and for those who
// come later; typing is for the moment.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newChat(nil)
		ada, bob := hubtest.Dial(t, h), hubtest.Dial(t, h)
		ada.Join("chat/lounge", person{"Ada"})
		bob.Join("chat/lounge", person{"Bob"})
		ada.ExpectType("joined")
		for i := 1; i <= 120; i++ {
			e := sayKind.New(text{Body: fmt.Sprint(i)})
			e.ID = fmt.Sprintf("id %d", i)
			ada.Send("chat/lounge", e)
			ada.Send("chat/lounge", e)
			if got, _ := said(bob); got != (text{ID: e.ID, Name: "Ada", Body: fmt.Sprint(i)}) {
				t.Fatalf("%d: %+v", i, got)
			}
		}
		ada.Send("chat/lounge", typingKind.New(typing{On: true}))
		hubtest.Expect(bob, typingKind)
		bob.ExpectNone()

		eve := hubtest.Dial(t, h)
		eve.Join("chat/lounge", person{"Eve"})
		first := eve.Next()
		for i, e := 120-pageSize+1, first; ; i++ {
			var got text
			if err := e.Content.Decode(nil, &got); err != nil || got.Body != fmt.Sprint(i) {
				t.Fatalf("%d: %s %s", i, e.Type, e.Content.Data)
			}
			if i == 120 {
				break
			}
			e = eve.Next()
		}
		eve.ExpectNone()
		next := 120 - pageSize
		for before, more := first.Cursor, true; more; {
			page, err := eve.Request("chat/lounge", olderCall.New(older{before}))
			var got struct {
				Messages []struct {
					Content text   `json:"content"`
					Cursor  string `json:"cursor"`
				} `json:"messages"`
				More bool `json:"more"`
			}
			if err == nil {
				err = page.Decode(nil, &got)
			}
			if err != nil || got.Messages[len(got.Messages)-1].Content.Body != fmt.Sprint(next) {
				t.Fatalf("the page before %d: %v %s", next, err, page.Data)
			}
			next -= len(got.Messages)
			before, more = got.Messages[0].Cursor, got.More
		}
		if next != 0 {
			t.Fatalf("the pages end at %d", next)
		}
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
	for path, want := range map[string]string{"/": "<html", "/chat.js": "from '/hubbub.js'", "/hubbub.js": "export"} {
		w := httptest.NewRecorder()
		routes(newChat(nil)).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %.80s", path, w.Code, w.Body.String())
		}
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
