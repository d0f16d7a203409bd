package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The measures of production code. A function may be longer where the rest are
// short: one in a hundred.
const (
	mostLines      = 80
	mostComplexity = 15
	mostFields     = 15
	mostFileLines  = 500
)

func production(t *testing.T) []source {
	return slices.DeleteFunc(load(t, repository(), full), source.test)
}

func TestFunctionLength(t *testing.T) { report(t, checkLength(production(t))) }

func checkLength(files []source) []string {
	var long []string
	total := 0
	for f := range functions(files) {
		total++
		if n := lines(f); n > mostLines {
			long = append(long, fmt.Sprintf("%s: %s has %d lines, at most %d", line(f), f.Name.Name, n, mostLines))
		}
	}
	if len(long)*100 <= total {
		return nil
	}
	return long
}

func TestComplexity(t *testing.T) { report(t, checkComplexity(production(t))) }

// checkComplexity counts 1 and each branch, those of function literals inside
// included.
func checkComplexity(files []source) (complaints []string) {
	for f := range functions(files) {
		n := 1
		ast.Inspect(f, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
				n++
			case *ast.CaseClause:
				if node.List != nil { // not default
					n++
				}
			case *ast.CommClause:
				if node.Comm != nil {
					n++
				}
			case *ast.BinaryExpr:
				if node.Op == token.LAND || node.Op == token.LOR {
					n++
				}
			}
			return true
		})
		if n > mostComplexity {
			complaints = append(complaints, fmt.Sprintf("%s: %s has a complexity of %d, at most %d", line(f), f.Name.Name, n, mostComplexity))
		}
	}
	return complaints
}

func TestStructFields(t *testing.T) { report(t, checkFields(production(t))) }

func checkFields(files []source) (complaints []string) {
	for _, f := range files {
		exempt := map[ast.Node]bool{}
		ast.Inspect(f.ast, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.TypeSpec:
				if strings.HasSuffix(node.Name.Name, "Options") {
					exempt[node.Type] = true
				}
			case *ast.StructType:
				if n := node.Fields.NumFields(); n > mostFields && !exempt[node] {
					complaints = append(complaints, fmt.Sprintf("%s: a struct with %d fields, at most %d", line(node), n, mostFields))
				}
			}
			return true
		})
	}
	return complaints
}

func TestFileLength(t *testing.T) { report(t, checkFiles(production(t))) }

func checkFiles(files []source) (complaints []string) {
	for _, f := range files {
		if n := f.size(); n > mostFileLines {
			complaints = append(complaints, fmt.Sprintf("%s:%d: the file has %d lines, at most %d", f.path, n, n, mostFileLines))
		}
	}
	return complaints
}

func TestNoWithFunctions(t *testing.T) { report(t, checkWith(production(t))) }

// checkWith looks for functional options, which this module does not use: an
// Options struct is found in one place and has a zero value.
func checkWith(files []source) (complaints []string) {
	for f := range functions(files) {
		rest, ok := strings.CutPrefix(f.Name.Name, "With")
		if ok && f.Recv == nil && (rest == "" || ast.IsExported(rest)) {
			complaints = append(complaints, fmt.Sprintf("%s: %s: use a field of an Options struct", line(f), f.Name.Name))
		}
	}
	return complaints
}

func TestNoSleepInTests(t *testing.T) {
	report(t, checkSleep(load(t, repository(), full)))
}

// checkSleep takes time.Sleep as a function value for one, too.
func checkSleep(files []source) (complaints []string) {
	for _, f := range files {
		name := importName(f.ast, "time")
		if !f.test() || name == "" {
			continue
		}
		ast.Inspect(f.ast, func(node ast.Node) bool {
			if sel, ok := node.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
					complaints = append(complaints, fmt.Sprintf("%s: time.Sleep in a test: wait for the event, or for a timer inside a synctest bubble", line(sel)))
				}
			}
			return true
		})
	}
	return complaints
}

// importName is what f calls the package pkg of the standard library, "" if it
// does not import it.
func importName(f *ast.File, pkg string) string {
	for _, spec := range f.Imports {
		if imp, _ := strconv.Unquote(spec.Path.Value); imp == pkg {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return pkg
		}
	}
	return ""
}

func functions(files []source) func(yield func(*ast.FuncDecl) bool) {
	return func(yield func(*ast.FuncDecl) bool) {
		for _, f := range files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && !yield(fn) {
					return
				}
			}
		}
	}
}

func TestSizesSeeViolations(t *testing.T) {
	head := "package room\n\n"
	branches := strings.Repeat("\tif a && b || c {\n\t}\n", 5)
	fields := "struct {\n" + strings.Repeat("\tA, B int\n", 8) + "}\n"
	tests := []struct {
		name  string
		check func([]source) []string
		file  string
		code  string
		want  string
	}{
		{"long function", checkLength, "room/a.go", head + "func f() {\n" + strings.Repeat("\n", 79) + "}\n", "room/a.go:3:1: f has 81 lines"},
		{"branches", checkComplexity, "room/a.go", head + "func f(a, b, c bool) {\n" + branches + "}\n", "room/a.go:3:1: f has a complexity of 16"},
		{
			"cases", checkComplexity, "room/a.go",
			head + "func f(a int) {\n\tswitch a {\n" + strings.Repeat("\tcase 1, 2:\n", 15) + "\tdefault:\n\t}\n}\n", "complexity of 16",
		},
		{"wide struct", checkFields, "room/a.go", head + "type Wide " + fields, "room/a.go:3:11: a struct with 16 fields"},
		{"wide struct without a name", checkFields, "room/a.go", head + "var wide " + fields, "room/a.go:3:10: a struct with 16 fields"},
		{"long file", checkFiles, "room/a.go", head + strings.Repeat("\n", 500), "room/a.go:502: the file has 502 lines"},
		{"functional option", checkWith, "room/a.go", head + "func WithLimit(n int) Option { return nil }\n", "room/a.go:3:1: WithLimit"},
		{"sleep", checkSleep, "room/a_test.go", head + "import \"time\"\n\nfunc f() { time.Sleep(1) }\n", "room/a_test.go:5:12: time.Sleep"},
		{"sleep by another name", checkSleep, "room/a_test.go", head + "import clock \"time\"\n\nfunc f() { clock.Sleep(1) }\n", "room/a_test.go:5:12: time.Sleep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, tt.check(load(t, planted(tt.file, tt.code), full)), tt.want)
		})
	}
	t.Run("allowed", func(t *testing.T) {
		code := head + "type WideOptions " + fields + "func Within() {}\n\nfunc withLimit() {}\n\nfunc f() {\n" + strings.Repeat("\n", 78) + "}\n"
		files := load(t, planted("room/a.go", code), full)
		for _, check := range []func([]source) []string{checkLength, checkComplexity, checkFields, checkFiles, checkWith, checkSleep} {
			report(t, check(files))
		}
	})
}
