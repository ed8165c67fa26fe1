/** What was seen of one request, and why it failed if it did. */

/** Why a request has no good ending. `code` is the server's own word, `http_NNN`, a system error such as `ECONNREFUSED`, or ours. */
export class RequestFault extends Error {
  override readonly name = "RequestFault";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export type Outcome = "running" | "completed" | "failed" | "interrupted";

/** Milliseconds that Sluice tells of a generation (`timing` of PROTOCOL.md, 1.8). */
export interface GatewayTiming {
  readonly queue_ms?: number;
  readonly upstream_ttft_ms?: number;
  readonly ttft_ms?: number;
}

/** One request, filled in while it runs. Times are those of `performance.now()`, in milliseconds. */
export class Observation {
  /** When it was due by the arrival times; it starts later if the concurrency is used up. */
  readonly dueMs: number;
  readonly startMs: number;
  /** When the ending was seen, or the fault. */
  endMs = 0;
  /** The arrival of each event with content. */
  readonly contentMs: number[] = [];
  promptTokens: number | undefined;
  completionTokens: number | undefined;
  timing: GatewayTiming | undefined;
  outcome: Outcome = "running";
  fault: RequestFault | undefined;

  constructor(dueMs: number, startMs: number) {
    this.dueMs = dueMs;
    this.startMs = startMs;
  }

  /** Sending to the first content, in ms; 0 where none came. */
  get ttftMs(): number {
    return (this.contentMs[0] ?? this.startMs) - this.startMs;
  }

  /** Sending to the last content, in ms; 0 where none came. What follows it (finish reason, usage, `[DONE]`) holds no token. */
  get e2elMs(): number {
    return (this.contentMs.at(-1) ?? this.startMs) - this.startMs;
  }

  /** The gaps between contents, in ms. */
  get itlsMs(): number[] {
    return this.contentMs.slice(1).map((at, index) => at - (this.contentMs[index] ?? at));
  }

  get isTokenCountTold(): boolean {
    return this.completionTokens !== undefined && this.completionTokens > 0;
  }

  /** As the server's usage says; without it, the events with content. */
  get outputTokens(): number {
    return this.isTokenCountTold ? (this.completionTokens ?? 0) : this.contentMs.length;
  }

  /** Time per output token after the first, in ms; undefined for fewer than two tokens. */
  get tpotMs(): number | undefined {
    const tokens = this.outputTokens;
    return tokens > 1 ? (this.e2elMs - this.ttftMs) / (tokens - 1) : undefined;
  }
}
