/** One generation: many readers of it at once, and one that comes when all has been said. */
import { ended, newGeneration } from "../generation.ts";
import { type Bench, basics, cpuOf, cpuRatios, interleaved, remarks, seriesOf, wrongIn } from "../rounds.ts";
import type { Section } from "../section.ts";
import { spreadOf } from "../statistics.ts";
import { subjectsNamed } from "../subjects/index.ts";

/** Readers, and events a second: a hundred readers and more take less each, so that the load carries it. */
const PACES = new Map([
  [1, 50],
  [10, 50],
  [100, 50],
  [1000, 10],
]);
const LINES = { "sluice-sse": "encoded once", "sluice-each": "encoded for each", bare: "bare writes" };
const SECONDS = 2;
const RAMP_MS = 800;
const SETTLE_MS = 400;
const TOKENS = 10_000;

export async function fanOut(bench: Bench): Promise<Section> {
  const seconds = SECONDS * bench.seconds;
  const points = [...PACES.keys()];
  const subjects = subjectsNamed(["sluice-sse", "sluice-each", "bare"]);
  const all = await interleaved(bench, subjects, points, async (subject, running, streams) => {
    const pace = PACES.get(streams) ?? 1;
    const events = Math.ceil(pace * (seconds + (RAMP_MS + SETTLE_MS) / 1000 + 0.5));
    const id = await newGeneration(running, { stream: 0, events, pace });
    const path = `/v1/generations/${id}/events`;
    return {
      plan: { ...basics(subject, running), wire: "read", path, streams, events, pace, rampMs: RAMP_MS },
      timing: { settleMs: SETTLE_MS, seconds, endMs: 10_000 },
    };
  });
  const at = (name: string, point: number): number[] => {
    const series = seriesOf(all, name, point);
    return series === undefined ? [] : cpuOf(series);
  };
  const ratio = (point: number) => spreadOf(cpuRatios(all, "sluice-sse", "sluice-each", point));
  return {
    name: "fan-out",
    title: "Fan-out: many readers of one generation",
    about:
      "Processor time for each event and reader, encoded once for all readers and, for comparison, for each reader anew (the same gateway, less the function that shares); and bare writes of the upstream's bytes to as many sockets, which nobody can save.",
    columns: [
      "readers",
      "encoded once, us",
      "encoded for each, us",
      "ratio",
      "bare writes, us",
      "once x bare",
    ],
    rows: points.map((point) => [
      point,
      spreadOf(at("sluice-sse", point)).median,
      spreadOf(at("sluice-each", point)).median,
      ratio(point).median,
      spreadOf(at("bare", point)).median,
      spreadOf(cpuRatios(all, "sluice-sse", "bare", point)).median,
    ]),
    goals: [
      {
        what: "1,000 readers of one generation, x encoding for each",
        must: 0.75,
        aim: 0.65,
        unit: "",
        found: ratio(1000),
      },
    ],
    plots: [
      {
        kind: "lines",
        title: "Processor time for each event and reader, microseconds",
        x: "readers",
        lines: Object.entries(LINES).map(([name, title]) => ({
          name: title,
          points: points.map((point) => [point, spreadOf(at(name, point)).median] as const),
        })),
      },
    ],
    notes: remarks(all),
    wrong: wrongIn(all.flatMap(({ found }) => found)),
  };
}

export async function resume(bench: Bench): Promise<Section> {
  const all = await interleaved(
    bench,
    subjectsNamed(["sluice-sse", "sluice-ws"]),
    [TOKENS],
    async (subject, running, events) => {
      const generation = await newGeneration(running, { stream: 0, events, pace: 0 });
      await ended(running, generation);
      const wire = subject.wire === "ws" ? "ws-read" : "read";
      const path = `/v1/generations/${generation}/events`;
      return {
        plan: { ...basics(subject, running), wire, generation, path, streams: 1, events, pace: 0, rampMs: 0 },
        // All of it is in the window, which opens at once.
        timing: { settleMs: 0, seconds: 1, endMs: 10_000 },
      };
    },
  );
  return {
    name: "resume",
    title: `Resuming: the replay of ${TOKENS.toLocaleString("en")} tokens`,
    about:
      "From the request of a reader that starts at the beginning to the ending of a generation that is over.",
    columns: ["wire", "to the head, ms", "MB/s of log"],
    rows: all.map(({ subject, found }) => {
      const took = spreadOf(found.map(({ totals }) => totals.took.p50));
      return [subject.title, took.median, (TOKENS * PAYLOAD_BYTES) / 1e3 / took.median];
    }),
    goals: [],
    plots: [],
    notes: remarks(all),
    wrong: wrongIn(all.flatMap(({ found }) => found)),
  };
}

/** An event less its framing, as the log holds it. */
const PAYLOAD_BYTES = 322;
