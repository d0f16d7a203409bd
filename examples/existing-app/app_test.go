package main

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// browser is a client with cookies.
func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func connect(t *testing.T, c *http.Client, base string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, base+"/ws", &websocket.DialOptions{HTTPClient: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// expect reads until a message contains want.
func expect(t *testing.T, ws *websocket.Conn, want string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if strings.Contains(string(b), want) {
			return string(b)
		}
	}
}

func write(t *testing.T, ws *websocket.Conn, s string) {
	t.Helper()
	if err := ws.Write(context.Background(), websocket.MessageText, []byte(s)); err != nil {
		t.Fatal(err)
	}
}

func TestNoticesReachTheBoard(t *testing.T) {
	srv := httptest.NewServer(newApp().routes())
	defer srv.Close()
	ada, eve := browser(t), browser(t)
	if r, err := ada.PostForm(srv.URL+"/login", url.Values{"name": {"ada"}}); err != nil || r.StatusCode != 204 {
		t.Fatal(r, err)
	}
	ws := connect(t, ada, srv.URL)
	expect(t, ws, `"user":"ada"`)
	write(t, ws, `{"type":"join","room":"board/1","id":"1"}`)
	expect(t, ws, `"ack"`)

	stranger := connect(t, eve, srv.URL)
	write(t, stranger, `{"type":"join","room":"board/1","id":"1"}`)
	expect(t, stranger, `"unauthenticated"`)

	r, err := ada.Post(srv.URL+"/boards/1/notices", "application/json", strings.NewReader(`{"text":"lunch","from":"eve"}`))
	if err != nil || r.StatusCode != 201 {
		t.Fatal(r, err)
	}
	if got := expect(t, ws, `"notice.posted"`); !strings.Contains(got, `{"from":"ada","text":"lunch"}`) {
		t.Fatal(got)
	}
}

// TestShutdown: clients are told to come back, and nothing is left.
func TestShutdown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- newApp().serve(ctx, l) }()
	ws := connect(t, browser(t), "http://"+l.Addr().String())
	expect(t, ws, `"welcome"`)
	cancel()
	expect(t, ws, `"bye"`)
	if _, _, err := ws.Read(context.Background()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the connection ended with %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSocketOutlivesTheTimeout(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the application's timeout")
	}
	srv := httptest.NewServer(newApp().routes())
	defer srv.Close()
	ws := connect(t, browser(t), srv.URL)
	<-time.After(2500 * time.Millisecond) // past middleware.Timeout
	write(t, ws, `{"type":"ping","id":"late"}`)
	expect(t, ws, `"late"`)
}
