// One WebSocket to a hubbub server, kept alive: it comes back by itself, notices
// a silent server, and pairs every call with its answer. It knows nothing about
// chat and nothing about the page.

const FIRST_DELAY = 500; // ms; the ceiling doubles with every try …
const LAST_DELAY = 20_000; // … up to here
const STABLE_AFTER = 5_000; // up this long, and the next loss starts at the first delay again
const ANSWER_WITHIN = 10_000; // for the welcome and for a pong
const PROBE_AFTER = 5_000; // a call without an answer makes us ask whether the server is there
const HEARTBEAT = 25_000; // if the welcome names none
const LONGEST_WAIT = 3_600_000; // a server's retryAfter is believed up to an hour

// After these the server does not want us back as we are (4004 is decided by
// its retryAfter). Every other code, also an unknown one, is worth a try.
const FINAL = new Set([1000, 1002, 1007, 1008, 1009, 4001, 4002]);
const TOO_MANY = 4004;
const SILENT = 4008;

/** What a call fails with: the server's error content, or a code of our own ("lost", "too_large"). */
export class CallError extends Error {
  constructor({ code = 'internal', message = code, field, retryAfter } = {}) {
    super(message);
    Object.assign(this, { code, field, retryAfter });
  }
}

/**
 * States, told to onState(state, detail):
 *   connecting            a socket is being opened, the welcome has not come yet
 *   open                  the welcome is here (told by onWelcome(content) as well)
 *   waiting  {until}      lost; the next try is at that time
 *   offline  {until}      the same, and the browser says that there is no network
 *   closed   {code, reason}  over, until now() is called
 */
export class Connection {
  #url;
  #on;
  #socket = null; // at most one, ever: see #open
  #ready = false;
  #state = 'closed';
  #attempts = 0;
  #retryAt = 0;
  #notBefore = 0; // the server asked us to stay away until then
  #bye = null;
  #limit = Infinity;
  #heartbeat = HEARTBEAT;
  #ping = null; // id of the ping that has no pong yet
  #lastId = 0;
  #calls = new Map();
  #timers = {};

  constructor(url, { onState, onWelcome, onFrame, onError }) {
    this.#url = url;
    this.#on = { onState, onWelcome, onFrame, onError };
  }

  /** Connects at once, whatever was planned. Does nothing while a socket is there. */
  now() {
    this.#open();
  }

  /** Ends it for good (until now()). */
  stop() {
    const socket = this.#socket;
    this.#forget('you left');
    socket?.close(1000, 'done');
    this.#tell('closed', { code: 1000, reason: '' });
  }

  /** Something woke us (network, visibility): look after the connection instead of trusting timers. */
  wake() {
    if (this.#ready) this.#probe();
    else if (this.#isWaiting() && Date.now() >= this.#notBefore) this.#open();
  }

  /** The browser lost its network. The socket may survive that (a server on this machine): ask. */
  networkGone() {
    if (this.#ready) this.#probe();
    else if (this.#isWaiting()) this.#tell('offline', { until: this.#retryAt });
  }

  /** Sends and forgets; false if it could not be sent. */
  emit(frame) {
    if (!this.#isOpen()) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Sends with an id; resolves with the ack's frame, rejects with a CallError. */
  call(frame) {
    const id = String(++this.#lastId);
    const text = JSON.stringify({ ...frame, id });
    return new Promise((resolve, reject) => {
      if (!this.#isOpen()) return reject(lost());
      // The server would end the connection over it, so it must not get that far.
      if (byteLength(text) > this.#limit) return reject(tooLarge());
      const doubt = setTimeout(() => this.#probe(), PROBE_AFTER);
      this.#calls.set(id, { resolve, reject, doubt });
      this.#socket.send(text);
    });
  }

  #open() {
    if (this.#socket) return; // the guard: no interleaving leads to two connections
    this.#clear('retry');
    this.#bye = null;
    this.#tell('connecting');
    let socket;
    try {
      socket = new WebSocket(this.#url, 'hubbub.v1');
    } catch {
      return this.#retry();
    }
    this.#socket = socket;
    this.#after('deadline', ANSWER_WITHIN, () => this.#drop('no welcome'));
    // A socket that we gave up may still speak; it is no longer ours.
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lose(code, reason);
  }

  #receive(data) {
    const frame = parse(data);
    switch (frame?.type) {
      case 'welcome': return this.#welcome(frame.content ?? {});
      case 'pong': return this.#pong(frame.id);
      case 'ack': return this.#settle(frame.id)?.resolve(frame);
      case 'error': return this.#refused(frame);
      case 'bye': this.#bye = frame.content; return;
      case undefined: return;
      default: this.#on.onFrame(frame);
    }
  }

  #welcome(content) {
    if (this.#ready) return;
    this.#clear('deadline');
    this.#ready = true;
    this.#limit = positive(content.limit) ?? Infinity;
    this.#heartbeat = positive(content.heartbeat) ?? HEARTBEAT;
    this.#after('stable', STABLE_AFTER, () => { this.#attempts = 0; });
    this.#after('beat', this.#heartbeat, () => this.#probe());
    this.#tell('open');
    this.#on.onWelcome(content);
  }

  #refused({ id, content }) {
    const error = new CallError(content ?? {});
    const call = this.#settle(id);
    if (call) call.reject(error);
    else this.#on.onError(error);
  }

  #settle(id) {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    clearTimeout(call?.doubt);
    return call;
  }

  // Browsers hide WebSocket pings, so a server that fell silent without closing
  // shows only in this. The pong with our id is what counts: it proves that both
  // directions work.
  #probe() {
    if (!this.#isOpen() || this.#ping) return;
    this.#ping = `ping-${++this.#lastId}`;
    this.#clear('beat');
    this.#after('deadline', ANSWER_WITHIN, () => this.#drop('no answer to ping'));
    this.emit({ type: 'ping', id: this.#ping });
  }

  #pong(id) {
    if (id !== this.#ping) return;
    this.#ping = null;
    this.#clear('deadline');
    this.#after('beat', this.#heartbeat, () => this.#probe());
  }

  // The browser would wait long for the answer to a close on a dead line, so the
  // socket is let go first and closed behind our back.
  #drop(reason) {
    const socket = this.#socket;
    this.#lose(SILENT, reason);
    socket?.close(SILENT, reason);
  }

  #lose(code, reason) {
    const wait = positive(this.#bye?.retryAfter);
    this.#forget('the connection was lost');
    if (FINAL.has(code) || (code === TOO_MANY && !wait)) this.#tell('closed', { code, reason });
    else this.#retry(wait);
  }

  #retry(asked = 0) {
    const now = Date.now();
    this.#notBefore = now + Math.min(asked, LONGEST_WAIT);
    this.#retryAt = this.#notBefore + this.#backoff();
    this.#after('retry', this.#retryAt - now, () => this.#open());
    this.#tell(navigator.onLine === false ? 'offline' : 'waiting', { until: this.#retryAt });
  }

  // Full jitter, drawn after the cap: drawn before it, all clients of a server
  // that was away for long would come back at the same moment.
  #backoff() {
    const ceiling = Math.min(LAST_DELAY, FIRST_DELAY * 2 ** this.#attempts++);
    return Math.random() * ceiling;
  }

  #forget(why) {
    this.#socket = null;
    this.#ready = false;
    this.#ping = null;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    for (const id of [...this.#calls.keys()]) this.#settle(id).reject(lost(why));
  }

  #isOpen() {
    return this.#ready && this.#socket.readyState === WebSocket.OPEN;
  }

  #isWaiting() {
    return this.#state === 'waiting' || this.#state === 'offline';
  }

  #tell(state, detail = {}) {
    this.#state = state;
    this.#on.onState(state, detail);
  }

  #after(name, delay, action) {
    this.#clear(name);
    this.#timers[name] = setTimeout(action, delay);
  }

  #clear(name) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}

function parse(data) {
  if (typeof data !== 'string') return undefined; // this client speaks text only
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

// Milliseconds and sizes from the wire; timers turn anything beyond 2^31 into "now".
function positive(n) {
  return Number.isFinite(n) && n > 0 ? Math.min(n, 2 ** 31 - 1) : undefined;
}

function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

function lost(message = 'not connected') {
  return new CallError({ code: 'lost', message });
}

function tooLarge() {
  return new CallError({ code: 'too_large', message: 'the message is too long' });
}
