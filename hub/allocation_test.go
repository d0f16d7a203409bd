package hub_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/transport"
)

// feeder is the connection of a client that sends one message again and again.
type feeder struct {
	fakes
	next    chan []byte
	message transport.Message
}

func (f *feeder) Serve(_ http.ResponseWriter, r *http.Request, accept transport.Accept) {
	if run, err := accept(r); err == nil {
		run(feeding{fake{&f.fakes}, f})
	}
}

type feeding struct {
	fake
	f *feeder
}

func (c feeding) Read() (*transport.Message, error) {
	data, ok := <-c.f.next
	if !ok {
		return nil, io.EOF
	}
	c.f.message.Data = data
	return &c.f.message, nil
}

// large is a message in a buffer that no pool keeps.
func large(s string) []byte { return append(make([]byte, 0, 1<<17), s...) }

// TestDispatchAllocations: bringing a message to its handler costs the Request,
// and a handler for the rest the name of the type.
func TestDispatchAllocations(t *testing.T) {
	tests := []struct {
		name, message string
		want          float64
	}{
		{"to no room", `{"type":"work","content":{"body":"hello"}}`, 1},
		{"to a room", `{"type":"work","room":"chat/1","content":{"body":"hello"}}`, 1},
		{"of another type", `{"type":"rest","content":{"body":"hello"}}`, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &feeder{next: make(chan []byte)}
			done := make(chan struct{})
			h := hub.New(&hub.Options{Transports: []transport.Transport{f}})
			h.Rooms("chat/{id}", nil)
			handled := func(context.Context, *hub.Request) (any, error) { done <- struct{}{}; return nil, nil }
			hub.OnRest(h, handled)
			hub.On(h, message.Kind[struct{}]("work"), func(ctx context.Context, r *hub.Request, _ struct{}) error {
				_, err := handled(ctx, r)
				return err
			})
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			f.next <- large(`{"type":"join","room":"chat/1"}`)
			data := large(tt.message)
			got := testing.AllocsPerRun(200, func() {
				f.next <- data
				<-done
			})
			if got != tt.want {
				t.Errorf("%v allocations, want %v", got, tt.want)
			}
			close(f.next)
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
