//go:build linux

package load

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A faultyRoom is a server for one room that does what it should until a
// certain message, and then something else.
type faultyRoom struct {
	mu      sync.Mutex
	members []*websocket.Conn
	count   int
	held    []byte
	fault   func(r *faultyRoom, from *websocket.Conn, data []byte)
}

const faultAt = 50

func (r *faultyRoom) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	upgrader := websocket.Upgrader{}
	conn, err := upgrader.Upgrade(w, request, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			return
		}
		var e struct{ Type string }
		if json.Unmarshal(data, &e) != nil {
			return
		}
		r.mu.Lock()
		if e.Type == "join" {
			r.members = append(r.members, conn)
			r.send(conn, []byte(`{"type":"welcome"}`), []byte(`{"type":"ack","id":"1"}`))
		} else if r.count++; r.count == faultAt && r.fault != nil {
			r.fault(r, conn, data)
		} else {
			r.cast(conn, data)
		}
		r.mu.Unlock()
	}
}

func (r *faultyRoom) send(to *websocket.Conn, messages ...[]byte) {
	for _, data := range messages {
		_ = to.WriteMessage(websocket.TextMessage, data) // the generator notices what is missing
	}
}

func (r *faultyRoom) cast(from *websocket.Conn, data []byte) {
	for _, member := range r.members {
		if member != from {
			r.send(member, data)
			if r.held != nil {
				r.send(member, r.held)
			}
		}
	}
	r.held = nil
}

// The generator must notice every way in which a server can fail.
func TestGeneratorFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(r *faultyRoom, from *websocket.Conn, data []byte)
		want  string
	}{
		"none":      {nil, ""},
		"lost":      {func(*faultyRoom, *websocket.Conn, []byte) {}, "lost"},
		"repeated":  {func(r *faultyRoom, from *websocket.Conn, data []byte) { r.cast(from, data); r.cast(from, data) }, "again"},
		"reordered": {func(r *faultyRoom, _ *websocket.Conn, data []byte) { r.held = data }, "out of order"},
		"reflected": {func(r *faultyRoom, from *websocket.Conn, data []byte) { r.cast(from, data); r.send(from, data) }, "its own"},
		"refused": {func(r *faultyRoom, from *websocket.Conn, data []byte) {
			r.cast(from, data)
			r.send(from, []byte(`{"type":"error"}`))
		}, `server says {"type":"error"}`},
		"closed": {func(r *faultyRoom, from *websocket.Conn, data []byte) {
			r.cast(from, data)
			from.Close()
		}, "connection 0: "}, // as an end or as a reset, depending on what was unread
		"binary": {func(r *faultyRoom, from *websocket.Conn, data []byte) {
			r.cast(from, data)
			_ = r.members[2].WriteMessage(websocket.BinaryMessage, data)
		}, "unexpected frame"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(&faultyRoom{fault: c.fault})
			defer server.Close()
			// One publisher, so that a lost message is noticed by the next one.
			result, err := Run(context.Background(), Plan{
				Kind: Broadcast, Address: server.Listener.Addr().String(), Dialect: "envelope", PID: os.Getpid(),
				Rooms: 1, Members: 4, Publishers: 1, InFlight: 8, Payload: 128, Window: 100 * time.Millisecond,
			})
			switch {
			case c.want == "" && (err != nil || result.Deliveries == 0 || result.Checked < faultAt):
				t.Fatalf("result %+v, error %v", result, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestPlansThatMakeNoSense(t *testing.T) {
	good := Plan{Kind: Broadcast, Rooms: 1, Members: 4, Publishers: 1, InFlight: 8, Window: time.Second}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Plan){
		"no rooms":            func(p *Plan) { p.Rooms = 0 },
		"no kind":             func(p *Plan) { p.Kind = "" },
		"publishers only":     func(p *Plan) { p.Members = 1 },
		"too many publishers": func(p *Plan) { p.Publishers = 5 },
		"echo in rooms":       func(p *Plan) { p.Kind = Echo },
		"rate and bound":      func(p *Plan) { p.Rate = 10 },
		"neither":             func(p *Plan) { p.InFlight = 0 },
		"no window":           func(p *Plan) { p.Window = 0 },
	} {
		plan := good
		if change(&plan); plan.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPayloadSizes(t *testing.T) {
	for name, d := range dialects {
		for _, kind := range []Kind{Broadcast, Echo} {
			plan := Plan{Kind: kind, Rooms: 1, Members: 1, Publishers: 1, Payload: 128}
			g := &generator{plan: plan, dialect: d, ledger: newLedger(plan, true), connections: []*connection{{room: "r0"}}}
			if err := g.preparePublishers(); err != nil || len(g.publishers[0].template) != plan.Payload {
				t.Errorf("%s, %s: %d bytes, error %v", name, kind, len(g.publishers[0].template), err)
			}
		}
	}
}
