// The screen. Everything that people wrote gets into the page through
// textContent, so it stays text.

const HUES = 6; // colours for people, see chat.css
const KEEP = 500; // entries of a room's log that stay in the page; three times that for a reader further up
const SETTLED = '#log > :not(#older, [data-status=pending], [data-status=failed])'; // nothing unsent is dropped
const GROUP_WITHIN = 5 * 60_000; // messages of one person this close together share a name
const NEAR_END = 80; // px; whoever is this near to the end follows new messages
const NEAR_START = 160; // px; whoever is this near to the start gets older ones

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

const $ = (selector, within = document) => within.querySelector(selector);

export class View {
  #on;
  #logs = new Map(); // room -> its entries while another room is shown
  #room = null;
  #following = true; // the reader is at the end of the log
  #unseen = 0; // messages below what the reader sees
  #unread = 0; // messages since the tab was last looked at

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
    shelf.append(...entries(log));
    this.#logs.set(this.#room, shelf);
    this.#quietly(() => { if (this.#logs.has(room)) log.append(this.#logs.get(room)); });
    this.showOlder(false);
    this.#room = room;
    this.#toEnd();
  }

  // Old entries are not news: a screen reader is not to read them out.
  #quietly(change) {
    const log = $('#log');
    log.ariaLive = 'off';
    change();
    requestAnimationFrame(() => { log.ariaLive = 'polite'; });
  }

  /** The room tells its story anew: only what is not sent stays. */
  restart() {
    this.#quietly(() => { for (const entry of document.querySelectorAll(SETTLED)) entry.remove(); });
    this.showOlder(false);
    this.#toEnd();
  }

  addNotice(words, kind = 'quiet') {
    const last = $('#log').lastElementChild;
    if (kind === 'error' && last?.dataset.kind === kind && last.textContent === words) return last;
    const notice = document.createElement('p');
    notice.className = 'notice';
    notice.dataset.kind = kind;
    notice.textContent = words;
    this.#append(notice);
    return notice;
  }

  /** The newest message of the room. One that is here already is not shown twice. */
  addMessage(message) {
    const known = find(message.key);
    if (known) return this.#confirm(known, message);
    const entry = messageEntry(message);
    this.#append(entry);
    if (!message.own) this.#countUnread();
  }

  /** An own message that the room does not have yet. Returns a handle with which it tells its fate. */
  addOwn(key, body) {
    const entry = messageEntry({ key, own: true, body });
    $('#log').append(entry);
    this.#grouped(entry);
    this.#toEnd();
    return {
      pending: () => {
        tell(entry, 'pending', 'sending');
        this.#place(entry);
      },
      sent: (cursor) => this.#confirm(entry, { cursor }),
      failed: (reason, retry) => {
        tell(entry, 'failed', 'not sent');
        $('.why', entry).textContent = fullStop(`Not sent: ${reason}`);
        $('.retry', entry).onclick = retry;
        this.#follow();
      },
    };
  }

  // Its place is where the room has it: before whatever is still under way.
  #confirm(entry, { cursor, timestamp }) {
    if (cursor) entry.dataset.cursor = cursor;
    if (entry.dataset.own === 'false' || entry.dataset.status === 'sent') return;
    if (timestamp) stamp(entry, timestamp);
    tell(entry, 'sent', 'sent');
    this.#place(entry);
  }

  /**
   * Messages from the history, the oldest first: at the start of the log, or
   * right behind a gap. What the reader looks at stays where it is.
   */
  addOlder(messages, gap = $('#older')) {
    const fresh = messages.filter(({ key }) => !find(key)).map(messageEntry);
    this.#stay(() => this.#quietly(() => {
      gap.after(...fresh);
      for (const entry of fresh) this.#grouped(entry);
    }));
  }

  /** The cursor of the first message, or "". */
  firstCursor() {
    return $('#log > [data-cursor]')?.dataset.cursor ?? '';
  }

  showOlder(more) {
    $('#older').hidden = !more;
  }

  #append(entry) {
    const log = $('#log');
    const follow = this.#following;
    log.append(entry);
    this.#place(entry);
    if (log.childElementCount > (follow ? KEEP : 3 * KEEP)) this.#drop();
    if (follow) this.#toEnd();
  }

  #drop() {
    this.#stay(() => $(SETTLED)?.remove());
    this.#on.dropped();
  }

  // Own messages that the room does not have yet stand at the end, in their order.
  #place(entry) {
    const log = $('#log');
    if (entry.parentNode !== log) return; // of another room
    const after = entry.nextElementSibling;
    if (entry.dataset.status === 'pending') log.append(entry);
    else log.insertBefore(entry, $(':scope > [data-status=pending]', log));
    this.#grouped(entry);
    if (after) this.#grouped(after);
    this.#follow();
  }

  #grouped(entry) {
    for (const one of [entry, entry.nextElementSibling]) {
      one?.toggleAttribute('data-grouped', continues(one.previousElementSibling, one));
    }
  }

  // Changes what is above the reader without moving what the reader sees.
  #stay(change) {
    const log = $('#log');
    const top = log.getBoundingClientRect().top;
    const seen = this.#following ? null : entries(log).find((entry) => entry.getBoundingClientRect().bottom > top);
    const before = seen?.getBoundingClientRect().top;
    change();
    if (seen?.isConnected) log.scrollTop += seen.getBoundingClientRect().top - before;
    else this.#follow();
  }

  #wireLog() {
    const log = $('#log');
    log.addEventListener('scroll', () => {
      this.#following = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
      if (this.#following) this.#showUnseen(0);
      if (log.scrollTop < NEAR_START) this.#on.wantOlder();
    });
    $('#older').addEventListener('click', () => this.#on.wantOlder());
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

  showPeople(people) {
    const items = [...people]
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
  }
}

function entries(log) {
  return [...log.children].filter((child) => child.id !== 'older');
}

// Keys are what strangers wrote, so they are compared and no part of a selector.
function find(key) {
  return key && entries($('#log')).find((entry) => entry.dataset.key === key);
}

function messageEntry({ key, own = false, from, name = 'You', body, timestamp, cursor }) {
  const message = clone('#message-template');
  Object.assign(message.dataset, { key, own, from: own ? 'me' : from, status: own ? 'pending' : 'received' });
  if (cursor) message.dataset.cursor = cursor;
  if (own) $('.author', message).className = 'author visually-hidden';
  $('.author', message).textContent = own ? 'You' : name;
  $('.body', message).textContent = body;
  showAvatar(message, name);
  stamp(message, timestamp);
  if (own && cursor) tell(message, 'sent', 'sent');
  return message;
}

function tell(message, status, words) {
  message.dataset.status = status;
  $('.status', message).textContent = words;
  $('.trouble', message).hidden = status !== 'failed';
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
    case 'waiting': return `${fullStop(reason || 'The connection is lost')} Trying again …`;
    default: return fullStop(sentence(reason || `The server ended the connection (${code})`));
  }
}

export function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function fullStop(words) {
  return /[.!?…]$/.test(words) ? words : `${words}.`;
}
