/** What the load is told to do, and what it answers: messages between the bench and its load process. */
export interface Plan {
  /**
   * `sse` posts a request on a connection of its own; `read` follows a generation that is there; `ws` and `ws-read` do the same
   * over `sluice.v1`; `json` asks for an answer that is not streamed.
   */
  readonly wire: "sse" | "read" | "ws" | "ws-read" | "json";
  readonly host: string;
  readonly port: number;
  /** `/v1/chat/completions`; for `read` the generation's events. */
  readonly path: string;
  /** For `ws-read`: the generation. */
  readonly generation?: string;
  readonly streams: number;
  /** Streams on one WebSocket. */
  readonly perConnection: number;
  /** Content events of each stream, and how many of them a second. */
  readonly events: number;
  readonly pace: number;
  /** Over which the streams start, evenly. Milliseconds. */
  readonly rampMs: number;
  /** `events` is the first stream's: those that start later have so many fewer that all end at about the same time. */
  readonly endsTogether?: boolean;
  /** The first so many streams come unpaced, with so many events, to readers that never read. They are not in the totals. */
  readonly stuck?: { readonly streams: number; readonly events: number };
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Quantiles {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** Milliseconds, of the window since the mark. */
export interface Window {
  /** Events received since the start of the plan. */
  readonly received: number;
  readonly atUs: number;
  readonly event: Quantiles;
  /** From the request to the first event (of `json`, to the whole answer), less what the upstream took. */
  readonly first: Quantiles;
}

export interface Totals {
  readonly streams: number;
  readonly received: number;
  readonly lost: number;
  readonly reordered: number;
  readonly duplicated: number;
  readonly strange: number;
  /** Streams that did not end well, and why the first of them did not. */
  readonly failed: number;
  /** From a stream's request to its end, milliseconds; of those that ended well. */
  readonly took: Quantiles;
  readonly fault?: string;
}

export type Order =
  | { readonly do: "run"; readonly plan: Plan }
  | { readonly do: "window" }
  | { readonly do: "finish"; readonly withinMs: number };

export interface Answers {
  readonly run: null;
  readonly window: Window;
  readonly finish: Totals;
}
