package hubtest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hubbub-go/hubbub/hubtest"
	"pgregory.net/rapid"
)

// story is a journal written in short: a word each for what happened, as
// "bob:join", "ana!m1" (publishes), "ana+m1@c1" (gets the ack, with a cursor),
// "bob=m1@c1" (sees), "bob:gap", "bob:resumed", "bob:lost", "bob:leave"; and
// "LOST" for a server that forgets.
func story(j *hubtest.Journal, words string) {
	for word := range strings.FieldsSeq(words) {
		if word == "LOST" {
			j.Lost("r")
			continue
		}
		i := strings.IndexAny(word, ":!+=")
		who, what := word[:i], word[i+1:]
		body, cursor, _ := strings.Cut(what, "@")
		switch word[i] {
		case '!':
			j.Publish("r", who, "id of "+body, body)
		case '+':
			j.Ack("r", who, "id of "+body, cursor)
		case '=':
			j.See("r", who, body, cursor)
		default:
			map[string]func(){
				"join":    func() { j.Join("r", who) },
				"resumed": func() { j.Resume("r", who, true) },
				"lost":    func() { j.Resume("r", who, false) },
				"gap":     func() { j.Gap("r", who) },
				"leave":   func() { j.Leave("r", who) },
			}[what]()
		}
	}
}

func TestJournal(t *testing.T) {
	const published = "ana!1 ana+1@c1 ana!2 ana+2@c2 ana!3 ana+3@c3 "
	for _, tt := range []struct {
		name, words string
		rule        hubtest.Rule // "": all is well
		evidence    string
	}{
		{"nothing", "", "", ""},
		{"all is seen", "bob:join " + published + "bob=1@c1 bob=2@c2 bob=3@c3", "", ""},
		{"own messages are seen, or not", "ana:join bob:join " + published + "ana=1@c1 ana=3@c3 bob=1 bob=2 bob=3", "", ""},
		{"what came before the join is not seen", published + "bob:join", "", ""},
		{"what came before is replayed", published + "bob:join bob=2 bob=3", "", ""},
		{"replayed again", "bob:join " + published + "bob=1 bob=2 bob=3 bob:leave bob:join bob=2 bob=3", "", ""},
		{"who has left does not see it", "bob:join bob:leave " + published, "", ""},
		{"who leaves does not see the rest", "bob:join " + published + "bob=1 bob:leave", "", ""},
		{"resumed", "bob:join ana!1 ana+1 bob=1 bob:leave ana!2 ana+2 bob:resumed bob=2", "", ""},
		{"missed with notice", "bob:join ana!1 ana+1 bob=1 bob:leave ana!2 ana+2 bob:lost ana!3 ana+3 bob=3", "", ""},
		{"missed with a gap", "bob:join ana!1 ana+1 ana!2 ana+2 bob:gap ana!3 ana+3 bob=3", "", ""},
		{"resumed without having joined", published + "bob:resumed", "", ""},
		{"what was not acknowledged need not come", "bob:join ana!1 ana!2 ana+2 bob=2", "", ""},
		{"repeated", "bob:join ana!1 ana!1 ana+1@c1 ana+1@c1 ana+1 bob=1@c1", "", ""},
		{"two at a time, in any order", "eve:join bob:join ana!1 dan!2 dan+2 ana+1 bob=2 bob=1 eve=2 eve=1", "", ""},

		{"the last is missing", "bob:join " + published + "bob=1 bob=2", hubtest.Missing, `"3": it was published (event 6) when the member was there (event 1); the member is still there`},
		{"one is missing, and then it leaves", "bob:join " + published + "bob=1 bob=3 bob:leave", hubtest.Missing, `"2": it was published (event 4) when the member was there (event 1); it was acknowledged (event 5) before "3" was published (event 6)`},
		{"missing after resuming", "bob:join ana!1 ana+1 bob=1 bob:leave ana!2 ana+2 bob:resumed", hubtest.Missing, `member "bob", message "2"`},
		{"missing after a gap", "bob:join bob:gap ana!1 ana+1", hubtest.Missing, `"1"`},
		{"missing before a gap", "bob:join ana!1 ana+1 ana!2 ana+2 bob=2 bob:gap", hubtest.Missing, `"1"`},
		{"missing after a return with loss", "bob:join bob:leave bob:lost ana!1 ana+1", hubtest.Missing, `"1"`},
		{"missing, as another shows", "ana!1 ana!2 ana!3 bob:join eve:join bob=1 eve=1 eve=2 eve=3 bob=3 bob:leave", hubtest.Missing, `"2": "eve" saw it after "1", which the member saw; "eve" saw it before "3"`},
		{"missing in a replay", published + "bob:join bob=1 bob=3", hubtest.Missing, `"2": it was published (event 3) after "1" was acknowledged (event 2), which the member saw; the member is still there`},
		{"twice", "bob:join " + published + "bob=1 bob=2 bob=2 bob=3", hubtest.Duplicate, `member "bob", message "2": the member saw it 2 times (events [9 10])`},
		{"twice, across a resume", "bob:join " + published + "bob=1 bob=2 bob=3 bob:leave bob:resumed bob=3", hubtest.Duplicate, `"3"`},
		{"repeated and twice", "bob:join ana!1 ana!1 ana+1 bob=1 bob=1", hubtest.Duplicate, `"1"`},
		{"one publisher out of order", "bob:join ana!1 ana!2 ana+1 ana+2 bob=2 bob=1", hubtest.Reordered, `"ana" published it (event 2) before "2" (event 3), and the member saw it after that (event 7)`},
		{"acknowledged before the other was published", "bob:join ana!1 ana+1 dan!2 dan+2 bob=2 bob=1", hubtest.Reordered, `"1": it was acknowledged (event 3) before "2" was published (event 4)`},
		{"two orders", "bob:join eve:join ana!1 dan!2 bob=1 bob=2 eve=2 eve=1", hubtest.Reordered, `"bob" saw "1" before "2" (event 6), but "eve" saw "2" before "1" (event 8)`},
		{"three orders", "bob:join eve:join kim:join ana!1 dan!2 lea!3 bob=1 bob=2 eve=2 eve=3 kim=3 kim=1", hubtest.Reordered, `"bob" saw "1" before "2" (event 8), but "eve" saw "2" before "3" (event 10), but "kim" saw "3" before "1" (event 12)`},
		{"invented", "bob:join bob=1", hubtest.Invented, `the member saw it (event 2) and nobody had published it`},
		{"seen before it was published", "bob:join bob=1 ana!1", hubtest.Invented, `"1"`},
		{"an ack for nothing", "ana+1", hubtest.Invented, `acknowledges the id "id of 1"`},
		{"seen before the join", "ana!1 bob=1", hubtest.Outside, `the member saw it (event 2) and was not there`},
		{"seen after the leave", "bob:join ana!1 bob:leave bob=1", hubtest.Outside, `"1"`},
		{"two cursors", "ana!1 ana+1@c1 ana+1@c2", hubtest.Conflicting, `event 3 gives it the cursor "c2", but it has "c1"`},
		{"another cursor than that of the ack", "bob:join ana!1 ana+1@c1 bob=1@c2", hubtest.Conflicting, `"c2"`},
		{"two at one position", "ana!1 ana+1@c ana!2 ana+2@c", hubtest.Conflicting, `"2": it has the cursor "c", which "1" has too`},
		{"one body of two", "ana!1 dan!1", hubtest.Conflicting, `event 2: the id "id of 1", or the body, stands for another message too`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j hubtest.Journal
			story(&j, tt.words)
			finds(t, &j, tt.rule, tt.evidence)
		})
	}
}

// TestJournalOfARoomThatForgets: what the server has lost may be missing, and be
// published again; on each side of the loss the rules hold.
func TestJournalOfARoomThatForgets(t *testing.T) {
	const both = "bob:join eve:join "
	for _, tt := range []struct {
		name, words string
		rule        hubtest.Rule
		evidence    string
	}{
		{"all were told", both + "ana!1 ana+1@a1 bob=1@a1 eve=1@a1 LOST bob:lost eve:gap ana!2 ana+2@b1 bob=2@b1 eve=2@b1", "", ""},
		{"what was acknowledged may be missing", both + "ana!1 ana+1@a1 eve=1@a1 LOST bob:lost eve:lost", "", ""},
		{"published again, as the ack was lost", both + "ana!1 bob=1@a1 eve=1@a1 LOST bob:lost eve:lost ana!1 ana+1@b1 bob=1@b1 eve=1@b1", "", ""},
		{"published again by a client that does not tell", both + "ana!1 ana!2 bob=1@a1 bob=2@a2 LOST bob:lost eve:lost ana+1@b1 bob=1@b1 eve=1@b1 ana+2@b2 bob=2@b2 eve=2@b2", "", ""},
		{"what is published again comes later than what was not", both + "ana!1 ana!2 dan!3 bob=1@a1 bob=2@a2 bob=3@a3 LOST bob:lost eve:lost dan+3@b1 ana+1@b2 ana+2@b3 eve=3@b1 bob=3@b1 eve=1@b2 bob=1@b2 eve=2@b3 bob=2@b3", "", ""},
		{"told long after, of what the old server said", both + "ana!1 LOST ana+1@b1 eve:lost eve=1@b1 bob=1@a1 bob:lost bob=1@b1", "", ""},
		{"lost twice", both + "ana!1 bob=1@a1 LOST bob:lost bob=1@b1 LOST bob:lost eve:lost ana+1@c1 bob=1@c1 eve=1@c1", "", ""},

		{"nobody was told", both + "ana!1 ana+1@a1 bob=1@a1 LOST", hubtest.Missing, `member "eve", message "1"`},
		{"one was not told, and sees it twice", both + "ana!1 bob=1@a1 LOST eve:lost ana!1 ana+1@b1 bob=1@b1 eve=1@b1", hubtest.Duplicate, `member "bob", message "1": the member saw it at "a1" (event 4) and at "b1" (event 9), and was told of no gap in between`},
		{"twice on one side", both + "ana!1 bob=1@a1 LOST bob:lost eve:lost ana+1@b1 bob=1@b1 eve=1@b1 bob=1@b1", hubtest.Duplicate, `member "bob", message "1": the member saw it 2 times`},
		{"twice, across a loss that kept it", both + "ana!1 ana+1@a1 bob=1@a1 eve=1@a1 LOST bob:lost eve:lost bob=1@a1", hubtest.Duplicate, `member "bob", message "1"`},
		{"stored twice before the loss", both + "ana!1 bob=1@a1 eve=1@a1 ana+1@a2 LOST", hubtest.Conflicting, `the cursor "a2", but it has "a1"`},
		{"stored twice, published after the loss", both + "LOST bob:lost eve:lost ana!1 bob=1@b1 eve=1@b1 ana+1@b2", hubtest.Conflicting, `the cursor "b2", but it has "b1"`},
		{"stored three times, lost once", both + "ana!1 bob=1@a1 eve=1@a1 LOST bob:lost eve:lost bob=1@b1 eve=1@b1 ana+1@b2", hubtest.Conflicting, `"b2"`},
		{"missing after the loss", both + "LOST bob:lost eve:lost ana!1 ana+1@b1 eve=1@b1", hubtest.Missing, `member "bob", message "1"`},
		{"missing before the loss, between others", both + "ana!1 ana+1@a1 ana!2 ana+2@a2 ana!3 ana+3@a3 bob=1@a1 bob=3@a3 LOST bob:lost eve:lost", hubtest.Missing, `member "bob", message "2"`},
		{"missing of what was published again", both + "ana!1 ana!2 ana!3 bob=1@a1 bob=2@a2 bob=3@a3 LOST bob:lost eve:lost ana+1@b1 ana+2@b2 ana+3@b3 bob=1@b1 bob=3@b3 eve=1@b1 eve=2@b2 eve=3@b3", hubtest.Missing, `member "bob", message "2": "eve" saw it after "1", which the member saw`},
		{"out of order after the loss", both + "ana!1 ana!2 LOST bob:lost eve:lost ana+2@b1 ana+1@b2 bob=2@b1 bob=1@b2 eve=2@b1 eve=1@b2", hubtest.Reordered, `"ana" published it`},
		{"two orders after the loss", both + "ana!1 dan!2 bob=1@a1 bob=2@a2 LOST bob:lost eve:lost bob=1@b1 bob=2@b2 eve=2@b2 eve=1@b1", hubtest.Reordered, `"bob" saw "1" before "2" (event 11), but "eve" saw "2" before "1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j hubtest.Journal
			story(&j, tt.words)
			finds(t, &j, tt.rule, tt.evidence)
		})
	}
}

// finds wants a journal to find nothing but violations of one rule.
func finds(t *testing.T, j *hubtest.Journal, rule hubtest.Rule, evidence string) {
	t.Helper()
	err := j.Check()
	if rule == "" {
		if err != nil {
			t.Errorf("it finds %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("it finds nothing, want something %s", rule)
	}
	if !strings.Contains(err.Error(), evidence) {
		t.Errorf("it says\n%v\nwithout\n%s", err, evidence)
	}
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		var v *hubtest.Violation
		if !errors.As(one, &v) || v.Rule != rule || v.Room != "r" {
			t.Errorf("it finds %v, want something %s", one, rule)
		}
	}
}

func TestJournalAtMostOnce(t *testing.T) {
	for _, tt := range []struct {
		name, words string
		rule        hubtest.Rule
		evidence    string
	}{
		{"anything may be missing", "bob:join ana!1 ana+1 ana!2 ana+2 ana!3 ana+3 bob=2", "", ""},
		{"two publishers in any order", "bob:join eve:join ana!1 ana+1 dan!2 dan+2 bob=2 bob=1 eve=1 eve=2", "", ""},
		{"repeated", "bob:join ana!1 ana!1 bob=1 bob=1", "", ""},
		{"twice", "bob:join ana!1 bob=1 bob=1", hubtest.Duplicate, "the member saw it 2 times (events [3 4]), and it was published 1 times"},
		{"twice, as nothing is replayed", "bob:join ana!1 bob=1 bob:leave bob:join bob=1", hubtest.Duplicate, `"1"`},
		{"one publisher out of order", "bob:join ana!1 ana!2 bob=2 bob=1", hubtest.Reordered, `"ana" published it`},
		{"invented", "bob:join bob=1", hubtest.Invented, `"1"`},
		{"outside", "ana!1 bob=1", hubtest.Outside, `"1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := hubtest.Journal{AtMostOnce: true}
			story(&j, tt.words)
			finds(t, &j, tt.rule, tt.evidence)
		})
	}
}

func TestJournalOfManyRooms(t *testing.T) {
	var j hubtest.Journal
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			room := fmt.Sprintf("room %d", i)
			j.Join(room, "bob")
			for n := range 20 {
				body := fmt.Sprint(n)
				j.Publish(room, "ana", body, body)
				j.Ack(room, "ana", body, body)
				if i < 6 || n%2 == 0 {
					j.See(room, "bob", body, body)
				}
			}
		})
	}
	all.Wait()
	err := j.Check()
	if err == nil || !strings.Contains(err.Error(), `room "room 6", member "bob", message "1"`) || !strings.Contains(err.Error(), "and more") {
		t.Errorf("%v", err)
	}
	if n := strings.Count(err.Error(), "\n"); n != 10 {
		t.Errorf("it tells %d violations, want 10", n)
	}
}

// record is what one member is told, as a story tells it.
type record []string

// tale is a correct log of a room and what its members see of it: the first one
// all of it, the others with leaves, resumes and gaps in between.
type tale struct {
	publishing []string
	members    []record
}

// draw makes up a tale in which all members are there from the beginning.
func draw(t *rapid.T, atMostOnce bool) tale {
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	n := 3 + rnd.IntN(30)
	var s tale
	for i := range n {
		publisher := []string{"ana", "dan"}[rnd.IntN(2)]
		s.publishing = append(s.publishing, fmt.Sprintf("%s!%d", publisher, i))
		if !atMostOnce && rnd.IntN(4) == 0 {
			s.publishing = append(s.publishing, fmt.Sprintf("%s!%d", publisher, i))
		}
		if rnd.IntN(8) > 0 {
			s.publishing = append(s.publishing, fmt.Sprintf("%s+%d@c%d", publisher, i, i))
		}
	}
	for m := range 1 + rnd.IntN(4) {
		who := fmt.Sprintf("member%d", m)
		r := record{who + ":join"}
		for i := 0; i < n; i++ {
			switch {
			case m == 0:
			case atMostOnce && rnd.IntN(5) == 0:
				continue
			case rnd.IntN(10) == 0:
				r = append(r, who+":leave", who+":resumed")
			case rnd.IntN(10) == 0:
				r = append(r, who+":leave", who+":lost")
				i += rnd.IntN(3)
			case rnd.IntN(10) == 0:
				r = append(r, who+":gap")
				i += rnd.IntN(3)
			}
			if i < n {
				r = append(r, fmt.Sprintf("%s=%d@c%d", who, i, i))
			}
		}
		s.members = append(s.members, r)
	}
	return s
}

// journal writes the tale down.
func (s tale) journal(atMostOnce bool) *hubtest.Journal {
	j := &hubtest.Journal{AtMostOnce: atMostOnce}
	for _, r := range s.members {
		story(j, r[0])
	}
	story(j, strings.Join(s.publishing, " "))
	for _, r := range s.members {
		story(j, strings.Join(r[1:], " "))
	}
	return j
}

// TestJournalTellsRightFromWrong changes one thing in a journal where all was well.
func TestJournalTellsRightFromWrong(t *testing.T) {
	for _, atMostOnce := range []bool{false, true} {
		rapid.Check(t, func(t *rapid.T) {
			s := draw(t, atMostOnce)
			if err := s.journal(atMostOnce).Check(); err != nil {
				t.Fatalf("it finds %v", err)
			}
			m := rapid.IntRange(0, len(s.members)-1).Draw(t, "member")
			what := rapid.SampledFrom([]string{"drop", "duplicate", "swap", "invent"}).Draw(t, "what")
			r, ok := s.spoil(s.members[m], what, rapid.IntRange(0, 1000).Draw(t, "where"))
			if !ok {
				return
			}
			s.members[m] = r
			err := s.journal(atMostOnce).Check()
			if right := atMostOnce && what == "drop"; (err == nil) != right {
				t.Fatalf("%s: %v, it finds %v", what, r, err)
			}
		})
	}
}

// spoil changes one message that a member has seen. Messages that change places
// have one publisher, as the order of two may be any where nothing is kept.
func (s tale) spoil(r record, what string, where int) (record, bool) {
	var seen []int
	for i, word := range r {
		if strings.Contains(word, "=") {
			seen = append(seen, i)
		}
	}
	if len(seen) < 2 {
		return nil, false
	}
	r, k := slices.Clone(r), where%(len(seen)-1)
	at, next := seen[k], seen[k+1]
	switch what {
	case "drop":
		// Next to a gap it may be the gap that has swallowed it, and what only one
		// has seen, without an acknowledgement, was perhaps never stored.
		_, body, _ := strings.Cut(r[at], "=")
		body, _, _ = strings.Cut(body, "@")
		if k == 0 || next != at+1 || seen[k-1] != at-1 || s.count("+"+body+"@c"+body) == 0 && s.count("="+body+"@c"+body) < 2 {
			return nil, false
		}
		return slices.Delete(r, at, at+1), true
	case "duplicate":
		return slices.Insert(r, next, r[at]), true
	case "invent":
		who, _, _ := strings.Cut(r[at], "=")
		return slices.Insert(r, at, who+"=nonsense"), true
	}
	if s.publisher(r[at]) != s.publisher(r[next]) {
		return nil, false
	}
	r[at], r[next] = r[next], r[at]
	return r, true
}

// count counts the words with an ending.
func (s tale) count(suffix string) (n int) {
	for _, words := range append([]record{s.publishing}, s.members...) {
		for _, word := range words {
			if strings.HasSuffix(word, suffix) {
				n++
			}
		}
	}
	return n
}

func (s tale) publisher(word string) string {
	_, body, _ := strings.Cut(word, "=")
	body, _, _ = strings.Cut(body, "@")
	i := slices.IndexFunc(s.publishing, func(w string) bool { return strings.HasSuffix(w, "!"+body) })
	return s.publishing[i][:3]
}
