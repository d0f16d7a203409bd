package main

import (
	"context"
	"log"
	"net/http"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
)

const Say message.Kind[string] = "say"

func main() {
	h := hub.New(nil)
	hub.On(h.Rooms("chat/{id}", nil), Say, func(ctx context.Context, r *hub.Request, text string) error {
		return r.All(ctx, Say.New(text))
	})
	http.Handle("/ws", h)
	http.Handle("/hubbub.js", hub.Script())
	http.Handle("/", http.FileServer(http.Dir(".")))
	log.Fatal(http.ListenAndServe("localhost:8080", nil))
}
