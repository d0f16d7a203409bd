package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/hubtest"
)

// dial connects a user to the hub, through the whole application.
func dial(t *testing.T, app http.Handler, user string) *hubtest.Client {
	t.Helper()
	c, err := hubtest.DialRequest(t, app, httptest.NewRequest("GET", "/ws?user="+user, nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := routes()
		ada, bob := dial(t, app, "ada"), dial(t, app, "bob")
		ada.Join("chat/1", nil)
		bob.Join("chat/1", nil)
		ada.ExpectType("joined") // bob's: the room has Presence
		ada.Send("chat/1", Say.New(Text{"hi"}))
		if got := hubtest.Expect(bob, Say); got.Body != "hi" {
			t.Fatal(got)
		}
		ada.ExpectNone() // not echoed to the sender
	})
}
