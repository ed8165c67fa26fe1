/**
 * The script of one generation: what the `emulator` member of a request body may say, and its validation. Names are those of
 * the wire (snake case), times are milliseconds, sizes are bytes.
 */

/** Faults that act before or instead of a streamed body; `after_tokens` means nothing to them. */
export const EARLY_FAULTS = [
  "status",
  "plain_error",
  "malformed_error",
  "redirect",
  "no_answer",
  "reset_before_headers",
  "hang_before_headers",
  "headers_then_reset",
  "compressed",
] as const;

/** Faults that act in the middle of a body. */
export const LATE_FAULTS = [
  "reset",
  "eof",
  "half_event",
  "half_utf8",
  "hang",
  "comments",
  "error_event",
  "error_string",
  "error_object_no_message",
  "garbage",
  "not_utf8",
] as const;

export type EarlyFaultKind = (typeof EARLY_FAULTS)[number];
export type LateFaultKind = (typeof LATE_FAULTS)[number];
export type FaultKind = EarlyFaultKind | LateFaultKind;

export interface ScriptFault {
  readonly kind: FaultKind;
  /** Acts after so many token chunks (blocks of a replay); 0, the default, is before the first. */
  readonly after_tokens?: number;
  /** Acts after the finish reason instead, before usage and `[DONE]`. */
  readonly after_finish?: boolean;
  /** Of `status`, `plain_error` and `malformed_error` (default 500), and of `redirect` (default 307). */
  readonly status?: number;
  /** Added to the answer of those that have an HTTP status of their own. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of the fault's own body or, in a stream, of its own payload. */
  readonly body?: string;
  /** After a fault that wrote something into the stream: how it goes on. Default `end`, a clean end. */
  readonly afterwards?: "end" | "hang" | "reset" | "continue";
}

/** The pieces in which a body leaves: at once, an event a write, as recorded in the corpus, or so many bytes a write. */
export type ReadMode = "whole" | "event" | "timed" | number;

export interface Script {
  readonly text?: string;
  readonly tokens?: number;
  readonly payload_bytes?: number;
  readonly first_token_ms?: number;
  readonly pace_ms?: number;
  /** Up to so much is added to each gap, at random. */
  readonly jitter_ms?: number;
  readonly burst?: number;
  /** `null` sends no finish reason at all. */
  readonly finish_reason?: string | null;
  readonly usage?: boolean;
  readonly done?: boolean;
  readonly role_chunk?: boolean;
  readonly n?: number;
  readonly reasoning?: string;
  readonly replay?: string;
  readonly read?: ReadMode;
  readonly cut_at?: number;
  readonly comment_every_ms?: number;
  readonly crlf?: boolean;
  readonly fault?: ScriptFault;
}

/** A script that cannot be played; the message names the member and what it should be. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
}

/** What a value should have been, or nothing if it is that. */
type Check = (value: unknown, where: string) => string | undefined;

const is = (test: (value: unknown) => boolean, wanted: string): Check => {
  return (value) => (test(value) ? undefined : wanted);
};
const whole = (least: number, most: number): Check =>
  is(
    (value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
    `a whole number from ${least} to ${most}`,
  );
const duration = is(
  (value) => typeof value === "number" && value >= 0 && value <= 86_400_000,
  "a number of milliseconds, 0 or more",
);
const text = is((value) => typeof value === "string", "a string");
const flag = is((value) => typeof value === "boolean", "true or false");
const oneOf = (...words: readonly string[]): Check =>
  is((value) => words.includes(value as string), `one of ${words.join(", ")}`);
const headers = is(
  (value) => isRecord(value) && Object.values(value).every((entry) => typeof entry === "string"),
  "an object of strings",
);

const FAULT_CHECKS: Record<keyof Required<ScriptFault>, Check> = {
  kind: oneOf(...EARLY_FAULTS, ...LATE_FAULTS),
  after_tokens: whole(0, 1e9),
  after_finish: flag,
  status: whole(200, 599),
  headers,
  body: text,
  afterwards: oneOf("end", "hang", "reset", "continue"),
};

const SCRIPT_CHECKS: Record<keyof Required<Script>, Check> = {
  text,
  tokens: whole(0, 1e9),
  payload_bytes: whole(0, 16 * 1024 * 1024),
  first_token_ms: duration,
  pace_ms: duration,
  jitter_ms: duration,
  burst: whole(1, 1e6),
  finish_reason: is((value) => value === null || typeof value === "string", "a string or null"),
  usage: flag,
  done: flag,
  role_chunk: flag,
  n: whole(1, 128),
  reasoning: text,
  replay: text,
  read: is(
    (value) =>
      value === "whole" ||
      value === "event" ||
      value === "timed" ||
      (Number.isInteger(value) && (value as number) > 0),
    "whole, event, timed or a number of bytes above 0",
  ),
  cut_at: whole(0, 1e12),
  comment_every_ms: whole(1, 86_400_000),
  crlf: flag,
  fault: (value, where) => {
    checkMembers(value, FAULT_CHECKS, where);
    if ((value as Record<string, unknown>)["kind"] === undefined)
      throw new ScriptError(`${where} needs a kind`);
    return undefined;
  },
};

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The value as a script.
 * @param where how messages call it, such as `emulator` or `queue[2]`
 * @throws {ScriptError} naming the first member that is unknown or has a wrong value
 */
export function parseScript(value: unknown, where: string): Script {
  checkMembers(value, SCRIPT_CHECKS, where);
  const script = value as Script;
  if (script.text !== undefined && script.tokens !== undefined) {
    throw new ScriptError(`${where} has both text and tokens: name one`);
  }
  return script;
}

function checkMembers(value: unknown, checks: Readonly<Record<string, Check>>, where: string): void {
  if (!isRecord(value)) throw new ScriptError(`${where} must be an object`);
  for (const [key, member] of Object.entries(value)) {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined;
    if (check === undefined) throw new ScriptError(`${where}.${key} is not known`);
    const wanted = member === undefined ? undefined : check(member, `${where}.${key}`);
    if (wanted !== undefined) {
      throw new ScriptError(`${where}.${key} must be ${wanted}, not ${JSON.stringify(member)}`);
    }
  }
}
