// An example program and a browser, for the tests of its pages.

import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import { executable, launch } from './browser.mjs';
import { build, freeAddress, start } from './program.mjs';

/**
 * For describe(): {address, program, browser, start(), pages}. start() is for a test
 * that has stopped the program. What is put into pages is closed after each test,
 * and has run without errors.
 */
export function example(name) {
  let built;
  const app = { pages: [], start: async () => { app.program = await start(built.binary, app.address); } };

  before(async () => {
    assert.ok(executable, 'Chromium is required where CI=true');
    built = await build(name);
    app.address = await freeAddress();
    await app.start();
    app.browser = await launch();
  });

  after(async () => {
    await app.browser?.close();
    await app.program?.stop();
    await built?.remove();
  });

  afterEach(async () => {
    const errors = app.pages.flatMap((page) => page.errors);
    await Promise.all(app.pages.map((page) => page.close()));
    app.pages = [];
    assert.deepEqual(errors, [], 'the pages ran without errors');
  });

  return app;
}
