// Package statistic holds what the benchmark needs to sum up its measurements.
package statistic

import (
	"math/bits"
	"time"
)

// Each power of two is cut into 2^precision buckets, so that a percentile is
// at most 1/64 off, whatever its magnitude.
const (
	precision = 6
	parts     = 1 << precision
)

// A Histogram counts durations. Recording costs a few nanoseconds and no
// memory, because the generator records every single delivery.
type Histogram struct {
	counts [(64 - precision) * parts]uint64
	total  uint64
}

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// Count is how many durations have been recorded.
func (h *Histogram) Count() uint64 { return h.total }

// Reset forgets everything.
func (h *Histogram) Reset() { *h = Histogram{} }

// Percentile is the upper end of the bucket that holds the p-th percentile,
// 0 where nothing was recorded.
func (h *Histogram) Percentile(p float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := min(uint64(p/100*float64(h.total)), h.total-1)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen > rank {
			return time.Duration(upper(i))
		}
	}
	return 0 // not reached: the counts add up to total
}

// bucket: values below parts have a bucket each, above that the leading
// precision+1 bits choose it.
func bucket(v uint64) int {
	if v < parts {
		return int(v)
	}
	shift := bits.Len64(v) - precision - 1
	return (shift+1)<<precision + int(v>>shift)&(parts-1)
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	if i < parts {
		return uint64(i)
	}
	shift := i>>precision - 1
	return (uint64(i&(parts-1)|parts)+1)<<shift - 1
}
