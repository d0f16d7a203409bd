// Package room has named sets of members with broadcast-except and presence. It
// needs no hub and no network: a member is anything with an ID that can queue a
// frame.
//
//	rooms := room.NewManager(nil)
//	lobby := rooms.Get("lobby")
//	err := lobby.Join(ctx, alice, nil)
//	err = lobby.Broadcast(ctx, message.New("news", "hello"), room.Except("bob"))
//
// A room exists while it has members, or some that may be back within the grace
// of its Presence. All methods are safe for concurrent use; a broadcast only
// queues, so it is never held up by a slow member.
package room
