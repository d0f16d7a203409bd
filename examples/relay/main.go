// Relay is the smallest hub: for measuring, and for clients under test. Any room
// may be joined; a message of type "msg" goes to the other members of its room
// unchanged, one of type "echo" is answered with its own content.
//
// Rooms whose names begin with "log/" keep 1,000 messages for 5 minutes, and
// answer "history" with a page of them: {"before":cursor,"limit":n}. Rooms under
// "latest/" keep the newest message for each content.key. All others keep nothing.
//
// Rooms under "who/" show who is there: one entry for each user, with the content
// of its join as state, that outlives its last connection by 2 s. A user is who
// the query parameter "user" says, as in /ws?user=ada; anonymous without.
//
// The debug address has pprof, and POST /reset, which closes one connection
// (?peer=id) or all, so that clients can be seen to come back.
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
	msg     message.Kind[message.Raw]              = "msg"
	echo    message.Call[message.Raw, message.Raw] = "echo"
	history message.Call[before, room.Page]        = "history"
)

// before asks for messages before a cursor.
type before struct {
	Before string `json:"before"`
	Limit  int    `json:"limit"`
}

var policies = map[string]message.Policy{"disconnect": message.Disconnect, "drop-oldest": message.DropOldest, "latest": message.LatestOnly}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	debug := flag.String("debug", "", "address for pprof and resets; none by default")
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
	o.Transports = []transport.Transport{transport.WebSocket(&ws)}
	h := relay(&o, policy)
	if *debug != "" {
		http.HandleFunc("POST /reset", reset(h))
		go func() { log.Println(http.ListenAndServe(*debug, nil)) }()
	}
	if err := serve(*addr, h); err != nil {
		log.Fatal(err)
	}
}

// relay is the hub itself.
func relay(o *hub.Options, policy message.Policy) *hub.Hub {
	o.Identify = func(r *http.Request) (string, error) { return r.URL.Query().Get("user"), nil }
	h := hub.New(o)
	h.Rooms("{room...}", &hub.Rule{Delivery: room.Ephemeral{Slow: policy}})
	h.Rooms("who/{room...}", &hub.Rule{
		Delivery: room.Ephemeral{Slow: policy}, Presence: &room.Presence{ByUser: true, Grace: 2 * time.Second}, Join: asTold,
	})
	logged := h.Rooms("log/{room...}", &hub.Rule{Delivery: room.Recoverable{Keep: 1000, KeepFor: 5 * time.Minute}})
	latest := h.Rooms("latest/{room...}", &hub.Rule{Delivery: room.Latest{}})
	hub.On(h, msg, func(ctx context.Context, r *hub.Request, in message.Raw) error {
		return r.Others(ctx, msg.New(in))
	})
	hub.On(latest, msg, func(ctx context.Context, r *hub.Request, in message.Raw) error {
		var keyed struct {
			Key message.Raw `json:"key"` // any JSON
		}
		_ = in.Decode(nil, &keyed) // what is no object has no key
		if len(keyed.Key.Data) > 256 {
			return &message.Error{Code: message.Invalid, Message: "a key has at most 256 bytes", Field: "content.key"}
		}
		return r.Others(ctx, msg.New(in).Keyed(string(keyed.Key.Data)))
	})
	hub.Reply(logged, history, func(ctx context.Context, r *hub.Request, in before) (room.Page, error) {
		return r.Room.History(ctx, in.Before, in.Limit)
	})
	hub.Reply(h, echo, func(_ context.Context, _ *hub.Request, in message.Raw) (message.Raw, error) {
		return in, nil
	})
	return h
}

// asTold admits everybody, and shows what it has sent along.
func asTold(_ context.Context, r *hub.Request) (any, error) {
	var in message.Raw
	err := r.Decode(&in)
	return in, err
}

// reset closes connections as a server does that restarts.
func reset(h *hub.Hub) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for p := range h.Peers() {
			if id := r.FormValue("peer"); id == "" || id == p.ID() {
				p.Close(message.CloseRestart, "reset")
				n++
			}
		}
		_, _ = fmt.Fprintf(w, "%d closed\n", n)
	}
}

// serve runs until it is interrupted, then sends the clients away in peace.
func serve(addr string, h *hub.Hub) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	mux.Handle("/hubbub.js", hub.Script())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
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
	<-done // Serve returns when Shutdown begins
	return nil
}
