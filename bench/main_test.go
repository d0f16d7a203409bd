//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/load"
	"github.com/hubbub-go/hubbub/bench/internal/suite"
)

// The suite starts its own program for servers, generator and pinning. In tests
// that is the test program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"serve", "load", "pin"}, os.Args[1]) {
		main()
		return
	}
	os.Exit(m.Run())
}

// tiny: every kind of load, ten members.
func tiny() []suite.Scenario {
	window := 300 * time.Millisecond // enough for a machine that is busy with other tests
	return []suite.Scenario{
		{Name: "saturated", Table: suite.Deliveries, Plan: load.Plan{
			Kind: load.Broadcast, Rooms: 1, Members: 10, Publishers: 4, InFlight: 32, Payload: 128, Window: window}},
		{Name: "sparse", Table: suite.Deliveries, Plan: load.Plan{
			Kind: load.Broadcast, Rooms: 1, Members: 10, Publishers: 4, Rate: 200, Payload: 128, Window: window}},
		{Name: "small-rooms", Table: suite.Deliveries, Plan: load.Plan{
			Kind: load.Broadcast, Rooms: 5, Members: 2, Publishers: 1, InFlight: 3, Payload: 128, Window: window}},
		{Name: "echo", Table: suite.Deliveries, Plan: load.Plan{
			Kind: load.Echo, Rooms: 10, Members: 1, Publishers: 1, InFlight: 10, Payload: 128, Window: window}},
		{Name: "connect", Table: suite.Connects, Plan: load.Plan{
			Kind: load.Connect, Rooms: 1, Members: 10, Settle: time.Millisecond}},
	}
}

func runTiny(t *testing.T, names ...string) {
	t.Helper()
	o := options{runs: 1, servers: strings.Join(names, ",")}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := o.suite(folder, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.Scenarios, s.Progress = tiny(), t.Output()
	results, err := s.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range results.Failures {
		t.Errorf("%s, %s: %v", failure.Scenario, failure.Server, failure.Err)
	}
	for scenario, samples := range results.Samples {
		for _, name := range names {
			if len(samples[name]) != 1 || samples[name][0].ServerCPU <= 0 {
				t.Errorf("%s, %s: %+v", scenario, name, samples[name])
			}
		}
	}
}

func TestGoServers(t *testing.T) {
	for _, name := range []string{suite.OneWrite, suite.Coalesce, "gorilla", "gws", "melody"} {
		t.Run(name, func(t *testing.T) { runTiny(t, name) })
	}
}

// hubbub's own server is built for this, which takes longer than all the rest.
func TestHubbub(t *testing.T) {
	if testing.Short() {
		t.Skip("in short mode")
	}
	_, err := os.Stat("../examples/relay")
	need(t, "examples/relay beside this module", err)
	runTiny(t, suite.Hubbub)
}

func TestNodeServers(t *testing.T) {
	_, err := exec.LookPath("node")
	need(t, "node", err)
	_, err = os.Stat("node/node_modules/.package-lock.json")
	need(t, "what npm ci in the folder node brings", err)
	runTiny(t, "node-ws", "socketio")
}

// need skips the test where something is missing, or fails it in CI, where nothing
// may be left out.
func need(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is missing: %v", what, err)
	default:
		t.Skipf("%s is missing: %v", what, err)
	}
}

func TestChoose(t *testing.T) {
	for names, want := range map[string]string{
		"":                    "echo saturated-100 saturated-1000",
		"saturated-100":       "saturated-100",
		"saturated":           "saturated-100 saturated-1000",
		"saturated-1000,echo": "echo saturated-1000",
	} {
		got, err := choose([]string{"echo", "saturated-100", "saturated-1000"}, names, func(s string) string { return s })
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", names, got, err)
		}
	}
	if _, err := choose([]string{"echo"}, "echo,ehco", func(s string) string { return s }); err == nil {
		t.Error("a name that is nobody's is accepted")
	}
}

func TestFlags(t *testing.T) {
	if o, err := parse(nil); err != nil || o.runs != 5 || o.pace() != suite.Full {
		t.Errorf("without flags: %+v, %v", o, err)
	}
	if o, err := parse([]string{"-quick", "-window", "2s"}); err != nil || o.runs != 1 || o.pace().Window != 2*time.Second || o.pace().Warmup != suite.Quick.Warmup {
		t.Errorf("quick: %+v, %v", o, err)
	}
	if _, err := parse([]string{"echo"}); err == nil {
		t.Error("an argument that means nothing is accepted")
	}
}
