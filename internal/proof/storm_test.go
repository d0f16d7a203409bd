package proof_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/hub"
)

// storm is clients that lose their server, all of them.
type storm struct {
	*testing.T
	server  *server
	clients []*client.Client
	began   time.Time

	mu       sync.Mutex
	attempts []time.Duration // to connect, since it began; those that were refused not
}

func newStorm(t *testing.T) *storm {
	n := 2000
	if race {
		n = 200 // more would be too many goroutines for it
	}
	s := &storm{T: t, server: serve(t, hub.Options{}, func(*hub.Hub) {}), clients: make([]*client.Client, n)}
	opts := client.Options{Dial: s.dial}
	var all sync.WaitGroup
	for i := range s.clients {
		all.Go(func() {
			var err error
			if s.clients[i], err = client.Dial(t.Context(), "ws://hub/", &opts); err != nil {
				t.Errorf("%v", err)
			}
		})
		if i%100 == 99 {
			all.Wait() // a listener has only so many places
		}
	}
	all.Wait()
	s.attempts, s.began = nil, time.Now()
	return s
}

func (s *storm) dial(ctx context.Context) (net.Conn, error) {
	conn, err := s.server.dial(ctx)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.attempts = append(s.attempts, time.Since(s.began))
	}
	return conn, err
}

// TestStorm: 2,000 clients whose server goes away do not come back all at once. In
// no 100 ms does the new server see more than 5 % of their attempts.
func TestStorm(t *testing.T) {
	crash := func(down time.Duration) func(*storm) {
		return func(s *storm) {
			s.server.network.Refuse(down)
			s.server.network.Cut()
			s.server.crash()
			s.server.start()
		}
	}
	for _, tt := range []struct {
		name   string
		end    func(*storm)
		within time.Duration // all are back
	}{
		{"a drain", func(s *storm) { s.server.drain(); s.server.start() }, 40 * time.Second},
		{"a crash, and a server that starts for 5 s", crash(5 * time.Second), 40 * time.Second},
		{"all connections cut, but a server that stays", crash(time.Nanosecond), 40 * time.Second},
		// Who finds it too early comes again while others come for the first time.
		{"a crash, and a server that starts for 1 s", crash(time.Second), 40 * time.Second},
		{"a crash, and a server that starts for 2 s", crash(2 * time.Second), 40 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStorm(t)
				tt.end(s)
				<-time.After(tt.within - time.Since(s.began))
				s.check()
				s.server.crash()
				for _, c := range s.clients {
					_ = c.Close(context.Background())
				}
			})
		})
	}
}

func (s *storm) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.server.hub.Stats().Peers; n != len(s.clients) {
		s.Errorf("%d of %d are back", n, len(s.clients))
	}
	buckets := map[time.Duration]int{}
	for _, at := range s.attempts {
		buckets[at.Truncate(100*time.Millisecond)]++
	}
	for at, n := range buckets {
		if n*20 > len(s.attempts) && !race { // few are never even
			s.Errorf("%d of %d attempts at %v", n, len(s.attempts), at)
		}
	}
}
