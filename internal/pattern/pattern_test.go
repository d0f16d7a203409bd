package pattern_test

import (
	"strings"
	"testing"

	"github.com/hubbub-go/hubbub/internal/pattern"
)

func set(t *testing.T, patterns ...string) *pattern.Set[string] {
	t.Helper()
	var s pattern.Set[string]
	for _, p := range patterns {
		if err := s.Add(p, p); err != nil {
			t.Fatal(err)
		}
	}
	return &s
}

func TestMatch(t *testing.T) {
	s := set(t, "lobby", "chat/{id}", "chat/news", "chat/{id}/log", "game/{g}/{p}", "files/{path...}", "a/{x}/c", "a/b/{y}")
	tests := []struct{ name, pattern, variable, value string }{
		{"lobby", "lobby", "", ""},
		{"chat/7", "chat/{id}", "id", "7"},
		{"chat/news", "chat/news", "", ""},
		{"chat/7/log", "chat/{id}/log", "id", "7"},
		{"chat/news/log", "chat/{id}/log", "id", "news"}, // the literal has no log: back
		{"game/1/2", "game/{g}/{p}", "p", "2"},
		{"files/a/b/", "files/{path...}", "path", "a/b/"},
		{"files/", "files/{path...}", "path", ""},
		{"a/b/c", "a/b/{y}", "y", "c"},
		{"chat/", "", "", ""},
		{"chat", "", "", ""},
		{"lobby/", "", "", ""},
		{"", "", "", ""},
		{"chat/*", "chat/{id}", "id", "*"},
	}
	for _, tt := range tests {
		m := s.Match(tt.name)
		if m.Found() != (tt.pattern != "") {
			t.Errorf("%q: found %v", tt.name, m.Found())
			continue
		}
		if m.Found() && (m.Value() != tt.pattern || m.Var(tt.variable) != tt.value) {
			t.Errorf("%q: got %q %q", tt.name, m.Value(), m.Var(tt.variable))
		}
	}
}

func TestMistakes(t *testing.T) {
	for p, want := range map[string]string{
		"":                 "empty",
		"chat/{}":          "no plain name",
		"chat/{id":         "neither text nor",
		"chat/x{id}":       "neither text nor",
		"{a...}/b":         "follows",
		"{a}/{a}":          "twice",
		"chat/{other}":     "same names",
		"files/{other...}": "same names",
	} {
		s := set(t, "chat/{id}", "files/{path...}")
		if err := s.Add(p, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
	}
}

// FuzzMatch: whatever the pattern and name, nothing panics, and a literal name
// matches itself.
func FuzzMatch(f *testing.F) {
	f.Add("chat/{id}", "chat/1")
	f.Add("{a...}", "x//y")
	f.Add("a/{b}/{c...}", "a/b/c/d")
	f.Fuzz(func(t *testing.T, p, name string) {
		var s pattern.Set[int]
		if s.Add(p, 1) != nil {
			return
		}
		m := s.Match(name)
		if !strings.ContainsAny(p, "{}") && m.Found() != (name == p) {
			t.Fatalf("%q matches %q: %v", p, name, m.Found())
		}
		if m.Found() && m.Value() != 1 {
			t.Fatal("wrong value")
		}
		var all pattern.Set[int]
		if err := all.Add("{room...}", 1); err != nil {
			t.Fatal(err)
		}
		if m := all.Match(name); !m.Found() || m.Var("room") != name {
			t.Fatalf("{room...} reads %q as %q", name, m.Var("room"))
		}
	})
}
