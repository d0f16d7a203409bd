//go:build linux

package suite

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hubbub-go/hubbub/bench/internal/load"
)

func TestSignificant(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 0.00123: "0.00123", 0.2109: "0.211", 1: "1.00", 5.666: "5.67", 13.44: "13.4",
		905.97: "906", 1660.94: "1,661", 4154321: "4,154,321", -2.5: "-2.50", -1234: "-1,234",
	} {
		if got := significant(v); got != want {
			t.Errorf("significant(%v) = %s, want %s", v, got, want)
		}
	}
}

func sample(cpu time.Duration) load.Result {
	return load.Result{Deliveries: 1e6, Elapsed: time.Second, ServerCPU: cpu, LoadCPU: time.Second / 2, P50: time.Millisecond, P99: 2 * time.Millisecond, Checked: 10}
}

func TestReport(t *testing.T) {
	entries := []Entry{{Server: Server{Name: OneWrite}}, {Server: Server{Name: Hubbub}}, {Server: Server{Name: "gws"}}}
	report := Report{
		Suite: &Suite{Scenarios: []Scenario{{Name: "s", Title: "T", Table: Deliveries}}, Entries: entries, Runs: 3},
		Results: &Results{
			Samples: map[string]map[string][]load.Result{"s": {
				OneWrite: {sample(2 * time.Second), sample(4 * time.Second), sample(3 * time.Second)},
				Hubbub:   {sample(300 * time.Millisecond), sample(500 * time.Millisecond)},
			}},
			Failures: []Failure{{"s", "gws", 2, errors.New("lost\none")}},
		},
		LeftOut: []string{"node-ws: node is not installed"},
	}
	var b strings.Builder
	if err := report.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| one-write | 3.00 (2.00..4.00)",
		"| hubbub    | 0.400 (0.300..0.500) — 1 of 3 runs FAILED | 0.13        | –          | 1,000,000    | 1.00   | 2.00   | 40 %        | 50 %           |",
		"| gws       | FAILED",
		"- s, gws, run 2: lost one\n",
		"- Left out: node-ws: node is not installed\n",
		"- 50 deliveries checked",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestGoals(t *testing.T) {
	ms := func(n int) []load.Result { return []load.Result{sample(time.Duration(n) * time.Millisecond)} }
	report := Report{
		Suite: &Suite{Scenarios: Scenarios(Quick)},
		Results: &Results{Samples: map[string]map[string][]load.Result{
			"saturated-100":    {Hubbub: ms(400), Coalesce: ms(320)}, // just so
			"saturated-1000":   {Hubbub: ms(500), Coalesce: ms(390)},
			"saturated-9000":   {Hubbub: ms(300)},
			"recoverable-1000": {Hubbub: ms(200), Ephemeral: ms(190)},
			"idle":             {Hubbub: {{Connections: 1000, Resident: 14_001_000}}},
		}},
	}
	want := [][]string{
		{"goal", "at most", "measured"},
		{"saturated, 100 members, against coalesce", "1.25", "1.25 (0.400 / 0.320)"},
		{"saturated, 1,000 members, against coalesce", "1.25", "1.28 (0.500 / 0.390): missed"},
		{"saturated, 1,000 and 9,000 members, against 100", "1.30", "1.25 (0.500 / 0.400)"},
		{"a room with history, against one without", "1.15", "1.05 (0.200 / 0.190)"},
		{"idle, bytes resident for a connection", "14,000", "14,001: missed"},
	}
	if got := report.verdicts(); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
	report.Results = &Results{}
	if got := report.verdicts(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
}

// TestEntries: a scenario of hubbub's alone has a row for each kind of room.
func TestEntries(t *testing.T) {
	all := []Entry{{Server: Server{Name: "gws"}}, {Server: Server{Name: Hubbub, Dialect: envelopes}}}
	s := Scenario{Kinds: []Kind{{Hubbub, "log/"}, {Ephemeral, ""}}}
	want := []Entry{
		{Server: Server{Name: Hubbub, Dialect: envelopes}, prefix: "log/"},
		{Server: Server{Name: Ephemeral, Dialect: envelopes}},
	}
	if got := s.entries(all); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := s.entries(all[:1]); got != nil {
		t.Errorf("without hubbub: %+v", got)
	}
}

func TestTables(t *testing.T) {
	r := load.Result{Elapsed: 2 * time.Second, ServerCPU: time.Second, Connections: 5000, Resident: 5000 * 1000}
	if got := Connects.cost(r); got != 200 {
		t.Errorf("%v µs of CPU a connection", got)
	}
	if got := Memory.cost(r); got != 1000 {
		t.Errorf("%v B a connection", got)
	}
	if rows := Memory.rows([]Entry{{Server: Server{Name: "x"}}}, map[string][]load.Result{"x": {r}}, 1); rows[1][1] != "1,000" {
		t.Errorf("rows %q", rows)
	}
}
