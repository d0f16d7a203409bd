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
	next    chan struct{}
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
	if _, ok := <-c.f.next; !ok {
		return nil, io.EOF
	}
	return &c.f.message, nil
}

// TestDispatchAllocations: what it costs to bring a message to its handler, beside
// what the handler itself does: the Request, and what guards the call; for a room
// nothing more; the ID where there is one.
func TestDispatchAllocations(t *testing.T) {
	tests := []struct {
		name, message string
		most          float64
	}{
		{"to none", `{"type":"work","content":{"body":"hello"}}`, 2},
		{"to a room", `{"type":"work","room":"chat/1","content":{"body":"hello"}}`, 2},
		{"to the handler for the rest", `{"type":"rest","content":{"body":"hello"}}`, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &feeder{next: make(chan struct{})}
			done := make(chan struct{})
			h := hub.New(&hub.Options{Transports: []transport.Transport{f}})
			h.Rooms("chat/{id}", nil)
			handled := func(context.Context, *hub.Request) (any, error) { done <- struct{}{}; return nil, nil }
			hub.OnRest(h, handled)
			hub.On(h, message.Kind[struct{}]("work"), func(ctx context.Context, r *hub.Request, _ struct{}) error {
				_, err := handled(ctx, r)
				return err
			})
			data := make([]byte, 0, 1<<17) // so large that no pool keeps it
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			f.message.Data = append(data, `{"type":"join","room":"chat/1"}`...)
			f.next <- struct{}{}
			f.next <- struct{}{} // the first one has been handled
			f.message.Data = append(data, tt.message...)
			f.next <- struct{}{}
			<-done
			got := testing.AllocsPerRun(200, func() {
				f.next <- struct{}{}
				<-done
			})
			if got > tt.most {
				t.Errorf("%v allocations, at most %v", got, tt.most)
			}
			t.Log(got)
			close(f.next)
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
