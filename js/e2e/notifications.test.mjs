// The notifications as their users meet them: the real program, real browsers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openAs, openRefused, overflow, skip, WatchedPage } from './browser.mjs';
import { example } from './example.mjs';
import { until, wire } from './program.mjs';

const GAP = 'There is a gap: notifications are missing here';

class InboxPage extends WatchedPage {
  isState(state) {
    return this.page.locator(`#state[data-state="${state}"]`).waitFor({ timeout: 30_000 });
  }

  /** What is listed, the oldest first: "!text" is unread. */
  items() {
    return this.page.locator('#list > li').evaluateAll((items) => items.reverse().map((item) => (
      (item.hasAttribute('data-unread') ? '!' : '') + (item.querySelector('.text') ?? item).textContent)));
  }

  async has(...wanted) {
    let seen;
    await until(async () => {
      seen = await this.items();
      return seen.join('\n') === wanted.join('\n');
    }, `it has ${wanted}`).catch((error) => { throw new Error(`${error.message}, but ${seen}`); });
    const unread = wanted.filter((item) => item.startsWith('!')).length;
    assert.equal(await this.page.locator('#badge').textContent(), String(unread));
    assert.equal(await this.page.locator('#badge').isVisible(), unread > 0);
    assert.equal(await this.page.title(), unread ? `(${unread}) hubbub notifications` : 'hubbub notifications');
  }

  async send(to, text) {
    await this.page.fill('#to', to);
    await this.page.fill('#text', text);
    await this.page.click('#compose button');
    await until(async () => (await this.page.textContent('#sent')) === `Sent to ${to}.`, 'it is sent');
  }
}

describe('notifications', { skip, timeout: 300_000 }, () => {
  const app = example('notifications');

  const visit = async (user, options, url = app.program.url) => {
    const inbox = await openAs(InboxPage, app.browser, `${url}?user=${user}`, options);
    app.pages.push(inbox);
    await inbox.isState('open');
    return inbox;
  };

  const post = async (to, text) => {
    const answer = await fetch(`${app.program.url}notifications?user=cron`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ to, text }),
    });
    assert.equal(answer.status, 204);
  };

  test('two tabs of one user show the same, and what is read in one is read in the other', async () => {
    const [left, right, bob] = [await visit('ada'), await visit('ada'), await visit('bob')];
    for (const text of ['one', 'two', 'three']) await bob.send('ada', text);
    for (const tab of [left, right]) await tab.has('!one', '!two', '!three');
    await left.page.locator('.item', { hasText: 'two' }).locator('.mark').click();
    for (const tab of [left, right]) await tab.has('one', 'two', '!three');
    await right.page.click('#all');
    for (const tab of [left, right]) await tab.has('one', 'two', 'three');
    await bob.send('ada', 'four');
    for (const tab of [left, right]) await tab.has('one', 'two', 'three', '!four');
    const third = await visit('ada'); // a new tab
    await third.has('one', 'two', 'three', '!four');
    await bob.has();
  });

  test('who was away finds everything on return, once and in order', async () => {
    await post('carol', 'before the first visit');
    const first = await visit('carol');
    await first.has('!before the first visit');
    await first.page.click('#all');
    await first.has('before the first visit');
    await first.close();
    const missed = Array.from({ length: 20 }, (_, i) => `missed ${i + 1}`);
    for (const text of missed) await post('carol', text);
    const again = await visit('carol');
    await again.has('before the first visit', ...missed.map((text) => `!${text}`));
  });

  test('a tab that loses its connection gets what it missed, once and in order, and what was read', async () => {
    const line = await wire(app.address);
    const tab = await visit('dave', {}, line.url);
    const other = await visit('dave');
    await post('dave', 'here');
    await tab.has('!here');
    await tab.page.context().setOffline(true);
    line.cut();
    await tab.isState('reconnecting');
    const missed = Array.from({ length: 20 }, (_, i) => `missed ${i + 1}`);
    for (const text of missed) await post('dave', text);
    await other.has('!here', ...missed.map((text) => `!${text}`));
    await other.page.locator('.item:has(.text:text-is("missed 5")) .mark').click();
    await tab.page.context().setOffline(false);
    const wanted = ['here', ...missed.map((text, i) => (i < 5 ? text : `!${text}`))];
    for (const one of [tab, other]) await one.has(...wanted);
    assert.equal(tab.mostSockets, 1);
    await line.remove();
  });

  test('after a new start of the server the gap is shown, and what came since', async () => {
    const tab = await visit('erin');
    await post('erin', 'old');
    await tab.has('!old');
    await app.program.stop('SIGKILL');
    await tab.isState('reconnecting');
    await app.start();
    await post('erin', 'new');
    await tab.has('old', GAP, '!new');
    await tab.page.click('#all');
    await post('erin', 'newer');
    await tab.has('old', GAP, 'new', '!newer');
  });

  test('an inbox that is not to be had for now is asked for again', async () => {
    await post('gwen', 'here');
    const tab = await openRefused(InboxPage, app.browser, `${app.program.url}?user=gwen`, { code: 'timeout' });
    app.pages.push(tab);
    await tab.isState('open');
    await tab.has('!here');
  });

  test('markup stays text, and what the server refuses is said', async () => {
    const eve = await visit('eve');
    const attack = '<img src=x onerror=ran=1><script>ran=2</script>';
    await eve.send('eve', attack);
    await eve.has(`!${attack}`);
    assert.equal(await eve.page.locator('#list :is(img, script)').count(), 0);
    assert.equal(await eve.page.evaluate(() => window.ran), undefined);
    await eve.page.fill('#text', '  ');
    await eve.page.click('#compose button');
    await until(async () => (await eve.page.textContent('#sent')).startsWith('Not sent: '), 'it says why');
    eve.errors = eve.errors.filter((error) => !error.includes('400')); // the browser's own words
  });

  test('the entrance asks for a name, and the page fits phone and desktop', async () => {
    const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true };
    for (const text of ['Your build has passed.', 'Grace has answered you: “Lovely, thank you for looking into it so quickly.”', 'The backup of tonight is done.']) {
      await post('frank', text);
    }
    for (const [name, options] of Object.entries({ phone, desktop: { viewport: { width: 1280, height: 800 } } })) {
      for (const colorScheme of ['light', 'dark']) {
        const tab = await openAs(InboxPage, app.browser, app.program.url, { ...options, colorScheme });
        app.pages.push(tab);
        await tab.page.fill('#name', 'frank');
        assert.equal(await overflow(tab.page), 0, `${name}: nothing sticks out of the entrance`);
        await tab.page.click('#door button');
        await tab.isState('open');
        await until(async () => (await tab.items()).length === 3, 'all are there');
        if (colorScheme === 'light' && name === 'phone') await tab.page.locator('.item', { hasText: 'build' }).locator('.mark').click();
        await until(async () => (await tab.page.textContent('#badge')) === '2', 'one is read');
        assert.equal(await overflow(tab.page), 0, `${name}: nothing sticks out`);
        await tab.picture(`notifications-${name}-${colorScheme}`);
      }
    }
  });
});
