/**
 * Some hundred requests of every kind at once, under faults, cancels, departures, resumes and refusals: what the clients
 * counted, what the upstream counted and what the scrape tells is the same. `SLUICE_MIXED_SEED` chooses another run.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestGateway, until } from "../support/gateway.ts";
import { histogram } from "../support/histograms.ts";
import { at, type Series } from "../support/metrics.ts";
import { Crowd, type Part, type Tally } from "../support/mixed.ts";
import { forEach } from "../support/replay.ts";
import { scrapeOf, total, workIn } from "../support/scrape.ts";
import { randomFrom } from "../support/soak/plans.ts";
import { IDLE, startKnowing } from "../support/truth.ts";

const SEED = Number(process.env["SLUICE_MIXED_SEED"] ?? 20_260_101);
const REQUESTS = 400;
const AT_ONCE = 40;

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startKnowing({
    // Fewer than ask at once: some wait, and some of those find the line full.
    SLUICE_MAX_CONCURRENCY: "3",
    SLUICE_MAX_QUEUE: "3",
  });
});
afterAll(() => gateway.close());

const random = randomFrom(SEED);
const below = (limit: number): number => Math.floor(random() * limit);
const oneOf = <T>(items: readonly T[]): T => items[below(items.length)] as T;

/** A script that ends by itself, and what it comes to. `whole` is for answers that are not streamed. */
function partFor(whole: boolean): Part {
  const tokens = 1 + below(12);
  const pace_ms = below(4);
  const usage = random() < 0.3;
  const chance = random();
  if (chance < 0.15) {
    const status = oneOf([400, 404, 429, 500, 503]);
    return {
      script: { fault: { kind: "status", status } },
      outcome: "failed",
      code: String(status),
      events: 0,
    };
  }
  if (chance < 0.35 && !whole) {
    const after_tokens = below(tokens);
    const kind = oneOf(["eof", "garbage", "error_event"] as const);
    const script = { tokens, pace_ms, usage, fault: { kind, after_tokens } };
    return { script, outcome: "failed", code: "200", events: after_tokens };
  }
  const finish_reason = oneOf(["stop", "stop", "length"]);
  const outcome = finish_reason === "length" ? "incomplete" : "completed";
  return { script: { tokens, pace_ms, usage, finish_reason }, outcome, code: "200", events: tokens };
}

const CONDUCTS: readonly ((crowd: Crowd) => () => Promise<void>)[] = [
  (crowd) =>
    (
      (part) => () =>
        crowd.stock(part)
    )(partFor(false)),
  (crowd) =>
    (
      (part) => () =>
        crowd.whole(part)
    )(partFor(true)),
  (crowd) =>
    (
      (part) => () =>
        crowd.events(part)
    )(partFor(false)),
  (crowd) =>
    (
      (part) => () =>
        crowd.unread(part)
    )(partFor(false)),
  (crowd) =>
    (
      (part) => () =>
        crowd.socket(part)
    )(partFor(false)),
  (crowd) =>
    (
      (part) => () =>
        crowd.socket(part)
    )(partFor(false)),
  (crowd) =>
    (
      (part) => () =>
        crowd.twice(part)
    )(partFor(false)),
  (crowd) =>
    (
      (reader) => () =>
        crowd.leaveEarly(reader)
    )(oneOf(["sse", "json"] as const)),
  (crowd) =>
    (
      (events, how) => () =>
        crowd.stopStock(events, how)
    )(1 + below(5), oneOf(["leave", "cancel"] as const)),
  (crowd) =>
    (
      (events, how) => () =>
        crowd.stopSocket(events, how)
    )(1 + below(5), oneOf(["leave", "cancel", "return"] as const)),
  (crowd) =>
    (
      (way) => () =>
        crowd.invalid(way)
    )(oneOf(["sse", "json", "websocket"] as const)),
];

/** What the scrapes tell, in the words of the clients. */
function scraped(before: Series, after: Series): Tally {
  const rose = (name: string, ...labels: string[]): number =>
    total(after, name, ...labels) - total(before, name, ...labels);
  const tally: Tally = {
    generations: rose("request_duration_seconds_count"),
    "output tokens": rose("tokens_total", 'type="output"'),
    gaps: rose("inter_token_latency_seconds_count"),
    "streams with content": rose("upstream_time_to_first_token_seconds_count"),
    "streams without content": rose("no_first_token_total"),
    vanished: rose("reader_disconnects_total"),
    "good endings":
      rose("requests_total", 'outcome="completed"') + rose("requests_total", 'outcome="incomplete"'),
  };
  for (const transport of ["sse", "websocket", "json", "none"]) {
    const way = `transport="${transport}"`;
    tally[`readers ${transport}`] = rose("readers_total", way);
    for (const outcome of ["resumed", "ahead", "unknown"])
      tally[`resumes ${outcome} ${transport}`] = rose("resumes_total", way, `outcome="${outcome}"`);
  }
  for (const [series, value] of after) {
    const risen = value - (before.get(series) ?? 0);
    const [, outcome, transport] =
      /^sluice_requests_total\{.*outcome="(\w+)",transport="(\w+)"/.exec(series) ?? [];
    if (outcome !== undefined) add(tally, `requests ${outcome} ${transport}`, risen);
    const [, code] = /^sluice_upstream_requests_total\{code="(\w+)"/.exec(series) ?? [];
    if (code !== undefined) add(tally, `upstream ${code === "cancelled" ? "none" : code}`, risen);
  }
  return tally;
}

/** What the upstream counted of it. */
function sent(): Tally {
  const { stats } = gateway.emulator;
  const tally: Tally = { "output tokens": stats.tokens_sent };
  for (const { status } of gateway.emulator.requests()) add(tally, `upstream ${status ?? "none"}`, 1);
  return tally;
}

const add = (tally: Tally, name: string, by: number): void => {
  tally[name] = (tally[name] ?? 0) + by;
};

const inOrder = (tally: Tally): [string, number][] =>
  Object.entries(tally)
    .filter(([, count]) => count !== 0)
    .sort(([a], [b]) => (a < b ? -1 : 1));

test(`${REQUESTS} requests of every kind: clients, upstream and scrape agree (seed ${SEED})`, async () => {
  const before = await scrapeOf(gateway.url);
  const crowd = new Crowd(gateway);
  const turns = Array.from({ length: REQUESTS }, () => oneOf(CONDUCTS)(crowd));
  await forEach(turns, AT_ONCE, (turn) => turn());
  let after = before;
  await until("nothing is left", async () => {
    after = await scrapeOf(gateway.url);
    return JSON.stringify(workIn(after)) === JSON.stringify(IDLE) && gateway.emulator.stats.open === 0;
  });
  await until("the connections are closed", async () => {
    after = await scrapeOf(gateway.url);
    return at(after, "websocket_connections") === 0;
  });
  const [seen, upstream, told] = [crowd.saw, sent(), scraped(before, after)];
  const rows = new Map(inOrder({ ...told, ...seen }).map(([name]) => [name, {}]));
  console.table(
    Object.fromEntries(
      [...rows.keys()].map((name) => [
        name,
        { clients: seen[name] ?? 0, upstream: upstream[name] ?? "", scrape: told[name] ?? 0 },
      ]),
    ),
  );
  expect(inOrder(told)).toEqual(inOrder(seen));
  expect(inOrder(upstream)).toEqual(inOrder(seen).filter(([name]) => /^(upstream|output tokens)/.test(name)));
  expect(gateway.emulator.stats.sent_after_abort).toBe(0);
  // Every kind of thing has happened.
  for (const outcome of [
    "completed",
    "incomplete",
    "failed",
    "cancelled",
    "disconnected",
    "attached",
    "invalid",
  ])
    expect(total(after, "requests_total", `outcome="${outcome}"`), outcome).toBeGreaterThan(0);
  expectWhole(after);
});

/** Sums that hold whatever was asked. */
function expectWhole(series: Series): void {
  const count = (name: string, ...labels: string[]): number => histogram(series, name, ...labels).count;
  const sumOf = (name: string): number => histogram(series, name).sum;
  const slack = 1e-3;
  expect(count("queue_wait_seconds")).toBe(count("request_duration_seconds"));
  for (const transport of ["sse", "websocket"]) {
    const way = `transport="${transport}"`;
    expect(count("gateway_overhead_seconds", way)).toBe(count("time_to_first_token_seconds", way));
  }
  expect(count("time_to_first_token_seconds")).toBeLessThanOrEqual(
    count("upstream_time_to_first_token_seconds"),
  );
  expect(sumOf("queue_wait_seconds")).toBeLessThanOrEqual(sumOf("request_duration_seconds") + slack);
  expect(
    sumOf("inter_token_latency_seconds") +
      sumOf("upstream_time_to_first_token_seconds") +
      sumOf("queue_wait_seconds"),
  ).toBeLessThanOrEqual(sumOf("request_duration_seconds") + slack);
  expect(total(series, "readers")).toBe(0);
  expect(total(series, "slow_readers_total")).toBe(0);
  expect(total(series, "upstream_retries_total")).toBe(0);
}
