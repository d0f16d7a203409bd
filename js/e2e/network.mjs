// A TCP proxy on 127.0.0.1 whose connections are cut and stalled when a test wants.

import { once } from 'node:events';
import { connect as dial, createServer } from 'node:net';

/**
 * {url, cut(pick), end(pick), stall(ms, pick), remove()}. pick is which connection:
 * 1 is the oldest, beyond the newest it starts again, and 0 means all.
 */
export async function network(address) {
  const [host, port] = address.split(':');
  const links = new Set(); // oldest first
  const stalls = new Set(); // those that last: the link, or undefined for all
  const picked = (pick) => {
    const all = [...links];
    return pick && all.length ? [all[(pick - 1) % all.length]] : all;
  };
  const each = (pick, fn) => { for (const { ends } of picked(pick)) ends.forEach(fn); };
  // A socket that has sent its end cannot be reset: Node would keep it for ever.
  const cut = (pick) => each(pick, (end) => end.writableEnded ? end.destroy() : end.resetAndDestroy());
  /** Lets bytes through, or not: a stream is never piped twice. */
  const settle = (link) => {
    const { ends: [near, far], flows } = link;
    link.flows = ![...stalls].some(({ only }) => !only || only === link);
    if (link.flows === flows) return;
    const how = link.flows ? 'pipe' : 'unpipe';
    near[how](far);
    far[how](near);
  };
  const server = createServer((near) => {
    const link = { ends: [near, dial({ host, port })], flows: false };
    links.add(link);
    for (const [i, end] of link.ends.entries()) {
      end.setNoDelay(true).on('error', () => {}).on('close', () => {
        links.delete(link);
        link.ends[1 - i].destroy();
      });
    }
    settle(link);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    /** Resets: what is on the way is lost. */
    cut,
    /** In good order. */
    end: (pick) => each(pick, (end) => end.end()),
    /** Holds bytes back for a time; without a pick, also those of who connects meanwhile. */
    async stall(ms, pick) {
      const stall = { only: pick ? picked(pick)[0] : undefined };
      stalls.add(stall);
      links.forEach(settle);
      await new Promise((resolve) => setTimeout(resolve, ms));
      stalls.delete(stall);
      links.forEach(settle);
    },
    async remove() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
