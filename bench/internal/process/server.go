//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// A Server is a child process that listens on an address.
type Server struct {
	Address string
	PID     int

	command *exec.Cmd
	output  *transcript
	exited  chan struct{}
}

// FreeAddress finds a port of 127.0.0.1 that nobody listens on.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// StartServer runs the command and waits until it has printed the address.
// What the command prints after that is kept only for error messages.
func StartServer(ctx context.Context, address string, command []string) (*Server, error) {
	s := &Server{
		Address: address,
		command: exec.Command(command[0], command[1:]...),
		output:  &transcript{address: regexp.MustCompile(regexp.QuoteMeta(address) + `\b`), found: make(chan struct{})},
		exited:  make(chan struct{}),
	}
	s.command.Stdout, s.command.Stderr = s.output, s.output
	// Nothing that was started may outlive the benchmark, however that ends.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	s.PID = s.command.Process.Pid
	go func() {
		_ = s.command.Wait() // that it ended is what matters; Fault says so
		close(s.exited)
	}()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	var err error
	select {
	case <-s.output.found:
		return s, nil
	case <-s.exited:
		err = errors.New("ended before it listened")
	case <-timeout.C:
		err = errors.New("does not say that it listens")
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.Stop()
	return nil, fmt.Errorf("%s: %w; it said: %s", command[0], err, s.output)
}

// Fault is an error if the server has ended, with what it printed.
func (s *Server) Fault() error {
	select {
	case <-s.exited:
		return fmt.Errorf("server ended (%v); it said: %s", s.command.ProcessState, s.output)
	default:
		return nil
	}
}

// Stop ends the process at once: there is nothing in it to be saved.
func (s *Server) Stop() {
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-s.exited
}

// A transcript keeps the beginning of what a process prints and tells when an
// address has occurred in it.
type transcript struct {
	address *regexp.Regexp
	found   chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	seen bool
}

const transcriptLimit = 8 << 10

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := transcriptLimit - t.text.Len(); room > 0 {
		t.text.Write(b[:min(len(b), room)])
	}
	if !t.seen && t.address.Match(t.text.Bytes()) {
		t.seen = true
		close(t.found)
	}
	return len(b), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text.Bytes()))
}
