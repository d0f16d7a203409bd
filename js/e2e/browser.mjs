// A Chromium of this machine, and one page of the chat seen through its hooks.

import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { until } from './program.mjs';

const OUT = fileURLToPath(new URL('out/', import.meta.url));
const PLACES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];
const FLAGS = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

export const executable = PLACES.find((place) => place && existsSync(place));

/** Why pages cannot be tested here; false where they can, or have to be. */
export const skip = !executable && process.env.CI !== 'true' ? 'no Chromium on this machine (set CHROMIUM to its path)' : false;

export function launch() {
  const isRoot = process.getuid?.() === 0; // the sandbox does not run as root
  return chromium.launch({ executablePath: executable, chromiumSandbox: !isRoot, args: FLAGS });
}

/** A page of the chat in a context of its own: another person on another device. */
export function open(browser, url, options) {
  return openAs(ChatPage, browser, url, options);
}

/** The same for a page that is seen through another class than ChatPage. */
export async function openAs(Page, browser, url, options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', ...options });
  const seen = new Page(await context.newPage());
  await seen.page.goto(url);
  return seen;
}

/** The same, but its first join is answered with an error. */
export async function openRefused(Page, browser, url, content) {
  const page = await browser.newPage();
  const seen = new Page(page);
  let refused = false;
  await page.routeWebSocket(/\/ws/, (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((frame) => {
      const { type, id, room } = JSON.parse(frame);
      if (refused || type !== 'join') return server.send(frame);
      refused = true;
      socket.send(JSON.stringify({ type: 'error', id, room, content, timestamp: Date.now() }));
    });
  });
  await page.goto(url);
  await until(() => refused, 'the page asks to join');
  return seen;
}

/** How many pixels of the page stick out at the side. */
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** A page, its connections and its errors. */
export class WatchedPage {
  sockets = new Set(); // the connections that are open or being opened
  mostSockets = 0; // how many there were at once
  errors = [];

  constructor(page) {
    this.page = page;
    page.setDefaultTimeout(10_000);
    page.on('websocket', (socket) => this.#watch(socket));
    page.on('pageerror', (error) => this.errors.push(error.message));
    page.on('console', (message) => this.#heard(message));
  }

  #watch(socket) {
    this.sockets.add(socket);
    this.mostSockets = Math.max(this.mostSockets, this.sockets.size);
    const gone = () => this.sockets.delete(socket);
    socket.on('close', gone);
    socket.on('socketerror', gone);
  }

  // A server that is away is reported by the browser itself; that is no fault of the page.
  #heard(message) {
    if (message.type() === 'error' && !message.text().startsWith('WebSocket connection to')) {
      this.errors.push(message.text());
    }
  }

  async picture(name) {
    mkdirSync(OUT, { recursive: true });
    await this.page.screenshot({ path: `${OUT}${name}.png` });
  }

  close() {
    return this.page.context().close();
  }
}

class ChatPage extends WatchedPage {
  async enter(name) {
    await this.page.fill('#name', name);
    await this.page.click('#enter');
    await this.isState('open');
  }

  async say(body) {
    await this.page.fill('#text', body);
    await this.page.click('#send');
  }

  async switchTo(room) {
    await this.page.click(`[data-room="${room}"]`);
    await this.isState('open');
  }

  async isState(...states) {
    const wanted = states.map((state) => `#state[data-state="${state}"]`).join();
    await this.page.locator(wanted).waitFor({ state: 'attached', timeout: 30_000 });
  }

  /** Everything in the log of the room that is shown: {own, status, body} or {notice}. */
  log() {
    return this.page.locator('#log').evaluate((log) => [...log.children].filter(({ id }) => id !== 'older').map((entry) => (
      entry.classList.contains('message')
        ? { own: entry.dataset.own === 'true', status: entry.dataset.status, author: entry.querySelector('.author').textContent, body: entry.querySelector('.body').textContent }
        : { notice: entry.textContent })));
  }

  async messages(body) {
    return (await this.log()).filter((entry) => entry.body === body);
  }

  async notices(text) {
    return (await this.log()).filter((entry) => entry.notice === text);
  }

  sees(body) {
    return until(async () => (await this.messages(body)).some((m) => !m.own), `sees ${JSON.stringify(body)}`);
  }

  isSent(body) {
    return until(async () => (await this.messages(body)).some((m) => m.status === 'sent'), `${JSON.stringify(body)} is sent`);
  }

  seesNotice(text) {
    return until(async () => (await this.notices(text)).length, `is told ${JSON.stringify(text)}`);
  }

  people() {
    return this.page.locator('#people .who').allTextContents();
  }

  async hasPeople(...names) {
    const wanted = names.sort().join();
    let seen;
    await until(async () => {
      seen = (await this.people()).sort().join();
      return seen === wanted;
    }, `the people are ${wanted}`).catch((error) => { throw new Error(`${error.message}, but ${seen}`); });
  }

  typing() {
    return this.page.locator('#typing .names').textContent();
  }
}
