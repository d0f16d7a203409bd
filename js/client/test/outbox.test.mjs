// Messages that survive a reload: a page ends at any step of a send, the next
// one has the same database. Real timers, but nothing here waits for them.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { forceCloseDatabase, IDBDatabase, IDBFactory, IDBObjectStore } from 'fake-indexeddb';
import { connect } from '@hubbub/client';
import { openOutbox } from '@hubbub/client/outbox';
import { MockSocket, outcome, settle } from './world.mjs';

let pages, failures;

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
  MockSocket.all = [];
  pages = [];
  failures = [];
});
afterEach(() => {
  for (const { hub, outbox } of pages) {
    hub.close();
    outbox.close();
  }
});

const page = async (options, url = 'ws://chat.example/ws') => {
  const hub = connect(url, { WebSocket: MockSocket });
  const outbox = await openOutbox(hub, { onError: (error, { content }) => failures.push([error.code, content]), ...options });
  pages.push({ hub, outbox });
  return { hub, outbox, socket: MockSocket.last };
};
/** Gives the database and the promises behind it their turns. */
const turns = async () => { for (let i = 0; i < 20; i++) await settle(); };
const reload = async ({ hub, outbox }, options) => {
  hub.close();
  await turns();
  outbox.close();
  return page(options);
};

test('an unsent message survives the page and goes out with its id', async () => {
  const first = await page();
  const sends = [1, 2].map((n) => outcome(first.outbox.send(first.hub, 'msg', { n, bytes: new Uint8Array([n]) })));
  await turns();
  const second = await reload(first);
  assert.deepEqual(sends.map(({ now }) => now.code), ['closed', 'closed']);
  second.socket.welcome();
  await turns();
  assert.deepEqual(second.socket.take().map(({ content }) => content.n), [1, 2]);
});

test('two hubs of one page have each its own messages, whatever the query', async () => {
  const urls = ['ws://a.example/ws', 'ws://b.example/ws', 'ws://a.example/other'];
  for (const url of urls) {
    const { hub, outbox } = await page({}, url + '?page=1');
    outbox.send(hub, 'msg', url).catch(() => {});
    await turns();
  }
  for (const { hub, outbox } of pages.splice(0)) {
    hub.close();
    outbox.close();
  }
  await turns();
  for (const url of urls) {
    const { socket } = await page({}, url + '?page=2');
    socket.welcome();
    await turns();
    assert.deepEqual(socket.take().map(({ content }) => content), [url]);
  }
});

test('the id is the same in every try, and what is acknowledged is gone', async () => {
  const first = await page();
  first.socket.welcome();
  const sent = outcome(first.outbox.send(first.hub, 'msg', 1));
  await turns();
  const [{ id }] = first.socket.take(); // it may have arrived: the page ends before the ack
  const second = await reload(first);
  assert.equal(sent.now.code, 'unknown');
  second.socket.welcome();
  await turns();
  const [again] = second.socket.take();
  assert.equal(again.id, id);
  assert.equal(await second.outbox.size(), 1);
  second.socket.ack(again);
  await turns();
  assert.equal(await second.outbox.size(), 0);
  const third = await reload(second);
  third.socket.welcome();
  await turns();
  assert.deepEqual(third.socket.take(), []);
});

test('what is sent on the welcome comes after what waited for it', async () => {
  const { hub, outbox, socket } = await page();
  const send = (n) => outbox.send(hub, 'msg', n).catch(() => {});
  send(1);
  send(2);
  hub.once('welcome', () => send(3));
  hub.once('state', () => send(4));
  await turns();
  socket.welcome();
  await turns();
  assert.deepEqual(socket.take().map(({ content }) => content), [1, 2, 3, 4]);
});

/** Calls fn once the nth message from now on is stored. */
const onStored = (t, nth, fn) => {
  const { put } = IDBObjectStore.prototype;
  return t.mock.method(IDBObjectStore.prototype, 'put', function(message) {
    const request = put.call(this, message);
    if (--nth === 0) request.addEventListener('success', fn);
    return request;
  });
};

for (const soon of [false, true]) {
  test(`the order stays, whenever a connection ends${soon ? ' and the next is there' : ''}`, async (t) => {
    for (let nth = 1; nth <= 8; nth++) {
      const { hub, outbox, socket } = await page({ name: `outbox ${nth}` });
      socket.welcome();
      const put = onStored(t, nth, () => {
        hub.close();
        hub.connect();
        if (soon) MockSocket.last.welcome();
      });
      for (const n of [1, 2, 3, 4]) outbox.send(hub, 'msg', n).catch(() => {});
      await turns();
      if (!soon) MockSocket.last.welcome();
      await turns();
      put.mock.restore();
      const [before, after] = [socket, MockSocket.last].map((its) => its.take().map(({ content }) => content));
      assert.deepEqual([...before, ...after], [1, 2, 3, 4], `after put ${nth}`);
    }
  });
}

test('what is worth sending longer is in the way of nothing but what may go out', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const first = await page();
  first.outbox.send(first.hub, 'msg', 'long').catch(() => {});
  await turns();
  const { hub, outbox, socket } = await reload(first, { ttl: 1_000 });
  const short = outcome(outbox.send(hub, 'msg', 'short'));
  await turns();
  t.mock.timers.tick(1_000);
  await turns();
  assert.equal(short.now?.code, 'expired');
  const last = outcome(outbox.send(hub, 'msg', 'last'));
  await turns();
  socket.welcome();
  await turns();
  assert.deepEqual(socket.take().map(({ content }) => content), ['long', 'last']);
  assert.equal(last.now, undefined);
});

test('without a connection its time ends, too', async () => {
  const { hub, outbox } = await page({ ttl: 20 });
  await assert.rejects(outbox.send(hub, 'msg', 1), { code: 'expired' });
  assert.equal(await outbox.size(), 0);
});

test('content is what it was at the call, and on the wire what it is for the hub', async () => {
  const first = await page();
  const body = { text: 'hello', price: { toJSON: () => '1.50' } };
  const bytes = Uint8Array.of(1, 2, 3);
  for (const content of [body, bytes, undefined]) first.outbox.send(first.hub, 'msg', content).catch(() => {});
  body.text = '';
  bytes.fill(0);
  await turns();
  const second = await reload(first);
  second.socket.welcome();
  await turns();
  const wanted = [[{ text: 'hello', price: '1.50' }, undefined], [undefined, Uint8Array.of(1, 2, 3)], [undefined, undefined]];
  assert.deepEqual(second.socket.take().map(({ content, bytes }) => [content, bytes]), wanted);
  const { hub, outbox, socket } = await page({ name: 'another' });
  socket.welcome();
  const again = { text: 'hello' };
  outbox.send(hub, 'msg', again).catch(() => {});
  again.text = '';
  await turns();
  assert.deepEqual(socket.take()[0].content, { text: 'hello' });
});

test('a message of a room waits until the room is joined', async () => {
  const first = await page();
  first.outbox.send(first.hub.room('r'), 'msg', 1).catch(() => {});
  await turns();
  const { hub, socket } = await reload(first);
  socket.welcome();
  await turns();
  assert.deepEqual(socket.take(), []);
  hub.room('r').join();
  socket.ack(socket.take()[0], {});
  await turns();
  assert.deepEqual(socket.take().map(({ type, room }) => [type, room]), [['msg', 'r']]);
});

test('a message of a room that is not joined is kept for its time, and that is told', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const first = await page({ ttl: 60_000 });
  first.outbox.send(first.hub.room('old'), 'msg', 1).catch(() => {});
  await turns();
  const second = await reload(first);
  second.socket.welcome();
  await turns();
  t.mock.timers.tick(30_000);
  await turns();
  assert.deepEqual([failures, await second.outbox.size()], [[], 1]);
  const third = await reload(second);
  third.hub.close(); // which ends nothing: the application may connect again, and join
  t.mock.timers.tick(30_000);
  await turns();
  assert.deepEqual([failures, await third.outbox.size()], [[['expired', 1]], 0]);
  assert.deepEqual([second.socket.take(), third.socket.take()], [[], []]);
});

test('what waits for a room when the outbox is closed is the next page\'s', async () => {
  const first = await page();
  first.outbox.send(first.hub.room('r'), 'msg', 1).catch(() => {});
  await turns();
  const { hub, outbox, socket } = await reload(first);
  socket.welcome();
  outbox.close();
  hub.room('r').join();
  socket.ack(socket.take('join')[0], {});
  await turns();
  assert.deepEqual([socket.take(), failures], [[], []]);
});

test('what the server puts off is tried again by the page, and stored until it is decided', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const { hub, outbox, socket } = await page({ ttl: 60_000 });
  socket.welcome();
  const sent = outcome(outbox.send(hub, 'msg', 1));
  await turns();
  const ids = [];
  for (const [code, retryAfter] of [['rate_limited', 300], ['unavailable'], ['timeout']]) {
    const [frame] = socket.take();
    ids.push(frame.id);
    socket.error(frame, { code, retryAfter });
    await turns();
    assert.deepEqual([socket.take(), await outbox.size()], [[], 1]);
    t.mock.timers.tick(retryAfter ?? 4000);
    await turns();
  }
  const [last] = socket.take();
  assert.deepEqual(ids, Array(3).fill(last.id));
  socket.ack(last);
  await turns();
  assert.deepEqual([sent.now.value.status, await outbox.size()], ['acked', 0]);
});

test('what is put off longer than it is worth sending, or over the end of the hub, is told at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const { hub, outbox, socket } = await page({ ttl: 60_000 });
  socket.welcome();
  const [long, short] = ['long', 'short'].map((content) => outcome(outbox.send(hub, 'msg', content)));
  await turns();
  for (const frame of socket.take()) socket.error(frame, { code: 'rate_limited', retryAfter: frame.content === 'long' ? 60_000 : 1 });
  await turns();
  assert.deepEqual([long.now?.code, short.now, await outbox.size()], ['rate_limited', undefined, 1]);
  hub.close();
  await turns();
  assert.deepEqual([short.now?.code, await outbox.size()], ['closed', 1]);
});

test('what is put off again and again is tried less and less often, but every minute', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const { hub, outbox, socket } = await page();
  socket.welcome();
  outbox.send(hub, 'msg', 1).catch(() => {});
  await turns();
  for (const wait of [1, 2, 4, 8, 16, 32, 60, 60]) {
    socket.error(socket.take()[0], { code: 'unavailable' });
    await turns();
    t.mock.timers.tick(wait * 1000 - 1);
    await turns();
    assert.deepEqual(socket.take(), [], `not before ${wait} s`);
    socket.frame({ type: 'pong' }); // or the link would ask whether the server is there
    t.mock.timers.tick(1);
    await turns();
  }
  assert.equal(socket.take().length, 1);
});

test('what waits to be tried again is not tried as another user', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const { hub, outbox, socket } = await page();
  socket.welcome();
  const sent = outcome(outbox.send(hub, 'msg', 1));
  await turns();
  socket.error(socket.take()[0], { code: 'rate_limited', retryAfter: 30_000 });
  await turns();
  socket.end();
  t.mock.timers.tick(5_000);
  MockSocket.last.welcome({ user: 'ana' });
  t.mock.timers.tick(25_000);
  await turns();
  assert.deepEqual([sent.now?.code, MockSocket.last.take(), await outbox.size()], ['unknown', [], 1]);
});

test('what may have been sent is unknown, and no longer kept, when its time is over', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.now() });
  const first = await page({ ttl: 60_000 });
  first.socket.welcome();
  first.outbox.send(first.hub, 'msg', 1).catch(() => {});
  await turns();
  t.mock.timers.tick(30_000);
  const second = await reload(first);
  t.mock.timers.tick(30_000);
  await turns();
  assert.deepEqual([failures, await second.outbox.size()], [[['unknown', 1]], 0]);
});

test('what is for a room that the client is not in, or needs a login, is for the next page', async () => {
  const first = await page();
  first.socket.welcome();
  const sends = ['not_member', 'unauthenticated'].map((code) => [code, outcome(first.outbox.send(first.hub.room('r'), 'msg', code))]);
  await turns();
  for (const frame of first.socket.take()) first.socket.error(frame, { code: frame.content });
  await turns();
  assert.deepEqual(sends.map(([code, { now }]) => now.code === code), [true, true]);
  const second = await reload(first);
  assert.equal(await second.outbox.size(), 2);
  second.socket.welcome();
  second.hub.room('r').join();
  second.socket.ack(second.socket.take('join')[0], {});
  await turns();
  assert.deepEqual(second.socket.take('msg').map(({ content }) => content), ['not_member', 'unauthenticated']);
});

test('what the server refuses, or what is too old, is told and not kept', async () => {
  const first = await page();
  first.outbox.send(first.hub, 'msg', 'refused').catch(() => {});
  await turns();
  const second = await reload(first, { ttl: 0 });
  second.outbox.send(second.hub, 'msg', 'old').catch(() => {});
  second.socket.welcome();
  await turns();
  const [refused, ...others] = second.socket.take();
  assert.deepEqual([refused.content, others], ['refused', []]);
  second.socket.error(refused, { code: 'denied' });
  await turns();
  assert.deepEqual(failures, [['denied', 'refused']]);
  const third = await reload(second);
  third.socket.welcome();
  await turns();
  assert.equal(third.socket.take().some(({ content }) => content === 'refused'), false);
});

/** Web Locks for the test: what is held, by name. */
function webLocks(t) {
  const held = new Set();
  const locks = {
    async request(name, options, fn) {
      assert.equal(options.ifAvailable, true);
      if (held.has(name)) return fn(null);
      held.add(name);
      return fn({}).finally(() => held.delete(name));
    },
  };
  Object.defineProperty(globalThis, 'navigator', { configurable: true, writable: true, value: { locks } });
  t.after(() => { delete globalThis.navigator; });
  return held;
}

test('a page that is alive keeps its messages', async (t) => {
  webLocks(t);
  const first = await page();
  first.outbox.send(first.hub, 'msg', 1).catch(() => {});
  await turns();
  const other = await page();
  assert.equal(await other.outbox.size(), 0);
  first.hub.close();
  first.outbox.close();
  await turns();
  assert.equal(await (await page()).outbox.size(), 1);
});

describe('the session', () => {
  const SECRET = 'secret-of-the-first-page';
  const sessions = ({ socket }) => socket.sent.filter(({ type }) => type === 'auth').map(({ content }) => content.session);
  /** A page that has sent something and ends before the answer. */
  const sending = async (session, content = 1) => {
    const one = await page();
    one.socket.welcome({ session });
    one.outbox.send(one.hub, 'msg', content).catch(() => {});
    await turns();
    return one;
  };

  test('is continued before anything is sent again, over two reloads too', async (t) => {
    webLocks(t);
    let one = await sending(SECRET);
    const [{ id }] = one.socket.take();
    for (const _ of [1, 2]) {
      one = await reload(one);
      one.socket.welcome();
      await turns();
      assert.deepEqual(one.socket.sent.map(({ type, id: its, content }) => [type, type === 'auth' ? content.session : its]), [['auth', SECRET], ['msg', id]]);
      assert.equal(one.hub.session, SECRET);
      assert.equal(await one.outbox.size(), 1);
    }
    one.socket.ack(one.socket.take()[0]);
    await turns();
    const next = await reload(one); // nothing is left that would need it
    next.socket.welcome();
    assert.deepEqual([sessions(next), next.hub.session], [[], 'secret-of-connection-4']);
  });

  test('is stored before the first message goes out', async (t) => {
    const { hub, outbox, socket } = await page();
    const sent = outcome(outbox.send(hub, 'msg', 1));
    await turns();
    const put = IDBObjectStore.prototype.put;
    t.mock.method(IDBObjectStore.prototype, 'put', function(message) {
      assert.deepEqual([message.session, socket.take()], [SECRET, []]);
      return put.call(this, message);
    });
    socket.welcome({ session: SECRET });
    await turns();
    assert.equal(socket.take().length, 1);
    assert.equal(sent.now, undefined);
  });

  test('is continued, and the answer to what an earlier page has sent leads the room nowhere', async (t) => {
    webLocks(t);
    const enter = ({ hub, socket }) => {
      hub.room('r').join();
      socket.ack(socket.take('join')[0], { cursor: 'c5' });
      return hub.room('r');
    };
    let one = await page();
    one.socket.welcome({ session: SECRET });
    const room = enter(one);
    const sent = outcome(one.outbox.send(room, 'msg', 1));
    one.outbox.send(room, 'msg', 2).catch(() => {});
    await turns();
    const frames = one.socket.take('msg');
    one.socket.ack(frames[0], undefined, { cursor: 'c6' });
    await turns();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c6', 'c6']);
    one = await reload(one);
    one.socket.welcome();
    const later = enter(one);
    await turns();
    one.socket.ack(one.socket.take('msg')[0], undefined, { cursor: 'c1' });
    assert.equal(later.cursor, 'c5');
  });

  test('of a page of which another one has sent all since is not taken', async (t) => {
    webLocks(t);
    const first = await sending(SECRET);
    const [{ id }] = first.socket.take();
    first.hub.close();
    first.outbox.close();
    await turns();
    const { request } = navigator.locks;
    let late;
    t.mock.method(navigator.locks, 'request', async (...args) => {
      const faster = !late && (late = page()); // once: this one has read what is left, and that one is done with it
      if (faster) await finish(await faster);
      return request.apply(navigator.locks, args);
    });
    const finish = async (other) => {
      assert.equal(other.hub.session, SECRET);
      other.socket.welcome();
      await turns();
      const [message] = other.socket.take();
      assert.equal(message.id, id);
      other.socket.ack(message);
      await turns();
      other.hub.close();
      other.outbox.close();
      await turns();
    };
    const { hub } = await page();
    assert.equal(hub.session, undefined);
  });

  test('of a page that is alive, or that has sent nothing, is not taken', async (t) => {
    webLocks(t);
    const alive = await sending(SECRET);
    const unsent = await page();
    unsent.outbox.send(unsent.hub, 'msg', 'unsent').catch(() => {});
    await turns();
    const next = await reload(unsent);
    next.socket.welcome();
    await turns();
    assert.deepEqual([sessions(next), next.socket.take().map(({ content }) => content)], [[], ['unsent']]);
    assert.equal(await alive.outbox.size(), 1);
  });

  test('leaves no page locked that is gone', async (t) => {
    const held = webLocks(t);
    for (const { hub, outbox } of [await sending(SECRET + 1, 1), await sending(SECRET + 2, 2)]) {
      hub.close();
      outbox.close();
    }
    await turns();
    const next = await page();
    assert.deepEqual([await next.outbox.size(), held.size], [2, 1]);
  });

  test('is that of the page that sent last, and of one page only', async (t) => {
    webLocks(t);
    const gone = [await sending(SECRET + 1, 1), await sending(SECRET + 2, 2)];
    for (const { hub, outbox } of gone) {
      hub.close();
      outbox.close();
    }
    await turns();
    const both = await Promise.all([page(), page()]);
    for (const i of both.keys()) MockSocket.all.at(i - 2).welcome({ session: `own-${i}` });
    await turns();
    const taken = MockSocket.all.slice(-2).map((socket) => sessions({ socket })).flat();
    assert.equal(taken.filter((session) => session === SECRET + 2).length, 1);
    assert.equal(new Set(taken).size, taken.length);
    const contents = MockSocket.all.slice(-2).flatMap((socket) => socket.take().map(({ content }) => content));
    assert.deepEqual(contents.sort(), [1, 2], 'each goes out once');
  });

  test('of another user stays with what it sent', async (t) => {
    webLocks(t);
    const ana = await page();
    ana.socket.welcome({ session: SECRET, user: 'ana' });
    ana.outbox.send(ana.hub, 'msg', "ana's").catch(() => {});
    await turns();
    const ben = await reload(ana);
    ben.socket.welcome({ user: 'ben' });
    ben.outbox.send(ben.hub, 'msg', "ben's").catch(() => {});
    await turns();
    assert.deepEqual(ben.socket.take().map(({ content }) => content), ["ben's"]);
    assert.deepEqual(failures, [['unknown', "ana's"]]);
    const again = await reload(ben);
    again.socket.welcome({ user: 'ana' });
    await turns();
    assert.deepEqual([sessions(again), again.socket.take().map(({ content }) => content)], [[SECRET], ["ana's"]]);
    const idle = await reload(again);
    failures = [];
    idle.hub.close(); // before it knows who is there
    await turns();
    assert.deepEqual(failures, [['closed', "ana's"], ['closed', "ben's"]]);
  });

  for (const when of ['before', 'after']) {
    test(`and the user are those of the connection on which it goes out, if it is sent ${when} that begins`, async (t) => {
      webLocks(t);
      const one = await page();
      one.socket.welcome({ session: SECRET });
      one.outbox.send(one.hub, 'msg', "nobody's").catch(() => {});
      await turns();
      one.hub.close(); // to log in
      one.hub.connect();
      const send = () => one.outbox.send(one.hub, 'msg', "ana's").catch(() => {});
      if (when === 'before') send();
      await turns();
      MockSocket.last.welcome({ user: 'ana' });
      if (when === 'after') send();
      await turns();
      assert.deepEqual(MockSocket.last.take().map(({ content }) => content), ["ana's"]);
      const other = await reload(one);
      other.socket.welcome();
      await turns();
      assert.deepEqual([other.socket.take().map(({ content }) => content), failures], [["nobody's"], [['unknown', "ana's"]]]);
      const ana = await reload(other);
      failures = [];
      ana.socket.welcome({ user: 'ana' });
      await turns();
      assert.deepEqual([ana.socket.take().map(({ content }) => content), failures], [["ana's"], [['unknown', "nobody's"]]]);
      assert.deepEqual(sessions(ana), [SECRET]);
    });
  }

  test('and the user are of a message only once it goes out', async (t) => {
    webLocks(t);
    const first = await page();
    first.outbox.send(first.hub.room('r'), 'msg', 'later').catch(() => {});
    await turns();
    const { hub, outbox } = await reload(first);
    MockSocket.last.welcome({ session: SECRET });
    outbox.send(hub, 'msg', 'at once').catch(() => {});
    await turns();
    hub.close(); // to log in
    hub.connect();
    const ana = MockSocket.last.welcome({ user: 'ana' });
    hub.room('r').join();
    ana.ack(ana.take('join')[0], {});
    await turns();
    assert.deepEqual(ana.take('msg').map(({ content }) => content), ['later']);
    const next = await reload({ hub, outbox });
    next.socket.welcome({ user: 'ana' });
    next.hub.room('r').join();
    next.socket.ack(next.socket.take('join')[0], {});
    await turns();
    assert.equal(next.socket.take('msg').some(({ content }) => content === 'later'), true);
  });

  /** Calls fn while the next message is being stored. */
  const whileStoring = (t, fn) => {
    const put = t.mock.method(IDBObjectStore.prototype, 'put', function(message) {
      put.mock.restore();
      fn();
      return this.put(message);
    });
  };
  for (const [when, lose] of [['before', (_, fn) => fn()], ['while', whileStoring]]) {
    for (const soon of [false, true]) {
      test(`and the user are those of the next connection if one is lost ${when} they are stored${soon ? ', and the next is there' : ''}`, async (t) => {
        webLocks(t);
        const one = await page();
        one.outbox.send(one.hub, 'msg', 1).catch(() => {});
        await turns();
        one.socket.welcome({ session: SECRET });
        const enter = () => assert.deepEqual(MockSocket.last.welcome({ user: 'ana' }).take(), [], 'not before they are stored');
        lose(t, () => {
          one.hub.close();
          one.hub.connect();
          if (soon) enter();
        });
        await turns();
        if (!soon) enter();
        await turns();
        assert.deepEqual([one.socket.take(), MockSocket.last.take().length], [[], 1]);
        const ana = await reload(one);
        ana.socket.welcome({ user: 'ana' });
        await turns();
        assert.equal(ana.socket.take().length, 1);
      });
    }
  }

  test('that the hub has already stays', async (t) => {
    webLocks(t);
    const first = await sending(SECRET);
    first.hub.close();
    first.outbox.close();
    await turns();
    const hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
    const socket = MockSocket.last.welcome();
    pages.push({ hub, outbox: await openOutbox(hub) });
    await turns();
    assert.deepEqual([hub.session, socket.take().length], ['secret-of-connection-2', 1]);
  });

  test('is not continued without Web Locks', async () => {
    const next = await reload(await sending(SECRET));
    next.socket.welcome();
    await turns();
    assert.deepEqual([sessions(next), next.socket.take().length], [[], 1]);
  });

  test('belongs to the page until its hub is closed, too', async (t) => {
    const held = webLocks(t);
    const { hub, outbox } = await sending(SECRET);
    outbox.close();
    await turns();
    assert.equal(held.size, 1);
    hub.close();
    await turns();
    assert.equal(held.size, 0);
    hub.connect();
    MockSocket.last.welcome();
    assert.equal(hub.session, 'secret-of-connection-2');
    hub.close();
    assert.equal(hub.session, 'secret-of-connection-2', 'which is not that of the page');
  });
});

describe('the database', () => {
  /** A page, and its database. */
  const opened = async (t) => {
    const { transaction } = IDBDatabase.prototype;
    let database;
    t.mock.method(IDBDatabase.prototype, 'transaction', function(...args) {
      database = this;
      return transaction.apply(this, args);
    });
    const one = await page();
    one.socket.welcome();
    return { ...one, database };
  };
  /** Whether a message is stored, sent, and gone once it is acknowledged. */
  const works = async ({ hub, outbox, socket }) => {
    const sent = outcome(outbox.send(hub, 'msg', 1));
    await turns();
    const [message] = socket.take();
    const stored = await outbox.size();
    if (message) socket.ack(message);
    await turns();
    return [sent.now?.value?.status ?? sent.now?.code, stored, await outbox.size()];
  };

  test('that another page deletes is made anew, and in nobody\'s way', async (t) => {
    const one = await opened(t);
    const deleted = new Promise((resolve, reject) => {
      const request = indexedDB.deleteDatabase(one.database.name);
      request.onsuccess = resolve;
      request.onblocked = reject;
    });
    await deleted;
    assert.deepEqual(await works(one), ['acked', 1, 0]);
  });

  test('that the browser ends, as it clears the site, is opened again', async (t) => {
    const one = await opened(t);
    forceCloseDatabase(one.database);
    await turns();
    assert.deepEqual(await works(one), ['acked', 1, 0]);
  });

  test('that does not open is tried again by the next message', async (t) => {
    const one = await opened(t);
    forceCloseDatabase(one.database);
    await turns();
    const open = t.mock.method(indexedDB, 'open', () => { throw new Error('no room'); });
    await assert.rejects(one.outbox.send(one.hub, 'msg', 1), { message: 'no room' });
    open.mock.restore();
    assert.deepEqual(await works(one), ['acked', 1, 0]);
  });

  test('that the browser has ended is not opened again to be closed', async (t) => {
    const { hub, outbox, database } = await opened(t);
    forceCloseDatabase(database);
    await turns();
    const open = t.mock.method(indexedDB, 'open', () => { throw new Error('no room'); });
    outbox.close();
    hub.close();
    await turns();
    assert.equal(open.mock.callCount(), 0);
  });
});

test('of two pages that open at once, one takes what was left behind', async () => {
  const first = await page();
  first.outbox.send(first.hub, 'msg', 1).catch(() => {});
  await turns();
  first.hub.close();
  first.outbox.close();
  await turns();
  const before = MockSocket.all.length;
  const both = await Promise.all([page(), page()]);
  const sockets = MockSocket.all.slice(before);
  for (const socket of sockets) socket.welcome();
  await turns();
  assert.deepEqual(sockets.flatMap((socket) => socket.take().map(({ content }) => content)), [1]);
  const sizes = await Promise.all(both.map(({ outbox }) => outbox.size()));
  assert.deepEqual(sizes.toSorted(), [0, 1]);
});

/** A page whose queue is full, and has lost its connection. */
const crowded = async (options) => {
  const hub = connect('ws://chat.example/ws', { WebSocket: MockSocket, queueMessages: 2 });
  const outbox = await openOutbox(hub, options);
  pages.push({ hub, outbox });
  MockSocket.last.welcome();
  await turns();
  MockSocket.last.onclose({ code: 1006, reason: '' });
  return { hub, outbox };
};

test('what waits for a place in the queue ends with the hub', async () => {
  const { hub, outbox } = await crowded();
  const sends = [1, 2, 3].map((n) => outcome(outbox.send(hub, 'msg', n)));
  await turns();
  hub.close();
  await turns();
  assert.deepEqual(sends.map(({ now }) => now?.code), ['closed', 'closed', 'closed']);
});

test('what waits for a place in the queue ends with its time', async () => {
  const { hub, outbox } = await crowded({ ttl: 50 });
  await Promise.all([1, 2, 3].map((n) => assert.rejects(outbox.send(hub, 'msg', n), { code: /^(expired|unknown|overflow)$/ })));
});

test('what waits for a connection when the outbox is closed is the next page\'s', async () => {
  const { hub, outbox, socket } = await page();
  const sends = [1, 2].map((n) => outcome(outbox.send(hub, 'msg', n)));
  await turns();
  outbox.close();
  await turns();
  assert.deepEqual(sends.map(({ now }) => now?.code), ['closed', 'closed']);
  socket.welcome();
  await turns();
  assert.deepEqual(socket.take(), []);
  await assert.rejects(outbox.send(hub, 'msg', 3), { name: 'InvalidStateError' });
  const next = await reload({ hub, outbox });
  next.socket.welcome();
  await turns();
  assert.deepEqual(next.socket.take().map(({ content }) => content), [1, 2]);
});

test('what is being stored when the outbox is closed goes out now or on the next page', async (t) => {
  for (let nth = 1; nth <= 4; nth++) {
    const one = await page({ name: `outbox ${nth}` });
    one.socket.welcome();
    const put = onStored(t, nth, () => one.outbox.close());
    const sends = [1, 2].map((n) => outcome(one.outbox.send(one.hub, 'msg', n)));
    await turns();
    put.mock.restore();
    const sent = one.socket.take().map((frame) => {
      one.socket.ack(frame);
      return frame.content;
    });
    await turns();
    assert.deepEqual(sends.map(({ now }) => now?.code ?? now?.value.status), [1, 2].map((n) => sent.includes(n) ? 'acked' : 'closed'));
    const next = await reload(one, { name: `outbox ${nth}` });
    next.socket.welcome();
    await turns();
    const left = next.socket.take().map(({ content }) => content);
    assert.deepEqual([1, 2].filter((n) => ![...sent, ...left].includes(n)), [], `nothing is lost after put ${nth}`);
  }
});

test('what was put off when the outbox is closed is the next page\'s', async () => {
  const { hub, outbox, socket } = await page();
  socket.welcome();
  const sent = outcome(outbox.send(hub, 'msg', 1));
  await turns();
  socket.error(socket.take()[0], { code: 'rate_limited', retryAfter: 60_000 });
  await turns();
  outbox.close();
  await turns();
  assert.equal(sent.now?.code, 'closed');
  const next = await reload({ hub, outbox });
  next.socket.welcome();
  await turns();
  assert.equal(next.socket.take().length, 1);
});

test('an ack that comes after the outbox was closed is one', async () => {
  const { hub, outbox, socket } = await page();
  socket.welcome();
  await turns();
  const sent = outcome(outbox.send(hub, 'msg', 1));
  await turns();
  outbox.close();
  const [message] = socket.take();
  socket.ack(message);
  await turns();
  assert.equal(sent.now.value?.status, 'acked');
});
