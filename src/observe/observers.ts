import type { Fault } from "../core/errors.ts";
import type {
  AttemptEnd,
  Call,
  EndFacts,
  Observer,
  ReaderPhase,
  Refusal,
  RequestFacts,
  TraceHeaders,
  Transport,
} from "../core/ports.ts";

/** Looks on at whole requests: of what it may be told, nothing comes once a token or once a reader. */
export type Watcher = Partial<
  Pick<
    Observer,
    | "refused"
    | "accepted"
    | "admitted"
    | "attempted"
    | "attemptEnded"
    | "upstreamHealth"
    | "firstContent"
    | "delivered"
    | "ended"
  >
>;

/** The observer that the core is given: metrics are told everything, the watchers what concerns whole requests. */
export class Observers implements Observer {
  readonly #metrics: Observer;
  readonly #watchers: readonly Watcher[];

  constructor(metrics: Observer, watchers: readonly Watcher[]) {
    this.#metrics = metrics;
    this.#watchers = watchers;
  }

  /** Once a token: metrics alone. */
  content(request: RequestFacts, gapMs: number): void {
    this.#metrics.content(request, gapMs);
  }

  refused(request: RequestFacts, outcome: Refusal, fault?: Fault): void {
    this.#metrics.refused(request, outcome, fault);
    for (const watcher of this.#watchers) watcher.refused?.(request, outcome, fault);
  }

  accepted(request: RequestFacts, asked: Pick<Call, "endpoint" | "stream" | "choices">): void {
    this.#metrics.accepted(request, asked);
    for (const watcher of this.#watchers) watcher.accepted?.(request, asked);
  }

  admitted(request: RequestFacts, queueMs: number): void {
    this.#metrics.admitted(request, queueMs);
    for (const watcher of this.#watchers) watcher.admitted?.(request, queueMs);
  }

  attempted(request: RequestFacts, upstream: string): TraceHeaders | undefined {
    let headers = this.#metrics.attempted(request, upstream);
    for (const watcher of this.#watchers) headers = watcher.attempted?.(request, upstream) ?? headers;
    return headers;
  }

  attemptEnded(request: RequestFacts, end: AttemptEnd): void {
    this.#metrics.attemptEnded(request, end);
    for (const watcher of this.#watchers) watcher.attemptEnded?.(request, end);
  }

  upstreamAnswered(upstream: string, code: string): void {
    this.#metrics.upstreamAnswered(upstream, code);
  }

  upstreamRetried(upstream: string, reason: string): void {
    this.#metrics.upstreamRetried(upstream, reason);
  }

  upstreamHealth(upstream: string, state: "failing" | "well"): void {
    this.#metrics.upstreamHealth(upstream, state);
    for (const watcher of this.#watchers) watcher.upstreamHealth?.(upstream, state);
  }

  firstContent(request: RequestFacts, ms: number): void {
    this.#metrics.firstContent(request, ms);
    for (const watcher of this.#watchers) watcher.firstContent?.(request, ms);
  }

  delivered(request: RequestFacts, reader: Transport, ttftMs: number, overheadMs: number): void {
    this.#metrics.delivered(request, reader, ttftMs, overheadMs);
    for (const watcher of this.#watchers) watcher.delivered?.(request, reader, ttftMs, overheadMs);
  }

  unread(events: number): void {
    this.#metrics.unread(events);
  }

  ended(facts: EndFacts): void {
    this.#metrics.ended(facts);
    for (const watcher of this.#watchers) watcher.ended?.(facts);
  }

  readerJoined(transport: Transport): void {
    this.#metrics.readerJoined(transport);
  }

  readerLeft(transport: Transport, phase?: ReaderPhase): void {
    this.#metrics.readerLeft(transport, phase);
  }

  resumed(transport: Transport, outcome: "resumed" | "ahead" | "unknown"): void {
    this.#metrics.resumed(transport, outcome);
  }

  slowReader(transport: Transport): void {
    this.#metrics.slowReader(transport);
  }

  connectionOpened(): void {
    this.#metrics.connectionOpened();
  }

  connectionClosed(): void {
    this.#metrics.connectionClosed();
  }
}
