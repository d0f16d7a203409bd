// Rooms over connections that come and go.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
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
  });

  test('T19: a post to a room that one is not in rejects with not_member', async () => {
    const socket = up();
    const sent = hub.room('elsewhere').send('msg', 'psst');
    const [frame] = socket.take();
    socket.error(frame, { code: 'not_member', message: 'join the room first' });
    await assert.rejects(sent, { code: 'not_member' });
  });

  const sentBy = (socket) => socket.take().map(({ type, room: name, content }) => [type, name, content]);

  test('rooms are joined again before anything that waits is sent, and hold nobody else up', () => {
    const [a, b] = [room, hub.room('chat/2')];
    a.join(1);
    b.join(2);
    const first = up();
    for (const join of first.take()) first.ack(join, {});
    first.end();
    for (const place of [a, b, hub, a]) place.send('msg', 'queued').catch(() => {});
    pass(4000);
    const socket = up();
    const joins = socket.take('join');
    assert.deepEqual(joins.map(({ room: name, content }) => [name, content]), [['chat/1', 1], ['chat/2', 2]]);
    assert.deepEqual(socket.sent.slice(3).map(({ type, room: name }) => [type, name]), [['msg', undefined]]);
    socket.ack(joins[1], {});
    assert.deepEqual(sentBy(socket), [['msg', 'chat/2', 'queued']]);
    socket.ack(joins[0], {});
    assert.deepEqual(sentBy(socket), [['msg', 'chat/1', 'queued'], ['msg', 'chat/1', 'queued']]);
  });

  test('while a join is tried again, what is for the room waits, in its order', async () => {
    room.join();
    const first = up();
    admit(first);
    const left = outcome(room.send('msg', 1)); // and its answer is lost
    first.end();
    const queued = outcome(room.send('msg', 2));
    untilNext();
    const socket = up();
    for (const code of ['rate_limited', 'unavailable']) {
      socket.error(socket.take('join')[0], { code, retryAfter: 500 });
      room.call('ask', code, { timeout: 400 }).catch(() => {});
      assert.deepEqual(await room.send('typing', null, { volatile: true }), { status: 'dropped' });
      pass(501);
    }
    room.on('join', () => room.send('msg', 4).catch(() => {}));
    room.send('msg', 3).catch(() => {});
    const frames = socket.take();
    assert.deepEqual(frames.map(({ type }) => type).filter((type) => type !== 'leave'), ['join']);
    await settle();
    assert.deepEqual([left.now, queued.now], [undefined, undefined]);
    socket.ack(frames.at(-1), { members: 1 });
    const msgs = socket.take();
    assert.deepEqual(msgs.map(({ content }) => content), [1, 2, 3, 4]);
    for (const frame of msgs) socket.ack(frame);
    await settle();
    assert.deepEqual([left, queued].map(({ now }) => now.value.status), ['acked', 'acked']);
  });

  test('what waits for a room that is left, or does not let the client in again, is closed', async () => {
    room.on('error', () => {});
    room.join();
    admit(up());
    MockSocket.last.end();
    const queued = outcome(room.send('msg', 1));
    untilNext();
    up();
    room.leave().catch(() => {});
    await settle();
    assert.equal(queued.now.code, 'closed');
    const refused = [outcome(room.join()), outcome(room.send('msg', 2))];
    const socket = MockSocket.last;
    socket.error(socket.take('join').at(-1), { code: 'denied' });
    await settle();
    assert.deepEqual(refused.map(({ now }) => now.code), ['denied', 'closed']);
    assert.deepEqual(socket.take('msg'), []);
  });

  test('what went to a room before it was left is answered, or unknown with its connection', async () => {
    room.join();
    const socket = up();
    admit(socket);
    const sends = [1, 2, 3].map((n) => outcome(room.send('msg', n, { ttl: 3000 })));
    const frames = socket.take('msg');
    room.leave();
    socket.ack(frames[0]);
    await settle();
    assert.deepEqual([sends[0].now.value.status, sends[1].now], ['acked', undefined]);
    socket.error(frames[2], { code: 'not_member' }); // the server has taken us out meanwhile
    const late = outcome(hub.room('chat/2').send('msg', 4));
    assert.deepEqual(again().take('msg').map(({ content }) => content), [4]);
    await settle();
    assert.deepEqual(sends.map(({ now }) => now.code), [undefined, 'unknown', 'not_member']);
    assert.equal(late.now, undefined);
  });

  test('what went to a room that was left is unknown when its time is over', async () => {
    room.join();
    admit(up());
    const sent = outcome(room.send('msg', 1, { ttl: 100 }));
    room.leave();
    pass(101);
    await settle();
    assert.equal(sent.now.code, 'unknown');
  });

  test('what is sent again and refused as no member’s is unknown: the first try may have been handled', async () => {
    const elsewhere = hub.room('elsewhere');
    up();
    const sent = outcome(elsewhere.send('msg', 1));
    const socket = again();
    const fresh = outcome(elsewhere.send('msg', 2));
    for (const frame of socket.take('msg')) socket.error(frame, { code: 'not_member' });
    await settle();
    assert.deepEqual([sent, fresh].map(({ now }) => now.code), ['unknown', 'not_member']);
  });

  test('a join without a place that is refused for it is refused', async () => {
    const socket = up();
    const refused = room.join();
    socket.error(socket.take('join')[0], { code: 'invalid', field: 'since' });
    await assert.rejects(refused, { code: 'invalid' });
    assert.deepEqual(socket.take(), []);
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

  test('the refusal of an earlier join, and the wait that it asked for, are over with that', async () => {
    const socket = up();
    const refused = outcome(room.join());
    const [early] = socket.take('join');
    room.leave().catch(() => {});
    const joined = outcome(room.join());
    socket.error(early, { code: 'denied' });
    await settle();
    assert.deepEqual([refused.now.code, joined.now], ['closed', undefined]);
    admit(socket);
    await settle();
    assert.ok(joined.now.value);
    const next = again();
    next.error(next.take('join')[0], { code: 'rate_limited', retryAfter: 300 });
    room.leave().catch(() => {});
    room.join().catch(() => {});
    assert.equal(next.take('join').length, 1);
    pass(301);
    assert.equal(next.take('join').length, 0);
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
    assert.deepEqual([events[0][0], events[0][1].code, events[1]], ['leave', 'denied', 'denied']);
    pass(60_000);
    assert.deepEqual(socket.take('join'), []);
  });

  test('what leaves in a listener of the join, or of its presence, hears no more of it', async () => {
    const first = outcome(room.join());
    const second = up();
    const off = room.presence.subscribe(() => {
      if (room.joined) room.leave().catch(() => {});
    });
    admit(second);
    off();
    await settle();
    assert.deepEqual([first.now.code, events], ['closed', []]);
    const leaving = [[(fn) => room.once('join', fn), ['join', 'leave']], [(fn) => room.presence.subscribe(fn), ['leave']]];
    for (const [listen, told] of leaving) {
      room.join().catch(() => {});
      admit(MockSocket.last);
      const third = again();
      events = [];
      const stop = listen(() => {
        if (room.joined) room.leave().catch(() => {});
      });
      admit(third);
      stop();
      assert.equal(room.joined, false);
      assert.deepEqual(events.map(([event]) => event), told);
    }
  });

  test('a listener of the join that closes the hub hears of the gap', () => {
    room.join();
    admit(up(), { cursor: 'c0' });
    room.once('join', () => hub.close());
    admit(again(), { recovered: false, reason: 'window', cursor: 'c7' });
    assert.equal(events.at(-1)[0], 'gap');
  });

  test('the wait of a join that was put off ends with its connection, so that a program can end', () => {
    hub.close();
    mock.timers.reset(); // nothing waits for real, nor is it waited for
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
    hub.room('chat/1').join();
    admit(up());
    for (let i = 0; i < 3; i++) {
      hub.close();
      assert.equal(timers(), before);
      hub.connect();
      const socket = up();
      socket.error(socket.take('join')[0], { code: 'rate_limited', retryAfter: 600_000 });
    }
    hub.close();
    assert.equal(timers(), before);
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
    // It may be heard yet, and the next join is to be one.
    room.join().catch(() => {});
    assert.deepEqual(socket.take().map(({ type }) => type), ['join', 'leave', 'join']);
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

describe('a room that the server takes the client out of', () => {
  test('tells it in its order, ends what waits for the room, and is not joined again', async () => {
    const socket = up();
    room.join();
    admit(socket);
    const told = [];
    room.on('left', ({ from }) => told.push(from));
    const loop = (async () => { for await (const { content } of room.messages('msg')) told.push(content); })();
    msg(socket, 'before');
    socket.frame({ type: 'left', room: 'chat/1', from: 'ben' });
    assert.equal(room.joined, true);
    socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
    await loop;
    assert.deepEqual(told, ['ben', hub.id, 'before']);
    assert.deepEqual([events[1], events[2][0], events[2][1].code], ['before', 'leave', 'not_member']);
    assert.deepEqual([room.joined, errors], [false, []]);
    const refused = outcome(room.send('msg', 'after'));
    const [sent] = socket.take('msg');
    socket.error(sent, { code: 'not_member' });
    await settle();
    assert.equal(refused.now.code, 'not_member');
    assert.deepEqual(again().take(), []);
  });

  for (const joined of [true, false]) {
    test(`may be joined again in a handler of that, ${joined ? 'a member' : 'put in by the server'}`, async () => {
      const socket = up();
      const told = [];
      for (const event of ['left', 'leave', 'join']) room.on(event, () => told.push(event));
      room.on('left', () => { joins.push(outcome(room.join())); });
      const joins = [];
      const loop = (async () => { for await (const { from } of room.messages('left')) told.push(from); })();
      if (joined) {
        room.join();
        admit(socket, { members: 1, cursor: 'c1' });
      }
      msg(socket, 'two', 'c2');
      socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
      assert.equal('since' in admit(socket, { members: 1, cursor: 'c3' }), false);
      await loop;
      await settle();
      assert.deepEqual([room.joined, joins.map(({ now }) => now.value?.cursor)], [true, ['c3']]);
      assert.deepEqual(told, [...(joined ? ['join', 'left', 'leave'] : ['left']), 'join', hub.id]);
    });
  }

  test('may be joined again in a handler of that, whose loop is of the next membership', async () => {
    const told = [];
    const loop = async (name) => {
      for await (const { content } of room.messages('msg')) told.push(`${name}: ${content}`);
      told.push(`${name} ended`);
    };
    room.on('left', () => {
      room.join().catch(() => {});
      loop('second');
    });
    const socket = up();
    room.join();
    admit(socket);
    loop('first');
    msg(socket, 'before');
    socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
    await settle();
    admit(socket);
    msg(socket, 'after');
    await settle();
    assert.deepEqual(told, ['first: before', 'first ended', 'second: after']);
  });

  test('may be joined again, without a past, also where an own message is answered after that', async () => {
    const socket = up();
    room.join();
    admit(socket, { members: 1, cursor: 'c1' });
    const sent = outcome(room.send('quit', 'bye'));
    socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
    socket.ack(socket.take('quit')[0], undefined, { cursor: 'c2' });
    await settle();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c2', undefined]);
    room.join().catch(() => {});
    assert.equal('since' in admit(socket, { members: 1, cursor: 'c9' }), false);
    assert.deepEqual(events.map(([event]) => event), ['join', 'leave', 'join']);
  });

  test('may be joined again, without a past', async () => {
    const socket = up();
    room.join();
    admit(socket, { members: 1, cursor: 'c1' });
    msg(socket, 'two', 'c2');
    socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
    const joined = outcome(room.join());
    assert.equal('since' in admit(socket, { members: 1, cursor: 'c2' }), false);
    await settle();
    assert.deepEqual(joined.now.value, { members: 1, cursor: 'c2' });
    assert.deepEqual(events.map((event) => event[0] ?? event), ['join', 't', 'leave', 'join']);
  });
});

describe('a room into which the server puts the client', () => {
  const names = () => events.map((event) => Array.isArray(event) ? event[0] : event);

  test('tells its handlers what comes, once; after a reconnect the server decides anew', () => {
    const first = up();
    first.frame({ type: 'joined', room: 'chat/1', from: 'ben' });
    for (const cursor of ['c1', 'c1', 'c2']) msg(first, cursor, cursor);
    first.frame({ type: 'gap', room: 'chat/1', content: { recovered: false, reason: 'window', cursor: 'c7' } });
    msg(first, 'after', 'c8');
    assert.deepEqual([names(), room.joined, room.cursor, room.presence.count], [['c1', 'c2', 'gap', 'after'], false, 'c8', 0]);
    const second = again();
    assert.deepEqual(second.take(), []);
    msg(second, 'again', 'c9');
    assert.equal(events.at(-1), 'again');
  });

  test('may be joined, from when on the membership is the client’s, and goes on where it was', () => {
    const socket = up();
    msg(socket, 'before', 'c1');
    room.join();
    msg(socket, 'too early', 'c2');
    socket.frame({ type: 'gap', room: 'chat/1', content: { recovered: false, reason: 'window', cursor: 'c7' } });
    assert.equal(admit(socket, { members: 2, cursor: 'c1', recovered: true }).since, 'c1');
    for (const cursor of ['c1', 'c2', 'c3']) msg(socket, cursor, cursor);
    assert.deepEqual(names(), ['before', 'join', 'c2', 'c3']);
    assert.equal(admit(again(), { recovered: true }).since, 'c3');
  });

  test('may be joined in the handler of a message, and goes on after that one', () => {
    room.on('msg', ({ content }) => { if (content === 'c2') room.join().catch(() => {}); });
    const socket = up();
    for (const cursor of ['c1', 'c2', 'c3']) msg(socket, cursor, cursor);
    assert.equal(room.cursor, 'c2');
    assert.equal(admit(socket, { cursor: 'c2', recovered: true }).since, 'c2');
    for (const cursor of ['c3', 'c4']) msg(socket, cursor, cursor);
    assert.deepEqual([names(), room.cursor], [['c1', 'c2', 'join', 'c3', 'c4'], 'c4']);
  });

  test('counts an own message where something was heard before, and not alone', () => {
    const socket = up();
    for (const cursor of [undefined, 'c1']) {
      room.send('msg', 'mine').catch(() => {});
      if (cursor) msg(socket, 'before', cursor);
      socket.ack(socket.take('msg')[0], undefined, { cursor: 'c2' });
      assert.equal(room.cursor, cursor && 'c2');
    }
  });

  test('may be joined, and what no history has goes on meanwhile', () => {
    const socket = up();
    msg(socket, 'before');
    room.join();
    msg(socket, 'meanwhile');
    socket.frame({ type: 'left', room: 'chat/1', from: hub.id }); // which the join answers
    admit(socket, { members: 2 });
    msg(socket, 'after');
    assert.deepEqual(names(), ['before', 'meanwhile', 'join', 'after']);
    const next = again();
    msg(next, 'of an earlier life, perhaps');
    admit(next, { members: 2 });
    assert.deepEqual(names().slice(-3), ['after', 'join', 'gap']);
  });

  test('tells who comes and goes while a join is not decided, the client too', async () => {
    const told = [];
    for (const event of ['joined', 'left', 'leave', 'gap']) room.on(event, (message) => told.push(`${event} ${message?.from}`));
    const socket = up();
    msg(socket, 'before');
    for (const decide of [(join) => socket.error(join, { code: 'denied' }), (join) => socket.ack(join, { members: 2 })]) {
      told.length = 0;
      const joined = outcome(room.join());
      for (const type of ['joined', 'left']) socket.frame({ type, room: 'chat/1', from: 'ben' });
      socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
      await settle();
      assert.equal(joined.now, undefined);
      decide(socket.take('join')[0]);
      await settle();
      assert.deepEqual(told, ['joined ben', 'left ben', `left ${hub.id}`]);
    }
    assert.equal(room.joined, true);
  });

  test('may be joined, and what is missing then is told', async () => {
    const cases = [
      [{ recovered: false, reason: 'window', cursor: 'c9' }, { missed: 'certain', reason: 'window', cursor: 'c9' }],
      [{ members: 1 }, { missed: 'possible', reason: undefined, cursor: undefined }],
    ];
    for (const [answer, gap] of cases) {
      const socket = up();
      msg(socket, 'before', 'c1');
      const joined = room.join();
      admit(socket, answer);
      assert.deepEqual([(await joined).gap, events.at(-1)], [gap, ['gap', gap]]);
      room.leave().catch(() => {});
      hub.close();
      hub.connect();
      await settle();
    }
  });

  test('may be joined where the server does not know the place any more: with a gap, not refused', () => {
    const socket = up();
    msg(socket, 'before', 'c1');
    room.join();
    socket.error(socket.take('join')[0], { code: 'invalid', field: 'since' });
    assert.equal('since' in admit(socket, { cursor: 'd1' }), false);
    assert.deepEqual(names(), ['before', 'join', 'gap']);
  });

  test('may be joined again where the first try had no answer, and goes on where it was', async () => {
    const noAnswer = [
      (socket) => {
        for (let i = 0; i < 2; i++) {
          pass(5001);
          socket.frame({ type: 'x' });
        }
        msg(socket, 'c3', 'c3'); // while the server hears that we leave
        return socket;
      },
      () => {
        hub.close();
        hub.connect();
        return up();
      },
    ];
    let socket = up();
    for (const [i, miss] of noAnswer.entries()) {
      events = [];
      msg(socket, 'c1', 'c1');
      const joined = outcome(room.join());
      msg(socket, 'c2', 'c2');
      socket = miss(socket);
      await settle();
      assert.equal(joined.now.code, ['timeout', 'closed'][i]);
      for (const leave of socket.take('leave')) socket.ack(leave);
      room.join().catch(() => {});
      assert.equal(admit(socket, { recovered: true }).since, 'c1');
      for (const cursor of ['c2', 'c3', 'c4']) msg(socket, cursor, cursor);
      assert.deepEqual(names(), ['c1', 'join', 'c2', 'c3', 'c4']);
      room.leave().catch(() => {});
      socket.ack(socket.take('leave').at(-1));
      await settle();
    }
    events = [];
    msg(socket, 'c5', 'c5');
    room.join().catch(() => {});
    room.leave().catch(() => {}); // asked for: what comes then has no past
    room.join().catch(() => {});
    const [first, second] = socket.take('join');
    assert.deepEqual([first.since, 'since' in second], ['c5', false]);
    socket.ack(second, { cursor: 'c7' });
    assert.deepEqual(names(), ['c5', 'join']);
  });

  test('tells what came while a join was refused as a gap, and goes on', async () => {
    const socket = up();
    const refused = (code) => {
      const joined = outcome(room.join());
      msg(socket, 'meanwhile', 'c2');
      socket.error(socket.take('join')[0], { code });
      return joined;
    };
    const joined = refused('denied');
    assert.deepEqual(names(), ['gap']);
    msg(socket, 'c1', 'c1');
    refused('rate_limited');
    assert.deepEqual([names(), events.at(-1)], [['gap', 'c1', 'gap'], ['gap', { missed: 'possible' }]]);
    msg(socket, 'c3', 'c3');
    const again = room.join();
    assert.equal(admit(socket, { recovered: true }).since, 'c3');
    await again;
    assert.deepEqual([joined.now.code, names()], ['denied', ['gap', 'c1', 'gap', 'c3', 'join']]);
  });

  test('tells no gap where nothing came while a join was refused', async () => {
    const socket = up();
    msg(socket, 'c1', 'c1');
    for (let i = 0; i < 2; i++) {
      const joined = outcome(room.join());
      if (i === 0) msg(socket, 'c1', 'c1'); // once more
      socket.error(socket.take('join')[0], { code: 'denied' });
      await settle();
      assert.equal(joined.now.code, 'denied');
    }
    assert.deepEqual(names(), ['c1']);
  });

  test('tells a gap where a join that was to go on further back was refused', async () => {
    const socket = up();
    const joined = outcome(room.join(undefined, { since: 'c5' }));
    socket.error(socket.take('join')[0], { code: 'unavailable' });
    await settle();
    assert.deepEqual([joined.now.code, events, room.cursor], ['unavailable', [], 'c5']); // nothing is heard yet
    msg(socket, 'no history');
    for (const cursor of ['c20', 'c21']) msg(socket, cursor, cursor);
    assert.deepEqual([names(), events[1]], [['no history', 'gap', 'c20', 'c21'], ['gap', { missed: 'possible' }]]);
    room.join().catch(() => {});
    assert.equal(admit(socket, { recovered: true }).since, 'c21');
    room.leave().catch(() => {});
    socket.ack(socket.take('leave')[0]);
    msg(socket, 'c30', 'c30');
    assert.deepEqual(names().slice(4), ['join', 'leave', 'c30']);
  });

  test('tells that gap also where the next join is refused, too, or what came was put off', async () => {
    const refuse = (code) => socket.error(socket.take('join')[0], { code });
    let socket = up();
    room.join(undefined, { since: 'c5' }).catch(() => {});
    refuse('denied');
    room.join().catch(() => {});
    refuse('denied');
    assert.deepEqual(names(), []);
    msg(socket, 'c20', 'c20');
    assert.deepEqual(names(), ['gap', 'c20']);
    hub.close();
    hub.connect();
    await settle();
    socket = up();
    room.join(undefined, { since: 'c30' }).catch(() => {});
    msg(socket, 'dropped', 'c34');
    refuse('timeout'); // it may have been heard: it leaves
    socket.ack(socket.take('leave')[0]);
    msg(socket, 'c35', 'c35');
    assert.deepEqual(names().slice(2), ['gap', 'c35']);
  });

  test('goes on where a listener of that gap joins, and is quiet where it leaves or closes', () => {
    const listen = (what) => {
      events = [];
      const socket = up();
      room.join(undefined, { since: 'c5' }).catch(() => {});
      socket.error(socket.take('join')[0], { code: 'denied' });
      room.once('gap', what);
      msg(socket, 'c20', 'c20');
      return socket;
    };
    const socket = listen(() => { room.join(); });
    assert.equal(admit(socket, { recovered: true }).since, 'c5');
    for (const cursor of ['c6', 'c20']) msg(socket, cursor, cursor);
    assert.deepEqual(names(), ['gap', 'join', 'c6', 'c20']);
    room.leave().catch(() => {});
    hub.close();
    for (const what of [() => { room.leave().catch(() => {}); }, () => hub.close()]) {
      hub.connect();
      listen(what);
      assert.deepEqual(names(), ['gap']);
      hub.close();
    }
  });

  test('tells no gap where the join that went on further back was let in', () => {
    const socket = up();
    room.join(undefined, { since: 'c5' });
    admit(socket, { recovered: true });
    room.leave().catch(() => {});
    socket.ack(socket.take('leave')[0]);
    for (const cursor of ['c20', 'c21']) msg(socket, cursor, cursor);
    assert.deepEqual(names(), ['join', 'leave', 'c20', 'c21']);
  });

  test('has not been left where it was never joined', async () => {
    const socket = up();
    msg(socket, 'before', 'c1');
    const joined = outcome(room.join());
    socket.error(socket.take('join')[0], { code: 'invalid', field: 'since' });
    socket.error(socket.take('join')[0], { code: 'denied' });
    await settle();
    assert.deepEqual([joined.now.code, names()], ['denied', ['before']]);
  });

  test('is left like any other: the server is told, and the promise waits for its answer', async () => {
    const socket = up();
    msg(socket, 'before');
    const left = outcome(room.leave());
    const frames = socket.take();
    assert.deepEqual(frames.map(({ type, room: name }) => [type, name]), [['leave', 'chat/1']]);
    msg(socket, 'late');
    await settle();
    assert.equal(left.now, undefined);
    socket.ack(frames[0]);
    await settle();
    assert.deepEqual([left.now, events], [{ value: undefined }, ['before']]);
    socket.end();
    await room.leave(); // nobody is there to be told
  });

  test('is left before a listener of that joins again', () => {
    const socket = up();
    room.join();
    admit(socket);
    room.once('leave', () => room.join().catch(() => {}));
    room.leave();
    assert.deepEqual(socket.take().map(({ type }) => type), ['leave', 'join']);
  });

  test('is quiet while the client leaves, until the server has answered', async () => {
    const socket = up();
    room.join();
    admit(socket);
    events = [];
    const left = room.leave();
    msg(socket, 'late');
    socket.ack(socket.take('leave')[0]);
    await left;
    msg(socket, 'put in again');
    assert.deepEqual(names(), ['leave', 'put in again']);
  });

  const late = async (promise) => {
    const seen = outcome(promise);
    for (let i = 0; i < 2; i++) {
      pass(5001);
      MockSocket.last.frame({ type: 'x' });
    }
    await settle();
    assert.equal(seen.now.code, 'timeout');
  };

  test('is heard again when the answer to that comes late', async () => {
    const socket = up();
    room.join();
    admit(socket);
    await late(room.leave());
    msg(socket, 'late');
    socket.ack(socket.take('leave')[0]);
    msg(socket, 'put in again');
    const [joined, join] = [room.join(), socket.take('join')[0]];
    await late(joined); // which leaves
    const [leave] = socket.take('leave');
    await late(room.leave());
    const [second] = socket.take('leave');
    socket.ack(join, { members: 1 });
    socket.ack(leave);
    msg(socket, 'between');
    socket.ack(second);
    msg(socket, 'put in once more');
    assert.deepEqual(names(), ['join', 'leave', 'put in again', 'put in once more']);
  });

  test('is heard again when a second try to leave is answered', async () => {
    const socket = up();
    room.join();
    admit(socket);
    const refused = room.leave();
    socket.error(socket.take('leave')[0], { code: 'rate_limited' });
    await assert.rejects(refused, { code: 'rate_limited' });
    msg(socket, 'still a member there');
    const left = room.leave();
    socket.ack(socket.take('leave')[0]);
    await left;
    msg(socket, 'put in again');
    assert.deepEqual(names(), ['join', 'leave', 'put in again']);
  });

  test('stays quiet where that has no answer in time, until it comes, the client joins or the connection ends', async () => {
    const leave = async (socket) => {
      await late(room.leave());
      msg(socket, 'late');
    };
    const socket = up();
    room.join();
    admit(socket);
    await leave(socket);
    room.join().catch(() => {});
    admit(socket);
    socket.frame({ type: 'left', room: 'chat/1', from: hub.id });
    msg(socket, 'put in again');
    await leave(socket);
    msg(again(), 'and again');
    assert.deepEqual(names(), ['join', 'leave', 'join', 'leave', 'put in again', 'and again']);
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

describe('presence in batches', () => {
  const batch = (socket, content) => socket.frame({ type: 'presence', room: 'chat/1', content });
  const enter = (members, presence) => {
    const socket = up();
    room.join();
    admit(socket, { members, presence });
    return socket;
  };
  const shown = () => room.presence.list.map(({ from, content }) => [from, content]);

  test('who came, went and changed is applied at once, told once, and counted as the server counts', () => {
    const socket = enter(3, [{ from: 'me' }, { from: 'ana', content: 1 }, { from: 'ben', user: 'b', content: 1 }]);
    const heard = [];
    let changes = 0;
    room.presence.subscribe(() => changes++);
    room.on('presence', ({ content }) => heard.push([content.members, room.presence.count]));
    for (const event of ['joined', 'left']) room.on(event, () => heard.push(event));
    batch(socket, { members: 4, joined: [{ from: 'cy', user: 'c', content: 1 }, { from: 'di' }], left: [{ from: 'ana' }], updated: [{ from: 'ben', user: 'b', content: 2 }] });
    assert.deepEqual(shown(), [['me', undefined], ['ben', 2], ['cy', 1], ['di', undefined]]);
    assert.deepEqual([heard, changes], [[[4, 4]], 1]);
    batch(socket, { members: 4, updated: [{ from: 'cy', user: 'c', content: 'away' }] });
    assert.deepEqual(room.presence.list[2], { from: 'cy', user: 'c', content: 'away' });
  });

  test('who comes back under another id replaces the old entry', () => {
    const socket = enter(2, [{ from: 'me' }, { from: 'ben1', user: 'b', content: 1 }]);
    batch(socket, { members: 2, updated: [{ from: 'ben2', was: 'ben1', user: 'b', content: 1 }] });
    assert.deepEqual(room.presence.list, [{ from: 'me' }, { from: 'ben2', user: 'b', content: 1 }]);
    assert.equal(room.presence.count, 2);
    socket.frame({ type: 'left', room: 'chat/1', from: 'ben2', user: 'b' });
    assert.deepEqual([shown(), room.presence.count], [[['me', undefined]], 1]);
  });

  test('one entry for each user: it goes with the last connection, whichever that is', () => {
    const socket = enter(2, [{ from: 'ana1', user: 'a' }, { from: 'ben1', user: 'b', content: 1 }]);
    batch(socket, { members: 2, updated: [{ from: 'ben2', user: 'b', content: 2 }] });
    assert.deepEqual(shown(), [['ana1', undefined], ['ben2', 2]]);
    socket.frame({ type: 'left', room: 'chat/1', from: 'ben3', user: 'b' });
    assert.deepEqual([shown(), room.presence.count], [[['ana1', undefined]], 1]);
    batch(socket, { members: 0, left: [{ from: 'ana7', user: 'a' }] });
    assert.deepEqual([shown(), room.presence.count], [[], 0]);
  });

  test('where each connection has its entry, a user’s others stay', () => {
    const socket = enter(3, [{ from: 'a1', user: 'a' }, { from: 'a2', user: 'a' }, { from: 'me' }]);
    socket.frame({ type: 'left', room: 'chat/1', from: 'a2', user: 'a' });
    batch(socket, { members: 3, joined: [{ from: 'a3', user: 'a' }] });
    assert.deepEqual(shown().map(([from]) => from), ['a1', 'me', 'a3']);
  });

  test('a room that only counts has a count and no list; every change is told', () => {
    const socket = enter(1200);
    const lists = [room.presence.list];
    room.presence.subscribe(() => lists.push(room.presence.list));
    batch(socket, { members: 1199 });
    batch(socket, { members: 1250 });
    assert.deepEqual([room.presence.count, room.presence.list], [1250, []]);
    assert.equal(new Set(lists).size, 3);
  });

  test('a room too large for a list keeps none, and counts on', () => {
    const socket = enter(5000);
    socket.frame({ type: 'joined', room: 'chat/1', from: 'x' });
    socket.frame({ type: 'left', room: 'chat/1', from: 'y' });
    batch(socket, { joined: [{ from: 'a' }, { from: 'b' }], left: [{ from: 'c' }] });
    batch(socket, { updated: [{ from: 'a', content: 1 }] });
    assert.deepEqual([room.presence.count, room.presence.list], [5001, []]);
    admit(again(), { members: 1, presence: [{ from: 'me' }] });
    assert.deepEqual([room.presence.count, shown()], [1, [['me', undefined]]]);
  });

  test('a whole list replaces what was known; a number alone ends it', () => {
    const socket = enter(2, [{ from: 'me' }, { from: 'ana' }]);
    batch(socket, { members: 2, presence: [{ from: 'me' }, { from: 'ben', content: 1 }] });
    assert.deepEqual([room.presence.count, shown()], [2, [['me', undefined], ['ben', 1]]]);
    batch(socket, { members: 1001 });
    socket.frame({ type: 'joined', room: 'chat/1', from: 'x' });
    assert.deepEqual([room.presence.count, shown()], [1002, []]);
    batch(socket, { members: 2, presence: [{ from: 'me' }, { from: 'x' }] });
    socket.frame({ type: 'left', room: 'chat/1', from: 'x' });
    assert.deepEqual([room.presence.count, shown()], [1, [['me', undefined]]]);
  });

  test('lists of thousands are applied in a moment', () => {
    const many = (prefix) => Array.from({ length: 1000 }, (_, i) => ({ from: prefix + i, user: prefix + i }));
    const socket = enter(1000, many('a'));
    batch(socket, { members: 1000, joined: many('b'), left: many('a') });
    assert.deepEqual([room.presence.list.length, room.presence.list[999].from], [1000, 'b999']);
  });
});

describe('own messages in a room with history', () => {
  const enter = () => {
    room.join();
    const socket = up();
    admit(socket, { members: 1, cursor: 'c0' });
    events = [];
    return socket;
  };

  test('the receipt says where the message is, and the position counts', async () => {
    const socket = enter();
    const sent = outcome(room.send('msg', 'mine'));
    msg(socket, 'before', 'c1');
    assert.equal(room.cursor, 'c1');
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'c2' });
    assert.equal(room.cursor, 'c2');
    await settle();
    assert.deepEqual(sent.now, { value: { status: 'acked', cursor: 'c2' } });
    assert.equal(admit(again(), { recovered: true }).since, 'c2');
  });

  test('an ack without a cursor is an ack, and moves nothing', async () => {
    const socket = enter();
    room.on('ack', () => events.push('an answer is no event'));
    const sent = outcome(room.send('msg', 'mine'));
    msg(socket, 'other', 'c2');
    socket.ack(socket.take('msg')[0]);
    await settle();
    assert.deepEqual([sent.now.value, room.cursor, events], [{ status: 'acked', cursor: undefined }, 'c2', ['other']]);
  });

  test('missed ones come back as acks, in order with the others, and settle what waits', async () => {
    const socket = enter();
    const [a, b] = [outcome(room.send('msg', 'a')), outcome(room.send('msg', 'b'))];
    const ids = socket.take('msg').map(({ id }) => id);
    const second = again();
    admit(second, { recovered: true, cursor: 'c0' });
    second.ack({ id: ids[0], room: 'chat/1' }, undefined, { cursor: 'c1' });
    msg(second, 'ben', 'c2');
    await settle();
    assert.deepEqual([a.now?.value.cursor, b.now], ['c1', undefined]);
    // What follows answers what was repeated: a is known, b is new.
    second.ack({ id: ids[0], room: 'chat/1' }, undefined, { cursor: 'c1' });
    assert.equal(room.cursor, 'c2'); // not led back
    second.ack({ id: ids[1], room: 'chat/1' }, undefined, { cursor: 'c3' });
    await settle();
    // Nothing says that b did not overtake something, so the next message moves the position on.
    assert.deepEqual([b.now.value.cursor, room.cursor], ['c3', 'c2']);
    msg(second, 'ben', 'c4');
    assert.equal(room.cursor, 'c4');
    assert.deepEqual(events.filter((event) => typeof event === 'string'), ['ben', 'ben']);
  });

  const strings = () => events.filter((event) => typeof event === 'string');

  test('the answer to a repeated message may overtake missed ones, and does not lead over them', async () => {
    const socket = enter();
    const sent = outcome(room.send('msg', 'mine'));
    const [{ id }] = socket.take('msg');
    const second = again();
    admit(second, { recovered: true, cursor: 'c0' });
    second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c9' });
    await settle();
    assert.deepEqual([sent.now, room.cursor], [{ value: { status: 'acked', cursor: 'c9' } }, 'c0']);
    msg(second, 'one', 'c1');
    const third = again(); // before the rest has come
    assert.equal(admit(third, { recovered: true, cursor: 'c1' }).since, 'c1');
    msg(third, 'two', 'c2');
    third.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c9' }); // was not repeated here: a missed one
    assert.deepEqual([strings(), room.cursor], [['one', 'two'], 'c9']);
  });

  test('an answer that comes before the join is decided leads nowhere', () => {
    const socket = enter();
    room.send('msg', 'mine').catch(() => {});
    const [{ id }] = socket.take('msg');
    const second = again();
    for (let i = 0; i < 2; i++) second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c9' });
    assert.equal(room.cursor, 'c0');
  });

  test('the answer to a repeated message may come long after it, and does not lead back', async () => {
    const socket = enter();
    const sent = outcome(room.send('msg', 'mine'));
    const [{ id }] = socket.take('msg');
    const second = again();
    admit(second, { recovered: true, cursor: 'c0' });
    second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' });
    for (let i = 2; i < 302; i++) msg(second, `${i}`, `c${i}`);
    second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' });
    await settle();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c1', 'c301']);
    assert.equal(admit(again(), { recovered: true }).since, 'c301');
  });

  test('what was queued without a connection was not repeated: its ack counts', async () => {
    enter();
    MockSocket.last.end();
    const sent = outcome(room.send('msg', 'mine'));
    untilNext();
    const second = up();
    admit(second, { recovered: true, cursor: 'c0' });
    second.ack(second.sent.find(({ type }) => type === 'msg'), undefined, { cursor: 'c1' });
    await settle();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c1', 'c1']);
  });

  test('after a gap nothing that was sent before leads back', async () => {
    const socket = enter();
    const sent = outcome(room.send('msg', 'mine'));
    room.send('msg', 'gone', { ttl: 100 }).catch(() => {});
    const [mine, gone] = socket.take('msg');
    pass(101);
    socket.frame({ type: 'gap', room: 'chat/1', content: { recovered: false, reason: 'window', cursor: 'c7' } });
    socket.ack(mine, undefined, { cursor: 'c1' });
    socket.ack(gone, undefined, { cursor: 'c2' });
    await settle();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c1', 'c7']);
    room.send('msg', 'after').catch(() => {});
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'c8' });
    assert.equal(admit(again(), { recovered: true }).since, 'c8');
  });

  test('after a join that recovered nothing an old answer does not lead back', () => {
    const socket = enter();
    room.send('msg', 'mine').catch(() => {});
    const [{ id }] = socket.take('msg');
    const second = again();
    admit(second, { recovered: false, reason: 'window', cursor: 'c7' });
    second.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' });
    assert.equal(admit(again(), { recovered: true }).since, 'c7');
  });

  test('the ack of a message whose sender is no longer waiting counts as well', () => {
    const socket = enter();
    room.send('msg', 'gone', { ttl: 100 }).catch(() => {});
    const [{ id }] = socket.take('msg');
    pass(101);
    socket.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' });
    assert.equal(room.cursor, 'c1');
  });

  test('the answer to a message that the application sends again does not lead back', async () => {
    const socket = enter();
    const sent = [outcome(room.send('msg', 'order', { id: 'order-17' }))];
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'c1' });
    for (let i = 2; i < 302; i++) msg(socket, `${i}`, `c${i}`);
    sent.push(outcome(room.send('msg', 'order', { id: 'order-17' })));
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'c1' });
    await settle();
    assert.deepEqual(sent.map(({ now }) => now.value.cursor), ['c1', 'c1']);
    assert.equal(admit(again(), { recovered: true }).since, 'c301');
  });

  test('nor does it lead over what was missed, when the first one ended without an answer', async () => {
    const socket = enter();
    room.send('msg', 'mine', { id: 'mine-1', ttl: 100 }).catch(() => {});
    pass(101);
    const second = again();
    room.send('msg', 'mine', { id: 'mine-1' }).catch(() => {});
    admit(second, { recovered: true, cursor: 'c0' });
    second.ack(second.take('msg')[0], undefined, { cursor: 'c9' });
    assert.equal(room.cursor, 'c0');
    assert.equal(admit(again(), { recovered: true }).since, 'c0');
    assert.equal(socket.readyState, 3);
  });

  test('nor where the two of them have but one answer: the first one is told', async () => {
    const socket = enter();
    const sent = [1, 2].map(() => outcome(room.send('msg', 'mine', { id: 'mine-1' })));
    for (const frame of socket.take('msg')) socket.ack(frame, undefined, { cursor: 'c1' });
    await settle();
    assert.deepEqual([sent[0].now.code, sent[1].now.value.cursor, room.cursor], ['unknown', 'c1', 'c0']);
  });

  test('nor where an earlier page has sent it, which nobody here knows', async () => {
    room.join(undefined, { since: 'c9' });
    const socket = up();
    admit(socket, { recovered: true });
    const sent = outcome(room.send('msg', 'mine', { id: 'mine-1' }));
    const [frame] = socket.take('msg');
    for (let i = 0; i < 2; i++) socket.ack(frame, undefined, { cursor: 'c3' }); // as a missed one, too
    await settle();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c3', 'c9']);
    msg(socket, 'ben', 'c10');
    assert.equal(admit(again(), { recovered: true }).since, 'c10');
  });

  test('of a message with an id of the application’s own the receipt says where it is, also to the next', async () => {
    const socket = enter();
    const send = async (at) => {
      const sent = room.send('msg', 'mine', { id: `after ${at}`, at });
      socket.ack(socket.take('msg')[0], undefined, { cursor: `${at}+` });
      return (await sent).cursor;
    };
    assert.equal(await send(await send(room.cursor)), 'c0++');
    assert.equal(room.cursor, 'c0'); // it may have been the answer to an earlier one
  });

  test('what was not sent by this page says so, whose ever its id is', async () => {
    const sent = [outcome(room.send('msg', 'late', { id: 'mine-1', ttl: 100 }))];
    pass(101);
    const socket = up();
    sent.push(outcome(room.send('msg', 'no member', { id: 'mine-2' })));
    socket.error(socket.take('msg')[0], { code: 'not_member' });
    await settle();
    assert.deepEqual(sent.map(({ now }) => now.code), ['expired', 'not_member']);
  });

  test('what was answered twice, the second time for nobody, does not lead back; the next one counts', () => {
    const socket = enter();
    room.send('msg', 'mine').catch(() => {});
    const [{ id }] = socket.take('msg');
    const second = again();
    admit(second, { recovered: true, cursor: 'c0' });
    for (const cursor of ['c1', 'c1']) second.ack({ id, room: 'chat/1' }, undefined, { cursor });
    assert.equal(room.cursor, 'c0');
    room.send('msg', 'next').catch(() => {});
    second.ack(second.take('msg').at(-1), undefined, { cursor: 'c2' });
    assert.equal(room.cursor, 'c2');
  });

  test('a message that its sender gets, too, is delivered once, on either side of its ack', () => {
    const socket = enter();
    room.send('msg', 1).catch(() => {});
    room.send('msg', 2).catch(() => {});
    const [one, two] = socket.take('msg');
    socket.ack(one, undefined, { cursor: 'c1' });
    for (let i = 0; i < 2; i++) msg(socket, 'one', 'c1');
    for (let i = 0; i < 2; i++) msg(socket, 'two', 'c2');
    socket.ack(two, undefined, { cursor: 'c2' });
    msg(socket, 'two', 'c2');
    assert.deepEqual([events, room.cursor], [['one', 'two'], 'c2']);
  });

  test('messages that follow their acks do not lead back', () => {
    const socket = enter();
    for (const n of [1, 2]) room.send('msg', n).catch(() => {});
    for (const [i, frame] of socket.take('msg').entries()) socket.ack(frame, undefined, { cursor: `c${i + 1}` });
    msg(socket, 'one', 'c1');
    assert.deepEqual([events, room.cursor], [['one'], 'c2']);
    assert.equal(admit(again(), { recovered: true }).since, 'c2');
  });

  test('nor where an optimistic one, sent again, is in front of them', () => {
    const socket = enter();
    room.send('msg', 1).catch(() => {});
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'c1' });
    for (let i = 0; i < 2; i++) room.send('msg', 2, { id: 'mine-2', at: 'c1' }).catch(() => {});
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'c2' });
    msg(socket, 'one', 'c1');
    assert.deepEqual([events, room.cursor], [['one'], 'c1']);
  });

  test('what had not gone out before a gap is not doubted', () => {
    const socket = enter();
    const other = hub.room('chat/2');
    other.join();
    const [join] = socket.take('join');
    other.send('msg', 'mine').catch(() => {});
    socket.frame({ type: 'gap', room: 'chat/1', content: { recovered: false, reason: 'window', cursor: 'c7' } });
    socket.ack(join, { cursor: 'd0' });
    socket.ack(socket.take('msg')[0], undefined, { cursor: 'd1' });
    assert.deepEqual([room.cursor, other.cursor], ['c7', 'd1']);
  });

  test('optimistic: it says where it expects the room, in every try, and conflict rejects', async () => {
    const socket = enter();
    const sent = room.send('msg', 'edit', { at: room.cursor });
    const [frame] = socket.take('msg');
    assert.equal(frame.since, 'c0');
    const plain = room.send('msg', 'plain');
    assert.equal('since' in socket.take('msg')[0], false);
    const second = again();
    admit(second, { recovered: true });
    const [same] = second.sent.filter(({ type }) => type === 'msg');
    assert.deepEqual([same.since, same.id], ['c0', frame.id]);
    second.error(same, { code: 'conflict', message: 'the room has gone on' });
    await assert.rejects(sent, { code: 'conflict' });
    assert.equal(room.cursor, 'c0');
    plain.catch(() => {});
  });

  /** Sends where the room is, and again after the connection was lost. */
  const repeated = () => {
    const socket = enter();
    const sent = outcome(room.send('msg', 'edit', { at: room.cursor }));
    const [frame] = socket.take('msg');
    const second = again();
    admit(second, { recovered: true, cursor: 'c0' });
    return [second, frame, sent];
  };

  test('optimistic and repeated: it is the next one, so that more can follow at once', async () => {
    const [socket, frame, sent] = repeated();
    socket.ack(frame, undefined, { cursor: 'c1' });
    await settle();
    assert.deepEqual([sent.now.value.cursor, room.cursor], ['c1', 'c1']);
    socket.ack(frame, undefined, { cursor: 'c1' }); // in its place
    room.send('msg', 'next', { at: room.cursor }).catch(() => {});
    const next = socket.take('msg').at(-1);
    assert.equal(next.since, 'c1');
    socket.ack(next, undefined, { cursor: 'c2' });
    assert.equal(room.cursor, 'c2');
    assert.equal(admit(again(), { recovered: true }).since, 'c2');
  });

  test('optimistic and repeated: the message itself may be still to come, and is not skipped', () => {
    const [socket, frame] = repeated();
    socket.ack(frame, undefined, { cursor: 'c1' });
    assert.equal(room.cursor, 'c1');
    const third = again();
    assert.equal(admit(third, { recovered: true, cursor: 'c0' }).since, 'c0');
    assert.equal(room.cursor, 'c1');
    msg(third, 'edit', 'c1');
    assert.deepEqual([strings(), room.cursor], [['edit'], 'c1']);
  });

  test('optimistic and repeated: an answer that comes late, or says no position, does not lead back', () => {
    const [bare, { id }] = repeated();
    bare.ack({ id, room: 'chat/1' });
    assert.equal(room.cursor, 'c0');
    bare.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' }); // nobody waits for it
    room.leave().catch(() => {});
    const [socket, frame] = repeated();
    msg(socket, 'edit', 'c1');
    msg(socket, 'ben', 'c2');
    socket.ack(frame, undefined, { cursor: 'c1' });
    assert.equal(room.cursor, 'c2');
  });
});

describe('what was missed', () => {
  test('a room may replay its last messages after a first join, without a gap', () => {
    room.join();
    const socket = up();
    admit(socket, { members: 1, cursor: 'c3' });
    for (const n of [4, 5]) msg(socket, `kept ${n}`, `c${n}`);
    msg(socket, 'live', 'c6');
    assert.deepEqual(events.slice(1), ['kept 4', 'kept 5', 'live']);
    assert.equal(room.cursor, 'c6');
  });

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
    pass(4000);
    const third = up();
    assert.equal(admit(third, { recovered: true }).since, 'c3');
    msg(third, 'four', 'c4');
    msg(third, 'live', 'c5');
    assert.deepEqual(events.filter((event) => typeof event === 'string'), ['three', 'four', 'live']);
    assert.equal(events.some(([event]) => event === 'gap'), false);
    assert.equal(events.find(([event]) => event === 'join')[1].recovered, true);
  });

  test('a message is seen when its handlers have returned, whatever they do', () => {
    const seen = [];
    room.on('msg', () => seen.push(room.cursor));
    room.join();
    admit(up(), { cursor: 'c0' });
    msg(MockSocket.last, 'one', 'c1');
    for (const restart of [() => hub.close(), () => { hub.close(); hub.connect(); }]) {
      const off = room.on('msg', () => {
        off();
        restart();
      });
      msg(MockSocket.last, 'two', 'c2');
      hub.connect();
      assert.equal(admit(up(), { recovered: true }).since, 'c2');
      msg(MockSocket.last, 'two', 'c2');
      room.leave().catch(() => {});
      room.join().catch(() => {});
      assert.equal(room.cursor, undefined);
      admit(MockSocket.last, { cursor: 'c1' });
    }
    room.on('msg', () => room.leave().catch(() => {}));
    msg(MockSocket.last, 'two', 'c2');
    assert.deepEqual([seen, room.cursor], [['c0', 'c1', 'c1', 'c1'], undefined]);
  });

  test('a first join may go on where an earlier page was, over lost connections too', async () => {
    const joined = room.join({ name: 'Ana' }, { since: 'c2' });
    assert.deepEqual([room.cursor, room.join(null, { since: 'c1' })], ['c2', joined]); // the first one counts
    up();
    const socket = again();
    const join = admit(socket, { recovered: true, cursor: 'c2' });
    assert.deepEqual([join.content, join.since], [{ name: 'Ana' }, 'c2']);
    assert.deepEqual([(await joined).gap, room.cursor], [undefined, 'c2']);
    msg(socket, 'three', 'c3');
    assert.deepEqual(events.slice(1), ['three']);
    assert.equal(admit(again(), { recovered: true }).since, 'c3');
  });

  test('where it cannot, a gap is told; a place that the server does not understand is given up', async () => {
    const answers = [
      [{ recovered: false, reason: 'window', cursor: 'c9' }, { missed: 'certain', reason: 'window', cursor: 'c9' }],
      [{ members: 1 }, { missed: 'possible', reason: undefined, cursor: undefined }], // no history
      [undefined, { missed: 'possible', reason: undefined, cursor: 'c9' }],
    ];
    const socket = up();
    for (const [answer, gap] of answers) {
      const joined = room.join(undefined, { since: 'c2' });
      if (!answer) socket.error(socket.take('join')[0], { code: 'invalid', field: 'since' });
      admit(socket, answer ?? { cursor: 'c9' });
      assert.deepEqual([(await joined).gap, events.at(-1), room.cursor], [gap, ['gap', gap], gap.cursor]);
      room.leave().catch(() => {});
      socket.ack(socket.take('leave')[0]);
    }
    const refused = outcome(room.join(undefined, { since: 'c2' }));
    events = [];
    socket.error(socket.take('join')[0], { code: 'denied' });
    await settle();
    assert.deepEqual([refused.now.code, events], ['denied', []]);
  });

  test('a join of a room that is heard already may go on further back: nothing is heard twice', () => {
    const socket = up();
    msg(socket, 'five', 'c5');
    room.join(undefined, { since: 'c3' });
    assert.equal(admit(socket, { recovered: true, cursor: 'c3' }).since, 'c3');
    for (const cursor of ['c4', 'c5', 'c6']) msg(socket, cursor, cursor);
    assert.deepEqual([events.filter((event) => typeof event === 'string'), room.cursor], [['five', 'c4', 'c6'], 'c6']);
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

  test('a cursor that the server does not understand is given up, and told as a gap', () => {
    room.join();
    admit(up(), { cursor: 'c0' });
    const socket = again();
    const [join] = socket.take('join');
    events = [];
    socket.error(join, { code: 'invalid', field: 'since' });
    assert.equal('since' in admit(socket, { cursor: 'other' }), false);
    assert.deepEqual(events.map(([event]) => event), ['join', 'gap']);
    assert.equal(room.cursor, 'other');
    assert.deepEqual(errors, []);
  });

  test('a join that is answered too late: left and joined anew, and told what that answer says', () => {
    room.join();
    admit(up(), { cursor: 'c0' });
    msg(MockSocket.last, 'one', 'c1');
    const socket = again();
    const [first] = socket.take('join');
    events = [];
    pass(13_000); // the server is slow
    socket.ack(first, { recovered: false, reason: 'epoch', cursor: 'd0' });
    msg(socket, 'two', 'd1');
    const [leave, join] = socket.take();
    assert.deepEqual([leave.type, join.type, join.since], ['leave', 'join', 'c1']);
    socket.ack(leave);
    socket.ack(join, { recovered: false, reason: 'epoch', cursor: 'd1' });
    msg(socket, 'three', 'd2');
    assert.deepEqual(events.slice(1), [['gap', { missed: 'certain', reason: 'epoch', cursor: 'd1' }], 'three']);
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

  test('of what came, 256 are remembered, so that they are known when they come twice', () => {
    room.join();
    const socket = up();
    admit(socket, { cursor: 'c0' });
    for (let i = 1; i <= 257; i++) msg(socket, `c${i}`, `c${i}`);
    events = [];
    for (let i = 257; i > 0; i--) msg(socket, `c${i}`, `c${i}`);
    assert.deepEqual(events, ['c1']);
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
    assert.deepEqual(sent.now, { value: { status: 'acked', cursor: 'c1' } });
    const third = again();
    assert.equal(admit(third, { recovered: true }).since, 'c0'); // one of the two had overtaken what was missed, perhaps
    third.ack({ id, room: 'chat/1' }, undefined, { cursor: 'c1' });
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
