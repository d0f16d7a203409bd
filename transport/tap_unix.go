//go:build unix

package transport

import (
	"io"
	"net"
	"syscall"
)

// rawConn returns the socket beneath nc, or nil where it is no plain one. What
// embeds a plain one is none: its Read and Write may do more.
func rawConn(nc net.Conn) syscall.RawConn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if raw, err := nc.(syscall.Conn).SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// try writes out once and does not wait: n is what the socket took.
func (w *worker) try(raw syscall.RawConn, out []byte) (n int, err error) {
	w.out, w.n, w.err = out, 0, nil
	err = raw.Write(w.write)
	w.out = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

// writeOnce is the callback of try, made once: a closure for each write would be
// an allocation for each delivery. Returning true means: do not wait.
func (w *worker) writeOnce(fd uintptr) bool {
	n, err := write(int(fd), w.out)
	switch err {
	case nil:
		w.n = n
	case syscall.EAGAIN, syscall.EINTR:
	default:
		w.err = err
	}
	return true
}

// fillOnce reads once if there is something; returning false means: wait.
func (in *inbox) fillOnce(fd uintptr) bool {
	if in.buf == nil {
		in.buf = inboxes.Get().(*[]byte)
	}
	for {
		in.n, in.err = read(int(fd), *in.buf)
		switch in.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			in.release()
			return false
		case nil:
			if in.n == 0 {
				in.err = io.EOF
			}
		}
		return true
	}
}
