//go:build linux

// Command bench measures what hubbub costs, beside other servers and beside two
// yardsticks that show what the kernel alone costs. README.md explains it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/load"
	"github.com/hubbub-go/hubbub/bench/internal/peer"
	"github.com/hubbub-go/hubbub/bench/internal/process"
	"github.com/hubbub-go/hubbub/bench/internal/suite"
	"github.com/hubbub-go/hubbub/bench/internal/yardstick"
)

func init() {
	// Children are told to die with the thread that started them. The main
	// thread is the only one that lives as long as the program.
	runtime.LockOSThread()
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run chooses the command. The suite starts this very program again for the
// other three.
func run(args []string) error {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "serve":
		return serve(args[1:])
	case "load":
		return generate(os.Stdin, os.Stdout)
	case "pin":
		return pin(args[1:])
	}
	return benchmark(args)
}

// serve: NAME -addr HOST:PORT
func serve(args []string) error {
	if len(args) == 0 {
		return errors.New("serve: which server?")
	}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	address := flags.String("addr", "127.0.0.1:8080", "where to listen")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if handler := peer.Handlers[args[0]]; handler != nil {
		return peer.Serve(os.Stdout, *address, handler())
	}
	if args[0] != suite.OneWrite && args[0] != suite.Coalesce {
		return fmt.Errorf("serve: no server %q", args[0])
	}
	server, err := yardstick.Listen(*address, args[0] == suite.Coalesce)
	if err != nil {
		return err
	}
	return server.Serve(os.Stdout, *address)
}

// generate reads a plan and writes its result, both as JSON.
func generate(in io.Reader, out io.Writer) error {
	var plan load.Plan
	if err := json.NewDecoder(in).Decode(&plan); err != nil {
		return err
	}
	result, err := load.Run(context.Background(), plan)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// pin: CPU COMMAND...
func pin(args []string) error {
	if len(args) == 0 {
		return errors.New("pin: to which CPU?")
	}
	cpu, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	return process.Pinned(cpu, args[1:])
}

type options struct {
	runs      int
	quick     bool
	window    time.Duration
	scenarios string
	servers   string
	output    string
	cpus      string
	relay     string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.runs, "runs", 0, "runs of each server in each scenario (default 5, with -quick 1)")
	flags.BoolVar(&o.quick, "quick", false, "short runs: a first impression, no figures to keep")
	flags.DurationVar(&o.window, "window", 0, "length of a measurement (default 4s, with -quick 1s)")
	flags.StringVar(&o.scenarios, "scenarios", "", "only these, separated by commas; saturated means all that begin so")
	flags.StringVar(&o.servers, "servers", "", "only these, separated by commas")
	flags.StringVar(&o.output, "o", "", "also write the report to this file")
	flags.StringVar(&o.cpus, "cpus", "", "server's and generator's CPU, as 0,1 (default: the first and the last allowed)")
	flags.StringVar(&o.relay, "relay", "", "further flags for hubbub's examples/relay, separated by blanks")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.runs == 0 {
		o.runs = 5
		if o.quick {
			o.runs = 1
		}
	}
	if o.runs < 0 || o.window < 0 {
		return o, errors.New("neither runs nor window can be negative")
	}
	return o, nil
}

func (o options) pace() suite.Pace {
	pace := suite.Full
	if o.quick {
		pace = suite.Quick
	}
	if o.window > 0 {
		pace.Window = o.window
	}
	return pace
}

// benchmark runs the suite and reports.
func benchmark(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(folder, "node", "package.json")); err != nil {
		return errors.New("run it in the folder bench")
	}
	scratch, err := os.MkdirTemp("", "hubbub-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	s, leftOut, err := o.suite(folder, scratch)
	if err != nil {
		return err
	}
	results, err := s.Run(ctx)
	if err != nil {
		return err
	}
	report := suite.Report{
		Suite: s, Results: results, LeftOut: leftOut,
		Command: strings.Join(append([]string{"go run ."}, args...), " "), Date: time.Now(),
		Machine: suite.Machine(), Versions: suite.Versions(folder, s.Entries),
	}
	return o.publish(report)
}

// suite chooses and prepares what is to be run.
func (o options) suite(folder, scratch string) (s *suite.Suite, leftOut []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	s = &suite.Suite{Self: self, Runs: o.runs, Progress: os.Stderr}
	if s.ServerCPU, s.LoadCPU, err = o.processors(); err != nil {
		return nil, nil, err
	}
	s.Scenarios, err = choose(suite.Scenarios(o.pace()), o.scenarios, func(c suite.Scenario) string { return c.Name })
	if err != nil {
		return nil, nil, err
	}
	servers, err := choose(suite.Servers(), o.servers, func(c suite.Server) string { return c.Name })
	if err != nil {
		return nil, nil, err
	}
	workshop := suite.Workshop{Self: self, Folder: folder, Scratch: scratch, Relay: strings.Fields(o.relay)}
	for _, server := range servers {
		command, err := server.Prepare(workshop)
		if err != nil && o.servers != "" {
			return nil, nil, err // it was asked for by name
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "left out:", err)
			leftOut = append(leftOut, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		s.Entries = append(s.Entries, suite.Entry{Server: server, Command: command})
	}
	return s, leftOut, nil
}

func (o options) processors() (server, generator int, err error) {
	allowed, err := process.CPUs()
	if err != nil {
		return 0, 0, err
	}
	if o.cpus == "" {
		return allowed[0], allowed[len(allowed)-1], nil
	}
	if _, err := fmt.Sscanf(o.cpus, "%d,%d", &server, &generator); err != nil {
		return 0, 0, fmt.Errorf("-cpus %s: %w", o.cpus, err)
	}
	for _, cpu := range []int{server, generator} {
		if !slices.Contains(allowed, cpu) {
			return 0, 0, fmt.Errorf("-cpus %s: allowed are %v", o.cpus, allowed)
		}
	}
	return server, generator, nil
}

// choose picks the named items, in their own order; all if there are no names.
// A name that is nobody's own picks all that begin with it.
func choose[T any](items []T, names string, nameOf func(T) string) ([]T, error) {
	if names == "" {
		return items, nil
	}
	chosen := make([]bool, len(items))
	for name := range strings.SplitSeq(names, ",") {
		matches := func(item T) bool { return nameOf(item) == name }
		if !slices.ContainsFunc(items, matches) {
			matches = func(item T) bool { return strings.HasPrefix(nameOf(item), name) }
		}
		if name == "" || !slices.ContainsFunc(items, matches) {
			return nil, fmt.Errorf("nothing is called %q", name)
		}
		for i, item := range items {
			chosen[i] = chosen[i] || matches(item)
		}
	}
	var list []T
	for i, item := range items {
		if chosen[i] {
			list = append(list, item)
		}
	}
	return list, nil
}

// publish prints the report, writes it where that was wanted, and fails if a
// run did.
func (o options) publish(report suite.Report) error {
	if err := report.Write(os.Stdout); err != nil {
		return err
	}
	if o.output != "" {
		var text strings.Builder
		if err := report.Write(&text); err != nil {
			return err
		}
		if err := os.WriteFile(o.output, []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	if n := len(report.Results.Failures); n > 0 {
		return fmt.Errorf("%d run(s) failed", n)
	}
	return nil
}
