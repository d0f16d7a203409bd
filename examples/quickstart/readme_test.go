package main

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files into the README")

// TestReadme keeps the README's quick start what the example is, and short.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, most := range map[string]int{"main.go": 20, "index.html": 10} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := lines(code); n > most {
			t.Errorf("%s has %d lines that are not empty, promised are %d", file, n, most)
		}
		block := regexp.MustCompile(`(?s)(<!-- examples/quickstart/` + regexp.QuoteMeta(file) + " -->\n```[a-z]+\n)(.*?)(```\n)")
		m := block.FindSubmatch(readme)
		switch {
		case m == nil:
			t.Fatalf("the README has no block for %s", file)
		case *update:
			readme = bytes.Replace(readme, m[0], bytes.Join([][]byte{m[1], code, m[3]}, nil), 1)
		case !bytes.Equal(m[2], code):
			t.Errorf("the README's %s is not the example's; run go test ./examples/quickstart -update", file)
		}
	}
	if *update {
		if err := os.WriteFile("../../README.md", readme, 0o644); err != nil {
			t.Fatal(err)
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
