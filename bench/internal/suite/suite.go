//go:build linux

// Package suite runs every scenario against every server, several times and
// interleaved, and sums up what that gave.
package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/load"
	"github.com/hubbub-go/hubbub/bench/internal/process"
)

// An Entry is a server with the command that runs it.
type Entry struct {
	Server
	Command []string
	prefix  string // of the rooms
}

// A Suite is what is to be run.
type Suite struct {
	Self      string // this program, for its pin and load commands
	Scenarios []Scenario
	Entries   []Entry
	Runs      int
	ServerCPU int
	LoadCPU   int
	Progress  io.Writer
}

// A Failure is a run that gave no figures.
type Failure struct {
	Scenario, Server string
	Run              int
	Err              error
}

// Results holds what the runs measured, by scenario and server.
type Results struct {
	Samples  map[string]map[string][]load.Result
	Failures []Failure
}

// runLimit bounds a single run. A plan's own limits are shorter.
const runLimit = 3 * time.Minute

// reserve is how many files a process needs besides its connections.
const reserve = 100

// Run works through the suite. A failed run does not end it; the context does.
func (s *Suite) Run(ctx context.Context) (*Results, error) {
	results := &Results{Samples: map[string]map[string][]load.Result{}}
	files, err := process.Files()
	if err != nil {
		return nil, err
	}
	for _, scenario := range s.Scenarios {
		if need := uint64(scenario.Plan.Rooms*scenario.Plan.Members + reserve); need > files {
			return nil, fmt.Errorf("%s needs %d open files, but no more than %d are allowed (ulimit -n)", scenario.Name, need, files)
		}
	}
	for _, scenario := range s.Scenarios {
		samples := map[string][]load.Result{}
		results.Samples[scenario.Name] = samples
		entries := scenario.entries(s.Entries)
		for run := range s.Runs {
			// Each run begins with another server, so that none is always the
			// one that comes after the heaviest.
			for i := range entries {
				entry := entries[(i+run)%len(entries)]
				result, err := s.single(ctx, scenario, entry)
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				s.tell(scenario, entry, run, result, err)
				if err != nil {
					results.Failures = append(results.Failures, Failure{scenario.Name, entry.Name, run + 1, err})
					continue
				}
				samples[entry.Name] = append(samples[entry.Name], result)
			}
		}
	}
	return results, nil
}

func (s *Suite) tell(scenario Scenario, entry Entry, run int, result load.Result, err error) {
	outcome := fmt.Sprintf("%s %s, server %.0f %% busy", significant(scenario.Table.cost(result)), scenario.Table.unit,
		100*busy(result.ServerCPU, result.Elapsed))
	if err != nil {
		outcome = fmt.Sprintf("FAILED: %v", err)
	}
	fmt.Fprintf(s.Progress, "%-15s run %d/%d  %-10s %s\n", scenario.Name, run+1, s.Runs, entry.Name, outcome)
}

// single starts a server, puts the load on it and ends it.
func (s *Suite) single(ctx context.Context, scenario Scenario, entry Entry) (load.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	address, err := process.FreeAddress()
	if err != nil {
		return load.Result{}, err
	}
	command := s.pinned(s.ServerCPU, entry.Command...)
	server, err := process.StartServer(ctx, address, append(command, "-addr", address))
	if err != nil {
		return load.Result{}, err
	}
	defer server.Stop()
	plan := scenario.Plan
	plan.Address, plan.PID, plan.Dialect, plan.Prefix = address, server.PID, entry.Dialect, entry.prefix
	result, err := s.generate(ctx, plan)
	if err != nil {
		return result, errors.Join(err, server.Fault())
	}
	if plan.Kind != load.Connect && result.Deliveries == 0 {
		return result, errors.New("nothing was delivered within the window")
	}
	return result, nil
}

// generate runs the load generator in a process of its own.
func (s *Suite) generate(ctx context.Context, plan load.Plan) (load.Result, error) {
	input, err := json.Marshal(plan)
	if err != nil {
		return load.Result{}, err
	}
	args := s.pinned(s.LoadCPU, s.Self, "load")
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output, complaint bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &output, &complaint
	if err := command.Run(); err != nil {
		if text := bytes.TrimSpace(complaint.Bytes()); len(text) > 0 {
			return load.Result{}, errors.New(string(text))
		}
		return load.Result{}, fmt.Errorf("load generator: %w", err)
	}
	var result load.Result
	err = json.Unmarshal(output.Bytes(), &result)
	return result, err
}

func (s *Suite) pinned(cpu int, command ...string) []string {
	return append([]string{s.Self, "pin", strconv.Itoa(cpu)}, command...)
}

func busy(used, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return used.Seconds() / elapsed.Seconds()
}
