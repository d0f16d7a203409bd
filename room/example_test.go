package room_test

import (
	"context"
	"fmt"

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
	rooms := room.NewManager(&room.Options{Presence: true})
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
