import { later, type Settings } from './options.js';
import type { SocketClass, SocketLike, State, Welcome, WhyClosed } from './types.js';
import { decode, encode, type Envelope, type Frame } from './wire.js';

const FINAL = [1000, 1002, 1007, 1008, 1009, 4002]; // the server does not want us back
const BROKEN = 1006;
const EXPIRED = 4001;
const TOO_MANY = 4004;
const SILENT = 4008;
const HEARTBEAT = 25_000; // if the welcome names none
const LONGEST_WAIT = 3_600_000; // a server's retryAfter is believed up to an hour
const LATE = 1_000; // a timer that is later than this slept with the page

// Some are told to the window, some to the document; capturing hears both.
const EVENTS = ['online', 'offline', 'pageshow', 'visibilitychange', 'resume'];

/** What the link tells, in this order: up before the state is announced, down too. */
export interface LinkOwner {
  readonly url: string;
  _up(welcome: Envelope): void;
  _down(): void;
  _over(): void;
  _changed(): void;
  _receive(envelope: Envelope): void;
  _fail(error: unknown): void;
}

/**
 * One connection that is kept alive. There is at most one socket, and whatever
 * an earlier one still says is not heard. There is one timer as well, because
 * the link always waits for one thing only: the next try, the welcome, silence
 * to end, or a pong.
 */
export class Link {
  state: State = 'idle';
  private _url!: string;
  why?: WhyClosed;
  rtt?: number;
  _limit!: number; // of a message in bytes, as the welcome says
  _socket?: SocketLike;
  private _try = 0; // counts attempts, so that a token that comes late finds itself outdated
  private _losses!: number; // in a row
  private _notBefore!: number; // the next try; Infinity while none waits
  private _retryAfter?: number;
  private _since!: number;
  private _heartbeat!: number;
  private _pinged?: boolean;
  private _due!: number;
  private _timer?: ReturnType<typeof setTimeout>;

  constructor(private readonly _options: Settings, private readonly _owner: LinkOwner) {}

  get _isUp(): boolean {
    return this.state == 'connected';
  }

  _open(): void {
    if (this.state != 'idle' && this.state != 'closed') return;
    this._url = this._owner.url; // not before: a server that renders a page has no location
    this._losses = 0;
    for (const name of EVENTS) globalThis.addEventListener?.(name, this._wake, true);
    const current = this._try;
    this.state = 'connecting';
    this._owner._changed();
    if (current == this._try) this._attempt(); // unless a listener has closed it
  }

  _close(): void {
    if (this.state != 'closed') this._end(1000, 'closed');
  }

  _send(frame: Frame): void {
    this._socket!.send(frame as string);
  }

  private _after(ms: number, fn: () => void): void {
    clearTimeout(this._timer);
    this._due = Date.now() + ms;
    this._timer = later(ms, fn);
  }

  private async _attempt(): Promise<void> {
    const { token, connectTimeout } = this._options;
    const current = ++this._try;
    const protocols = ['hubbub.v1'];
    this._notBefore = Infinity;
    this._retryAfter = undefined;
    this._after(connectTimeout, () => this._lost(BROKEN, 'no welcome'));
    try {
      if (token) protocols.push('bearer.' + await token());
      if (current == this._try) this._dial(protocols);
    } catch (error) {
      if (current != this._try) return;
      if (this._options.WebSocket ?? globalThis.WebSocket) this._lost(BROKEN, String(error));
      else this._end(BROKEN, error = error + ': see options.WebSocket'); // which will not come by itself
      this._owner._fail(error);
    }
  }

  private _dial(protocols: string[]): void {
    const socket = new (this._options.WebSocket ?? (WebSocket as SocketClass))(this._url, protocols);
    this._socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (event: { data: string | ArrayBuffer }) => socket == this._socket && this._receive(event.data);
    socket.onclose = (event: WhyClosed) => socket == this._socket && this._lost(event.code, event.reason);
    socket.onerror = () => {}; // the close that follows says the same
    // The `ws` package shows a refusal; browsers keep it to themselves.
    (socket as Partial<NodeSocket>).on?.('unexpected-response', (_, { headers }) => {
      this._retryAfter = +headers['retry-after']! * 1000 || 0;
      socket.close(); // listening means that ending it is ours
    });
  }

  private _receive(data: string | ArrayBuffer): void {
    this._pinged = false;
    try {
      const envelope = decode(data);
      const { type, content } = envelope;
      if (!this._isUp) {
        if (type == 'welcome') this._welcome(envelope);
        return;
      }
      this._after(this._heartbeat, () => this._ping());
      if (type == 'bye') this._retryAfter = (content as { retryAfter?: number } | undefined)?.retryAfter;
      if (type == 'pong') this.rtt = Date.now() - (content as number);
      else this._owner._receive(envelope);
    } catch (error) {
      this._owner._fail(error);
    }
  }

  private _welcome(envelope: Envelope): void {
    const { limit, heartbeat } = envelope.content as Welcome;
    this._limit = limit || Infinity;
    this._heartbeat = heartbeat || HEARTBEAT;
    this._since = Date.now();
    this._after(this._heartbeat, () => this._ping());
    this.state = 'connected';
    this._owner._up(envelope); // rooms and what waits go first, then whatever a listener sends
    if (this._isUp) this._owner._changed();
  }

  /** Asks whether the server is there. Any message is an answer. */
  private _ping(): void {
    if (this._pinged) return;
    this._pinged = true;
    this._after(this._options.timeout, () => {
      this._pinged = false;
      // A page that was frozen finds its timer fired and the pong still unread.
      if (Date.now() - this._due > LATE) this._ping();
      else this._lost(SILENT, 'no sign of life');
    });
    this._send(encode({ type: 'ping' }, Date.now()));
  }

  /** The page woke up or the network changed: look now, timers may have slept. */
  private readonly _wake = ({ type }: { type: string }): void => {
    if (this._isUp) this._ping();
    else if (type != 'offline' && Date.now() >= this._notBefore) this._attempt();
  };

  private _lost(code: number, reason: string): void {
    const { retries, stableAfter, token, retryMin, retryMax, jitter } = this._options;
    if (this._isUp && Date.now() - this._since >= stableAfter) this._losses = 0;
    const stay = FINAL.includes(code)
      || !token && code == EXPIRED
      || this._retryAfter == null && code == TOO_MANY
      || this._losses >= retries;
    if (stay) return this._end(code, reason);
    this._drop(code, reason);
    const asked = Math.max(Math.min(this._retryAfter || 0, LONGEST_WAIT), 0);
    const bound = Math.min(retryMax, retryMin * 2 ** this._losses++);
    this._notBefore = Date.now() + asked;
    // On top of what was asked, so that those who were asked the same do not come at once.
    this._after(asked + bound * (1 - jitter * Math.random()), () => this._attempt());
    if (!this._isUp) return;
    this.state = 'reconnecting';
    this._owner._down();
    this._owner._changed();
  }

  private _end(code: number, reason: string): void {
    this._drop(code, reason);
    for (const name of EVENTS) globalThis.removeEventListener?.(name, this._wake, true);
    clearTimeout(this._timer);
    this._notBefore = Infinity;
    this.state = 'closed';
    this._owner._down();
    this._owner._over();
    this._owner._changed();
  }

  /** From here on the socket is no longer ours, whatever it still does. */
  private _drop(code: number, reason: string): void {
    const socket = this._socket;
    this._socket = undefined;
    this._try++;
    this.why = { code, reason };
    try {
      socket?.close(code == SILENT ? code : 1000);
    } catch { /* it was never open */ }
  }
}

interface NodeSocket {
  on(event: string, fn: (request: unknown, response: { headers: Record<string, string> }) => void): void;
}
