//go:build linux

// Package load is the benchmark's load generator: one thread, epoll, and a
// check of every single delivery.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/process"
	"github.com/hubbub-go/hubbub/bench/internal/socket"
	"github.com/hubbub-go/hubbub/bench/internal/statistic"
	"golang.org/x/sys/unix"
)

const (
	// dialLimit bounds the connections that are on their way at a time, so that
	// no server's listen queue overflows: a dropped SYN costs a second, which
	// would say something about the queue only.
	dialLimit    = 128
	joinTimeout  = time.Minute
	drainTimeout = 30 * time.Second
	// quiet is how long a run listens on for deliveries that nobody is waiting
	// for any more: duplicates of the last messages.
	quiet = 50 * time.Millisecond
	// tickerToken marks the ticker among the connections' numbers in epoll.
	tickerToken = math.MaxInt32
)

// errTime ends a step whose time is over.
var errTime = errors.New("time is over")

type generator struct {
	ctx     context.Context
	plan    Plan
	dialect dialect
	address *unix.SockaddrInet4
	poller  *socket.Poller
	ticker  *ticker
	start   time.Time

	connections []*connection
	joined      int
	input       []byte // what one read takes, shared by all connections
	output      []byte // the frame being sent
	markers     reader
	received    time.Duration // when the data being handled was read

	before      string  // Resume: where everybody was
	since       string  // the same, once all is published
	ledger      *ledger // nil until everybody has joined
	publishers  []*publisher
	cursor      int // the next publisher in turn
	outstanding int // deliveries
	delivered   uint64
	stopping    bool
	paceStart   time.Duration
	paced       int
	latency     statistic.Histogram
}

// Run puts the load of the plan on its server and measures. An error means
// that the server did not do what it should, or that nothing could be measured.
func Run(ctx context.Context, plan Plan) (Result, error) {
	// One thread, and nothing of the collector in the latencies: a run allocates
	// little, and the memory limit is only a safety net.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(4 << 30))

	g, err := newGenerator(ctx, plan)
	if err != nil {
		return Result{}, err
	}
	defer g.close()
	before, err := process.Resident(plan.PID)
	if err != nil {
		return Result{}, err
	}
	if plan.Kind == Resume {
		if err := g.leave(); err != nil {
			return Result{}, fmt.Errorf("before anybody comes back: %w", err)
		}
	}
	connect, err := g.measure(g.connectAll)
	if err != nil {
		return Result{}, fmt.Errorf("connecting: %w", err)
	}
	switch plan.Kind {
	case Resume:
		connect.Checked = uint64(plan.connections()-1) * uint64(plan.Missed)
		connect.Deliveries = connect.Checked
		connect.Connections--
		return connect, nil
	case Connect:
	default:
		return g.traffic()
	}
	if err := g.idle(plan.Settle); err != nil {
		return Result{}, fmt.Errorf("idle: %w", err)
	}
	after, err := process.Resident(plan.PID)
	connect.Resident = after - before
	return connect, err
}

func newGenerator(ctx context.Context, plan Plan) (*generator, error) {
	if err := plan.check(); err != nil {
		return nil, err
	}
	speech := dialects[plan.Dialect]
	if speech == nil {
		return nil, fmt.Errorf("load: unknown dialect %q", plan.Dialect)
	}
	address, err := socket.Address(plan.Address)
	if err != nil {
		return nil, err
	}
	poller, err := socket.NewPoller()
	if err != nil {
		return nil, err
	}
	timer, err := newTicker()
	if err == nil {
		err = poller.Add(timer.fd, tickerToken, unix.EPOLLIN)
	}
	return &generator{
		ctx: ctx, plan: plan, dialect: speech, address: address, poller: poller, ticker: timer,
		start: time.Now(), input: make([]byte, 256<<10),
	}, err
}

func (g *generator) close() {
	for _, c := range g.connections {
		unix.Close(c.fd)
	}
	g.ticker.close()
	_ = g.poller.Close()
}

// now is the time since the run began.
func (g *generator) now() time.Duration { return time.Since(g.start) }

// until handles events until done says so. It fails when the time is over.
func (g *generator) until(limit time.Duration, done func() bool) error {
	for end := g.now() + limit; !done(); {
		left := end - g.now()
		if left <= 0 {
			return errTime
		}
		if err := g.ctx.Err(); err != nil {
			return err
		}
		// Waits are kept short for the sake of the context.
		if err := g.step(min(left, 100*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

// idle handles events for a while.
func (g *generator) idle(d time.Duration) error {
	err := g.until(d, func() bool { return false })
	if errors.Is(err, errTime) {
		return nil
	}
	return err
}

// step handles what is ready, and waits for it if nothing is.
func (g *generator) step(wait time.Duration) error {
	milliseconds := int((wait + time.Millisecond - 1) / time.Millisecond)
	events, err := g.poller.Wait(milliseconds)
	if err != nil {
		return err
	}
	for _, event := range events {
		if event.Fd == tickerToken {
			if err := g.pace(); err != nil {
				return err
			}
			continue
		}
		c := g.connections[event.Fd]
		if event.Events&unix.EPOLLOUT != 0 {
			if err := g.writable(c); err != nil {
				return err
			}
		}
		if event.Events&^unix.EPOLLOUT != 0 {
			if err := g.readable(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// connectAll dials and joins all connections of the plan.
func (g *generator) connectAll() error {
	var failed error
	err := g.until(joinTimeout, func() bool {
		for failed == nil && len(g.connections) < g.plan.connections() && len(g.connections)-g.joined < dialLimit {
			failed = g.dial()
		}
		return failed != nil || g.joined == g.plan.connections()
	})
	if errors.Is(err, errTime) {
		err = fmt.Errorf("%d of %d have joined after %v", g.joined, g.plan.connections(), joinTimeout)
	}
	return errors.Join(failed, err)
}

// traffic runs the messages of the plan over connections that have joined.
func (g *generator) traffic() (Result, error) {
	g.ledger = newLedger(g.plan, g.plan.Kind == Echo)
	err := g.preparePublishers()
	if err == nil {
		err = g.begin()
	}
	if err == nil {
		err = g.idle(g.plan.Warmup)
	}
	if err != nil {
		return Result{}, fmt.Errorf("warming up: %w", err)
	}
	result, err := g.measure(func() error { return g.idle(g.plan.Window) })
	if err != nil {
		return result, fmt.Errorf("measuring: %w", err)
	}
	if err := g.drain(); err != nil {
		return result, fmt.Errorf("after measuring: %w", err)
	}
	result.Checked = g.delivered
	return result, nil
}

// drain stops publishing and waits for what is still on its way.
func (g *generator) drain() error {
	g.stopping = true
	err := g.until(drainTimeout, func() bool { return g.outstanding == 0 })
	if errors.Is(err, errTime) {
		return fmt.Errorf("%d deliveries are missing after %v", g.outstanding, drainTimeout)
	}
	if err == nil {
		err = g.idle(quiet)
	}
	if err != nil {
		return err
	}
	return g.ledger.settle(func(publisher int) int { return len(g.publishers[publisher].messages) })
}

// measure runs a part and takes both processes' CPU time around it.
func (g *generator) measure(part func() error) (Result, error) {
	g.latency.Reset()
	delivered, began := g.delivered, g.now()
	server, err := process.CPU(g.plan.PID)
	if err != nil {
		return Result{}, err
	}
	generator, err := process.CPU(os.Getpid())
	if err != nil {
		return Result{}, err
	}
	failed := part()
	serverAfter, err := process.CPU(g.plan.PID)
	if err != nil {
		return Result{}, errors.Join(failed, err)
	}
	generatorAfter, err := process.CPU(os.Getpid())
	return Result{
		Deliveries:  g.delivered - delivered,
		Elapsed:     g.now() - began,
		ServerCPU:   serverAfter - server,
		LoadCPU:     generatorAfter - generator,
		P50:         g.latency.Percentile(50),
		P99:         g.latency.Percentile(99),
		Connections: g.joined,
	}, errors.Join(failed, err)
}
