/** An observer that keeps Prometheus metrics (PROTOCOL.md, "Metrics"). */
import type {
  EndFacts,
  Levels,
  Observer,
  ReaderPhase,
  Refusal,
  RequestFacts,
  TokenCounts,
  Transport,
} from "../core/ports.ts";
import { Board, watchProcess } from "./board.ts";
import { type Instruments, makeInstruments, standAtZero } from "./instruments.ts";
import {
  among,
  type Bound,
  EMPTY,
  EMPTY_REASONS,
  ERROR_CODES,
  isName,
  MAX_MODELS,
  NONE,
  OTHER,
  OUTCOMES,
  PHASES,
  RESUMES,
  statusOrCode,
  TRANSPORTS,
} from "./labels.ts";
import type { Samples } from "./tally.ts";

export interface MetricsOptions {
  /** The gateway's version, for `build_info`. */
  readonly version: string;
  /** The names of the configured API keys. */
  readonly keyNames: readonly string[];
  /** Models that the configuration names. */
  readonly models: readonly string[];
  /** The names of the configured upstreams. */
  readonly upstreams: readonly string[];
  /** Read at each scrape. */
  levels(): Levels;
  /** Whether an upstream of `upstreams` is preferred now; read at each scrape. */
  isWell(upstream: string): boolean;
  /** Told of a value that no metric can take (a fault in the caller), once for each metric. What it throws is not caught. */
  onFault?(fault: Error): void;
}

const transportOf = among(TRANSPORTS);
const outcomeOf = among(OUTCOMES);
const phaseOf = among(PHASES);
const resumeOf = among(RESUMES);
const emptyReason = among([...EMPTY_REASONS, ...ERROR_CODES]);

const TOKEN_TYPES: readonly (keyof TokenCounts)[] = ["input", "output", "cached", "reasoning"];
const NO_LABELS = {};

/** Why a stream that has ended had no content. */
function reasonOf(facts: EndFacts): string {
  if (facts.outcome === "failed") return emptyReason(facts.code);
  return facts.outcome === "completed" || facts.outcome === "incomplete" ? EMPTY : emptyReason(facts.outcome);
}

export class Metrics implements Observer {
  readonly #board: Board;
  readonly #on: Instruments;
  readonly #keyOf: Bound;
  readonly #upstreamOf: Bound;
  /** The known models, each with its samples of the one metric that is written for each token. */
  readonly #models = new Map<string, Samples>();
  readonly #otherGaps: Samples;

  constructor(options: MetricsOptions) {
    this.#board = new Board((fault) => options.onFault?.(fault));
    this.#on = makeInstruments(this.#board, {
      levels: () => options.levels(),
      upstreams: options.upstreams,
      isWell: (upstream) => options.isWell(upstream),
    });
    this.#keyOf = among([...options.keyNames, NONE]);
    this.#upstreamOf = among(options.upstreams);
    this.#otherGaps = this.#on.gaps.child({ model: OTHER });
    this.know(options.models);
    standAtZero(this.#on, options.upstreams);
    this.#on.build.move({ version: options.version, node: process.versions.node }, 1);
    watchProcess();
  }

  get contentType(): string {
    return this.#board.contentType;
  }

  /** Gives these models series of their own, up to 200 in all; a model once known stays known. */
  know(models: Iterable<string>): void {
    for (const model of models) {
      if (this.#models.size >= MAX_MODELS) return;
      if (isName(model) && !this.#models.has(model)) this.#models.set(model, this.#on.gaps.child({ model }));
    }
  }

  /** Prometheus text, of `contentType`. */
  render(): Promise<string> {
    return this.#board.render();
  }

  /** Forgets every metric of the gateway. Later calls are harmless. */
  close(): void {
    this.#board.close();
  }

  refused(request: RequestFacts, outcome: Refusal): void {
    this.#count(request, outcome);
  }

  accepted(): void {}

  admitted(request: RequestFacts, queueMs: number): void {
    this.#on.queueWait.observe({ model: this.#modelOf(request) }, queueMs);
  }

  attempted(): undefined {}

  attemptEnded(): void {}

  upstreamAnswered(upstream: string, code: string): void {
    this.#on.upstreamRequests.add({ upstream: this.#upstreamOf(upstream), code: statusOrCode(code) });
  }

  upstreamRetried(upstream: string, reason: string): void {
    this.#on.upstreamRetries.add({ upstream: this.#upstreamOf(upstream), reason: statusOrCode(reason) });
  }

  upstreamHealth(): void {}

  firstContent(request: RequestFacts, ms: number): void {
    this.#on.upstreamFirstToken.observe({ model: this.#modelOf(request) }, ms);
  }

  content(request: RequestFacts, gapMs: number): void {
    const model = request.model;
    const known = model === undefined ? undefined : this.#models.get(model);
    (known ?? this.#otherGaps).observe(gapMs);
  }

  delivered(request: RequestFacts, reader: Transport, ttftMs: number, overheadMs: number): void {
    const transport = transportOf(reader);
    this.#on.firstToken.observe({ model: this.#modelOf(request), transport }, ttftMs);
    this.#on.overhead.observe({ transport }, overheadMs);
  }

  unread(events: number): void {
    this.#on.unread.add(NO_LABELS, events);
  }

  ended(facts: EndFacts): void {
    const model = this.#modelOf(facts);
    const transport = transportOf(facts.transport);
    this.#count(facts, facts.outcome);
    this.#on.duration.observe(
      { model, transport, outcome: outcomeOf(facts.outcome) },
      facts.timing.duration_ms,
    );
    this.#meter(facts, model);
    if (facts.streamed && facts.contentEvents === 0) this.#on.noFirstToken.add({ reason: reasonOf(facts) });
    const output = facts.tokens?.output ?? 0;
    if (facts.streamed && facts.streaming_ms !== undefined && output > 1) {
      this.#on.perOutputToken.observe({ model }, facts.streaming_ms / (output - 1));
    }
  }

  readerJoined(transport: Transport): void {
    const labels = { transport: transportOf(transport) };
    this.#on.readers.add(labels);
    this.#on.readersNow.move(labels, 1);
  }

  readerLeft(transport: Transport, phase?: ReaderPhase): void {
    const labels = { transport: transportOf(transport) };
    this.#on.readersNow.move(labels, -1);
    if (phase !== undefined) this.#on.disconnects.add({ ...labels, phase: phaseOf(phase) });
  }

  resumed(transport: Transport, outcome: "resumed" | "ahead" | "unknown"): void {
    this.#on.resumes.add({ transport: transportOf(transport), outcome: resumeOf(outcome) });
  }

  slowReader(transport: Transport): void {
    this.#on.slowReaders.add({ transport: transportOf(transport) });
  }

  connectionOpened(): void {
    this.#on.connections.move(NO_LABELS, 1);
  }

  connectionClosed(): void {
    this.#on.connections.move(NO_LABELS, -1);
  }

  #modelOf(request: RequestFacts): string {
    const model = request.model;
    return model !== undefined && this.#models.has(model) ? model : OTHER;
  }

  #count(request: RequestFacts, outcome: string): void {
    this.#on.requests.add({
      model: this.#modelOf(request),
      transport: transportOf(request.transport),
      key: this.#keyOf(request.key),
      outcome: outcomeOf(outcome),
    });
  }

  /** Tokens by usage; without it, content events stand for output (a body that was not streamed is no token). */
  #meter(facts: EndFacts, model: string): void {
    const key = this.#keyOf(facts.key);
    if (facts.tokens === undefined) {
      if (!facts.streamed || facts.contentEvents === 0) return;
      this.#on.tokens.add({ model, key, type: "output", source: "events" }, facts.contentEvents);
      return;
    }
    for (const type of TOKEN_TYPES) {
      const tokens = facts.tokens[type];
      if (tokens !== undefined) this.#on.tokens.add({ model, key, type, source: "usage" }, tokens);
    }
  }
}
