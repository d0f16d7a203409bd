//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// CPUs lists the processors that this process may run on.
func CPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var list []int
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}

// Files is the largest number of files that a process may have open.
func Files() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Max, err
}

// Pinned turns this process into the given command, on one processor and with
// as many open files as allowed. It returns only if that fails.
//
// The affinity of the calling thread survives exec, so that the command finds
// itself on one processor from its first instruction: a Go program then chooses
// its GOMAXPROCS accordingly. Setting it from outside would come too late.
func Pinned(cpu int, command []string) error {
	if len(command) == 0 {
		return errors.New("process: no command")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("process: pin to CPU %d: %w", cpu, err)
	}
	files, err := Files()
	if err != nil {
		return err
	}
	// Through package syscall, which otherwise restores the soft limit on exec.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files}); err != nil {
		return fmt.Errorf("process: open files: %w", err)
	}
	return syscall.Exec(path, command, os.Environ())
}
