/** Scrapes of a running gateway, and what moved between two of them. */
import { at, type Series, seriesOf } from "./metrics.ts";

export async function scrapeOf(url: string): Promise<Series> {
  return seriesOf(await (await fetch(`${url}/metrics`)).text());
}

/** How much of what: counters and counts of histograms, by their name without prefix and their labels' values. */
export type Moved = Readonly<Record<string, number>>;

/** Labels whose usual value says nothing: any other one is told. */
const USUAL = new Set(['key="none"', 'model="sluice-demo"', 'upstream="upstream"']);
const COUNTED = /^sluice_(\w+?(?:_total|_count))\{(.*)\}$/;

/**
 * The counters and counts that moved: `requests_total completed sse` -> 1. The values of labels stand in the alphabetical
 * order of the labels' names, those that are as usual (no key, the emulator's model) aside.
 */
export function moved(before: Series, after: Series): Moved {
  const rises: Record<string, number> = {};
  for (const [series, value] of after) {
    const parts = COUNTED.exec(series);
    const rise = value - (before.get(series) ?? 0);
    if (parts === null || rise === 0) continue;
    const labels = (parts[2] ?? "").split(",").filter((label) => label !== "" && !USUAL.has(label));
    const values = labels.map((label) => label.slice(label.indexOf('"') + 1, -1));
    rises[[parts[1], ...values].join(" ")] = rise;
  }
  return rises;
}

/** All of them together; what comes to nothing is left out. */
export function sumOf(...all: readonly Moved[]): Moved {
  const sum: Record<string, number> = {};
  for (const [name, by] of all.flatMap((one) => Object.entries(one))) sum[name] = (sum[name] ?? 0) + by;
  return Object.fromEntries(Object.entries(sum).filter(([, by]) => by !== 0));
}

/** What the gauges of work tell: nothing reads, waits or runs where all are 0. */
export interface Work {
  readonly readers: number;
  readonly queued: number;
  readonly inFlight: number;
  readonly active: number;
}

export const workIn = (series: Series): Work => ({
  readers: total(series, "readers"),
  queued: at(series, "queue_depth") ?? Number.NaN,
  inFlight: at(series, "upstream_in_flight") ?? Number.NaN,
  active: at(series, "generations_active") ?? Number.NaN,
});

/** A metric summed over the series whose labels include `labels`, each written as `name="value"`. */
export function total(series: Series, name: string, ...labels: readonly string[]): number {
  let sum = 0;
  for (const [key, value] of series) {
    if (key.startsWith(`sluice_${name}{`) && labels.every((label) => key.includes(label))) sum += value;
  }
  return sum;
}
