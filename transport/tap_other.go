//go:build !unix

package transport

import (
	"errors"
	"net"
	"syscall"
)

// rawConn: without a plain file descriptor every connection is flushed by a
// goroutine of its own, as TLS is everywhere.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (w *worker) try(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func (w *worker) writeOnce(uintptr) bool { return true }

func (in *inbox) fillOnce(uintptr) bool { return true }
