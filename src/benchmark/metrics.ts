/** From what was seen of the requests to the figures of the report. Each formula stands in docs/BENCH.md. */
import type { Observation } from "./observation.ts";
import { type Summary, sum, summarize } from "./statistics.ts";

export const LATENCIES = ["ttft", "tpot", "itl", "e2el"] as const;
export type Latency = (typeof LATENCIES)[number];

/** Upper limits in milliseconds of what a good request may have. */
export type Goodput = Readonly<Partial<Record<"ttft" | "tpot" | "e2el", number>>>;

/** Members of Sluice's `timing` that are reported. */
export const TIMINGS = ["queue_ms", "upstream_ttft_ms", "ttft_ms"] as const;
export type Timing = (typeof TIMINGS)[number];

export interface Metrics {
  readonly completed: number;
  readonly failed: number;
  /** Cut by the user's own interruption: neither completed nor failed. */
  readonly interrupted: number;
  readonly durationS: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly requestThroughput: number;
  /** Undefined where no limits were set. */
  readonly requestGoodput: number | undefined;
  readonly outputThroughput: number;
  readonly totalThroughput: number;
  readonly peakOutputThroughput: number;
  readonly peakConcurrency: number;
  /** Milliseconds. */
  readonly latencies: Readonly<Record<Latency, Summary | undefined>>;
  /** Milliseconds, as Sluice told them. */
  readonly timings: Readonly<Record<Timing, Summary | undefined>>;
  /** Completed requests whose output was counted by the server's usage, and by events with content. */
  readonly countedByUsage: number;
  readonly countedByEvents: number;
  /** Failed requests by code, the most frequent first. */
  readonly faults: readonly (readonly [string, number])[];
}

/**
 * @param durationS from the first due request to the last end, in seconds; above 0
 * @param percentiles 0 to 100
 */
export function measure(
  seen: readonly Observation[],
  durationS: number,
  percentiles: readonly number[],
  goodput: Goodput,
): Metrics {
  const good = seen.filter(({ outcome }) => outcome === "completed");
  const failed = seen.filter(({ outcome }) => outcome === "failed");
  const inputTokens = sum(good.map(({ promptTokens }) => promptTokens ?? 0));
  const outputTokens = sum(good.map((each) => each.outputTokens));
  const countedByUsage = good.filter(({ isTokenCountTold }) => isTokenCountTold).length;
  const limited = Object.keys(goodput).length > 0;
  const within = good.filter((each) => isWithin(each, goodput)).length;
  return {
    completed: good.length,
    failed: failed.length,
    interrupted: seen.length - good.length - failed.length,
    durationS,
    inputTokens,
    outputTokens,
    requestThroughput: good.length / durationS,
    requestGoodput: limited ? within / durationS : undefined,
    outputThroughput: outputTokens / durationS,
    totalThroughput: (inputTokens + outputTokens) / durationS,
    peakOutputThroughput: peakOutput(good),
    peakConcurrency: peakConcurrency(good),
    latencies: latenciesOf(good, percentiles),
    timings: timingsOf(good, percentiles),
    countedByUsage,
    countedByEvents: good.length - countedByUsage,
    faults: tally(failed),
  };
}

function latenciesOf(good: readonly Observation[], percentiles: readonly number[]): Metrics["latencies"] {
  const of = (values: readonly (number | undefined)[]): Summary | undefined =>
    summarize(values.filter(isNumber), percentiles);
  return {
    ttft: of(good.map(({ ttftMs }) => ttftMs)),
    tpot: of(good.map(({ tpotMs }) => tpotMs)),
    itl: of(good.flatMap(({ itlsMs }) => itlsMs)),
    e2el: of(good.map(({ e2elMs }) => e2elMs)),
  };
}

function timingsOf(good: readonly Observation[], percentiles: readonly number[]): Metrics["timings"] {
  const of = (name: Timing): Summary | undefined =>
    summarize(good.map(({ timing }) => timing?.[name]).filter(isNumber), percentiles);
  return { queue_ms: of("queue_ms"), upstream_ttft_ms: of("upstream_ttft_ms"), ttft_ms: of("ttft_ms") };
}

const isNumber = (value: unknown): value is number => typeof value === "number";

/** A request of fewer than two tokens has no time per output token, and keeps any limit of it. */
function isWithin({ ttftMs, tpotMs, e2elMs }: Observation, goodput: Goodput): boolean {
  const { ttft = Infinity, tpot = Infinity, e2el = Infinity } = goodput;
  return ttftMs <= ttft && (tpotMs ?? 0) <= tpot && e2elMs <= e2el;
}

/** The most contents that arrived in one of the whole seconds since the first start. */
function peakOutput(good: readonly Observation[]): number {
  const start = good.reduce((least, { startMs }) => Math.min(least, startMs), Infinity);
  const seconds = new Map<number, number>();
  for (const at of good.flatMap(({ contentMs }) => contentMs)) {
    const second = Math.floor((at - start) / 1000);
    seconds.set(second, (seconds.get(second) ?? 0) + 1);
  }
  return [...seconds.values()].reduce((most, count) => Math.max(most, count), 0);
}

/** The most requests that ran at the same moment. One that ends as another starts is not beside it. */
function peakConcurrency(good: readonly Observation[]): number {
  const steps = good.flatMap(({ startMs, endMs }) => [
    { at: startMs, change: 1 },
    { at: endMs, change: -1 },
  ]);
  steps.sort((one, other) => one.at - other.at || one.change - other.change);
  let [running, most] = [0, 0];
  for (const { change } of steps) most = Math.max(most, (running += change));
  return most;
}

function tally(failed: readonly Observation[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const { fault } of failed) {
    const code = fault?.code ?? "unknown";
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  return [...counts].sort(([, one], [, other]) => other - one);
}
