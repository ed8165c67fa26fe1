/**
 * What the core asks of the rooms around it. Every port is small; a room implements it and `server.ts` brings them together.
 */
import type { Fault } from "./errors.ts";

/** How a request or a reader is connected; `none` is a generation that was started without reading it. */
export type Transport = "sse" | "websocket" | "json" | "none";

export type Status = "queued" | "running" | EndStatus;
export type EndStatus = "completed" | "incomplete" | "failed" | "cancelled";

/** What happens when the last reader has vanished (PROTOCOL.md, section 5). */
export type DisconnectPolicy = "cancel" | "grace" | "continue";

/** Where a reader was when it vanished. */
export type ReaderPhase = "queued" | "before_first_token" | "streaming";

/** Milliseconds, each from a monotonic clock; absent where the moment never came. */
export interface Timing {
  /** Accepted -> slot granted (or, never granted, -> ended). */
  readonly queue_ms: number;
  /** Request sent upstream -> first content. */
  readonly upstream_ttft_ms?: number;
  /** Accepted -> first content in the log. */
  readonly ttft_ms?: number;
  /** Accepted -> ended, or -> now while it runs. */
  readonly duration_ms: number;
}

/** Token counts as far as the upstream told them. */
export interface TokenCounts {
  readonly input?: number;
  readonly output?: number;
  readonly cached?: number;
  readonly reasoning?: number;
}

/** The last entry of a log: how a generation ended. */
export interface Ending {
  readonly status: EndStatus;
  /** The upstream's own usage object, as it was parsed. */
  readonly usage?: unknown;
  readonly fault?: Fault;
  readonly timing: Timing;
}

/** The outcomes of creating requests, each counted once. */
export type Refusal =
  | "attached"
  | "queue_full"
  | "queue_timeout"
  | "overloaded"
  | "invalid"
  | "unauthorized"
  | "draining"
  | "failed";
export type Outcome = EndStatus | "disconnected" | Refusal;

/** The headers of a request that place it in a trace (`traceparent` and its like), by their lower-case names. */
export type TraceHeaders = Readonly<Record<string, string>>;

/** Where a request came from. */
export interface Origin {
  /** Its `x-request-id`; all that is asked on a WebSocket shares that of the upgrade. */
  readonly requestId: string;
  readonly trace?: TraceHeaders;
}

/** Who asked, for metrics, log lines and traces. `model` is what the request named; the observer bounds it. */
export interface RequestFacts {
  readonly model: string | undefined;
  readonly transport: Transport;
  /** The name of the API key, or `none`. */
  readonly key: string;
  readonly origin?: Origin | undefined;
  /** The id of the generation that it made or was attached to; absent where there is none. */
  readonly generation?: string;
}

/** What is known of a generation once it has ended. */
export interface EndFacts extends RequestFacts {
  readonly outcome: Outcome;
  /** Whether its events are tokens of a stream (a non-streamed answer is one event and has no first token). */
  readonly streamed: boolean;
  readonly timing: Timing;
  /** First content -> ended; absent without content. */
  readonly streaming_ms?: number;
  /** Present where the upstream reported usage. */
  readonly tokens?: TokenCounts;
  /** Events with content that entered the log. */
  readonly contentEvents: number;
  /** The code of the fault, where it failed. */
  readonly code?: string;
  readonly fault?: Fault;
  /** The name of the upstream that was asked last; absent where none was. */
  readonly upstream?: string;
  readonly attempts: number;
  readonly bytes: number;
}

/**
 * Looks on from the side. Every call is synchronous, cheap and must not throw; times are milliseconds.
 */
export interface Observer {
  /** A creating request that made no generation of its own; `fault` says why, unless it was attached. */
  refused(request: RequestFacts, outcome: Refusal, fault?: Fault): void;
  /** A creating request made a generation, which asks for a slot now. */
  accepted(request: RequestFacts, asked: Pick<Call, "endpoint" | "stream" | "choices">): void;
  /** A slot was granted after `queueMs`. */
  admitted(request: RequestFacts, queueMs: number): void;
  /** An attempt at an upstream begins. What is returned are headers for it, which tell the upstream of the trace. */
  attempted(request: RequestFacts, upstream: string): TraceHeaders | undefined;
  /** The attempt is over: before the generation's own ending, where that follows from it. */
  attemptEnded(request: RequestFacts, end: AttemptEnd): void;
  /** The upstream answered a request with an HTTP status, or failed without one (`code` is then an error code). */
  upstreamAnswered(upstream: string, code: string): void;
  upstreamRetried(upstream: string, reason: string): void;
  /** An upstream that failed too often is left alone from now on, or serves again. */
  upstreamHealth(upstream: string, state: "failing" | "well"): void;
  /** The first content arrived, `ms` after the request was sent upstream. */
  firstContent(request: RequestFacts, ms: number): void;
  /** One more content event arrived, `gapMs` after the one before it. */
  content(request: RequestFacts, gapMs: number): void;
  /**
   * The first content was handed to the socket of a reader that was there when it arrived: `ttftMs` after acceptance,
   * `overheadMs` after the gateway received it. `reader` is that reader's transport.
   */
  delivered(request: RequestFacts, reader: Transport, ttftMs: number, overheadMs: number): void;
  /** Content events that the upstream sent when no reader was left. */
  unread(events: number): void;
  ended(facts: EndFacts): void;
  readerJoined(transport: Transport): void;
  /** A reader is gone; `phase` is given where it vanished before the ending. */
  readerLeft(transport: Transport, phase?: ReaderPhase): void;
  resumed(transport: Transport, outcome: "resumed" | "ahead" | "unknown"): void;
  slowReader(transport: Transport): void;
  connectionOpened(): void;
  connectionClosed(): void;
}

/** The figures that a scrape reads as gauges. */
export interface Levels {
  readonly queueDepth: number;
  readonly queueLimit: number;
  readonly inFlight: number;
  readonly concurrencyLimit: number;
  /** Queued and running generations. */
  readonly active: number;
  readonly retained: number;
  readonly retainedBytes: number;
  readonly draining: boolean;
}

/** Entry flags of a log (bits). */
export const CONTENT = 1;
/** The payload holds newlines: the SSE encodings need several `data:` lines. */
export const MULTILINE = 2;

/** One call to an upstream. */
export interface Call {
  /** The path under the upstream's base URL, as `/v1/...` names it: `/v1/chat/completions`. */
  readonly endpoint: string;
  readonly model: string | undefined;
  /** The JSON body, byte for byte as it is to be sent. */
  readonly body: Uint8Array;
  readonly stream: boolean;
  /** Choices asked for; 1 where the request says nothing. */
  readonly choices: number;
  /** The gateway asked for usage, the client did not: the usage chunk is read and kept out of the log. */
  readonly withholdUsage: boolean;
  /** Monotonic milliseconds (`performance.now()`) at which the first content must have arrived. */
  readonly firstContentBy: number;
  /** Headers to send beside the upstream's own. */
  readonly headers?: TraceHeaders;
}

/** How an attempt ended, before the gateway adds timing. */
export interface AttemptEnd {
  readonly status: "completed" | "incomplete" | "failed";
  readonly fault?: Fault;
  readonly usage?: unknown;
  readonly tokens?: TokenCounts;
  /** The upstream's own words for each choice; where it failed, `error` for a choice that was cut off. */
  readonly finishReasons?: readonly string[];
}

/**
 * Where an attempt delivers. Nothing of it is visible to readers before `content()` or a good `end()`; then all is, in order.
 */
export interface Intake {
  /** The request has left for the upstream. */
  sent(): void;
  /** The upstream accepted: status 200 and these headers, already reduced to those that may be relayed. */
  answered(headers: Readonly<Record<string, string>>): void;
  /** Takes one event's payload, `bytes[start..end)`, copying it. Throws `log_limit` when the log is full. */
  append(bytes: Buffer, start: number, end: number, flags: number): void;
  /** One read of the upstream has been taken in: show it to the readers. */
  flush(): void;
  /** Content has come: the attempt is the one that readers see. */
  readonly hasContent: boolean;
  /** Resolves once it is clear whether the upstream serves: with the fault of an attempt that failed before content. */
  readonly settled: Promise<Fault | undefined>;
  /** How it ended. Later calls are ignored. The attempt itself may go on until its stream is closed. */
  end(end: AttemptEnd): void;
}

/** An upstream: something that can be asked to generate. */
export interface Upstream {
  readonly name: string;
  /** Its own limit of requests at once. */
  readonly maxConcurrency?: number | undefined;
  /** False while it has failed too often or has asked for a pause: others are preferred. */
  readonly isWell: boolean;
  /** Makes one attempt; resolves when the upstream's stream is over and its slot may be given on. Never rejects. */
  attempt(call: Call, intake: Intake, signal: AbortSignal): Promise<void>;
}
