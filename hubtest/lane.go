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
// which it is due, so that how long it is on the way does not depend on what is
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
	due  time.Time // zero: at once
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
		p, ok := l.take()
		if ok && p.end != nil {
			l.leave(p.end)
			break
		}
		if !ok || !l.pass(p.data) {
			l.fail()
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
		due := l.due()
		l.mu.Lock()
		for l.bytes >= window && !l.left {
			l.cond.Wait()
		}
		if n > 0 {
			l.line = append(l.line, piece{data: slices.Clone(buf[:n]), due: due})
			l.bytes += n
		}
		if err != nil {
			l.line = append(l.line, piece{end: err, due: due})
		}
		l.cond.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take waits for the next piece, and takes it when it is due, with all that came
// at the same time. The last one is an end. It reports false when the connection
// has been cut.
func (l *lane) take() (piece, bool) {
	l.mu.Lock()
	for len(l.line) == 0 {
		l.cond.Wait()
	}
	p := l.line[0]
	l.mu.Unlock()
	if !l.until(p.due) {
		return piece{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 1
	for p.end == nil && n < len(l.line) && l.line[n].end == nil && l.line[n].due.Equal(p.due) {
		p.data = append(p.data, l.line[n].data...)
		n++
	}
	l.line = l.line[n:]
	l.bytes -= len(p.data)
	l.cond.Broadcast()
	return p, true
}

// pass does with bytes what the faults say, and reports whether the connection
// goes on.
func (l *lane) pass(p []byte) bool {
	for len(p) > 0 {
		c, changed := l.faults.condition(l.link, l.way)
		switch {
		case c.swallow:
			return true
		case c.hold && len(l.late)+len(p) <= mostLen:
			l.late = append(l.late, p...)
			return true
		case c.hold || c.stall:
			if !l.stalled(changed) {
				return false
			}
			continue
		case len(l.late) > 0: // what was held back comes first
			p = append(l.late, p...)
			l.late = nil
		}
		n, ok := l.pace(c, len(p))
		if !ok {
			return false
		}
		if _, err := l.dst.Write(p[:n]); err != nil {
			c, _ = l.faults.condition(l.link, l.way)
			return c.swallow
		}
		p = p[n:]
	}
	return true
}

// stalled waits for a change. Where there are delays, what was held back on several
// connections arrives at different times then, too.
func (l *lane) stalled(changed <-chan struct{}) bool {
	if !l.wait(changed, 0) {
		return false
	}
	if by := l.faults.delay(l.link, l.way); by > 0 {
		return l.until(time.Now().Add(l.apart()))
	}
	return true
}

// due says when what comes now arrives.
func (l *lane) due() time.Time {
	by := l.faults.delay(l.link, l.way)
	if by == 0 {
		return time.Time{}
	}
	return time.Now().Add(by + l.apart())
}

// apart is what delays of this connection have more than those of the first one.
func (l *lane) apart() time.Duration { return time.Duration(l.nth) }

// until waits for a time.
func (l *lane) until(t time.Time) bool {
	d := time.Until(t)
	return d <= 0 || l.wait(nil, d)
}

// pace waits until the next of n bytes may be written, and returns how many.
func (l *lane) pace(c condition, n int) (int, bool) {
	var d time.Duration
	if c.rate > 0 {
		n = min(n, max(1, c.rate/20))
		d = time.Duration(n) * time.Second / time.Duration(c.rate)
	}
	if c.size > 0 {
		n, d = min(n, c.size), max(d, time.Microsecond)
	}
	return n, d == 0 || l.wait(nil, d)
}

// leave tells dst how src has ended, once the faults let it through.
func (l *lane) leave(end error) {
	for {
		c, changed := l.faults.condition(l.link, l.way)
		switch {
		case c.swallow:
			return
		case c.stall || c.hold:
			if !l.stalled(changed) {
				return
			}
			continue
		case len(l.late) > 0:
			late := l.late
			if l.late = nil; !l.pass(late) {
				l.fail()
				return
			}
			continue
		}
		break
	}
	l.faults.mu.Lock()
	severed := l.severed
	l.faults.mu.Unlock()
	if errors.Is(end, io.EOF) || severed {
		_ = l.dst.CloseWrite()
	} else {
		l.fail()
	}
}

// fail resets both sides, when they have had time for what came before.
func (l *lane) fail() {
	if l.until(l.due()) {
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
