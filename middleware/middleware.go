// Package middleware has wrappers around message handlers, for Hub.Use and
// Scope.Use. For the connection itself, ordinary func(http.Handler) http.Handler
// middleware in front of the hub does.
package middleware

import (
	"context"
	"log/slog"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
)

// Timeout ends the context of a handler after d. A handler that returns the
// context's error is answered with Timeout; one that ignores its context is not
// interrupted.
func Timeout(d time.Duration) hub.Middleware {
	return func(next hub.Handler) hub.Handler {
		return func(ctx context.Context, r *hub.Request) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return next(ctx, r)
		}
	}
}

// RequireUser refuses messages of peers that Options.Identify knows no user of,
// with Unauthenticated.
func RequireUser() hub.Middleware {
	return func(next hub.Handler) hub.Handler {
		return func(ctx context.Context, r *hub.Request) (any, error) {
			if r.Peer.User() == "" {
				return nil, message.Errorf(message.Unauthenticated, "sign in first")
			}
			return next(ctx, r)
		}
	}
}

// Log writes a line for each handled message: debug where it went well, info
// where it was refused; failures and panics the hub logs by itself. Contents are
// never logged. nil is slog.Default.
func Log(log *slog.Logger) hub.Middleware {
	if log == nil {
		log = slog.Default()
	}
	return func(next hub.Handler) hub.Handler {
		return func(ctx context.Context, r *hub.Request) (any, error) {
			start := time.Now()
			result, err := next(ctx, r)
			level, code := slog.LevelDebug, ""
			if err != nil {
				level, code = slog.LevelInfo, string(message.Public(err).Code)
			}
			if log.Enabled(ctx, level) {
				room := ""
				if r.Room != nil {
					room = r.Room.Name()
				}
				log.Log(ctx, level, "hubbub: message", "type", r.Type, "room", room, "conn", r.Peer.ID(), "user", r.Peer.User(),
					"code", code, "dur", time.Since(start))
			}
			return result, err
		}
	}
}
