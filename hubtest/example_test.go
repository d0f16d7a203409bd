package hubtest_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/hubbub-go/hubbub/hubtest"
)

// A message that was acknowledged has not come, though the member was told, when
// it came back, that it has missed nothing.
func ExampleJournal() {
	var j hubtest.Journal
	j.Join("log/1", "bob")
	j.Publish("log/1", "ana", "1", "hello")
	j.Ack("log/1", "ana", "1", "c1")
	j.See("log/1", "bob", "hello", "c1")
	fmt.Println(j.Check())

	j.Leave("log/1", "bob") // its connection broke
	j.Publish("log/1", "ana", "2", "anybody there?")
	j.Ack("log/1", "ana", "2", "c2")
	j.Resume("log/1", "bob", true) // "recovered":true
	fmt.Println(j.Check())
	// Output:
	// <nil>
	// hubtest: missing: room "log/1", member "bob", message "anybody there?": it was published (event 6) when the member was there (event 1); the member is still there
}

// Rooms without history may lose messages, but not repeat them.
func ExampleJournal_atMostOnce() {
	j := hubtest.Journal{AtMostOnce: true}
	j.Join("chat/1", "bob")
	j.Publish("chat/1", "ana", "1", "hello")
	fmt.Println(j.Check())
	j.See("chat/1", "bob", "hello", "")
	j.See("chat/1", "bob", "hello", "")
	fmt.Println(j.Check())
	// Output:
	// <nil>
	// hubtest: duplicate: room "chat/1", member "bob", message "hello": the member saw it 2 times (events [3 4]), and it was published 1 times
}

func ExampleNewSchedule() {
	fmt.Println(hubtest.NewSchedule(8, 10*time.Second, hubtest.Cut, hubtest.Stall, hubtest.Refuse))
	// Output:
	// 10ms refuse for 530ms
	// 400ms refuse for 1.77s
	// 4.81s stall down for 250ms of connection 3
	// 6.11s refuse for 290ms
	// 9.76s stall down for 170ms of connection 14
}

// TestGuide is the test that docs/guide.md shows.
func TestGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hubtest.NewNetwork(t)
		h := chat()
		go http.Serve(n.Listener(), h)
		client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
		_, _, err := websocket.Dial(t.Context(), "ws://hub/", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		n.HalfOpen(0) // as when a laptop is closed
		<-time.After(46 * time.Second)
		if peers := h.Stats().Peers; peers != 0 {
			t.Errorf("%d peers are still there", peers)
		}
	})
}
