export function medianOf(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2;
}

/** What the pairs of interleaved rounds say: each subject's figure beside the other's of the same round. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly count: number;
}

export function spreadOf(figures: readonly number[]): Spread {
  const known = figures.filter((figure) => Number.isFinite(figure));
  return {
    median: medianOf(known),
    least: Math.min(...known),
    most: Math.max(...known),
    count: known.length,
  };
}

export const ratios = (ours: readonly number[], theirs: readonly number[]): number[] =>
  ours.slice(0, theirs.length).map((figure, n) => figure / (theirs[n] ?? Number.NaN));

export const differences = (ours: readonly number[], theirs: readonly number[]): number[] =>
  ours.slice(0, theirs.length).map((figure, n) => figure - (theirs[n] ?? Number.NaN));

/** To three digits; `-` where there is nothing to say. */
export function shown(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "-";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}
