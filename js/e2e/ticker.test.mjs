// The ticker as its users meet it: the real program, real browsers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openAs, openRefused, overflow, skip, WatchedPage } from './browser.mjs';
import { example } from './example.mjs';
import { until } from './program.mjs';

const SYMBOLS = 50;

class TickerPage extends WatchedPage {
  prices() {
    return this.page.locator('#prices tr').evaluateAll((rows) => rows.map((row) => `${row.querySelector('th').textContent} ${row.querySelector('.price').textContent}`));
  }

  async rate(name) {
    return Number((await this.page.locator(`#${name}`).textContent()).replace(/\D/g, ''));
  }

  isState(state) {
    return this.page.locator(`#state[data-state="${state}"]`).waitFor({ timeout: 30_000 });
  }

  hasAll() {
    return until(async () => (await this.prices()).filter((row) => /^[A-Z]{4} [\d,]+\.\d\d$/.test(row)).length === SYMBOLS, 'all prices are there');
  }
}

describe('ticker', { skip, timeout: 300_000 }, () => {
  const app = example('ticker');

  const visit = async (hash = '', options) => {
    const ticker = await openAs(TickerPage, app.browser, app.program.url + hash, options);
    app.pages.push(ticker);
    await ticker.isState('open');
    return ticker;
  };

  test('who comes late has all prices at once, and sees them go up and down', async () => {
    const ticker = await visit();
    await ticker.hasAll();
    const first = await ticker.prices();
    assert.deepEqual(first.toSorted(), first);
    for (const way of ['up', 'down']) {
      await until(() => ticker.page.locator(`.last[data-move="${way}"]`).count(), `a price goes ${way}`);
    }
  });

  test('thousands of changes become a calm stream, or all of them', async () => {
    const ticker = await visit();
    await until(async () => await ticker.rate('changes') >= 1000, 'there are thousands of changes');
    await until(async () => await ticker.rate('received') > SYMBOLS, 'it receives');
    const [received, sent] = [await ticker.rate('received'), await ticker.rate('sent')];
    assert.ok(received <= SYMBOLS * 10, `${received} a second are not calm`);
    assert.ok(sent <= SYMBOLS * 6, `${sent} were sent in a second`);
    await ticker.page.click('[data-room="all"]');
    await until(async () => await ticker.rate('received') >= 1000, 'it receives everything');
    assert.ok(await ticker.rate('painted') <= 250, 'once a frame');
    await ticker.hasAll();
  });

  test('after a new start of the server the page goes on by itself', async () => {
    const ticker = await visit();
    await ticker.hasAll();
    await app.program.stop('SIGKILL');
    await ticker.isState('reconnecting');
    const before = await ticker.prices();
    await app.start();
    await ticker.isState('open');
    await until(async () => {
      const now = await ticker.prices();
      return before.every((price, i) => price !== now[i]);
    }, 'every price is a new one');
    assert.equal((await ticker.prices()).length, SYMBOLS);
    assert.equal(ticker.mostSockets, 1);
  });

  test('a room that is not to be had for now is asked for again', async () => {
    const ticker = await openRefused(TickerPage, app.browser, app.program.url, { code: 'unavailable', retryAfter: 100 });
    app.pages.push(ticker);
    await ticker.isState('open');
    await ticker.hasAll();
  });

  test('the page fits phone and desktop', async () => {
    const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true };
    for (const [name, options] of Object.entries({ phone, desktop: { viewport: { width: 1280, height: 800 } } })) {
      for (const colorScheme of ['light', 'dark']) {
        const ticker = await visit('', { ...options, colorScheme });
        await ticker.hasAll();
        await until(async () => await ticker.rate('received') > 0, 'there are rates');
        assert.equal(await overflow(ticker.page), 0, `${name}: nothing sticks out`);
        await ticker.picture(`ticker-${name}-${colorScheme}`);
        await ticker.page.close();
      }
    }
  });
});
