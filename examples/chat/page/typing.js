// Who is typing: what we tell the others, and what we show of them. Both are
// ephemeral; a notice that gets lost corrects itself within seconds.

const SAY_EVERY = 2_000;
const SHOW_FOR = 4_000;

/** Tells the others that we type: at most every 2 s, and once when we stop. */
export class TypingSender {
  #send;
  #on = false; // what the others were told last
  #lastTime = -Infinity;
  #later = null;

  /** send(on) returns whether it was sent. */
  constructor(send) {
    this.#send = send;
  }

  // A stroke within the 2 s is told at their end, not dropped: somebody who sends
  // a line and writes the next one at once is typing, too.
  typed(hasText) {
    if (!hasText) return this.stop();
    const wait = this.#lastTime + SAY_EVERY - Date.now();
    if (wait <= 0) this.#tell();
    else this.#later ??= setTimeout(() => this.#tell(), wait);
  }

  stop() {
    this.#cancel();
    if (!this.#on) return;
    this.#on = false;
    this.#send(false);
  }

  /** The connection is another one: the others know nothing of us. */
  reset() {
    this.#cancel();
    this.#on = false;
    this.#lastTime = -Infinity;
  }

  #tell() {
    this.#cancel();
    this.#on = this.#send(true);
    if (this.#on) this.#lastTime = Date.now();
  }

  #cancel() {
    clearTimeout(this.#later);
    this.#later = null;
  }
}

/** The others who type, each forgotten after 4 s without a fresh notice. */
export class Typists {
  #show;
  #people = new Map(); // peer id -> {name, timer}

  /** show(names) is called with every change. */
  constructor(show) {
    this.#show = show;
  }

  set(id, name, on) {
    clearTimeout(this.#people.get(id)?.timer);
    if (on) this.#people.set(id, { name, timer: setTimeout(() => this.set(id, name, false), SHOW_FOR) });
    else if (!this.#people.delete(id)) return;
    this.#tell();
  }

  clear() {
    for (const { timer } of this.#people.values()) clearTimeout(timer);
    this.#people.clear();
    this.#tell();
  }

  #tell() {
    this.#show([...this.#people.values()].map((person) => person.name));
  }
}
