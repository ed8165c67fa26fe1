/**
 * What looking on costs the path of a token: microseconds a content event, of the metrics alone and as the core calls them, and
 * with the share of everything that is counted and logged around a generation of 200 events; then prom-client's own histogram, whose place `src/metrics/tally.ts` takes, with the
 * same buckets and values. `node bench/observer.ts`; nothing but the observer runs.
 */
import { pino } from "pino";
import { Histogram, Registry } from "prom-client";
import type { EndFacts, Observer, RequestFacts } from "../src/core/ports.ts";
import { TOKEN } from "../src/metrics/buckets.ts";
import { Metrics } from "../src/metrics/metrics.ts";
import { Observers } from "../src/observe/observers.ts";
import { passage } from "../src/observe/passage.ts";
import { RequestLog } from "../src/observe/request-log.ts";

const ROUNDS = 15;
const GENERATIONS = 5_000;
const EVENTS = 200;

const models = Array.from({ length: 50 }, (_, n) => `vendor/model-${n}-instruct`);
const metrics = new Metrics({
  version: "bench",
  keyNames: ["team"],
  models,
  upstreams: ["main"],
  levels: () => ({
    queueDepth: 0,
    queueLimit: 0,
    inFlight: 0,
    concurrencyLimit: 0,
    active: 0,
    retained: 0,
    retainedBytes: 0,
    draining: false,
  }),
  isWell: () => true,
  onFault: (fault) => {
    throw fault;
  },
});

const log = new RequestLog(pino({ level: "info" }, { write: () => {} }));
const observers = new Observers(metrics, [log, passage]);

// Every tenth request names a model that is not known; gaps lie between 5 and 50 ms, as tokens do.
const requests: readonly RequestFacts[] = Array.from({ length: 100 }, (_, n) => ({
  model: n % 10 === 0 ? `unknown-${n}` : models[n % models.length],
  transport: n % 2 === 0 ? "sse" : "websocket",
  key: "team",
}));
const gaps = Float64Array.from({ length: 1024 }, (_, n) => 5 * 10 ** (((n * 619) % 1024) / 1024));

function tokens(observer: Observer, request: RequestFacts): void {
  for (let n = 0; n < EVENTS; n++) observer.content(request, gaps[(n * 7) & 1023] as number);
}

function generation(observer: Observer, request: RequestFacts): void {
  observer.accepted(request, { endpoint: "/v1/chat/completions", stream: true, choices: 1 });
  observer.readerJoined(request.transport);
  observer.admitted(request, 0.2);
  observer.attempted(request, "main");
  observer.upstreamAnswered("main", "200");
  observer.firstContent(request, 250);
  observer.delivered(request, request.transport, 251, 0.3);
  tokens(observer, request);
  observer.attemptEnded(request, { status: "completed" });
  const ended: EndFacts = {
    ...request,
    outcome: "completed",
    streamed: true,
    timing: { queue_ms: 0.2, duration_ms: 5_000 },
    streaming_ms: 4_750,
    tokens: { input: 100, output: EVENTS, cached: 20 },
    contentEvents: EVENTS,
    attempts: 1,
    bytes: 40_000,
  };
  observer.ended(ended);
  observer.readerLeft(request.transport);
}

const theirs = new Histogram({
  name: "inter_token_latency_seconds",
  help: "The same.",
  labelNames: ["model"],
  buckets: [...TOKEN],
  registers: [new Registry()],
});
const children = new Map(requests.map(({ model = "other" }) => [model, theirs.labels({ model })]));

function tokensTheirs(request: RequestFacts): void {
  for (let n = 0; n < EVENTS; n++) {
    children.get(request.model ?? "other")?.observe((gaps[(n * 7) & 1023] as number) / 1000);
  }
}

function round(run: (request: RequestFacts) => void): number {
  const start = performance.now();
  for (let n = 0; n < GENERATIONS; n++) run(requests[n % requests.length] as RequestFacts);
  return ((performance.now() - start) * 1000) / (GENERATIONS * EVENTS);
}

function report(name: string, run: (request: RequestFacts) => void): void {
  round(run);
  const figures = Array.from({ length: ROUNDS }, () => round(run)).sort((a, b) => a - b);
  const [least, median, most] = [0, ROUNDS >> 1, ROUNDS - 1].map((n) => (figures[n] ?? 0).toFixed(3));
  console.log(
    `${name}: ${median} us a content event (median of ${ROUNDS} rounds of ${GENERATIONS * EVENTS} events; ${least} to ${most})`,
  );
}

report("content() of the metrics alone", (request) => tokens(metrics, request));
report("content() as the core calls it", (request) => tokens(observers, request));
report("all metrics of a generation", (request) => generation(metrics, request));
report("all metrics of a generation, and its log line", (request) => generation(observers, request));
report("prom-client's histogram instead, alone", tokensTheirs);
metrics.close();
