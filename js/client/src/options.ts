import type { Options } from './types.js';

export const DEFAULTS = {
  timeout: 10_000,
  connectTimeout: 10_000,
  ttl: 30_000,
  queueMessages: 256,
  queueBytes: 1 << 20,
  retryMin: 4_000,
  retryMax: 20_000,
  jitter: 1,
  retries: Infinity,
  stableAfter: 5_000,
};

export type Settings = typeof DEFAULTS & Options;

/** An option that is undefined is one that was not given. */
export function settings(options: Options): Settings {
  const all: Record<string, unknown> = { ...options };
  for (const name in DEFAULTS) all[name] ??= DEFAULTS[name as keyof typeof DEFAULTS];
  return all as unknown as Settings;
}

const LONGEST = 2 ** 31 - 1; // a timer with more fires at once

export function later(ms: number, fn: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(fn, Math.min(ms, LONGEST));
}
