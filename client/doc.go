// Package client is the Go client of a hub, for services, tools and tests:
//
//	const Say message.Kind[string] = "say"
//
//	c, err := client.Dial(ctx, "ws://localhost:8080/ws", nil)
//	if err != nil {
//		return err
//	}
//	defer c.Close(ctx)
//	room := c.Room("chat/1")
//	client.On(room, Say, func(m client.Message[string]) { fmt.Println(m.From, m.Content) })
//	room.OnGap(func(client.Gap) { fmt.Println("something may have been missed") })
//	if _, err := room.Join(ctx, nil); err != nil {
//		return err
//	}
//	_, err = client.Send(ctx, room, Say, "hello") // nil: the server has handled it
//
// A Client keeps one connection, never two. When it is lost the client comes
// back by itself, joins its rooms again and repeats what has no answer. All
// methods and functions are safe for concurrent use.
//
// # What happens to a message
//
// Send ends with the server's ack, with its error, or with one of the errors of
// this package that say what is known: ErrUnknown means that the message may
// have been handled, the others that it was not. Messages are sent in the order
// of the calls, over reconnects too, except that those to a room wait until it
// is joined. A message without an ack is sent again with the same id; a server
// that continues the session of the client handles it once. What Call and
// Stream have sent is not repeated.
//
// # What was missed
//
// A room that keeps history continues after the last message that was received;
// what has been waits for its handlers, also while there is no connection, and is
// handled in order, once, unless Leave ends that. Whatever cannot be had is told by
// Room.OnGap, or by Room.OnLost, before anything that follows the hole.
//
// # Handlers
//
// The functions that are passed to On, OnGap, OnLost and OnPresence, and OnStatus
// and OnError of the Options, run one at a time, in the order in which things
// happened. They may use everything of this package; Close does not wait for
// them. Reading goes on beside them, answers and pings included, until 16,384
// messages, or 16 MiB of them, wait; that is the most that a client holds, besides
// some 8 MiB to keep them in. Then it stops reading until one of them has been taken,
// and OnError says that handlers are too slow. A handler that waits for an answer then,
// as in Send, does not get it before its time is over, which is ErrUnknown; and a
// server that hears no answer to its pings may close the connection. What takes long,
// or sends for each message, is better done elsewhere, as behind a channel. Only
// answers to the server's questions, see OnAsk, have goroutines of their own.
package client
