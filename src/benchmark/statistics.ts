/** Statistics as numpy computes them, so that figures can be held against those of other tools. */

export interface Summary {
  readonly mean: number;
  readonly median: number;
  /** Of the population: divided by n, as `numpy.std` does. */
  readonly std: number;
  /** Pairs of a percentile, 0 to 100, and its value. */
  readonly percentiles: readonly (readonly [number, number])[];
}

/** Undefined for no values: there is no mean of nothing. */
export function summarize(values: readonly number[], percentiles: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  const mean = sum(values) / values.length;
  return {
    mean,
    median: percentile(sorted, 50),
    std: Math.sqrt(sum(values.map((value) => (value - mean) ** 2)) / values.length),
    percentiles: percentiles.map((p) => [p, percentile(sorted, p)] as const),
  };
}

/**
 * The value at `p` percent, interpolated linearly between neighbours (`numpy.percentile`'s default).
 * @param sorted ascending, not empty
 * @param p 0 to 100
 */
export function percentile(sorted: ArrayLike<number>, p: number): number {
  const place = (p / 100) * (sorted.length - 1);
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
