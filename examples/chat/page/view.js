// The screen. Everything that people wrote gets into the page through
// textContent, so it stays text.

const HUES = 6; // colours for people, see chat.css
const KEEP = 500; // entries of a room's log that stay in the page
const SETTLED = ':scope > :not([data-status=pending], [data-status=failed])'; // nothing unsent is dropped
const GROUP_WITHIN = 5 * 60_000; // messages of one person this close together share a name
const NEAR_END = 80; // px; whoever is this near to the end follows new messages

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

const $ = (selector, within = document) => within.querySelector(selector);

export class View {
  #on;
  #logs = new Map(); // room -> its entries while another room is shown
  #room = null;
  #following = true; // the reader is at the end of the log
  #unseen = 0; // messages below what the reader sees
  #unread = 0; // messages since the tab was last looked at
  #countdown = null;

  constructor(on) {
    this.#on = on;
    this.#wireDoor();
    this.#wireComposer();
    this.#wireLog();
    $('#me').addEventListener('click', () => on.quit());
    $('#now').addEventListener('click', () => on.tryNow());
    document.addEventListener('visibilitychange', () => this.#showUnread());
  }

  // --- the entrance ---

  askName(name, problem = '') {
    $('#chat').hidden = true;
    $('#entrance').hidden = false;
    $('#problem').textContent = problem;
    $('#name').value = name;
    $('#name').select();
    $('#name').focus();
  }

  showChat(name) {
    $('#entrance').hidden = true;
    $('#chat').hidden = false;
    showPerson($('#me'), name);
    $('#text').focus();
  }

  #wireDoor() {
    $('#door').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = $('#name').value.trim();
      if (name) this.#on.enter(name);
      else $('#problem').textContent = 'Please tell the others who you are.';
    });
    $('#name').addEventListener('input', () => { $('#problem').textContent = ''; });
  }

  // --- the composer ---

  #wireComposer() {
    const text = $('#text');
    $('#composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    text.addEventListener('keydown', (event) => {
      // While an input method composes, Enter chooses a candidate.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    text.addEventListener('input', () => this.#on.typed(text.value.trim() !== ''));
    text.addEventListener('blur', () => this.#on.stoppedTyping());
  }

  #submit() {
    const text = $('#text');
    const body = text.value.trim();
    if (body) this.#on.say(body);
    text.value = '';
    text.focus(); // keeps the keyboard of a phone open
  }

  // --- the log ---

  showRoom(room) {
    this.#swapLog(room);
    const title = sentence(room);
    $('#room-title').textContent = title;
    $('#text').placeholder = `Message ${title}`;
    for (const link of document.querySelectorAll('[data-room]')) {
      if (link.dataset.room === room) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
  }

  // Each room keeps its entries, so that a message that was not sent is still
  // there to be retried when one comes back.
  #swapLog(room) {
    const log = $('#log');
    const shelf = document.createDocumentFragment();
    shelf.append(...log.childNodes);
    this.#logs.set(this.#room, shelf);
    log.ariaLive = 'off'; // old entries are not news
    if (this.#logs.has(room)) log.append(this.#logs.get(room));
    requestAnimationFrame(() => { log.ariaLive = 'polite'; });
    this.#room = room;
    this.#toEnd();
  }

  addNotice(words, kind = 'quiet') {
    const last = $('#log').lastElementChild;
    if (kind === 'error' && last?.dataset.kind === kind && last.textContent === words) return;
    const notice = document.createElement('p');
    notice.className = 'notice';
    notice.dataset.kind = kind;
    notice.textContent = words;
    this.#append(notice);
  }

  /** Returns a handle with which an own message tells its fate. */
  addMessage({ own = false, from = 'me', name = 'You', body, timestamp }) {
    const message = clone('#message-template');
    message.dataset.own = own;
    message.dataset.from = from;
    message.dataset.status = own ? 'pending' : 'received';
    if (own) $('.author', message).className = 'author visually-hidden';
    $('.author', message).textContent = name;
    $('.body', message).textContent = body;
    showAvatar(message, name);
    stamp(message, timestamp);
    this.#append(message);
    if (own) this.#toEnd();
    else this.#countUnread();
    return new OwnMessage(message, { append: () => this.#append(message), grown: () => this.#follow() });
  }

  #append(entry) {
    const log = $('#log');
    const follow = this.#following;
    entry.toggleAttribute('data-grouped', continues(log.lastElementChild, entry));
    log.append(entry);
    if (log.childElementCount > KEEP) $(SETTLED, log)?.remove();
    if (follow) this.#toEnd();
  }

  #wireLog() {
    const log = $('#log');
    log.addEventListener('scroll', () => {
      this.#following = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
      if (this.#following) this.#showUnseen(0);
    });
    // The keyboard of a phone takes half of the screen: keep the end in sight.
    new ResizeObserver(() => this.#follow()).observe(log);
    $('#jump').addEventListener('click', () => {
      this.#toEnd();
      $('#text').focus();
    });
  }

  #follow() {
    if (this.#following) this.#toEnd();
  }

  #toEnd() {
    const log = $('#log');
    log.scrollTop = log.scrollHeight;
    this.#following = true;
    this.#showUnseen(0);
  }

  #countUnread() {
    if (!this.#following) this.#showUnseen(this.#unseen + 1);
    this.#unread++;
    this.#showUnread();
  }

  #showUnseen(count) {
    this.#unseen = count;
    $('#jump').hidden = count === 0;
    $('#jump').textContent = count === 1 ? '1 new message' : `${count} new messages`;
  }

  #showUnread() {
    if (!document.hidden) this.#unread = 0;
    document.title = this.#unread ? `(${this.#unread}) hubbub chat` : 'hubbub chat';
  }

  // --- around the log ---

  showPeople(people, ownId) {
    const items = [...people]
      .map(([id, name]) => ({ name, own: id === ownId }))
      .sort((a, b) => b.own - a.own || a.name.localeCompare(b.name))
      .map(personItem);
    $('#people').replaceChildren(...items);
    $('#count').textContent = items.length;
  }

  showTypists(names) {
    $('#typing').toggleAttribute('data-active', names.length > 0);
    $('#typing .names').textContent = typingLine(names);
  }

  showState(state, detail = {}) {
    const box = $('#state');
    box.dataset.state = state;
    $('.here').toggleAttribute('data-stale', state !== 'open');
    $('.says', box).textContent = stateLine(state, detail);
    $('#now').hidden = state === 'open' || state === 'connecting';
    $('#now').textContent = state === 'closed' ? 'Connect again' : 'Try now';
    this.#countDown(detail.until);
  }

  // Apart from the words of the state, so that a screen reader is not told every second.
  #countDown(until) {
    clearInterval(this.#countdown);
    const show = () => { $('#state .countdown').textContent = until ? remaining(until) : ''; };
    show();
    if (until) this.#countdown = setInterval(show, 250);
  }
}

class OwnMessage {
  #node;
  #log;

  /** log.append() puts the message at the end, log.grown() tells that it takes more room. */
  constructor(node, log) {
    this.#node = node;
    this.#log = log;
  }

  pending() {
    this.#show('pending', 'sending');
  }

  sent(timestamp) {
    stamp(this.#node, timestamp);
    this.#show('sent', 'sent');
  }

  failed(reason, retry) {
    this.#show('failed', 'not sent');
    $('.why', this.#node).textContent = fullStop(`Not sent: ${reason}`);
    $('.retry', this.#node).onclick = retry;
  }

  toEnd() {
    this.#log.append();
  }

  #show(status, words) {
    this.#node.dataset.status = status;
    $('.status', this.#node).textContent = words;
    $('.trouble', this.#node).hidden = status !== 'failed';
    this.#log.grown();
  }
}

function clone(template) {
  return $(template).content.firstElementChild.cloneNode(true);
}

function stamp(message, timestamp = Date.now()) {
  const date = new Date(timestamp);
  if (Number.isNaN(date.getTime())) return;
  const time = $('time', message);
  time.dateTime = date.toISOString();
  time.textContent = clock.format(date);
}

function continues(previous, entry) {
  if (!previous?.dataset.from || previous === entry) return false;
  const passed = Date.parse($('time', entry)?.dateTime) - Date.parse($('time', previous).dateTime);
  return previous.dataset.from === entry.dataset.from && passed < GROUP_WITHIN;
}

function personItem({ name, own }) {
  const item = clone('#person-template');
  item.dataset.own = own;
  showPerson(item, name);
  $('.you', item).hidden = !own;
  return item;
}

function showPerson(node, name) {
  $('.who', node).textContent = name;
  showAvatar(node, name);
}

function showAvatar(node, name) {
  const avatar = $('.avatar', node);
  avatar.textContent = [...name][0].toUpperCase();
  node.dataset.hue = hue(name);
}

// By name, so that a person keeps the colour over a reconnect.
function hue(name) {
  let sum = 0;
  for (const sign of name) sum = (sum * 31 + sign.codePointAt(0)) % 65_521;
  return sum % HUES;
}

function typingLine(names) {
  switch (names.length) {
    case 0: return '';
    case 1: return `${names[0]} is typing`;
    case 2: return `${names[0]} and ${names[1]} are typing`;
    default: return 'Several people are typing';
  }
}

function stateLine(state, { code, reason }) {
  switch (state) {
    case 'open': return 'Connected';
    case 'connecting': return 'Connecting …';
    case 'offline': return 'You are offline.';
    case 'waiting': return fullStop(reason || 'The connection is lost');
    default: return fullStop(sentence(reason || `The server ended the connection (${code})`));
  }
}

function remaining(until) {
  const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
  return `Next try in ${seconds} s`;
}

export function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function fullStop(words) {
  return /[.!?…]$/.test(words) ? words : `${words}.`;
}
