package client_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/hubbub-go/hubbub/client"
	"github.com/hubbub-go/hubbub/hub"
	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

type Text struct {
	Body string `json:"body"`
}

const (
	Say     message.Kind[Text]         = "chat.say"
	Typing  message.Kind[bool]         = "chat.typing"
	Length  message.Call[string, int]  = "length"
	Letters message.Call[string, Text] = "letters"
	Confirm message.Call[string, bool] = "confirm"
)

// serve is a hub for these examples.
func serve() *httptest.Server {
	h := hub.New(nil)
	chat := h.Rooms("chat/{id}", &hub.Rule{Presence: &room.Presence{}})
	hub.On(chat, Say, func(ctx context.Context, r *hub.Request, in Text) error { return r.Others(ctx, Say.New(in)) })
	hub.On(chat, Typing, func(ctx context.Context, r *hub.Request, yes bool) error { return r.Others(ctx, Typing.New(yes)) })
	hub.Reply(chat, Length, func(ctx context.Context, r *hub.Request, s string) (int, error) {
		if ok, err := hub.Ask(ctx, r.Peer, Confirm, "really?"); err != nil || !ok {
			return 0, message.Errorf(message.Denied, "as you wish")
		}
		return len(s), nil
	})
	hub.Stream(chat, Letters, func(_ context.Context, _ *hub.Request, s string) iter.Seq2[Text, error] {
		return func(yield func(Text, error) bool) {
			for _, letter := range s {
				if !yield(Text{string(letter)}, nil) {
					return
				}
			}
		}
	})
	return httptest.NewServer(h)
}

func bearer(context.Context) (http.Header, error) {
	return http.Header{"Authorization": {"Bearer of a token"}}, nil
}

// service is the code that docs/guide.md shows.
func service(ctx context.Context, url string, show func(from, body string), reload func()) error {
	//doc:service
	c, err := client.Dial(ctx, url, &client.Options{
		Header:   bearer, // func(ctx) (http.Header, error), called before every connection
		OnStatus: func(s client.Status) { log.Println(s.State, s.Err) },
	})
	if err != nil {
		return err
	}
	room := c.Room("chat/1")
	client.On(room, Say, func(m client.Message[Text]) { show(m.From, m.Content.Body) })
	room.OnGap(func(client.Gap) { reload() }) // something is missing, or may be
	client.OnAsk(c, Confirm, func(_ context.Context, question string) (bool, error) { return question == "really?", nil })
	if _, err := room.Join(ctx, nil); err != nil {
		return err
	}
	if _, err := client.Send(ctx, room, Say, Text{"hi"}); err != nil { // nil: the server has handled it
		return err
	}
	n, err := client.Call(ctx, room, Length, "hello") // a typed answer, or a *message.Error
	log.Println(n, err)
	for letter, err := range client.Stream(ctx, room, Letters, "hello") { // an answer in many parts
		if err != nil {
			return err
		}
		log.Println(letter.Body)
	}
	_ = client.Volatile(room, Typing, true) // not worth keeping
	return c.Close(ctx)                     // waits for what was sent
	//doc:end
}

func TestService(t *testing.T) {
	log.SetOutput(t.Output())
	defer log.SetOutput(os.Stderr)
	server := serve()
	defer server.Close()
	if err := service(t.Context(), server.URL, func(string, string) {}, func() {}); err != nil {
		t.Fatal(err)
	}
}

// Two clients in a room.
func Example() {
	ctx, server := context.Background(), serve()
	defer server.Close()
	ana, err := client.Dial(ctx, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ana.Close(ctx)
	ben, err := client.Dial(ctx, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ben.Close(ctx)

	heard := make(chan string)
	room := ben.Room("chat/1")
	client.On(room, Say, func(m client.Message[Text]) { heard <- m.Content.Body })
	room.OnGap(func(client.Gap) { fmt.Println("something may have been missed: load it anew") })
	if _, err := room.Join(ctx, nil); err != nil {
		fmt.Println(err)
	}

	info, err := ana.Room("chat/1").Join(ctx, nil)
	fmt.Println(info.Members, err)
	_, err = client.Send(ctx, ana.Room("chat/1"), Say, Text{"hello"})
	fmt.Println(err)
	fmt.Println(<-heard)
	// Output:
	// 2 <nil>
	// <nil>
	// hello
}

// A question to the server, which asks back before it answers.
func ExampleCall() {
	ctx, server := context.Background(), serve()
	defer server.Close()
	c, err := client.Dial(ctx, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	room := c.Room("chat/1")
	if _, err := room.Join(ctx, nil); err != nil {
		fmt.Println(err)
	}
	_, err = client.Call(ctx, room, Length, "hello")
	fmt.Println(err)
	client.OnAsk(c, Confirm, func(_ context.Context, question string) (bool, error) {
		fmt.Println(question)
		return true, nil
	})
	fmt.Println(client.Call(ctx, room, Length, "hello"))
	// Output:
	// denied: as you wish
	// really?
	// 5 <nil>
}

// Messages that are sent one after the other without waiting for each, in order.
func ExampleStart() {
	ctx, server := context.Background(), serve()
	defer server.Close()
	c, err := client.Dial(ctx, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	room := c.Room("chat/1")
	if _, err := room.Join(ctx, nil); err != nil {
		fmt.Println(err)
	}
	var all []*client.Sending
	for i := range 3 {
		all = append(all, client.Start(ctx, room, Say, Text{fmt.Sprint("line ", i)}))
	}
	for _, s := range all {
		_, err := s.Wait()
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
}

// A question with many results. Leaving the loop stops the server, too.
func ExampleStream() {
	ctx, server := context.Background(), serve()
	defer server.Close()
	c, err := client.Dial(ctx, server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(ctx)
	room := c.Room("chat/1")
	if _, err := room.Join(ctx, nil); err != nil {
		fmt.Println(err)
	}
	for letter, err := range client.Stream(ctx, room, Letters, "hello") {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(letter.Body)
		if letter.Body == "l" {
			break
		}
	}
	// Output:
	// h
	// e
	// l
}
