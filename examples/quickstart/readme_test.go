package main

import (
	"os"
	"strings"
	"testing"
)

// TestShort keeps the quick start as short as the README says it is. That the
// README shows these files is tested in docs.
func TestShort(t *testing.T) {
	for file, most := range map[string]int{"main.go": 20, "index.html": 10} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := lines(code); n > most {
			t.Errorf("%s has %d lines that are not empty, promised are %d", file, n, most)
		}
	}
}

func lines(code []byte) int {
	n := 0
	for l := range strings.SplitSeq(string(code), "\n") {
		if strings.TrimSpace(l) != "" {
			n++
		}
	}
	return n
}
