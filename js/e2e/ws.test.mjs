// The wire by its description alone: no SDK, only a WebSocket and JSON.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { WebSocket as NodeWebSocket } from 'ws';
import { build, freeAddress, start } from './program.mjs';

const ANSWER_WITHIN = 5_000;
const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, i) => i);

let built, program;

before(async () => {
  built = await build('relay');
  program = await start(built.binary, await freeAddress());
});

after(async () => {
  await program?.stop();
  await built?.remove();
});

const clients = [['ws', NodeWebSocket]];
if (globalThis.WebSocket) clients.push(["the runtime's WebSocket", globalThis.WebSocket]);

for (const [name, WebSocket] of clients) {
  describe(`relay through ${name}`, { timeout: 120_000 }, () => {
    let peers = [];

    afterEach(() => {
      for (const peer of peers) peer.socket.close(1000);
      peers = [];
    });

    const connect = async (...protocols) => {
      const peer = new Peer(new WebSocket(program.socketUrl, protocols));
      peers.push(peer);
      peer.welcome = await peer.next();
      return peer;
    };

    const joined = async (room) => {
      const peer = await connect('hubbub.v1');
      await peer.answer({ type: 'join', room, id: 'join' });
      return peer;
    };

    test('the first frame is the welcome', async () => {
      const peer = await connect('hubbub.v1');
      const { type, content, timestamp } = peer.welcome;
      assert.equal(peer.socket.protocol, 'hubbub.v1');
      assert.equal(type, 'welcome');
      assert.equal(typeof content.id, 'string');
      assert.ok(content.id.length > 0);
      assert.ok(content.heartbeat > 0 && content.limit > 0, JSON.stringify(content));
      assertRecent(timestamp);
    });

    test('a client that names no subprotocol gets the same dialect', async () => {
      const peer = await connect();
      assert.equal(peer.socket.protocol, '');
      assert.equal(peer.welcome.type, 'welcome');
    });

    test('a join is acknowledged, also the second one', async () => {
      const peer = await connect('hubbub.v1');
      for (const id of ['1', '2']) {
        const ack = await peer.answer({ type: 'join', room: 'room/join', id });
        assert.deepEqual([ack.type, ack.id, ack.room, ack.content.members], ['ack', id, 'room/join', 1]);
        assertRecent(ack.timestamp);
      }
    });

    test('a message reaches the other members and not its sender', async () => {
      const [a, b] = [await joined('room/msg'), await joined('room/msg')];
      const content = { text: '有人发来了消息 👋', n: 9007199254740991, deep: [[{}], null, true] };
      const ack = await a.answer({ type: 'msg', room: 'room/msg', id: 'm1', content, from: 'somebody else', timestamp: 1, extra: 'ignored' });
      assert.deepEqual([ack.type, ack.id], ['ack', 'm1']);
      const got = await b.nextOf('msg');
      assert.deepEqual(got.content, content);
      assert.equal(got.room, 'room/msg');
      assert.equal(got.from, a.welcome.content.id);
      assert.equal('extra' in got, false);
      assertRecent(got.timestamp);
      await a.answer({ type: 'ping', id: 'fence' }); // an echo would have come before
      assert.deepEqual(a.seen('msg'), []);
    });

    test('messages of one sender arrive in order', async () => {
      const [a, b] = [await joined('room/order'), await joined('room/order')];
      const sent = Array.from({ length: 100 }, (_, i) => i);
      for (const n of sent) a.send({ type: 'msg', room: 'room/order', content: n });
      const got = [];
      while (got.length < sent.length) got.push((await b.nextOf('msg')).content);
      assert.deepEqual(got, sent);
    });

    test('an echo is acknowledged with the same id and content', async () => {
      const peer = await joined('room/echo');
      for (const content of [{ a: [1, 'two', null] }, 'text', 0, false, null, []]) {
        const ack = await peer.answer({ type: 'echo', room: 'room/echo', id: 'e-1', content });
        assert.deepEqual([ack.type, ack.id], ['ack', 'e-1']);
        assert.deepEqual(ack.content ?? null, content);
      }
    });

    test('a binary echo is acknowledged with the same bytes', async () => {
      const peer = await joined('room/echo-binary');
      const ack = await peer.answer({ type: 'echo', room: 'room/echo-binary', id: 'e-2' }, EVERY_BYTE);
      assert.deepEqual([ack.type, ack.id], ['ack', 'e-2']);
      assertBytes(ack, EVERY_BYTE);
    });

    test('a binary message arrives byte for byte', async () => {
      const [a, b] = [await joined('room/binary'), await joined('room/binary')];
      const large = new Uint8Array(50_000).map((_, i) => (i * 31) ^ (i >> 8));
      for (const bytes of [EVERY_BYTE, Uint8Array.of(10, 10, 0), new Uint8Array(0), large]) {
        await a.answer({ type: 'msg', room: 'room/binary', id: 'b-1' }, bytes);
        const got = await b.nextOf('msg');
        assert.equal('content' in got, false);
        assert.equal(got.room, 'room/binary');
        assert.equal(got.from, a.welcome.content.id);
        assertRecent(got.timestamp);
        assertBytes(got, bytes);
      }
      await a.answer({ type: 'ping', id: 'fence' });
      assert.deepEqual(a.seen('msg'), []);
    });

    test('a room mixes text and binary messages', async () => {
      const [a, b] = [await joined('room/mixed'), await joined('room/mixed')];
      a.send({ type: 'msg', room: 'room/mixed', content: 'one' });
      a.send({ type: 'msg', room: 'room/mixed' }, Uint8Array.of(2));
      a.send({ type: 'msg', room: 'room/mixed', content: 'three' });
      assert.equal((await b.nextOf('msg')).content, 'one');
      assertBytes(await b.nextOf('msg'), Uint8Array.of(2));
      assert.equal((await b.nextOf('msg')).content, 'three');
    });

    test('an unknown type is an error and the connection stays', async () => {
      const peer = await connect('hubbub.v1');
      assertError(await peer.answer({ type: 'no.such.type', id: 'u-1' }), 'unknown_type', 'u-1');
      await peer.isAlive();
    });

    const malformed = {
      'not JSON': 'hello',
      'an array': '[]',
      'no type': '{"content":1}',
      'an empty type': '{"type":""}',
      'a type in capitals': '{"Type":"ping","id":"1"}',
      'a type that is no string': '{"type":1}',
      'a duplicate member': '{"type":"ping","id":"1","id":"2"}',
      'two envelopes': '{"type":"ping"}{"type":"ping"}',
      'a binary frame without its newline': new TextEncoder().encode('{"type":"msg"}'),
    };
    for (const [what, frame] of Object.entries(malformed)) {
      test(`${what} is malformed and the connection stays`, async () => {
        const peer = await connect('hubbub.v1');
        peer.socket.send(frame);
        assertError(await peer.nextOf('error'), 'malformed');
        await peer.isAlive();
      });
    }

    test('a message to a room that one is not in is refused', async () => {
      const [a, b] = [await connect('hubbub.v1'), await joined('room/closed')];
      assertError(await a.answer({ type: 'msg', room: 'room/closed', id: 'n-1', content: 'psst' }), 'not_member', 'n-1');
      await a.isAlive();
      await b.answer({ type: 'ping', id: 'fence' });
      assert.deepEqual(b.seen('msg'), []);
    });

    test('a ping is answered with the same id and content', async () => {
      const peer = await connect('hubbub.v1');
      const pong = await peer.answer({ type: 'ping', id: 'p-1', content: { sent: 17 } });
      assert.deepEqual([pong.type, pong.id, pong.content], ['pong', 'p-1', { sent: 17 }]);
    });

    test('a leave is acknowledged and ends the delivery', async () => {
      const [a, b] = [await joined('room/leave'), await joined('room/leave')];
      for (const id of ['l-1', 'l-2']) { // leaving a room that one is not in is an ack as well
        const ack = await b.answer({ type: 'leave', room: 'room/leave', id });
        assert.deepEqual([ack.type, ack.id], ['ack', id]);
      }
      await a.answer({ type: 'msg', room: 'room/leave', id: 'm-1', content: 1 });
      await b.answer({ type: 'ping', id: 'fence' });
      assert.deepEqual(b.seen('msg'), []);
      assertError(await b.answer({ type: 'msg', room: 'room/leave', id: 'm-2' }), 'not_member', 'm-2');
    });

    test('a peer that closes is gone from its room', async () => {
      const [a, b] = [await joined('room/gone'), await joined('room/gone')];
      b.socket.close(1000, 'done');
      await b.closed;
      const deadline = Date.now() + ANSWER_WITHIN;
      for (let members = 2; members !== 1;) {
        assert.ok(Date.now() < deadline, `${members} members`);
        ({ content: { members } } = await a.answer({ type: 'join', room: 'room/gone', id: 'again' }));
      }
    });
  });
}

test('a client that offers only other subprotocols is refused before the upgrade', async () => {
  const socket = new NodeWebSocket(program.socketUrl, ['soap', 'mqtt']);
  const { response, body } = await refusal(socket);
  assert.equal(response.statusCode, 400);
  assert.equal(response.headers.connection, 'close');
  assert.match(body, /hubbub\.v1/);
  const { code, message } = JSON.parse(body);
  assert.ok(code && message, body);
});

/** One connection: frames in the order of their arrival, text and binary alike. */
class Peer {
  #frames = [];
  #pings = 0;
  #wake = () => {};

  constructor(socket) {
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    this.closed = new Promise((resolve) => socket.addEventListener('close', resolve));
    socket.addEventListener('message', ({ data }) => this.#received(data));
    socket.addEventListener('error', () => {}); // a close follows, and next() tells it
    this.closed.then(({ code, reason }) => this.#received({ closed: `${code} ${reason}` }));
  }

  #received(data) {
    this.#frames.push(data.closed ? data : decode(data));
    this.#wake();
  }

  send(envelope, bytes) {
    this.socket.send(bytes ? binary(envelope, bytes) : JSON.stringify(envelope));
  }

  /** Sends something with an id and returns the frame that answers it. */
  async answer(envelope, bytes) {
    this.send(envelope, bytes);
    return this.#take(({ id }) => id === envelope.id, `an answer to ${JSON.stringify(envelope)}`);
  }

  next() {
    return this.#take(() => true, 'a frame');
  }

  nextOf(type) {
    return this.#take((frame) => frame.type === type, `a frame of type ${type}`);
  }

  /** Frames of a type that arrived and that nobody has taken. */
  seen(type) {
    return this.#frames.filter((frame) => frame.type === type);
  }

  async isAlive() {
    const id = `alive-${++this.#pings}`;
    assert.equal((await this.answer({ type: 'ping', id })).type, 'pong');
  }

  async #take(wanted, what) {
    let late;
    const timeout = new Promise((_, reject) => {
      late = setTimeout(() => reject(new Error(`${what} did not come`)), ANSWER_WITHIN);
    });
    try {
      for (;;) {
        const at = this.#frames.findIndex(wanted);
        if (at >= 0) return this.#frames.splice(at, 1)[0];
        const closed = this.#frames.find((frame) => frame.closed);
        assert.ok(!closed, `${what} did not come, the connection ended: ${closed?.closed}`);
        await Promise.race([new Promise((resolve) => { this.#wake = resolve; }), timeout]);
      }
    } finally {
      clearTimeout(late);
    }
  }
}

function binary(envelope, bytes) {
  const head = new TextEncoder().encode(`${JSON.stringify(envelope)}\n`);
  const frame = new Uint8Array(head.length + bytes.length);
  frame.set(head);
  frame.set(bytes, head.length);
  return frame;
}

function decode(data) {
  if (typeof data === 'string') return JSON.parse(data);
  const bytes = new Uint8Array(data);
  const end = bytes.indexOf(0x0a);
  return { ...JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))), bytes: bytes.slice(end + 1) };
}

function assertBytes(frame, bytes) {
  assert.ok(frame.bytes, 'the frame is binary');
  assert.deepEqual(Buffer.from(frame.bytes), Buffer.from(bytes));
}

function assertError(frame, code, id) {
  assert.equal(frame.type, 'error');
  if (id) assert.equal(frame.id, id); // what is malformed may have lost its id
  assert.equal(frame.content.code, code);
  assert.ok(frame.content.message, 'it says why');
  assertRecent(frame.timestamp);
}

function assertRecent(timestamp) {
  assert.ok(Number.isInteger(timestamp), `${timestamp} is an integer`);
  assert.ok(Math.abs(Date.now() - timestamp) < 60_000, `${timestamp} is the time of the server`);
}

function refusal(socket) {
  return new Promise((resolve, reject) => {
    socket.on('open', () => reject(new Error('the server accepted it')));
    socket.on('error', reject);
    socket.on('unexpected-response', async (_, response) => {
      let body = '';
      for await (const part of response.setEncoding('utf8')) body += part;
      resolve({ response, body });
    });
  });
}
