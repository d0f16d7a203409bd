package room_test

import (
	"strings"
	"testing"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// TestPageBytes: a page is bounded in bytes, as it travels, too; what is over the
// bound alone is a page of its own. Page by page everything comes, once and in order.
func TestPageBytes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content any
		n, most int // how many there are, and how many a page may have
	}{
		{"small", "x", 1500, 1000},
		{"text", strings.Repeat("x", 60_000), 40, 4},
		{"binary", make([]byte, 60_000), 40, 4},
		{"too large", strings.Repeat("x", 300_000), 5, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := recoverable(t, room.Recoverable{Keep: 2000, Bytes: 16 << 20})
			r := m.Get("1")
			var cursors []string
			for range tt.n {
				got, err := r.Publish(t.Context(), message.New("say", tt.content))
				if err != nil {
					t.Fatal(err)
				}
				cursors = append(cursors, got.Cursor)
			}
			for before, more := "", true; more; {
				p, err := r.History(t.Context(), before, 1000)
				if err != nil || len(p.Messages) == 0 || len(p.Messages) > tt.most {
					t.Fatalf("a page of %d messages, %v, want up to %d", len(p.Messages), err, tt.most)
				}
				if b, err := message.JSON.Marshal(p); err != nil || len(b) > 512<<10 {
					t.Errorf("a page of %d bytes, %v", len(b), err)
				}
				for i := range p.Messages {
					if got, want := p.Messages[i].Cursor, cursors[len(cursors)-len(p.Messages)+i]; got != want {
						t.Fatalf("message %d of a page is %s, want %s", i, got, want)
					}
				}
				cursors = cursors[:len(cursors)-len(p.Messages)]
				before, more = p.Messages[0].Cursor, p.More
			}
			if len(cursors) > 0 {
				t.Errorf("%d messages are in no page", len(cursors))
			}
		})
	}
}
