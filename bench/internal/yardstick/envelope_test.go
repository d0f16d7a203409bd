//go:build linux

package yardstick

import "testing"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text                    string
		kind, room, id, content string
	}{
		{`{}`, "", "", "", ""},
		{`{"type":"msg","room":"r","id":"7","content":"x"}`, "msg", "r", "7", `"x"`},
		{` { "content" : {"a":[1,"}",{"type":"no"}]} , "type" : "echo" } `, "echo", "", "", `{"a":[1,"}",{"type":"no"}]}`},
		{`{"content":"a\"},b\\","room":"q"}`, "", "q", "", `"a\"},b\\"`},
		{`{"content":12.5,"type":"t","more":null}`, "t", "", "", "12.5"},
		{`{"type":"t","content":true}`, "t", "", "", "true"},
	} {
		e, err := parse([]byte(c.text))
		if err != nil || string(e.kind) != c.kind || string(e.room) != c.room || string(e.id) != c.id || string(e.content) != c.content {
			t.Errorf("%s: type %q room %q id %q content %q, error %v", c.text, e.kind, e.room, e.id, e.content, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{``, ` `, `[]`, `"x"`, `{`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1`, `{"a":"b`, `{"a":"b\`, `{a:1}`, `{"a" 1}`, `{"a":[1}`} {
		if e, err := parse([]byte(text)); err == nil {
			t.Errorf("%s is taken for %+v", text, e)
		}
	}
}
