/** What a chunk costs as streams become many and the chunks in all stay as many. */
import { readFileSync } from "node:fs";
import {
  type Bench,
  cpuOf,
  interleaved,
  median,
  remarks,
  type Series,
  seriesOf,
  steadily,
  wrongIn,
} from "../rounds.ts";
import type { Section } from "../section.ts";
import { ratios, shown, spreadOf } from "../statistics.ts";
import { subjectsNamed } from "../subjects/index.ts";

/** Streams, and the pace of each: about 10,000 events a second from 200 on, which the load carries. */
const PACES = new Map([
  [50, 50],
  [200, 50],
  [1000, 10],
  [2000, 5],
]);
const SECONDS = 2;
/** Streams start over so long, and longer where they are many: what starting them leaves behind is not what a chunk costs. */
const LEAST_RAMP_MS = 1000;
const RAMP_MS_A_STREAM = 2.5;
const SETTLE_MS = 1000;
const NAMES = ["nginx", "pipe", "sluice-sse", "sluice-ws", "sluice-ws50"];
/** Descriptors that a proxy needs beside two for each stream. */
const SPARE = 200;

export async function scale(bench: Bench): Promise<Section> {
  const limit = Number(/^Max open files +\d+ +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]);
  const points = [...PACES.keys()].filter((streams) => 2 * streams + SPARE <= limit);
  const seconds = SECONDS * bench.seconds;
  const all = await interleaved(bench, subjectsNamed(NAMES), points, (subject, running, streams) =>
    steadily(subject, running, {
      streams,
      pace: PACES.get(streams) ?? 1,
      seconds,
      rampMs: Math.max(LEAST_RAMP_MS, streams * RAMP_MS_A_STREAM),
      settleMs: SETTLE_MS,
    }),
  );
  const names = [...new Set(all.map(({ subject }) => subject.name))];
  const cpuAt = (name: string, point: number): number[] => {
    const series = seriesOf(all, name, point);
    return series === undefined ? [] : cpuOf(series);
  };
  const titleOf = (name: string): string => seriesOf(all, name)?.subject.title ?? name;
  const left = [...PACES.keys()].filter((streams) => !points.includes(streams));
  return {
    name: "scale",
    title: "Scale: 50 to 2,000 streams",
    about: `Microseconds of processor time for each event. ${[...PACES].map(([streams, pace]) => `${streams} streams of ${pace} events a second`).join(", ")}: the events in all stay what the load side carries.`,
    columns: ["subject", ...points.map((streams) => `${streams} streams`), "2,000 x 200"],
    rows: names.map((name) => [
      titleOf(name),
      ...points.map((streams) => spreadOf(cpuAt(name, streams)).median),
      spreadOf(ratios(cpuAt(name, 2000), cpuAt(name, 200))).median,
    ]),
    goals: names
      .filter((name) => name.startsWith("sluice"))
      .map((name) => ({
        what: `${titleOf(name)}: a chunk at 2,000 streams, x at 200`,
        must: 1.1,
        aim: 1,
        unit: "",
        found: spreadOf(ratios(cpuAt(name, 2000), cpuAt(name, 200))),
      })),
    plots: [
      {
        kind: "lines",
        title: "Processor time for each event, microseconds",
        x: "streams",
        lines: names.map((name) => ({ name: titleOf(name), points: pointsOf(all, name) })),
      },
    ],
    notes: [
      ...left.map(
        (streams) => `${streams} streams need more than the ${limit} open files that this machine allows`,
      ),
      ...joined(all),
      ...remarks(all),
    ],
    wrong: wrongIn(all.flatMap(({ found }) => found)),
  };
}

/** Where streams share connections, how much a write carries depends on how much comes at about the same time. */
function joined(all: readonly Series[]): string[] {
  const shared = all.filter(({ subject, point }) => subject.perConnection > 1 && point >= 200);
  const figures = shared.map(
    (series) =>
      `${shown(median(series, ({ chunksPerWrite }) => chunksPerWrite))} at ${series.point.toLocaleString("en")} streams`,
  );
  return figures.length === 0
    ? []
    : [`${shared[0]?.subject.title}: events in a write: ${figures.join(", ")}`];
}

const pointsOf = (all: readonly Series[], name: string): [number, number][] =>
  all
    .filter(({ subject }) => subject.name === name)
    .map((series) => [series.point, spreadOf(cpuOf(series)).median]);
