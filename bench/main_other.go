//go:build !linux

// Command bench measures what hubbub costs. It needs Linux: epoll, CPU
// affinity and the CPU-time clocks of other processes.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs Linux")
	os.Exit(1)
}
