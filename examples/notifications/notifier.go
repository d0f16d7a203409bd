package main

import (
	"encoding/json"
	"errors"
	"log"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// notification is what travels. The page in page/ is the other side of it.
type notification struct {
	From string `json:"from"`
	Text string `json:"text"`
}

const notify message.Kind[notification] = "notification"

// kept is what an inbox keeps, read marks included, for 30 days. All of it is sent to
// who joins, so a page needs no second source.
var kept = room.Recoverable{Keep: 200, Bytes: 256 << 10}

type notifier struct {
	hub   *hub.Hub
	inbox *hub.Inbox
}

func newNotifier(opts *hub.Options) *notifier {
	opts.Identify = identify
	h := hub.New(opts)
	return &notifier{h, hub.NewInbox(h, "inbox/{user}", kept)}
}

var name = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// identify takes everybody's word for who they are, which is right for an example
// that two tabs can play and for nothing else: a real application looks up a session
// or checks a token here.
func identify(r *http.Request) (string, error) {
	user := r.URL.Query().Get("user")
	if !name.MatchString(user) {
		return "", message.Errorf(message.Unauthenticated, "a name has 1 to 32 of a to z, 0 to 9, - and _")
	}
	return user, nil
}

// post sends a notification to a user, connected or not.
func (n *notifier) post(w http.ResponseWriter, r *http.Request) {
	from, err := identify(r)
	if err != nil {
		refuse(w, http.StatusUnauthorized, err)
		return
	}
	to, text, err := read(w, r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if _, err := n.inbox.Send(r.Context(), to, notify.New(notification{from, text})); err != nil {
		log.Printf("notifications: sending to %s: %v", to, err)
		refuse(w, http.StatusServiceUnavailable, errors.New("it cannot be stored now; try again later"))
		return
	}
	w.WriteHeader(http.StatusNoContent) // it is stored: it will be there
}

func read(w http.ResponseWriter, r *http.Request) (to, text string, err error) {
	var in struct {
		To   string `json:"to"`
		Text string `json:"text"`
	}
	if typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); typ != "application/json" {
		return "", "", errors.New("the content type is application/json")
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&in); err != nil {
		return "", "", errors.New(`the body is {"to":"…","text":"…"}`)
	}
	text = strings.TrimSpace(in.Text)
	switch n := utf8.RuneCountInString(text); {
	case !name.MatchString(in.To):
		return "", "", errors.New("a name has 1 to 32 of a to z, 0 to 9, - and _")
	case n < 1 || n > 500:
		return "", "", errors.New("a notification has 1 to 500 characters")
	}
	return in.To, text, nil
}

// refuse says what is wrong, in words for people.
func refuse(w http.ResponseWriter, status int, err error) {
	text := err.Error()
	if public, ok := errors.AsType[*message.Error](err); ok {
		text = public.Message
	}
	http.Error(w, text, status)
}
