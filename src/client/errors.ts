/** Errors by their codes: those of PROTOCOL.md, section 6, and the client's own. */

/** The error object of the protocol. */
export interface ErrorObject {
  readonly code: string;
  readonly message?: string;
  readonly type?: string;
  readonly param?: string | null;
}

/**
 * What the gateway said, or what became of the connection. The client's own codes: `generation_lost` (the gateway knows the
 * generation no more), `connection_lost` (it could not be reached again), `unexpected_answer` (what answered is no gateway).
 */
export class SluiceError extends Error {
  override readonly name = "SluiceError";
  readonly code: string;
  readonly type: string;
  readonly param: string | null;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  /** Whether it may be tried again, as the protocol's table says, and not before so many milliseconds. */
  readonly isPassing: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(said: ErrorObject, more: { status?: number; retryAfterMs?: number; cause?: unknown } = {}) {
    super(said.message ?? said.code, { cause: more.cause });
    this.code = said.code;
    this.type = said.type ?? "client_error";
    this.param = said.param ?? null;
    this.status = more.status;
    this.isPassing = PASSING.includes(said.code);
    this.retryAfterMs = more.retryAfterMs;
  }
}

/** The rows of the table that say `yes` or `after`. */
const PASSING: readonly string[] = [
  "queue_full",
  "rate_limited",
  "too_many_connections",
  "too_many_subscriptions",
  "upstream_error",
  "upstream_unreachable",
  "upstream_disconnected",
  "queue_timeout",
  "draining",
  "overloaded",
  "slow_reader",
];

/** A connection that broke, or said what no gateway says: made again from the last seq. */
export class Loss extends Error {
  /** The gateway asked for a pause of so many milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}
