import { Channel } from './channel.js';
import { HubbubError } from './errors.js';
import { settings, type Settings } from './options.js';
import { Outgoing } from './outgoing.js';
import { RoomImpl } from './room.js';
import { Link } from './link.js';
import type { Off, Options, State, Welcome, WhyClosed } from './types.js';
import { uuid } from './uuid.js';
import { encode, sizeOf, type Envelope } from './wire.js';

type Answer = (message: never) => unknown;

/** Brings the parts together: link, what goes out, rooms, answers. */
export class HubImpl extends Channel {
  readonly _hub = this;
  declare readonly _joining?: undefined;
  readonly _options: Settings;
  readonly _link: Link;
  readonly _outgoing: Outgoing;
  private readonly _rooms = new Map<string, RoomImpl>();
  private readonly _answers = new Map<string, Answer>();
  private _welcome: Partial<Welcome> = {};
  session?: string; // of the first welcome, and of every connection after it

  constructor(private readonly _url: string | URL, options: Options) {
    super();
    this._options = settings(options);
    this._link = new Link(this._options, this);
    this._outgoing = new Outgoing(this._link, this._options);
  }

  get url(): string { return new URL(this._url, globalThis.location?.href).href.replace(/^http/, 'ws'); }
  get state(): State { return this._link.state; }
  get whyClosed(): WhyClosed | undefined { return this._link.why; }
  get rtt(): number | undefined { return this._link.rtt; }
  get id(): string | undefined { return this._welcome.id; }
  get user(): string | undefined { return this._welcome.user; }
  get pending(): { messages: number; bytes: number } { return this._outgoing; }

  connect(): void {
    this._link._open();
  }

  close(): void {
    this._link._close();
  }

  room(name: string): RoomImpl {
    let room = this._rooms.get(name);
    if (!room) this._rooms.set(name, room = new RoomImpl(this, name));
    return room;
  }

  answer(type: string, fn: Answer): Off {
    this._answers.set(type, fn);
    return () => { if (this._answers.get(type) == fn) this._answers.delete(type); };
  }

  _up({ content }: Envelope): void {
    this._welcome = content as Welcome;
    // A server that does not know it answers with an error, which ends up nowhere.
    if (this.session) this._link._send(encode({ type: 'auth', id: uuid() }, { session: this.session }));
    else this.session = (content as { session?: string }).session;
    for (const room of this._rooms.values()) room._up();
    this._outgoing._up();
    this._emit('welcome', content);
  }

  _down(): void {
    for (const room of this._rooms.values()) room._down();
    this._outgoing._down();
  }

  _over(): void {
    this._outgoing._over();
    for (const room of this._rooms.values()) room._over();
    this._endInboxes();
  }

  _changed(): void {
    this._emit('state', this.state);
  }

  _receive(message: Envelope): void {
    const { type, id, room, stream } = message;
    const place = this._rooms.get(room!);
    if (stream) this._outgoing._next(message);
    else if (type == 'ack' || type == 'error') this._answered(message, place);
    else if (id) this._asked(message);
    else if (room) place?._receive(message);
    // "state" is the one event of the client's own that a server could send.
    else if (type != 'state') this._emit(type, message);
  }

  private _answered(answer: Envelope, place?: RoomImpl): void {
    const { type, id, content, cursor } = answer;
    const item = this._outgoing._settle(id!);
    if (type == 'ack') {
      if (place && place._leaving == id) place._leaving = undefined; // in time or not
      item?._done(answer);
      if (!(item ?? this._outgoing)._doubt) place?._receive(answer);
      // Published where the room is, it is the next one. Resuming does not skip it: it may come itself.
      else if (cursor && item?._doubt === true && item._since && item._since == place?.cursor) place!.cursor = cursor;
      return;
    }
    const { code, message, field, retryAfter } = (content ?? {}) as HubbubError;
    // What went out before may have been handled then, when the client was a member.
    const error = new HubbubError(code == 'not_member' && item?._doubt === true ? 'unknown' : code ?? 'internal', message, field, retryAfter);
    if (item) item._fail(error);
    else if (!id) (place ?? this)._fail(error);
  }

  /** Answers once, and only on the connection that asked: ids belong to it. */
  private async _asked(message: Envelope): Promise<void> {
    const { type, id, room } = message;
    const { _socket, _limit } = this._link;
    const fn = this._answers.get(type);
    let answer;
    try {
      if (!fn) throw new HubbubError('unknown_type');
      answer = encode({ type: 'ack', id, room }, await fn(message as never));
      if (sizeOf(answer) > _limit) throw new HubbubError('too_large');
    } catch (error) {
      const known = error instanceof HubbubError;
      // The cause of another failure is none of the server's business.
      const { code, message: text, field, retryAfter } = known ? error : new HubbubError('internal');
      if (!known) this._fail(error);
      answer = encode({ type: 'error', id, room }, { code, message: text, field, retryAfter });
    }
    if (_socket && _socket == this._link._socket) this._link._send(answer);
  }

  _fail(error: unknown): void {
    if (!this._emit('error', error)) console.error(error);
  }
}
