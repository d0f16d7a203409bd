// The chat example as its users meet it: the real program, real browsers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect } from '@hubbub/client';
import { WebSocket as NodeWebSocket } from 'ws';
import { open, overflow, skip } from './browser.mjs';
import { example } from './example.mjs';
import { until, wire } from './program.mjs';

const BACK = 'You were away: you missed nothing';
const GAP = 'There is a gap: messages are missing here';


describe('chat', { skip, timeout: 600_000 }, () => {
  const app = example('chat');

  // The server keeps what earlier tests said; some need rooms in which nothing was.
  const beginAnew = async () => {
    await app.program.stop('SIGKILL');
    await app.start();
  };

  // Somebody who uses the client in Node: many messages, and none of them lost.
  const speak = async (name, fn) => {
    const hub = connect(app.program.socketUrl, { WebSocket: NodeWebSocket, retryMax: 500 });
    try {
      const room = hub.room('chat/lounge');
      await room.join({ name });
      const say = (word, from, to) => Promise.all(Array.from({ length: to - from + 1 }, (_, i) => room.send('chat.say', { body: `${word} ${from + i}` })));
      await fn(say, room);
    } finally {
      hub.close();
    }
  };

  // All of "word 1" to "word n", once and in order, and where the line about the absence is.
  const has = async (chat, word, n, line) => {
    const wanted = Array.from({ length: n }, (_, i) => `${word} ${i + 1}`);
    const seen = async () => (await chat.log()).map(({ body, notice }) => body ?? notice).filter((text) => text === line || text.startsWith(`${word} `));
    await until(async () => (await seen()).includes(`${word} ${n}`), `${word} ${n} is there`, 30_000);
    await until(async () => (await seen()).length >= n, 'and the rest');
    const all = await seen();
    assert.deepEqual(all.filter((text) => text !== line), wanted);
    return all.indexOf(line);
  };

  const visit = async (options) => {
    const chat = await open(app.browser, app.program.url, options);
    app.pages.push(chat);
    return chat;
  };

  // The names differ from test to test, so that a departure that is told late
  // cannot be taken for one of the test that follows.
  const meet = async (...names) => {
    const chats = [];
    for (const name of names) {
      const chat = await visit();
      await chat.enter(name);
      chats.push(chat);
    }
    for (const chat of chats) await chat.hasPeople(...names);
    return chats;
  };

  test('a message reaches the other once and is not echoed to its sender', async () => {
    const [ada, grace] = await meet('Ada', 'Grace');
    await ada.say('hello');
    await grace.sees('hello');
    await ada.isSent('hello');
    await grace.say('hello back'); // an echo would arrive before this
    await ada.sees('hello back');
    assert.deepEqual(await ada.messages('hello'), [{ own: true, status: 'sent', author: 'You', body: 'hello' }]);
    assert.deepEqual(await grace.messages('hello'), [{ own: false, status: 'received', author: 'Ada', body: 'hello' }]);
  });

  test('text of any kind arrives as it was written', async () => {
    const [ada, grace] = await meet('Ada2', 'Grace2');
    const body = 'line one\nline two: 有人发来了消息, "quotes", \\ and 👋🏽';
    await ada.say(body);
    await grace.sees(body);
  });

  test('typing is seen by the other, not by the one who types, and ends with the message', async () => {
    const [ada, grace] = await meet('Ada3', 'Grace3');
    await ada.page.locator('#text').pressSequentially('I am thinking');
    await until(async () => (await grace.typing()) === 'Ada3 is typing', 'Grace sees that Ada types');
    await grace.say('take your time'); // an echoed notice would have come before
    await ada.sees('take your time');
    assert.equal(await ada.typing(), '');
    await ada.page.press('#text', 'Enter');
    await grace.sees('I am thinking');
    assert.equal(await grace.typing(), '');
  });

  test('typing ends when the field is left', async () => {
    const [ada, grace] = await meet('Ada4', 'Grace4');
    await ada.page.locator('#text').pressSequentially('hm');
    await until(async () => (await grace.typing()) === 'Ada4 is typing', 'Grace sees that Ada types');
    await ada.page.locator('#text').blur();
    await until(async () => (await grace.typing()) === '', 'Grace sees that Ada stopped');
  });

  test('arrivals and departures are shown to those present, once each', async () => {
    const [ada, grace] = await meet('Ada5', 'Grace5');
    await grace.close();
    await ada.hasPeople('Ada5');
    await ada.seesNotice('Grace5 left');
    assert.equal(await ada.page.locator('#count').textContent(), '1');
    const grete = await visit();
    await grete.enter('Grete5');
    await ada.seesNotice('Grete5 joined');
    await grete.say('hi'); // a second notice would have come before
    await ada.sees('hi');
    for (const notice of ['Grace5 joined', 'Grace5 left', 'Grete5 joined']) {
      assert.equal((await ada.notices(notice)).length, 1, notice);
    }
    assert.deepEqual(await ada.notices('Ada5 joined'), []);
  });

  test('switching leaves one room and joins the other', async () => {
    const [ada, grace] = await meet('Ada6', 'Grace6');
    await ada.say('in the lounge');
    await grace.sees('in the lounge');
    await ada.switchTo('workshop');
    await ada.hasPeople('Ada6');
    await grace.seesNotice('Ada6 left');
    await grace.hasPeople('Grace6');
    assert.deepEqual(await ada.messages('in the lounge'), []);
    await grace.say('alone in the lounge');
    await grace.isSent('alone in the lounge');
    await grace.switchTo('workshop');
    await ada.hasPeople('Ada6', 'Grace6');
    await grace.say('in the workshop'); // what was said in the lounge would have come before
    await ada.sees('in the workshop');
    assert.deepEqual(await ada.messages('alone in the lounge'), []);
    await ada.switchTo('lounge'); // which tells what was said meanwhile
    await ada.sees('alone in the lounge');
    assert.equal((await ada.messages('alone in the lounge')).length, 1);
    assert.deepEqual((await ada.messages('in the lounge')).map(({ own, status }) => ({ own, status })), [{ own: true, status: 'sent' }]);
  });

  test('markup in names and messages stays text', async () => {
    const attack = (n) => `<img src=x onerror=ran=${n}>`;
    const [eve, grace] = await meet(attack(1), 'Grace7');
    const body = `${attack(2)}<script>ran=3</script>`;
    await eve.page.locator('#text').pressSequentially('x');
    await until(async () => (await grace.typing()).startsWith('<img'), 'the name is in the typing line');
    await eve.say(body);
    await grace.sees(body);
    await eve.close();
    await grace.seesNotice(`${attack(1)} left`);
    assert.equal((await grace.messages(body))[0].author, attack(1));
    assert.equal(await grace.page.locator(':is(#log, #people, #typing) :is(img, script)').count(), 0);
    assert.equal(await grace.page.evaluate(() => window.ran), undefined);
  });

  for (const signal of ['SIGKILL', 'SIGTERM']) {
    test(`after ${signal} and a new start the pages come back by themselves`, async () => {
      const [ada, grace] = await meet(`Ada ${signal}`, `Grace ${signal}`);
      await app.program.stop(signal);
      for (const chat of [ada, grace]) await chat.isState('waiting', 'connecting');
      assert.equal(await ada.page.locator('#state').isVisible(), true);
      await ada.say(`written after ${signal}`);
      assert.deepEqual((await ada.messages(`written after ${signal}`)).map((m) => m.status), ['pending']);
      await app.start();
      for (const chat of [ada, grace]) await chat.isState('open');
      for (const chat of [ada, grace]) await chat.hasPeople(`Ada ${signal}`, `Grace ${signal}`);
      await ada.isSent(`written after ${signal}`);
      await ada.say('are you there?');
      await grace.sees('are you there?');
      await grace.say('yes');
      await ada.sees('yes');
      for (const chat of [ada, grace]) await chat.seesNotice(GAP);
      for (const chat of [ada, grace]) {
        assert.equal(chat.sockets.size, 1, 'one live connection');
        assert.equal(chat.mostSockets, 1, 'never two at once');
      }
    });
  }

  test('"Try now" does not wait, and never opens a second connection', async () => {
    const [ada] = await meet('Ada8');
    await app.program.stop('SIGKILL');
    await ada.isState('waiting', 'connecting');
    await app.start();
    await ada.page.evaluate(() => {
      const events = [new Event('online'), new Event('pageshow')];
      for (let i = 0; i < 20; i++) {
        document.querySelector('#now').click();
        for (const event of events) dispatchEvent(event);
        document.dispatchEvent(new Event('visibilitychange'));
      }
    });
    await ada.isState('open');
    await ada.hasPeople('Ada8');
    assert.equal(ada.sockets.size, 1);
    assert.equal(ada.mostSockets, 1);
  });

  // The browser's side of the line breaks with the first message: before it, or after.
  for (const [name, arrives] of [['that the network swallowed', false], ['whose answer was lost', true]]) {
    test(`a message ${name} is sent again by itself, and is there once`, async () => {
      const [grace] = await meet(`Grace ${arrives}`);
      const ada = await visit();
      await ada.page.evaluate((through) => {
        const { send } = WebSocket.prototype;
        WebSocket.prototype.send = function breaks(data) {
          if (through || !data.includes('chat.say')) send.call(this, data);
          if (!data.includes('chat.say')) return;
          WebSocket.prototype.send = send;
          if (through) this.onmessage = null; // deaf
          this.close(3000);
        };
      }, arrives);
      await ada.enter(`Ada ${arrives}`);
      const body = `important ${arrives}`;
      await ada.say(body);
      await ada.isSent(body);
      await ada.seesNotice(BACK);
      await grace.sees(body);
      await ada.say(`after ${body}`); // a second one would have come before
      await grace.sees(`after ${body}`);
      for (const chat of [ada, grace]) assert.equal((await chat.messages(body)).length, 1);
    });
  }

  test('what was not acknowledged in time can be sent again by hand', async () => {
    const ada = await visit();
    await ada.page.clock.install();
    await ada.enter('Ada12');
    await app.program.stop('SIGKILL');
    await ada.isState('waiting', 'connecting');
    await ada.say('too late');
    await ada.page.clock.runFor(601_000);
    await until(async () => (await ada.messages('too late'))[0].status === 'failed', 'it is marked as not sent');
    await app.start();
    await ada.page.clock.resume();
    await ada.page.click('#now');
    await ada.isState('open');
    await ada.page.locator('.retry').filter({ visible: true }).click();
    await ada.isSent('too late');
    assert.equal((await ada.messages('too late')).length, 1);
  });

  test('what was not sent on leaving can be sent by hand after entering again', async () => {
    const [ada] = await meet('Ada16');
    await app.program.stop('SIGKILL');
    await ada.isState('waiting', 'connecting');
    await ada.say('before the door');
    await ada.page.click('#me');
    await app.start();
    await ada.enter('Ada16');
    await sendAgain(ada, 'before the door');
  });

  test('what arrived unnoticed before leaving is in the room once when it is sent again after entering again', async () => {
    const [ada] = await meet('Ada17');
    await ada.page.evaluate(() => {
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function deaf(data) {
        WebSocket.prototype.send = send;
        this.onmessage = null;
        this.send(data);
      };
    });
    await speak('Grace17', async (say, room) => {
      const heard = [];
      room.on('chat.say', ({ content }) => heard.push(content.body));
      await ada.say('through the door');
      await until(() => heard.includes('through the door'), 'Grace hears it');
      await say('line', 1, 50); // who enters gets no more
      await ada.page.click('#me');
      await ada.enter('Ada17');
      await sendAgain(ada, 'through the door');
      await say('line', 51, 51); // a second one would have come before
      assert.equal(heard.filter((body) => body === 'through the door').length, 1);
    });
  });

  test('what waits in a room that is left without a connection goes out when the room is entered again', async () => {
    const ada = await visit();
    const line = await socketLine(ada);
    await ada.enter('Ada20');
    const said = async (body) => (await ada.messages(body)).map(({ status }) => status).join();
    line.deafen();
    await ada.say('wait 1'); // nobody knows whether it arrives
    await line.cut();
    await ada.isState('waiting', 'connecting');
    await ada.say('wait 2');
    await ada.page.click('[data-room="workshop"]');
    await ada.say('wait in the workshop');
    await ada.page.click('[data-room="lounge"]');
    await ada.say('wait 3');
    for (const body of ['wait 1', 'wait 2', 'wait 3']) assert.equal(await said(body), 'pending', body);
    line.mend();
    await ada.page.click('#now');
    await ada.isState('open');
    for (const body of ['wait 1', 'wait 2', 'wait 3']) await ada.isSent(body);
    await has(ada, 'wait', 3);
    await ada.page.click('[data-room="workshop"]');
    await ada.isSent('wait in the workshop');
    assert.equal(await said('wait in the workshop'), 'sent');
  });

  test('what waits in a room that was left is marked as not sent on leaving the chat', async () => {
    const ada = await visit();
    const line = await socketLine(ada);
    await ada.enter('Ada21');
    await line.cut();
    await ada.isState('waiting', 'connecting');
    await ada.say('wait for ever');
    await ada.page.click('[data-room="workshop"]');
    await ada.page.click('#me');
    line.mend();
    await ada.enter('Ada21');
    await ada.switchTo('lounge');
    await sendAgain(ada, 'wait for ever');
  });

  test('100 messages that are sent while the page is offline are all there, once and in order', async () => {
    await beginAnew();
    // Chromium does not end connections when it is offline, it only makes no new ones.
    const line = await wire(app.address);
    const ada = await open(app.browser, line.url);
    app.pages.push(ada);
    await ada.enter('Ada13');
    await speak('Grace13', async (say) => {
      await say('line', 1, 1);
      await ada.sees('line 1');
      await ada.page.context().setOffline(true);
      line.cut();
      await ada.isState('offline');
      await say('line', 2, 101);
      assert.deepEqual(await ada.messages('line 2'), []);
      await ada.page.context().setOffline(false);
      assert.equal(await has(ada, 'line', 101, BACK), 1, 'the line is where the absence was');
    });
    assert.deepEqual(await ada.notices(GAP), []);
    assert.equal(ada.mostSockets, 1);
    await line.remove();
  });

  for (const first of ['the speaker', 'anybody']) {
    test(`after a new start of the server, ${first} back first, 100 messages are there and the gap is shown`, async () => {
      await beginAnew();
      const [ada] = await meet('Ada14');
      await speak('Grace14', async (say) => {
        await say('line', 1, 1);
        await ada.sees('line 1');
        await app.program.stop('SIGKILL');
        await ada.isState('waiting', 'connecting');
        if (first === 'the speaker') await ada.page.context().setOffline(true);
        const told = say('line', 2, 101);
        await app.start();
        if (first === 'the speaker') {
          await told;
          await ada.page.context().setOffline(false);
        }
        await told;
        await ada.seesNotice(GAP);
        assert.equal(await has(ada, 'line', 101, GAP), 1, 'the line is where the history was lost');
      });
      assert.deepEqual(await ada.notices(BACK), []);
      await ada.say('still here');
      await ada.isSent('still here');
    });
  }

  test('who comes later sees the last messages, and the older ones on scrolling up', async () => {
    await beginAnew();
    await speak('Grace15', (say) => say('line', 1, 120));
    const ada = await visit();
    await ada.enter('Ada15');
    await ada.sees('line 120');
    assert.deepEqual([(await ada.messages('line 71')).length, (await ada.messages('line 70')).length], [1, 0]);
    const log = ada.page.locator('#log');
    const first = (n) => until(async () => {
      await log.evaluate((node) => { node.scrollTop = 0; });
      return (await ada.messages(`line ${n}`)).length;
    }, `line ${n} is loaded`);
    await first(21);
    assert.notEqual(await log.evaluate((node) => node.scrollTop), 0, 'the reader stays where it was');
    await first(1);
    await until(() => ada.page.locator('#older').isHidden(), 'there is nothing older');
    await has(ada, 'line', 120);
    await ada.page.reload();
    await ada.enter('Ada15');
    await ada.sees('line 120');
    assert.deepEqual(await ada.messages('line 70'), []);
  });

  test('nobody hides the messages of another by the ids of them', async () => {
    await beginAnew();
    const [ada] = await meet('Ada18');
    await speak('Grace18', async (say, room) => {
      const ids = [];
      room.on('chat.say', ({ content: { body, id } }) => { if (body.startsWith('line ')) ids.push(id); });
      await say('line', 1, 60);
      await speak('Eve18', async (_, same) => { for (const [i, id] of ids.entries()) await same.send('chat.say', { body: `spam ${i + 1}` }, { id }); });
    });
    await has(ada, 'spam', 60);
    await ada.say('the end');
    const late = await visit();
    await late.enter('Late18');
    await late.sees('the end');
    await until(async () => {
      await late.page.locator('#log').evaluate((log) => { log.scrollTop = 0; });
      return (await late.messages('line 1')).length;
    }, 'the first message is loaded');
    await has(late, 'line', 60);
  });

  test('pages of the history of which all is known already are passed', async () => {
    await beginAnew();
    await speak('Grace19', (say) => say('line', 1, 120));
    const ada = await visit();
    // What an author sends again later than the room remembers has the id that it had.
    await ada.page.routeWebSocket('**/ws', (near) => {
      const far = near.connectToServer();
      far.onMessage((data) => near.send(data.replace(/"id":"[^"]*","name":"Grace19","body":"line (?!1")/g, '"id":"1","name":"Grace19","body":"line ')));
    });
    await ada.enter('Ada19');
    await ada.page.locator('#older').waitFor();
    await until(async () => {
      await ada.page.locator('#older').click({ timeout: 500 }).catch(() => {});
      return (await ada.messages('line 1')).length;
    }, 'the first message is loaded');
    await until(() => ada.page.locator('#older').isHidden(), 'there is nothing older');
  });

  test('a name that the server refuses leads back to the entrance, with the reason', async () => {
    const ada = await visit();
    await ada.page.locator('#name').evaluate((input) => input.removeAttribute('maxlength'));
    await ada.page.fill('#name', 'A'.repeat(100));
    await ada.page.click('#enter');
    await until(async () => await ada.page.textContent('#problem'), 'the reason is shown');
    assert.equal(await ada.page.isVisible('#name'), true);
    await until(() => ada.sockets.size === 0, 'the connection is closed');
    await ada.enter('Ada10');
    await ada.hasPeople('Ada10');
  });

  test('who reads further up is not moved, but told of new messages', async () => {
    const [ada, grace] = await meet('Ada11', 'Grace11');
    for (let i = 1; i <= 30; i++) await grace.say(`line ${i}`);
    await ada.sees('line 30');
    await ada.page.locator('#log').evaluate((log) => { log.scrollTop = 250; });
    await until(() => ada.page.locator('#log').evaluate((log) => log.scrollTop === 250), 'the log is scrolled up');
    await grace.say('line 31');
    await grace.say('line 32');
    await ada.sees('line 32');
    assert.equal(await ada.page.textContent('#jump'), '2 new messages');
    assert.equal(await ada.page.locator('#log').evaluate((log) => log.scrollTop), 250);
    await ada.page.click('#jump');
    await until(() => ada.page.locator('#jump').isHidden(), 'the notice is gone');
    await grace.say('line 33');
    await ada.sees('line 33');
    assert.equal(await ada.page.locator('#jump').isHidden(), true);
  });

  test('the name is kept for the next visit, and the page fits phone and desktop', async () => {
    await beginAnew();
    const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true };
    const grace = await visit({ ...phone, colorScheme: 'dark' });
    const line = await wire(app.address);
    const ada = await open(app.browser, line.url, { viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
    app.pages.push(ada);
    await grace.picture('phone-entrance');
    await ada.enter('Ada Lovelace');
    await grace.enter('Grace Hopper');
    await converse(ada, grace, line);
    for (const [chat, name] of [[ada, 'desktop'], [grace, 'phone']]) {
      assert.equal(await overflow(chat.page), 0, `${name}: nothing sticks out`);
      await chat.picture(name);
      const other = name === 'desktop' ? 'dark' : 'light';
      await chat.page.emulateMedia({ colorScheme: other });
      await chat.picture(`${name}-${other}`);
    }
    await ada.page.reload();
    assert.equal(await ada.page.inputValue('#name'), 'Ada Lovelace');
    await line.remove();
  });
});

/** The connections of a page, without which its icon still loads: {deafen(), cut(), mend()}. */
async function socketLine({ page }) {
  let [isDeaf, isCut] = [false, false];
  const ends = [];
  await page.routeWebSocket('**/ws', (near) => {
    if (isCut) return near.close({ code: 3000 });
    const far = near.connectToServer();
    far.onMessage((data) => { if (!isDeaf) near.send(data); });
    ends.push(near, far);
  });
  return {
    deafen() { isDeaf = true; },
    cut() {
      isCut = true;
      return Promise.all(ends.map((end) => end.close({ code: 3000 })));
    },
    mend() { isDeaf = isCut = false; },
  };
}

async function sendAgain(chat, body) {
  await until(async () => (await chat.messages(body))[0].status === 'failed', 'it is marked as not sent');
  await chat.page.locator('.retry').filter({ visible: true }).click();
  await chat.isSent(body);
  assert.equal((await chat.messages(body)).length, 1);
}

async function converse(ada, grace, line) {
  await grace.say('Good morning! Did the change to the retry path land?');
  await ada.sees('Good morning! Did the change to the retry path land?');
  line.cut();
  await ada.seesNotice(BACK);
  await ada.say('It did, an hour ago.');
  const more = 'The jitter is drawn after the cap now, so a restart no longer brings everybody back in the same second.';
  await ada.say(more);
  await grace.sees(more);
  await grace.say('Lovely. https://example.org/a/very/long/address/that/has/no/place/to/break/anywhere/in/it');
  await ada.isSent(more);
  await grace.page.locator('#text').pressSequentially('I will have a lo');
  await until(async () => (await ada.typing()) !== '', 'Ada sees that Grace types');
}
