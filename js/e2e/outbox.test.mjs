// A page in a real browser that is reloaded while its message has no answer, against
// examples/relay: with Web Locks and IndexedDB as they are.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { connect } from '@hubbub/client';
import { WebSocket as NodeWebSocket } from 'ws';
import { skip } from './browser.mjs';
import { example } from './example.mjs';
import { until } from './program.mjs';

const RELOADS = 5;
const OUTBOX = readFileSync(new URL('../client/dist/outbox.js', import.meta.url), 'utf8');

/** What the script of a page does. The relay serves no pages, but one of its origin is there. */
const load = (page) => page.evaluate(async (source) => {
  const client = `${location.origin}/hubbub.js`;
  const module = new Blob([source.replace('"@hubbub/client"', JSON.stringify(client))], { type: 'text/javascript' });
  const { connect } = await import(client);
  const { openOutbox } = await import(URL.createObjectURL(module));
  window.hub = connect('/ws', { lazy: true });
  window.room = window.hub.room('log/outbox');
  window.outbox = await openOutbox(window.hub);
  window.hub.connect();
  await window.room.join();
}, OUTBOX);

describe('the outbox in Chromium', { skip, timeout: 60_000 }, () => {
  const app = example('relay');

  /** Another tab; sent is what its connections send. */
  async function tab(context) {
    const page = await context.newPage();
    const sent = [];
    page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(JSON.parse(payload))));
    await page.goto(app.program.url);
    await load(page);
    return { page, sent, session: () => page.evaluate(() => window.hub.session) };
  }

  test('a reload before the answer, and the message is there once', async (t) => {
    const witness = connect(app.program.socketUrl, { WebSocket: NodeWebSocket });
    t.after(() => witness.close());
    const room = witness.room('log/outbox');
    const seen = [];
    room.on('msg', ({ content }) => seen.push(content));
    await room.join();

    const context = await app.browser.newContext();
    const [one, other] = [await tab(context), await tab(context)];
    const session = await one.session();
    const bodies = Array.from({ length: RELOADS }, (_, i) => `message ${i}`);
    for (const body of bodies) {
      await one.page.evaluate((text) => {
        const { send } = WebSocket.prototype;
        WebSocket.prototype.send = function deafens(data) {
          send.call(this, data);
          if (data.includes('"msg"')) this.onmessage = null;
        };
        void window.outbox.send(window.room, 'msg', text).catch(() => {});
      }, body);
      await until(() => seen.includes(body), `${body} is stored`);
      await one.page.reload();
      await load(one.page);
      await until(() => one.page.evaluate(async () => await window.outbox.size() === 0), `${body} is acknowledged`);
      assert.equal(one.sent.filter(({ type, content }) => type === 'msg' && content === body).length, 2, `${body} was sent twice`);
    }
    const { messages } = await room.call('history', { limit: 100 });
    assert.deepEqual(messages.map(({ content }) => content), bodies);
    assert.deepEqual(seen, bodies);
    assert.equal(await one.session(), session);
    assert.notEqual(await other.session(), session);
    await context.close();
  });

  test('the data of the site is cleared, or the database deleted by another tab, and the outbox goes on', async () => {
    const context = await app.browser.newContext();
    const [one, other] = [await tab(context), await tab(context)];
    const send = (text) => one.page.evaluate(async (body) => (await window.outbox.send(window.room, 'msg', body)).status, text);
    assert.equal(await send('before'), 'acked');
    const devtools = await context.newCDPSession(one.page);
    await devtools.send('Storage.clearDataForOrigin', { origin: new URL(app.program.url).origin, storageTypes: 'indexeddb' });
    await until(() => send('cleared').catch(() => false), 'it is opened again', 2_000);
    const deleted = await other.page.evaluate(async () => {
      const [{ name }] = await indexedDB.databases();
      const request = indexedDB.deleteDatabase(name);
      return new Promise((resolve) => { for (const how of ['success', 'blocked', 'error']) request[`on${how}`] = () => resolve(how); });
    });
    assert.equal(deleted, 'success');
    assert.equal(await send('deleted'), 'acked');
    await context.close();
  });
});
