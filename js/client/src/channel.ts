import type { HubImpl } from './hub.js';
import { Policy } from './outgoing.js';
import { Inbox } from './inbox.js';
import type { CallOptions, Off, Receipt, SendOptions } from './types.js';
import { uuid } from './uuid.js';
import { encode, sizeOf, type Envelope } from './wire.js';
import { HubbubError } from './errors.js';

const CONGESTED = 65_536; // bytes that the socket has not sent yet

type Listener = (value: never) => unknown;

/** The verbs that a room and the hub share. */
export abstract class Channel {
  private readonly _listeners = new Map<string, Set<Listener>>();
  private readonly _inboxes = new Set<Inbox<Envelope>>();
  abstract readonly _hub: HubImpl;
  readonly name?: string;

  on(type: string, fn: (value: never) => unknown): Off {
    const listener: Listener = (value) => fn(value); // each its own, also where fn is the same
    const all = this._listeners.get(type) ?? new Set();
    this._listeners.set(type, all.add(listener));
    return () => { all.delete(listener); };
  }

  once(type: string, fn: (value: never) => unknown): Off {
    const off = this.on(type, (value) => {
      off();
      fn(value);
    });
    return off;
  }

  async send(type: string, content?: unknown, { volatile, ttl, id = uuid() }: SendOptions = {}): Promise<Receipt> {
    const { _link, _options } = this._hub;
    if (volatile) {
      if (!_link._isUp || _link._socket!.bufferedAmount! > CONGESTED) return 'dropped';
      const frame = encode({ type, room: this.name }, content);
      if (sizeOf(frame) > _link._limit) throw new HubbubError('too_large');
      _link._send(frame);
      return 'sent';
    }
    await this._ask(id, type, content, Policy.Repeat, ttl ?? _options.ttl);
    return 'acked';
  }

  async call(type: string, content?: unknown, { timeout, signal }: CallOptions = {}): Promise<unknown> {
    const id = uuid();
    return (await this._ask(id, type, content, Policy.Once, timeout ?? this._hub._options.timeout, signal)).content;
  }

  private _ask(id: string, type: string, content: unknown, policy: Policy, within: number, signal?: AbortSignal): Promise<Envelope> {
    const frame = encode({ type, room: this.name, id }, content);
    const { _outgoing } = this._hub;
    return new Promise<Envelope>((resolve, reject) => {
      const abort = () => {
        _outgoing._settle(id);
        reject(signal!.reason);
      };
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort);
      const end = () => signal?.removeEventListener('abort', abort);
      _outgoing._request(id, frame, {
        _policy: policy,
        _within: within,
        _done: (ack) => { end(); resolve(ack); },
        _fail: (error) => { end(); reject(error); },
      });
    });
  }

  messages(type: string): AsyncIterableIterator<Envelope> {
    const inbox: Inbox<Envelope> = new Inbox(() => {
      off();
      this._inboxes.delete(inbox);
    });
    const off = this.on(type, (message: Envelope) => inbox._push(message));
    this._inboxes.add(inbox);
    return inbox;
  }

  _endInboxes(): void {
    for (const inbox of this._inboxes) inbox._finish();
  }

  /** Tells all listeners, none of which can stop another; false if there is none. */
  _emit(type: string, value?: unknown): boolean {
    const all = this._listeners.get(type);
    for (const listener of [...(all ?? [])]) {
      try {
        listener(value as never);
      } catch (error) {
        if (type == 'error') console.error(error);
        else this._hub._report(error);
      }
    }
    return !!all?.size;
  }
}
