/** Codes that the server sends, and those that the client gives itself. */
export type Code =
  | 'malformed' | 'unknown_type' | 'invalid' | 'unauthenticated' | 'denied' | 'not_member'
  | 'too_large' | 'rate_limited' | 'conflict' | 'timeout' | 'unavailable' | 'internal'
  /** The connection is over for good; it was not sent. */
  | 'closed'
  /** The queue is full, without a connection or behind one that does not keep up; it was not sent. */
  | 'overflow'
  /** Its time passed while there was no connection; it was not sent. */
  | 'expired'
  /** It was sent, but no answer will come: the server has handled it, or not. */
  | 'unknown'
  | (string & {});

/** What every promise of this package rejects with. Decide by `code`. */
export class HubbubError extends Error {
  readonly code: Code;
  /** Where in the message the fault is. */
  readonly field?: string;
  /** Milliseconds after which it makes sense to try again. */
  readonly retryAfter?: number;

  constructor(code: Code, message: string = code, field?: string, retryAfter?: number) {
    super(message);
    this.name = 'HubbubError';
    this.code = code;
    this.field = field;
    this.retryAfter = retryAfter;
  }
}
