package main

import (
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	const fine = `["join","r","ana"]
["join","r","bob"]
["publish","r","ana","1","one"]
["ack","r","ana","1","c1"]
["see","r","bob","one","c1"]
["publish","r","ana","2","two"]
["ack","r","ana","2","c2"]
`
	for name, tt := range map[string]struct{ end, want string }{
		"seen":      {`["see","r","bob","two","c2"]`, ""},
		"missing":   {"", "missing"},
		"announced": {`["lost","r"]` + "\n" + `["gap","r","bob"]`, ""},
		"gone":      {`["leave","r","bob"]`, ""},
		"no event":  {`["see","r"]`, "line 8"},
		"no JSON":   {`see`, "line 8"},
	} {
		err := judge(strings.NewReader(fine + tt.end))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
