package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

func dial(t *testing.T, n *notifier, user string) *hubtest.Client {
	t.Helper()
	c, err := hubtest.DialRequest(t, n.hub, httptest.NewRequest("GET", "/ws?user="+user, nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// send posts, and returns status and body.
func send(n *notifier, from, body string) (int, string) {
	r := httptest.NewRequest("POST", "/notifications?user="+from, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	routes(n).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func mustSend(t *testing.T, n *notifier, to, text string) {
	t.Helper()
	if code, body := send(n, "bob", fmt.Sprintf(`{"to":%q,"text":%q}`, to, text)); code != http.StatusNoContent {
		t.Fatal(code, body)
	}
}

// Who was offline has everything on return, once and in order; two tabs see the
// same, also what was read.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(&hub.Options{})
		for i := range 3 {
			mustSend(t, n, "ada", fmt.Sprint(i))
		}
		tabs := []*hubtest.Client{dial(t, n, "ada"), dial(t, n, "ada")}
		var last message.Envelope
		for _, tab := range tabs {
			tab.Join("inbox/ada", nil)
			for i := range 3 {
				last = tab.ExpectType(string(notify))
				var got notification
				if err := last.Content.Decode(nil, &got); err != nil || got != (notification{"bob", fmt.Sprint(i)}) {
					t.Fatalf("%d: %+v, %v", i, got, err)
				}
			}
			tab.ExpectNone()
		}
		if u, err := hubtest.Ask(tabs[0], "inbox/ada", hub.InboxUnread, struct{}{}); err != nil || u.Count != 3 {
			t.Fatal(u, err)
		}
		tabs[0].Send("inbox/ada", hub.InboxRead.New(hub.ReadMark{Cursor: last.Cursor}))
		for _, tab := range tabs {
			if got := hubtest.Expect(tab, hub.InboxRead); got.Cursor != last.Cursor {
				t.Fatal(got)
			}
		}
		mustSend(t, n, "ada", "while both are here")
		for _, tab := range tabs {
			hubtest.Expect(tab, notify)
		}
		if u, err := hubtest.Ask(tabs[1], "inbox/ada", hub.InboxUnread, struct{}{}); err != nil || u.Count != 1 {
			t.Fatal(u, err)
		}
	})
}

func TestOtherInboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier(&hub.Options{})
		eve := dial(t, n, "eve")
		if err := eve.TryJoin("inbox/ada", nil); err == nil {
			t.Fatal("eve reads what is for ada")
		}
		eve.Join("inbox/eve", nil)
		mustSend(t, n, "ada", "secret")
		eve.ExpectNone()
	})
}

func TestRefusals(t *testing.T) {
	n := newNotifier(&hub.Options{})
	for _, tt := range []struct {
		from, body string
		code       int
	}{
		{"", `{"to":"ada","text":"x"}`, 401},
		{"Bob/", `{"to":"ada","text":"x"}`, 401},
		{"bob", `{"to":"a/b","text":"x"}`, 400},
		{"bob", `{"to":"","text":"x"}`, 400},
		{"bob", `{"to":"ada","text":" "}`, 400},
		{"bob", `{"to":"ada","text":"` + strings.Repeat("x", 501) + `"}`, 400},
		{"bob", `{"to":"ada","text":"` + strings.Repeat("x", 20_000) + `"}`, 400},
		{"bob", `to=ada`, 400},
	} {
		if code, body := send(n, tt.from, tt.body); code != tt.code || body == "" {
			t.Errorf("%s %.40s: %d %s", tt.from, tt.body, code, body)
		}
	}
	for _, h := range []http.Header{{"Content-Type": {"text/plain"}}, {"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}}} {
		r := httptest.NewRequest("POST", "/notifications?user=bob", strings.NewReader(`{"to":"ada","text":"x"}`))
		r.Header = h
		w := httptest.NewRecorder()
		if routes(n).ServeHTTP(w, r); w.Code < 400 {
			t.Errorf("%v: %d", h, w.Code)
		}
	}
	if _, err := hubtest.DialRequest(t, n.hub, httptest.NewRequest("GET", "/ws", nil)); err == nil {
		t.Error("nobody is connected")
	}
}

func TestPageIsServed(t *testing.T) {
	for path, want := range map[string]string{"/": "<html", "/notifications.js": "from '/hubbub.js'", "/hubbub.js": "export"} {
		w := httptest.NewRecorder()
		routes(newNotifier(&hub.Options{})).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
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

// TestLastRequest: who is sending when the program is told to end is answered first,
// though by then nothing is stored any more.
func TestLastRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ended := make(chan error, 1)
	go func() { ended <- run(addr) }()
	c := reach(addr)
	for c == nil {
		c = reach(addr)
	}
	defer func() { _ = c.Close() }()
	const body = `{"to":"ada","text":"hello"}`
	_, _ = fmt.Fprintf(c, "POST /notifications?user=bob HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") { // its handler reads
		t.Fatal(line, err)
	}
	_, _ = r.ReadString('\n')
	self, err := os.FindProcess(os.Getpid())
	if err != nil || self.Signal(os.Interrupt) != nil {
		t.Fatal(err)
	}
	for other := reach(addr); other != nil; other = reach(addr) {
		_ = other.Close()
	}
	select {
	case err := <-ended:
		t.Fatalf("the program has ended already: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	_, _ = c.Write([]byte(body))
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, " 503 ") {
		t.Error(line, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// reach returns nil where nobody listens.
func reach(addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	return c
}
