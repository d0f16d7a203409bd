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
const { HubbubProvider, useHub, useHubState, usePresence, useRoom } = await import('@hubbub/react');

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

test('a refusal is shown', async () => {
  await show(within(createElement(Chat)));
  await server((socket) => socket.welcome());
  await server((socket) => socket.error(socket.take('join')[0], { code: 'denied' }));
  assert.match(container.textContent, /out .* denied$/);
});

test('a hub of the application’s own stays open', async () => {
  const hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
  await show(within(createElement(Chat), { hub }));
  await show(null);
  await late();
  assert.equal(MockSocket.live.length, 1);
  hub.close();
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
