package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// most is how many bytes go out in one write(2).
const most = 64 << 10

// workers flush the connections of one transport, one worker per processor. They
// exist while there are connections, so nothing has to stop them.
type workers struct {
	window time.Duration // wait before a pass: fewer syscalls for more latency
	next   atomic.Uint32
	once   sync.Once
	all    []*worker
}

// pick chooses a worker for a new connection and keeps it alive until leave.
func (s *workers) pick() *worker {
	s.once.Do(func() {
		for range runtime.GOMAXPROCS(0) {
			w := &worker{window: s.window, wake: make(chan struct{}, 1)}
			w.write = w.writeOnce
			s.all = append(s.all, w)
		}
	})
	w := s.all[int(s.next.Add(1))%len(s.all)]
	w.join()
	return w
}

// worker writes what is pending on its connections: one pass takes every
// connection that has something, and does one non-blocking write for each.
type worker struct {
	window time.Duration
	wake   chan struct{} // of 1: sent to only by whoever ends asleep
	write  func(fd uintptr) bool

	passes atomic.Uint32 // how many were begun

	// Only the running goroutine touches these.
	out []byte
	n   int
	err error

	mu      sync.Mutex
	dirty   []*tap // have something pending; each connection at most once
	spare   []*tap
	conns   int
	running bool
	asleep  bool
}

func (w *worker) join() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns++; !w.running {
		w.running = true
		go w.run()
	}
}

// leave lets the goroutine end with its last connection.
func (w *worker) leave() {
	w.mu.Lock()
	w.conns--
	wake := w.conns == 0 && w.asleep
	if wake {
		w.asleep = false
	}
	w.mu.Unlock()
	if wake {
		w.wake <- struct{}{}
	}
}

// add puts t, which is on no list, on the dirty list.
func (w *worker) add(t *tap) {
	w.mu.Lock()
	w.dirty = append(w.dirty, t)
	wake := w.asleep
	w.asleep = false
	if !w.running { // t has left already, but its last frames have not
		w.running = true
		go w.run()
	}
	w.mu.Unlock()
	if wake {
		w.wake <- struct{}{}
	}
}

func (w *worker) run() {
	buf := make([]byte, 0, most)
	for {
		w.mu.Lock()
		list := w.dirty
		if len(list) == 0 {
			if w.conns == 0 {
				w.running, w.dirty, w.spare = false, nil, nil
				w.mu.Unlock()
				return
			}
			w.asleep = true
			w.mu.Unlock()
			<-w.wake
			w.pause()
			continue
		}
		w.dirty = w.spare[:0]
		w.mu.Unlock()
		w.passes.Add(1)
		for i, t := range list {
			t.flush(w, buf)
			list[i] = nil
		}
		w.spare = list[:0]
	}
}

// yield is called by a reader before it looks for the next message. A client that
// waits for an answer has sent nothing yet: looking at once would find nothing,
// and cost a read(2) and a sleep. Once the others have had their turn, the
// answers of a busy server are on their way, and the next message is often there.
// Only between every other pass: who does sleep is woken when nobody is running.
func (w *worker) yield() {
	if w.passes.Load()%2 != 0 {
		runtime.Gosched()
	}
}

// pause lets the readers that are ready add theirs first: that costs no latency
// worth naming and saves most syscalls where messages come in bursts.
func (w *worker) pause() {
	runtime.Gosched()
	if w.window > 0 {
		time.Sleep(w.window)
	}
}
