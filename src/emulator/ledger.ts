import { createHash } from "node:crypto";

const KEPT_RECORDS = 10_000;
/** Bodies are kept with fewer records, so that a long bench does not hold its own traffic in memory. */
const KEPT_BODIES = 1_000;
const KEPT_BODY_BYTES = 64 * 1024;

export type RequestState = "open" | "completed" | "aborted" | "faulted";

/** Counters since the start or the last reset; `open` is now. Only POSTs to `/v1/` count. */
export interface EmulatorStats {
  readonly requests: number;
  /** Answers that have not ended and whose socket is not closed. */
  readonly open: number;
  readonly max_open: number;
  /** The client's socket closed before the answer had ended. */
  readonly aborted: number;
  readonly completed: number;
  /** Answers that ended as their script's fault wanted. */
  readonly faulted: number;
  /** Events handed to a socket, `[DONE]` included, comments not; in a replay, blocks. */
  readonly events_sent: number;
  /** Chunks with content or reasoning that were handed to a socket; a replay has none. */
  readonly tokens_sent: number;
  /** Writes tried after the client had gone: always 0, or the emulator is wrong. */
  readonly sent_after_abort: number;
}

/** One request; times are milliseconds since 1970. */
export interface RequestRecord {
  /** 1 for the first since the start or the last reset. */
  readonly n: number;
  readonly path: string;
  readonly model: string | null;
  readonly user: string | null;
  readonly body_bytes: number;
  /** Lower-case names; credentials are replaced with their `fingerprint`. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body as it came: of the last 1,000 requests, where it is below 64 KB. */
  readonly body?: string;
  readonly opened_ms: number;
  readonly closed_ms: number | null;
  /** HTTP status once the headers have left. */
  readonly status: number | null;
  readonly tokens_sent: number;
  readonly events_sent: number;
  readonly state: RequestState;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Totals = Omit<Mutable<EmulatorStats>, "open" | "max_open">;

const noTotals = (): Totals => ({
  requests: 0,
  aborted: 0,
  completed: 0,
  faulted: 0,
  events_sent: 0,
  tokens_sent: 0,
  sent_after_abort: 0,
});

/** `sha256:` and 16 hex digits of the hash of a header's whole value (`Bearer KEY`). */
export function fingerprint(value: string): string {
  return `sha256:${createHash("sha256").update(value).digest("hex").slice(0, 16)}`;
}

/** What the emulator saw and sent. */
export class Ledger {
  #records: Mutable<RequestRecord>[] = [];
  #totals = noTotals();
  #open = 0;
  #maxOpen = 0;

  open(path: string, headers: NodeJS.Dict<string | string[]>, raw: Buffer): Entry {
    this.#totals.requests += 1;
    this.#open += 1;
    this.#maxOpen = Math.max(this.#maxOpen, this.#open);
    const record = newRecord(this.#totals.requests, path, headers, raw);
    this.#keep(record);
    return new Entry(record, this.#totals, () => {
      this.#open -= 1;
    });
  }

  #keep(record: Mutable<RequestRecord>): void {
    this.#records.push(record);
    const withoutBody = this.#records.at(-1 - KEPT_BODIES);
    if (withoutBody !== undefined) delete withoutBody.body;
    if (this.#records.length > KEPT_RECORDS) this.#records.shift();
  }

  /** A snapshot. */
  stats(): EmulatorStats {
    const { requests, ...others } = this.#totals;
    return { requests, open: this.#open, max_open: this.#maxOpen, ...others };
  }

  /** Snapshots, oldest first. */
  records(): RequestRecord[] {
    return this.#records.map((record) => ({ ...record }));
  }

  /** Forgets everything but how many answers are open; what those still do is no longer counted. */
  reset(): void {
    this.#records = [];
    this.#totals = noTotals();
    this.#maxOpen = this.#open;
  }
}

/** One request's line in the ledger. */
export class Entry {
  readonly record: Mutable<RequestRecord>;
  readonly #totals: Totals;
  readonly #onClose: () => void;

  constructor(record: Mutable<RequestRecord>, totals: Totals, onClose: () => void) {
    this.record = record;
    this.#totals = totals;
    this.#onClose = onClose;
  }

  sent(tokens: number, events: number): void {
    this.record.tokens_sent += tokens;
    this.record.events_sent += events;
    this.#totals.tokens_sent += tokens;
    this.#totals.events_sent += events;
  }

  sentAfterAbort(): void {
    this.#totals.sent_after_abort += 1;
  }

  /** Once; later calls change nothing. */
  close(state: Exclude<RequestState, "open">): void {
    if (this.record.state !== "open") return;
    this.record.state = state;
    this.record.closed_ms = Date.now();
    this.#totals[state] += 1;
    this.#onClose();
  }
}

function newRecord(
  n: number,
  path: string,
  headers: NodeJS.Dict<string | string[]>,
  raw: Buffer,
): Mutable<RequestRecord> {
  return {
    n,
    path,
    model: null,
    user: null,
    body_bytes: raw.length,
    headers: recordedHeaders(headers),
    ...(raw.length < KEPT_BODY_BYTES ? { body: raw.toString("utf8") } : {}),
    opened_ms: Date.now(),
    closed_ms: null,
    status: null,
    tokens_sent: 0,
    events_sent: 0,
    state: "open",
  };
}

const CREDENTIALS = new Set(["authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"]);

function recordedHeaders(headers: NodeJS.Dict<string | string[]>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const joined = Array.isArray(value) ? value.join(", ") : (value ?? "");
    kept[name] = CREDENTIALS.has(name) ? fingerprint(joined) : joined;
  }
  return kept;
}
