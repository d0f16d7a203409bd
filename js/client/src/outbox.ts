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

export interface Outbox<A = object> {
  /**
   * Stores the message, then sends it, also several times where the server says
   * `rate_limited`, `unavailable` or `timeout`. After a rejection with `closed`,
   * `unknown`, `not_member` or `unauthenticated` it is still stored.
   */
  send<K extends keyof Sends<A> & string>(place: Hub<A> | Room<A>, type: K, content?: Sends<A>[K]): Promise<Receipt>;
  /** How many messages of this page are stored. */
  size(): Promise<number>;
  /** Stops; what is stored is for the next page, or for another outbox once the hub is closed, too. */
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
  const store = await openStore(name);
  const sender = hub as unknown as Sender;
  const { owner, unlock } = await begin(store, sender);

  // Before anything goes out, the next page can know in which session, and as whom.
  let as: As = {};
  let known = false;
  const foreign = ({ session, user }: As) => !!session && user !== as.user;
  const sign = (message: StoredMessage) => foreign(message) ? message : { ...message, ...as };
  const know = async () => {
    if (sender.state !== 'connected') await nextConnection(sender);
    as = { session: sender.session, user: sender.user };
    await store.change(owner, sign);
    known = true;
  };
  const knowing = know().catch(() => {}); // closed meanwhile

  const deliver = async (message: StoredMessage, again = false, wait = AGAIN_AFTER): Promise<Receipt> => {
    const { id, room, type, content, until } = message;
    const place = room === undefined ? sender : sender.room(room);
    if (!known) await within(sender, until, knowing);
    try {
      if (foreign(message)) throw new HubbubError('unknown', 'sent by another user');
      const receipt = await place.send(type, content, { id, again, ttl: Math.max(until - Date.now(), 0) });
      await store.remove(id);
      return receipt;
    } catch (error) {
      const { code, retryAfter = wait } = error as HubbubError;
      if (code === 'overflow' && sender.state !== 'connected' && Date.now() < until) { // so that the order stays
        await within(sender, until, nextConnection(sender));
        return deliver(message, again);
      }
      const then = Date.now() + retryAfter;
      if (PASSING.includes(code) && then < until) {
        await within(sender, then, new Promise(() => {}));
        return deliver(message, true, Math.min(wait * 2, LONGEST_WAIT));
      }
      if (Date.now() >= until || !UNDECIDED.includes(code)) await store.remove(id);
      throw error;
    }
  };

  const restore = async () => {
    const gone = new Map<string, (() => void) | undefined>();
    for (const message of await store.all()) {
      if (message.owner !== owner) {
        if (!gone.has(message.owner)) gone.set(message.owner, await lock(message.owner));
        if (!gone.get(message.owner) || !(await store.adopt(message, { ...sign(message), owner }))) continue;
      }
      const send = () => void deliver(message, !!message.session).catch((error) => onError(error, message));
      if (message.room === undefined) send();
      else whenJoined(sender.room(message.room), send);
    }
    for (const release of gone.values()) release?.();
  };

  await restore();
  return {
    async send(place, type, content) {
      const { name: room } = place as { name?: string };
      const message: StoredMessage = { id: uuid(), owner, room, type, content, until: Date.now() + ttl, ...as };
      await store.put(message);
      return deliver(message);
    },
    size: async () => (await store.all()).filter((message) => message.owner === owner).length,
    close() {
      store.close();
      const release = () => {
        if (sender.state !== 'closed') return;
        sender.session = undefined; // from now on the next page's
        unlock();
        off();
      };
      const off = sender.on('state', release);
      release();
    },
  };
}

type As = Pick<StoredMessage, 'session' | 'user'>;

/** The hub, or a room of it, without the application's types. */
interface Sender {
  readonly joined?: boolean;
  readonly state?: string;
  readonly user?: string;
  session?: string;
  room(name: string): Sender;
  on(event: 'state', fn: () => void): () => void;
  send(type: string, content: unknown, options: { id: string; again: boolean; ttl: number }): Promise<Receipt>;
  once(event: 'welcome' | 'join', fn: () => void): void;
}

function nextConnection(hub: Sender): Promise<void> {
  return new Promise((resolve) => hub.once('welcome', resolve));
}

function whenJoined(room: Sender, fn: () => void): void {
  if (room.joined) fn();
  else room.once('join', fn);
}

/** Waits, unless the hub is closed or the time over: sending will tell. */
function within(hub: Sender, until: number, event: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      off();
      resolve();
    };
    const closed = () => { if (hub.state === 'closed') done(); };
    const timer = setTimeout(done, Math.min(until - Date.now(), LONGEST_TIMER));
    const off = hub.on('state', closed);
    event.then(done, done);
    closed();
  });
}

// A page holds a lock for its life, so that others know whether its messages are
// left behind, and its session with them. Without Web Locks every other page counts as
// gone, but no session is continued: two that are alive must not share one.

const locks = () => globalThis.navigator?.locks;

/** Takes it if nobody has it, and returns what gives it back. */
function lock(owner: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    if (!locks()) return resolve(() => {});
    const hold = (free: unknown) => free ? new Promise<void>(resolve) : resolve(undefined);
    locks().request(owner, { ifAvailable: true }, hold).catch(reject);
  });
}

/**
 * Goes on as the page that was the last to send something that is left, if that is gone
 * and the hub has no session yet; otherwise as a new page.
 */
async function begin(store: Store, hub: Sender): Promise<{ owner: string; unlock: () => void }> {
  for (const { owner, session } of locks() ? (await store.all()).reverse() : []) {
    const unlock = session && !hub.session ? await lock(owner) : undefined;
    if (!unlock) continue;
    // Another one may have been faster and be done.
    const left = (await store.all()).some((message) => message.owner === owner && message.session === session);
    if (left && !hub.session) {
      hub.session = session;
      return { owner, unlock };
    }
    unlock();
  }
  const owner = uuid();
  return { owner, unlock: (await lock(owner))! };
}

type Store = Awaited<ReturnType<typeof openStore>>;

async function openStore(name: string) {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: 'id' });
  const database = await result(opening);
  const begin = (mode: IDBTransactionMode) => database.transaction(STORE, mode).objectStore(STORE);
  return {
    /** In the order in which they were made: ids ascend. */
    all: (): Promise<StoredMessage[]> => result(begin('readonly').getAll()),
    put: (message: StoredMessage) => result(begin('readwrite').put(message)),
    /** Where that fails, as after close(), the next page asks for what the server knows. */
    remove: (id: string) => Promise.resolve(id).then((id) => result(begin('readwrite').delete(id))).catch(() => {}),
    /** All that belongs to a page. */
    async change(owner: string, fn: (message: StoredMessage) => StoredMessage): Promise<void> {
      const store = begin('readwrite');
      for (const message of await result<StoredMessage[]>(store.getAll())) {
        if (message.owner === owner) await result(store.put(fn(message)));
      }
    },
    /** Takes it over, unless another page was faster. */
    async adopt(message: StoredMessage, own: StoredMessage): Promise<boolean> {
      const store = begin('readwrite');
      const now = (await result(store.get(message.id))) as StoredMessage | undefined;
      if (now?.owner !== message.owner) return false;
      await result(store.put(own));
      return true;
    },
    close: () => database.close(),
  };
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
