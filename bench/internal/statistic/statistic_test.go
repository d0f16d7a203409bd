package statistic

import (
	"math"
	"testing"
	"time"
)

func TestBucketsAreContiguous(t *testing.T) {
	previous := -1
	for v := range uint64(1 << 16) {
		i := bucket(v)
		if i != previous && i != previous+1 {
			t.Fatalf("bucket(%d) = %d after %d", v, i, previous)
		}
		if top := upper(i); top < v || float64(top-v) > float64(v)/parts {
			t.Fatalf("value %d in bucket %d, which ends at %d", v, i, top)
		}
		previous = i
	}
	if i := bucket(math.MaxInt64); i >= len(Histogram{}.counts) {
		t.Fatalf("the largest duration has bucket %d", i)
	}
}

func TestPercentile(t *testing.T) {
	var h Histogram
	if h.Percentile(50) != 0 {
		t.Fatal("an empty histogram has a median")
	}
	for i := 1; i <= 1000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	for p, want := range map[float64]float64{0: 1, 50: 500, 99: 990, 100: 1000} {
		got := float64(h.Percentile(p)) / 1e3
		if got < want || got > want*1.03 {
			t.Errorf("percentile %v is %v µs, want %v", p, got, want)
		}
	}
	h.Record(-time.Second)
	if h.Percentile(0) != 0 || h.Count() != 1001 {
		t.Error("a negative duration is not counted as zero")
	}
	if h.Reset(); h.Count() != 0 || h.Percentile(99) != 0 {
		t.Error("Reset leaves something")
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9}},
		{[]float64{4, 1, 2, 9}, Spread{3, 1, 9}},
	} {
		if got := Of(c.values); got != c.want {
			t.Errorf("Of(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	order := []float64{2, 1}
	if Of(order); order[0] != 2 {
		t.Error("Of sorts its argument in place")
	}
}
