package arch

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of TestAPI anew")

// public lists the packages whose API is written down in testdata, with the
// most names that each may export; 0 is no bound. Fields do not count, nor do
// constants: they are the lists of the protocol.
var public = []struct {
	pkg  string
	most int
}{
	{"message", 40},
	{"transport", 29},
	{"room", 75},
	{"hub", 80},
	{"middleware", 0},
	{"hubtest", 56},
	{"client", 47},
}

// TestAPI compares what a package exports with its golden file, so that no
// change of the public API goes unseen in a review.
func TestAPI(t *testing.T) {
	files := production(t)
	for _, p := range public {
		t.Run(p.pkg, func(t *testing.T) {
			got := exported(files, p.pkg)
			if len(got) == 0 {
				if _, err := os.Stat(filepath.Join("..", "..", p.pkg)); errors.Is(err, fs.ErrNotExist) {
					return // the package does not exist
				}
			}
			golden(t, p.pkg, got)
		})
	}
}

// TestBudgets keeps packages small enough to be known by heart.
func TestBudgets(t *testing.T) {
	files := production(t)
	for _, p := range public {
		if n := names(exported(files, p.pkg)); p.most > 0 && n > p.most {
			t.Errorf("%s:1: the package exports %d names, at most %d", p.pkg, n, p.most)
		}
	}
}

func golden(t *testing.T, pkg string, got []string) {
	t.Helper()
	file := filepath.Join("testdata", pkg, "api.txt")
	text := []byte(strings.Join(got, "\n") + "\n")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: run make api", err)
	}
	if bytes.Equal(text, want) {
		return
	}
	t.Errorf("the API of %s is not what internal/arch/%s says: if that is meant, run make api", pkg, filepath.ToSlash(file))
	old := strings.Split(strings.TrimSpace(string(want)), "\n")
	for _, l := range old {
		if !slices.Contains(got, l) {
			t.Errorf("gone: %s", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(old, l) {
			t.Errorf("new:  %s", l)
		}
	}
}

// names counts the lines that cost a reader something: neither fields, nor
// constants, nor the Error of errors, nor what implements an interface of the
// same package, which has counted it.
func names(api []string) (n int) {
	declared := map[string]bool{"Error": true}
	for _, l := range api {
		if on, name := method(l); on != "" && !strings.HasPrefix(on, "(") {
			declared[name] = true
		}
	}
	for _, l := range api {
		on, name := method(l)
		implements := strings.HasPrefix(on, "(") && declared[name]
		if !implements && !strings.HasPrefix(l, "field ") && !strings.HasPrefix(l, "const ") {
			n++
		}
	}
	return n
}

// method cuts "method On.Name(…) …"; both are "" for other lines. On begins with
// a parenthesis unless it is an interface.
func method(line string) (on, name string) {
	rest, ok := strings.CutPrefix(line, "method ")
	if !ok {
		return "", ""
	}
	if rest[0] == '(' {
		on, name, _ = strings.Cut(rest, ") ")
	} else {
		on, name, _ = strings.Cut(rest, ".")
	}
	name, _, _ = strings.Cut(name, "(")
	return on, name
}

// exported lists what the package pkg exports, one line a name, sorted.
func exported(files []source, pkg string) []string {
	var api []string
	add := func(format string, args ...any) { api = append(api, fmt.Sprintf(format, args...)) }
	for _, f := range files {
		if f.dir() != pkg {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if !d.Name.IsExported() {
					break
				}
				if d.Recv == nil {
					add("func %s%s%s", d.Name.Name, typeParams(d.Type.TypeParams), signature(d.Type))
				} else if ast.IsExported(receiver(d)) {
					add("method (%s) %s%s", types.ExprString(d.Recv.List[0].Type), d.Name.Name, signature(d.Type))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if spec.Name.IsExported() {
							exportedType(spec, add)
						}
					case *ast.ValueSpec:
						exportedValues(d.Tok, spec, add)
					}
				}
			}
		}
	}
	slices.Sort(api)
	return slices.Compact(api) // a name may have a file for each system
}

func exportedValues(tok token.Token, spec *ast.ValueSpec, add func(string, ...any)) {
	for _, n := range spec.Names {
		switch {
		case !n.IsExported():
		case spec.Type == nil: // its own value, or as in the line above
			add("%s %s", tok, n.Name)
		default:
			add("%s %s %s", tok, n.Name, types.ExprString(spec.Type))
		}
	}
}

// exportedType lists a type and the exported fields or methods in its
// declaration. What is not exported is shown as "…": a struct or an interface
// that has it behaves differently for its users.
func exportedType(spec *ast.TypeSpec, add func(string, ...any)) {
	name := spec.Name.Name
	kind, member, list := types.ExprString(spec.Type), "", (*ast.FieldList)(nil)
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		kind, member, list = "struct", "field", typ.Fields
	case *ast.InterfaceType:
		kind, member, list = "interface", "method", typ.Methods
	case *ast.FuncType:
		kind = "func" + signature(typ)
	}
	if spec.Assign.IsValid() {
		kind = "= " + kind
	}
	hidden := ""
	if list != nil {
		for _, m := range list.List {
			typ := types.ExprString(m.Type)
			if f, ok := m.Type.(*ast.FuncType); ok {
				typ = signature(f)
				if member == "field" {
					typ = "func" + typ
				}
			}
			if len(m.Names) == 0 {
				add("%s %s.%s (embedded)", member, name, typ)
			}
			for _, n := range m.Names {
				switch {
				case !n.IsExported():
					hidden = " …"
				case member == "method":
					add("method %s.%s%s", name, n.Name, typ)
				default:
					add("field %s.%s %s", name, n.Name, typ)
				}
			}
		}
	}
	add("type %s%s %s%s", name, typeParams(spec.TypeParams), kind, hidden)
}

// signature prints the types of parameters and results without their names,
// which callers do not see.
func signature(f *ast.FuncType) string {
	results := typeList(f.Results, false)
	if f.Results.NumFields() > 1 {
		results = "(" + results + ")"
	}
	if results != "" {
		results = " " + results
	}
	return "(" + typeList(f.Params, false) + ")" + results
}

func typeParams(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	return "[" + typeList(list, true) + "]"
}

func typeList(list *ast.FieldList, named bool) string {
	if list == nil {
		return ""
	}
	var out []string
	for _, f := range list.List {
		typ := types.ExprString(f.Type)
		if fn, ok := f.Type.(*ast.FuncType); ok {
			typ = "func" + signature(fn)
		}
		for i := range max(1, len(f.Names)) {
			if named {
				out = append(out, f.Names[i].Name+" "+typ)
			} else {
				out = append(out, typ)
			}
		}
	}
	return strings.Join(out, ", ")
}

func TestAPISeesEverything(t *testing.T) {
	code := `package room

import "context"

type Room struct {
	Name, Topic string
	OnJoin      func(ctx context.Context, id string) error
	context.Context
	members int
}
type Member interface {
	ID() string
	Deliver(frame []byte) (n int, err error)
	sealed()
}
type Kind[T any] string
type Step func(next func(int) bool) Step
type Alias = Room
type hidden struct{ Field int }

const (
	First Level = iota
	Second
	third
)

var ErrFull error

func New[T any, P *T](a, b P, rest ...string) (*Room, error) { return nil, nil }
func (r *Room) Join(ctx context.Context, _ int)              {}
func (k Kind[T]) New(content T) int                          { return 0 }
func (h hidden) Exported()                                   {}
func helper()                                                {}
`
	want := `const First Level
const Second
field Room.Name string
field Room.OnJoin func(context.Context, string) error
field Room.Topic string
field Room.context.Context (embedded)
func New[T any, P *T](P, P, ...string) (*Room, error)
method (*Room) Join(context.Context, int)
method (Kind[T]) New(T) int
method Member.Deliver([]byte) (int, error)
method Member.ID() string
type Alias = Room
type Kind[T any] string
type Member interface …
type Room struct …
type Step func(func(int) bool) Step
var ErrFull error`
	got := exported(load(t, planted("room/a.go", code), full), "room")
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got:\n%s\nwant:\n%s", text, want)
	}
	if n := names(got); n != 11 {
		t.Errorf("%d names, want 11", n)
	}
}
