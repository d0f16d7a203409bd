// The ticker: one room at a time, its prices by symbol, painted once a frame.

import { connect } from '/hubbub.js';

const ROOMS = ['calm', 'all'];
const JOIN_AGAIN = 2_000; // ms, if a join failed for now and the server names no time
// A refusal of these kinds is not the last word.
const PASSING = ['rate_limited', 'unavailable', 'timeout', 'internal'];
const FLASH_EVERY = 500; // ms; a price that changes all the time does not flicker
const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat(undefined, { style: 'percent', minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' });
const whole = new Intl.NumberFormat();
const still = matchMedia('(prefers-reduced-motion: reduce)');

const $ = (selector, within = document) => within.querySelector(selector);

const hub = connect('/ws');
const rows = new Map(); // symbol -> Row
const dirty = new Set(); // rows to paint in the next frame
const count = { received: 0, painted: 0 };
let room = null;
let off = [];
let again; // the timer of another join

class Row {
  #node = $('#price-template').content.firstElementChild.cloneNode(true);
  #shown = null; // in cents
  #flashed = -Infinity;
  quote = null;

  constructor(symbol) {
    $('th', this.#node).textContent = symbol;
    const after = [...$('#prices').children].find((row) => $('th', row).textContent > symbol);
    $('#prices').insertBefore(this.#node, after ?? null);
  }

  paint() {
    const { cents, open } = this.quote;
    if (this.#shown === cents) return;
    if (this.#shown !== null) this.#move(cents > this.#shown ? 'up' : 'down');
    this.#shown = cents;
    $('.price', this.#node).textContent = money.format(cents / 100);
    $('.since', this.#node).textContent = percent.format(cents / open - 1);
    $('.since', this.#node).dataset.move = cents > open ? 'up' : cents < open ? 'down' : '';
  }

  // The colour says it, and the arrow to those who do not see the colour.
  #move(way) {
    const last = $('.last', this.#node);
    last.dataset.move = way;
    $('.arrow', last).textContent = way === 'up' ? '▲' : '▼';
    const now = performance.now();
    if (still.matches || now - this.#flashed < FLASH_EVERY) return;
    this.#flashed = now;
    last.animate({ backgroundColor: [getComputedStyle(last).getPropertyValue('--flash'), 'transparent'] }, 400);
  }
}

function visit() {
  const name = ROOMS.includes(location.hash.slice(1)) ? location.hash.slice(1) : ROOMS[0];
  for (const link of document.querySelectorAll('[data-room]')) {
    if (link.dataset.room === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  for (const end of off) end();
  clearTimeout(again);
  room?.leave().catch(() => {}); // gone either way
  room = hub.room(`prices/${name}`);
  off = [room.on('ticker.quote', ({ content }) => received(content)), room.on('ticker.rates', ({ content }) => showRates(content)), room.on('join', showState)];
  join();
  showState();
}

// The newest price of each symbol follows the answer, also after a reconnect. The
// client joins again by itself once it has been in the room.
function join() {
  room.join().catch(({ code, retryAfter = JOIN_AGAIN }) => {
    if (PASSING.includes(code)) again = setTimeout(join, retryAfter);
    showState();
  });
}

// Contents are checked, not trusted.
function received(quote) {
  if (typeof quote?.symbol !== 'string' || !(quote.cents > 0) || !(quote.open > 0)) return;
  count.received++;
  let row = rows.get(quote.symbol);
  if (!row) rows.set(quote.symbol, row = new Row(quote.symbol));
  row.quote = quote;
  if (dirty.size === 0) requestAnimationFrame(paint);
  dirty.add(row);
}

function paint() {
  count.painted++;
  for (const row of dirty) row.paint();
  dirty.clear();
}

function showRates({ changes, sent }) {
  $('#changes').textContent = whole.format(changes);
  $('#sent').textContent = whole.format(sent);
}

function showState() {
  const open = hub.state === 'connected' && room.joined;
  $('#state').dataset.state = open ? 'open' : hub.state;
  $('#state').textContent = open ? 'Live' : { closed: 'Closed', reconnecting: 'Reconnecting …' }[hub.state] ?? 'Connecting …';
}

// Timers of a page in the background are late: a rate is of the time that has passed.
let since = performance.now();
setInterval(() => {
  const seconds = (performance.now() - since) / 1000;
  since = performance.now();
  for (const name of Object.keys(count)) {
    $(`#${name}`).textContent = whole.format(Math.round(count[name] / seconds));
    count[name] = 0;
  }
}, 1000);

hub.on('state', showState);
addEventListener('hashchange', visit);
visit();
