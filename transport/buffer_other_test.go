//go:build !unix

package transport_test

import "syscall"

func small(string, string, syscall.RawConn) error { return nil }
