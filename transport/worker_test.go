package transport_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// Connections come and go, in every way there is, while everybody writes to all
// of them. What stays gets everything, and nothing is left over.
func TestComingAndGoing(t *testing.T) {
	const rounds, clients, messages = 3, 24, 100
	run(t, everywhere, &transport.WebSocketOptions{Pending: 4 << 20}, func(t *testing.T, s *server) {
		settled := resources(t)
		for range rounds {
			var peers [clients]*peer
			var ends [clients]client
			for i := range peers {
				peers[i], ends[i] = s.dial(t)
			}
			var group sync.WaitGroup
			for w := range 2 {
				group.Go(func() {
					for n := range messages {
						f := note{n: w*messages + n, size: 100 + rand.IntN(3000)}.frame(t)
						for _, p := range peers {
							_ = p.Write(f) // to some of them no more
							if n%10 == 0 {
								_ = p.Ping()
							}
						}
					}
				})
			}
			for i, c := range ends {
				group.Go(func() { leave(t, i, peers[i], c, 2*messages) })
			}
			group.Wait()
			for _, p := range peers {
				p.Abort()
				_ = p.ended(t)
			}
		}
		settled(t)
	})
}

// leave ends a connection in one of several ways, or reads all of its messages.
func leave(t *testing.T, way int, p *peer, c client, messages int) {
	for range rand.IntN(messages / 2) {
		c.next()
	}
	var err error
	switch way % 6 {
	case 0:
		c.cut()
	case 1:
		c.close(1000, "")
		c.cut()
	case 2:
		p.Abort()
	case 3:
		p.Close(4002, "")
		c.cut()
	case 4:
		p.Close(4002, "")
		for err == nil { // or it reads to the end
			err = c.next().err
		}
	}
	c.cut()
}

// Members that stay are not disturbed by those that leave.
func TestStaying(t *testing.T) {
	const messages = 300
	run(t, everywhere, &transport.WebSocketOptions{Pending: 4 << 20}, func(t *testing.T, s *server) {
		var stay, gone [4]*peer
		var ends, leavers [4]client
		for i := range stay {
			stay[i], ends[i] = s.dial(t)
			gone[i], leavers[i] = s.dial(t)
		}
		for n := range messages {
			f := note{n: n, size: 2000}.frame(t)
			for i := range stay {
				stay[i].write(t, f)
				_ = gone[i].Write(f)
			}
			if n%75 == 50 {
				leavers[n/75].cut()
			}
			for i, c := range ends {
				if got := number(t, c.next()); got != n {
					t.Fatalf("member %d: got %d, want %d", i, got, n)
				}
			}
		}
	})
}

// A flush window delays messages and loses none, nor their order.
func TestFlushWindow(t *testing.T) {
	run(t, sockets, &transport.WebSocketOptions{FlushWindow: 5 * time.Millisecond}, func(t *testing.T, s *server) {
		p, c := s.dial(t)
		for burst := range 5 {
			for n := range 20 {
				p.write(t, note{n: 20*burst + n}.frame(t))
			}
			for n := range 20 {
				if got := number(t, c.next()); got != 20*burst+n {
					t.Fatalf("got %d, want %d", got, 20*burst+n)
				}
			}
		}
		p.Close(message.CloseDone, "")
		if err := c.next().err; code(err) != message.CloseDone {
			t.Fatal(err)
		}
	})
}
