// The hooks in a React that mounts everything twice.

import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';
import { Window } from 'happy-dom';
import { connect } from '@hubbub/client';
import { MockSocket, settle } from '../../client/test/world.mjs';

const window = new Window();
Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
Object.defineProperty(globalThis, 'navigator', { value: window.navigator, configurable: true });
const { act, createElement, StrictMode } = await import('react');
const { createRoot } = await import('react-dom/client');
const { renderToString } = await import('react-dom/server');
const { HubbubProvider, useHub, useHubState, usePresence, usePresenceCount, useRoom } = await import('@hubbub/react');

let tree, container;

beforeEach(() => {
  MockSocket.all = [];
  container = document.createElement('div');
  tree = createRoot(container);
});
afterEach(async () => {
  await show(null);
  await late();
});
after(() => window.close());

const late = () => act(() => new Promise((resolve) => setTimeout(resolve, 1)));
const show = (element) => act(() => tree.render(createElement(StrictMode, null, element)));
const within = (child, props = { url: 'ws://chat.example/ws', options: { WebSocket: MockSocket } }) =>
  createElement(HubbubProvider, props, child);
const server = (fn) => act(async () => {
  fn(MockSocket.last);
  await settle();
});
const admit = (content) => server((socket) => socket.ack(socket.take('join')[0], content));

function Chat({ name = 'chat/1', heard = [], label = '' }) {
  const { room, joined, error } = useRoom(name, { content: { name: 'Ana' }, on: { msg: ({ content }) => heard.push(label + content) } });
  const people = usePresence(room);
  return `${useHubState()} ${joined ? 'in' : 'out'} ${name} ${people.map(({ from }) => from)} ${error?.code ?? ''}`;
}

test('StrictMode makes one connection and one join, and closes after the unmount', async () => {
  await show(within(createElement(Chat)));
  await late();
  assert.equal(MockSocket.all.length, 1);
  await server((socket) => socket.welcome());
  assert.deepEqual(MockSocket.last.sent.map(({ type, content }) => [type, content]), [['join', { name: 'Ana' }]]);
  await admit({ members: 2, presence: [{ from: 'ana' }, { from: 'ben' }] });
  assert.match(container.textContent, /^connected in chat\/1 ana,ben/);
  await show(null);
  await late();
  assert.equal(MockSocket.live.length, 0);
  assert.equal(MockSocket.all.length, 1);
});

test('handlers are those of the last render', async () => {
  const heard = [];
  await show(within(createElement(Chat, { heard, label: 'a' })));
  await server((socket) => socket.welcome());
  await admit({});
  await server((socket) => socket.frame({ type: 'msg', room: 'chat/1', content: 1 }));
  await show(within(createElement(Chat, { heard, label: 'b' })));
  await server((socket) => socket.frame({ type: 'msg', room: 'chat/1', content: 2 }));
  assert.deepEqual(heard, ['a1', 'b2']);
});

test('two components share a room; the last one leaves it', async () => {
  const both = [createElement(Chat, { key: 1 }), createElement(Chat, { key: 2 })];
  await show(within(both));
  await server((socket) => socket.welcome());
  await admit({});
  await show(within(both.slice(1)));
  await late();
  assert.deepEqual(MockSocket.last.take(), []);
  await show(within([]));
  await late();
  assert.deepEqual(MockSocket.last.take().map(({ type }) => type), ['leave']);
});

test('another name is another room', async () => {
  await show(within(createElement(Chat)));
  await server((socket) => socket.welcome());
  await admit({});
  await show(within(createElement(Chat, { name: 'chat/2' })));
  await late();
  assert.deepEqual(MockSocket.last.take().map(({ type, room }) => [type, room]), [['join', 'chat/2'], ['leave', 'chat/1']]);
});

test('the list follows batches, the count also where there is no list, and who shows neither is left alone', async () => {
  const batch = (content) => server((socket) => socket.frame({ type: 'presence', room: 'chat/1', content }));
  const renders = { list: 0, count: 0, chat: 0 };
  const seen = (kind, text) => { renders[kind]++; return `${text} `; };
  function List() { return seen('list', usePresence(useHub().room('chat/1')).map(({ from }) => from).join('+')); }
  function Count() { return seen('count', usePresenceCount(useHub().room('chat/1'))); }
  function Other() { useRoom('chat/1'); return seen('chat', 'chat'); }
  await show(within([List, Count, Other].map((one, key) => createElement(one, { key }))));
  await late();
  await server((socket) => socket.welcome());
  await admit({ members: 1, presence: [{ from: 'me' }] });
  const before = renders.chat;
  await batch({ members: 3, joined: [{ from: 'ana' }, { from: 'ben' }] });
  assert.equal(container.textContent, 'me+ana+ben 3 chat ');
  const counted = renders.count;
  await batch({ members: 3, updated: [{ from: 'ben2', was: 'ben' }] });
  assert.equal(container.textContent, 'me+ana+ben2 3 chat ');
  assert.deepEqual([renders.count, renders.chat], [counted, before]); // the number is the same
  await server((socket) => socket.end());
  assert.match(container.textContent, /^me\+ana\+ben2 3/); // until the next list says otherwise
});

test('a room that only counts renders again with each count', async () => {
  function Count() {
    const { room } = useRoom('chat/1');
    return `${usePresenceCount(room)} of ${usePresence(room).length}`;
  }
  await show(within(createElement(Count)));
  await server((socket) => socket.welcome());
  await admit({ members: 1200 });
  for (const members of [1201, 1199]) {
    await server((socket) => socket.frame({ type: 'presence', room: 'chat/1', content: { members } }));
    assert.equal(container.textContent, `${members} of 0`);
  }
});

test('StrictMode continues one session and one history after a reconnect', async () => {
  const heard = [];
  const url = 'ws://chat.example/ws';
  await show(within(createElement(Chat, { heard }), { url, options: { WebSocket: MockSocket, retryMin: 1, retryMax: 1 } }));
  await late();
  await server((socket) => socket.welcome());
  await admit({ members: 1, cursor: 'c0' });
  await server((socket) => socket.frame({ type: 'msg', room: 'chat/1', content: 1, cursor: 'c1' }));
  const dialled = new Promise((resolve) => { MockSocket.onNew = resolve; });
  await server((socket) => socket.end());
  await act(() => dialled);
  MockSocket.onNew = undefined;
  assert.equal(MockSocket.all.length, 2);
  await server((socket) => socket.welcome());
  assert.deepEqual(MockSocket.last.sent.map(({ type, since }) => [type, since]), [['auth', undefined], ['join', 'c1']]);
  await admit({ members: 1, cursor: 'c1', recovered: true });
  await server((socket) => socket.frame({ type: 'msg', room: 'chat/1', content: 2, cursor: 'c2' }));
  assert.deepEqual(heard, ['1', '2']);
});

test('a refusal is shown', async () => {
  await show(within(createElement(Chat)));
  await server((socket) => socket.welcome());
  await server((socket) => socket.error(socket.take('join')[0], { code: 'denied' }));
  assert.match(container.textContent, /out .* denied$/);
});

const pass = (ms) => act(() => new Promise((resolve) => setTimeout(resolve, ms)));
const options = { WebSocket: MockSocket, retryMin: 1, retryMax: 1 };
const url = 'ws://chat.example/ws';

test('a first join that the server puts off is tried again, once for all that use the room', async () => {
  await show(within([createElement(Chat, { key: 1 }), createElement(Chat, { key: 2 })]));
  await server((socket) => socket.welcome());
  await server((socket) => socket.error(socket.take('join')[0], { code: 'unavailable', retryAfter: 20 }));
  assert.match(container.textContent, /out chat\/1 {2}unavailable/);
  await pass(30);
  const joins = MockSocket.last.take('join');
  assert.equal(joins.length, 1);
  await server((socket) => socket.ack(joins[0], {}));
  assert.match(container.textContent, /^connected in chat\/1 {2}connected in chat\/1 {2}$/);
});

test('nor is it tried again by what is unmounted', async () => {
  await show(within(createElement(Chat)));
  await server((socket) => socket.welcome());
  await server((socket) => socket.error(socket.take('join')[0], { code: 'timeout', retryAfter: 1_000 }));
  await show(within(null));
  await pass(1_100);
  assert.deepEqual(MockSocket.last.take('join'), []);
});

test('a refusal is the last word, over reconnects too', async () => {
  await show(within(createElement(Chat), { url, options }));
  await server((socket) => socket.welcome());
  await server((socket) => socket.error(socket.take('join')[0], { code: 'denied', retryAfter: 1 }));
  await server((socket) => socket.end());
  await pass(10);
  await server((socket) => socket.welcome());
  assert.deepEqual(MockSocket.last.take('join'), []);
  assert.match(container.textContent, /denied$/);
});

test('a closed hub that connects again joins, whether it was closed before the mount or during the join', async () => {
  const hub = connect(url, { WebSocket: MockSocket });
  hub.close();
  await show(within(createElement(Chat), { hub }));
  for (const last of [false, true]) {
    await act(async () => hub.connect());
    await server((socket) => socket.welcome());
    if (last) await admit({});
    else await act(async () => hub.close());
  }
  assert.match(container.textContent, /^connected in chat\/1 {2}$/);
  hub.close();
});

test('who is taken out, or not let in again, is told why, and does not join by itself', async () => {
  const hub = connect(url, options);
  hub.on('error', () => {});
  await show(within(createElement(Chat), { hub }));
  await server((socket) => socket.welcome({ id: 'me' }));
  await admit({});
  await server((socket) => socket.frame({ type: 'left', room: 'chat/1', from: 'me' }));
  assert.match(container.textContent, /^connected out .* not_member$/);
  await late();
  assert.deepEqual(MockSocket.last.take(), []);
  await act(async () => { hub.room('chat/1').join(); });
  await admit({});
  assert.match(container.textContent, /^connected in chat\/1 {2}$/);
  await server((socket) => socket.end());
  await pass(10);
  await server((socket) => socket.welcome());
  await server((socket) => socket.error(socket.take('join')[0], { code: 'denied' }));
  assert.match(container.textContent, /^connected out .* denied$/);
  hub.close();
});

test('an error of the room that lets us stay is not why we are not in', async () => {
  const hub = connect(url, { WebSocket: MockSocket });
  const errors = [];
  hub.on('error', ({ code }) => errors.push(code));
  await show(within(createElement(Chat), { hub }));
  await server((socket) => socket.welcome());
  await admit({});
  await server((socket) => socket.error({ room: 'chat/1' }, { code: 'rate_limited' })); // of a volatile message
  assert.match(container.textContent, /^connected in chat\/1 {2}$/);
  assert.deepEqual(errors, ['rate_limited']);
  hub.close();
});

test('a hub of the application’s own stays open', async () => {
  const hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
  await show(within(createElement(Chat), { hub }));
  await show(null);
  await late();
  assert.equal(MockSocket.live.length, 1);
  hub.close();
});

test('a server renders a relative url, though it has no page', () => {
  assert.equal(globalThis.location, undefined);
  const html = renderToString(within(createElement(Chat), { url: '/ws' }));
  assert.match(html, /^idle out/);
  assert.equal(MockSocket.all.length, 0);
});

test('useHub without a provider says what is missing', async () => {
  let error;
  function Alone() {
    try { useHub(); } catch (caught) { error = caught; }
    return null;
  }
  await show(createElement(Alone));
  assert.match(error.message, /HubbubProvider/);
});
