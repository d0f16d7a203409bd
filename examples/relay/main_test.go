package main

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
)

// TestWho: rooms who/… have one entry for a user, who may be away for 2 s.
func TestWho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := relay(&hub.Options{}, message.Disconnect)
		dial := func(query string) *hubtest.Client {
			c, err := hubtest.DialRequest(t, h, httptest.NewRequest("GET", "/ws"+query, nil))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		w, ada := dial(""), dial("?user=ada")
		w.Join("who/is/here", nil)
		ada.Join("who/is/here", map[string]string{"name": "Ada"})
		if e := w.ExpectType("joined"); e.User != "ada" || string(e.Content.Data) != `{"name":"Ada"}` {
			t.Fatalf("%+v %s", e, e.Content.Data)
		}
		ada.Cut()
		<-time.After(time.Second)
		ada = dial("?user=ada")
		ada.Join("who/is/here", map[string]string{"name": "Ada"})
		w.ExpectType("presence")
		ada.Send("who/is/here", msg.New(message.Raw{Data: []byte("1")}))
		w.ExpectType("msg")
		ada.Cut()
		<-time.After(1900 * time.Millisecond)
		w.ExpectNone()
		<-time.After(100 * time.Millisecond)
		w.ExpectType("left")
		w.Join("else/where", nil)
		dial("").Join("else/where", nil)
		w.ExpectNone()
	})
}
