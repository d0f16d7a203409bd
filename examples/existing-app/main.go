// Existing-app is a chi application with sessions, logging, a timeout and a REST
// endpoint that posts into a room, with a hub mounted beside them.
//
//	go run . -addr localhost:8080
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

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
		return err
	}
	log.Printf("listening on http://%s", l.Addr())
	return newApp().serve(ctx, l)
}

// serve runs until ctx ends, then lets requests and connections end in peace.
func (a *app) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(a.hub.Shutdown(end), srv.Shutdown(end)) // (4) the hub first: the server does not know of its connections
}
