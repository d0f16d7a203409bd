//go:build linux

package suite

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A goal is what hubbub is built to keep: the highest cost among of is at most
// limit times the lowest among to, or limit itself where there are none.
type goal struct {
	what   string
	limit  float64
	of, to []row
}

type row struct{ scenario, server string }

func goals() []goal {
	against := func(what, scenario string, limit float64, server string) goal {
		return goal{what, limit, []row{{scenario, Hubbub}}, []row{{scenario, server}}}
	}
	sizes := []row{{"saturated-100", Hubbub}, {"saturated-1000", Hubbub}, {"saturated-9000", Hubbub}}
	return []goal{
		against("saturated, 100 members, against coalesce", "saturated-100", 1.25, Coalesce),
		against("saturated, 1,000 members, against coalesce", "saturated-1000", 1.25, Coalesce),
		against("saturated, 9,000 members, against coalesce", "saturated-9000", 1.25, Coalesce),
		{"saturated, 1,000 and 9,000 members, against 100", 1.3, sizes[1:], sizes[:1]},
		against("sparse, against one-write", "sparse-1000", 1.35, OneWrite),
		against("4,500 rooms of 2, against one-write", "small-rooms", 1.8, OneWrite),
		against("echo, against one-write", "echo", 1.5, OneWrite),
		against("a room with history, against one without", "recoverable-1000", 1.15, Ephemeral),
		against("storm, against gorilla", "storm", 0.9, "gorilla"),
		{"idle, bytes resident for a connection", 14_000, []row{{"idle", Hubbub}}, nil},
	}
}

// verdicts lays out the goals whose scenarios have been measured; nil: none.
func (r Report) verdicts() [][]string {
	rows := [][]string{{"goal", "at most", "measured"}}
	for _, g := range goals() {
		of, to := r.costs(g.of), r.costs(g.to)
		if len(of) < len(g.of) || len(to) < len(g.to) {
			continue
		}
		rows = append(rows, []string{g.what, significant(g.limit), g.measured(of, to)})
	}
	if len(rows) == 1 {
		return nil
	}
	return rows
}

func (g goal) measured(of, to []float64) string {
	most := slices.Max(of)
	text := significant(most)
	if len(to) > 0 {
		least := slices.Min(to)
		text = fmt.Sprintf("%.2f (%s / %s)", most/least, text, significant(least))
		most /= least
	}
	if math.Round(most*100) > math.Round(g.limit*100) { // as it is shown
		text += ": missed"
	}
	return text
}

// costs are the medians of those rows that were measured.
func (r Report) costs(rows []row) (all []float64) {
	for _, scenario := range r.Suite.Scenarios {
		for _, w := range rows {
			results := r.Results.Samples[w.scenario][w.server]
			if w.scenario == scenario.Name && len(results) > 0 {
				all = append(all, spread(results, scenario.Table.cost).Median)
			}
		}
	}
	return all
}

func (r Report) writeVerdicts(b *strings.Builder) {
	if rows := r.verdicts(); rows != nil {
		b.WriteString("\n## Against the goals\n\n")
		writeMarkdown(b, rows)
	}
}
