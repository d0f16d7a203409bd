package hubtest

import (
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

const mostLen = 1 << 20 // bytes that an overlap holds back

// lane is one direction of a link. What is read stands in a line with the time at
// which it came, so that how long it is on the way does not depend on what is
// before it, nor on how it is cut into pieces.
type lane struct {
	*link
	src, dst stream
	way      Way
	late     []byte // held back by an overlap

	mu    sync.Mutex
	cond  sync.Cond
	line  []piece
	bytes int  // in line, up to window and one piece more
	left  bool // nobody takes from it any more
}

// piece is bytes on the way, or the end behind them.
type piece struct {
	data []byte
	end  error
	came time.Time
}

func newLane(l *link, src, dst stream, way Way) *lane {
	ln := &lane{link: l, src: src, dst: dst, way: way}
	ln.cond.L = &ln.mu
	return ln
}

// carry returns when all has arrived, or nothing more will.
func (l *lane) carry() {
	var reading sync.WaitGroup
	reading.Go(l.read)
	for {
		p := l.take()
		if p.end != nil {
			l.leave(p)
			break
		}
		if !l.pass(p) {
			l.abort()
			break
		}
	}
	l.mu.Lock()
	l.left = true
	l.cond.Broadcast()
	l.mu.Unlock()
	reading.Wait()
}

// read puts into the line what comes, to the end.
func (l *lane) read() {
	buf := make([]byte, 16<<10)
	for {
		n, err := l.src.Read(buf)
		l.mu.Lock()
		for l.bytes >= window && !l.left {
			l.cond.Wait()
		}
		if n > 0 {
			l.line = append(l.line, piece{data: slices.Clone(buf[:n]), came: time.Now()})
			l.bytes += n
		}
		if err != nil {
			l.line = append(l.line, piece{end: err, came: time.Now()})
		}
		l.cond.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take waits for the next piece. The last one is an end.
func (l *lane) take() piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.line) == 0 {
		l.cond.Wait()
	}
	p := l.line[0]
	l.line = l.line[1:]
	l.bytes -= len(p.data)
	l.cond.Broadcast()
	return p
}

// pass does with bytes what the faults say, and reports whether the connection
// goes on.
func (l *lane) pass(p piece) bool {
	delayed := false
	for len(p.data) > 0 {
		c, changed := l.faults.condition(l.link, l.way)
		switch {
		case c.swallow:
			return true
		case c.by > 0 && !delayed:
			delayed = true
			if !l.delay(p, c.by) {
				return false
			}
			continue
		case c.hold && len(l.late)+len(p.data) <= mostLen:
			l.late = append(l.late, p.data...)
			return true
		case c.hold || c.stall:
			if !l.stalled(c, changed) {
				return false
			}
			continue
		case len(l.late) > 0: // what was held back comes first
			p.data = append(l.late, p.data...)
			l.late = nil
		}
		n, ok := l.pace(c, len(p.data))
		if !ok {
			return false
		}
		if _, err := l.dst.Write(p.data[:n]); err != nil {
			c, _ = l.faults.condition(l.link, l.way)
			return c.swallow
		}
		p.data = p.data[n:]
	}
	return true
}

// stalled waits for a change. What is held back on several connections is delayed
// differently then, too.
func (l *lane) stalled(c condition, changed <-chan struct{}) bool {
	return l.wait(changed, 0) && (c.by == 0 || l.nth == 0 || l.wait(nil, time.Duration(l.nth)))
}

// delay waits until p has been on its way for that time, and for a nanosecond for
// each connection before this one.
func (l *lane) delay(p piece, by time.Duration) bool {
	d := time.Until(p.came.Add(by + time.Duration(l.nth)))
	return d <= 0 || l.wait(nil, d)
}

// pace waits until the next of n bytes may be written, and returns how many.
func (l *lane) pace(c condition, n int) (int, bool) {
	var d time.Duration
	if c.rate > 0 {
		n = min(n, max(1, c.rate/20))
		d = time.Duration(n) * time.Second / time.Duration(c.rate)
	}
	if c.slice {
		n, d = 1, max(d, time.Microsecond)
	}
	return n, d == 0 || l.wait(nil, d)
}

// leave tells dst how src has ended, once the faults let it through.
func (l *lane) leave(p piece) {
	delayed := false
	for {
		c, changed := l.faults.condition(l.link, l.way)
		switch {
		case c.swallow:
			return
		case c.by > 0 && !delayed:
			delayed = true
			if !l.delay(p, c.by) {
				return
			}
			continue
		case c.stall || c.hold:
			if !l.stalled(c, changed) {
				return
			}
			continue
		case len(l.late) > 0:
			late := l.late
			if l.late = nil; !l.pass(piece{data: late}) {
				l.abort()
				return
			}
			continue
		}
		break
	}
	l.faults.mu.Lock()
	severed := l.severed
	l.faults.mu.Unlock()
	if errors.Is(p.end, io.EOF) || severed {
		_ = l.dst.CloseWrite()
	} else {
		l.abort()
	}
}

// wait waits for a change, or for a time if that is not 0. It reports false when
// the connection has been cut.
func (l *lane) wait(changed <-chan struct{}, d time.Duration) bool {
	var elapsed <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-changed:
	case <-elapsed:
	case <-l.dead:
		return false
	}
	return true
}
