// The script that the hub serves, on the page of the quick start, in a real
// browser: no bundler, no package.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { launch, skip } from './browser.mjs';
import { build, freeAddress, start, until } from './program.mjs';

// The relay passes on "msg" only, and to the others.
const PAGE = readFileSync(new URL('../../examples/quickstart/index.html', import.meta.url), 'utf8').replaceAll("'say'", "'msg'");

let built, program, browser;

before(async () => {
  built = await build('relay');
  program = await start(built.binary, await freeAddress());
  if (!skip) browser = await launch();
});
after(async () => {
  await browser?.close();
  await program?.stop();
  await built?.remove();
});

test('the relay serves the script that is in the repository', { timeout: 30_000 }, async () => {
  const response = await fetch(new URL('/hubbub.js', program.url));
  assert.equal(response.headers.get('content-type'), 'text/javascript; charset=utf-8');
  assert.equal(await response.text(), readFileSync(new URL('../../hub/hubbub.js', import.meta.url), 'utf8'));
});

test('in Chromium: the page of the quick start imports it, and continues after the server was away', { skip, timeout: 60_000 }, async () => {
  const errors = [];
  const open = async () => {
    const page = await browser.newPage();
    page.on('pageerror', (error) => errors.push(error.message));
    const joined = new Promise((resolve) => {
      page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => { if (payload.includes('"members"')) resolve(); }));
    });
    await page.goto(new URL('/hubbub.js', program.url).href); // some page of that origin
    await page.setContent(PAGE);
    await joined;
    return page;
  };
  const log = (page) => page.locator('#log li').allTextContents();
  const say = async (page, text) => {
    await page.fill('#text', text);
    await page.press('#text', 'Enter');
  };
  const [ana, ben] = [await open(), await open()];
  await say(ana, 'hello');
  await until(async () => (await log(ben)).join() === 'hello', 'Ben reads it');

  const frames = [];
  for (const page of [ana, ben]) {
    page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => frames.push(JSON.parse(payload).type)));
  }
  const address = new URL(program.url).host;
  await program.stop('SIGKILL');
  program = await start(built.binary, address);
  await until(() => frames.filter((type) => type === 'join').length === 2, 'both are back', 30_000);
  assert.deepEqual(frames.sort(), ['auth', 'auth', 'join', 'join']);
  await say(ben, 'back');
  await until(async () => (await log(ana)).join() === 'back', 'Ana reads it');
  assert.deepEqual(errors, []);
});
