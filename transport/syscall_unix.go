//go:build unix && !linux

package transport

import "syscall"

func write(fd int, b []byte) (int, error) { return syscall.Write(fd, b) }

func read(fd int, b []byte) (int, error) { return syscall.Read(fd, b) }
