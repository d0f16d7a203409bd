//go:build linux

package load

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// A ticker makes epoll wake up at even intervals, more finely than the
// milliseconds of epoll's own timeout.
type ticker struct{ fd int }

func newTicker() (*ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	return &ticker{fd: fd}, err
}

func (t *ticker) start(interval time.Duration) error {
	every := unix.NsecToTimespec(int64(interval))
	return unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil)
}

// clear takes the count of ticks, so that epoll waits for the next one.
func (t *ticker) clear() error {
	var count [8]byte
	if _, err := unix.Read(t.fd, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
		return err
	}
	return nil
}

func (t *ticker) close() { unix.Close(t.fd) }
