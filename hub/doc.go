// Package hub accepts connections, routes their messages to typed handlers and
// joins them to rooms. A Hub is an http.Handler:
//
//	type Text struct{ Body string `json:"body"` }
//
//	const Say message.Kind[Text] = "chat.say"
//
//	h := hub.New(nil)                 // in memory, WebSocket, slog.Default
//	chat := h.Rooms("chat/{id}", nil) // only members may send
//	hub.On(chat, Say, func(ctx context.Context, r *hub.Request, in Text) error {
//		return r.Others(ctx, Say.New(in)) // broadcast to the room, except the sender
//	})
//	r := chi.NewRouter()
//	r.Mount("/ws", h)
//
// Everything is registered first; the first request freezes the hub, and what
// registers later panics. After that all methods are safe for concurrent use.
//
// # Order
//
// The messages of one peer are handled one at a time, in the order in which they
// were sent, unless a handler is registered as Concurrent. A handler that waits
// holds up only its own peer. Handlers of different peers run in parallel; see
// RoomsOf for rooms with a state.
package hub
