// @hubbub/client against the real server: examples/relay, killed and started again.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { connect } from '@hubbub/client';
import { WebSocket as NodeWebSocket } from 'ws';
import { build, freeAddress, start, until } from './program.mjs';

let built, program;
const hubs = [];

before(async () => {
  built = await build('relay');
  program = await start(built.binary, await freeAddress());
});
after(async () => {
  await program?.stop();
  await built?.remove();
});
afterEach(() => {
  for (const hub of hubs) hub.close();
});

/** Starts the server again where it was. */
const restart = async () => {
  program = await start(built.binary, new URL(program.socketUrl).host);
};

/** Counts what is open, as the server would. */
class CountedSocket extends NodeWebSocket {
  static all = [];
  static get live() { return CountedSocket.all.filter(({ readyState }) => readyState < 2); }

  constructor(...args) {
    super(...args);
    CountedSocket.all.push(this);
  }
}

const open = (options) => {
  const hub = connect(program.socketUrl, { WebSocket: CountedSocket, retryMin: 100, retryMax: 400, ...options });
  hubs.push(hub);
  return hub;
};

test('join, message, echo, bytes, refusals', { timeout: 60_000 }, async () => {
  const [a, b] = [open(), open()];
  const [ra, rb] = [a.room('chat/1'), b.room('chat/1')];
  const got = [];
  rb.on('msg', ({ content, from }) => got.push([content, from]));
  assert.equal((await ra.join()).members, 1);
  assert.equal((await rb.join()).members, 2);
  assert.equal((await ra.send('msg', { body: '有人发来了消息 👋' })).status, 'acked');
  assert.equal((await ra.send('msg', Uint8Array.of(0, 10, 255))).status, 'acked');
  await until(() => got.length === 2, 'both messages arrive');
  assert.deepEqual(got[0], [{ body: '有人发来了消息 👋' }, a.id]);
  assert.deepEqual([...got[1][0]], [0, 10, 255]);
  assert.deepEqual(await ra.call('echo', [1, 'two', null]), [1, 'two', null]);
  assert.deepEqual([...await ra.call('echo', Uint8Array.of(10, 0))], [10, 0]);
  await assert.rejects(ra.call('no.such.type'), { code: 'unknown_type' });
  await assert.rejects(a.room('elsewhere').send('msg', 1), { code: 'not_member' });
  await assert.rejects(ra.send('msg', 'x'.repeat(70_000)), { code: 'too_large' });
  await rb.leave();
  await assert.rejects(rb.send('msg', 1), { code: 'not_member' });
});

for (const signal of ['SIGKILL', 'SIGTERM']) {
  test(`T5: the server ends by ${signal} and starts again: one live connection each, joined again, the queued message arrives`, { timeout: 60_000 }, async () => {
    CountedSocket.all = [];
    // Later than the other one may be told to come back: the room keeps nothing for it.
    const slow = open({ retryMin: 8000, retryMax: 8000, jitter: 0 });
    const fast = open();
    const [sender, receiver] = [slow.room('chat/5'), fast.room('chat/5')];
    const [got, gaps] = [[], []];
    receiver.on('msg', ({ content }) => got.push(content));
    receiver.on('gap', ({ missed }) => gaps.push(missed));
    await Promise.all([sender.join(), receiver.join()]);

    await program.stop(signal);
    await until(() => slow.state === 'reconnecting' && fast.state === 'reconnecting', 'both notice');
    const queued = sender.send('msg', 'queued');
    await restart();

    assert.equal((await queued).status, 'acked');
    await until(() => got.length, 'the queued message arrives');
    assert.deepEqual([got, gaps], [['queued'], ['possible']]);
    assert.deepEqual([sender.joined, receiver.joined, CountedSocket.live.length], [true, true, 2]);
    // The server's count agrees: nobody is in there twice.
    const witness = open();
    assert.equal((await witness.room('chat/5').join()).members, 3);
  });
}

test('T9: who goes, in whatever way, is counted no longer', { timeout: 60_000 }, async () => {
  CountedSocket.all = [];
  const all = [open(), open(), open({ retryMin: 30_000, retryMax: 30_000, jitter: 0 })];
  await Promise.all(all.map((hub) => hub.room('chat/9').join()));
  all[0].close();
  CountedSocket.all[2].terminate();
  const witness = open().room('chat/9');
  await until(async () => {
    await witness.leave();
    return (await witness.join()).members === 2;
  }, 'the one that stays and the witness');
});

test('T19: who is in three rooms and goes leaves each of them once; others cannot post there', { timeout: 60_000 }, async () => {
  const names = ['who/19/a', 'who/19/b', 'who/19/c'];
  const [a, b, outsider] = [open(), open(), open()];
  const left = [];
  const posted = [];
  await Promise.all(names.map((name) => b.room(name).join()));
  for (const name of names) {
    b.room(name).on('left', ({ from }) => left.push([name, from]));
    b.room(name).on('msg', ({ content }) => posted.push(content));
  }
  await Promise.all(names.map((name) => a.room(name).join()));
  const id = a.id;
  await outsider.room('who/19/d').join();
  await assert.rejects(outsider.room(names[2]).send('msg', 'from outside'), { code: 'not_member' });
  a.close();
  await until(() => left.length >= 3, 'all three rooms are told');
  await b.room(names[0]).send('msg', 'after that'); // nothing more came meanwhile
  assert.deepEqual(left.sort(), names.map((name) => [name, id]));
  assert.deepEqual(posted, []);
  for (const name of names) assert.equal(b.room(name).presence.count, 1);
});

test('a queued message waits for the server to come back', { timeout: 60_000 }, async () => {
  const hub = open();
  const room = hub.room('chat/6');
  await room.join();
  await program.stop('SIGKILL');
  await until(() => hub.state === 'reconnecting', 'it notices');
  const queued = room.send('msg', 'later');
  const dropped = await room.send('typing', null, { volatile: true });
  await restart();
  assert.equal((await queued).status, 'acked');
  assert.equal(dropped.status, 'dropped');
});
