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

func newStorm(t *testing.T, opts client.Options) *storm {
	n := 2000
	if race {
		n = 200 // more would be too many goroutines for it
	}
	s := &storm{T: t, server: serve(t, hub.Options{}, func(*hub.Hub) {}), clients: make([]*client.Client, n)}
	opts.Dial = s.dial
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
		opts   client.Options
		end    func(*storm)
		within time.Duration // all are back
	}{
		{"a drain", client.Options{}, func(s *storm) { s.server.drain(); s.server.start() }, 15 * time.Second},
		{"a crash, and a server that starts for 5 s", client.Options{}, crash(5 * time.Second), 40 * time.Second},
		// The first wait is at most RetryMin. Who expects more clients than a server
		// can welcome in half a second makes it longer.
		{"all connections cut, but a server that stays", client.Options{RetryMin: 4 * time.Second}, crash(time.Nanosecond), 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStorm(t, tt.opts)
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
