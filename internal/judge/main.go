// Judge lets a hubtest.Journal judge what tests in other languages have seen. It
// reads one event a line, a JSON array of strings that begins with its name, in the
// order in which they were recorded:
//
//	["publish", room, member, id, body]
//	["ack", room, member, id, cursor]
//	["see", room, member, body, cursor]
//	["join", room, member], and the same with "gap" and "leave"
//	["lost", room]
//
// It prints what is wrong, and exits with 1 then.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/hubbub-go/hubbub/hubtest"
)

func main() {
	if err := judge(os.Stdin); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// judge returns what is wrong with a journal.
func judge(events io.Reader) error {
	var j hubtest.Journal
	lines := bufio.NewScanner(events)
	for n := 1; lines.Scan(); n++ {
		var e []string
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if !record(&j, e) {
			return fmt.Errorf("line %d: %q is no event", n, e)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return j.Check()
}

// fields is how many strings each event has.
var fields = map[string]int{"publish": 5, "ack": 5, "see": 5, "join": 3, "gap": 3, "leave": 3, "lost": 2}

// record reports whether e is an event.
func record(j *hubtest.Journal, e []string) bool {
	if len(e) == 0 || len(e) != fields[e[0]] {
		return false
	}
	switch e[0] {
	case "publish":
		j.Publish(e[1], e[2], e[3], e[4])
	case "ack":
		j.Ack(e[1], e[2], e[3], e[4])
	case "see":
		j.See(e[1], e[2], e[3], e[4])
	case "join":
		j.Join(e[1], e[2])
	case "gap":
		j.Gap(e[1], e[2])
	case "leave":
		j.Leave(e[1], e[2])
	case "lost":
		j.Lost(e[1])
	}
	return true
}
