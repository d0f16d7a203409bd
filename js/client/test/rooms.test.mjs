// Rooms over connections that come and go. The server's side of history does not
// exist yet; the script here says what docs/protocol.md reserves.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { connect } from '@hubbub/client';
import { begin, end, MockSocket, outcome, pass, settle, untilNext } from './world.mjs';

let hub, room, events, errors;

beforeEach(() => {
  begin();
  errors = [];
  hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
  hub.on('error', (error) => errors.push(error));
  room = hub.room('chat/1');
  events = [];
  for (const event of ['join', 'leave', 'gap', 'msg']) {
    room.on(event, (value) => events.push(event === 'msg' ? value.content : [event, value]));
  }
});
afterEach(() => {
  hub.close();
  end();
});

const up = () => MockSocket.last.welcome();
const again = () => {
  MockSocket.last.end();
  untilNext();
  return up();
};
/** Acknowledges the last join. */
const admit = (socket, content = { members: 1 }) => {
  const [join] = socket.take('join');
  socket.ack(join, content);
  return join;
};
const msg = (socket, content, cursor) => socket.frame({ type: 'msg', room: 'chat/1', from: 'ben', content, cursor });

describe('membership', () => {
  test('a join waits for the connection, carries its content and tells the answer', async () => {
    const joined = outcome(room.join({ name: 'Ana' }));
    assert.equal(room.join(), room.join());
    const join = admit(up(), { members: 3 });
    assert.deepEqual([join.room, join.content], ['chat/1', { name: 'Ana' }]);
    await settle();
    assert.deepEqual(joined.now, { value: { members: 3 } });
    assert.equal(room.joined, true);
    assert.deepEqual(MockSocket.last.take(), []);
  });

  test('T9: a refused join rejects with the code; the room may be tried again', async () => {
    const socket = up();
    const refused = room.join();
    socket.error(socket.take()[0], { code: 'denied', message: 'log in first' });
    await assert.rejects(refused, { code: 'denied', message: 'log in first' });
    assert.equal(again().take().length, 0);
    const second = room.join();
    admit(MockSocket.last);
    await second;
  });

  test('T15: two rooms are both, and leaving one keeps the other', async () => {
    const socket = up();
    const [r1, r2] = [hub.room('r1'), hub.room('r2')];
    const seen = [];
    for (const r of [r1, r2]) {
      r.on('msg', ({ room }) => seen.push(room));
      const joined = r.join();
      admit(socket);
      await joined;
    }
    const left = r1.leave();
    const [leave] = socket.take();
    assert.deepEqual([leave.type, leave.room], ['leave', 'r1']);
    for (const name of ['r1', 'r2']) socket.frame({ type: 'msg', room: name });
    socket.ack(leave);
    await left;
    assert.deepEqual(seen, ['r2']);
    assert.deepEqual([r1.joined, r2.joined], [false, true]);
    await r1.leave.call(hub.room('r3')); // never joined: nothing to do
  });

  test('T19: a post to a room that one is not in rejects with not_member', async () => {
    const socket = up();
    const sent = hub.room('elsewhere').send('msg', 'psst');
    const [frame] = socket.take();
    socket.error(frame, { code: 'not_member', message: 'join the room first' });
    await assert.rejects(sent, { code: 'not_member' });
  });

  test('rooms are joined again before anything that waits is sent', () => {
    const [a, b] = [room, hub.room('chat/2')];
    a.join(1);
    b.join(2);
    const socket = up();
    for (const join of socket.take()) socket.ack(join, {});
    socket.end();
    a.send('msg', 'queued').catch(() => {});
    pass(1000);
    const frames = up().take().map(({ type, room: name, content }) => [type, name, content]);
    assert.deepEqual(frames, [['join', 'chat/1', 1], ['join', 'chat/2', 2], ['msg', 'chat/1', 'queued']]);
  });

  test('a connection lost during a join only delays it; the end rejects it', async () => {
    const joined = outcome(room.join());
    up();
    const socket = again();
    await settle();
    assert.equal(joined.now, undefined);
    admit(socket);
    await settle();
    assert.ok(joined.now.value);
    const other = outcome(hub.room('other').join());
    hub.close();
    await settle();
    assert.equal(other.now.code, 'closed');
    await assert.rejects(hub.room('late').join(), { code: 'closed' });
  });

  test('leave while joining rejects the join; the late answer changes nothing', async () => {
    const socket = up();
    const joined = outcome(room.join());
    const [join] = socket.take();
    room.leave();
    socket.ack(join, { members: 1 });
    await settle();
    assert.deepEqual([joined.now.code, room.joined], ['closed', false]);
    assert.equal(again().take('join').length, 0);
  });

  test('not let in again: a passing error is retried, another ends the membership and is told', async () => {
    room.on('error', (error) => events.push(error.code));
    const joined = room.join();
    admit(up());
    await joined;
    const socket = again();
    socket.error(socket.take('join')[0], { code: 'rate_limited', retryAfter: 300 });
    pass(301);
    socket.error(socket.take('join')[0], { code: 'unavailable' });
    pass(2001);
    events = [];
    socket.error(socket.take('join')[0], { code: 'denied' });
    assert.deepEqual(events, [['leave', undefined], 'denied']);
    pass(60_000);
    assert.deepEqual(socket.take('join'), []);
  });

  test('a join that the server does not answer times out', async () => {
    const socket = up();
    const joined = outcome(room.join());
    for (let i = 0; i < 2; i++) {
      pass(5001);
      socket.frame({ type: 'x' });
    }
    await settle();
    assert.equal(joined.now.code, 'timeout');
  });

  test('an error without id that names the room is the room’s', () => {
    const socket = up();
    room.join();
    admit(socket);
    socket.error({ room: 'chat/1' }, { code: 'internal' });
    assert.equal(errors[0].code, 'internal'); // nobody listens at the room
    room.on('error', (error) => events.push(error.code));
    socket.error({ room: 'chat/1' }, { code: 'invalid' });
    assert.equal(events.at(-1), 'invalid');
  });

  test('messages() of a room ends when it is left', async () => {
    const socket = up();
    room.join();
    admit(socket);
    const all = [];
    const loop = (async () => { for await (const { content } of room.messages('msg')) all.push(content); })();
    msg(socket, 1);
    room.leave();
    msg(socket, 2);
    await loop;
    assert.deepEqual(all, [1]);
  });
});

describe('presence', () => {
  test('T13: list and count are right over 100 random arrivals and departures', () => {
    const socket = up();
    room.join();
    admit(socket, { members: 1, presence: [{ from: 'me' }] });
    const model = new Set(['me']);
    let changes = 0;
    room.presence.subscribe(() => changes++);
    for (let i = 0, seed = 3; i < 100; i++) {
      seed = (seed * 48_271) % 2_147_483_647;
      const from = `p${seed % 10}`;
      const type = model.has(from) ? 'left' : 'joined';
      if (type === 'left') model.delete(from); else model.add(from);
      socket.frame({ type, room: 'chat/1', from, content: { n: i } });
      assert.equal(room.presence.count, model.size);
      assert.deepEqual(room.presence.list.map((member) => member.from).sort(), [...model].sort());
    }
    assert.equal(changes, 100);
  });

  test('a new list replaces the old one; a room too large for a list still counts', () => {
    const socket = up();
    room.join();
    admit(socket, { members: 2, presence: [{ from: 'a', user: 'u' }, { from: 'me' }] });
    assert.equal(room.presence.list[0].user, 'u');
    admit(again(), { members: 5000 });
    assert.deepEqual([room.presence.list, room.presence.count], [[], 5000]);
    room.leave();
    assert.equal(room.presence.count, 0);
  });
});

describe('what was missed', () => {
  test('a room without cursors: possibly missed, after a reconnect and not before', async () => {
    const joined = room.join();
    admit(up());
    assert.equal((await joined).gap, undefined);
    admit(again());
    const gap = { missed: 'possible', reason: undefined, cursor: undefined };
    assert.deepEqual(events, [['join', { members: 1 }], ['join', { members: 1, gap }], ['gap', gap]]);
  });

  test('a recovered room continues after the last processed message, in order, without a gap', () => {
    room.join();
    const first = up();
    admit(first, { cursor: 'c0' });
    msg(first, 'one', 'c1');
    msg(first, 'two', 'c2');
    events = [];
    const second = again();
    const join = admit(second, { recovered: true, cursor: 'c4' });
    assert.equal(join.since, 'c2');
    msg(second, 'three', 'c3');
    second.end(); // in the middle: what was processed counts, not what was promised
    pass(1000);
    const third = up();
    assert.equal(admit(third, { recovered: true }).since, 'c3');
    msg(third, 'four', 'c4');
    msg(third, 'live', 'c5');
    assert.deepEqual(events.filter((event) => typeof event === 'string'), ['three', 'four', 'live']);
    assert.equal(events.some(([event]) => event === 'gap'), false);
    assert.equal(events.find(([event]) => event === 'join')[1].recovered, true);
  });

  test('the cursor of the join counts for a room in which nothing happened', () => {
    room.join();
    admit(up(), { cursor: 'c0' });
    assert.equal(admit(again(), { recovered: true }).since, 'c0');
    assert.equal(admit(again(), { recovered: true }).since, 'c0');
  });

  test('a room that could not be recovered says why and continues from its new cursor', () => {
    room.join();
    admit(up(), { cursor: 'old' });
    for (const reason of ['window', 'epoch', 'regress']) {
      assert.ok(admit(again(), { recovered: false, reason, cursor: `new-${reason}` }).since);
      assert.deepEqual(events.at(-1), ['gap', { missed: 'certain', reason, cursor: `new-${reason}` }]);
    }
    assert.equal(admit(again(), { recovered: true }).since, 'new-regress');
  });

  test('a gap while connected is told before what follows it', () => {
    room.join();
    const socket = up();
    admit(socket, { cursor: 'c0' });
    events = [];
    socket.frame({ type: 'gap', room: 'chat/1', content: { recovered: false, reason: 'window', cursor: 'c7' } });
    msg(socket, 'eight', 'c8');
    assert.deepEqual(events, [['gap', { missed: 'certain', reason: 'window', cursor: 'c7' }], 'eight']);
    assert.equal(admit(again(), { recovered: true }).since, 'c8');
  });

  test('a message that comes twice is delivered once; after another epoch nothing is confused', () => {
    room.join();
    const socket = up();
    admit(socket, { cursor: 'c0' });
    events = [];
    for (const cursor of ['c1', 'c2', 'c1', 'c2', 'c3']) msg(socket, cursor, cursor);
    assert.deepEqual(events, ['c1', 'c2', 'c3']);
    admit(again(), { recovered: false, reason: 'epoch', cursor: 'c0' });
    msg(MockSocket.last, 'anew', 'c1');
    assert.equal(events.at(-1), 'anew');
  });

  test('a lost ack is healed by the resume: the own message comes back as its ack', async () => {
    room.join();
    const first = up();
    admit(first, { cursor: 'c0' });
    const sent = outcome(room.send('msg', 'mine'));
    const [{ id }] = first.take('msg');
    const second = again();
    admit(second, { recovered: true });
    second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' });
    second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' }); // and the answer to the repetition
    await settle();
    assert.deepEqual(sent.now, { value: 'acked' });
    assert.equal(admit(again(), { recovered: true }).since, 'c1');
  });

  test('what is left and joined anew starts without a past', () => {
    room.join();
    const socket = up();
    admit(socket, { cursor: 'c0' });
    room.leave();
    socket.take();
    room.join();
    assert.equal('since' in admit(socket, { cursor: 'c9' }), false);
    assert.equal(events.some(([event]) => event === 'gap'), false);
  });
});
