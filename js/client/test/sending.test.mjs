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
    assert.deepEqual(sent.now, { value: 'acked' });
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
    assert.deepEqual(sent.now, { value: 'acked' });
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

  test('connected, nothing overflows: 10 000 messages go out in order', async () => {
    const socket = up();
    const sends = Array.from({ length: 10_000 }, (_, i) => hub.send('msg', i));
    const frames = socket.take('msg');
    assert.deepEqual(frames.map(({ content }) => content), Array.from({ length: 10_000 }, (_, i) => i));
    for (const frame of frames) socket.ack(frame);
    await Promise.all(sends);
  });

  test('volatile messages are dropped without a connection, and the promise says so', async () => {
    const socket = make();
    assert.equal(await hub.send('typing', null, { volatile: true }), 'dropped');
    socket.welcome({ limit: 100 });
    assert.equal(await hub.send('typing', null, { volatile: true }), 'sent');
    assert.equal('id' in socket.take()[0], false);
    socket.bufferedAmount = 100_000;
    assert.equal(await hub.send('typing', null, { volatile: true }), 'dropped');
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
