// What becomes of messages, whatever the connection does.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { connect, HubbubError } from '@hubbub/client';
import { begin, end, MockSocket, outcome, pass, settle, untilNext } from './world.mjs';

let hub, errors;

beforeEach(() => {
  begin();
  errors = [];
});
afterEach(() => {
  hub?.close();
  end();
});

const make = (options) => {
  hub = connect('ws://chat.example/ws', { WebSocket: MockSocket, ...options });
  hub.on('error', (error) => errors.push(error));
  return MockSocket.last;
};
const up = (options, welcome) => make(options).welcome(welcome);
const again = (welcome) => {
  if (MockSocket.last.readyState < 2) MockSocket.last.end();
  if (!MockSocket.live.length) untilNext();
  return MockSocket.last.welcome(welcome);
};
const contents = (socket) => socket.take('msg').map(({ content }) => content);

describe('messages', () => {
  test('T11: a message sent while connecting is delivered once, after the welcome', async () => {
    const socket = make();
    const sent = outcome(hub.send('msg', 'early'));
    assert.equal(socket.sent.length, 0);
    socket.welcome();
    const [frame] = socket.take();
    assert.deepEqual([frame.type, frame.content, socket.sent.length], ['msg', 'early', 1]);
    assert.match(frame.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    socket.ack(frame);
    await settle();
    assert.deepEqual(sent.now, { value: { status: 'acked', cursor: undefined } });
    assert.equal(hub.pending.messages, 0);
  });

  test('order is kept over connecting, connected and reconnected', () => {
    const socket = make();
    for (const n of [1, 2]) hub.send('msg', n).catch(() => {});
    socket.welcome();
    hub.send('msg', 3).catch(() => {});
    assert.deepEqual(contents(socket), [1, 2, 3]);
    socket.ack(socket.sent[1]);
    socket.end();
    hub.send('msg', 4).catch(() => {});
    assert.deepEqual(contents(again()), [1, 3, 4]);
  });

  test('a message is sent again with the same id until it is acknowledged', async () => {
    const first = up();
    const sent = outcome(hub.room('r').send('msg', 'once'));
    const second = again();
    const third = again();
    const frames = [first, second, third].map((socket) => socket.take('msg')[0]);
    assert.equal(new Set(frames.map(({ id }) => id)).size, 1);
    assert.equal(frames[2].room, 'r');
    third.ack(frames[2]);
    await settle();
    assert.deepEqual(sent.now, { value: { status: 'acked', cursor: undefined } });
    assert.deepEqual(again().take(), []);
  });

  test('T14: an unsent message is reported: expired if it never left, unknown if it may have arrived', async () => {
    make();
    const waits = outcome(hub.send('msg', 1, { ttl: 1000 }));
    pass(1001);
    await settle();
    assert.equal(waits.now.code, 'expired');
    MockSocket.last.welcome();
    assert.deepEqual(MockSocket.last.take(), []);
    const left = outcome(hub.send('msg', 2));
    MockSocket.last.end();
    pass(30_001);
    await settle();
    assert.equal(left.now.code, 'unknown');
  });

  test('the 257th message without a connection overflows, and so does the second MiB', async () => {
    make();
    const sends = Array.from({ length: 257 }, (_, i) => outcome(hub.send('msg', i, { ttl: Infinity })));
    await settle();
    assert.deepEqual([sends[255].now, sends[256].now.code], [undefined, 'overflow']);
    hub.close();
    await settle();
    assert.equal(sends[0].now.code, 'closed');
    make();
    const half = 'x'.repeat(600_000);
    const [fits, more] = [outcome(hub.send('msg', half)), outcome(hub.send('msg', half))];
    await settle();
    assert.deepEqual([fits.now, more.now.code], [undefined, 'overflow']);
    assert.ok(hub.pending.bytes > 600_000);
  });

  test('what is sent again has the place of the first try in a full queue', async () => {
    make({ queueMessages: 2, queueBytes: 1000 });
    const send = (id, content) => outcome(hub.send('msg', content, { id }));
    const sends = [send('a', 'x'.repeat(800)), send('b'), send('a', 'x'.repeat(800)), send('c')];
    await settle();
    assert.deepEqual(sends.map(({ now }) => now?.code), ['unknown', undefined, undefined, 'overflow']);
    assert.equal(hub.pending.messages, 2);
  });

  test('connected, nothing overflows: 10 000 messages go out in order', async () => {
    const socket = up();
    const sends = Array.from({ length: 10_000 }, (_, i) => hub.send('msg', i));
    const frames = socket.take('msg');
    assert.deepEqual(frames.map(({ content }) => content), Array.from({ length: 10_000 }, (_, i) => i));
    for (const frame of frames) socket.ack(frame);
    await Promise.all(sends);
  });

  test('connected, what has no answer is bounded in bytes: the connection may be a dead one', async () => {
    const socket = up({}, { limit: 4_000_000 });
    const large = outcome(hub.send('msg', 'x'.repeat(2_000_000))); // alone it always fits
    const more = outcome(hub.send('msg', 'more'));
    const joined = outcome(hub.room('r').join());
    await settle();
    assert.deepEqual([large.now, more.now.code], [undefined, 'overflow']);
    const [frame, join] = socket.take();
    socket.ack(frame);
    socket.ack(join, {});
    const next = outcome(hub.send('msg', 'next'));
    socket.ack(socket.take()[0]);
    await settle();
    assert.deepEqual([large, joined, next].map(({ now }) => !!now.value), [true, true, true]);
    const sends = Array.from({ length: 20 }, () => outcome(hub.send('msg', 'x'.repeat(100_000))));
    await settle();
    assert.equal(sends.filter(({ now }) => now?.code === 'overflow').length, 10);
    assert.ok(hub.pending.bytes <= 1 << 20);
  });

  test('volatile messages are dropped without a connection, and the promise says so', async () => {
    const socket = make();
    assert.deepEqual(await hub.send('typing', null, { volatile: true }), { status: 'dropped' });
    socket.welcome({ limit: 100 });
    assert.deepEqual(await hub.send('typing', null, { volatile: true }), { status: 'sent' });
    assert.equal('id' in socket.take()[0], false);
    socket.bufferedAmount = 100_000;
    assert.deepEqual(await hub.send('typing', null, { volatile: true }), { status: 'dropped' });
    socket.bufferedAmount = 0;
    await assert.rejects(hub.send('typing', 'x'.repeat(100), { volatile: true }), { code: 'too_large' });
  });

  test('what is over the limit stays here, at once or when the limit is known', async () => {
    const socket = make();
    const early = outcome(hub.send('msg', 'é'.repeat(100)));
    socket.welcome({ limit: 200 });
    await assert.rejects(hub.send('msg', 'é'.repeat(100)), { code: 'too_large' });
    assert.equal(early.now.code, 'too_large');
    assert.deepEqual(socket.take(), []);
  });

  test('content is taken as it was when it was sent; what is no JSON is refused', async () => {
    const socket = make();
    const content = { n: 1 };
    hub.send('msg', content).catch(() => {});
    content.n = 2;
    socket.welcome();
    assert.deepEqual(contents(socket), [{ n: 1 }]);
    content.self = content;
    await assert.rejects(hub.send('msg', content), TypeError);
  });

  test('an error of the server arrives with code, field and retryAfter', async () => {
    const socket = up();
    const sent = hub.send('msg', 1);
    socket.error(socket.take()[0], { code: 'rate_limited', message: 'slow down', field: 'content.to', retryAfter: 250 });
    await assert.rejects(sent, (error) => {
      assert.ok(error instanceof HubbubError);
      assert.deepEqual([error.code, error.message, error.field, error.retryAfter], ['rate_limited', 'slow down', 'content.to', 250]);
      return true;
    });
  });

  test('after the end everything is settled: unsent closed, sent unknown', async () => {
    const socket = up();
    const left = outcome(hub.send('msg', 1));
    socket.end(1001);
    const waits = outcome(hub.send('msg', 2));
    hub.close();
    const late = outcome(hub.send('msg', 3));
    await settle();
    assert.deepEqual([left, waits, late].map(({ now }) => now.code), ['unknown', 'closed', 'closed']);
  });
});

describe('the session', () => {
  const SECRET = 'secret-of-connection-1';
  const auth = (socket) => socket.sent.filter(({ type }) => type === 'auth');

  test('the first connection has its own; later ones continue it before anything else', () => {
    const first = up();
    hub.room('r').join().catch(() => {});
    first.ack(first.take('join')[0], {});
    hub.send('msg', 1).catch(() => {});
    assert.deepEqual(auth(first), []);
    first.end();
    hub.send('msg', 2).catch(() => {});
    const second = again();
    assert.deepEqual(second.sent.map(({ type, content }) => [type, content]), [
      ['auth', { session: SECRET }], ['join', undefined], ['msg', 1], ['msg', 2],
    ]);
    assert.ok(second.sent[0].id);
    assert.equal('room' in second.sent[0], false);
  });

  test('whatever the listeners of the welcome send comes after it', () => {
    up();
    hub.on('welcome', () => void hub.send('typing', null, { volatile: true }));
    hub.on('state', (state) => { if (state === 'connected') hub.send('msg', 1).catch(() => {}); });
    assert.deepEqual(again().sent.map(({ type }) => type), ['auth', 'typing', 'msg']);
  });

  test('it stays the first one, over all reconnects and a closed connection', () => {
    up();
    for (let i = 0; i < 3; i++) {
      const socket = again();
      assert.deepEqual(auth(socket).map(({ content }) => content.session), [SECRET]);
      socket.ack(auth(socket)[0], { session: SECRET });
    }
    hub.close();
    hub.connect();
    assert.equal(auth(MockSocket.last.welcome())[0].content.session, SECRET);
  });

  test('a server that cannot continue it is none of the application’s troubles', async () => {
    up();
    for (const code of ['unknown_type', 'invalid', 'denied']) {
      const socket = again();
      const sent = outcome(hub.send('msg', code));
      socket.error(auth(socket)[0], { code });
      socket.ack(socket.take('msg')[0]);
      await settle();
      assert.equal(sent.now.value.status, 'acked');
    }
    assert.deepEqual([errors, hub.state], [[], 'connected']);
  });

  test('a server that names none gets none', () => {
    up({}, { session: undefined });
    assert.deepEqual(auth(again()), []);
    assert.equal(auth(again())[0].content.session, 'secret-of-connection-2');
  });
});

describe('calls', () => {
  test('T22: JSON and bytes both ways', async () => {
    const socket = up();
    const answer = hub.call('echo', new Uint8Array([0, 10, 255]).subarray(1));
    const [frame] = socket.take();
    assert.deepEqual([...frame.bytes], [10, 255]);
    assert.equal('content' in frame, false);
    socket.bytes({ type: 'ack', id: frame.id, timestamp: 1 }, [10, 0, 10]);
    assert.deepEqual(await answer, new Uint8Array([10, 0, 10]));
    hub.call('echo', new Uint8Array([7]).buffer).catch(() => {});
    assert.deepEqual([...socket.take()[0].bytes], [7]);
    hub.call('echo', { a: [1] }).catch(() => {});
    assert.deepEqual(socket.take()[0].content, { a: [1] });
  });

  test('a call without an answer times out; one that waited for a connection expires', async () => {
    const socket = make({ timeout: 40_000 });
    const waits = outcome(hub.call('echo', 1, { timeout: 100 }));
    pass(101);
    socket.welcome();
    const asks = outcome(hub.call('echo', 1, { timeout: 100 }));
    pass(101);
    await settle();
    assert.deepEqual([waits.now.code, asks.now.code], ['expired', 'timeout']);
  });

  test('a call that was sent is not repeated: its outcome is unknown', async () => {
    const socket = up();
    const asked = outcome(hub.call('pay', 1));
    socket.end();
    const later = outcome(hub.call('pay', 2));
    await settle();
    assert.equal(asked.now.code, 'unknown');
    const frames = again().take();
    assert.deepEqual(frames.map(({ content }) => content), [2]);
    MockSocket.last.ack(frames[0], 'paid');
    await settle();
    assert.deepEqual(later.now, { value: 'paid' });
  });

  test('a signal ends the wait, and unsends what still waits', async () => {
    const socket = make();
    const control = new AbortController();
    const call = outcome(hub.call('echo', 1, { signal: control.signal }));
    control.abort(new Error('enough'));
    await settle();
    assert.equal(call.now.error.message, 'enough');
    await assert.rejects(hub.call('echo', 1, { signal: control.signal }), /enough/);
    socket.welcome();
    assert.deepEqual(socket.take(), []);
  });
});

describe('streams', () => {
  const item = (socket, { id }, content, more) => socket.frame({ type: 'count', stream: id, content, ...more });
  /** Reads to the end: {values} or {values, code}. */
  const read = (stream) => {
    const seen = { values: [] };
    (async () => {
      try {
        for await (const value of stream) seen.values.push(value);
        seen.ended = true;
      } catch (error) { seen.code = error.code ?? error.message; }
    })();
    return seen;
  };
  const start = (socket, place = hub, options) => {
    const stream = place.stream('count', { to: 3 }, options);
    return [stream, socket.take('count')[0]];
  };

  test('items come in order, and the ack ends the loop', async () => {
    const socket = up();
    const [stream, question] = start(socket, hub.room('r'));
    assert.deepEqual([question.room, question.content], ['r', { to: 3 }]);
    const seen = read(stream);
    item(socket, question, 1, { room: 'r' });
    await settle();
    assert.deepEqual(seen, { values: [1] });
    item(socket, question, 2, { room: 'r' });
    socket.bytes({ type: 'count', stream: question.id }, [7, 10]);
    socket.ack(question, 'the end');
    await settle();
    assert.deepEqual(seen, { values: [1, 2, Uint8Array.of(7, 10)], ended: true });
    assert.equal(hub.pending.messages, 0);
    assert.deepEqual(socket.take(), []);
  });

  test('items are nobody else’s messages, and those of a stream that is over nobody’s', async () => {
    const socket = up();
    const heard = [];
    hub.on('count', () => heard.push('hub'));
    hub.room('r').on('count', () => heard.push('room'));
    const [a, b] = [start(socket), start(socket)];
    item(socket, a[1], 'a', { room: 'r' });
    item(socket, b[1], 'b');
    item(socket, { id: 'nobody' }, 'x');
    socket.ack(a[1]);
    socket.ack(b[1]);
    item(socket, a[1], 'late');
    const seen = [read(a[0]), read(b[0])];
    await settle();
    assert.deepEqual([seen.map(({ values }) => values), heard, errors], [[['a'], ['b']], [], []]);
  });

  test('an error is thrown after the items before it', async () => {
    const socket = up();
    const [stream, question] = start(socket);
    item(socket, question, 1);
    socket.error(question, { code: 'denied' });
    const seen = read(stream);
    await settle();
    assert.deepEqual(seen, { values: [1], code: 'denied' });
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  });

  test('leaving the loop stops the server; its last words are not heard', async () => {
    const socket = up();
    const [stream, question] = start(socket, hub.room('r'));
    for (const n of [1, 2, 3]) item(socket, question, n);
    for await (const value of stream) {
      assert.equal(value, 1);
      break;
    }
    const [leave, ...rest] = socket.take();
    assert.deepEqual([leave.type, leave.content, 'room' in leave, rest], ['leave', { stream: question.id }, false, []]);
    assert.ok(leave.id && leave.id !== question.id);
    item(socket, question, 4);
    socket.ack(leave);
    socket.ack(question);
    await stream.return();
    assert.deepEqual([await stream.next(), socket.take(), errors, hub.pending.messages], [{ done: true, value: undefined }, [], [], 0]);
  });

  test('a signal stops it at once, whatever still waits to be read', async () => {
    const socket = up();
    const control = new AbortController();
    const [stream, question] = start(socket, hub, { signal: control.signal });
    for (const n of [1, 2]) item(socket, question, n);
    assert.equal((await stream.next()).value, 1);
    control.abort(new Error('enough'));
    await assert.rejects(stream.next(), /enough/);
    assert.deepEqual(socket.take().map(({ type, content }) => [type, content]), [['leave', { stream: question.id }]]);
    await assert.rejects(hub.stream('count', 1, { signal: control.signal }).next(), /enough/);
    assert.deepEqual(socket.take(), []);
  });

  test('a stream that is given up at once is asked for and left, in this order and once', async () => {
    const socket = up();
    const ways = [
      (control) => control.abort(),
      (_, stream) => stream.return(),
      (control, stream) => { control.abort(); stream.return(); control.abort(); },
    ];
    for (const giveUp of ways) {
      const control = new AbortController();
      const stream = hub.stream('count', 1, { signal: control.signal });
      const read = stream.next().catch(() => {});
      giveUp(control, stream);
      await read;
      const [question, leave, ...rest] = socket.take();
      assert.deepEqual([question.type, leave.type, leave.content, rest], ['count', 'leave', { stream: question.id }, []]);
      socket.ack(question);
      socket.ack(leave);
      assert.deepEqual(socket.take(), []);
    }
  });

  test('a signal that outlives its streams does nothing to them', () => {
    const socket = up();
    const control = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = control.signal;
    control.signal.addEventListener = function (...args) { listeners++; addEventListener.apply(this, args); };
    control.signal.removeEventListener = function (...args) { listeners--; removeEventListener.apply(this, args); };
    const streams = Array.from({ length: 3 }, () => start(socket, hub, { signal: control.signal }));
    assert.equal(listeners, 3);
    socket.ack(streams[0][1]);
    socket.error(streams[1][1], { code: 'internal' });
    streams[2][0].return();
    assert.equal(listeners, 0);
    socket.take();
    control.abort();
    assert.deepEqual(socket.take(), []);
  });

  test('a lost connection ends it as unknown, and it is not repeated', async () => {
    const socket = up();
    const [stream, question] = start(socket);
    const seen = read(stream);
    item(socket, question, 1);
    const next = again();
    await settle();
    assert.deepEqual(seen, { values: [1], code: 'unknown' });
    assert.deepEqual(next.take(), []);
    await stream.return();
    assert.deepEqual(next.take(), []); // there is nothing to stop
  });

  test('it waits for a connection, but not forever; what runs has all the time', async () => {
    make({ connectTimeout: 60_000 });
    const late = read(hub.stream('count', 1));
    pass(10_001);
    await settle();
    assert.equal(late.code, 'expired');
    const gone = hub.stream('count', 2);
    await gone.return();
    const waits = read(hub.stream('count', 3));
    const socket = MockSocket.last.welcome();
    const frames = socket.take();
    assert.deepEqual(frames.map(({ content }) => content), [3]);
    for (let i = 0; i < 10; i++) {
      pass(5000);
      socket.frame({ type: 'x' }); // a sign of life
    }
    item(socket, frames[0], 1);
    socket.ack(frames[0]);
    await settle();
    assert.deepEqual(waits, { values: [1], ended: true });
  });

  test('a loop that does not keep up is told, and the server is stopped', async () => {
    const socket = up();
    const [stream, question] = start(socket);
    for (let n = 0; n <= 1000; n++) item(socket, question, n);
    assert.deepEqual(socket.take().map(({ type }) => type), ['leave']);
    const seen = read(stream);
    for (let i = 0; i < 3; i++) await settle();
    assert.deepEqual([seen.values.length, seen.code], [1001, 'overflow']);
  });

  test('after the end of the connection there is none', async () => {
    const socket = up();
    const [stream] = start(socket);
    const seen = read(stream);
    hub.close();
    const late = read(hub.stream('count', 1));
    await settle();
    assert.deepEqual([seen.code, late.code], ['unknown', 'closed']);
    assert.throws(() => hub.stream('count', 1n), TypeError);
  });
});

describe('what arrives', () => {
  test('T12: an error without id is reported and the connection stays', () => {
    const socket = up();
    socket.error({}, { code: 'malformed', message: 'no JSON' });
    assert.deepEqual([errors[0].code, hub.state], ['malformed', 'connected']);
    socket.onmessage({ data: 'not JSON' });
    assert.equal(errors.length, 2);
    assert.equal(hub.state, 'connected');
  });

  test('on, once and off; the same function may listen twice', () => {
    const socket = up();
    const seen = [];
    const fn = (message) => seen.push(message.content);
    const offs = [hub.on('news', fn), hub.on('news', fn)];
    hub.once('news', (message) => seen.push(`once ${message.content}`));
    socket.frame({ type: 'news', content: 1 });
    offs[0]();
    socket.frame({ type: 'news', content: 2 });
    offs[1]();
    socket.frame({ type: 'news', content: 3 });
    assert.deepEqual(seen, [1, 1, 'once 1', 2]);
  });

  test('a handler that throws stops nobody and is reported', () => {
    const socket = up();
    const seen = [];
    hub.on('news', () => { throw new Error('broken'); });
    hub.on('news', () => seen.push(1));
    socket.frame({ type: 'news' });
    assert.deepEqual([seen, errors[0].message], [[1], 'broken']);
  });

  test('a message of the type state is not taken for the state', () => {
    const socket = up();
    const seen = [];
    hub.on('state', (state) => seen.push(state));
    socket.frame({ type: 'state', content: 'closed' });
    assert.deepEqual(seen, []);
  });

  test('an answer to nothing is ignored', () => {
    const socket = up();
    socket.ack({ id: 'nobody' });
    socket.error({ id: 'nobody' }, { code: 'denied' });
    assert.deepEqual(errors, []);
  });

  test('messages() is an async iterator that ends with the connection', async () => {
    const socket = up();
    const seen = [];
    const news = hub.messages('news');
    for (const n of [1, 2]) socket.frame({ type: 'news', content: n });
    const loop = (async () => { for await (const { content } of news) seen.push(content); })();
    await settle();
    socket.frame({ type: 'news', content: 3 });
    hub.close();
    await loop;
    assert.deepEqual(seen, [1, 2, 3]);
  });

  test('messages() says so when the loop does not keep up; a break unsubscribes', async () => {
    const socket = up();
    const news = hub.messages('news');
    for (let n = 0; n <= 1000; n++) socket.frame({ type: 'news', content: n });
    for (let n = 0; n <= 1000; n++) assert.equal((await news.next()).value.content, n);
    await assert.rejects(news.next(), { code: 'overflow' });
    assert.deepEqual(await news.next(), { done: true, value: undefined });
    const other = hub.messages('news');
    const pending = other.next();
    await other.return();
    assert.deepEqual(await pending, { done: true, value: undefined });
  });
});

describe('questions of the server', () => {
  const ask = async (socket, question) => {
    socket.take();
    socket.frame(question);
    await settle();
    return socket.take();
  };

  test('are answered once, with the handler’s result or its error', async () => {
    const socket = up();
    hub.answer('confirm', async ({ content }) => content === 'sure?');
    hub.answer('bytes', () => new Uint8Array([1, 10]));
    hub.answer('no', () => { throw new HubbubError('denied', 'not now', 'content'); });
    hub.answer('bug', () => { throw new Error('secret'); });
    assert.deepEqual(await ask(socket, { type: 'confirm', content: 'sure?', id: 's1' }), [{ type: 'ack', id: 's1', content: true }]);
    assert.deepEqual([...(await ask(socket, { type: 'bytes', id: 's2' }))[0].bytes], [1, 10]);
    assert.deepEqual((await ask(socket, { type: 'no', id: 's3' }))[0].content, { code: 'denied', message: 'not now', field: 'content' });
    assert.deepEqual((await ask(socket, { type: 'bug', id: 's4' }))[0].content, { code: 'internal', message: 'internal' });
    assert.equal(errors[0].message, 'secret');
    assert.equal((await ask(socket, { type: 'what', id: 's5', room: 'r' }))[0].content.code, 'unknown_type');
  });

  test('are not answered on another connection; an answer over the limit is an error', async () => {
    const socket = up({}, { limit: 300 });
    let give;
    hub.answer('slow', () => new Promise((resolve) => { give = resolve; }));
    const off = hub.answer('big', () => 'x'.repeat(300));
    assert.equal((await ask(socket, { type: 'big', id: 's1' }))[0].content.code, 'too_large');
    off();
    assert.equal((await ask(socket, { type: 'big', id: 's2' }))[0].content.code, 'unknown_type');
    await ask(socket, { type: 'slow', id: 's3' });
    const next = again();
    give('late');
    await settle();
    assert.deepEqual(next.take(), []);
  });
});
