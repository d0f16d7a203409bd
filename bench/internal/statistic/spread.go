package statistic

import "slices"

// A Spread sums up the runs of one server in one scenario.
type Spread struct {
	Median, Min, Max float64
}

// Of sums up values; without any it is the zero Spread. The median of an even
// number of values is the mean of the middle two.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	median := sorted[half]
	if len(sorted)%2 == 0 {
		median = (sorted[half-1] + sorted[half]) / 2
	}
	return Spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}
