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

const STREAMS = 1000;
const PACE = 5;
const SECONDS = 2;
const RAMP_MS = 1500;
/** Of an event, what the log holds. */
const PAYLOAD_KB = 322 / 1024;
const ROUNDS = 3;

interface Grown {
  readonly kb: number;
  readonly measured: Measured;
}

export async function memory(bench: Bench): Promise<Section> {
  const subjects = subjectsNamed(["nginx", "pipe", "obvious", "sluice-sse", "sluice-ws", "sluice-ws50"]);
  const all = subjects.map((subject) => ({ subject, found: [] as Grown[] }));
  for (let round = 1; round <= Math.min(ROUNDS, bench.rounds); round++) {
    for (const { subject, found } of all) {
      if (bench.isStopped() || subject.missing?.() !== undefined) continue;
      bench.tell(`round ${round} of ${Math.min(ROUNDS, bench.rounds)}: ${subject.name}`);
      found.push(await grown(bench, subject));
    }
  }
  const measured = all.filter(({ found }) => found.length > 0);
  const spread = (found: readonly Grown[]) => spreadOf(found.map(({ kb }) => kb));
  return {
    name: "memory",
    title: `Memory: ${STREAMS.toLocaleString("en")} running streams`,
    about: `Resident memory of a fresh process with ${STREAMS} streams running, less what it had after a first few and less the bytes of the logs, for each stream. Garbage that nothing has collected yet is in it.`,
    columns: ["subject", "KB/stream", "least", "most"],
    rows: measured.map(({ subject, found }) => {
      const { median, least, most } = spread(found);
      return [subject.title, median, least, most];
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
        kind: "bars",
        title: "Resident memory for each stream beyond its log, KB",
        bars: measured.map(({ subject, found }) => ({
          name: subject.title,
          found: spread(found),
          isOurs: subject.name.startsWith("sluice"),
        })),
      },
    ],
    notes: [],
    wrong: wrongIn(measured.flatMap(({ found }) => found.map((each) => each.measured))),
  };
}

async function grown(bench: Bench, subject: Subject): Promise<Grown> {
  const running = await subject.start(bench.rig);
  const { pid } = running;
  if (pid === undefined) throw new Error(`${subject.name} has no process`);
  try {
    const few = steadily(subject, running, { streams: 50, pace: 20, seconds: 0.5 });
    await measure(bench.rig, running, few.plan, few.timing);
    await sleep(500);
    const before = usageOf(pid).rssKb;
    const seconds = SECONDS * bench.seconds;
    const many = steadily(subject, running, { streams: STREAMS, pace: PACE, seconds, rampMs: RAMP_MS });
    const measured = await measure(bench.rig, running, many.plan, many.timing);
    const logged = subject.name.startsWith("sluice") ? measured.window.received * PAYLOAD_KB : 0;
    return { kb: ((measured.rssKb ?? Number.NaN) - before - logged) / STREAMS, measured };
  } finally {
    await running.stop();
  }
}
