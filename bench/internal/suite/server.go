//go:build linux

package suite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A Server is one of the programs to compare.
type Server struct {
	Name    string
	About   string
	Dialect string
	// prepare does what must be done once, and makes the command, to which an
	// -addr flag is appended.
	prepare func(Workshop) ([]string, error)
}

// A Workshop is where servers are made.
type Workshop struct {
	Self    string // the benchmark's own program
	Folder  string // of the benchmark's module
	Scratch string // for what is built
	Relay   []string
}

// The yardsticks, by which the costs of the others are divided.
const (
	OneWrite = "one-write"
	Coalesce = "coalesce"
	Hubbub   = "hubbub"
)

const envelopes = "envelope"

// Servers lists all of them.
func Servers() []Server {
	return []Server{
		{OneWrite, "yardstick: one thread, epoll, one write(2) a delivery", envelopes, itself(OneWrite)},
		{Coalesce, "yardstick: as one-write, but one write(2) for all that is pending for a member", envelopes, itself(Coalesce)},
		{Hubbub, "examples/relay", envelopes, relay},
		{"gorilla", "gorilla/websocket, a hub goroutine a room, writer goroutines", envelopes, itself("gorilla")},
		{"gws", "lxzan/gws, Broadcaster", envelopes, itself("gws")},
		{"melody", "olahol/melody", envelopes, itself("melody")},
		{"node-ws", "ws on Node.js", envelopes, node("ws.js")},
		{"socketio", "Socket.IO on Node.js, WebSocket transport only", "socketio", node("socketio.js")},
	}
}

// Prepare makes the server's command.
func (s Server) Prepare(w Workshop) ([]string, error) {
	command, err := s.prepare(w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return command, nil
}

// itself: these servers are part of this program.
func itself(name string) func(Workshop) ([]string, error) {
	return func(w Workshop) ([]string, error) { return []string{w.Self, "serve", name}, nil }
}

func relay(w Workshop) ([]string, error) {
	root := filepath.Dir(w.Folder)
	if _, err := os.Stat(filepath.Join(root, "examples", "relay")); err != nil {
		return nil, errors.New("there is no examples/relay beside the benchmark")
	}
	program := filepath.Join(w.Scratch, "relay")
	if err := execute(root, "go", "build", "-o", program, "./examples/relay"); err != nil {
		return nil, err
	}
	return append([]string{program}, w.Relay...), nil
}

func node(script string) func(Workshop) ([]string, error) {
	return func(w Workshop) ([]string, error) {
		program, err := exec.LookPath("node")
		if err != nil {
			return nil, errors.New("node is not installed")
		}
		folder := filepath.Join(w.Folder, "node")
		if err := install(folder); err != nil {
			return nil, err
		}
		return []string{program, filepath.Join(folder, script)}, nil
	}
}

// install fetches the packages of the lock file, unless that has been done.
func install(folder string) error {
	// npm writes this file last.
	done, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if err == nil {
		lock, err := os.Stat(filepath.Join(folder, "package-lock.json"))
		if err != nil || !lock.ModTime().After(done.ModTime()) {
			return err
		}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return errors.New("npm is not installed")
	}
	return execute(folder, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
}

// execute runs a tool whose output matters only if it fails.
func execute(folder, name string, args ...string) error {
	command := exec.Command(name, args...)
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", command.Args, err, bytes.TrimSpace(output))
	}
	return nil
}
