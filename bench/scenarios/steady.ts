/** What a chunk costs, and how much later it arrives, at a pace as models have it. */
import {
  type Bench,
  cpuOf,
  cpuRatios,
  interleaved,
  median,
  remarks,
  type Series,
  seriesOf,
  steadily,
  wrongIn,
} from "../rounds.ts";
import type { Goal, Section } from "../section.ts";
import { spreadOf } from "../statistics.ts";
import { subjectsNamed } from "../subjects/index.ts";

const STREAMS = 200;
const PACE = 50;
const SECONDS = 3;
const NAMES = [
  "direct",
  "nginx",
  "pipe",
  "obvious",
  "portkey",
  "sluice-sse",
  "sluice-ws",
  "sluice-ws50",
  "sluice-ws50-h2",
];

export async function steady(bench: Bench): Promise<Section> {
  const subjects = subjectsNamed(NAMES);
  const all = await interleaved(bench, subjects, [STREAMS], (subject, running) =>
    steadily(subject, running, { streams: STREAMS, pace: PACE, seconds: SECONDS * bench.seconds }),
  );
  return {
    name: "steady",
    title: `Steady: ${STREAMS} streams`,
    about: `${STREAMS} streams of ${PACE} events a second. Processor time of the subject for each event that reached its reader; ratios are medians over the pairs of a round. Latencies are from the upstream's write to the reader's read.`,
    columns: [
      "subject",
      "us/chunk",
      "x nginx",
      "x pipe",
      "chunks/read",
      "chunks/write",
      "event p50 ms",
      "p99 ms",
      "p99.9 ms",
      "RSS MB",
    ],
    rows: all.map((series) => rowOf(all, series)),
    goals: goals(all),
    plots: [
      {
        kind: "bars",
        title: "Processor time for each event, microseconds",
        bars: all
          .filter(({ subject }) => subject.name !== "direct")
          .map((series) => ({
            name: series.subject.title,
            found: spreadOf(cpuOf(series)),
            isOurs: series.subject.name.startsWith("sluice"),
          })),
      },
    ],
    notes: [
      ...subjects.flatMap(({ name, missing }) => {
        const why = missing?.();
        return why === undefined ? [] : [`${name} was not measured: ${why}`];
      }),
      ...remarks(all),
    ],
    wrong: wrongIn(all.flatMap(({ found }) => found)),
  };
}

function rowOf(all: readonly Series[], series: Series) {
  const { name, title } = series.subject;
  return [
    title,
    spreadOf(cpuOf(series)).median,
    spreadOf(cpuRatios(all, name, "nginx")).median,
    spreadOf(cpuRatios(all, name, "pipe")).median,
    median(series, ({ chunksPerRead }) => chunksPerRead),
    median(series, ({ chunksPerWrite }) => chunksPerWrite),
    median(series, ({ window }) => window.event.p50),
    median(series, ({ window }) => window.event.p99),
    median(series, ({ window }) => window.event.p999),
    median(series, ({ rssKb }) => (rssKb ?? Number.NaN) / 1024),
  ];
}

function goals(all: readonly Series[]): Goal[] {
  const goal = (
    what: string,
    ours: string,
    theirs: string,
    limits: { must?: number; aim?: number },
  ): Goal => ({
    what: `${what}, x ${seriesOf(all, theirs)?.subject.title ?? theirs}`,
    ...limits,
    unit: "",
    found: spreadOf(cpuRatios(all, ours, theirs)),
  });
  return [
    goal("SSE, one stream a connection", "sluice-sse", "pipe", { must: 1.1, aim: 0.8 }),
    goal("SSE, one stream a connection", "sluice-sse", "obvious", { must: 0.6 }),
    goal("SSE, one stream a connection", "sluice-sse", "nginx", { aim: 1.4 }),
    goal("WebSocket, one stream a connection", "sluice-ws", "pipe", { must: 1.1, aim: 0.8 }),
    goal("WebSocket, 50 streams a connection", "sluice-ws50", "pipe", { must: 0.7 }),
    goal("WebSocket, 50 streams a connection", "sluice-ws50", "nginx", { aim: 0.9 }),
    goal("the same with an HTTP/2 upstream", "sluice-ws50-h2", "nginx", { aim: 0.5 }),
  ];
}
