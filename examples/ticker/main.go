// Ticker shows the prices of a made-up market that changes thousands of times a
// second. Its rooms keep the latest price of each symbol, so a page that opens
// has all of them at once. Three things keep what a page gets calm:
//
//   - The room prices/calm: this program sends a symbol to it five times a second at
//     most (-calm). That is for everybody, and the only one of the three that a
//     client notices which keeps up.
//   - The hub: of what a client could not take yet, it gets the newest price of each
//     symbol and nothing that is older (room.Latest). That is for slow clients, in
//     prices/all too, which gets every single change.
//   - The page: it paints once a frame, whatever came in between.
//
// To see it:
//
//	go run ./examples/ticker
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
	"sync"
	"syscall"
	"time"

	"github.com/hubbub-go/hubbub/hub"
)

//go:embed page
var page embed.FS

func main() {
	var p pace
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.IntVar(&p.changes, "rate", 5000, "changes of prices a second")
	flag.IntVar(&p.calm, "calm", 5, "most messages a second for one symbol in the calm room")
	flag.Parse()
	if p.changes < 100 || p.changes > 50_000 || p.calm < 1 || p.calm > 50 {
		log.Fatal("-rate is 100 to 50000, -calm is 1 to 50")
	}
	if err := run(*addr, p); err != nil {
		log.Fatal(err)
	}
}

func run(addr string, p pace) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (another port: -addr localhost:8081): %w", addr, err)
	}
	h := newHub(&hub.Options{DrainTime: time.Second})
	srv := &http.Server{Handler: routes(h), ReadHeaderTimeout: 5 * time.Second}
	var trading sync.WaitGroup
	defer trading.Wait()
	defer stop() // also where Serve fails
	trading.Go(func() { newMarket(h, p).trade(ctx) })
	fmt.Printf("ticker is open at http://%s\n", l.Addr())
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
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	mux.Handle("/hubbub.js", secure(hub.Script()))
	mux.Handle("/", secure(http.FileServerFS(files)))
	return mux
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
