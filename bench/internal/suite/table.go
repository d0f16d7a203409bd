//go:build linux

package suite

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/bench/internal/load"
	"github.com/hubbub-go/hubbub/bench/internal/statistic"
)

// A Table is how the results of a scenario are laid out. Its cost is what is
// compared; the other columns explain it.
type Table struct {
	unit    string
	cost    func(load.Result) float64
	ratios  bool // of the cost to that of the yardsticks
	columns []column
}

// A column shows the median of a figure.
type column struct {
	title  string
	figure func(load.Result) float64
	format func(float64) string
}

// The tables.
var (
	Deliveries = Table{
		unit:   "CPU s/M",
		cost:   func(r load.Result) float64 { return r.ServerCPU.Seconds() / float64(r.Deliveries) * 1e6 },
		ratios: true,
		columns: append([]column{
			{"deliveries/s", func(r load.Result) float64 { return float64(r.Deliveries) / r.Elapsed.Seconds() }, grouped},
		}, load50, load99, busyServer, busyLoad),
	}
	Connects = Table{
		unit:   "CPU µs/connection",
		cost:   func(r load.Result) float64 { return r.ServerCPU.Seconds() / float64(r.Connections) * 1e6 },
		ratios: true,
		columns: append([]column{
			{"connections/s", func(r load.Result) float64 { return float64(r.Connections) / r.Elapsed.Seconds() }, grouped},
		}, load50, load99, busyServer, busyLoad),
	}
	Memory = Table{
		unit: "RSS B/connection",
		cost: func(r load.Result) float64 { return float64(r.Resident) / float64(r.Connections) },
	}
)

var (
	load50     = column{"p50 ms", func(r load.Result) float64 { return r.P50.Seconds() * 1e3 }, significant}
	load99     = column{"p99 ms", func(r load.Result) float64 { return r.P99.Seconds() * 1e3 }, significant}
	busyServer = column{"server busy", func(r load.Result) float64 { return busy(r.ServerCPU, r.Elapsed) }, percent}
	busyLoad   = column{"generator busy", func(r load.Result) float64 { return busy(r.LoadCPU, r.Elapsed) }, percent}
)

// rows lays out the results, with the header as the first row.
func (t Table) rows(entries []Entry, samples map[string][]load.Result, runs int) [][]string {
	header := []string{"server", t.unit + " (min..max)"}
	if t.ratios {
		header = append(header, "x "+OneWrite, "x "+Coalesce)
	}
	for _, c := range t.columns {
		header = append(header, c.title)
	}
	rows := [][]string{header}
	for _, entry := range entries {
		rows = append(rows, t.row(entry.Name, samples, runs, len(header)))
	}
	return rows
}

func (t Table) row(name string, samples map[string][]load.Result, runs, width int) []string {
	results := samples[name]
	row := []string{name}
	if len(results) == 0 {
		row = append(row, "FAILED")
		for len(row) < width {
			row = append(row, "–")
		}
		return row
	}
	cost := spread(results, t.cost)
	text := significant(cost.Median)
	if len(results) > 1 {
		text += fmt.Sprintf(" (%s..%s)", significant(cost.Min), significant(cost.Max))
	}
	if lost := runs - len(results); lost > 0 {
		text += fmt.Sprintf(" — %d of %d runs FAILED", lost, runs)
	}
	row = append(row, text)
	if t.ratios {
		for _, yardstick := range []string{OneWrite, Coalesce} {
			row = append(row, ratio(cost.Median, spread(samples[yardstick], t.cost).Median))
		}
	}
	for _, c := range t.columns {
		row = append(row, c.format(spread(results, c.figure).Median))
	}
	return row
}

func spread(results []load.Result, figure func(load.Result) float64) statistic.Spread {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = figure(r)
	}
	return statistic.Of(values)
}

// writeMarkdown writes rows as a table that is readable as plain text, too.
func writeMarkdown(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, row := range rows {
		for j, cell := range row {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, "|")
		if i > 0 {
			continue
		}
		for j := range row {
			fmt.Fprintf(w, "|%s", strings.Repeat("-", widths[j]+2))
		}
		fmt.Fprintln(w, "|")
	}
}

// ratio shows a / b where there is a b.
func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}

// significant shows three significant digits, and whole numbers in full.
func significant(v float64) string {
	if math.Abs(v) >= 1000 {
		return grouped(v)
	}
	decimals := 2
	if v != 0 {
		decimals = max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	return strconv.FormatFloat(v, 'f', min(decimals, 6), 64)
}

// grouped shows a whole number with its thousands apart.
func grouped(v float64) string {
	text := strconv.FormatFloat(math.Round(math.Abs(v)), 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if v <= -0.5 {
		text = "-" + text
	}
	return text
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 0, 64) + " %" }
