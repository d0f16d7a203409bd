import type { Channel } from './channel.js';
import { HubbubError } from './errors.js';
import type { Link } from './link.js';
import { later, type Settings } from './options.js';
import { uuid } from './uuid.js';
import { encode, sizeOf, type Envelope, type Frame } from './wire.js';

/**
 * How often a request may go over a wire: until it is answered, the same but on this
 * connection only, once, or once and now. A stream goes once and its end may take forever.
 */
export const enum Policy { Repeat, Last, Once, Now, Stream }

export interface Request {
  _policy: Policy;
  /** In ms. Default Options.timeout. */
  _within?: number;
  /** What it is addressed to; while that is being joined it waits. */
  _place?: Channel;
  /** Where the room is to be. */
  _since?: string;
  /** Called within the arrival of the answer, not later: the next message may depend on it. */
  _done(ack: Envelope): void;
  _fail(error: unknown): void;
  /** Called before either. */
  _end?(): void;
  /** An item of a stream. */
  _next?(content: unknown): void;
  /** It went out before, perhaps in vain. */
  _sent?: unknown;
  /** Its answer may come out of order; true where it did go out before. */
  _doubt?: unknown;
}

interface Item extends Request {
  _frame: Frame;
  _size: number;
  _written?: boolean; // on this connection
  _timer: ReturnType<typeof setTimeout>;
}

/**
 * Everything that waits for an answer, in the order in which it was asked. What
 * waits for a connection is in here as well, so there is one order and one end.
 */
export class Outgoing {
  private readonly _items = new Map<string, Item>();
  _doubt?: boolean; // the same of what nobody waits for, on this connection
  bytes = 0;

  constructor(private readonly _link: Link, private readonly _options: Settings) {}

  get messages(): number {
    return this._items.size;
  }

  _request(id: string, frame: Frame, request: Request): void {
    const _size = sizeOf(frame);
    this._fail(id, 'unknown'); // an earlier one of the application's, whose place this one takes
    const { queueMessages, queueBytes, timeout } = this._options;
    const { _isUp, state } = this._link;
    const over = !_isUp && (state == 'closed' || request._policy == Policy.Now);
    const full = !_isUp && this.messages >= queueMessages
      || this.bytes && this.bytes + _size > queueBytes && request._policy != Policy.Now;
    const item: Item = {
      ...request,
      _frame: frame,
      _size,
      _timer: later(request._within ?? timeout, () => this._late(id, item)),
    };
    this._items.set(id, item);
    this.bytes += _size;
    if (over || full) this._fail(id, over ? 'closed' : 'overflow');
    else this._write(id, item);
  }

  private _late(id: string, { _sent, _policy }: Item): void {
    if (!_sent) this._fail(id, 'expired');
    else if (_policy != Policy.Stream) this._fail(id, _policy < Policy.Once ? 'unknown' : 'timeout');
  }

  /** Writes what is not on this connection yet, unless it has to wait. */
  private _write(id: string, item: Item): void {
    if (!this._link._isUp || item._written || item._place?._joining) return;
    // A repeated message is answered at once, before or long after it comes back as a
    // missed one, and both look the same.
    if (item._sent) item._doubt = true;
    if (item._doubt) this._doubt = true;
    // The server would close the connection over it.
    if (item._size > this._link._limit) return this._fail(id, 'too_large');
    item._sent = item._written = true;
    this._link._send(item._frame);
  }

  _up(): void {
    this._doubt = false;
    this._flush();
  }

  /** All that may go out does, in its order. */
  _flush(): void {
    for (const [id, item] of this._items) this._write(id, item);
  }

  /** What was asked before a gap may be answered at any time. */
  _gap(): void {
    this._doubt = true;
    for (const item of this._items.values()) if (item._sent) item._doubt = true;
  }

  /** The connection is gone, and with it the answers to what is not repeated. */
  _down(): void {
    for (const [id, item] of this._items) {
      item._written = false;
      if (item._sent && item._policy != Policy.Repeat) this._fail(id, 'unknown');
    }
  }

  /** No connection will come, or what waits for that place waits in vain and what went there is not repeated. */
  _over(place?: Channel): void {
    for (const [id, item] of this._items) {
      if (place && item._place != place) continue;
      if (!item._policy) item._policy = Policy.Last;
      if (!item._written) this._fail(id, item._sent ? 'unknown' : 'closed');
    }
  }

  _settle(id: string): Item | undefined {
    const item = this._items.get(id);
    if (item) {
      clearTimeout(item._timer);
      item._end?.();
      this._items.delete(id);
      this.bytes -= item._size;
    }
    return item;
  }

  /** Nobody waits for the answer any more; a stream that runs is stopped. */
  _cancel(id: string, reason?: unknown): void {
    const item = this._settle(id);
    if (item?._sent && item._policy == Policy.Stream) this._link._send(encode({ type: 'leave', id: uuid() }, { stream: id }));
    item?._fail(reason);
  }

  _next({ stream, content }: Envelope): void {
    this._items.get(stream!)?._next?.(content);
  }

  private _fail(id: string, code: string): void {
    this._settle(id)?._fail(new HubbubError(code));
  }
}
