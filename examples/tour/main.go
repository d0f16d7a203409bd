// Tour shows most of what hubbub has: users, rooms with a rule, messages and questions.
package main

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware" // chi's, for requests; hubbub/middleware is for messages
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

type Text struct {
	Body string `json:"body"`
}

const (
	Say     message.Kind[Text]         = "chat.say"    // the wire type and its Go type, bound once
	Invite  message.Call[string, bool] = "chat.invite" // a question has a typed answer
	Confirm message.Call[string, bool] = "confirm"
)

// whoIs sees the request of a connecting client and returns its user.
func whoIs(r *http.Request) (string, error) {
	user := r.URL.Query().Get("user") // in earnest a session
	if user == "" {
		return "", message.Errorf(message.Unauthenticated, "sign in first") // an answer of 401
	}
	return user, nil
}

// admit decides who may join a room. The value is what fellow members see.
func admit(_ context.Context, r *hub.Request) (any, error) {
	if r.Var("id") == "staff" && r.Peer.User() != "ada" {
		return nil, message.Errorf(message.Denied, "staff only")
	}
	return r.Peer.User(), nil
}

func routes() http.Handler {
	h := hub.New(&hub.Options{Identify: whoIs})
	chat := h.Rooms("chat/{id}", &hub.Rule{Join: admit, Presence: &room.Presence{}})

	hub.On(chat, Say, func(ctx context.Context, r *hub.Request, in Text) error {
		return r.Others(ctx, Say.New(in)) // to the room, except the sender
	})
	hub.Reply(chat, Invite, func(ctx context.Context, r *hub.Request, id string) (bool, error) {
		// The server asks a client. The value is the answer, the error is the refusal.
		return hub.Ask(ctx, h.Peer(id), Confirm, r.Peer.User()+" invites you. Do you come?")
	})

	r := chi.NewRouter()
	r.Use(middleware.Logger, middleware.Timeout(time.Minute)) // ordinary middleware works
	r.Mount("/ws", h)
	r.Post("/lunch", func(_ http.ResponseWriter, r *http.Request) { // from anywhere else, too
		_ = h.Room("chat/1").Broadcast(r.Context(), Say.New(Text{"lunch!"}))
	})
	return r
}

func main() {
	log.Fatal(http.ListenAndServe("localhost:8080", routes()))
}
