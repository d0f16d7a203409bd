// The world around a client, in the hands of a test: the clock, the network and
// a scripted server. Nothing here waits.

import { mock } from 'node:test';

const STEP = 50; // a jump of the clock is what a frozen page sees, so time passes in steps

export const START = 1_700_000_000_000;

export function begin() {
  MockSocket.all = [];
  MockSocket.onNew = undefined;
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START });
  mock.method(Math, 'random', () => 0.5);
}

export function end() {
  mock.timers.reset();
  mock.restoreAll();
}

/** Lets promises run. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export function pass(ms) {
  for (; ms > STEP; ms -= STEP) mock.timers.tick(STEP);
  if (ms > 0) mock.timers.tick(ms);
}

/** What a frozen page sees: time has passed and its timers come all at once. */
export const jump = (ms) => mock.timers.tick(ms);

/** The time until the next socket is made. */
export function untilNext(most = 60_000) {
  const before = MockSocket.all.length;
  for (let ms = 0; ms <= most; ms++) {
    if (MockSocket.all.length > before) return ms;
    mock.timers.tick(1);
  }
  return Infinity;
}

/** How a promise stands: {value} or {code} of its error, or undefined. */
export function outcome(promise) {
  const seen = { now: undefined };
  promise.then((value) => { seen.now = { value }; }, (error) => { seen.now = { code: error.code ?? error.name, error }; });
  return seen;
}

export class MockSocket {
  static all = [];
  static onNew;
  static get last() { return MockSocket.all.at(-1); }
  /** Those that the client holds: neither closed by a side nor given up. */
  static get live() { return MockSocket.all.filter((socket) => socket.readyState < 2); }

  readyState = 0;
  sent = [];
  #taken = 0;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    MockSocket.all.push(this);
    MockSocket.onNew?.(this);
  }

  send(data) {
    if (this.readyState === 0) throw new Error('InvalidStateError');
    if (this.readyState === 1) this.sent.push(decode(data));
  }

  close(code, reason) {
    if (this.readyState < 2) Object.assign(this, { readyState: 2, closedWith: code, reason });
  }

  // --- the server's side ---

  /** What arrived since the last take; what a connection does by itself aside. */
  take(type) {
    const fresh = this.sent.slice(this.#taken).filter(({ type }) => type !== 'ping' && type !== 'auth');
    this.#taken = this.sent.length;
    return type ? fresh.filter((frame) => frame.type === type) : fresh;
  }

  pings() { return this.sent.filter(({ type }) => type === 'ping'); }

  frame(envelope) {
    this.onmessage({ data: JSON.stringify({ timestamp: Date.now(), ...envelope }) });
  }

  bytes(envelope, bytes) {
    const head = new TextEncoder().encode(`${JSON.stringify(envelope)}\n`);
    this.onmessage({ data: Uint8Array.from([...head, ...bytes]).buffer });
  }

  welcome(content = {}) {
    this.readyState = 1;
    this.frame({ type: 'welcome', content: { id: `peer-${MockSocket.all.length}`, session: `secret-of-connection-${MockSocket.all.length}`, heartbeat: 25_000, limit: 65_536, ...content } });
    return this;
  }

  ack({ id, room }, content, more) { this.frame({ type: 'ack', id, room, content, ...more }); }

  error({ id, room } = {}, content) { this.frame({ type: 'error', id, room, content }); }

  /** The end as a browser tells it; also of a socket that the client gave up. */
  end(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}

function decode(data) {
  if (typeof data === 'string') return JSON.parse(data);
  const at = data.indexOf(10);
  return { ...JSON.parse(new TextDecoder().decode(data.subarray(0, at))), bytes: data.slice(at + 1) };
}
