import type { Channel } from './channel.js';
import type { Member, Off, PresenceChange } from './types.js';
import type { Envelope } from './wire.js';

const CHANGED = ''; // an event that no message has as its type

/** Who is in the room: the list of the join, and what came after it. */
export class PresenceList {
  list: readonly Member[] = [];
  count = 0;
  private _whole?: boolean; // there was a list to begin with

  constructor(private readonly _room: Channel) {}

  subscribe(fn: () => void): Off {
    return this._room.on(CHANGED, () => fn());
  }

  _reset(list?: readonly Member[], count?: number): void {
    this._whole = !!list;
    this._set(list ?? [], count);
  }

  _apply(message: Envelope): void {
    const { type, content } = message;
    if (type == 'presence') {
      const change = (content ?? {}) as PresenceChange;
      // A whole list replaces; only a number means that the list is not told any more.
      if (change.presence || !(change.joined || change.left || change.updated)) this._reset(change.presence, change.members);
      else this._change(change);
    } else if (type == 'joined' || type == 'left') this._change({ [type]: [message] });
  }

  private _change({ joined = [], left = [], updated = [], members = this.count + joined.length - left.length }: PresenceChange): void {
    const all = new Map(this.list.map((member) => [member.from, member]));
    // Where one entry stands for a user, it may be known by another of the user's ids.
    const forget = (id: string, user?: string) => {
      if (!all.delete(id) && user) for (const [key, member] of all) if (member.user == user) return all.delete(key);
    };
    for (const { from, user } of left) forget(from, user);
    for (const { was, from, user } of updated) if (was || !all.has(from)) forget(was ?? from, user);
    if (this._whole) for (const { from, user, content } of [...joined, ...updated]) all.set(from, { from, user, content });
    this._set([...all.values()], members);
  }

  private _set(list: readonly Member[], count = list.length): void {
    this.list = list;
    this.count = count;
    this._room._emit(CHANGED);
  }
}
