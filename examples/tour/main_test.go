package main

import (
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

func TestInvite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := routes()
		ada, bob := dial(t, app, "ada"), dial(t, app, "bob")
		ada.Join("chat/1", nil)
		hubtest.Answer(bob, Confirm, func(string) (bool, error) { return true, nil })
		if yes, err := hubtest.Ask(ada, "chat/1", Invite, bob.ID()); err != nil || !yes {
			t.Fatal(yes, err)
		}
	})
}

func TestLunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := routes()
		bob := dial(t, app, "bob")
		bob.Join("chat/1", nil)
		app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/lunch", nil))
		if got := hubtest.Expect(bob, Say); got.Body != "lunch!" {
			t.Fatal(got)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := routes()
		if _, err := hubtest.DialRequest(t, app, httptest.NewRequest("GET", "/ws", nil)); err == nil {
			t.Fatal("a client without a user is connected")
		}
		var e *message.Error
		if err := dial(t, app, "bob").TryJoin("chat/staff", nil); !errors.As(err, &e) || e.Code != message.Denied {
			t.Fatal(err)
		}
		dial(t, app, "ada").Join("chat/staff", nil)
	})
}
