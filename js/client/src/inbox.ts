import { HubbubError } from './errors.js';

const MOST = 1000;

/** Resolve and reject of a `next` that waits. */
type Waiting<T> = [(result: IteratorResult<T>) => void, (error: unknown) => void];

/** An async iterator that is fed. It listens from its creation, not from the first `next`. */
export class Inbox<T> implements AsyncIterableIterator<T> {
  private readonly _values: T[] = [];
  private readonly _readers: Waiting<T>[] = [];
  private _ended?: boolean;
  private _error: unknown;

  constructor(private readonly _onEnd: () => void) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    return new Promise((_resolve, _reject) => {
      this._readers.push([_resolve, _reject]);
      this._serve();
    });
  }

  return(): Promise<IteratorResult<T>> {
    this._finish(undefined, true);
    this._error = undefined;
    return this.next(); // which finds nothing
  }

  _push(value: T): void {
    this._values.push(value);
    // A loop that does not keep up must not fill the memory, nor miss something unawares.
    if (this._values.length > MOST) this._finish(new HubbubError('overflow'));
    this._serve();
  }

  /** What is already here is still read, unless nobody wants it. */
  _finish(error?: unknown, drop?: boolean): void {
    if (drop) this._values.length = 0;
    if (this._ended) return;
    this._ended = true;
    this._error = error;
    this._onEnd();
    this._serve();
  }

  private _serve(): void {
    while (this._readers.length && (this._values.length || this._ended)) {
      const [_resolve, _reject] = this._readers.shift()!;
      if (this._values.length) _resolve({ done: false, value: this._values.shift()! });
      else if (this._error) {
        _reject(this._error);
        this._error = undefined;
      } else _resolve({ done: true, value: undefined });
    }
  }
}
