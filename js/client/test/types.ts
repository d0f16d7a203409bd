// Compiled and never run: what the types promise to an application (T10).

import { connect, type Hub, type HubbubError, type Member, type Message, type PresenceChange, type Receipt, type Room } from '@hubbub/client';
import { openOutbox } from '@hubbub/client/outbox';

interface Chat {
  send: { msg: { body: string }; typing: null; file: Uint8Array };
  on: { msg: { body: string }; file: Uint8Array };
  call: { rename: (to: string) => { ok: boolean }; count: () => number };
  answer: { confirm: (question: string) => boolean };
  stream: { tail: (lines: number) => string; all: () => Uint8Array };
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(check: Same<A, B>): void;

const hub = connect<Chat>('/ws', { token: async () => 'token', WebSocket });
const room = hub.room('chat/1');

// T10: what a component does compiles.
room.on('msg', (message) => same<typeof message, Message<{ body: string }>>(true));
room.on('gap', ({ missed }) => same<typeof missed, 'certain' | 'possible'>(true));
room.on('error', (error) => same<typeof error, HubbubError>(true));
hub.on('state', (state) => same<typeof state, 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'>(true));
const off: () => void = room.once('join', ({ members, recovered }) => [members, recovered]);
void room.send('msg', { body: 'hi' }, { ttl: 1000 });
void room.send('typing', null, { volatile: true });
void room.send('typing');
void room.send('file', new Uint8Array());
void room.send('msg', { body: 'hi' }, room.cursor === undefined ? {} : { at: room.cursor });
room.on('presence', (message) => same<typeof message, Message<PresenceChange>>(true));
room.on('presence', ({ content: { members = 0, updated = [] } }) => [members, updated.map(({ was }) => was)]);
same<typeof room.presence.list, readonly Member[]>(true);
same<typeof room.presence.count, number>(true);
hub.answer('confirm', ({ content }) => content.length > 1);
hub.answer('confirm', async ({ content }) => content.length > 1);
off();
void room.join().then(({ gap }) => gap?.missed);
void room.join({ name: 'Ana' }, { since: room.cursor });
// @ts-expect-error: a cursor is a string
void room.join({ name: 'Ana' }, { since: 7 });

async function results() {
  const renamed = await room.call('rename', 'Ben', { timeout: 1000, signal: new AbortController().signal });
  same<typeof renamed, { ok: boolean }>(true);
  const count = await hub.call('count');
  same<typeof count, number>(true);
  for await (const { content } of room.messages('file')) same<typeof content, Uint8Array>(true);
  for await (const line of room.stream('tail', 10, { signal: AbortSignal.timeout(1000) })) same<typeof line, string>(true);
  for await (const part of hub.stream('all')) same<typeof part, Uint8Array>(true);
  const receipt = await room.send('msg', { body: 'hi' });
  same<typeof receipt, Receipt>(true);
  const { status, cursor } = receipt;
  same<typeof status, 'acked' | 'sent' | 'dropped'>(true);
  same<typeof cursor, string | undefined>(true);
  const outbox = await openOutbox(hub, { name: 'chat' });
  await outbox.send(room, 'msg', { body: 'later' });
  await outbox.send(hub, 'typing');
  await outbox.send(room, 'typing', null);
  // @ts-expect-error: content of another type
  await outbox.send(room, 'msg', 1);
  // @ts-expect-error: content is missing
  await outbox.send(room, 'msg');
  // @ts-expect-error: there are no options
  await outbox.send(room, 'msg', { body: 'later' }, { ttl: 1000 });
  const anything = await openOutbox(plain);
  await anything.send(plain, 'anything');
  await anything.send(plain.room('r'), 'anything', { n: 1 });
}
void results;

// @ts-expect-error: no such type to send
void room.send('mgs', { body: 'hi' });
// @ts-expect-error: wrong content
void room.send('msg', { text: 'hi' });
// @ts-expect-error: content is missing
void room.send('msg');
// @ts-expect-error: nobody sends that
room.on('typing', () => {});
// @ts-expect-error: wrong content of a call
void room.call('rename', 1);
// @ts-expect-error: wrong content of a stream
room.stream('tail', 'ten');
// @ts-expect-error: no such stream
room.stream('tial', 10);
// @ts-expect-error: wrong answer
hub.answer('confirm', () => 'yes');
// @ts-expect-error: no such option
connect('/ws', { reconnect: true });
// @ts-expect-error: the state is not the application's
hub.state = 'closed';

// Without an Api everything is allowed, and content is unknown.
const plain: Hub = connect('ws://127.0.0.1/ws');
plain.on('anything', ({ content }) => same<typeof content, unknown>(true));
void plain.room('r').send('anything', { n: 1 });
for (const stream of [plain.stream('anything'), plain.room('r').stream('anything', { n: 1 })]) same<typeof stream, AsyncIterableIterator<unknown>>(true);
void plain.call('anything').then((result) => same<typeof result, unknown>(true));
const untyped: Room = connect('/ws').room('r');
untyped.presence.list.map(({ from }) => from);
