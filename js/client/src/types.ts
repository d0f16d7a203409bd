import type { HubbubError } from './errors.js';

/**
 * What is said over a connection, by verb. Every part is optional; a part that
 * is missing allows every type, with content `unknown`.
 *
 *     interface Chat {
 *       send: { msg: { body: string } };                         // client to server
 *       on: { msg: { body: string } };                           // server to client
 *       call: { rename: (to: string) => { ok: boolean } };       // client asks
 *       answer: { confirm: (question: string) => boolean };      // server asks
 *       stream: { count: (to: number) => number };               // client asks, the server answers item by item
 *     }
 */
export interface Api {
  send?: object;
  on?: object;
  call?: object;
  answer?: object;
  stream?: object;
}

type Part<A, V extends keyof Api> = A extends { [K in V]: infer P extends object } ? P : Record<string, unknown>;
/** Types that a client may send, with their contents. */
export type Sends<A> = Part<A, 'send'>;
/** Types that a server may send, with their contents. */
export type Receives<A> = Part<A, 'on'>;
type Name<T> = keyof T & string;
type In<F> = F extends (content: infer C) => unknown ? C : unknown;
type Out<F> = F extends (content: never) => infer R ? R : unknown;
/** The content may be left out where it may be undefined or null. */
type Args<C, O> = undefined extends C ? [content?: C, options?: O] : null extends C ? [content?: C, options?: O] : [content: C, options?: O];

/** A message as it arrived. `from`, `user` and `timestamp` are the server's word; `content` is a stranger's. */
export interface Message<C = unknown> {
  readonly type: string;
  /** Bytes of a binary message are a Uint8Array. */
  readonly content: C;
  /** Milliseconds since the Unix epoch, by the server's clock. */
  readonly timestamp: number;
  readonly room?: string;
  /** Id of the peer that sent it. */
  readonly from?: string;
  /** Id of the user that sent it, where it is authenticated. */
  readonly user?: string;
  readonly cursor?: string;
  readonly id?: string;
}

/** - `idle`: not started · `connecting`: first connection · `reconnecting`: it was lost · `closed`: over, see `whyClosed` */
export type State = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

/** How the last connection ended. The code is that of WebSocket. */
export interface WhyClosed {
  readonly code: number;
  readonly reason: string;
}

/** What became of a message that was sent. */
export interface Receipt {
  /** `acked`: the server has handled it · `sent`: volatile, on its way · `dropped`: volatile, and the connection was away or congested */
  readonly status: 'acked' | 'sent' | 'dropped';
  /** Where the message is in the history of its room; absent where there is none, or the room has gone on meanwhile. */
  readonly cursor?: string;
}

/** Messages of a room that this client does not have. */
export interface Gap {
  /** `certain`: the server says so · `possible`: the room keeps no history, and the connection was away. */
  readonly missed: 'certain' | 'possible';
  /** `window` (too long ago), `epoch` (another life of the room) or `regress` (the room lost its tail). */
  readonly reason?: string;
  readonly cursor?: string;
}

export interface Joined {
  readonly members?: number;
  readonly presence?: readonly Member[];
  /** After a reconnect, with `since`, or where the server had put the client into the room: whether everything that was missed follows. */
  readonly recovered?: boolean;
  readonly cursor?: string;
  /** What was not recovered; absent on a first join, without `since`, of a room that the client had not heard before. */
  readonly gap?: Gap;
}

export interface Member<C = unknown> {
  readonly from: string;
  readonly user?: string;
  /** The member's public state, as the server decided it. */
  readonly content?: C;
}

/**
 * Many changes at once, or a changed state. Empty lists are absent; where all are, the
 * room only counts from now on.
 */
export interface PresenceChange {
  /** How many there are now. */
  readonly members?: number;
  /** All of them: this replaces what was known. */
  readonly presence?: readonly Member[];
  readonly joined?: readonly Member[];
  readonly left?: readonly Member[];
  /** `was`: the id until now of a member that came back with another one. */
  readonly updated?: readonly (Member & { readonly was?: string })[];
}

export interface Welcome {
  readonly id: string;
  readonly user?: string;
  readonly heartbeat: number;
  readonly limit: number;
}

export interface SendOptions {
  /** Not worth keeping: dropped without a connection, behind 64 KiB or while the room is being joined, never repeated, not acknowledged. */
  volatile?: boolean;
  /** How long to try, in ms. Default: `ttl` of the connection. */
  ttl?: number;
  /**
   * A message id of your own, so that a later send is known as the same message. Where
   * an earlier one has no answer yet, that rejects with `unknown`, as there is one answer.
   * At most 64 bytes of UTF-8, without half a surrogate pair: the server cannot answer to
   * another one, so that `send` says `unknown` when its time is over.
   */
  id?: string;
  /**
   * Publish only if the room is still at this cursor; otherwise `send` rejects with
   * `conflict`. After a message that has an `id` of your own, or was sent again over a
   * reconnect without `at`, `room.cursor` stays behind until the next message comes; the
   * cursor of its receipt does not.
   */
  at?: string;
}

export interface JoinOptions {
  /**
   * Go on after this cursor, which an earlier page has stored: what was missed follows, or
   * `gap` tells. Default: where this one has heard the room, or else where the room is now.
   */
  since?: string | null | undefined;
}

export interface CallOptions {
  /** How long to wait for the answer, in ms, a wait for the connection included. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface StreamOptions {
  /** Ends the stream, here and at the server. */
  signal?: AbortSignal;
}

export interface Options {
  /** The WebSocket class, where the runtime has none: `ws` for Node 20. */
  WebSocket?: SocketClass;
  /**
   * Called before every connection; offered as subprotocol `bearer.<token>`, for the
   * server's `Options.Identify` to read. Letters, digits, `-`, `_` and `.`.
   */
  token?: () => string | Promise<string>;
  /** Do not connect before `connect()`. Default false. */
  lazy?: boolean;
  /** For answers to calls, joins and pings, in ms. Default 10 000. */
  timeout?: number;
  /** For the socket to open and the welcome to arrive, in ms. Default 10 000. */
  connectTimeout?: number;
  /** How long `send` tries, in ms. Default 30 000. */
  ttl?: number;
  /** Most messages waiting for a connection. Default 256. */
  queueMessages?: number;
  /** Most bytes without an answer, on a connection too, as it may be a dead one. Default 1 MiB. */
  queueBytes?: number;
  /** First bound of the wait before a reconnect, in ms; doubles each time. Default 4000. */
  retryMin?: number;
  /** Last bound. Default 20 000. */
  retryMax?: number;
  /** Share of the wait that is random. Default 1: anything between 0 and the bound. */
  jitter?: number;
  /** Reconnects in a row before giving up. Default Infinity. */
  retries?: number;
  /** A connection that held this long starts the waits anew, in ms. Default 5000. */
  stableAfter?: number;
}

/** What is used of a WebSocket. The handlers are functions that get an event. */
export interface SocketLike {
  binaryType: string;
  readonly bufferedAmount?: number;
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  /** Gets a string or a Uint8Array. */
  send(data: string): void;
  close(code?: number, reason?: string): void;
}
export type SocketClass = new (url: string, protocols: string[]) => SocketLike;

export type Off = () => void;

export interface RoomEvents {
  /** Joined, for the first time or again. */
  join: Joined;
  /** No longer a member: left, taken out by the server (`not_member`), or not let in again (then `error` tells why, too). */
  leave: HubbubError | undefined;
  gap: Gap;
  /** Another member came. */
  joined: Message;
  /** Another member went, or, where `from` is `hub.id`, the server has taken this client out. */
  left: Message;
  /** Many came or went, a state changed, or the room only counts. */
  presence: Message<PresenceChange>;
  error: HubbubError;
}

export interface HubEvents {
  state: State;
  welcome: Welcome;
  bye: Message;
  /** Errors that no promise can tell, those of handlers included. Without a listener they go to the console. */
  error: unknown;
}

interface Verbs<A, E> {
  /** Calls fn for every message of the type; returns the function that ends it. */
  on<K extends keyof E>(event: K, fn: (value: E[K]) => void): Off;
  on<K extends Name<Part<A, 'on'>>>(type: K, fn: (message: Message<Part<A, 'on'>[K]>) => void): Off;
  once<K extends keyof E>(event: K, fn: (value: E[K]) => void): Off;
  once<K extends Name<Part<A, 'on'>>>(type: K, fn: (message: Message<Part<A, 'on'>[K]>) => void): Off;
  /** Sends, and again after a reconnect, until the server acknowledges. Rejects with a HubbubError. */
  send<K extends Name<Part<A, 'send'>>>(type: K, ...args: Args<Part<A, 'send'>[K], SendOptions>): Promise<Receipt>;
  /** Sends once and resolves with the server's answer. Rejects with a HubbubError, or the signal's reason. */
  call<K extends Name<Part<A, 'call'>>>(type: K, ...args: Args<In<Part<A, 'call'>[K]>, CallOptions>): Promise<Out<Part<A, 'call'>[K]>>;
  /**
   * Asks for many answers, each a turn of the loop. The end of the stream ends
   * the loop; an error, a lost connection (`unknown`) or the signal's reason is
   * thrown. Leaving the loop stops the server. Throws `overflow` if more than
   * 1000 wait for the loop, and is never repeated.
   */
  stream<K extends Name<Part<A, 'stream'>>>(type: K, ...args: Args<In<Part<A, 'stream'>[K]>, StreamOptions>): AsyncIterableIterator<Out<Part<A, 'stream'>[K]>>;
  /**
   * Every message of the type from now on. Ends with the room or the
   * connection; throws `overflow` if more than 1000 wait for the loop.
   */
  messages<K extends Name<Part<A, 'on'>>>(type: K): AsyncIterableIterator<Message<Part<A, 'on'>[K]>>;
}

/** Who is in a room that shows presence. A room that shows one entry for each user lists and counts users. */
export interface Presence {
  /** A new array after every change, of the count too. Empty where the room is too large for a list, or only counts. */
  readonly list: readonly Member[];
  /** How many members the room has, whether there is a list or not. */
  readonly count: number;
  subscribe(fn: () => void): Off;
}

export interface Room<A = Api> extends Verbs<A, RoomEvents> {
  readonly name: string;
  readonly joined: boolean;
  readonly presence: Presence;
  /** In a room that keeps history: the position after the last message whose handlers have returned. For `at`. */
  readonly cursor?: string;
  /**
   * Becomes a member, and again after every reconnect, until `leave`. Waits for
   * the connection; rejects if the server refuses. Content is for its admission rule.
   * While the room is joined, or being joined, this changes nothing.
   */
  join(content?: unknown, options?: JoinOptions): Promise<Joined>;
  /** Ends the membership, also one that the server has begun. Messages that still wait for the room reject with `closed`. */
  leave(): Promise<void>;
}

export interface Hub<A = Api> extends Verbs<A, HubEvents> {
  /** Where it connects to: absolute, `ws:` or `wss:`. Throws a TypeError if the url is none, as a relative one without a page. */
  readonly url: string;
  readonly state: State;
  /** How the last connection ended; undefined before that. */
  readonly whyClosed?: WhyClosed;
  /** The own peer id, another one after every reconnect. */
  readonly id?: string;
  readonly user?: string;
  /**
   * What the server knows this client by on all its connections: a secret, there from
   * the first welcome. Set before that it continues the session of a page that is gone;
   * two pages must not have the same one.
   */
  session?: string;
  /** Milliseconds that the last ping took. */
  readonly rtt?: number;
  /** What has no answer yet. */
  readonly pending: { readonly messages: number; readonly bytes: number };
  /** The room of that name, always the same object. */
  room(name: string): Room<A>;
  /** Answers the server's questions of a type. What fn throws becomes an error answer. */
  answer<K extends Name<Part<A, 'answer'>>>(
    type: K,
    fn: (message: Message<In<Part<A, 'answer'>[K]>>) => Out<Part<A, 'answer'>[K]> | Promise<Out<Part<A, 'answer'>[K]>>,
  ): Off;
  /** Connects if it is idle or closed; otherwise does nothing. */
  connect(): void;
  /** Ends the connection. What waits is rejected. */
  close(): void;
}
