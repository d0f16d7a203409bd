package arch

import (
	"bytes"
	"fmt"
	"go/parser"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// floors lists the packages from the ground up. A package imports only what
// stands on lower floors; a new package gets its place here.
var floors = [][]string{
	{"internal/envelope", "internal/leak", "internal/pattern", "engine"}, // import nothing of this module
	{"message", "engine/memory", "engine/enginetest", "internal/feed"},
	{"internal/queue", "client"},
	{"transport", "room"},
	{"hub"},
	{"middleware", "hubtest"},
	{"examples/*", "internal/judge"},
	{"internal/arch", "internal/e2e", "internal/proof", "docs"}, // tests only
}

// externals lists which packages may import which other modules.
var externals = map[string][]string{
	"internal/envelope": {"github.com/go-json-experiment/json"},
	"message":           {"github.com/go-json-experiment/json"},
	"client":            {"github.com/coder/websocket"},
	"transport":         {"github.com/coder/websocket", "github.com/go-json-experiment/json"},
	"room":              {"github.com/google/uuid"},
	"hub":               {"github.com/google/uuid", "github.com/go-chi/chi/v5"}, // chi: docs/decisions/005
	"examples/*":        {"github.com/go-chi/chi/v5"},
}

// testOnly may be imported by every test, and by nothing else.
var testOnly = []string{"go.uber.org/goleak", "pgregory.net/rapid"}

const mostRequirements = 5

func TestFloors(t *testing.T) {
	report(t, checkFloors(load(t, repository(), parser.ImportsOnly)))
}

// entry is the name under which a package stands in the tables.
func entry(pkg string) string {
	if strings.HasPrefix(pkg, "examples/") {
		return "examples/*"
	}
	return pkg
}

func floorOf(pkg string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, entry(pkg)) })
}

// checkFloors leaves tests out of the order of floors: a test in hub may use
// hubtest. What modules they import is checked.
func checkFloors(files []source) (complaints []string) {
	add := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	listed := map[string]bool{}
	for _, f := range files {
		pkg := f.dir()
		if floorOf(pkg) < 0 {
			if !listed[pkg] {
				add("%s: the package %s has no floor: give it one in internal/arch/floors_test.go", f.path, pkg)
			}
			listed[pkg] = true
			continue
		}
		for _, spec := range f.ast.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if own, ok := strings.CutPrefix(imp, module+"/"); ok {
				if !f.test() && (floorOf(own) < 0 || floorOf(own) >= floorOf(pkg)) {
					add("%s: %s imports %s, which is not on a lower floor", line(spec), pkg, own)
				}
			} else if external(imp) && !mayImport(f, imp) {
				add("%s: %s must not import %s: the list is in internal/arch/floors_test.go", line(spec), pkg, imp)
			}
		}
	}
	return complaints
}

// external tells other modules from the standard library, whose first path
// element has no dot.
func external(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".")
}

func mayImport(f source, imp string) bool {
	allowed := externals[entry(f.dir())]
	if f.test() { // what the module requires anyway, and the libraries for tests
		allowed = slices.Clone(testOnly)
		for _, mods := range externals {
			allowed = append(allowed, mods...)
		}
	}
	return slices.ContainsFunc(allowed, func(mod string) bool {
		return imp == mod || strings.HasPrefix(imp, mod+"/")
	})
}

func TestFloorsSeeViolations(t *testing.T) {
	tests := []struct{ name, file, code, want string }{
		{
			"upward import", "message/a.go",
			"package message\n\nimport _ \"" + module + "/hub\"\n", "message/a.go:3:8: message imports hub",
		},
		{
			"import on the same floor", "room/a.go",
			"package room\n\nimport _ \"" + module + "/transport\"\n", "room/a.go:3:8: room imports transport",
		},
		{
			"import of an unlisted package", "hub/a.go",
			"package hub\n\nimport _ \"" + module + "/internal/news\"\n", "hub/a.go:3:8: hub imports internal/news",
		},
		{"unlisted package", "news/a.go", "package news\n", "news/a.go: the package news has no floor"},
		{"root package", "a.go", "package hubbub\n", "a.go: the package . has no floor"},
		{
			"module of another package", "room/a.go",
			"package room\n\nimport _ \"github.com/go-chi/chi/v5\"\n", "room/a.go:3:8: room must not import github.com/go-chi/chi/v5",
		},
		{
			"library for tests", "hub/a.go",
			"package hub\n\nimport _ \"go.uber.org/goleak\"\n", "hub/a.go:3:8: hub must not import go.uber.org/goleak",
		},
		{
			"unknown library in a test", "hub/a_test.go",
			"package hub\n\nimport _ \"example.com/assert\"\n", "hub/a_test.go:3:8: hub must not import example.com/assert",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, checkFloors(load(t, planted(tt.file, tt.code), parser.ImportsOnly)), tt.want)
		})
	}
	t.Run("allowed", func(t *testing.T) {
		files := load(t, fstest.MapFS{
			"hub/a.go":      {Data: []byte("package hub\n\nimport (\n_ \"net/http\"\n_ \"" + module + "/room\"\n_ \"github.com/google/uuid\"\n)\n")},
			"hub/a_test.go": {Data: []byte("package hub\n\nimport (\n_ \"" + module + "/hubtest\"\n_ \"pgregory.net/rapid\"\n)\n")},
		}, parser.ImportsOnly)
		report(t, checkFloors(files))
	})
}

func TestRequirements(t *testing.T) {
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkRequirements(data))
}

// checkRequirements reads go.mod line by line, which is enough for the form that
// go mod tidy writes.
func checkRequirements(data []byte) (complaints []string) {
	var direct []string
	block := ""
	for i, row := range bytes.Split(data, []byte("\n")) {
		words := strings.Fields(string(row))
		if len(words) == 0 {
			continue
		}
		switch {
		case words[0] == ")":
			block = ""
			continue
		case len(words) > 1 && words[1] == "(":
			block = words[0]
			continue
		case block != "":
			words = append([]string{block}, words...)
		}
		switch words[0] {
		case "replace", "exclude":
			complaints = append(complaints, fmt.Sprintf("go.mod:%d: with %s nobody can go run the examples at a version", i+1, words[0]))
		case "require":
			if !strings.HasSuffix(string(row), "// indirect") && !slices.Contains(testOnly, words[1]) {
				direct = append(direct, path.Clean(words[1]))
			}
		}
	}
	if len(direct) > mostRequirements {
		complaints = append(complaints, fmt.Sprintf("go.mod: %d direct requirements beside those of tests, at most %d: %v", len(direct), mostRequirements, direct))
	}
	return complaints
}

func TestRequirementsSeeViolations(t *testing.T) {
	five := "require (\n\ta.b/1 v1.0.0\n\ta.b/2 v1.0.0\n\ta.b/3 v1.0.0\n\ta.b/4 v1.0.0\n\tpgregory.net/rapid v1.3.0\n\ta.b/7 v1.0.0 // indirect\n)\n\nrequire a.b/5 v1.0.0\n"
	report(t, checkRequirements([]byte(five)))
	expect(t, checkRequirements([]byte(five+"require a.b/6 v1.0.0\n")), "6 direct requirements")
	expect(t, checkRequirements([]byte("module m\n\nreplace a.b/1 => ../1\n")), "go.mod:3: with replace")
	expect(t, checkRequirements([]byte("exclude (\n\ta.b/1 v1.0.0\n)\n")), "go.mod:2: with exclude")
}
