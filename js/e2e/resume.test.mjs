// Nothing lost, nothing twice, where more was missed than a client remembers, and
// acks with it: schedules made from a seed, against examples/relay. What the server
// keeps of a message is compared with what was acknowledged and with what each client
// saw. schedules.test.mjs has many clients and all kinds of faults.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from '@hubbub/client';
import { WebSocket as NodeWebSocket } from 'ws';
import { build, freeAddress, start, until } from './program.mjs';

const SCHEDULES = Number(process.env.SCHEDULES ?? 200);
const LOSSES = Math.ceil(SCHEDULES / 10);
const LOSSES_AT_ONCE = 4;
const MISSED = 310; // more than a client remembers

let built, program;

before(async () => {
  built = await build('relay');
  program = await start(built.binary, await freeAddress());
});
after(async () => {
  await program?.stop();
  await built?.remove();
});

/** mulberry32: small numbers from a seed, the same on every machine. */
const random = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A client whose socket can be cut, kept away, or stalled: paused, as a network does that goes on later. */
function client(room) {
  const sockets = [];
  let away = false;
  class Socket extends NodeWebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
      if (away) setImmediate(() => this.terminate());
    }
  }
  const hub = connect(program.socketUrl, { WebSocket: Socket, retryMin: 5, retryMax: 60 });
  const one = { hub, room: hub.room(room), seen: [], gaps: [], acked: new Map() };
  one.room.on('msg', ({ content }) => one.seen.push(content));
  one.room.on('gap', (gap) => one.gaps.push(gap));
  one.cut = () => sockets.at(-1)?.terminate();
  one.deafen = () => {
    const socket = sockets.at(-1);
    if (socket?.readyState === NodeWebSocket.OPEN) socket.pause();
  };
  one.goAway = () => {
    away = true;
    one.cut();
  };
  one.comeBack = () => { away = false; };
  one.stall = async (ms) => {
    const socket = sockets.at(-1);
    if (socket?.readyState !== NodeWebSocket.OPEN) return;
    socket.pause();
    await pause(ms);
    if (socket.readyState === NodeWebSocket.OPEN) socket.resume();
  };
  return one;
}

/** One sends, hears no answer, is away while much is said, and is often cut again before it has all of it. */
async function lostAcks(seed) {
  const next = random(seed);
  const name = `log/lost-${seed}`;
  const [one, other] = [client(name), client(name)];
  await Promise.all([one.room.join(), other.room.join()]);
  const mine = [];
  const said = [];
  for (const many of [MISSED, 40, MISSED]) {
    one.deafen();
    for (let own = Math.floor(next() * 3); own >= 0; own--) {
      const body = `own.${mine.length}`;
      mine.push(one.room.send('msg', body).then(({ cursor }) => one.acked.set(body, cursor)));
    }
    await pause(next() * 12);
    one.goAway();
    const texts = Array.from({ length: many }, (_, i) => `${said.length + i}`);
    said.push(...texts);
    await Promise.all(texts.map((text) => other.room.send('msg', text)));
    one.comeBack();
    for (let cuts = Math.floor(next() * 4); cuts > 0; cuts--) {
      await pause(next() * 20);
      if (next() < 0.5) await one.stall(next() * 10);
      one.cut();
    }
    await Promise.all(mine);
    await until(() => one.seen.length >= said.length, `seed ${seed}: ${one.seen.length} of ${said.length} arrive`);
  }
  // What came after a cursor that has led back, or was passed over, would show now.
  one.cut();
  await other.room.send('msg', 'last');
  said.push('last');
  await until(() => one.seen.includes('last'), `seed ${seed}: the last arrives`);
  assert.deepEqual(one.seen, said, `seed ${seed}: once and in order`);
  assert.deepEqual(one.gaps, [], `seed ${seed}: no gap`);
  const { messages } = await other.room.call('history', { limit: 1000 });
  const place = new Map(messages.map(({ content, cursor }) => [content, cursor]));
  assert.equal(messages.length, said.length + mine.length, `seed ${seed}: every message is kept once`);
  for (const [body, cursor] of one.acked) if (cursor) assert.equal(cursor, place.get(body), `seed ${seed}: the place of ${body}`);
  for (const { hub } of [one, other]) hub.close();
}

test(`${LOSSES} schedules of lost acks, with more missed than is remembered`, { timeout: 240_000 }, async () => {
  for (let seed = 1; seed <= LOSSES; seed += LOSSES_AT_ONCE) {
    await Promise.all(Array.from({ length: LOSSES_AT_ONCE }, (_, i) => lostAcks(seed + i)));
  }
});

test('a restart loses what is kept in memory, and every client is told', { timeout: 60_000 }, async () => {
  const [a, b] = [client('log/restart'), client('log/restart')];
  await Promise.all([a.room.join(), b.room.join()]);
  await a.room.send('msg', 'before');
  await until(() => b.seen.length, 'it arrives');
  const address = new URL(program.socketUrl).host;
  await program.stop('SIGKILL');
  await until(() => a.hub.state === 'reconnecting' && b.hub.state === 'reconnecting', 'both notice');
  const queued = a.room.send('msg', 'after');
  program = await start(built.binary, address);
  await queued;
  await until(() => a.gaps.length && b.gaps.length, 'both are told');
  assert.deepEqual([a.gaps[0].missed, a.gaps[0].reason], ['certain', 'epoch']);
  assert.deepEqual([b.gaps[0].missed, b.gaps[0].reason], ['certain', 'epoch']);
  for (const { hub } of [a, b]) hub.close();
});

test('the latest of each key, for who comes late', { timeout: 60_000 }, async () => {
  const source = client('latest/prices');
  await source.room.join();
  for (const [key, price] of [['a', 1], ['b', 1], ['a', 2]]) await source.room.send('msg', { key, price });
  const late = client('latest/prices');
  await late.room.join();
  await until(() => late.seen.length === 2, 'both keys arrive');
  assert.deepEqual(late.seen, [{ key: 'b', price: 1 }, { key: 'a', price: 2 }]);
  for (const { hub } of [source, late]) hub.close();
});
