import { HubbubError, type Hub, type Receipt, type Room, type Sends } from '@hubbub/client';
import { uuid } from './uuid.js';

const DAY = 86_400_000;
const STORE = 'messages';
/** Not decided by the server: worth another try after a reload. */
const UNDECIDED = ['closed', 'unknown', 'overflow'];

export interface OutboxOptions {
  /** Name of the database. Default `hubbub-outbox`. */
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
}

export interface Outbox<A = object> {
  /** Stores the message, then sends it. After a rejection with `closed` or `unknown` it is still stored. */
  send<K extends keyof Sends<A> & string>(place: Hub<A> | Room<A>, type: K, content?: Sends<A>[K]): Promise<Receipt>;
  /** How many messages of this page are stored. */
  size(): Promise<number>;
  /** Stops; what is stored is for the next page. */
  close(): void;
}

/**
 * Keeps unsent messages over a reload. What an earlier page left behind is sent
 * now; what belongs to a room, once the application has joined that.
 */
export async function openOutbox<A = object>(hub: Hub<A>, options: OutboxOptions = {}): Promise<Outbox<A>> {
  const { name = 'hubbub-outbox', ttl = DAY, onError = console.error } = options;
  const store = await openStore(name);
  const owner = uuid();
  const unlock = lock(owner);
  const sender = hub as unknown as Sender;

  const deliver = async (message: StoredMessage): Promise<Receipt> => {
    const { id, room, type, content, until } = message;
    const place = room === undefined ? sender : sender.room(room);
    try {
      const receipt = await place.send(type, content, { id, ttl: Math.max(until - Date.now(), 0) });
      await store.remove(id);
      return receipt;
    } catch (error) {
      const code = error instanceof HubbubError ? error.code : '';
      if (code === 'overflow') return nextConnection(sender).then(() => deliver(message));
      if (!UNDECIDED.includes(code) || Date.now() >= until) await store.remove(id);
      throw error;
    }
  };

  const restore = async () => {
    const left = (await store.all()).filter((message) => message.owner !== owner);
    const alive = new Map<string, boolean>();
    for (const message of left) {
      if (!alive.has(message.owner)) alive.set(message.owner, await isAlive(message.owner));
      if (alive.get(message.owner) || !(await store.adopt(message, owner))) continue;
      const send = () => void deliver(message).catch((error) => onError(error, message));
      if (message.room === undefined) send();
      else whenJoined(sender.room(message.room), send);
    }
  };

  await restore();
  return {
    async send(place, type, content) {
      const { name: room } = place as { name?: string };
      const message: StoredMessage = { id: uuid(), owner, room, type, content, until: Date.now() + ttl };
      await store.put(message);
      return deliver(message);
    },
    size: async () => (await store.all()).filter((message) => message.owner === owner).length,
    close() {
      unlock();
      store.close();
    },
  };
}

/** The hub, or a room of it, without the application's types. */
interface Sender {
  readonly joined?: boolean;
  room(name: string): Sender;
  send(type: string, content: unknown, options: { id: string; ttl: number }): Promise<Receipt>;
  once(event: 'welcome' | 'join', fn: () => void): void;
}

function nextConnection(hub: Sender): Promise<void> {
  return new Promise((resolve) => hub.once('welcome', resolve));
}

function whenJoined(room: Sender, fn: () => void): void {
  if (room.joined) fn();
  else room.once('join', fn);
}

// A page holds a lock for its life, so that others know whether its messages are
// left behind. Without Web Locks every other page counts as gone.

function lock(owner: string): () => void {
  let unlock = () => {};
  const closed = new Promise<void>((resolve) => { unlock = resolve; });
  void globalThis.navigator?.locks?.request(owner, () => closed);
  return unlock;
}

async function isAlive(owner: string): Promise<boolean> {
  const locks = globalThis.navigator?.locks;
  return locks ? locks.request(owner, { ifAvailable: true }, (free) => !free) : false;
}

async function openStore(name: string) {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: 'id' });
  const database = await result(opening);
  const begin = (mode: IDBTransactionMode) => database.transaction(STORE, mode).objectStore(STORE);
  return {
    /** In the order in which they were made: ids ascend. */
    all: (): Promise<StoredMessage[]> => result(begin('readonly').getAll()),
    put: (message: StoredMessage) => result(begin('readwrite').put(message)),
    remove: (id: string) => result(begin('readwrite').delete(id)),
    /** Takes it over, unless another page was faster. */
    async adopt(message: StoredMessage, owner: string): Promise<boolean> {
      const store = begin('readwrite');
      const now = (await result(store.get(message.id))) as StoredMessage | undefined;
      if (now?.owner !== message.owner) return false;
      await result(store.put({ ...message, owner }));
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
