// The built script of @hubbub/client in a real browser, on the page of the chat,
// which is the origin that its server admits.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { launch, skip } from './browser.mjs';
import { build, freeAddress, start, until } from './program.mjs';

const SCRIPT = readFileSync(new URL('../client/dist/client.iife.js', import.meta.url), 'utf8');

let built, program, browser;

before(async () => {
  if (skip) return;
  built = await build('chat');
  program = await start(built.binary, await freeAddress());
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await program?.stop();
  await built?.remove();
});

test('in Chromium: connect by a relative url, sleep offline, come back on one connection', { skip, timeout: 60_000 }, async () => {
  const page = await browser.newPage({ bypassCSP: true });
  const live = new Set();
  await page.goto(program.url);
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

  const address = new URL(program.url).host;
  await program.stop('SIGKILL');
  await state('reconnecting');
  await page.context().setOffline(true);
  program = await start(built.binary, address);
  await page.context().setOffline(false);
  await state('connected');
  assert.deepEqual(await page.evaluate(() => window.states), ['connected', 'reconnecting', 'connected']);
  assert.equal(live.size, 1);
  await page.evaluate(() => window.hub.close());
  assert.deepEqual(await page.evaluate(() => window.hub.whyClosed.code), 1000);
  await page.close();
});
