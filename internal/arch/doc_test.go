package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"maps"
	"slices"
	"strings"
	"testing"
)

// full is the mode for rules that look at more than imports.
const full = parser.ParseComments

func TestDocComments(t *testing.T) { report(t, checkDocs(production(t))) }

// checkDocs wants a comment on every package but programs, and on every exported
// name. A group of constants or variables may share one, and the fields of a
// struct that of their type. But the fields of an Options struct say what they do
// and what their zero value means; those without a line in between may do so
// together.
func checkDocs(files []source) (complaints []string) {
	packages := map[string]string{} // without a comment, to one of their files
	described := map[string]bool{}
	for _, f := range files {
		if f.main() {
			continue // nobody can import it
		}
		packages[f.dir()] = f.path
		described[f.dir()] = described[f.dir()] || f.ast.Doc != nil
		for _, n := range undocumented(f.ast) {
			complaints = append(complaints, fmt.Sprintf("%s: %s is exported and has no comment", line(n), n.Name))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if !described[dir] {
			complaints = append(complaints, fmt.Sprintf("%s:1: the package %s has no comment", packages[dir], dir))
		}
	}
	return complaints
}

func undocumented(f *ast.File) (names []*ast.Ident) {
	add := func(documented bool, idents ...*ast.Ident) {
		for _, n := range idents {
			if n.IsExported() && !documented {
				names = append(names, n)
			}
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiver(d)) {
				add(d.Doc != nil, d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					add(spec.Doc != nil || spec.Comment != nil || d.Doc != nil, spec.Name)
					if options, ok := spec.Type.(*ast.StructType); ok && strings.HasSuffix(spec.Name.Name, "Options") {
						names = append(names, undocumentedFields(options)...)
					}
				case *ast.ValueSpec:
					add(spec.Doc != nil || spec.Comment != nil || d.Doc != nil, spec.Names...)
				}
			}
		}
	}
	return names
}

func undocumentedFields(options *ast.StructType) (names []*ast.Ident) {
	documented, last := false, 0
	for _, f := range options.Fields.List {
		adjacent := fset.Position(f.Pos()).Line == last+1
		documented = f.Doc != nil || f.Comment != nil || documented && adjacent
		last = fset.Position(f.End()).Line
		for _, n := range f.Names {
			if n.IsExported() && !documented {
				names = append(names, n)
			}
		}
	}
	return names
}

// receiver is the name of the type that d is a method of.
func receiver(d *ast.FuncDecl) string {
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr: // of a generic type
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

func TestDocCommentsSeeViolations(t *testing.T) {
	head := "// Package room has a comment.\npackage room\n\n"
	tests := []struct{ name, code, want string }{
		{"package", "package room\n", "room/a.go:1: the package room"},
		{"function", head + "func Open() {}\n", "room/a.go:4:6: Open"},
		{"method", head + "// A T is.\ntype T[P any] struct{}\n\nfunc (t *T[P]) Open() {}\n", "room/a.go:7:16: Open"},
		{"type", head + "type T int\n", "room/a.go:4:6: T"},
		{"constant", head + "const (\n\tA = 1\n)\n", "room/a.go:5:2: A"},
		{"variable", head + "var A, b = 1, 2\n", "room/a.go:4:5: A"},
		{"option", head + "// Options are.\ntype Options struct {\n\t// A is.\n\tA int\n\n\tB int\n}\n", "room/a.go:9:2: B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, checkDocs(load(t, planted("room/a.go", tt.code), full)), tt.want)
		})
	}
	t.Run("allowed", func(t *testing.T) {
		code := head + "// Both.\nconst (\n\tA = 1\n\tB = 2\n)\n\nvar C = 1 // C is.\n\ntype t struct{ D int }\n\nfunc (t) Open() {}\n\n" +
			"// A T is.\ntype T struct{ E, F int }\n\n// Options are.\ntype Options struct {\n\tG int // G is.\n\th int\n\n\t// I and J are.\n\tI int\n\tJ int\n}\n"
		report(t, checkDocs(load(t, planted("room/a.go", code), full)))
	})
}
