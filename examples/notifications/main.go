// Notifications has an inbox for each user: a list, a badge with what is unread,
// and the same in all tabs of one user. Whoever is away finds on return what was
// sent meanwhile, once and in order. The inboxes are kept in memory: a new start
// begins anew.
//
//	go run ./examples/notifications
//
// Open it as two users. From elsewhere, a program sends with
//
//	curl -H 'Content-Type: application/json' -d '{"to":"ada","text":"hello"}' 'http://localhost:8080/notifications?user=cron'
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
	n := newNotifier(&hub.Options{DrainTime: time.Second})
	srv := &http.Server{Handler: routes(n), ReadHeaderTimeout: 5 * time.Second}
	fmt.Printf("notifications are open at http://%s\n", l.Addr())
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = n.hub.Shutdown(end) // first: the server knows nothing of open connections
		_ = srv.Shutdown(end)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-done // Serve returns when Shutdown begins
	return nil
}

// routes serves the page, and beside it what sends notifications, the hub and its
// client. No page of another site may send in the name of a user.
func routes(n *notifier) http.Handler {
	files, _ := fs.Sub(page, "page") // the folder is embedded: no error
	mux := http.NewServeMux()
	mux.Handle("/ws", n.hub)
	mux.Handle("POST /notifications", secure(http.HandlerFunc(n.post)))
	mux.Handle("/hubbub.js", secure(hub.Script()))
	mux.Handle("/", secure(http.FileServerFS(files)))
	return http.NewCrossOriginProtection().Handler(mux)
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
