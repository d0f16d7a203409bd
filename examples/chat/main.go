// Chat is a chat with two rooms: names, messages, who is here, who is typing,
// a history, and pages that come back by themselves and say whether they missed
// anything. The rooms are kept in memory: a new start begins anew.
//
//	go run ./examples/chat
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/hubbub-go/hubbub/hub"
)

//go:embed page
var page embed.FS

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal(err)
	}
}

func run(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (another port: -addr localhost:8081): %w", addr, err)
	}
	h := newChat(&hub.Options{DrainTime: time.Second})
	srv := &http.Server{Handler: routes(h), ReadHeaderTimeout: 5 * time.Second}
	fmt.Printf("chat is open at http://%s\n", l.Addr())
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = h.Shutdown(end) // first: the server knows nothing of open connections
		_ = srv.Shutdown(end)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-done // Serve returns when Shutdown begins
	return nil
}

// routes serves the page and, beside it, the hub and its client.
func routes(h http.Handler) http.Handler {
	files, _ := fs.Sub(page, "page") // the folder is embedded: no error
	r := chi.NewRouter()
	r.Mount("/ws", h)
	r.Handle("/hubbub.js", secure(hub.Script()))
	r.Handle("/*", secure(http.FileServerFS(files)))
	return r
}

// secure lets the page load nothing from elsewhere, and run nothing inline.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}
