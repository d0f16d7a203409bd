package hubtest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
)

func newHub() *hub.Hub { return hub.New(nil) }

//doc:laptop
func TestClosedLaptop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hubtest.NewNetwork(t)
		h := newHub()
		go http.Serve(n.Listener(), h)
		client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
		_, _, err := websocket.Dial(t.Context(), "ws://hub/", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		n.HalfOpen(0) // nothing arrives any more, and nobody is told
		<-time.After(46 * time.Second)
		if peers := h.Stats().Peers; peers != 0 {
			t.Errorf("%d peers are still there", peers)
		}
	})
}

//doc:end

func TestJournalOfTheGuide(t *testing.T) {
	const cursor, recovered = "c1", true
	//doc:journal
	var j hubtest.Journal                   // or hubtest.Journal{AtMostOnce: true}
	j.Join("log/1", "bob")                  // the ack of the join has come
	j.Publish("log/1", "ana", "7", "hello") // just before it is sent, at each attempt
	j.Ack("log/1", "ana", "7", cursor)
	j.See("log/1", "bob", "hello", cursor)
	j.Leave("log/1", "bob")             // or the connection broke
	j.Resume("log/1", "bob", recovered) // bob is back; false: told of a hole
	if err := j.Check(); err != nil {   // when all has come to rest
		t.Error(err) // says which message, and what proves it
	}
	//doc:end
}
