//go:build linux

// Package socket wraps the few system calls that the load generator and the
// yardstick servers live on.
//
// All of them are raw: the Go scheduler does not learn of them. For calls that
// never block this saves its bookkeeping; for Wait it is what makes a process
// single-threaded in earnest, because no second thread takes over meanwhile.
// That is fair only to a process with nothing else to do, which is what both are.
package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads once from a non-blocking socket.
func Read(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// Write writes once to a non-blocking socket.
func Write(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// Again reports whether a call failed only because the socket was not ready or
// a signal came first.
func Again(errno unix.Errno) bool { return errno == unix.EAGAIN || errno == unix.EINTR }

// A Poller is an epoll set. The token given with a descriptor comes back in
// the Fd field of its events.
type Poller struct {
	fd     int
	events []unix.EpollEvent
}

// NewPoller makes an epoll set that reports up to 512 events at a time.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &Poller{fd: fd, events: make([]unix.EpollEvent, 512)}, nil
}

// Close gives the epoll set back.
func (p *Poller) Close() error { return unix.Close(p.fd) }

// Add starts waiting for events of fd.
func (p *Poller) Add(fd int, token int32, events uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: token})
}

// Change replaces the events waited for.
func (p *Poller) Change(fd int, token int32, events uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: token})
}

// Wait blocks for at most the given milliseconds, for ever if negative. The
// result is valid until the next call.
func (p *Poller) Wait(milliseconds int) ([]unix.EpollEvent, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(milliseconds), 0, 0)
	switch errno {
	case 0:
		return p.events[:n], nil
	case unix.EINTR:
		return nil, nil
	}
	return nil, errno
}

// Stream makes a non-blocking TCP socket that sends small writes at once.
func Stream() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
