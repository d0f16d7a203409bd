// Compiled and never run: what the hooks' types promise.

import { createElement } from 'react';
import { connect, type Member } from '@hubbub/client';
import { HubbubProvider, useHub, useHubState, usePresence, usePresenceCount, useRoom } from '@hubbub/react';

interface Chat {
  send: { msg: string };
  on: { msg: string };
}

export function Component() {
  const { room, joined, error } = useRoom<Chat>('chat/1', {
    on: { msg: ({ content }) => content.toUpperCase() },
    onGap: ({ missed }) => missed,
  });
  const members: readonly Member[] = usePresence(room);
  const count: number = usePresenceCount(room);
  void room.send('msg', 'hi');
  void useHub<Chat>().send('msg', 'hi');
  // @ts-expect-error: wrong content
  void room.send('msg', 1);
  // @ts-expect-error: nobody sends that
  useRoom<Chat>('chat/1', { on: { typing: () => {} } });
  return createElement('p', null, useHubState(), joined, String(error), members.length, count);
}

createElement(HubbubProvider, { url: '/ws', options: { ttl: 1 } }, createElement(Component));
createElement(HubbubProvider, { hub: connect<Chat>('/ws') }, createElement(Component));
// @ts-expect-error: a hub or a url
createElement(HubbubProvider, {}, createElement(Component));
