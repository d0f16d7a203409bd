//go:build linux

package suite

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A Report is everything that is worth keeping of a benchmark.
type Report struct {
	Suite    *Suite
	Results  *Results
	Command  string
	Date     time.Time
	Machine  string
	Versions []string
	LeftOut  []string // servers, with the reason
}

// Write writes the report as Markdown.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark results\n\n")
	fmt.Fprintf(&b, "- Date: %s, by `%s`\n", r.Date.UTC().Format("2006-01-02 15:04 UTC"), r.Command)
	fmt.Fprintf(&b, "- Machine: %s; loopback, no TLS\n", r.Machine)
	fmt.Fprintf(&b, "- Versions: %s\n", strings.Join(r.Versions, ", "))
	fmt.Fprintf(&b, "- Server on CPU %d, generator on CPU %d", r.Suite.ServerCPU, r.Suite.LoadCPU)
	if r.Suite.ServerCPU == r.Suite.LoadCPU {
		b.WriteString(" (the same: rates and latencies mean little)")
	}
	b.WriteString("\n")
	fmt.Fprintf(&b, "- %d interleaved run(s) of each server: medians, with (min..max) of the cost\n", r.Suite.Runs)
	b.WriteString("- CPU: user and system time of the whole server process from its CPU-time clock (nanoseconds), within the window; s/M: seconds per million deliveries\n")
	fmt.Fprintf(&b, "- %s deliveries checked, each exactly once and in its publisher's order\n", grouped(float64(r.checked())))
	for _, reason := range r.LeftOut {
		fmt.Fprintf(&b, "- Left out: %s\n", reason)
	}
	b.WriteString("\nREADME.md says what this measures and what it does not.\n")
	r.writeVerdicts(&b)
	for _, scenario := range r.Suite.Scenarios {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", scenario.Name, scenario.Title)
		writeMarkdown(&b, scenario.Table.rows(scenario.entries(r.Suite.Entries), r.Results.Samples[scenario.Name], r.Suite.Runs))
	}
	if len(r.Results.Failures) > 0 {
		b.WriteString("\n## FAILED runs\n\n")
		for _, failure := range r.Results.Failures {
			fmt.Fprintf(&b, "- %s, %s, run %d: %s\n", failure.Scenario, failure.Server, failure.Run,
				strings.ReplaceAll(failure.Err.Error(), "\n", " "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) checked() (n uint64) {
	for _, samples := range r.Results.Samples {
		for _, results := range samples {
			for _, result := range results {
				n += result.Checked
			}
		}
	}
	return n
}
