// The modules of the chat page, and what they need of a browser, in Node. The
// clock and the network are the test's: nothing here waits.

import { readFileSync } from 'node:fs';
import { mock } from 'node:test';

const PAGE = new URL('../../examples/chat/page/', import.meta.url);

/** Imports a module of the page, which no package.json declares to be one. */
export function load(name) {
  const source = readFileSync(new URL(name, PAGE), 'base64');
  return import(`data:text/javascript;base64,${source}`);
}

export function fakeBrowser() {
  FakeSocket.all = [];
  globalThis.WebSocket = FakeSocket;
  const navigator = { onLine: true };
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true, writable: true });
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
  mock.method(Math, 'random', () => 0.5);
  return navigator;
}

export function realBrowser() {
  mock.timers.reset();
  mock.restoreAll();
}

export class FakeSocket {
  static OPEN = 1;
  static all = [];
  static get last() { return FakeSocket.all.at(-1); }
  /** Those that the page holds: neither closed by a side nor given up. */
  static get live() { return FakeSocket.all.filter((socket) => socket.readyState < 2); }

  readyState = 0;
  sent = [];

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    FakeSocket.all.push(this);
  }

  send(text) { this.sent.push(JSON.parse(text)); }

  close(code, reason) {
    if (this.readyState < 2) Object.assign(this, { readyState: 2, closedWith: code, reason });
  }

  // --- the server's side ---

  frame(envelope) { this.onmessage({ data: JSON.stringify(envelope) }); }

  welcome(content = {}) {
    this.readyState = 1;
    this.frame({ type: 'welcome', content: { id: 'me', heartbeat: 25_000, limit: 1000, ...content } });
  }

  end(code, reason = '') {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}
