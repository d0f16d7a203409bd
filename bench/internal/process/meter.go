//go:build linux

// Package process pins, watches and measures the processes of the benchmark.
package process

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the CPU time, user and system, that all threads of a process have
// used, ended ones included.
//
// It reads the CPU-time clock of that process, which the scheduler keeps in
// nanoseconds; the figures in /proc/PID/stat are the same sum in ticks of 10 ms.
func CPU(pid int) (time.Duration, error) {
	// The clock's number as clock_getcpuclockid(3) makes it; the 2 asks for the
	// scheduler's account of the whole process.
	const scheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &t); err != nil {
		return 0, fmt.Errorf("process: CPU clock of %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Resident is the resident set of a process in bytes.
//
// smaps_rollup walks the page tables and is exact. The VmRSS of
// /proc/PID/status may be off by some hundred kB for each CPU, which would show
// with small servers.
func Resident(pid int) (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "Rss:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("process: no Rss of %d: %w", pid, lines.Err())
}
