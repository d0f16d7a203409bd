//go:build unix

package transport_test

import "syscall"

// small keeps what the kernel takes for a client that does not read small. That
// has to be said before connecting: a window that shrinks later loses segments.
func small(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, kernel)
	})
}
