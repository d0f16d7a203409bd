import { HubImpl } from './hub.js';
import type { Hub, Options } from './types.js';

export { HubbubError, type Code } from './errors.js';
export type {
  Api, CallOptions, Gap, Hub, HubEvents, JoinOptions, Joined, Member, Message, Off, Options, Presence, PresenceChange, Receipt, Receives, Room, RoomEvents,
  SendOptions, Sends, SocketClass, SocketLike, State, StreamOptions, Welcome, WhyClosed,
} from './types.js';

/**
 * Connects to a hub, and stays connected until `close()`. The url may be
 * relative to the page; http means ws. Throws a TypeError if it is none; where it is
 * `lazy`, `connect()` of the hub does.
 */
export function connect<A = object>(url: string | URL, options: Options = {}): Hub<A> {
  const hub = new HubImpl(url, options);
  if (!options.lazy) hub.connect();
  return hub as unknown as Hub<A>;
}
