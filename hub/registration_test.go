package hub_test

import (
	"context"
	"iter"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/hubtest"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

func ignore(context.Context, *hub.Request, string) error { return nil }

func open(context.Context, *room.Room) (*int, error) { return new(int), nil }

// TestMistakesPanic: each mistake at registration is a sentence that names it.
func TestMistakesPanic(t *testing.T) {
	tests := []struct {
		name string
		make func(h *hub.Hub)
		want string
	}{
		{"empty type", func(h *hub.Hub) { hub.On(h, "", ignore) }, `a handler for "": the member "type" has 0 bytes`},
		{"long type", func(h *hub.Hub) { hub.On(h, message.Kind[string](strings.Repeat("x", 129)), ignore) }, "129 bytes"},
		{"control character", func(h *hub.Hub) { hub.On(h, "a\nb", ignore) }, "control character"},
		{"same type twice", func(h *hub.Hub) { hub.On(h, note, ignore); hub.On(h, note, ignore) }, `the hub has two handlers for "note"`},
		{"On and Reply of one type", func(h *hub.Hub) {
			hub.On(h, "where", ignore)
			hub.Reply(h, where, answerAs(""))
		}, `the hub has two handlers for "where"`},
		{"same type twice in a room", func(h *hub.Hub) {
			s := h.Rooms("chat/{id}", nil)
			hub.On(s, note, ignore)
			hub.On(s, note, ignore)
		}, `Rooms("chat/{id}") has two handlers for "note"`},
		{"two rests", func(h *hub.Hub) { hub.OnRest(h, answer(1)); hub.OnRest(h, answer(2)) }, "the hub has two handlers for the rest"},
		{"empty pattern", func(h *hub.Hub) { h.Rooms("", nil) }, "the room pattern is empty"},
		{"unclosed variable", func(h *hub.Hub) { h.Rooms("chat/{id", nil) }, "neither text nor {name}"},
		{"rest in the middle", func(h *hub.Hub) { h.Rooms("{a...}/b", nil) }, "something follows"},
		{"same pattern twice", func(h *hub.Hub) { h.Rooms("chat/{id}", nil); h.Rooms("chat/{name}", nil) }, "matches the same names"},
		{"same pattern with state", func(h *hub.Hub) { h.Rooms("chat/{id}", nil); hub.RoomsOf(h, "chat/{id}", nil, open) }, "matches the same names"},
		{"control character in a pattern", func(h *hub.Hub) { h.Rooms("a\nb", nil) }, `the room pattern "a\nb" matches no name`},
		{"NULs for a pattern", func(h *hub.Hub) { h.Rooms(string(make([]byte, 300)), nil) }, "matches no name"},
		{"pattern that is no text", func(h *hub.Hub) { h.Rooms("chat/\xff/{id}", nil) }, "matches no name"},
		{"no router", func(*hub.Hub) { hub.On(nil, note, ignore) }, `the Hub or Scope of the handler for "note" is nil`},
		{"no router to answer", func(*hub.Hub) { hub.Reply(nil, where, answerAs("")) }, `the Hub or Scope of the handler for "where" is nil`},
		{"no router for a stream", func(*hub.Hub) {
			hub.Stream(nil, message.Call[int, int]("count"), func(context.Context, *hub.Request, int) iter.Seq2[int, error] { return nil })
		}, `the Hub or Scope of the handler for "count" is nil`},
		{"no router for the rest", func(*hub.Hub) { hub.OnRest(nil, answer(1)) }, "the Hub or Scope of the handler for the rest is nil"},
		{"a nil hub", func(*hub.Hub) { hub.On((*hub.Hub)(nil), note, ignore) }, `the Hub or Scope of the handler for "note" is nil`},
		{"a hub not of New", func(*hub.Hub) { hub.On(&hub.Hub{}, note, ignore) }, `the Hub or Scope of the handler for "note" is nil`},
		{"a nil scope", func(*hub.Hub) { hub.On((*hub.Scope)(nil), note, ignore) }, `the Hub or Scope of the handler for "note" is nil`},
		{"rooms of a nil hub", func(*hub.Hub) { hub.RoomsOf((*hub.Hub)(nil), "chat/{id}", nil, open) }, `the Hub of Rooms("chat/{id}") is nil`},
		{"a nil scope with state", func(*hub.Hub) {
			hub.OnRoom(nil, note, func(*int, context.Context, *hub.Request, string) error { return nil })
		}, `the StateScope of the handler for "note" is nil`},
		{"a nil scope with state to answer", func(*hub.Hub) {
			hub.ReplyRoom(nil, where, func(*int, context.Context, *hub.Request, string) (string, error) { return "", nil })
		}, `the StateScope of the handler for "where" is nil`},
		{"two handlers with state", func(h *hub.Hub) {
			s := hub.RoomsOf(h, "chat/{id}", nil, open)
			fn := func(*int, context.Context, *hub.Request, string) error { return nil }
			hub.OnRoom(s, note, fn)
			hub.OnRoom(s, note, fn)
		}, `Rooms("chat/{id}") has two handlers for "note"`},
		{"no middleware", func(h *hub.Hub) { h.Use(asIs, nil) }, "the middleware given to Use is nil"},
		{"no middleware of a room", func(h *hub.Hub) { h.Rooms("chat/{id}", nil).Use(nil) }, "the middleware given to Use is nil"},
		{"no handler", func(h *hub.Hub) { hub.On[string](h, note, nil) }, `the handler for "note" is nil`},
		{"no answer", func(h *hub.Hub) { hub.Reply[string, string](h, where, nil) }, `the handler for "where" is nil`},
		{"no stream", func(h *hub.Hub) { hub.Stream[string, string](h, where, nil) }, `the handler for "where" is nil`},
		{"no handler for the rest", func(h *hub.Hub) { hub.OnRest(h, nil) }, "the handler for the rest is nil"},
		{"no state", func(h *hub.Hub) { hub.RoomsOf[int](h, "chat/{id}", nil, nil) }, `opens the states of Rooms("chat/{id}") is nil`},
		{"no handler with state", func(h *hub.Hub) {
			hub.OnRoom[int, string](hub.RoomsOf(h, "chat/{id}", nil, open), note, nil)
		}, `the handler for "note" is nil`},
		{"no answer with state", func(h *hub.Hub) {
			hub.ReplyRoom[int, string, string](hub.RoomsOf(h, "chat/{id}", nil, open), where, nil)
		}, `the handler for "where" is nil`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantPanic(t, tt.want, func() { tt.make(hub.New(nil)) })
		})
	}
}

func asIs(next hub.Handler) hub.Handler { return next }

// TestBrokenMiddlewareServesNobody: where the middleware cannot be put around the
// handlers, no request gets at them without it, neither the first nor a later one.
func TestBrokenMiddlewareServesNobody(t *testing.T) {
	for name, broken := range map[string]hub.Middleware{
		"panics":          func(hub.Handler) hub.Handler { panic("hub: no, a broken one") },
		"gives nothing":   func(hub.Handler) hub.Handler { return nil },
		"not for the hub": func(hub.Handler) hub.Handler { panic("hub: no, a broken one") },
	} {
		t.Run(name, func(t *testing.T) {
			h := hub.New(nil)
			hub.On(h, note, ignore)
			s := h.Rooms("chat", nil)
			hub.On(s, note, ignore)
			if name == "not for the hub" {
				s.Use(broken)
			} else {
				h.Use(asIs, broken)
			}
			for range 3 {
				wantPanic(t, "hub: ", func() {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
				})
			}
		})
	}
}

func TestSystemTypesCannotBeRegistered(t *testing.T) {
	for _, typ := range []string{
		"join", "leave", "ping", "auth", "ack", "error",
		"welcome", "pong", "joined", "left", "presence", "gap", "bye",
	} {
		h := hub.New(nil)
		s := h.Rooms("chat/{id}", nil)
		want := `a handler for "` + typ + `": this type belongs to the protocol`
		wantPanic(t, want, func() { hub.On(h, message.Kind[string](typ), ignore) })
		wantPanic(t, want, func() { hub.On(s, message.Kind[string](typ), ignore) })
		wantPanic(t, want, func() { hub.Reply(h, message.Call[string, string](typ), answerAs("")) })
	}
	hub.On(hub.New(nil), message.Kind[string]("Join"), ignore) // another name
}

func TestTheSameTypeInDifferentScopes(t *testing.T) {
	h := hub.New(nil)
	hub.On(h, note, ignore)
	hub.On(h.Rooms("a", nil), note, ignore)
	hub.On(h.Rooms("b", nil), note, ignore)
}

// TestNothingRegistersAfterTheFirstRequest, not even one that was refused.
func TestNothingRegistersAfterTheFirstRequest(t *testing.T) {
	h := hub.New(nil)
	s := h.Rooms("chat", nil)
	states := hub.RoomsOf(h, "state", nil, open)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	late := map[string]func(){
		`a handler for "note"`: func() { hub.On(h, note, ignore) },
		`a handler for "sum"`: func() {
			hub.Reply(s, sum, func(context.Context, *hub.Request, []int) (int, error) { return 0, nil })
		},
		`a handler for "where"`: func() {
			hub.ReplyRoom(states, where, func(*int, context.Context, *hub.Request, string) (string, error) { return "", nil })
		},
		"OnRest":          func() { hub.OnRest(h, answer(nil)) },
		"Use":             func() { h.Use() },
		`Rooms("later")`:  func() { h.Rooms("later", nil) },
		`Rooms("state2")`: func() { hub.RoomsOf(h, "state2", nil, open) },
	}
	for what, register := range late {
		wantPanic(t, what+" comes after the first request", register)
	}
	wantPanic(t, "Use comes after the first request", func() { s.Use() })
}

func TestOptionsAreChecked(t *testing.T) {
	wantPanic(t, "Options.Timeout is longer than Options.Heartbeat", func() {
		hub.New(&hub.Options{Heartbeat: time.Second, Timeout: 2 * time.Second})
	})
	hub.New(&hub.Options{Heartbeat: time.Second}) // the default time-out follows
	hub.New(&hub.Options{Heartbeat: time.Second, Timeout: time.Second})
}

// TestOptionsAreCopied: what happens to the Options later does not matter.
func TestOptionsAreCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &hub.Options{MaxRooms: 1}
		h := newHub(t, opts)
		opts.MaxRooms = 100
		h.Rooms("chat/{id}", nil)
		c := hubtest.Dial(t, h)
		c.Join("chat/1", nil)
		wantCode(t, c.TryJoin("chat/2", nil), message.Denied)
	})
}
