// Package e2e has no code: its tests build real programs and talk to them from
// outside, with clients that share no code with the server, directly and
// through the proxies of docs/deploy.
package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. Nothing here takes that long unless it hangs.
const patience = 10 * time.Second

var binaries string // where built programs go

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hubbub-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// need skips the test where a tool is missing, or fails it in CI, where nothing
// may be left out.
func need(t *testing.T, tool string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed", tool)
	default:
		t.Skipf("%s is not installed", tool)
	}
}

// lookup finds a server program; Debian keeps them out of a user's PATH.
func lookup(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + tool)
	}
	need(t, tool, err == nil)
	return path
}

// process is a program that was started, and what it has said.
type process struct {
	cmd   *exec.Cmd
	lines chan string // its standard output
	ended chan error

	mu  sync.Mutex
	log bytes.Buffer
}

// start runs a program until the test ends. A race, a panic or a line of Go's
// runtime in its log fails the test.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), lines: make(chan string, 64), ended: make(chan error, 1)}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = w
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer out.Close()
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case p.lines <- s.Text():
			default: // nobody is interested any more
			}
		}
	}()
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.wait(t)
		if log := p.said(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
			t.Errorf("%s said:\n%s", path, log)
		} else if t.Failed() && log != "" {
			t.Logf("%s said:\n%s", path, log)
		}
	})
	return p
}

// Write collects what the program says on standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// wait returns how the program ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(patience):
		t.Fatalf("%s did not end", p.cmd.Path)
		return nil
	}
}

func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

var loopback = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// startRelay runs examples/relay on a port that the system chooses and returns
// the address that it prints.
func startRelay(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	p := start(t, relay(t), append(args, "-addr", "127.0.0.1:0")...)
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("relay ended: %v", p.wait(t))
			}
			if addr := loopback.FindString(line); addr != "" {
				return p, addr
			}
		case <-timeout:
			t.Fatal("relay printed no address")
		}
	}
}

var build struct {
	once sync.Once
	path string
	err  error
}

// relay builds examples/relay, once, with the race detector if the tests have it.
func relay(t *testing.T) string {
	t.Helper()
	noteSources(t)
	build.once.Do(func() {
		build.path = filepath.Join(binaries, "relay")
		args := []string{"build", "-buildvcs=false", "-o", build.path}
		if race {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "../../examples/relay")...).CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// noteSources looks at every file that goes into a program, because go test
// repeats a cached pass unless a file that the test itself looked at has changed.
func noteSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "node_modules" || d.Name() == "bench" || d.Name() == "js"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "go.mod"):
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// freePort finds a port for a program that cannot be told to choose one.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// reachable waits until p accepts connections at addr.
func (p *process) reachable(t *testing.T, addr string) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	timeout := time.After(patience)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-again.C:
		case err := <-p.ended:
			p.ended <- err
			t.Fatalf("%s ended: %v", p.cmd.Path, err)
		case <-timeout:
			t.Fatalf("%s does not listen: %v", p.cmd.Path, err)
		}
	}
}
