import type { Member, Off } from './types.js';
import type { Envelope } from './wire.js';

/** Who is in the room: the list of the join, and what came after it. */
export class PresenceList {
  list: readonly Member[] = [];
  count = 0;
  private readonly _listeners = new Set<() => void>();

  subscribe(fn: () => void): Off {
    const listener = () => fn();
    this._listeners.add(listener);
    return () => { this._listeners.delete(listener); };
  }

  _reset(list: readonly Member[] = [], count = list.length): void {
    this._set(list, count);
  }

  _apply({ type, from, user, content }: Envelope): void {
    const others = this.list.filter((member) => member.from != from);
    if (type == 'left') this._set(others, this.count - 1);
    else this._set([...others, { from: from!, user, content }], this.count + 1);
  }

  private _set(list: readonly Member[], count: number): void {
    this.list = list;
    this.count = count;
    for (const listener of [...this._listeners]) listener();
  }
}
