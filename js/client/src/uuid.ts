let last = 0; // 1/1024 ms since the Unix epoch

/** A UUIDv7. Those of one page ascend, also within one millisecond: 10 bits after the time count. */
export function uuid(): string {
  last = Math.max(Date.now() * 1024, last + 1);
  const time = hex(Math.floor(last / 1024), 12);
  const [variant, ...rest] = crypto.getRandomValues(new Uint16Array(4));
  const tail = rest.map((part) => hex(part, 4)).join('');
  return [time.slice(0, 8), time.slice(8), hex(0x7000 + (last % 1024) * 4, 4), hex((variant! & 0x3fff) | 0x8000, 4), tail].join('-');
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
