let last = 0; // 1/1024 ms since the Unix epoch

/** A UUIDv7. Those of one page ascend, also within one millisecond: 10 bits after the time count. */
export function uuid(): string {
  last = Math.max(Date.now() * 1024, last + 1);
  const time = hex(Math.floor(last / 1024), 12);
  const random = crypto.getRandomValues(new Uint8Array(8));
  random[0] = (random[0]! & 63) | 128;
  const tail = Array.from(random, (byte) => hex(byte, 2)).join('');
  return [time.slice(0, 8), time.slice(8), hex(0x7000 + (last % 1024) * 4, 4), tail.slice(0, 4), tail.slice(4)].join('-');
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
