let last = 0; // 1/1024 ms since the Unix epoch

/** A UUIDv7. Those of one page ascend, also within one millisecond: 10 bits after the time count. */
export function uuid(): string {
  last = Math.max(Date.now() * 1024, last + 1);
  const [variant, ...rest] = crypto.getRandomValues(new Uint16Array(4));
  const parts = [last / 2 ** 42, last / 2 ** 26, last / 1024, 0x7000 + (last % 1024) * 4, (variant! & 0x3fff) | 0x8000, ...rest];
  // Four digits of each, the lowest.
  return parts.map((part, i) => (i > 1 && i < 6 ? '-' : '') + ((part & 0xffff) | 0x10000).toString(16).slice(1)).join('');
}
