/** Runs seeded batches of drawn inputs, counts what came of them, and takes what lasts too long for a hang. */
import fc from "fast-check";

export const SEED = Number(process.env["SLUICE_FUZZ_SEED"] ?? 20_260_501);
/** An answer that takes longer is a hang. Milliseconds. */
const PATIENCE_MS = 30_000;

const counts: Record<string, Record<string, number>> = {};
export const count = (kind: string, what: string, by = 1): void => {
  const row = (counts[kind] ??= {});
  row[what] = (row[what] ?? 0) + by;
};

/** @returns how many inputs were sent in all */
export function printCounts(): number {
  console.table(counts);
  return Object.values(counts).reduce((sum, row) => sum + (row["sent"] ?? 0), 0);
}

/** Batches of samples, each from a seed of its own: a batch that fails is drawn again by its number alone. */
export function* batches<T>(
  arbitrary: fc.Arbitrary<T>,
  total: number,
  size: number,
): Generator<readonly [number, T[]]> {
  for (let n = 0; n * size < total; n++)
    yield [n, fc.sample(arbitrary, { seed: SEED + n, numRuns: Math.min(size, total - n * size) })];
}

/** Runs `work` on all batches, several at a time. */
export async function spread<T>(
  all: Generator<readonly [number, T[]]>,
  lanes: number,
  work: (batch: T[], n: number) => Promise<void>,
): Promise<void> {
  const lane = async (): Promise<void> => {
    for (const [n, batch] of all) await work(batch, n);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

export async function inTime<T>(what: string, done: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`a hang: ${what}, seed ${SEED}`)), PATIENCE_MS);
  });
  return Promise.race([done, late]).finally(() => clearTimeout(timer));
}
