//go:build linux

package load

import (
	"fmt"
	"math"
	"testing"
)

func TestMarkerRoundTrip(t *testing.T) {
	var r reader
	for _, n := range []uint32{0, 1, 9, 10, 0xabcdef, math.MaxUint32} {
		// The place changes from one payload to the next.
		payload := fmt.Appendf(nil, `{"from":"%d","content":"%sxx"}`, n, appendMarker(nil, n, ^n))
		publisher, sequence, ok := r.read(payload)
		if !ok || publisher != n || sequence != ^n {
			t.Errorf("%s: read %d, %d, %t", payload, publisher, sequence, ok)
		}
	}
}

func TestNoMarker(t *testing.T) {
	whole := string(appendMarker(nil, 1, 2))
	for _, payload := range []string{"", "@", "@hb:", `{"type":"ack","id":"1"}`, whole[:len(whole)-1], "@hb:0000000x00000002", "@hb:0000000100000 02"} {
		// With and without a guess from before.
		for _, r := range []reader{{}, {guess: 30}} {
			if publisher, sequence, ok := r.read([]byte(payload)); ok {
				t.Errorf("%q: read %d, %d", payload, publisher, sequence)
			}
		}
	}
}
