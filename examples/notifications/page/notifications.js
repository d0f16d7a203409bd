// The inbox of one user. All tabs get the same messages, read marks among them, so
// they show the same without talking to each other.

import { connect, HubbubError } from '/hubbub.js';

const JOIN_AGAIN = 2_000; // ms, if a join failed for now and the server names no time
// A refusal of these kinds is not the last word.
const PASSING = ['rate_limited', 'unavailable', 'timeout', 'internal'];
const KEEP = 200; // notifications that are shown; the server keeps as many
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

const $ = (selector, within = document) => within.querySelector(selector);

class Inbox {
  #hub;
  #room;
  #user;
  #items = []; // {cursor, old, node}, the oldest first; a gap has no cursor
  #read = ''; // cursor of the last that is read

  constructor(user) {
    this.#user = user;
    this.#hub = connect(`/ws?user=${encodeURIComponent(user)}`);
    this.#room = this.#hub.room(`inbox/${user}`);
    this.#room.on('notification', (message) => this.#add(message));
    this.#room.on('inbox.read', ({ content }) => this.#marked(content?.cursor));
    this.#room.on('join', () => this.#showState());
    this.#room.on('gap', () => this.#beginAnew());
    this.#hub.on('state', () => this.#showState());
    $('#all').addEventListener('click', () => this.#mark(this.#items.at(-1)));
    $('#compose').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send($('#to').value, $('#text').value);
    });
    this.#show();
    this.#join();
  }

  // Who joins gets everything that is kept; once it has been in the room, the client
  // joins again after every reconnect and then gets what was missed, once and in order.
  #join() {
    this.#room.join().catch(({ code, message, retryAfter = JOIN_AGAIN }) => {
      $('#state').textContent = `Cannot open the inbox: ${message}`;
      if (PASSING.includes(code)) setTimeout(() => this.#join(), retryAfter);
    });
  }

  // What is here stays, for reading. What the server keeps comes below it, as to
  // somebody who joins for the first time.
  #beginAnew() {
    for (const item of this.#items) item.old = true;
    this.#items.push({ old: true, node: clone('#gap-template') });
    $('#list').prepend(this.#items.at(-1).node);
    this.#room.leave().catch(() => {}); // gone either way
    this.#join();
    this.#show();
  }

  #add({ content, cursor, timestamp }) {
    this.#drop(this.#items.findIndex((item) => item.cursor === cursor)); // it comes anew, in its place
    const item = { cursor, old: false, node: clone('#item-template') };
    $('.from', item.node).textContent = text(content?.from, 'somebody');
    $('.text', item.node).textContent = text(content?.text);
    $('time', item.node).dateTime = new Date(timestamp).toISOString();
    $('time', item.node).textContent = clock.format(timestamp);
    $('.mark', item.node).addEventListener('click', () => this.#mark(item));
    this.#items.push(item);
    $('#list').prepend(item.node);
    if (this.#items.length > KEEP) this.#drop(0);
    this.#show();
  }

  #drop(index) {
    if (index >= 0) this.#items.splice(index, 1)[0].node.remove();
  }

  // Cursors are compared and nothing else; which of two is later says the list. A
  // mark never leads back, as two tabs may mark at the same moment.
  #marked(cursor) {
    if (this.#place(cursor) > this.#place(this.#read)) this.#read = cursor;
    this.#show();
  }

  #place(cursor) {
    return this.#items.findIndex((item) => item.cursor && item.cursor === cursor);
  }

  // The mark comes back as a message of the inbox, to this tab and the others.
  #mark(item) {
    const { cursor, old } = item ?? {};
    if (!cursor || old) return;
    this.#room.send('inbox.read', { cursor }).catch((error) => {
      $('#sent').textContent = `Not marked: ${error.message}`;
    });
  }

  #show() {
    const read = this.#place(this.#read);
    let unread = 0;
    for (const [i, { cursor, old, node }] of this.#items.entries()) {
      const isNew = !!cursor && !old && i > read;
      node.toggleAttribute('data-unread', isNew);
      if (isNew) unread++;
    }
    $('#badge').textContent = unread;
    $('#badge').hidden = $('#all').hidden = unread === 0;
    $('#none').hidden = this.#items.length > 0;
    document.title = unread ? `(${unread}) hubbub notifications` : 'hubbub notifications';
  }

  #showState() {
    const open = this.#hub.state === 'connected' && this.#room.joined;
    $('#state').dataset.state = open ? 'open' : this.#hub.state;
    $('#state').textContent = open ? 'Live' : { closed: 'Closed', reconnecting: 'Reconnecting …' }[this.#hub.state] ?? 'Connecting …';
  }

  // Sending is plain REST: it works from anywhere, and to anybody, here or not.
  async #send(to, words) {
    $('#sent').textContent = '';
    try {
      const answer = await fetch(`/notifications?user=${encodeURIComponent(this.#user)}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ to, text: words }),
      });
      if (!answer.ok) throw new HubbubError('refused', (await answer.text()).trim());
      $('#text').value = '';
      $('#sent').textContent = `Sent to ${to}.`;
    } catch (error) {
      $('#sent').textContent = `Not sent: ${error instanceof HubbubError ? error.message : 'the server cannot be reached'}`;
    }
    $('#text').focus();
  }
}

function clone(template) {
  return $(template).content.firstElementChild.cloneNode(true);
}

// Contents are checked, not trusted.
function text(value, fallback = '') {
  return typeof value === 'string' ? value : fallback;
}

const user = new URLSearchParams(location.search).get('user') ?? '';
if (/^[a-z0-9][a-z0-9_-]{0,31}$/.test(user)) {
  $('#app').hidden = false;
  $('#me').textContent = user;
  new Inbox(user);
} else {
  $('#entrance').hidden = false;
  $('#name').focus();
  $('#name').addEventListener('input', ({ target }) => { target.value = target.value.toLowerCase(); });
  $('#door').addEventListener('submit', (event) => {
    event.preventDefault();
    location.assign(`?user=${encodeURIComponent($('#name').value)}`);
  });
}
