//go:build !plan9

package hubtest

import "syscall"

// What a network's errors are.
const (
	errReset   = syscall.ECONNRESET
	errPipe    = syscall.EPIPE
	errRefused = syscall.ECONNREFUSED
)
