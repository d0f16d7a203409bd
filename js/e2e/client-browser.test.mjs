// The built script of @hubbub/client in a real browser, on the page of the chat,
// which is the origin that its server admits.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { skip } from './browser.mjs';
import { example } from './example.mjs';
import { until } from './program.mjs';

const SCRIPT = readFileSync(new URL('../client/dist/client.iife.js', import.meta.url), 'utf8');

describe('the client in Chromium', { skip, timeout: 60_000 }, () => {
  const app = example('chat');

  test('connect by a relative url, sleep offline, come back on one connection', async () => {
    const page = await app.browser.newPage({ bypassCSP: true });
    const live = new Set();
    await page.goto(app.program.url);
    page.on('websocket', (socket) => {
      live.add(socket);
      socket.on('close', () => live.delete(socket));
      socket.on('socketerror', () => live.delete(socket));
    });
    await page.addScriptTag({ content: SCRIPT });
    await page.evaluate(() => {
      window.states = [];
      window.hub = window.hubbub.connect('/ws', { retryMin: 100, retryMax: 400 });
      window.hub.on('state', (state) => window.states.push(state));
    });
    const state = (wanted) => until(() => page.evaluate((s) => window.hub.state === s, wanted), wanted);
    await state('connected');
    const code = await page.evaluate(() => window.hub.call('no.such.type', new Uint8Array([1])).catch((error) => error.code));
    assert.equal(code, 'unknown_type');

    await app.program.stop('SIGKILL');
    await state('reconnecting');
    await page.context().setOffline(true);
    await app.start();
    await page.context().setOffline(false);
    await state('connected');
    assert.deepEqual(await page.evaluate(() => window.states), ['connected', 'reconnecting', 'connected']);
    assert.equal(live.size, 1);
    await page.evaluate(() => window.hub.close());
    assert.deepEqual(await page.evaluate(() => window.hub.whyClosed.code), 1000);
    await page.close();
  });
});
