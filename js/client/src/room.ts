import { Channel } from './channel.js';
import { HubbubError } from './errors.js';
import type { HubImpl } from './hub.js';
import { later } from './options.js';
import { Policy } from './outgoing.js';
import { PresenceList } from './presence.js';
import type { Gap, JoinOptions, Joined } from './types.js';
import { uuid } from './uuid.js';
import type { Envelope } from './wire.js';

/** A second try may go better. Everything else is the server's last word. */
const PASSING = ['rate_limited', 'unavailable', 'timeout', 'internal'];
const AGAIN_AFTER = 1_000;
const REMEMBERED = 256; // cursors, to recognise what comes twice

interface Waiting {
  _done(joined: Joined): void;
  _fail(error: unknown): void;
}

/** The content of the ack of a join. */
interface Answer extends Joined {
  reason?: string;
  gap?: Gap;
}

export class RoomImpl extends Channel {
  readonly presence = new PresenceList(this);
  joined = false;
  private _promise?: Promise<Joined>; // while the application wants to be a member
  private _waiting?: Waiting; // until the first join is decided
  private _content: unknown;
  _leaving?: string; // the last leave, until it is acknowledged, in time or not, or its connection gone
  private _timer?: ReturnType<typeof setTimeout>; // until a join that was put off
  private _join = 0; // counts joins, so that a late answer finds itself outdated
  private _again?: boolean; // it was a member before, or has lost its place
  private _missed?: number; // 1: what a join that was refused named; 2: what came meanwhile
  cursor?: string;
  _resume?: string; // the same, or before own messages in front of it
  private readonly _seen = new Map<string, boolean>(); // cursors that were processed, and whether as a message

  constructor(readonly _hub: HubImpl, override readonly name: string) {
    super();
  }

  get _joining(): unknown {
    return this._promise && !this.joined;
  }

  join(content?: unknown, { since }: JoinOptions = {}): Promise<Joined> {
    if (this._promise) return this._promise;
    const promise = new Promise<Joined>((_done, _fail) => { this._waiting = { _done, _fail }; });
    this._promise = promise;
    this._content = content;
    if (since) {
      this.cursor = this._resume = since;
      this._missed = 1;
    }
    if (this._hub.state == 'closed') this._forget();
    else this._up();
    return promise;
  }

  async leave(): Promise<void> {
    const quit = this._hub._link._isUp && this._quit(); // before a listener joins again
    this._restart();
    this._forget();
    await quit;
  }

  private _quit(): Promise<void> {
    return new Promise((resolve, reject) => {
      this._leaving = this._request('leave', undefined, {
        _done: resolve as () => void,
        // A connection that ends leaves all its rooms.
        _fail: (error: HubbubError) => error.code == 'unknown' ? resolve() : reject(error),
      });
    });
  }

  private _request(type: string, content: unknown, result: { _done(ack: Envelope): void; _fail(error: unknown): void }): string {
    const id = uuid();
    try {
      const frame = this._frame(type, content, id, this._resume); // which leaving ignores
      this._hub._outgoing._request(id, frame, { ...result, _policy: Policy.Now });
    } catch (error) {
      result._fail(error);
    }
    return id;
  }

  /** Joins on a connection, if the application wants to be here and there is one. */
  _up(): void {
    if (!this._promise || !this._hub._link._isUp) return;
    const join = ++this._join;
    const current = () => join == this._join;
    this._request('join', this._content, {
      _done: (ack) => { if (current()) this._entered((ack.content ?? {}) as Answer, current); },
      _fail: (error) => { if (current()) this._refused(error as HubbubError, current); },
    });
  }

  /** The connection is gone, and with it the membership. */
  _down(): void {
    this.joined = false;
    this._leaving = undefined;
    clearTimeout(this._timer);
  }

  _over(): void {
    if (this._waiting) this._forget();
    this._endInboxes();
  }

  private _entered(answer: Answer, current: () => boolean): void {
    const { recovered, reason, cursor, presence, members } = answer;
    // What was recovered follows; until it is processed the old cursor holds.
    if (!recovered) {
      if (this._again || this._resume) answer.gap = { missed: recovered == false ? 'certain' : 'possible', reason, cursor };
      this._restart(cursor);
    }
    this.joined = this._again = true;
    this._missed = 0;
    this._leaving = undefined; // what was asked before is over, answered or not
    this._hub._outgoing._flush(); // before whatever a listener sends
    this.presence._reset(presence, members);
    this._waiting?._done(answer);
    this._waiting = undefined;
    // Each listener may leave.
    if (current()) this._emit('join', answer);
    if (current() && answer.gap) this._emit('gap', answer.gap);
  }

  private _refused(error: HubbubError, current: () => boolean): void {
    const { code, field, retryAfter = AGAIN_AFTER * (1 + Math.random()) } = error;
    if (code == 'unknown') return; // the connection went: the next one joins
    // It may have been heard, or be so yet: leaving makes the next answer say what was
    // missed, and not that we are there already.
    if (code == 'timeout') this._quit().catch(() => {});
    if (field == 'since' && this._resume) { // not of this server: begin anew, which tells a gap
      this._restart();
      this._again = true;
      return this._up();
    }
    if (this._waiting) {
      this._forget(error);
      // Where the server has put the client into the room, what came meanwhile did not count.
      if (this._missed == 2 && !this._leaving) this._lost();
    } else if (PASSING.includes(code)) this._timer = later(retryAfter, () => { if (current()) this._up(); });
    else {
      this._forget(error);
      this._fail(error);
    }
  }

  /**
   * The application is no longer here. Who waits for a join is told why, and the next one
   * goes on where this one would have.
   */
  private _forget(error?: unknown, left?: Envelope): void {
    const { _again, _waiting } = this;
    this._join++;
    this._hub._outgoing._over(this);
    this._promise = this._waiting = undefined;
    this.joined = this._again = false;
    if (_waiting) _waiting._fail(error ?? new HubbubError('closed'));
    else this._restart();
    if (_again) this.presence._reset(); // otherwise it is empty, and its listeners have nothing to hear
    this._endInboxes(left);
    if (_again && !_waiting) this._emit('leave', error);
  }

  private _lost(): void {
    this._missed = 0;
    this._emit('gap', { missed: 'possible' });
  }

  private _restart(cursor?: string): void {
    this._missed = 0;
    this._seen.clear();
    this.cursor = this._resume = cursor;
  }

  /**
   * Everything that the room tells, acks of own messages too. It does not count where the
   * application is no member and has asked to be one, or not to be. What comes before the
   * answer to a join and has a place is that of an earlier membership, and comes again: the
   * join says from where. What has none is heard where the server has put the client into
   * the room.
   *
   * An ack alone begins no place in a room that one is not in: it may follow the own `left`.
   *
   * Cursors are opaque: they can be kept and recognised, nothing else. The message itself
   * may follow its ack, and is news.
   */
  _receive(message: Envelope): void {
    const { type, content, cursor, from } = message;
    const seen = this._seen.get(cursor!);
    if (seen || !this.joined && (this._leaving || type == 'ack' && !this._resume)) return;
    if (this._joining && (this._again || cursor || type == 'gap')) {
      this._missed = 2;
      return;
    }
    if (type == 'gap') {
      const { reason, cursor: next } = (content ?? {}) as Gap;
      this._restart(next);
      this._hub._outgoing._gap();
      this._emit('gap', { missed: 'certain', reason, cursor: next });
      return;
    }
    // The server has taken us out: it is a leave that nobody has asked for. One that is
    // followed by a join is told, and no more.
    if (type == 'left' && from == this._hub.id && !this._joining) return this._forget(new HubbubError('not_member'), message);
    // A join that was refused was to go on further back; the server goes on here. A listener may join or leave.
    if (cursor && !this.joined && this._missed) {
      this._lost();
      if (this._hub._link._isUp) this._receive(message);
      return;
    }
    if (this.joined) this.presence._apply(message); // there is no list to begin with
    if (cursor && seen == null) this._resume = cursor; // at once: a handler may join, or connect again
    if (cursor) this._seen.set(cursor, type != 'ack');
    if (this._seen.size > REMEMBERED) this._seen.delete(this._seen.keys().next().value!);
    if (type != 'ack') this._emit(type, message);
    if (cursor && seen == null && this._resume == cursor) this.cursor = cursor;
  }

  _fail(error: unknown): void {
    if (!this._emit('error', error)) this._hub._fail(error);
  }
}
