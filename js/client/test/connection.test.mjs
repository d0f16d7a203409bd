// How a connection lives, on a clock of the test's own.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { connect } from '@hubbub/client';
import { begin, end, jump, MockSocket, outcome, pass, settle, untilNext } from './world.mjs';

let hub, states;

beforeEach(begin);
afterEach(() => {
  hub?.close();
  end();
});

const make = (options) => {
  hub = connect('ws://chat.example/ws', { WebSocket: MockSocket, lazy: true, ...options });
  states = [];
  hub.on('state', (state) => states.push(state));
  hub.on('error', () => {});
  hub.connect();
  return hub;
};
const up = (options, welcome) => {
  make(options);
  MockSocket.last.welcome(welcome);
  return MockSocket.last;
};
const failTries = (count) => Array.from({ length: count }, () => {
  MockSocket.last.end();
  return untilNext();
});

describe('connecting', () => {
  test('it offers the subprotocol and is connected with the welcome, not before', () => {
    make();
    assert.deepEqual(MockSocket.last.protocols, ['hubbub.v1']);
    assert.equal(hub.state, 'connecting');
    MockSocket.last.welcome({ id: 'me', user: 'ana' });
    assert.deepEqual([hub.state, hub.id, hub.user], ['connected', 'me', 'ana']);
    assert.deepEqual(states, ['connecting', 'connected']);
  });

  test('a url is looked at when it connects: a server that renders a page has no location', () => {
    hub = connect('/ws', { WebSocket: MockSocket, lazy: true });
    assert.throws(() => hub.connect(), TypeError);
    assert.throws(() => connect('/ws', { WebSocket: MockSocket }), TypeError);
    assert.deepEqual([hub.state, MockSocket.all.length], ['idle', 0]);
    globalThis.location = { href: 'https://page.example/a/b' };
    try {
      hub.connect();
      assert.equal(MockSocket.last.url, 'wss://page.example/ws');
    } finally {
      delete globalThis.location;
    }
  });

  test('lazy is idle until connect()', () => {
    hub = connect('ws://chat.example/ws', { WebSocket: MockSocket, lazy: true });
    assert.deepEqual([hub.state, MockSocket.all.length], ['idle', 0]);
    hub.connect();
    assert.equal(MockSocket.all.length, 1);
  });

  test('an option that is undefined or null is one that was not given', () => {
    make({ connectTimeout: undefined, retryMin: null, token: null, jitter: 0 });
    pass(9999);
    assert.equal(MockSocket.live.length, 1);
    pass(1);
    assert.deepEqual([MockSocket.live.length, untilNext()], [0, 4000]);
  });

  test('http means ws', () => {
    hub = connect('https://chat.example/ws', { WebSocket: MockSocket });
    assert.equal(MockSocket.last.url, 'wss://chat.example/ws');
  });

  test('50 calls of connect() make one socket', () => {
    make();
    for (let i = 0; i < 50; i++) hub.connect();
    MockSocket.last.welcome();
    for (let i = 0; i < 50; i++) hub.connect();
    assert.equal(MockSocket.all.length, 1);
  });

  test('a socket that stays without a welcome is given up', () => {
    make({ connectTimeout: 3000 });
    MockSocket.last.readyState = 1; // open, but silent
    pass(2999);
    assert.equal(MockSocket.live.length, 1);
    pass(2);
    assert.equal(MockSocket.live.length, 0);
    assert.equal(hub.whyClosed.reason, 'no welcome');
    assert.ok(untilNext() <= 4000);
  });

  test('a runtime that refuses to make a socket is tried again', () => {
    make({ WebSocket: class { constructor() { throw new Error('blocked'); } } });
    assert.match(hub.whyClosed.reason, /blocked/);
    assert.equal(hub.state, 'connecting');
  });

  test('a runtime without a WebSocket ends it, and says what to do', async (t) => {
    const { WebSocket } = globalThis;
    delete globalThis.WebSocket;
    t.after(() => { if (WebSocket) globalThis.WebSocket = WebSocket; });
    t.mock.method(console, 'error', (reason) => errors.push(reason));
    const errors = [];
    hub = connect('ws://chat.example/ws', { lazy: true });
    const waits = [outcome(hub.send('msg', 1)), outcome(hub.room('r').join())];
    hub.connect();
    await settle();
    assert.deepEqual([hub.state, waits.map(({ now }) => now.code)], ['closed', ['closed', 'closed']]);
    assert.match(hub.whyClosed.reason, /WebSocket is not defined: see options.WebSocket/);
    assert.equal(errors[0], hub.whyClosed.reason);
    hub = connect('ws://chat.example/ws', { token: () => 'secret' });
    await settle();
    assert.equal(hub.state, 'closed');
  });

  test('a token is asked for before every connection', async () => {
    let n = 0;
    make({ token: async () => `t${++n}` });
    await settle();
    assert.deepEqual(MockSocket.last.protocols, ['hubbub.v1', 'bearer.t1']);
    MockSocket.last.welcome().end(4001, 'expired'); // refresh first, then come back
    pass(4000);
    await settle();
    assert.deepEqual(MockSocket.last.protocols, ['hubbub.v1', 'bearer.t2']);
  });

  test('a token that comes after close() or fails makes no socket', async () => {
    let give;
    make({ token: () => new Promise((resolve) => { give = resolve; }) });
    await settle();
    hub.close();
    give('late');
    await settle();
    assert.equal(MockSocket.all.length, 0);
    make({ token: () => Promise.reject(new Error('no login')) });
    await settle();
    assert.match(hub.whyClosed.reason, /no login/);
    assert.equal(hub.state, 'connecting');
  });

  for (const [what, options] of [
    ['a token that cannot be had', { token: () => Promise.reject(new Error('blocked')) }],
    ['a socket that cannot be made', { WebSocket: class { constructor() { throw new Error('blocked'); } } }],
  ]) {
    test(`${what} is told each time, and a listener of that may close`, async () => {
      hub = connect('ftp://chat.example/ws', { WebSocket: MockSocket, lazy: true, ...options });
      const errors = [];
      hub.on('error', ({ message }) => {
        errors.push([message, hub.whyClosed.reason]);
        if (errors.length === 2) hub.close();
      });
      hub.connect();
      for (let i = 0; i < 3; i++) {
        await settle();
        assert.equal(hub.state, i < 1 ? 'connecting' : 'closed');
        pass(20_000);
      }
      assert.deepEqual([errors, hub.state], [[['blocked', 'Error: blocked'], ['blocked', 'Error: blocked']], 'closed']);
    });
  }

  test('a mistake in the function of the token is no lack of a WebSocket', async () => {
    make({ token: () => notThere.token });
    await settle();
    assert.match(hub.whyClosed.reason, /notThere/);
    assert.equal(hub.state, 'connecting');
  });
});

describe('coming back', () => {
  test('T5: a lost connection is replaced by exactly one new one', () => {
    const old = up();
    old.end();
    old.end(); // the old socket's close must not schedule another
    assert.equal(hub.state, 'reconnecting');
    pass(10_000);
    assert.equal(MockSocket.live.length, 1);
    MockSocket.last.welcome();
    old.end();
    pass(4000);
    assert.equal(MockSocket.live.length, 1);
    assert.deepEqual(states, ['connecting', 'connected', 'reconnecting', 'connected']);
  });

  test('T5: what the old socket still says is not heard, before the new one is up and after', () => {
    const old = up();
    const heard = [];
    hub.on('msg', ({ content }) => heard.push(content));
    old.frame({ type: 'msg', content: 'in time' });
    old.end();
    old.frame({ type: 'msg', content: 'late' });
    untilNext();
    old.welcome({ id: 'nobody' });
    assert.equal(hub.state, 'reconnecting');
    MockSocket.last.welcome({ id: 'me' });
    old.frame({ type: 'msg', content: 'later' });
    assert.deepEqual([heard, hub.id], [['in time'], 'me']);
    hub.close();
    MockSocket.last.frame({ type: 'msg', content: 'too late' });
    assert.deepEqual(heard, ['in time']);
  });

  test('T11: a new socket after a drop, and a repeated heartbeat', () => {
    const first = up();
    for (const round of [1, 2, 3]) {
      pass(25_000);
      assert.equal(first.pings().length, round);
      first.frame({ type: 'pong', content: Date.now() });
    }
    first.end();
    pass(4000);
    assert.notEqual(MockSocket.last, first);
    assert.equal(MockSocket.live.length, 1);
  });

  test('T14: waits of 1, 2, 4, 8, 16 s, then it gives up and says so', () => {
    make({ retryMin: 1000, retryMax: 60_000, jitter: 0, retries: 5 });
    assert.deepEqual(failTries(5), [1000, 2000, 4000, 8000, 16_000]);
    const message = outcome(hub.send('msg', 1));
    MockSocket.last.end(1006, 'refused');
    assert.equal(hub.state, 'closed');
    assert.deepEqual(hub.whyClosed, { code: 1006, reason: 'refused' });
    assert.deepEqual(states, ['connecting', 'closed']);
    return settle().then(() => assert.equal(message.now.code, 'closed'));
  });

  test('T14: success starts the waits anew, after 5 s up and not before', () => {
    make({ jitter: 0 });
    failTries(1);
    MockSocket.last.welcome();
    pass(4900);
    assert.deepEqual(failTries(1), [8000]);
    MockSocket.last.welcome();
    pass(5000);
    assert.deepEqual(failTries(2), [4000, 8000]);
  });

  test('T18: 4 s doubles to 20 s, and the jitter is full at the cap as well', () => {
    make();
    assert.deepEqual(failTries(8), [2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000, 10_000]);
    mock.method(Math, 'random', () => 0.999);
    assert.deepEqual(failTries(1), [20]);
    mock.method(Math, 'random', () => 0.001);
    assert.deepEqual(failTries(1), [19_980]);
  });

  test('T18: at the cap the comings back spread over the whole wait', () => {
    let seed = 1;
    mock.method(Math, 'random', () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647);
    make();
    failTries(7);
    const waits = Array.from({ length: 300 }, () => {
      const [lost, before] = [Date.now(), MockSocket.all.length];
      MockSocket.last.end();
      while (MockSocket.all.length === before) pass(50);
      return Date.now() - lost;
    });
    const inBucket = (i) => waits.filter((wait) => Math.floor(wait / 100) === i).length;
    assert.ok(Math.max(...Array.from({ length: 201 }, (_, i) => inBucket(i))) <= 15, 'no 100 ms get more than 5 %');
    assert.ok(Math.min(...waits) < 1000 && Math.max(...waits) > 19_000);
  });

  for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 4003, 4008, 4999]) {
    test(`T18: it comes back after ${code}`, () => {
      up().end(code, 'why');
      assert.deepEqual(hub.whyClosed, { code, reason: 'why' });
      assert.equal(hub.state, 'reconnecting');
      assert.ok(untilNext() <= 4000);
    });
  }

  for (const code of [1000, 1002, 1007, 1008, 1009, 4001, 4002, 4004]) {
    test(`T18: it stays away after ${code}`, () => {
      up().end(code, 'why');
      assert.deepEqual([hub.state, hub.whyClosed], ['closed', { code, reason: 'why' }]);
      assert.equal(untilNext(), Infinity);
      hub.connect();
      assert.equal(MockSocket.live.length, 1);
    });
  }

  test('the retryAfter of bye is a lower bound, for 4004 too', () => {
    for (const code of [1001, 4004]) {
      const socket = up();
      socket.frame({ type: 'bye', content: { reason: 'drain', retryAfter: 1200 } });
      socket.end(code);
      globalThis.dispatchEvent?.(new Event('online'));
      assert.equal(untilNext(), 3200);
      hub.close();
    }
  });

  test('the retryAfter of bye is believed up to an hour, and not below nothing', () => {
    for (const [retryAfter, wait] of [[36_000_000, 3_600_000], [-36_000_000, 0]]) {
      const socket = up({ jitter: 0 });
      socket.frame({ type: 'bye', content: { retryAfter } });
      socket.end(1001);
      pass(wait);
      assert.equal(MockSocket.live.length, 0);
      assert.equal(untilNext(), 4000);
      hub.close();
    }
  });

  test('a refusal with Retry-After that the socket shows is respected', () => {
    let refuse;
    class NodeSocket extends MockSocket {
      on(event, fn) { if (event === 'unexpected-response') refuse = fn; }
    }
    make({ WebSocket: NodeSocket });
    refuse(null, { headers: { 'retry-after': '3' } });
    assert.equal(MockSocket.live.length, 0);
    MockSocket.last.end();
    assert.equal(untilNext(), 5000);
  });

  test('close() ends it for good, connect() begins anew', () => {
    const socket = up();
    hub.close();
    assert.equal(socket.closedWith, 1000);
    assert.deepEqual([hub.state, hub.whyClosed.code], ['closed', 1000]);
    assert.equal(untilNext(), Infinity);
    hub.connect();
    MockSocket.last.welcome();
    assert.equal(hub.state, 'connected');
  });

  test('a listener may close, or close and connect again', () => {
    up();
    const off = hub.on('state', (state) => {
      if (state !== 'reconnecting') return;
      hub.close();
      hub.connect();
    });
    MockSocket.last.end();
    off();
    assert.equal(MockSocket.live.length, 1);
    assert.equal(hub.state, 'connecting');
    hub.on('state', (state) => { if (state === 'connected') hub.close(); });
    MockSocket.last.welcome();
    assert.equal(hub.state, 'closed');
    assert.equal(untilNext(), Infinity);
  });

  test('a listener of presence that connects again does not hide that it was closed', async () => {
    up();
    const room = hub.room('chat/1');
    const joined = outcome(room.join());
    room.presence.subscribe(() => hub.connect());
    states.length = 0;
    hub.close();
    await settle();
    assert.deepEqual([states, joined.now.code], [['closed'], 'closed']);
  });

  test('a listener of the welcome that closes is told of closed, once', () => {
    make();
    hub.once('welcome', () => hub.close());
    MockSocket.last.welcome();
    assert.deepEqual(states, ['connecting', 'closed']);
  });
});

test('a listener that closes and connects again on connecting makes one socket', () => {
  hub = connect('ws://chat.example/ws', { WebSocket: MockSocket, lazy: true });
  hub.once('state', () => {
    hub.close();
    hub.connect();
  });
  hub.connect();
  assert.equal(MockSocket.all.length, 1);
  assert.equal(hub.state, 'connecting');
});

describe('signs of life', () => {
  test('T17: a server that swallows pings is found within heartbeat + timeout; the round trip is measured', () => {
    const socket = up({ timeout: 10_000 });
    pass(25_000);
    assert.equal(socket.pings().length, 1);
    pass(40);
    socket.frame({ type: 'pong', content: socket.pings()[0].content });
    assert.equal(hub.rtt, 40);
    pass(34_990);
    assert.equal(hub.state, 'connected');
    pass(20);
    assert.equal(hub.state, 'reconnecting');
    assert.deepEqual([hub.whyClosed.code, socket.closedWith], [4008, 4008]);
  });

  test('T16: any message is a sign of life, and close() leaves no timer', () => {
    const socket = up();
    for (let i = 0; i < 10; i++) {
      pass(20_000);
      socket.frame({ type: 'news' });
    }
    assert.equal(socket.pings().length, 0);
    hub.close();
    pass(100_000);
    assert.equal(socket.pings().length, 0);
    assert.equal(MockSocket.all.length, 1);
  });

  test('a frozen page does not take its own sleep for a dead server', () => {
    const socket = up();
    pass(25_000); // asks
    jump(3_600_000); // frozen: the timer is late, the pong unread
    assert.equal(hub.state, 'connected');
    socket.frame({ type: 'pong', content: Date.now() });
    pass(24_000);
    assert.equal(hub.state, 'connected');
  });
});

describe('page events', () => {
  let target, listening;
  beforeEach(() => {
    target = new EventTarget();
    listening = 0;
    globalThis.addEventListener = (...args) => { listening++; target.addEventListener(...args); };
    globalThis.removeEventListener = (...args) => { listening--; target.removeEventListener(...args); };
  });
  afterEach(() => {
    hub.close();
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  const fire = (name) => target.dispatchEvent(new Event(name));

  for (const name of ['online', 'pageshow', 'visibilitychange', 'resume']) {
    test(`${name} connects at once instead of waiting, and asks whether an old connection lives`, () => {
      make();
      failTries(6);
      MockSocket.last.end();
      const before = MockSocket.all.length;
      fire(name);
      fire(name);
      assert.equal(MockSocket.all.length, before + 1);
      MockSocket.last.welcome();
      fire(name);
      fire(name);
      assert.equal(MockSocket.last.pings().length, 1);
      pass(10_001);
      assert.equal(hub.state, 'reconnecting');
    });
  }

  test('offline asks, because the socket may survive it', () => {
    const socket = up();
    fire('offline');
    socket.frame({ type: 'pong', content: Date.now() });
    pass(20_000);
    assert.equal(hub.state, 'connected');
    socket.end();
    fire('offline');
    assert.equal(MockSocket.live.length, 0);
  });

  test('an event does not come back before the server wants it', () => {
    const socket = up();
    socket.frame({ type: 'bye', content: { retryAfter: 5000 } });
    socket.end(1001);
    fire('online');
    assert.equal(MockSocket.live.length, 0);
  });

  test('nothing listens after close()', () => {
    up();
    hub.close();
    fire('online');
    assert.deepEqual([MockSocket.live.length, listening], [0, 0]);
  });

  test('T18: never two connections, in 300 random walks', async () => {
    mock.timers.reset();
    for (let seed = 1; seed <= 300; seed++) {
      mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1 });
      await walk(seed);
      mock.timers.reset();
    }
  });

  async function walk(seed) {
    let state = seed * 7919;
    const random = (n) => (state = (state * 48_271) % 2_147_483_647) % n;
    const pick = (list) => list[random(list.length)];
    MockSocket.all = [];
    make({ retries: pick([Infinity, 3]), token: pick([undefined, async () => 'token']) });
    const sends = [];
    const steps = [
      () => hub.connect(),
      () => { if (!random(4)) hub.close(); },
      () => fire(pick(['online', 'offline', 'pageshow', 'visibilitychange', 'resume'])),
      () => pass(random(3000)),
      () => jump(random(60_000)),
      () => settle(),
      () => { const s = pick(MockSocket.all); if (s?.readyState === 0) s.welcome(); },
      () => { const s = pick(MockSocket.all); if (s && s.readyState < 3) s.end(pick([1000, 1001, 1006, 1012, 4001, 4003, 4004])); },
      () => { const s = pick(MockSocket.live); if (s?.readyState === 1) s.frame(pick([{ type: 'bye', content: { retryAfter: 700 } }, { type: 'pong' }, { type: 'x' }])); },
      () => { sends.push(outcome(hub.send('msg', seed))); },
    ];
    for (let i = 0; i < 60; i++) {
      await pick(steps)();
      assert.ok(MockSocket.live.length <= 1, `seed ${seed}, step ${i}: ${MockSocket.live.length} sockets`);
      assert.equal(hub.state === 'closed' && MockSocket.live.length > 0, false, `seed ${seed}: closed with a socket`);
    }
    hub.close();
    await settle();
    assert.deepEqual([MockSocket.live.length, listening], [0, 0], `seed ${seed}`);
    assert.ok(sends.every(({ now }) => now), `seed ${seed}: a message did not settle`);
    assert.deepEqual(hub.pending.messages, 0);
  }
});
