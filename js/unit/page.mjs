// The modules of the chat page, in Node. The clock is the test's: nothing here
// waits.

import { readFileSync } from 'node:fs';
import { mock } from 'node:test';

const PAGE = new URL('../../examples/chat/page/', import.meta.url);

/** Imports a module of the page, which no package.json declares to be one. */
export function load(name) {
  const source = readFileSync(new URL(name, PAGE), 'base64');
  return import(`data:text/javascript;base64,${source}`);
}

export function fakeClock() {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
}

export function realClock() {
  mock.timers.reset();
}
