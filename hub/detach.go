package hub

import (
	"context"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"
)

// detach returns the context of a connection: it has the values of the request
// but outlives it. chi takes its routing context back when the request ends and
// gives it to another one, so the URL parameters must be copied.
func detach(r *http.Request) context.Context {
	ctx := context.WithoutCancel(r.Context())
	if rc := chi.RouteContext(r.Context()); rc != nil {
		own := chi.NewRouteContext()
		own.URLParams.Keys = slices.Clone(rc.URLParams.Keys)
		own.URLParams.Values = slices.Clone(rc.URLParams.Values)
		own.RoutePatterns = slices.Clone(rc.RoutePatterns)
		own.RoutePath, own.RouteMethod = rc.RoutePath, rc.RouteMethod
		ctx = context.WithValue(ctx, chi.RouteCtxKey, own)
	}
	return ctx
}
