// Package arch has no code: its tests hold the other packages of this module to
// the rules of the house. They read the source files themselves, because go
// test caches a pass by the files that the test opened, and would not see what
// a subprocess read.
package arch

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/hubbub-go/hubbub"

// source is one parsed Go file of the root module.
type source struct {
	path string // relative to the module, with slashes
	ast  *ast.File
}

func (s source) dir() string { return path.Dir(s.path) }
func (s source) test() bool  { return strings.HasSuffix(s.path, "_test.go") }
func (s source) main() bool  { return s.ast.Name.Name == "main" }
func (s source) size() int   { return fset.File(s.ast.Pos()).LineCount() }
func line(n ast.Node) string { return fset.Position(n.Pos()).String() }
func lines(n ast.Node) int   { return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1 }
func repository() fs.FS      { return os.DirFS("../..") }
func planted(file, code string) fs.FS {
	return fstest.MapFS{file: {Data: []byte(code)}}
}

var fset = token.NewFileSet()

// load parses every Go file of the module in root. Directories that the go
// command ignores, and nested modules, are left out.
func load(t *testing.T, root fs.FS, mode parser.Mode) []source {
	t.Helper()
	var out []source
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != ".":
			if _, err := fs.Stat(root, p+"/go.mod"); err == nil || ignored(d.Name()) {
				return fs.SkipDir
			}
		case strings.HasSuffix(p, ".go"):
			code, err := fs.ReadFile(root, p)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // an editor's file that came and went
			}
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(fset, p, code, mode|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			out = append(out, source{p, file})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ignored(dir string) bool {
	return dir == "testdata" || dir == "vendor" || dir == "node_modules" || strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_")
}

// expect runs a rule over planted code and wants one complaint at the given place.
func expect(t *testing.T, complaints []string, want string) {
	t.Helper()
	if len(complaints) != 1 || !strings.Contains(complaints[0], want) {
		t.Errorf("complaints %q, want one with %q", complaints, want)
	}
}

func report(t *testing.T, complaints []string) {
	t.Helper()
	for _, c := range complaints {
		t.Error(c)
	}
}
