// The chat: what the messages of the two rooms mean. The connection is the
// client's, which the hub serves; the screen is in view.js, the typing notices in
// typing.js.

import { connect, HubbubError } from '/hubbub.js';
import { TypingSender, Typists } from './typing.js';
import { View, sentence } from './view.js';

const ROOMS = ['lounge', 'workshop'];
const SEND_FOR = 600_000; // ms; the rooms recognise what comes twice for as long
const JOIN_AGAIN = 2_000; // if a join failed for now and the server names no time
const PAGE = 50; // messages that who joins gets
const MOST_PAGES = 15; // of history, to fill what is behind a gap: all that a room keeps, also where messages are long
const NAME_KEY = 'hubbub.chat.name';
const OWN = 'own'; // the author, before the server has said who that is
const BACK = 'You were away: you missed nothing';
const GAP = 'There is a gap: messages are missing here';

// A refusal of these kinds is not the last word.
const PASSING = ['rate_limited', 'unavailable', 'timeout', 'internal'];
// So end messages of a room that is left: not sent, or not answered before the connection went.
const ENDED = ['closed', 'unknown'];

class Chat {
  #view;
  #hub = null; // from entering until leaving
  #session; // of the last one: ids are those of a session, so what is sent again stays the same message
  #typing = new TypingSender((on) => this.#tellTyping(on));
  #typists = new Typists((names) => this.#view.showTypists(names));
  #name = '';
  #ownIds = new Set(); // peer ids that this page has had: one for each connection
  #room = null;
  #kept = []; // messages that their room had not confirmed when it was left: they wait for its next visit
  #visit = null; // to the current room: {room, off, heard, more, loading, before}

  constructor() {
    this.#view = new View({
      enter: (name) => this.#enter(name),
      quit: () => this.#quit(),
      say: (body) => this.#say(body),
      typed: (hasText) => this.#typing.typed(hasText),
      stoppedTyping: () => this.#typing.stop(),
      tryNow: () => this.#tryNow(),
      wantOlder: () => this.#loadOlder(),
      dropped: () => this.#startOver(),
    });
  }

  start() {
    addEventListener('hashchange', () => this.#switchTo(roomOfAddress()));
    for (const name of ['online', 'offline']) addEventListener(name, () => this.#showState());
    this.#switchTo(roomOfAddress());
    this.#view.askName(recall(NAME_KEY));
  }

  // --- coming and going ---

  #enter(name) {
    this.#name = name;
    remember(NAME_KEY, name);
    this.#view.showChat(name);
    this.#hub = connect('/ws', { ttl: SEND_FOR });
    this.#hub.session = this.#session;
    this.#hub.on('welcome', ({ id }) => this.#ownIds.add(id));
    this.#hub.on('state', () => this.#linkChanged());
    this.#hub.on('error', (error) => this.#tellError(error));
    this.#showState();
    this.#startVisit();
  }

  #quit(problem = '') {
    this.#typing.stop();
    this.#endVisit();
    this.#session = this.#hub.session;
    this.#hub.close();
    this.#hub = null;
    for (const message of this.#kept.splice(0)) this.#fail(message, { code: 'unknown' });
    this.#view.askName(this.#name, problem);
  }

  #switchTo(room) {
    if (room === this.#room) return;
    this.#typing.stop();
    this.#visit?.room.leave().catch(() => {}); // gone either way
    this.#endVisit();
    this.#room = room;
    this.#view.showRoom(room);
    this.#view.showPeople([]);
    if (this.#hub) this.#startVisit();
  }

  // The client joins again after every reconnect, from the last message that it
  // has given us, and says by "join" and "gap" how that went.
  #startVisit() {
    const room = this.#hub.room(address(this.#room));
    const off = [
      room.on('join', (joined) => this.#arrive(joined)),
      room.on('gap', () => this.#fill(this.#view.addNotice(GAP, 'gap'))),
      room.on('error', (error) => this.#roomFailed(error)),
      room.on('joined', (message) => this.#someone(message, 'joined')),
      room.on('left', (message) => this.#someone(message, 'left')),
      room.on('chat.say', (message) => this.#heard(message)),
      room.on('chat.typing', ({ from, content }) => this.#seeTyping(from, content)),
      room.presence.subscribe(() => this.#showPeople()),
    ];
    this.#visit = { room, off, heard: 0, more: false, loading: false, before: '' };
    this.#join(this.#visit);
    this.#deliverKept();
    this.#showState();
  }

  #join(visit) {
    if (visit !== this.#visit) return;
    visit.room.join({ name: this.#name }).catch((error) => visit === this.#visit && this.#notAdmitted(error));
  }

  #endVisit() {
    for (const end of this.#visit?.off ?? []) end();
    this.#visit = null;
    this.#typists.clear();
  }

  // Who comes for the first time gets the latest messages after this. Who comes
  // back gets what was missed, unless "gap" follows.
  #arrive({ recovered, gap }) {
    if (recovered) this.#view.addNotice(BACK, 'whole');
    else if (!gap) {
      this.#view.restart();
      this.#visit.before = '';
    }
    this.#showState();
  }

  #notAdmitted(error) {
    if (error.code === 'closed') return; // the state of the connection says it
    if (error.code === 'invalid') return this.#quit(sentence(error.message));
    const reason = `Could not enter the ${this.#room}: ${error.message}`;
    const again = PASSING.includes(error.code);
    this.#view.showState(again ? 'waiting' : 'closed', { reason });
    const visit = this.#visit;
    if (again) setTimeout(() => this.#join(visit), error.retryAfter ?? JOIN_AGAIN);
  }

  #roomFailed(error) {
    if (this.#visit.room.joined) this.#tellError(error);
    else this.#notAdmitted(error);
  }

  #tellError(error) {
    if (error instanceof HubbubError) this.#view.addNotice(sentence(error.message), 'error');
    else reportError(error); // a fault of this page
  }

  // While the client waits it looks again at whatever wakes a page, as the
  // browser's word that there is a network.
  #tryNow() {
    this.#hub.connect(); // if it is over
    this.#join(this.#visit); // if it was not admitted
    dispatchEvent(new Event('online'));
  }

  #linkChanged() {
    if (this.#hub.state !== 'connected') {
      this.#typing.reset();
      this.#typists.clear();
    }
    this.#showState();
  }

  // For the reader it is open when the room is joined.
  #showState() {
    if (!this.#hub) return;
    const { state, whyClosed } = this.#hub;
    if (state === 'closed') this.#view.showState('closed', whyClosed);
    else if (state === 'reconnecting') this.#view.showState(navigator.onLine ? 'waiting' : 'offline');
    else this.#view.showState(this.#visit?.room.joined ? 'open' : 'connecting');
  }

  // --- what the room says ---

  #heard(message) {
    this.#typists.set(message.from, '', false);
    this.#view.addMessage(this.#understand(message));
    if (++this.#visit.heard === PAGE) this.#setMore(true); // there may be
  }

  #understand({ from, content, timestamp, cursor }) {
    const own = this.#ownIds.has(from);
    const id = text(content?.id);
    return {
      key: id ? keyOf(own ? OWN : text(content.author), id) : cursor,
      own,
      from,
      name: nameIn(content),
      body: text(content?.body),
      timestamp,
      cursor,
    };
  }

  #seeTyping(id, content) {
    if (!this.#ownIds.has(id)) this.#typists.set(id, nameIn(content), content?.on === true);
  }

  #someone({ from, content }, what) {
    const name = nameIn(content);
    this.#typists.set(from, name, false);
    this.#view.addNotice(`${name} ${what}`);
  }

  #showPeople() {
    const { list } = this.#visit.room.presence;
    this.#view.showPeople(list.map(({ from, content }) => ({ name: nameIn(content), own: from === this.#hub.id })));
  }

  // --- the history ---

  async #loadOlder() {
    const visit = this.#visit;
    if (!visit?.more || visit.loading || !visit.room.joined) return;
    visit.loading = true;
    try {
      const { messages, more } = await this.#page(visit, visit.before || this.#view.firstCursor());
      if (visit !== this.#visit) return;
      this.#view.addOlder(messages);
      visit.before = messages[0]?.cursor; // goes on behind a page of which nothing was new, too
      this.#setMore(more);
    } catch (error) {
      // A cursor of another life of the room: there is nothing before it.
      if (visit === this.#visit && error.code === 'invalid') this.#setMore(false);
    } finally {
      visit.loading = false;
    }
  }

  // What the room has kept since the gap, as a new start of the server has no more.
  async #fill(gap) {
    const visit = this.#visit;
    let before = '';
    for (let pages = 0; pages < MOST_PAGES; pages++) {
      const { messages, more } = await this.#page(visit, before).catch(() => ({ messages: [] }));
      if (visit !== this.#visit) return;
      this.#view.addOlder(messages, gap);
      if (!more || messages.length === 0) return;
      before = messages[0].cursor;
    }
  }

  async #page({ room }, before) {
    const { messages, more } = await room.call('chat.older', { before });
    return { messages: list(messages).map((message) => this.#understand(message)), more };
  }

  // The page shows less than it did: what is older begins at its first message again.
  #startOver() {
    this.#visit.before = '';
    this.#setMore(true);
  }

  #setMore(more) {
    this.#visit.more = more;
    this.#view.showOlder(more);
  }

  // --- what we do ---

  #say(body) {
    this.#typing.stop();
    const message = { id: crypto.randomUUID?.() ?? randomId(), room: this.#room, body: wellFormed(body) };
    message.entry = this.#view.addOwn(keyOf(OWN, message.id), message.body);
    this.#deliver(message);
  }

  // The client sends it until it is acknowledged, over reconnects too, as long as we
  // are in the room. After that it is the reader's turn. The id stays, so it is there
  // once in any case.
  #deliver(message) {
    const { id, room, body, entry } = message;
    const visit = this.#visit;
    entry.pending();
    this.#hub.room(address(room)).send('chat.say', { body }, { id }).then(
      ({ cursor }) => entry.sent(cursor),
      (error) => {
        if (!this.#visit || this.#visit === visit || !ENDED.includes(error.code)) return this.#fail(message, error);
        this.#kept.push(message);
        this.#deliverKept(); // the room may be entered again already
      },
    );
  }

  #deliverKept() {
    for (const message of this.#kept.splice(0)) {
      if (message.room === this.#room) this.#deliver(message);
      else this.#kept.push(message);
    }
  }

  #fail(message, error) {
    message.entry.failed(WHY[error.code] ?? error.message, () => this.#deliver(message));
  }

  #tellTyping(on) {
    const { room } = this.#visit ?? {};
    if (!room?.joined) return false;
    room.send('chat.typing', { on }, { volatile: true }).catch(() => {});
    return true;
  }
}

// Codes of the client, in words for people.
const WHY = {
  closed: 'the connection is over',
  expired: 'there was no connection for too long',
  overflow: 'too many messages wait already',
  too_large: 'it is too long',
  unknown: 'nobody confirmed that it arrived',
};

function roomOfAddress() {
  const room = location.hash.slice(1);
  return ROOMS.includes(room) ? room : ROOMS[0];
}

// Ids are the author's choice: those of two authors are not compared.
function keyOf(author, id) {
  return `${author} ${id}`;
}

function address(room) {
  return `chat/${room}`;
}

// On a page without TLS, other than localhost, browsers have no randomUUID.
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');
}

// Contents are checked, not trusted: another program may speak in the room as well.
function text(value, fallback = '') {
  return typeof value === 'string' ? value : fallback;
}

function nameIn(content, fallback = 'Someone') {
  return text(content?.name).trim() || fallback;
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

// Half a surrogate pair cannot be written in UTF-8, so the server would refuse it.
function wellFormed(body) {
  return body.toWellFormed?.() ?? body;
}

// Browsers that keep nothing for a page throw here; the name is then asked anew.
function recall(key) {
  try {
    return localStorage.getItem(key) ?? '';
  } catch {
    return '';
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch { /* see recall */ }
}

new Chat().start();
