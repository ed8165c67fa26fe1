/**
 * The one table of errors (PROTOCOL.md, section 6). Whoever reports a fault names a code of this table; the HTTP status, the
 * error type, the WebSocket close code and whether the same client may retry all follow from the code, never from a message.
 */

/** Whether the client that saw the error may send the same thing again: `after` a pause, at once (`yes`), or not (`no`). */
export type Retry = "no" | "yes" | "after";

export interface ErrorRow {
  readonly status: number;
  readonly type: string;
  readonly retry: Retry;
  readonly message: string;
}

const row = (status: number, type: string, retry: Retry, message: string): ErrorRow => ({
  status,
  type,
  retry,
  message,
});

const CLIENT = "invalid_request_error";

export const ERRORS = {
  invalid_request: row(400, CLIENT, "no", "The request is not valid."),
  invalid_json: row(400, CLIENT, "no", "The body is not valid JSON."),
  position_ahead: row(400, CLIENT, "no", "The position is beyond the last event of the generation."),
  invalid_api_key: row(401, "authentication_error", "no", "The API key is missing or not valid."),
  invalid_ticket: row(401, "authentication_error", "no", "The ticket is not valid, has expired or was used."),
  origin_not_allowed: row(403, "permission_error", "no", "Pages of this origin may not call this gateway."),
  host_not_allowed: row(403, "permission_error", "no", "This gateway does not answer to that host name."),
  not_allowed: row(403, "permission_error", "no", "These credentials do not allow this."),
  not_found: row(404, CLIENT, "no", "There is no such route."),
  generation_not_found: row(404, CLIENT, "no", "The generation is unknown or its retention has passed."),
  model_not_found: row(404, CLIENT, "no", "No upstream serves this model."),
  method_not_allowed: row(405, CLIENT, "no", "This route does not take that method."),
  idempotency_conflict: row(409, CLIENT, "no", "The idempotency key was used with another request."),
  already_subscribed: row(409, CLIENT, "no", "This connection already follows the generation."),
  position_expired: row(410, CLIENT, "no", "The events after this position are no longer kept."),
  body_too_large: row(413, CLIENT, "no", "The body is larger than this gateway accepts."),
  unsupported_media_type: row(415, CLIENT, "no", "The body must be application/json."),
  upgrade_required: row(426, CLIENT, "no", "This route speaks WebSocket: send an upgrade request."),
  queue_full: row(429, "rate_limit_error", "after", "The queue is full."),
  rate_limited: row(429, "rate_limit_error", "after", "Too many requests for this key."),
  too_many_connections: row(429, "rate_limit_error", "after", "Too many connections."),
  too_many_subscriptions: row(429, "rate_limit_error", "after", "Too many subscriptions on this connection."),
  cancelled: row(499, CLIENT, "no", "The generation was cancelled."),
  internal_error: row(500, "server_error", "no", "The gateway failed."),
  log_limit: row(500, "server_error", "no", "The generation grew beyond the size that this gateway keeps."),
  upstream_error: row(502, "upstream_error", "yes", "The upstream answered with an error."),
  upstream_unreachable: row(502, "upstream_error", "yes", "The upstream could not be reached."),
  upstream_disconnected: row(
    502,
    "upstream_error",
    "yes",
    "The upstream stopped before the generation had ended.",
  ),
  queue_timeout: row(503, "server_error", "after", "The request waited too long in the queue."),
  draining: row(503, "server_error", "after", "The gateway is shutting down."),
  overloaded: row(503, "server_error", "after", "The gateway has no room for more running generations."),
  upstream_timeout: row(504, "upstream_error", "no", "The upstream sent no content in time."),
  upstream_stalled: row(
    504,
    "upstream_error",
    "no",
    "The upstream fell silent in the middle of the generation.",
  ),
  slow_reader: row(503, "server_error", "yes", "The reader took nothing for too long. It can resume."),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** The error object of every transport: `{"error": {...}}` over HTTP, `error` in an ending. */
export interface ErrorObject {
  readonly message: string;
  readonly type: string;
  readonly param: string | null;
  readonly code: string;
}

/** What an upstream answered or sent, to be shown to the client as it came. */
export interface UpstreamSaid {
  /** HTTP status of a refused request; absent where the error came inside a stream. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** The bytes to relay in place of our own error object: a JSON object with an `error` member. */
  readonly body?: Uint8Array;
}

export interface FaultDetails {
  readonly message?: string;
  readonly param?: string;
  readonly retryAfterS?: number;
  /** The object of the ending, where it is the upstream's own with its missing members added. */
  readonly object?: ErrorObject;
  readonly said?: UpstreamSaid;
  readonly cause?: unknown;
}

/** A fault with a code of the table. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly retryAfterS: number | undefined;
  readonly said: UpstreamSaid | undefined;
  readonly #object: ErrorObject | undefined;

  constructor(code: ErrorCode, details: FaultDetails = {}) {
    super(
      details.message ?? ERRORS[code].message,
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.code = code;
    this.param = details.param ?? null;
    this.retryAfterS = details.retryAfterS;
    this.said = details.said;
    this.#object = details.object;
  }

  get row(): ErrorRow {
    return ERRORS[this.code];
  }

  toObject(): ErrorObject {
    return this.#object ?? { message: this.message, type: this.row.type, param: this.param, code: this.code };
  }
}

/** The fault itself, or an `internal_error` around anything else that was thrown. */
export function asFault(thrown: unknown): Fault {
  return thrown instanceof Fault ? thrown : new Fault("internal_error", { cause: thrown });
}

/** Where an unexpected error was thrown, for a log line. Its message is left out: a parser's quotes what it could not parse. */
export function thrownAt(thrown: unknown): { readonly thrown?: string; readonly at?: readonly string[] } {
  if (!(thrown instanceof Error)) return {};
  const lines = thrown.stack?.split("\n") ?? [];
  return {
    thrown: thrown.name,
    at: lines.map((line) => line.trim()).filter((line) => line.startsWith("at ")),
  };
}
