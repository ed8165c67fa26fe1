/**
 * The values that labels may take. A label's value is one of these lists, a name from the configuration or from an upstream's
 * list, an HTTP status, or `other`: nothing that a client sends can become a new series.
 */
import type { Outcome, ReaderPhase, Transport } from "../core/ports.ts";

export const OTHER = "other";
export const NONE = "none";

/** The models that get series of their own; later ones are `other`. */
export const MAX_MODELS = 200;
/** A longer name is no name for a label: it would be repeated on every line of every series. */
const MAX_NAME_LENGTH = 256;

export type Bound = (value: string | undefined) => string;

/** Every member of a union, once: a member that the ports gain and this file lacks does not compile. */
const every = <T extends string>(members: Record<T, true>): readonly T[] => Object.keys(members) as T[];

export const TRANSPORTS = every<Transport>({ sse: true, websocket: true, json: true, none: true });
/** The transports that can have a reader. */
export const READING = every<Exclude<Transport, "none">>({ sse: true, websocket: true, json: true });
export const PHASES = every<ReaderPhase>({ queued: true, before_first_token: true, streaming: true });
export const RESUMES = ["resumed", "ahead", "unknown"] as const;

export const OUTCOMES = every<Outcome>({
  completed: true,
  incomplete: true,
  failed: true,
  cancelled: true,
  disconnected: true,
  attached: true,
  queue_full: true,
  queue_timeout: true,
  overloaded: true,
  invalid: true,
  unauthorized: true,
  draining: true,
});

/** The error codes that an attempt or a generation can end with; their counters stand at 0 from the start. */
const ENDING_CODES = [
  "internal_error",
  "log_limit",
  "upstream_error",
  "upstream_unreachable",
  "upstream_disconnected",
  "queue_timeout",
  "draining",
  "overloaded",
  "upstream_timeout",
  "upstream_stalled",
] as const;

/** Every code of the table in `core/errors.ts` (a test compares them): a code that is not here is `other`. */
export const ERROR_CODES: readonly string[] = [
  ...ENDING_CODES,
  "invalid_request",
  "invalid_json",
  "position_ahead",
  "invalid_api_key",
  "invalid_ticket",
  "origin_not_allowed",
  "host_not_allowed",
  "not_allowed",
  "not_found",
  "generation_not_found",
  "model_not_found",
  "method_not_allowed",
  "idempotency_conflict",
  "already_subscribed",
  "position_expired",
  "body_too_large",
  "unsupported_media_type",
  "upgrade_required",
  "queue_full",
  "rate_limited",
  "too_many_connections",
  "too_many_subscriptions",
  "cancelled",
  "slow_reader",
];

/** Ended well, yet without content. */
export const EMPTY = "empty";
/** Why a stream had no first token, as far as it is known before it happens. */
export const EMPTY_REASONS: readonly string[] = ["cancelled", "disconnected", EMPTY, ...ENDING_CODES, OTHER];

/** The value itself if it is one of `values`, else `other`. */
export function among(values: Iterable<string>): Bound {
  const known = new Set(values);
  return (value) => (value !== undefined && known.has(value) ? value : OTHER);
}

const HTTP_STATUS = /^[1-5]\d\d$/;
const errorCode = among(ERROR_CODES);

/** An HTTP status or a code of the table, else `other`. */
export const statusOrCode: Bound = (value) =>
  value !== undefined && HTTP_STATUS.test(value) ? value : errorCode(value);

/** Whether a name can be a label's value: an empty one means "no such label" to Prometheus, and the text is UTF-8. */
export const isName = (name: string): boolean =>
  name !== "" && name.length <= MAX_NAME_LENGTH && name.isWellFormed();
