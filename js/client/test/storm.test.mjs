// Many clients that lose their server come back, but not all at once.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { connect } from '@hubbub/client';
import { begin, end, MockSocket, pass } from './world.mjs';

const CLIENTS = 2000;
const BUCKET = 100; // ms

let hubs, attempts, began;

beforeEach(() => {
  begin();
  let seed = 1;
  mock.method(Math, 'random', () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647);
});
afterEach(() => {
  for (const hub of hubs) hub.close();
  end();
});

function start() {
  hubs = Array.from({ length: CLIENTS }, () => connect('ws://chat.example/ws', { WebSocket: MockSocket }));
  const sockets = MockSocket.all.map((socket) => socket.welcome());
  [attempts, began] = [[], Date.now()];
  return sockets;
}

/** From then on a server is there. It sees the attempts. */
function serveAfter(ms) {
  MockSocket.onNew = (socket) => queueMicrotask(() => {
    if (Date.now() - began < ms) return socket.end();
    attempts.push(Date.now() - began);
    socket.welcome();
  });
}

/** As pass, and the microtasks run. */
async function later(ms) {
  for (let passed = 0; passed < ms; passed += 10) {
    pass(10);
    await null;
  }
}

function spread() {
  assert.deepEqual([attempts.length, hubs.filter(({ state }) => state === 'connected').length], [CLIENTS, CLIENTS], 'all are back, by one attempt');
  const buckets = new Map();
  for (const at of attempts) buckets.set(Math.floor(at / BUCKET), (buckets.get(Math.floor(at / BUCKET)) ?? 0) + 1);
  assert.ok(Math.max(...buckets.values()) <= CLIENTS / 20, `no ${BUCKET} ms see more than 5 %: ${[...buckets]}`);
}

test('a drain: each is told another time', async () => {
  const window = 5000; // the default of hub.Options.DrainTime
  const sockets = start();
  serveAfter(0);
  for (const [i, socket] of sockets.entries()) {
    setTimeout(() => {
      socket.frame({ type: 'bye', content: { reason: 'drain', retryAfter: Math.ceil(Math.random() * window) } });
      socket.end(1001, 'drain');
    }, window * i / CLIENTS);
  }
  await later(2 * window + 5000);
  spread();
});

test('a crash, and a server that starts for 5 s', async () => {
  const sockets = start();
  serveAfter(5000);
  for (const socket of sockets) socket.end();
  await later(34_000); // before the first is missed by its heartbeat
  spread();
});

// As when a proxy ends them. Who finds the server too early comes again while others
// come for the first time.
for (const ms of [0, 1000, 2000]) {
  test(`all connections cut, and a server that is back after ${ms} ms`, async () => {
    const sockets = start();
    serveAfter(ms);
    for (const socket of sockets) socket.end();
    await later(34_000);
    spread();
  });
}
