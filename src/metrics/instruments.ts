/**
 * The table of metrics (PROTOCOL.md, "Metrics"), one line each, and the series that stand at 0 from the start: a counter that
 * appears with its first event hides that event from `rate()`.
 */
import type { Levels } from "../core/ports.ts";
import type { Board } from "./board.ts";
import { DURATION, FIRST_TOKEN, OVERHEAD, QUEUE_WAIT, TOKEN } from "./buckets.ts";
import { EMPTY_REASONS, NONE, OTHER, OUTCOMES, PHASES, READING, RESUMES, TRANSPORTS } from "./labels.ts";

const histograms = (board: Board) => ({
  firstToken: board.histogram(
    "time_to_first_token_seconds",
    "Time from the acceptance of a streamed generation until its first content was handed to a reader's socket.",
    ["model", "transport"],
    FIRST_TOKEN,
  ),
  upstreamFirstToken: board.histogram(
    "upstream_time_to_first_token_seconds",
    "Time from sending the request upstream until its first content arrived.",
    ["model"],
    FIRST_TOKEN,
  ),
  queueWait: board.histogram(
    "queue_wait_seconds",
    "Time that an admitted request waited for its slot.",
    ["model"],
    QUEUE_WAIT,
  ),
  overhead: board.histogram(
    "gateway_overhead_seconds",
    "Time from receiving the first content of a generation until it was handed to a reader's socket.",
    ["transport"],
    OVERHEAD,
  ),
  gaps: board.tally(
    "inter_token_latency_seconds",
    "Time between two content events of a generation as they arrived from the upstream.",
    ["model"],
    TOKEN,
  ),
  perOutputToken: board.histogram(
    "time_per_output_token_seconds",
    "Time from first content to the end of a generation, divided by its output tokens less one.",
    ["model"],
    TOKEN,
  ),
  duration: board.histogram(
    "request_duration_seconds",
    "Time from the acceptance of a generation until its end.",
    ["model", "transport", "outcome"],
    DURATION,
  ),
});

const counters = (board: Board) => ({
  requests: board.counter("requests_total", "Creating requests, each counted once by how it came out.", [
    "model",
    "transport",
    "key",
    "outcome",
  ]),
  readers: board.counter("readers_total", "Readers that began to follow a generation.", ["transport"]),
  resumes: board.counter("resumes_total", "Attempts to go on reading from a position.", [
    "transport",
    "outcome",
  ]),
  upstreamRequests: board.counter(
    "upstream_requests_total",
    "Requests to an upstream by its HTTP status, or by the error code where it gave none.",
    ["upstream", "code"],
  ),
  upstreamRetries: board.counter("upstream_retries_total", "Requests that were tried again, by reason.", [
    "upstream",
    "reason",
  ]),
  tokens: board.counter(
    "tokens_total",
    "Tokens as the upstream's usage tells them, or content events where no usage came.",
    ["model", "key", "type", "source"],
  ),
  unread: board.counter(
    "events_after_last_reader_total",
    "Content events that the upstream sent after the last reader had left.",
    [],
  ),
  noFirstToken: board.counter(
    "no_first_token_total",
    "Streamed generations that ended without any content.",
    ["reason"],
  ),
  slowReaders: board.counter(
    "slow_readers_total",
    "Readers cut off because they took nothing for too long.",
    ["transport"],
  ),
  disconnects: board.counter("reader_disconnects_total", "Readers that vanished before the ending.", [
    "transport",
    "phase",
  ]),
});

const gauges = (board: Board) => ({
  readersNow: board.gauge("readers", "Readers that follow a generation now.", ["transport"]),
  connections: board.gauge("websocket_connections", "Open WebSocket connections.", []),
  build: board.gauge("build_info", "The version of the gateway and of Node.js, with the value 1.", [
    "version",
    "node",
  ]),
});

/** What is read at a scrape. */
export interface Readings {
  levels(): Levels;
  /** The names of the configured upstreams. */
  readonly upstreams: readonly string[];
  /** Whether the upstream of that name is preferred now (`Upstream.isWell`). */
  isWell(upstream: string): boolean;
}

function readings(board: Board, { levels, upstreams, isWell }: Readings): void {
  board.reading("queue_depth", "Requests waiting for a slot.", () => levels().queueDepth);
  board.reading("queue_limit", "Requests that may wait at once.", () => levels().queueLimit);
  board.reading("upstream_in_flight", "Upstream requests that hold a slot.", () => levels().inFlight);
  board.reading(
    "upstream_concurrency_limit",
    "Upstream requests that may run at once.",
    () => levels().concurrencyLimit,
  );
  board.reading("generations_active", "Generations that are queued or running.", () => levels().active);
  board.reading("generations_retained", "Ended generations kept for replay.", () => levels().retained);
  board.reading(
    "retained_bytes",
    "Bytes of ended generations kept for replay.",
    () => levels().retainedBytes,
  );
  board.reading("draining", "1 while the gateway is shutting down, else 0.", () =>
    levels().draining ? 1 : 0,
  );
  board.readings(
    "upstream_available",
    "1 while the upstream is preferred, 0 while its breaker is open or it asked for a pause.",
    "upstream",
    upstreams,
    (upstream) => (isWell(upstream) ? 1 : 0),
  );
}

export function makeInstruments(board: Board, read: Readings) {
  const made = { ...histograms(board), ...counters(board), ...gauges(board) };
  readings(board, read);
  return made;
}

export type Instruments = ReturnType<typeof makeInstruments>;

/** Makes the series whose labels are known now. Models and keys have too many pairs: those begin as `other` and `none`. */
export function standAtZero(on: Instruments, upstreams: readonly string[]): void {
  for (const transport of TRANSPORTS) {
    for (const outcome of OUTCOMES) on.requests.add({ model: OTHER, transport, key: NONE, outcome }, 0);
  }
  for (const transport of READING) {
    on.readers.add({ transport }, 0);
    on.readersNow.move({ transport }, 0);
    on.slowReaders.add({ transport }, 0);
    for (const outcome of RESUMES) on.resumes.add({ transport, outcome }, 0);
    for (const phase of PHASES) on.disconnects.add({ transport, phase }, 0);
  }
  for (const reason of EMPTY_REASONS) on.noFirstToken.add({ reason }, 0);
  for (const type of ["input", "output", "cached", "reasoning"]) {
    on.tokens.add({ model: OTHER, key: NONE, type, source: "usage" }, 0);
  }
  on.tokens.add({ model: OTHER, key: NONE, type: "output", source: "events" }, 0);
  for (const upstream of upstreams) on.upstreamRequests.add({ upstream, code: "200" }, 0);
}
