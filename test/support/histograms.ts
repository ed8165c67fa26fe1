/** Histograms of a scrape, and what must hold between their buckets and durations that a test knows. */
import { expect } from "vitest";
import type { Series } from "./metrics.ts";

export interface Histogram {
  readonly count: number;
  /** Seconds. */
  readonly sum: number;
  /** By rising edge in seconds, the last being infinite: samples that are no greater. */
  readonly buckets: readonly (readonly [edge: number, samples: number])[];
}

/** A histogram summed over the series whose labels include `labels`, each written as `name="value"`. */
export function histogram(series: Series, name: string, ...labels: readonly string[]): Histogram {
  const buckets = new Map<number, number>();
  let count = 0;
  let sum = 0;
  for (const [key, value] of series) {
    const part = new RegExp(`^sluice_${name}_(bucket|sum|count)\\{`).exec(key)?.[1];
    if (part === undefined || !labels.every((label) => key.includes(label))) continue;
    if (part === "count") count += value;
    else if (part === "sum") sum += value;
    else {
      const [, le = ""] = /le="([^"]*)"/.exec(key) ?? [];
      const edge = le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le);
      buckets.set(edge, (buckets.get(edge) ?? 0) + value);
    }
  }
  return { count, sum, buckets: [...buckets].sort(([a], [b]) => a - b) };
}

/** What PromQL's `histogram_quantile` tells: linear within the bucket; the last finite edge beyond that. Seconds. */
export function quantile({ count, buckets }: Histogram, q: number): number {
  const rank = q * count;
  let [from, below] = [0, 0];
  for (const [edge, samples] of buckets) {
    if (samples >= rank) {
      if (edge === Number.POSITIVE_INFINITY) return from;
      return samples === below ? edge : from + ((edge - from) * (rank - below)) / (samples - below);
    }
    [from, below] = [edge, samples];
  }
  throw new Error("the histogram has no samples");
}

/** For float sums of so many microseconds, and for timers, which count whole milliseconds of a clock of their own. */
const SLACK_S = 1e-6;
const TIMER_S = 0.001;

const sum = (all: readonly number[]): number => all.reduce((total, one) => total + one, 0);

/** What is known of one duration without measuring it: it took at least this, and at most what surrounded it. Milliseconds. */
export interface Bounds {
  readonly least: number;
  readonly most: number;
}

/**
 * The histogram has one sample for each of these durations, in buckets where they can be: however slow the machine, what
 * surrounds a duration is longer than it, and a timer never fires early by a millisecond.
 */
export function expectWithin(found: Histogram, bounds: readonly Bounds[]): void {
  expect(found.count).toBe(bounds.length);
  const least = bounds.map(({ least }) => least / 1000 - TIMER_S);
  const most = bounds.map(({ most }) => most / 1000 + SLACK_S);
  expect(found.sum).toBeGreaterThanOrEqual(sum(least));
  expect(found.sum).toBeLessThanOrEqual(sum(most));
  expect(found.buckets.at(-1)).toEqual([Number.POSITIVE_INFINITY, bounds.length]);
  for (const [edge, samples] of found.buckets) {
    const can = least.filter((one) => one <= edge).length;
    const must = most.filter((one) => one <= edge).length;
    expect(samples, `samples up to ${edge} s`).toBeLessThanOrEqual(can);
    expect(samples, `samples up to ${edge} s`).toBeGreaterThanOrEqual(must);
  }
}

/** The edge that ends the bucket of a duration, and the one that begins it. Seconds. */
export function bucketOf({ buckets }: Histogram, ms: number): readonly [from: number, to: number] {
  const edges = [0, ...buckets.map(([edge]) => edge)];
  const to = edges.findIndex((edge) => edge >= ms / 1000);
  return [edges[to - 1] as number, edges[to] as number];
}
