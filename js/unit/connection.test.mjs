// How the page's connection behaves over time, on a clock of the test's own.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { FakeSocket, fakeBrowser, load, realBrowser } from './page.mjs';

const { Connection, CallError } = await load('connection.js');

let link, states, frames, errors, navigator;

beforeEach(() => {
  navigator = fakeBrowser();
  [states, frames, errors] = [[], [], []];
  link = new Connection('ws://chat.example/ws', {
    onState: (state, detail) => states.push([state, detail]),
    onWelcome: () => {},
    onFrame: (frame) => frames.push(frame),
    onError: (error) => errors.push(error),
  });
});

afterEach(realBrowser);

const pass = (ms) => mock.timers.tick(ms);
const state = () => states.at(-1)[0];
const detail = () => states.at(-1)[1];

const up = (content) => {
  link.now();
  FakeSocket.last.welcome(content);
  return FakeSocket.last;
};

// The time until the next socket, to the millisecond.
const waitedFor = (most = 60_000) => {
  const before = FakeSocket.all.length;
  for (let ms = 0; ms <= most; ms++) {
    if (FakeSocket.all.length > before) return ms;
    pass(1);
  }
  return Infinity;
};

const failTries = (count) => Array.from({ length: count }, () => {
  FakeSocket.last.end(1006);
  return waitedFor();
});

test('it offers the subprotocol and is open with the welcome, not before', () => {
  link.now();
  assert.equal(FakeSocket.last.protocol, 'hubbub.v1');
  FakeSocket.last.readyState = 1;
  assert.equal(state(), 'connecting');
  FakeSocket.last.welcome();
  assert.equal(state(), 'open');
});

test('the waits double from 0.5 s to 20 s and are jittered after the cap', () => {
  link.now();
  assert.deepEqual(failTries(8), [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  mock.method(Math, 'random', () => 0.999);
  assert.deepEqual(failTries(1), [19_980]);
  mock.method(Math, 'random', () => 0.01);
  assert.deepEqual(failTries(1), [200]);
});

test('the waits start anew after 5 s up, and only then', () => {
  link.now();
  failTries(4);
  FakeSocket.last.welcome();
  pass(4_999);
  assert.deepEqual(failTries(1), [4000]);
  FakeSocket.last.welcome();
  pass(5_000);
  assert.deepEqual(failTries(1), [250]);
});

test('a new socket is made, and the old one is not listened to any more', () => {
  const old = up();
  old.end(1012);
  waitedFor();
  FakeSocket.last.welcome();
  old.frame({ type: 'chat.say', content: 'a ghost' });
  old.end(1006);
  assert.deepEqual(frames, []);
  assert.equal(state(), 'open');
  assert.equal(FakeSocket.all.length, 2);
});

for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 4003, 4008]) {
  test(`it comes back after ${code}`, () => {
    up().end(code);
    assert.equal(state(), 'waiting');
    assert.ok(waitedFor() < Infinity);
  });
}

for (const code of [1000, 1002, 1007, 1008, 1009, 4001, 4002, 4004]) {
  test(`it stays away after ${code}, until it is told to try`, () => {
    up().end(code, 'because');
    assert.deepEqual([state(), detail()], ['closed', { code, reason: 'because' }]);
    link.wake();
    assert.equal(waitedFor(), Infinity);
    link.now();
    assert.equal(FakeSocket.live.length, 1);
  });
}

test("it does not come back before the server's retryAfter, also not when woken", () => {
  const socket = up();
  socket.frame({ type: 'bye', content: { reason: 'drain', retryAfter: 3000 } });
  socket.end(1001);
  pass(2999);
  link.wake();
  assert.equal(FakeSocket.live.length, 0);
  assert.equal(waitedFor(), 1 + 250);
});

test('4004 is tried again only after its retryAfter', () => {
  const socket = up();
  socket.frame({ type: 'bye', content: { reason: 'too many', retryAfter: 8000 } });
  socket.end(4004);
  assert.equal(waitedFor(), 8250);
});

for (const retryAfter of [-1, '9', null, NaN, 0]) {
  test(`a retryAfter of ${JSON.stringify(retryAfter)} is no wish`, () => {
    const socket = up();
    socket.frame({ type: 'bye', content: { retryAfter } });
    socket.end(1001);
    assert.equal(waitedFor(), 250);
  });
}

test('an absurd retryAfter becomes an hour, not a storm', () => {
  const socket = up();
  socket.frame({ type: 'bye', content: { retryAfter: 1e15 } });
  socket.end(1001);
  assert.equal(waitedFor(10_000), Infinity);
  assert.equal(detail().until - Date.now(), 3_600_000 - 10_001 + 250);
});

test('a server that does not answer a ping is left after heartbeat + 10 s', () => {
  const silent = up({ heartbeat: 1000 });
  pass(1000);
  assert.equal(silent.sent.at(-1).type, 'ping');
  pass(9_999);
  assert.equal(state(), 'open');
  pass(1);
  assert.equal(state(), 'waiting');
  assert.equal(silent.closedWith, 4008);
  assert.equal(waitedFor(), 250);
});

test('the heartbeat repeats as long as it is answered', () => {
  const socket = up({ heartbeat: 1000 });
  for (let i = 1; i <= 20; i++) {
    pass(1000);
    assert.equal(socket.sent.length, i);
    socket.frame({ type: 'pong', id: socket.sent.at(-1).id });
  }
  assert.equal(FakeSocket.all.length, 1);
});

test('only the pong with our id counts', () => {
  const socket = up({ heartbeat: 1000 });
  pass(1000);
  socket.frame({ type: 'pong', id: 'another' });
  socket.frame({ type: 'chat.say', content: {} });
  pass(10_000);
  assert.equal(state(), 'waiting');
});

test('a server that never says welcome is left after 10 s', () => {
  link.now();
  FakeSocket.last.readyState = 1;
  pass(9_999);
  assert.equal(FakeSocket.live.length, 1);
  pass(1);
  assert.equal(FakeSocket.live.length, 0);
  assert.equal(waitedFor(), 250);
});

test('an ack settles its call and no other', async () => {
  const socket = up();
  const [one, two] = [link.call({ type: 'a' }), link.call({ type: 'b' })];
  const [first, second] = socket.sent;
  assert.notEqual(first.id, second.id);
  socket.frame({ type: 'ack', id: second.id, content: 2 });
  socket.frame({ type: 'error', id: first.id, content: { code: 'denied', message: 'no', field: 'x', retryAfter: 5 } });
  assert.equal((await two).content, 2);
  await assert.rejects(one, { code: 'denied', message: 'no', field: 'x', retryAfter: 5 });
});

test('an error without an id is told apart', () => {
  up().frame({ type: 'error', content: { code: 'rate_limited', message: 'slow down' } });
  assert.ok(errors[0] instanceof CallError);
  assert.equal(errors[0].message, 'slow down');
});

test('calls under way fail when the connection is lost', async () => {
  const socket = up();
  const call = link.call({ type: 'a' });
  socket.end(1006);
  await assert.rejects(call, { code: 'lost' });
});

test('a call while there is no connection fails at once, and emit says no', async () => {
  await assert.rejects(link.call({ type: 'a' }), { code: 'lost' });
  link.now(); // connecting
  await assert.rejects(link.call({ type: 'a' }), { code: 'lost' });
  assert.equal(link.emit({ type: 'a' }), false);
  assert.deepEqual(FakeSocket.last.sent, []);
});

test("what is over the server's limit is not sent", async () => {
  const socket = up({ limit: 100 });
  await assert.rejects(link.call({ type: 'a', content: 'ü'.repeat(50) }), { code: 'too_large' });
  assert.deepEqual(socket.sent, []);
});

test('a call without an answer makes it ask whether the server is there', () => {
  const socket = up();
  link.call({ type: 'a' }).catch(() => {});
  pass(5_000);
  assert.equal(socket.sent.at(-1).type, 'ping');
  pass(10_000);
  assert.equal(state(), 'waiting');
});

test('coming back to the page or the network tries at once, or asks the server', () => {
  const socket = up();
  link.wake();
  assert.equal(socket.sent.at(-1).type, 'ping');
  socket.end(1006);
  link.wake();
  assert.equal(FakeSocket.live.length, 1);
});

test('without a network it says so, and still tries', () => {
  up().end(1006);
  link.networkGone();
  assert.equal(state(), 'offline');
  assert.equal(waitedFor(), 250);
  navigator.onLine = false;
  FakeSocket.last.end(1006);
  assert.equal(state(), 'offline');
  link.wake();
  assert.equal(FakeSocket.live.length, 1);
});

test('losing the network while connected asks the server first', () => {
  const socket = up();
  link.networkGone();
  assert.equal(state(), 'open');
  assert.equal(socket.sent.at(-1).type, 'ping');
});

test('stop ends it for good', () => {
  const socket = up();
  link.stop();
  assert.equal(socket.closedWith, 1000);
  socket.end(1000);
  link.wake();
  assert.equal(waitedFor(), Infinity);
  assert.deepEqual(states.filter(([name]) => name === 'closed').length, 1);
});

test('a browser that refuses to make the socket is tried again like any loss', () => {
  globalThis.WebSocket = class { constructor() { throw new SyntaxError('no'); } };
  link.now();
  assert.equal(state(), 'waiting');
});

test('frames that are no envelope are passed over', () => {
  const socket = up();
  for (const data of ['', 'null', '1', '[]', '{', '{"content":1}', new ArrayBuffer(3)]) socket.onmessage({ data });
  assert.deepEqual([frames, errors, state()], [[], [], 'open']);
});

test('no interleaving leads to two connections, or to none for ever', () => {
  const random = generator(20_261_121);
  mock.method(Math, 'random', random);
  const last = (action) => () => FakeSocket.last && FakeSocket.last.onclose && action(FakeSocket.last);
  const actions = [
    () => link.now(),
    () => link.wake(),
    () => link.networkGone(),
    () => link.call({ type: 'a' }).catch(() => {}),
    () => { navigator.onLine = !navigator.onLine; },
    () => pass(Math.floor(random() * 700)),
    () => pass(Math.floor(random() * 12_000)),
    last((socket) => socket.readyState === 0 && socket.welcome({ heartbeat: 3000 })),
    last((socket) => socket.readyState === 1 && socket.frame({ type: 'pong', id: socket.sent.at(-1)?.id })),
    last((socket) => socket.readyState === 1 && socket.frame({ type: 'bye', content: { retryAfter: 900 } })),
    last((socket) => socket.end([1001, 1006, 1012, 4008][Math.floor(random() * 4)])),
    () => FakeSocket.all.at(-2)?.end(1006), // a late close of the one before
  ];
  link.now();
  for (let step = 0; step < 5_000; step++) {
    actions[Math.floor(random() * actions.length)]();
    assert.ok(FakeSocket.live.length <= 1, `two connections after step ${step}`);
  }
  if (FakeSocket.live.length === 0) assert.ok(waitedFor() <= 20_900);
});

// Mulberry32: the same walk every time.
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
