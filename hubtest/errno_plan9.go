package hubtest

import "syscall"

// What a network's errors are, where they have no numbers.
var (
	errReset   = syscall.NewError("connection reset by peer")
	errPipe    = syscall.NewError("broken pipe")
	errRefused = syscall.NewError("connection refused")
)
