import type { HubImpl } from './hub.js';
import { Policy, type Request } from './outgoing.js';
import { Inbox } from './inbox.js';
import type { CallOptions, Off, Receipt, SendOptions, StreamOptions } from './types.js';
import { uuid } from './uuid.js';
import { encode, sizeOf, type Envelope, type Frame } from './wire.js';
import { HubbubError } from './errors.js';

const CONGESTED = 65_536; // bytes that the socket has not sent yet

type Listener = (value: never) => unknown;

/** The verbs that a room and the hub share. */
export abstract class Channel {
  private readonly _listeners = new Map<string, Set<Listener>>();
  private readonly _inboxes = new Set<Inbox<Envelope>>();
  abstract readonly _hub: HubImpl;
  /** An error that no promise can tell. */
  abstract _fail(error: unknown): void;
  readonly name?: string;
  /** What is addressed to it has to wait. */
  abstract readonly _joining?: unknown;

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

  async send(type: string, content?: unknown, { volatile, ttl, at, id, again }: SendOptions & { again?: boolean } = {}): Promise<Receipt> {
    const { _link, _options } = this._hub;
    if (volatile) {
      const frame = this._frame(type, content, undefined, at);
      if (!_link._isUp || this._joining || _link._socket!.bufferedAmount! > CONGESTED) return { status: 'dropped' };
      if (sizeOf(frame) > _link._limit) throw new HubbubError('too_large');
      _link._send(frame);
      return { status: 'sent' };
    }
    // The application may have sent its own id before, on an earlier page too.
    const { cursor } = await this._answer(type, content, id || uuid(), { _policy: Policy.Repeat, _within: ttl ?? _options.ttl, _since: at, _sent: again, _doubt: again ?? id });
    return { status: 'acked', cursor };
  }

  async call(type: string, content?: unknown, { timeout, signal }: CallOptions = {}): Promise<unknown> {
    return (await this._answer(type, content, uuid(), { _policy: Policy.Once, _within: timeout }, signal)).content;
  }

  stream(type: string, content?: unknown, { signal }: StreamOptions = {}): AsyncIterableIterator<unknown> {
    const id = uuid();
    const inbox = new Inbox(() => this._hub._outgoing._cancel(id));
    this._ask(type, content, id, {
      _policy: Policy.Stream,
      _next: (value) => inbox._push(value),
      _done: () => inbox._finish(),
      _fail: (error) => inbox._finish(error, signal?.aborted),
    }, signal);
    return inbox;
  }

  _frame(type: string, content: unknown, id?: string, since?: string): Frame {
    return encode({ type, room: this.name, id, since }, content);
  }

  private _answer(type: string, content: unknown, id: string, request: Omit<Request, '_done' | '_fail'>, signal?: AbortSignal): Promise<Envelope> {
    return new Promise((_done, _fail) => this._ask(type, content, id, { ...request, _done, _fail }, signal));
  }

  private _ask(type: string, content: unknown, id: string, request: Request, signal?: AbortSignal): void {
    const { _outgoing } = this._hub;
    const frame = this._frame(type, content, id, request._since);
    const abort = () => _outgoing._cancel(id, signal!.reason);
    if (signal?.aborted) return request._fail(signal.reason);
    signal?.addEventListener('abort', abort);
    _outgoing._request(id, frame, { ...request, _place: this, _end: () => signal?.removeEventListener('abort', abort) });
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

  /** Ends those that are there before the last message, and not what a handler of it makes. */
  _endInboxes(last?: Envelope): void {
    const all = [...this._inboxes];
    if (last) this._emit(last.type, last);
    for (const inbox of all) inbox._finish();
  }

  /** Tells all listeners, none of which can stop another; false if there is none. */
  _emit(type: string, value?: unknown): boolean {
    const all = [...(this._listeners.get(type) ?? [])];
    for (const listener of all) {
      try {
        listener(value as never);
      } catch (error) {
        if (type == 'error') console.error(error);
        else this._hub._fail(error);
      }
    }
    return !!all.length;
  }
}
