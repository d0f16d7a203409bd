// Relay is the smallest hub: for measuring, and for clients under test. Any room
// may be joined; a message of type "msg" goes to the other members of its room
// unchanged, one of type "echo" is answered with its own content.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof" // served on -debug only
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
	"github.com/hubbub-go/hubbub/transport"
)

const (
	msg  message.Kind[message.Raw]              = "msg"
	echo message.Call[message.Raw, message.Raw] = "echo"
)

var policies = map[string]message.Policy{"disconnect": message.Disconnect, "drop-oldest": message.DropOldest, "latest": message.LatestOnly}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	debug := flag.String("debug", "", "address for pprof; none by default")
	slow := flag.String("slow", "disconnect", "slow consumers: disconnect, drop-oldest or latest")
	var o hub.Options
	var ws transport.WebSocketOptions
	flag.DurationVar(&o.Heartbeat, "heartbeat", 25*time.Second, "time between pings")
	flag.DurationVar(&o.Timeout, "timeout", 0, "time for a sign of life after a ping (default 20s, at most heartbeat)")
	flag.DurationVar(&o.DrainTime, "drain", 5*time.Second, "time over which a shutdown is spread")
	flag.IntVar(&o.MaxPeers, "peers", 0, "most connections; 0: no limit")
	flag.IntVar(&o.MaxRooms, "rooms", 100, "most rooms of one connection")
	flag.IntVar(&ws.Limit, "limit", 64<<10, "largest message in bytes")
	flag.IntVar(&ws.Pending, "pending", 1<<20, "most bytes waiting for one slow client")
	flag.DurationVar(&ws.WriteTimeout, "write-timeout", 10*time.Second, "how long a full socket may take nothing")
	flag.DurationVar(&ws.FlushWindow, "window", 0, "wait before writing, to write more at once")
	flag.BoolVar(&ws.Compress, "deflate", false, "offer permessage-deflate")
	flag.BoolVar(&ws.InsecureSkipOrigin, "any-origin", false, "let every page connect")
	flag.Parse()
	policy, ok := policies[*slow]
	if !ok {
		log.Fatalf("-slow %s: it is disconnect, drop-oldest or latest", *slow)
	}
	if *debug != "" {
		go func() { log.Println(http.ListenAndServe(*debug, nil)) }()
	}
	o.Transports = []transport.Transport{transport.WebSocket(&ws)}
	if err := serve(*addr, relay(&o, policy)); err != nil {
		log.Fatal(err)
	}
}

// relay is the hub itself.
func relay(o *hub.Options, policy message.Policy) *hub.Hub {
	h := hub.New(o)
	h.Rooms("{room...}", &hub.Rule{Delivery: room.Ephemeral{Slow: policy}})
	h.Rooms("log/{room...}", &hub.Rule{Delivery: room.Recoverable{Keep: 1000, KeepFor: 5 * time.Minute}})
	hub.On(h, msg, func(ctx context.Context, r *hub.Request, in message.Raw) error {
		return r.Others(ctx, msg.New(in))
	})
	hub.Reply(h, echo, func(_ context.Context, _ *hub.Request, in message.Raw) (message.Raw, error) {
		return in, nil
	})
	return h
}

// serve runs until it is interrupted, then sends the clients away in peace.
func serve(addr string, h *hub.Hub) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_ = h.Shutdown(end)
		_ = srv.Shutdown(end)
	}()
	fmt.Printf("relay listens on ws://%s/ws\n", l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
