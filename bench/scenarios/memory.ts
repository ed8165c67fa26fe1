/** What a running stream holds, beyond the bytes of its log. */
import { setTimeout as sleep } from "node:timers/promises";
import { usageOf } from "../processes.ts";
import type { Measured } from "../rig.ts";
import { measure } from "../rig.ts";
import { type Bench, steadily, wrongIn } from "../rounds.ts";
import type { Section } from "../section.ts";
import { spreadOf } from "../statistics.ts";
import { subjectsNamed } from "../subjects/index.ts";
import type { Subject } from "../subjects/subject.ts";

/** What the goals are about. */
const STREAMS = 1000;
interface Pace {
  /** Events a second of each stream: as many in all as every subject carries. */
  readonly pace: number;
  /** The streams start over so many milliseconds. */
  readonly rampMs: number;
}

/** By streams. */
const PACES = new Map<number, Pace>([
  [50, { pace: 20, rampMs: 500 }],
  [200, { pace: 20, rampMs: 500 }],
  [STREAMS, { pace: 5, rampMs: 1500 }],
  [2000, { pace: 2, rampMs: 10_000 }],
]);
const SECONDS = 2;
/** Of an event, what the log holds. */
const PAYLOAD_KB = 322 / 1024;
const ROUNDS = 3;

interface Grown {
  readonly streams: number;
  /** Beyond what it had after a few streams, and beyond the logs. */
  readonly kb: number;
  readonly measured: Measured;
}

export async function memory(bench: Bench): Promise<Section> {
  const subjects = subjectsNamed(["nginx", "pipe", "obvious", "sluice-sse", "sluice-ws", "sluice-ws50"]);
  const all = subjects.map((subject) => ({ subject, found: [] as Grown[] }));
  for (let round = 1; round <= Math.min(ROUNDS, bench.rounds); round++) {
    for (const { subject, found } of all) {
      if (bench.isStopped() || subject.missing?.() !== undefined) continue;
      for (const [streams, paced] of PACES) {
        bench.tell(
          `round ${round} of ${Math.min(ROUNDS, bench.rounds)}: ${subject.name}, ${streams} streams`,
        );
        found.push(await grown(bench, subject, streams, paced));
      }
    }
  }
  const measured = all.filter(({ found }) => found.length > 0);
  const at = (found: readonly Grown[], point: number): number[] =>
    found.filter(({ streams }) => streams === point).map(({ kb }) => kb);
  const spread = (found: readonly Grown[]) => spreadOf(at(found, STREAMS).map((kb) => kb / STREAMS));
  const megabytes = (found: readonly Grown[], point: number): number =>
    spreadOf(at(found, point)).median / 1024;
  const points = [...PACES.keys()];
  return {
    name: "memory",
    title: `Memory: ${STREAMS.toLocaleString("en")} running streams`,
    about: `Resident memory of a fresh process with ${STREAMS} streams running, less what it had after a first few and less the bytes of the logs, for each stream. Garbage that nothing has collected yet is in it. And the same in all, from ${points[0]} streams to ${points.at(-1)?.toLocaleString("en")}, each in a process of its own.`,
    columns: [
      "subject",
      "KB/stream",
      "least",
      "most",
      ...points.map((streams) => `MB at ${streams.toLocaleString("en")}`),
    ],
    rows: measured.map(({ subject, found }) => {
      const { median, least, most } = spread(found);
      return [subject.title, median, least, most, ...points.map((streams) => megabytes(found, streams))];
    }),
    goals: measured
      .filter(({ subject }) => subject.name.startsWith("sluice"))
      .map(({ subject, found }) => ({
        what: `${subject.title}: memory for each running stream beyond its log`,
        must: 60,
        aim: 35,
        unit: " KB",
        found: spread(found),
      })),
    plots: [
      {
        kind: "lines",
        title: "Resident memory beyond the logs, megabytes",
        x: "streams",
        lines: measured.map(({ subject, found }) => ({
          name: subject.title,
          points: points.map((streams): [number, number] => [streams, megabytes(found, streams)]),
        })),
      },
    ],
    notes: [],
    wrong: wrongIn(measured.flatMap(({ found }) => found.map((each) => each.measured))),
  };
}

async function grown(bench: Bench, subject: Subject, streams: number, paced: Pace): Promise<Grown> {
  const running = await subject.start(bench.rig);
  const { pid } = running;
  if (pid === undefined) throw new Error(`${subject.name} has no process`);
  try {
    const few = steadily(subject, running, { streams: 50, pace: 20, seconds: 0.5 });
    await measure(bench.rig, running, few.plan, few.timing);
    await sleep(500);
    const before = usageOf(pid).rssKb;
    const seconds = SECONDS * bench.seconds;
    const many = steadily(subject, running, { streams, ...paced, seconds });
    const measured = await measure(bench.rig, running, many.plan, many.timing);
    const logged = subject.name.startsWith("sluice") ? measured.window.received * PAYLOAD_KB : 0;
    return { streams, kb: (measured.rssKb ?? Number.NaN) - before - logged, measured };
  } finally {
    await running.stop();
  }
}
