package main

import (
	"context"
	"encoding/hex"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// What travels. The page in page/ is the other side of it.
type (
	person struct {
		Name string `json:"name"`
	}
	text struct {
		// Author is the session of who wrote it, the same over reconnects, and ID the
		// one that its author gave the message; both are set by the server. A message
		// that is sent again, as nobody knows whether it arrived, has the same two: the
		// rooms store it once for a while, and pages show it once for good. By its ID
		// alone anybody could hide it, with a message of the same.
		Author string `json:"author"`
		ID     string `json:"id,omitzero"`
		Name   string `json:"name"` // set by the server: nobody speaks for another
		Body   string `json:"body"`
	}
	typing struct {
		Name string `json:"name"`
		On   bool   `json:"on"`
	}
	older struct {
		Before string `json:"before"` // a cursor; "": the latest messages
	}
)

const (
	sayKind    message.Kind[text]             = "chat.say"
	typingKind message.Kind[typing]           = "chat.typing"
	olderCall  message.Call[older, room.Page] = "chat.older"
)

// pageSize is how many messages who joins gets, and who scrolls up gets at a time.
const pageSize = 50

// history is what the rooms keep. A page sends what was not acknowledged for 10
// minutes, so its ids are remembered for as long.
var history = room.Recoverable{Keep: 500, KeepFor: 24 * time.Hour, Replay: pageSize, Dedupe: 10 * time.Minute}

// Validate refuses what should not be shown to others.
func (p *person) Validate() error {
	p.Name = strings.TrimSpace(p.Name)
	if n := utf8.RuneCountInString(p.Name); n < 1 || n > 32 {
		return wrongName("a name has 1 to 32 characters")
	}
	if strings.ContainsFunc(p.Name, steers) {
		return wrongName("a name has no control characters")
	}
	if !strings.ContainsFunc(p.Name, visible) {
		return wrongName("a name can be seen")
	}
	return nil
}

func wrongName(why string) error {
	return &message.Error{Code: message.Invalid, Message: why, Field: "content.name"}
}

// steers reports whether r changes how the text around it is shown.
func steers(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// visible reports whether r shows by itself, unlike spaces, joiners, marks and
// fillers, which may stand beside such a one.
func visible(r rune) bool {
	const blankBraille = '\u2800'
	return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point) && r != blankBraille
}

// Validate refuses empty and endless texts.
func (t *text) Validate() error {
	t.Body = strings.TrimSpace(t.Body)
	if n := utf8.RuneCountInString(t.Body); n < 1 || n > 2000 {
		return &message.Error{Code: message.Invalid, Message: "a message has 1 to 2,000 characters", Field: "content.body"}
	}
	return nil
}

// newChat returns a hub with the rooms "chat/lounge", "chat/workshop", and
// whatever else is behind "chat/".
func newChat(opts *hub.Options) *hub.Hub {
	h := hub.New(opts)
	rooms := h.Rooms("chat/{room}", &hub.Rule{Join: enter, Presence: &room.Presence{}, Delivery: history})
	hub.On(rooms, sayKind, say)
	hub.On(rooms, typingKind, tell)
	hub.Reply(rooms, olderCall, func(ctx context.Context, r *hub.Request, in older) (room.Page, error) {
		return r.Room.History(ctx, in.Before, pageSize)
	})
	return h
}

// enter admits who has a name, and shows it to the others. The first one counts in
// every room, as long as the connection lasts: what was said in one room must not
// turn into the words of another name because its author went to a second room.
func enter(_ context.Context, r *hub.Request) (any, error) {
	var p person
	if err := r.Decode(&p); err != nil {
		return nil, err
	}
	me := hub.State[person](r.Peer)
	if me.Name == "" {
		*me = p
	}
	if p != *me {
		return nil, wrongName("you are " + me.Name + " already; connect anew to change that")
	}
	return p, nil
}

// say stores a message. Its author gets it like everybody, in its place in the room.
func say(ctx context.Context, r *hub.Request, in text) error {
	session := r.Peer.Session() // a hash: it does not tell the secret
	in.Author, in.ID, in.Name = hex.EncodeToString(session[:]), r.ID, hub.State[person](r.Peer).Name
	return r.All(ctx, sayKind.New(in))
}

// tell passes a typing notice on to whoever can take it right now. It is not kept.
func tell(ctx context.Context, r *hub.Request, in typing) error {
	in.Name = hub.State[person](r.Peer).Name
	return r.Others(ctx, typingKind.New(in).Volatile())
}
