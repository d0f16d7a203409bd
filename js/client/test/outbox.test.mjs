// Messages that survive a reload: a page ends at any step of a send, the next
// one has the same database. Real timers, but nothing here waits for them.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { IDBFactory } from 'fake-indexeddb';
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

const page = async (options) => {
  const hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
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

test('what the server refuses, or what is too old, is told and not kept', async () => {
  const first = await page();
  first.outbox.send(first.hub, 'msg', 'refused').catch(() => {});
  await turns();
  const second = await reload(first, { ttl: 0 });
  second.outbox.send(second.hub, 'msg', 'old').catch(() => {});
  second.socket.welcome();
  await turns();
  const refused = second.socket.take().find(({ content }) => content === 'refused');
  second.socket.error(refused, { code: 'denied' });
  await turns();
  assert.deepEqual(failures, [['denied', 'refused']]);
  const third = await reload(second);
  third.socket.welcome();
  await turns();
  assert.equal(third.socket.take().some(({ content }) => content === 'refused'), false);
});

test('a page that is alive keeps its messages', async (t) => {
  const held = new Set();
  Object.defineProperty(globalThis, 'navigator', { configurable: true, writable: true, value: {
    locks: {
      async request(name, options, fn = options) {
        if (options.ifAvailable) return fn(held.has(name) ? null : {});
        held.add(name);
        return fn({}).finally(() => held.delete(name));
      },
    },
  } });
  t.after(() => { delete globalThis.navigator; });
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
