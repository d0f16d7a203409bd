package engine_test

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/hubbub-go/hubbub/engine"
)

func TestValidate(t *testing.T) {
	good := engine.Class{Name: "chat-2", Level: engine.Recoverable, Keep: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if err := (engine.Class{Name: "e"}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []engine.Class{
		{},
		{Name: "Chat"},
		{Name: "a.b"},
		{Name: strings.Repeat("a", 25)},
		{Name: "a", Level: engine.Recoverable},
		{Name: "a", Level: 3, Keep: 1},
		{Name: "a", KeepFor: -1},
		{Name: "a", Dedupe: -1},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

func TestTagOf(t *testing.T) {
	if a, b := engine.TagOf([16]byte{1}), engine.TagOf([16]byte{2}); a == b || a == 0 || b == 0 {
		t.Error(a, b)
	}
}

func TestPosition(t *testing.T) {
	for _, p := range []engine.Position{
		{},
		{Epoch: 1, Offset: 1, Tag: 1},
		{Epoch: math.MaxUint64, Offset: math.MaxUint64, Tag: math.MaxUint32},
		{Epoch: 1750000000000000000, Offset: 300, Tag: 0xdeadbeef},
	} {
		text := p.String()
		if len(text) < 19 || len(text) > 31 {
			t.Errorf("%q has %d characters", text, len(text))
		}
		if got, err := engine.ParsePosition(text); err != nil || got != p {
			t.Errorf("%q: %v, %v; want %v", text, got, err, p)
		}
	}
	if a, b := (engine.Position{}).String(), (engine.Position{Offset: math.MaxUint64}).String(); len(a) != 19 || len(b) != 31 {
		t.Error(len(a), len(b))
	}
}

// TestSame: offsets are used again where a log has lost its newest entries, so
// that only tags tell.
func TestSame(t *testing.T) {
	p := engine.Position{Epoch: 1, Offset: 7, Tag: 3}
	for name, tt := range map[string]struct {
		q    engine.Position
		want bool
	}{
		"equal":          {p, true},
		"tag unknown":    {engine.Position{Epoch: 1, Offset: 7}, true},
		"another tag":    {engine.Position{Epoch: 1, Offset: 7, Tag: 4}, false},
		"another offset": {engine.Position{Epoch: 1, Offset: 8, Tag: 3}, false},
		"another epoch":  {engine.Position{Epoch: 2, Offset: 7, Tag: 3}, false},
		"elsewhere":      {engine.Position{Epoch: 1, Offset: 8}, false},
		"nowhere":        {engine.Position{}, false},
	} {
		if p.Same(tt.q) != tt.want || tt.q.Same(p) != tt.want {
			t.Errorf("%s: %v, %v; want %v", name, p.Same(tt.q), tt.q.Same(p), tt.want)
		}
	}
}

func TestParsePositionRefuses(t *testing.T) {
	enc := base64.RawURLEncoding
	body := func(offset string) string {
		b, err := hex.DecodeString("01" + "0000000000000001" + "00000002" + offset)
		if err != nil {
			t.Fatal(err)
		}
		return enc.EncodeToString(b)
	}
	if _, err := engine.ParsePosition(body("05")); err != nil {
		t.Fatal(err)
	}
	good := body("05")
	for name, text := range map[string]string{
		"empty":            "",
		"short":            good[:18],
		"long":             strings.Repeat("A", 32),
		"version":          "Ag" + good[2:],
		"padding":          good + "=",
		"line feed":        good[:5] + "\n" + good[5:],
		"bits in padding":  good[:18] + string(good[18]+1),
		"long uvarint":     body("8500"),
		"rest":             body("0505"),
		"uvarint cut":      body("85"),
		"uvarint too long": body("ffffffffffffffffff02"),
		"other alphabet":   strings.Repeat("+", 19),
	} {
		if p, err := engine.ParsePosition(text); err == nil {
			t.Errorf("%s: %q is taken for %v", name, text, p)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint32(3), "AQAAAAAAAAABAAAAAgU")
	f.Fuzz(func(t *testing.T, epoch, offset uint64, tag uint32, text string) {
		p := engine.Position{Epoch: epoch, Offset: offset, Tag: tag}
		if got, err := engine.ParsePosition(p.String()); err != nil || got != p {
			t.Fatalf("%v: %v, %v", p, got, err)
		}
		if got, err := engine.ParsePosition(text); err == nil && got.String() != text {
			t.Fatalf("%q is taken for %q", text, got)
		}
	})
}

func TestToken(t *testing.T) {
	for name, want := range map[string]string{
		"":                        "~0",
		"lobby_1-A":               "lobby_1-A",
		"a.b":                     "a~2Eb",
		"~0":                      "~7E0",
		"é":                       "~C3~A9",
		"}x{":                     "~7Dx~7B",
		strings.Repeat("x", 128):  strings.Repeat("x", 128),
		strings.Repeat(".", 42):   strings.Repeat("~2E", 42),
		strings.Repeat("x", 129):  "~z",
		"\x00\xff" + "not utf-8 ": "~00~FFnot~20utf-8~20",
	} {
		got := engine.Token(name)
		if strings.HasPrefix(want, "~z") {
			if len(got) != 66 || got[:2] != "~z" {
				t.Errorf("%q: %q", name, got)
			}
		} else if got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	var mu sync.Mutex
	seen := map[string]string{}
	for _, s := range []string{"", "a", "~0", "~2E", ".", "room 1", strings.Repeat("x", 128), strings.Repeat("x", 129), "}{", "é", "\x00", "~z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		token := engine.Token(name)
		if len(token) == 0 || len(token) > 128 || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~") != "" {
			t.Fatalf("%q: %q", name, token)
		}
		mu.Lock()
		defer mu.Unlock()
		if other, ok := seen[token]; ok && other != name {
			t.Fatalf("%q and %q share %q", other, name, token)
		}
		seen[token] = name
	})
}
