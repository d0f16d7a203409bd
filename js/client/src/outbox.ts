import { HubbubError, type Hub, type Receipt, type Room, type Sends } from '@hubbub/client';
import { uuid } from './uuid.js';

const DAY = 86_400_000;
const STORE = 'messages';
const LONGEST_TIMER = 2 ** 31 - 1;
/** Not decided: worth another try by this page, later. */
const PASSING = ['overflow', 'rate_limited', 'unavailable', 'timeout'];
/** The same after a reload: the hub is closed, the room not joined, nobody logged in. */
const UNDECIDED = ['closed', 'unknown', 'not_member', 'unauthenticated'];
const AGAIN_AFTER = 1_000; // at first; doubles each time
const LONGEST_WAIT = 60_000;

export interface OutboxOptions {
  /**
   * Name of the database. Default `hubbub-outbox`, host and path of the hub: what is for
   * one server, and the session there, must not go to another.
   */
  name?: string;
  /** How long a message is worth sending, in ms. Default a day. */
  ttl?: number;
  /** Told what became of a message of an earlier page that failed. Default: the console. */
  onError?: (error: unknown, message: StoredMessage) => void;
}

export interface StoredMessage {
  /** The message id, the same in every try. */
  readonly id: string;
  /** Which page it belongs to. */
  readonly owner: string;
  readonly room?: string;
  readonly type: string;
  readonly content?: unknown;
  /** When it is no longer worth sending, in ms since the Unix epoch. */
  readonly until: number;
  /** In which it was sent, a secret; undefined if it never was. */
  readonly session?: string;
  /** As whom it was sent. */
  readonly user?: string;
}

/** It may be left out where it may be undefined or null. */
type Content<C> = undefined extends C ? [content?: C] : null extends C ? [content?: C] : [content: C];

export interface Outbox<A = object> {
  /**
   * Stores the message, then sends it, also several times where the server says
   * `rate_limited`, `unavailable` or `timeout`. After a rejection with `closed`,
   * `unknown`, `not_member` or `unauthenticated` it is still stored.
   */
  send<K extends keyof Sends<A> & string>(place: Hub<A> | Room<A>, type: K, ...content: Content<Sends<A>[K]>): Promise<Receipt>;
  /** How many messages of this page are stored. */
  size(): Promise<number>;
  /**
   * Stops. What is stored is for the next page, or for another outbox once the hub is closed,
   * too; what is not on its way is rejected with `closed`.
   */
  close(): void;
}

/**
 * Keeps unsent messages over a reload. What an earlier page left behind is sent
 * now; what belongs to a room, once the application has joined that. A hub that has
 * not connected yet, as one that is `lazy`, continues the session of that page, so that
 * a room with history publishes nothing twice.
 */
export async function openOutbox<A = object>(hub: Hub<A>, options: OutboxOptions = {}): Promise<Outbox<A>> {
  const { host, pathname } = new URL(hub.url);
  const { name = `hubbub-outbox ${host}${pathname}`, ttl = DAY, onError = console.error } = options;
  const store = openStore(name);
  const sender = hub as unknown as Sender;
  const { owner, unlock } = await begin(store, sender);
  let closed = false;

  const connected = () => sender.state === 'connected';
  const ended = () => sender.state === 'closed';
  const over = () => closed || ended();

  const stops = new Set<() => void>();
  const onEnd = (look: () => void) => {
    const off = sender.on('state', look);
    stops.add(look);
    return () => {
      off();
      stops.delete(look);
    };
  };

  /** All that is stored and has not gone out yet, in its order. Only the first may. */
  const line = new Map<string, () => void>();

  /**
   * Waits for its turn and a connection, unless the time is over or an end comes. Before the
   * message goes out on it, the next page can know in which session, and as whom.
   */
  const pass = async (to: Sender, message: StoredMessage): Promise<{ signed: StoredMessage; sent: Promise<Receipt> }> => {
    const { id, type, content, until } = message;
    const mine = () => connected() && line.keys().next().value === id;
    const wait = (look: () => void) => {
      line.set(id, look); // where it is already, it keeps its place
      return onEnd(look);
    };
    try {
      for (;;) {
        await pause(until, () => over() || mine(), wait);
        if (Date.now() >= until) throw new HubbubError(message.session ? 'unknown' : 'expired');
        if (over()) throw new HubbubError('closed');
        if (!mine()) continue; // the hub was closed, but is not any more
        const { session, user } = sender;
        if (message.session && message.user !== user) throw new HubbubError('unknown', 'sent by another user');
        const signed = { ...message, owner, session, user };
        await store.put(signed).catch(() => {}); // the data of the site was cleared meanwhile
        if (closed || !mine() || user !== sender.user) continue;
        return { signed, sent: to.send(type, content, { id, again: !!message.session, ttl: until - Date.now() }) };
      }
    } finally {
      line.delete(id);
      line.values().next().value?.();
    }
  };

  const deliver = async (to: Sender, message: StoredMessage, wait = AGAIN_AFTER): Promise<Receipt> => {
    const { id, until } = message;
    try {
      const { signed, sent } = await pass(to, message);
      message = signed;
      const receipt = await sent;
      await store.remove(id);
      return receipt;
    } catch (error) {
      const { code, retryAfter = wait } = error as HubbubError;
      const then = Date.now() + retryAfter;
      if (PASSING.includes(code) && then < until) {
        await pause(then, over, onEnd);
        return deliver(to, message, Math.min(wait * 2, LONGEST_WAIT));
      }
      if (Date.now() >= until || !UNDECIDED.includes(code)) await store.remove(id);
      throw error;
    }
  };

  /** What is for a room waits for the application, no longer than it is worth sending. */
  const resend = async (message: StoredMessage) => {
    const { room, until } = message;
    const to = room === undefined ? sender : sender.room(room);
    if (to !== sender) await pause(until, () => to.joined, (look) => to.on('join', look));
    if (!closed) await deliver(to, message);
  };

  for (const its of new Set((await store.all()).map((message) => message.owner))) {
    const release = await lock(its);
    if (!release && its !== owner) continue;
    const taken = await store.of(its, owner);
    release?.();
    for (const message of taken) void resend(message).catch((error) => onError(error, message));
  }

  return {
    async send(to, type, ...[content]) {
      const { name: room } = to as unknown as Sender;
      // As any send it takes what is there at the call: bytes, or what JSON makes of it.
      const isBytes = (content as ArrayBuffer | undefined)?.byteLength != null;
      const taken = isBytes ? structuredClone({ content }) : JSON.parse(JSON.stringify({ content }));
      const message: StoredMessage = { id: uuid(), owner, room, type, ...taken, until: Date.now() + ttl };
      await store.put(message);
      return deliver(to as unknown as Sender, message);
    },
    size: async () => (await store.of(owner)).length,
    close() {
      closed = true;
      store.close();
      for (const look of stops) look();
      const release = () => {
        if (!ended()) return;
        sender.session = undefined; // from now on the next page's
        unlock();
        off();
      };
      const off = sender.on('state', release);
      release();
    },
  };
}

/** The hub, or a room of it, without the application's types. */
interface Sender {
  readonly name?: string;
  readonly joined?: boolean;
  readonly state?: string;
  readonly user?: string;
  session?: string;
  room(name: string): Sender;
  on(event: 'state' | 'join', fn: () => void): () => void;
  send(type: string, content: unknown, options: { id: string; again: boolean; ttl: number }): Promise<Receipt>;
}

/** Waits until then, or for what may be there before, whenever told to look. */
function pause(until: number, ready: () => unknown, listen: (look: () => void) => () => void): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      off();
      resolve();
    };
    const look = () => { if (ready()) done(); };
    const timer = setTimeout(done, Math.min(until - Date.now(), LONGEST_TIMER));
    (timer as unknown as { unref?(): void }).unref?.(); // it is no reason for Node to live on
    const off = listen(look);
    look();
  });
}

// A page holds a lock for its life, so that others know whether its messages are
// left behind, and its session with them. Without Web Locks every other page counts as
// gone, but no session is continued: two that are alive must not share one.

const locks = () => globalThis.navigator?.locks;

/** Takes it if nobody has it, and returns what gives it back. */
async function lock(owner: string): Promise<(() => void) | undefined> {
  if (!locks()) return () => {};
  return new Promise((resolve, reject) => {
    const hold = (free: unknown) => free ? new Promise<void>(resolve) : resolve(undefined);
    locks().request(owner, { ifAvailable: true }, hold).catch(reject);
  });
}

/**
 * Goes on as the page that was the last to send something that is left, if that is gone
 * and the hub has no session yet; otherwise as a new page.
 */
async function begin(store: Store, hub: Sender): Promise<{ owner: string; unlock: () => void }> {
  for (const { owner, session } of (await store.all()).reverse()) {
    const unlock = locks() && session && !hub.session && await lock(owner);
    if (!unlock) continue;
    // Another one may have been faster and be done.
    const left = (await store.of(owner)).some((message) => message.session === session);
    if (left && !hub.session) {
      hub.session = session;
      return { owner, unlock };
    }
    unlock();
  }
  const owner = uuid();
  return { owner, unlock: (await lock(owner))! };
}

type Store = ReturnType<typeof openStore>;

function openStore(name: string) {
  let opening: Promise<IDBDatabase> | undefined;
  const open = async () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' });
    const database = await result(request);
    // Whoever clears the data of the site has their way; what is sent later begins a new one.
    database.onclose = database.onversionchange = () => {
      database.close();
      opening = undefined;
    };
    return database;
  };
  const opened = () => opening ??= open().catch((error) => {
    opening = undefined;
    throw error;
  });
  const begin = async () => (await opened()).transaction(STORE, 'readwrite').objectStore(STORE);
  const run = async <T>(fn: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> => result(fn(await begin()));
  return {
    /** In the order in which they were made: ids ascend. */
    all: () => run<StoredMessage[]>((store) => store.getAll()),
    put: (message: StoredMessage) => run((store) => store.put(message)),
    /** Where that fails, as after close(), the next page asks for what the server knows. */
    remove: (id: string) => run((store) => store.delete(id)).catch(() => {}),
    /** All that belongs to a page, and from now on to the next. */
    async of(owner: string, next?: string): Promise<StoredMessage[]> {
      const store = await begin();
      const all = (await result<StoredMessage[]>(store.getAll())).filter((message) => message.owner === owner);
      if (next) for (const message of all) await result(store.put({ ...message, owner: next }));
      return all;
    },
    /** One that the browser has ended is not opened again for it. */
    close: () => void opening?.then((database) => database.close(), () => {}),
  };
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
