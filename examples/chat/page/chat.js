// The chat: what the frames of the two rooms mean. The wire is in connection.js,
// the screen in view.js, the typing notices in typing.js.

import { CallError, Connection } from './connection.js';
import { TypingSender, Typists } from './typing.js';
import { View, sentence } from './view.js';

const ROOMS = ['lounge', 'workshop'];
const JOIN_AGAIN = 2_000; // if a join failed for now and the server names no time
const NAME_KEY = 'hubbub.chat.name';

class Chat {
  #view;
  #link;
  #typing = new TypingSender((on) => this.#tellTyping(on));
  #typists = new Typists((names) => this.#view.showTypists(names));
  #name = '';
  #ownId = null;
  #room = null;
  #visited = new Set();
  #connected = false;
  #joined = false;
  #visit = null; // the join under way or in force; an answer to an older one is ignored
  #rejoin = null; // timer
  #people = new Map(); // peer id -> name, of the current room
  #early = []; // frames of the room that overtook the ack of its join
  #outbox = []; // own messages written while not in the room

  constructor() {
    this.#view = new View({
      enter: (name) => this.#enter(name),
      quit: () => this.#quit(),
      say: (body) => this.#say(body),
      typed: (hasText) => this.#typing.typed(hasText),
      stoppedTyping: () => this.#typing.stop(),
      tryNow: () => this.#tryNow(),
    });
    this.#link = new Connection(socketUrl(), {
      onState: (state, detail) => this.#linkChanged(state, detail),
      onWelcome: ({ id }) => this.#welcomed(id),
      onFrame: (frame) => this.#received(frame),
      onError: (error) => this.#view.addNotice(sentence(error.message), 'error'),
    });
  }

  start() {
    this.#watchBrowser();
    this.#switchTo(roomOfAddress());
    this.#view.askName(recall(NAME_KEY));
  }

  #watchBrowser() {
    const wake = () => document.visibilityState === 'visible' && this.#link.wake();
    document.addEventListener('visibilitychange', wake);
    addEventListener('pageshow', wake);
    addEventListener('online', wake);
    addEventListener('offline', () => this.#link.networkGone());
    addEventListener('hashchange', () => this.#switchTo(roomOfAddress()));
  }

  // --- coming and going ---

  #enter(name) {
    this.#name = name;
    remember(NAME_KEY, name);
    this.#view.showChat(name);
    this.#link.now();
  }

  #quit(problem = '') {
    this.#typing.stop();
    this.#failOutbox('you left');
    this.#link.stop();
    this.#view.askName(this.#name, problem);
  }

  #switchTo(room) {
    if (room === this.#room) return;
    this.#typing.stop();
    this.#failOutbox('you left the room');
    if (this.#connected && this.#room) this.#leave(this.#room);
    this.#room = room;
    this.#view.showRoom(room);
    this.#showPeople(new Map());
    this.#typists.clear();
    if (this.#connected) this.#join();
  }

  #leave(room) {
    this.#link.call({ type: 'leave', room: address(room) }).catch(() => {}); // gone either way
  }

  #welcomed(id) {
    this.#ownId = id;
    this.#connected = true;
    this.#join();
  }

  #join() {
    const visit = this.#startVisit();
    this.#view.showState('connecting');
    const frame = { type: 'join', room: address(this.#room), content: { name: this.#name } };
    this.#link.call(frame).then(
      (ack) => visit === this.#visit && this.#arrive(ack.content ?? {}),
      (error) => visit === this.#visit && this.#notAdmitted(error),
    );
  }

  #startVisit() {
    this.#endVisit();
    this.#visit = {};
    return this.#visit;
  }

  #endVisit() {
    clearTimeout(this.#rejoin);
    this.#visit = null;
    this.#joined = false;
    this.#early = [];
  }

  #arrive({ presence }) {
    this.#joined = true;
    this.#showPeople(new Map(list(presence).map(({ from, content }) => [from, nameIn(content)])));
    this.#view.showState('open');
    this.#view.addNotice(this.#greeting());
    for (const frame of this.#early.splice(0)) this.#handle(frame);
    for (const message of this.#outbox.splice(0)) this.#deliver(message);
  }

  // The rooms keep no history, so whoever was away is told that there is a hole.
  #greeting() {
    if (this.#visited.has(this.#room)) return 'You are back. What was said meanwhile is not shown here.';
    this.#visited.add(this.#room);
    return `You are in the ${this.#room}.`;
  }

  #notAdmitted(error) {
    if (error.code === 'lost') return; // the state of the connection says it
    if (error.code === 'invalid') return this.#quit(sentence(error.message));
    const reason = `Could not enter the ${this.#room}: ${error.message}`;
    if (error.code === 'denied') return this.#view.showState('closed', { reason });
    const delay = error.retryAfter ?? JOIN_AGAIN;
    this.#rejoin = setTimeout(() => this.#join(), delay);
    this.#view.showState('waiting', { until: Date.now() + delay, reason });
  }

  #tryNow() {
    if (this.#connected) this.#join();
    else this.#link.now();
  }

  #linkChanged(state, detail) {
    if (state === 'open') return; // for the reader it is open when the room is joined
    this.#connected = false;
    this.#endVisit();
    this.#typing.reset();
    this.#typists.clear();
    this.#view.showState(state, detail);
  }

  // --- what the others do ---

  #received(frame) {
    if (frame.room !== address(this.#room) || frame.from === this.#ownId) return;
    if (this.#joined) this.#handle(frame);
    else if (this.#visit) this.#early.push(frame);
  }

  #handle({ type, from, content, timestamp }) {
    const name = nameIn(content, this.#people.get(from));
    switch (type) {
      case 'joined': return this.#someoneJoined(from, name);
      case 'left': return this.#someoneLeft(from, name);
      case 'chat.say': return this.#someoneSaid(from, name, text(content?.body), timestamp);
      case 'chat.typing': return this.#typists.set(from, name, content?.on === true);
    }
  }

  #someoneJoined(id, name) {
    const known = this.#people.has(id);
    this.#showPeople(this.#people.set(id, name));
    if (!known) this.#view.addNotice(`${name} joined`);
  }

  #someoneLeft(id, name) {
    this.#typists.set(id, name, false);
    if (!this.#people.delete(id)) return;
    this.#showPeople(this.#people);
    this.#view.addNotice(`${name} left`);
  }

  #someoneSaid(id, name, body, timestamp) {
    this.#typists.set(id, name, false);
    this.#view.addMessage({ from: id, name, body, timestamp });
  }

  #showPeople(people) {
    this.#people = people;
    this.#view.showPeople(people, this.#ownId);
  }

  // --- what we do ---

  #say(body) {
    this.#typing.stop();
    const message = { room: this.#room, body: wellFormed(body) };
    message.entry = this.#view.addMessage({ own: true, ...message });
    this.#deliver(message);
  }

  // A message waits for the room and then goes out. One that was under way when
  // the connection broke is not sent again by itself: it may have arrived.
  #deliver(message) {
    message.entry.pending();
    if (!this.#joined) return this.#outbox.push(message);
    const frame = { type: 'chat.say', room: address(message.room), content: { body: message.body } };
    this.#link.call(frame).then(
      (ack) => message.entry.sent(ack.timestamp),
      (error) => this.#fail(message, error),
    );
  }

  #fail(message, error) {
    message.entry.failed(error.message, () => {
      message.entry.toEnd(); // it will be read after what the others said meanwhile
      this.#deliver(message);
    });
  }

  #failOutbox(why) {
    for (const message of this.#outbox.splice(0)) this.#fail(message, new CallError({ message: why }));
  }

  #tellTyping(on) {
    return this.#joined && this.#link.emit({ type: 'chat.typing', room: address(this.#room), content: { on } });
  }
}

function socketUrl() {
  const url = new URL('/ws', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  return url.href;
}

function roomOfAddress() {
  const room = location.hash.slice(1);
  return ROOMS.includes(room) ? room : ROOMS[0];
}

function address(room) {
  return `chat/${room}`;
}

// Frames are checked, not trusted: another program may speak in the room as well.
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
