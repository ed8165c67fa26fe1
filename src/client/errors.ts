/** Errors by their codes: those of PROTOCOL.md, section 6, and the client's own. */

/** The error object of the protocol. */
export interface ErrorObject {
  readonly code: string;
  readonly message?: string;
  readonly type?: string;
  readonly param?: string | null;
}

interface ErrorDetails {
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** The rows of the table that say `yes` or `after`. */
const PASSING =
  /^(queue_(full|timeout)|rate_limited|too_many_(connections|subscriptions)|upstream_(error|unreachable|disconnected)|draining|overloaded|slow_reader)$/;

/**
 * What the gateway said, or what became of the connection. The client's own codes: `generation_lost` (the gateway knows the
 * generation no more), `connection_lost` (it could not be reached again), `unexpected_answer` (what answered is no gateway).
 */
export class SluiceError extends Error {
  declare readonly code: string;
  declare readonly type: string;
  declare readonly param: string | null;
  /** HTTP status, where there was one. */
  declare readonly status: number | undefined;
  /** Whether it may be tried again, as the protocol's table says, and not before so many milliseconds. */
  declare readonly isPassing: boolean;
  declare readonly retryAfterMs: number | undefined;
  override readonly name = "SluiceError";

  constructor(said: ErrorObject, { status, retryAfterMs, cause }: ErrorDetails = {}) {
    const { code, message = code, type = "client_error", param = null } = said;
    super(message, { cause });
    Object.assign(this, { code, type, param, status, isPassing: PASSING.test(code), retryAfterMs });
  }
}

/** A connection that broke, or said what no gateway says: made again from the last seq, after a pause if one was asked for. */
export const loss = (message: string, retryAfterMs?: number): Error & { retryAfterMs: number | undefined } =>
  Object.assign(new Error(message), { retryAfterMs });
