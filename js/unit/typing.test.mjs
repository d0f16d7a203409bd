// Typing notices on a clock of the test's own.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { fakeClock, load, realClock } from './page.mjs';

const { TypingSender, Typists } = await load('typing.js');

let sent, sender, shown, typists;

beforeEach(() => {
  fakeClock();
  sent = [];
  sender = new TypingSender((on) => sent.push(on) > 0);
  shown = [];
  typists = new Typists((names) => { shown = names; });
});

afterEach(realClock);

const pass = (ms) => mock.timers.tick(ms);

test('typing is told at most every 2 s', () => {
  for (let ms = 0; ms < 6_000; ms += 100) {
    sender.typed(true);
    pass(100);
  }
  assert.ok(sent.length >= 3 && sent.length <= 4, `${sent.length} notices in 6 s`);
});

test('the end is told once', () => {
  sender.typed(true);
  sender.stop();
  sender.stop();
  assert.deepEqual(sent, [true, false]);
});

test('an emptied field ends it', () => {
  sender.typed(true);
  sender.typed(false);
  assert.deepEqual(sent, [true, false]);
});

test('typing again within the 2 s is told at their end, unless it stopped before', () => {
  sender.typed(true);
  sender.stop();
  sender.typed(true);
  pass(1_999);
  assert.deepEqual(sent, [true, false]);
  pass(1);
  assert.deepEqual(sent, [true, false, true]);
  sender.stop();
  sender.typed(true);
  sender.stop();
  pass(10_000);
  assert.deepEqual(sent, [true, false, true, false]);
});

test('a notice that could not be sent is not counted as one', () => {
  const offline = new TypingSender(() => false);
  offline.typed(true);
  offline.stop();
  assert.deepEqual(sent, []);
});

test('somebody who types is shown for 4 s at most', () => {
  typists.set('1', 'Ada', true);
  pass(3_999);
  assert.deepEqual(shown, ['Ada']);
  typists.set('1', 'Ada', true); // a fresh notice
  pass(3_999);
  assert.deepEqual(shown, ['Ada']);
  pass(1);
  assert.deepEqual(shown, []);
});

test('several are shown, and each ends alone', () => {
  typists.set('1', 'Ada', true);
  typists.set('2', 'Ada', true);
  typists.set('3', 'Grace', true);
  typists.set('1', 'Ada', false);
  typists.set('4', 'nobody', false);
  assert.deepEqual(shown, ['Ada', 'Grace']);
  typists.clear();
  assert.deepEqual(shown, []);
  pass(10_000);
  assert.deepEqual(shown, []);
});
