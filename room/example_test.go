package room_test

import (
	"context"
	"fmt"
	"time"

	"github.com/hubbub-go/hubbub/message"
	"github.com/hubbub-go/hubbub/room"
)

// guest is a member: it has an ID and takes frames.
type guest string

func (g guest) ID() string { return string(g) }

func (g guest) Deliver(f *message.Frame) error {
	e, err := message.Decode(f.Payload(), f.Binary())
	if err != nil {
		return err
	}
	fmt.Printf("%s got %s %s\n", g, e.Type, e.Content.Data)
	return nil
}

// A room works without a hub and without a network.
func Example() {
	ctx := context.Background()
	lobby := room.NewManager(nil).Get("lobby")
	_ = lobby.Join(ctx, guest("ada"), nil)
	_ = lobby.Join(ctx, guest("bob"), nil)

	_ = lobby.Broadcast(ctx, message.New("news", "hello"), room.Except("bob"))
	lobby.Leave(guest("ada"))
	fmt.Println(lobby.Len(), "left")
	// Output:
	// ada got news "hello"
	// 1 left
}

// With presence, members are told who comes and goes.
func ExampleOptions_presence() {
	ctx := context.Background()
	rooms := room.NewManager(&room.Options{Presence: &room.Presence{}})
	lobby := rooms.Get("lobby")
	_ = lobby.Join(ctx, guest("ada"), map[string]string{"name": "Ada"})
	_ = lobby.Join(ctx, guest("bob"), map[string]string{"name": "Bob"})
	lobby.Leave(guest("bob"))
	for id, state := range lobby.Members() {
		fmt.Println(id, state)
	}
	// Output:
	// ada got joined {"name":"Bob"}
	// ada got left {"name":"Bob"}
	// ada map[name:Ada]
}

// A member's state may change, and a member that is dropped may come back.
func ExampleRoom_Update() {
	ctx := context.Background()
	rooms := room.NewManager(&room.Options{Presence: &room.Presence{Grace: time.Minute}})
	lobby := rooms.Get("lobby")
	_ = lobby.Join(ctx, guest("ada"), "here")
	_ = lobby.Join(ctx, guest("bob"), "here")
	_ = lobby.Update(ctx, guest("bob"), "busy")
	lobby.Drop(guest("bob"))
	_ = lobby.Join(ctx, guest("bob"), "busy") // nobody is told
	lobby.Leave(guest("ada"))
	// Output:
	// ada got joined "here"
	// ada got presence {"members":2,"updated":[{"from":"bob","content":"busy"}]}
	// bob got presence {"members":2,"updated":[{"from":"bob","content":"busy"}]}
	// bob got left "here"
}

// Several rooms at once reach each member once.
func ExampleBroadcast() {
	ctx := context.Background()
	rooms := room.NewManager(nil)
	red, blue, quiet := rooms.Get("red"), rooms.Get("blue"), rooms.Get("quiet")
	_ = red.Join(ctx, guest("ada"), nil)
	_ = blue.Join(ctx, guest("ada"), nil)
	_ = blue.Join(ctx, guest("bob"), nil)
	_ = quiet.Join(ctx, guest("bob"), nil)

	_ = room.Broadcast(ctx, []*room.Room{red, blue}, message.New("goal", 1), room.ExceptRooms(quiet))
	// Output:
	// ada got goal 1
}
