/** What goes over a socket: a text message, or a binary one. */
export type Frame = string | Uint8Array;

/** An envelope of the server. Nothing about it is certain but that it is an object. */
export interface Envelope {
  type: string;
  content?: unknown;
  timestamp: number;
  id?: string;
  room?: string;
  from?: string;
  user?: string;
  cursor?: string;
  /** Id of the request whose stream the content is an item of. */
  stream?: string;
}

const NEWLINE = 10;
const encoder = new TextEncoder();

/** Bytes travel behind the envelope as they are, everything else inside it as JSON. */
export function encode(head: object, content: unknown): Frame {
  const bytes = content instanceof ArrayBuffer ? new Uint8Array(content)
    : ArrayBuffer.isView(content) && new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  if (!bytes) return JSON.stringify({ ...head, content });
  const prefix = encoder.encode(JSON.stringify(head) + '\n');
  const frame = new Uint8Array(prefix.length + bytes.length);
  frame.set(prefix);
  frame.set(bytes, prefix.length);
  return frame;
}

export function decode(data: string | ArrayBuffer): Envelope {
  if (typeof data == 'string') return JSON.parse(data) as Envelope;
  const bytes = new Uint8Array(data);
  const end = bytes.indexOf(NEWLINE);
  const envelope = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as Envelope;
  envelope.content = bytes.subarray(end + 1);
  return envelope;
}

/** Bytes on the wire. */
export function sizeOf(frame: Frame): number {
  return (typeof frame == 'string' ? encoder.encode(frame) : frame).length;
}
