package room_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

func price(key, value string) message.Envelope { return message.New("price", key+value).Keyed(key) }

// news is what a member got, without what differs from run to run.
func news(m *member) string {
	var all []string
	for _, s := range m.take() {
		_, s, _ = strings.Cut(s, " ")
		all = append(all, strings.Trim(s, `"`))
	}
	return strings.Join(all, " ")
}

// TestLatestOfEachKey: who joins gets the newest of each key, the oldest change
// first, whether or not somebody was there when it came.
func TestLatestOfEachKey(t *testing.T) {
	r := room.NewManager(&room.Options{Delivery: room.Latest{Keys: 3}}).Get("prices")
	send := func(all ...message.Envelope) {
		t.Helper()
		for _, e := range all {
			if err := r.Broadcast(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(price("a", "1"), price("b", "1"), price("a", "2"))
	first := &member{id: "first"}
	join(t, r, first, nil, room.Ack("1"))
	if got := news(first); got != `{"members":1} b1 a2` {
		t.Errorf("who joined got %s", got)
	}
	join(t, r, first, nil)
	if got := news(first); got != "" {
		t.Errorf("who joined twice got %s", got)
	}
	send(price("c", "1"), price("d", "1"), price("x", "1").Volatile(), message.New("price", "no key"))
	if got := news(first); got != "c1 d1 x1 no key" {
		t.Errorf("who is there got %s", got)
	}
	r.Forget("c")
	r.Leave(first)
	second := &member{id: "second"}
	join(t, r, second, nil)
	if got := news(second); got != "d1 no key" {
		t.Errorf("who came later got %s", got)
	}
}

// TestLatestIsBounded: whatever comes, no more is kept than the options say, and
// for no longer.
func TestLatestIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := room.NewManager(&room.Options{Delivery: room.Latest{Bytes: 10_000, Total: 50_000, KeepFor: time.Minute}})
		kept := func(name string) int {
			one := &member{id: "one"}
			join(t, m.Get(name), one, nil)
			defer m.Get(name).Leave(one)
			return len(one.take())
		}
		post := func(name, key string) {
			t.Helper()
			if err := m.Get(name).Broadcast(t.Context(), price(key, strings.Repeat("x", 100))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1000 {
			post("one", fmt.Sprint(i))
		}
		if n := kept("one"); n < 5 || n > 20 {
			t.Errorf("%d values of about 800 bytes are kept in 10,000", n)
		}
		for i := range 1000 {
			post(fmt.Sprint("room", i), "a")
		}
		if n := kept("one") + kept("room0"); n != 0 {
			t.Errorf("%d values of rooms that did not change for longest are kept", n)
		}
		if n := kept("room999"); n != 1 {
			t.Errorf("%d values of the newest room are kept, want 1", n)
		}
		<-time.After(time.Minute)
		if n := kept("room999"); n != 0 {
			t.Errorf("%d values are kept though they are too old", n)
		}
	})
}

// What forgotten keys leave behind counts, too.
func TestForgottenKeysCount(t *testing.T) {
	const total = 4 << 20
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	m := room.NewManager(&room.Options{Delivery: room.Latest{Total: total}})
	before := heap()
	for i := range 1000 {
		r := m.Get(fmt.Sprint("room/", i))
		for k := range 300 {
			if err := r.Broadcast(t.Context(), message.New("price", k).Keyed(fmt.Sprint(k))); err != nil {
				t.Fatal(err)
			}
		}
		for k := range 300 {
			r.Forget(fmt.Sprint(k))
		}
	}
	if held := heap() - before; held > 2*total {
		t.Errorf("%d bytes are held, Total is %d", held, total)
	}
	runtime.KeepAlive(m)
}

// TestLatestAnew: a member that is there already gets what is kept again if it says
// so, after the answer; also one that is behind, and each of it once.
func TestLatestAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room.NewManager(&room.Options{Delivery: room.Latest{}}).Get("r")
		post(t, r, "a", 1)
		m := &member{id: "m"}
		join(t, r, m, nil)
		post(t, r, "b", 1)
		m.take()
		join(t, r, m, nil, room.Ack("1"))
		want(t, m, `ack {"members":1}`)
		join(t, r, m, nil, room.Ack("1"), room.Anew())
		want(t, m, `ack {"members":1}`, "value 1", "value 1")
		r.Leave(m)

		w := &watcher{id: "w", most: 3}
		w.come(t, r)
		for _, key := range []string{"c", "d", "e"} { // which have to wait
			post(t, r, key, 1)
		}
		join(t, r, w, nil, room.Ack("1"), room.Anew())
		w.take(t, 3)
		w.last = map[string]int{} // it is told again what it knows
		w.all(t)
		if got := strings.Join(w.seen, ","); got != "ack,a 1,b 1,ack,c 1,d 1,e 1,a 1,b 1" {
			t.Errorf("it got %s", got)
		}
		r.Leave(w)
	})
}
