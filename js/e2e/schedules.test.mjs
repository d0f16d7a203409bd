// Nothing lost, nothing twice, every hole announced: seeded schedules in which 20
// clients talk in a room of examples/relay, through a proxy that cuts and stalls
// their connections, while the server is killed and started again. It keeps history
// in memory: with it, what it had is lost. hubtest's Journal is the judge, by way of
// internal/judge.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { connect } from '@hubbub/client';
import { WebSocket as NodeWebSocket } from 'ws';
import { network } from './network.mjs';
import { build, freeAddress, start, until } from './program.mjs';

const SCHEDULES = Number(process.env.SCHEDULES ?? 200);
const AT_ONCE = 8; // each with a server of its own
const CLIENTS = 20;
const MESSAGES = 5; // of each client, and one more in the end
const LENGTH = 250; // ms
const WITHIN = 30_000; // for a schedule to come to rest

let relay, judge;

before(async () => { [relay, judge] = await Promise.all([build('relay'), build('judge', 'internal')]); });
after(() => Promise.all([relay?.remove(), judge?.remove()]));

/** mulberry32: small numbers from a seed, the same on every machine. */
const random = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A server, and the proxy in front of it. */
async function serve() {
  const address = await freeAddress();
  const one = { program: await start(relay.binary, address), network: await network(address) };
  one.restart = async (between) => {
    await one.program.stop('SIGKILL');
    between();
    one.program = await start(relay.binary, address);
  };
  one.remove = () => Promise.all([one.network.remove(), one.program.stop('SIGKILL')]);
  return one;
}

/** What goes wrong, and when anybody says something: all of it from the seed. */
function plan(seed) {
  const next = random(seed);
  const faults = Array.from({ length: 2 + Math.floor(next() * 6) }, () => {
    const kind = ['cut', 'cut', 'end', 'stall', 'stall', 'restart'][Math.floor(next() * 6)];
    const pick = kind === 'restart' || next() < 0.5 ? 0 : 1 + Math.floor(next() * CLIENTS);
    return { at: next() * LENGTH, kind, pick, ms: kind === 'stall' ? next() * LENGTH / 3 : 0 };
  }).sort((a, b) => a.at - b.at);
  const time = () => {
    if (next() < 0.3) return next() * LENGTH;
    const { at } = faults[Math.floor(next() * faults.length)]; // just before something goes wrong
    return Math.max(at - next() * 15, 0);
  };
  const times = () => Array.from({ length: MESSAGES }, time).sort((a, b) => a - b);
  return { faults, talk: Array.from({ length: CLIENTS }, times) };
}

class Member {
  gaps = []; // when it was told of each
  wrong = [];
  #said = 0;
  acked = 0;
  last = 0; // of the others' last messages, which it has seen

  constructor(url, place, name, events) {
    Object.assign(this, { place, name, events });
    this.hub = connect(url, { WebSocket: NodeWebSocket, retryMin: 5, retryMax: 60, ttl: WITHIN });
    this.room = this.hub.room(place);
    this.hub.on('error', (error) => this.wrong.push(error));
    this.room.on('msg', ({ content, cursor }) => {
      events.push(['see', place, name, content, cursor ?? '']);
      if (content.endsWith(': last')) this.last++;
    });
    this.room.on('gap', ({ missed, reason }) => {
      events.push(['gap', place, name]);
      this.gaps.push(performance.now());
      if (missed !== 'certain' || reason !== 'epoch') this.wrong.push(`a gap that is ${missed}: ${reason}`);
    });
    this.room.on('leave', () => this.wrong.push('it is out'));
  }

  async say(what = '') {
    const id = `${++this.#said}`;
    const body = `${this.name}: ${what || id}`;
    this.events.push(['publish', this.place, this.name, id, body]);
    const { cursor } = await this.room.send('msg', body);
    this.events.push(['ack', this.place, this.name, id, cursor ?? '']);
    this.acked++;
  }

  back(lost) {
    return this.room.joined && (!lost.length || this.gaps.at(-1) > lost.at(-1));
  }

  /** One gap for each history that was lost, unless it was away for several, and no others. */
  check(lost) {
    assert.deepEqual(this.wrong, [], `${this.name} hears nothing that is wrong`);
    assert.equal(this.acked, MESSAGES + 1, `${this.name} has its answers`);
    assert.ok(this.gaps.length <= lost.length, `${this.name} is told of ${this.gaps.length} gaps, and there were ${lost.length}`);
  }
}

async function play(server, seed) {
  const { faults, talk } = plan(seed);
  const place = `log/seed-${seed}`;
  const events = [];
  const lost = [];
  const members = talk.map((_, i) => new Member(server.network.url, place, `m${i}`, events));
  const restart = () => server.restart(() => {
    events.push(['lost', place]);
    lost.push(performance.now());
  });
  try {
    await Promise.all(members.map(({ room }) => room.join()));
    for (const { name } of members) events.push(['join', place, name]);
    let restarts = Promise.resolve(); // one after the other
    const all = faults.map(async ({ at, kind, pick, ms }) => {
      await pause(at);
      if (kind === 'restart') return (restarts = restarts.then(restart));
      return kind === 'stall' ? server.network.stall(ms, pick) : server.network[kind](pick);
    });
    talk.forEach((times, i) => times.forEach((at) => all.push(pause(at).then(() => members[i].say()))));
    await Promise.all(all);
    // Who comes back later is told of a gap that the last messages may be in.
    await until(() => members.every((member) => member.back(lost)), 'all are back, and know what was lost', WITHIN);
    await Promise.all(members.map((member) => member.say('last')));
    await until(() => members.every(({ last }) => last === CLIENTS - 1), 'all see the last messages', WITHIN);
    for (const member of members) member.check(lost);
    await verdict(events);
  } catch (error) {
    error.message = `seed ${seed}: ${error.message}\n${JSON.stringify(faults)}`;
    throw error;
  } finally {
    for (const { hub } of members) hub.close();
  }
}

/** Fails with what the judge says. */
function verdict(events) {
  return new Promise((resolve, reject) => {
    const child = execFile(judge.binary, (error, said) => error ? reject(new Error(said || error.message)) : resolve());
    child.stdin.on('error', () => {}).end(events.map((event) => JSON.stringify(event)).join('\n'));
  });
}

test(`${SCHEDULES} schedules of cuts, stalls and restarts for ${CLIENTS} clients`, { timeout: 600_000 }, async () => {
  let seed = 0;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    const server = await serve();
    try {
      while (++seed <= SCHEDULES) await play(server, seed);
    } finally {
      await server.remove();
    }
  }));
});
