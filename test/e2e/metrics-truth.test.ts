/**
 * The durations that the metrics tell, against delays that are known: lower bounds from what a timer or an order of events
 * forbids, upper bounds from what a client measured around the same thing. No machine is too slow for either.
 */
import { afterEach, describe, expect, test } from "vitest";
import { startGatedUpstream } from "../support/gated-upstream.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { type Bounds, bucketOf, expectWithin, histogram, quantile } from "../support/histograms.ts";
import type { Series } from "../support/metrics.ts";
import { chat, look, startGeneration } from "../support/requests.ts";
import { scrapeOf } from "../support/scrape.ts";
import { SseClient } from "../support/sse-client.ts";
import { holdSlot, startKnowing } from "../support/truth.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
let closeMore: () => Promise<void> = async () => {};
afterEach(async () => {
  await gateway.close();
  await closeMore();
  closeMore = async () => {};
});

const scrape = async (): Promise<Series> => {
  await until("nothing runs", async () => (await gateway.metric("sluice_upstream_in_flight")) === 0);
  return scrapeOf(gateway.url);
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The moments of one streamed request as its client knows them. Monotonic milliseconds. */
interface Seen {
  readonly asked: number;
  readonly first: number;
  readonly ended: number;
  readonly timing: Readonly<Record<string, number>>;
}

const CONTENT = /tok\d/;

/** Asks over WebSocket, whose ending tells the gateway's own figures. */
async function ask(request: object): Promise<Seen> {
  const client = await WsClient.open(gateway.wsUrl);
  const asked = performance.now();
  client.send({ type: "generate", id: "a", request });
  await client.next((message) => message.type === "event" && CONTENT.test(JSON.stringify(message.data)));
  const first = performance.now();
  const { timing } = await client.next(({ type }) => type === "end");
  const ended = performance.now();
  await client.close();
  return { asked, first, ended, timing: timing ?? {} };
}

/** Asks on the stock wire, and looks the figures up afterwards. */
async function askStock(request: object): Promise<Seen> {
  const asked = performance.now();
  const body = { ...request, stream: true };
  const client = new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body });
  await until("the first token", () => CONTENT.test(client.text));
  const first = performance.now();
  await client.ended;
  const ended = performance.now();
  const { timing } = await look(gateway.url, String((await client.head).headers["x-generation-id"]));
  return { asked, first, ended, timing };
}

const sum = (all: readonly number[]): number => all.reduce((total, one) => total + one, 0);
/** Of the figures that endings tell, in seconds. */
const told = (all: readonly Seen[], figure: string): number =>
  sum(all.map(({ timing }) => Number(timing[figure]) / 1000));

/** Endings tell microseconds. */
const DIGITS = 5;

describe.each([
  ["websocket", ask],
  ["sse", askStock],
] as const)("streams over %s with known delays before the first token", (transport, asks) => {
  /** Three in ten are slow. */
  const DELAYS = [120, 120, 120, 600, 120, 120, 600, 120, 120, 600];
  const TOKENS = 4;

  test("each sample is where it must be, and the parts are no more than the whole", async () => {
    gateway = await startKnowing({});
    const all: Seen[] = [];
    for (const first_token_ms of DELAYS) all.push(await asks(chat({ tokens: TOKENS, first_token_ms })));
    const series = await scrape();
    const of = (name: string, ...labels: string[]) =>
      histogram(series, name, 'model="sluice-demo"', ...labels);
    const way = `transport="${transport}"`;
    const upstream = of("upstream_time_to_first_token_seconds");
    const ttft = of("time_to_first_token_seconds", way);
    const overhead = histogram(series, "gateway_overhead_seconds", way);
    const queued = of("queue_wait_seconds");
    const gaps = of("inter_token_latency_seconds");
    const duration = of("request_duration_seconds", way, 'outcome="completed"');

    const toFirst = all.map(
      ({ asked, first }, n): Bounds => ({ least: DELAYS[n] as number, most: first - asked }),
    );
    const toEnd = all.map(
      ({ asked, ended }, n): Bounds => ({ least: DELAYS[n] as number, most: ended - asked }),
    );
    expectWithin(upstream, toFirst);
    expectWithin(ttft, toFirst);
    expectWithin(duration, toEnd);
    expectWithin(
      overhead,
      toFirst.map(({ least, most }) => ({ least: 0, most: most - least + 1 })),
    );
    expectWithin(
      queued,
      toFirst.map(({ least, most }) => ({ least: 0, most: most - least + 1 })),
    );
    expect(gaps.count).toBe(DELAYS.length * (TOKENS - 1));

    expect(ttft.sum).toBeGreaterThanOrEqual(queued.sum + upstream.sum + overhead.sum - 1e-6);
    expect(gaps.sum + upstream.sum).toBeLessThanOrEqual(duration.sum + 1e-6);
    expect(ttft.sum).toBeLessThanOrEqual(duration.sum + overhead.sum + 1e-6);
    // What each client was told of its own is what the scrape tells of all.
    expect(queued.sum).toBeCloseTo(told(all, "queue_ms"), DIGITS - 1);
    expect(upstream.sum).toBeCloseTo(told(all, "upstream_ttft_ms"), DIGITS - 1);
    expect(ttft.sum - overhead.sum).toBeCloseTo(told(all, "ttft_ms"), DIGITS - 1);
    expect(duration.sum).toBeCloseTo(told(all, "duration_ms"), DIGITS - 1);

    // Ranks beyond the seven fast ones are slow however fast the machine.
    for (const q of [0.8, 0.9, 0.99]) {
      expect(quantile(upstream, q)).toBeGreaterThanOrEqual(bucketOf(upstream, 599)[0]);
      expect(quantile(upstream, q)).toBeLessThanOrEqual(
        bucketOf(upstream, Math.max(...toFirst.map(({ most }) => most)))[1],
      );
    }
    for (const q of [0.1, 0.5]) {
      expect(quantile(upstream, q)).toBeGreaterThanOrEqual(bucketOf(upstream, 119)[0]);
    }
  });
});

test("with one slot, the k-th of those that wait has waited for all before it", async () => {
  gateway = await startKnowing({ SLUICE_MAX_CONCURRENCY: "1" });
  const held = await holdSlot(gateway);
  const LENGTH_MS = 80;
  const WAITING = 5;
  const asked: number[] = [];
  const ids: string[] = [];
  for (let k = 0; k < WAITING; k++) {
    asked.push(performance.now());
    const script = { tokens: 1, first_token_ms: LENGTH_MS };
    ids.push((await startGeneration(gateway.url, script, { on_disconnect: "continue" })).id);
  }
  await held.release();
  const ends: number[] = [];
  for (const id of ids) {
    await until("it has ended", async () => (await look(gateway.url, id)).status === "completed");
    ends.push(performance.now());
  }
  const waits = ids.map(
    (_, k): Bounds => ({
      least: k * LENGTH_MS,
      // It began to run a script's length before its end at the latest.
      most: (ends[k] as number) - (asked[k] as number) - LENGTH_MS + 1,
    }),
  );
  // The one that held the slot did not wait for it.
  const holder: Bounds = { least: 0, most: 0 };
  const queued = histogram(await scrape(), "queue_wait_seconds");
  const holding = (await look(gateway.url, held.id)).timing["queue_ms"] as number;
  expectWithin(queued, [{ ...holder, most: holding + 0.001 }, ...waits.map(timersOf)]);
  const figures = await Promise.all(ids.map(async (id) => (await look(gateway.url, id)).timing["queue_ms"]));
  expect(queued.sum).toBeCloseTo((sum(figures.map(Number)) + holding) / 1000, DIGITS - 1);
  const rising = figures.map(Number);
  for (let k = 1; k < WAITING; k++) expect(rising[k]).toBeGreaterThanOrEqual(k * (LENGTH_MS - 1));
});

/** Each of the scripts before it may have been short by a timer's millisecond. */
const timersOf = ({ least, most }: Bounds, k: number): Bounds => ({
  least: least - Math.max(0, k - 1),
  most,
});

test("gaps between tokens, where each is sent only once the one before it was read", async () => {
  const upstream = await startGatedUpstream();
  closeMore = () => upstream.close();
  gateway = await startGateway({ env: { OPENAI_BASE_URL: upstream.url, SLUICE_DEFAULT_MODEL: "plain" } });
  const GAPS = [30, 1, 250, 7, 60, 30];
  const FIRST_MS = 100;
  const USAGE = 11;
  const client = await WsClient.open(gateway.wsUrl);
  const asked = performance.now();
  client.send({ type: "generate", id: "a", request: { model: "plain", messages: [] } });
  const answer = await upstream.next();
  await pause(FIRST_MS);
  const sent = [answer.say("0")];
  const read: number[] = [];
  for (const [n, gap] of GAPS.entries()) {
    await client.next(({ seq }) => seq === n + 1);
    read.push(performance.now());
    await pause(gap);
    sent.push(answer.say(String(n + 1)));
  }
  await client.next(({ seq }) => seq === GAPS.length + 1);
  read.push(performance.now());
  answer.finish(USAGE);
  const { timing = {} } = await client.next(({ type }) => type === "end");
  const ended = performance.now();
  await client.close();

  const series = await scrape();
  const gaps = histogram(series, "inter_token_latency_seconds", 'model="plain"');
  expectWithin(
    gaps,
    GAPS.map((gap, n) => ({ least: gap, most: (read[n + 1] as number) - (sent[n] as number) })),
  );
  const streaming = (Number(timing["duration_ms"]) - Number(timing["ttft_ms"])) / 1000;
  expect(gaps.sum).toBeLessThanOrEqual(streaming + 1e-5);
  const perToken = histogram(series, "time_per_output_token_seconds", 'model="plain"');
  expect(perToken.count).toBe(1);
  expect(perToken.sum).toBeCloseTo(streaming / (USAGE - 1), DIGITS);
  const overall: Bounds = { least: sum(GAPS) - GAPS.length, most: ended - (sent[0] as number) };
  expectWithin(perToken, [{ least: overall.least / (USAGE - 1), most: overall.most / (USAGE - 1) }]);
  const first = histogram(series, "upstream_time_to_first_token_seconds", 'model="plain"');
  expectWithin(first, [{ least: FIRST_MS, most: (read[0] as number) - asked }]);
});
