/** Subjects in interleaved rounds: what disturbs the machine for a while disturbs all of them. */
import type { Plan } from "./load/plan.ts";
import { type Measured, measure, type Rig, type Timing } from "./rig.ts";
import { medianOf, ratios } from "./statistics.ts";
import type { Running, Subject } from "./subjects/subject.ts";

export interface Bench {
  readonly rig: Rig;
  readonly rounds: number;
  /** Scales every window: 1 is the default's length. */
  readonly seconds: number;
  /** Set once the run is to end early: what has been found so far is reported. */
  readonly isStopped: () => boolean;
  /** Says what is being done. */
  readonly tell: (text: string) => void;
}

/** One subject at one point of a scenario, such as a number of streams. */
export interface Series {
  readonly subject: Subject;
  readonly point: number;
  readonly found: Measured[];
  /** Why it was given up: in the first round none of its streams ended well. */
  fault?: string;
}

export interface Step {
  readonly plan: Plan;
  readonly timing: Timing;
}

export type StepOf = (subject: Subject, running: Running, point: number) => Step | Promise<Step>;

/** @returns in the order of the subjects and points; those that cannot be measured here are told and left out */
export async function interleaved(
  bench: Bench,
  subjects: readonly Subject[],
  points: readonly number[],
  stepOf: StepOf,
): Promise<Series[]> {
  const started: { subject: Subject; running: Running }[] = [];
  try {
    for (const subject of subjects) {
      if (subject.missing?.() !== undefined || bench.isStopped()) continue;
      started.push({ subject, running: await subject.start(bench.rig) });
    }
    return await turns(bench, started, points, stepOf);
  } finally {
    for (const { running } of started) await running.stop();
  }
}

async function turns(
  bench: Bench,
  started: ReadonlyArray<{ readonly subject: Subject; readonly running: Running }>,
  points: readonly number[],
  stepOf: StepOf,
): Promise<Series[]> {
  const all: (Series & { readonly running: Running })[] = started.flatMap(({ subject, running }) =>
    points.map((point) => ({ subject, running, point, found: [] })),
  );
  // Round 0 warms every subject up and is not counted.
  for (let round = 0; round <= bench.rounds; round++) {
    for (let turn = 0; turn < all.length && !bench.isStopped(); turn++) {
      const each = all[(turn + round) % all.length] as (typeof all)[number];
      const { subject, running, point, found } = each;
      if (each.fault !== undefined) continue;
      const { plan, timing } = await stepOf(subject, running, point);
      bench.tell(
        `round ${round} of ${bench.rounds}: ${subject.name}${points.length > 1 ? ` at ${point}` : ""}`,
      );
      const measured = await measure(bench.rig, running, plan, timing);
      const { failed, streams, fault } = measured.totals;
      if (round > 0) found.push(measured);
      else if (failed === streams) each.fault = fault ?? "no stream ended well";
    }
  }
  return all;
}

const RAMP_MS = 1000;
const SETTLE_MS = 200;
/** Streams go on for so long after the window. Milliseconds. */
const SLACK_MS = 150;

export interface Steady {
  readonly streams: number;
  /** Events a second for each stream. */
  readonly pace: number;
  readonly seconds: number;
  readonly rampMs?: number;
  /** Between the last start and the window. */
  readonly settleMs?: number;
}

/** Streams at a steady pace, over all of the window. */
export function steadily(subject: Subject, running: Running, steady: Steady): Step {
  const { streams, pace, seconds, rampMs = RAMP_MS, settleMs = SETTLE_MS } = steady;
  const events = Math.ceil(pace * (seconds + (rampMs + settleMs + SLACK_MS) / 1000));
  return {
    plan: { ...basics(subject, running), streams, pace, events, rampMs, endsTogether: true },
    timing: { settleMs, seconds, endMs: 10_000 },
  };
}

export function basics(subject: Subject, running: Running) {
  const { host, port, headers } = running;
  return {
    wire: subject.wire,
    host,
    port,
    path: "/v1/chat/completions",
    perConnection: subject.perConnection,
    ...(headers === undefined ? {} : { headers }),
  };
}

export const cpuOf = ({ found }: Series): number[] => found.map(({ usPerChunk }) => usPerChunk ?? Number.NaN);

/** The figures of a subject at a point, empty where it was not measured. */
export function seriesOf(all: readonly Series[], name: string, point?: number): Series | undefined {
  return all.find(({ subject, point: at }) => subject.name === name && (point === undefined || at === point));
}

/** Pairs of processor time a chunk, ours by theirs. */
export function cpuRatios(all: readonly Series[], ours: string, theirs: string, point?: number): number[] {
  const [a, b] = [seriesOf(all, ours, point), seriesOf(all, theirs, point)];
  return a === undefined || b === undefined ? [] : ratios(cpuOf(a), cpuOf(b));
}

export const median = (series: Series, of: (each: Measured) => number | undefined): number =>
  medianOf(series.found.map((each) => of(each) ?? Number.NaN));

export const wrongIn = (found: readonly Measured[]): number =>
  found.reduce(
    (sum, { totals: { lost, reordered, duplicated, strange, failed } }) =>
      sum + lost + reordered + duplicated + strange + failed,
    0,
  );

/** On one line. */
const plain = (text: string): string => text.replace(/\s+/g, " ").slice(0, 200);

/** One line for each subject that had a failing stream, and for each that had no processor or whose load had none. */
export function remarks(all: readonly Series[]): string[] {
  return all.flatMap((series) => {
    const { subject, point, found } = series;
    if (series.fault !== undefined)
      return [`${subject.name} failed and was left out: ${plain(series.fault)}`];
    const name = `${subject.name} (${point})`;
    const fault = found.find(({ totals }) => totals.fault !== undefined)?.totals.fault;
    const busy = median(series, ({ loadUse, upstreamUse }) => loadUse + upstreamUse);
    const waits = median(series, ({ waitShare }) => waitShare);
    return [
      ...(fault === undefined ? [] : [`${name}: a stream did not end well: ${plain(fault)}`]),
      ...(busy > 0.8 ? [`${name}: load and upstream used ${Math.round(busy * 100)} % of their core`] : []),
      ...(waits > 0.1
        ? [
            `${name}: waited for its core ${Math.round(waits * 100)} % of the window (its threads together): others ran on it`,
          ]
        : []),
    ];
  });
}
