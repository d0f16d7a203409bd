// Existing-app is a chi application with sessions, logging, a timeout and a REST
// endpoint that posts into a room, with a hub mounted beside them.
//
//	go run . -addr localhost:8080
package main

import (
	"flag"
	"log"
	"net/http"
	"time"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.Parse()
	srv := &http.Server{Addr: *addr, Handler: newApp().routes(), ReadHeaderTimeout: 5 * time.Second}
	log.Printf("listening on http://%s", *addr)
	log.Fatal(srv.ListenAndServe())
}
