import { HubImpl } from './hub.js';
import type { Hub, Options } from './types.js';

export { HubbubError, type Code } from './errors.js';
export type {
  Api, CallOptions, Gap, Hub, HubEvents, Joined, Member, Message, Off, Options, Presence, PresenceChange, Receipt, Receives, Room, RoomEvents,
  SendOptions, Sends, SocketClass, SocketLike, State, StreamOptions, Welcome, WhyClosed,
} from './types.js';

/**
 * Connects to a hub, and stays connected until `close()`. The url may be
 * relative to the page; http means ws.
 */
export function connect<A = object>(url: string | URL, options: Options = {}): Hub<A> {
  const absolute = new URL(url, globalThis.location?.href);
  const hub = new HubImpl(absolute.href.replace(/^http/, 'ws'), options);
  if (!options.lazy) hub.connect();
  return hub as unknown as Hub<A>;
}
