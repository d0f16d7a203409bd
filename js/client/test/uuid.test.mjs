// The ids that messages get, seen from outside.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { connect } from '@hubbub/client';
import { begin, end, MockSocket, START } from './world.mjs';

beforeEach(begin);
afterEach(end);

test('ids are UUIDs of version 7, ascend within a millisecond and carry the time', () => {
  const hub = connect('ws://chat.example/ws', { WebSocket: MockSocket });
  MockSocket.last.welcome();
  for (let i = 0; i < 5000; i++) hub.send('msg', i).catch(() => {});
  const ids = MockSocket.last.take('msg').map(({ id }) => id);
  hub.close();
  assert.deepEqual(ids, [...ids].sort());
  assert.equal(new Set(ids).size, 5000);
  assert.ok(ids.every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)));
  const time = parseInt(ids[0].replace('-', '').slice(0, 12), 16);
  assert.equal(time, START);
});
