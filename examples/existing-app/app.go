package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	hubware "github.com/hubbub-go/hubbub/middleware"
	"github.com/hubbub-go/hubbub/room"
)

// app is a web application as there are many: sessions, a log, a timeout, and a
// REST endpoint. What hubbub adds to it is marked with (1) to (4).
type app struct {
	sessions *scs.SessionManager
	hub      *hub.Hub // (1)
}

type notice struct {
	From string `json:"from"`
	Text string `json:"text"`
}

const posted message.Kind[notice] = "notice.posted"

func newApp() *app {
	a := &app{sessions: scs.New()}
	// (2) Rooms of signed-in users. Identify sees the session that the ordinary
	// middleware has loaded.
	a.hub = hub.New(&hub.Options{Identify: func(r *http.Request) (string, error) {
		return a.user(r.Context()), nil
	}})
	a.hub.Use(hubware.Log(nil))
	boards := a.hub.Rooms("board/{id}", &hub.Rule{Presence: &room.Presence{}, Join: func(_ context.Context, r *hub.Request) (any, error) {
		if r.Peer.User() == "" {
			return nil, message.Errorf(message.Unauthenticated, "sign in first")
		}
		return nil, nil
	}})
	hub.On(boards, posted, func(ctx context.Context, r *hub.Request, in notice) error {
		in.From = r.Peer.User()
		return r.Others(ctx, posted.New(in))
	})
	return a
}

func (a *app) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Logger, middleware.Recoverer, middleware.Compress(5))
	r.Use(middleware.Timeout(2 * time.Second)) // ends requests, not WebSockets
	r.Use(a.sessions.LoadAndSave)
	r.Post("/login", a.login)
	r.Post("/boards/{id}/notices", a.post)
	r.Mount("/ws", a.hub) // (3)
	return r
}

func (a *app) user(ctx context.Context) string { return a.sessions.GetString(ctx, "user") }

// login stands for whatever the application does to know its users.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.FormValue("name"))
	if name == "" {
		http.Error(w, "name is missing", http.StatusBadRequest)
		return
	}
	if err := a.sessions.RenewToken(r.Context()); err != nil {
		http.Error(w, "no session", http.StatusInternalServerError)
		return
	}
	a.sessions.Put(r.Context(), "user", name)
	w.WriteHeader(http.StatusNoContent)
}

// post is the REST endpoint that also reaches those who are connected.
func (a *app) post(w http.ResponseWriter, r *http.Request) {
	user := a.user(r.Context())
	if user == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	n := notice{From: user}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&n); err != nil {
		http.Error(w, "the body is not a notice", http.StatusBadRequest)
		return
	}
	n.From = user
	if err := a.hub.Room("board/"+chi.URLParam(r, "id")).Broadcast(r.Context(), posted.New(n)); err != nil {
		http.Error(w, "not delivered", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
}
