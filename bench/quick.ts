/**
 * `npm run bench:quick`: what a chunk costs, in less than half a minute. For whoever changes the path of a token: run it before and
 * after. Only ratios within one run mean something. Exits with 1 where an event was lost, reordered or doubled.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { cores } from "./processes.ts";
import { startRig } from "./rig.ts";
import { cpuOf, cpuRatios, interleaved, median, remarks, type Series, steadily, wrongIn } from "./rounds.ts";
import { medianOf, shown } from "./statistics.ts";
import { subjectsNamed } from "./subjects/index.ts";

const { values } = parseArgs({
  options: {
    subjects: { type: "string", default: "pipe,sluice-sse,sluice-ws,sluice-ws50" },
    streams: { type: "string", default: "200" },
    pace: { type: "string", default: "50" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "0.5" },
    json: { type: "string" },
  },
});
const [streams, pace, rounds, seconds] = [values.streams, values.pace, values.rounds, values.seconds].map(
  Number,
) as [number, number, number, number];

/** Shorter than the scenarios': the whole is to stay short. */
const RAMP_MS = 300;

const subjects = subjectsNamed(values.subjects.split(","));
for (const { name, missing } of subjects) {
  const why = missing?.();
  if (why !== undefined) console.log(`${name} is left out: ${why}`);
}
const rig = await startRig();
const bench = { rig, rounds, seconds: 1, isStopped: () => false, tell: () => {} };
const all = await interleaved(bench, subjects, [streams], (subject, running) =>
  steadily(subject, running, { streams, pace, seconds, rampMs: RAMP_MS }),
).finally(() => rig.stop());

const pinning =
  cores === undefined ? "not pinned" : `subject on core ${cores.subject}, the rest on ${cores.load}`;
console.log(`${streams} streams of ${pace} events a second, ${rounds} rounds of ${seconds} s; ${pinning}`);
const rows = all.map(rowOf);
console.table(rows);
for (const remark of remarks(all)) console.log(remark);
const result = all.map(({ subject, found }) => ({ subject: subject.name, found }));
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ rows, result }, undefined, 2));
process.exitCode =
  rows.every(({ wrong }) => wrong === 0) && all.every(({ fault }) => fault === undefined) ? 0 : 1;

function rowOf(series: Series) {
  const { name } = series.subject;
  const percent = (share: number | undefined): number => (share ?? Number.NaN) * 100;
  return {
    subject: name,
    "us/chunk": shown(medianOf(cpuOf(series))),
    "x pipe": shown(medianOf(cpuRatios(all, name, "pipe"))),
    "x nginx": shown(medianOf(cpuRatios(all, name, "nginx"))),
    "chunks/read": shown(median(series, ({ chunksPerRead }) => chunksPerRead)),
    "chunks/write": shown(median(series, ({ chunksPerWrite }) => chunksPerWrite)),
    "event p50 ms": shown(median(series, ({ window }) => window.event.p50)),
    "event p99 ms": shown(median(series, ({ window }) => window.event.p99)),
    "RSS MB": shown(median(series, ({ rssKb }) => (rssKb ?? Number.NaN) / 1024)),
    "subject %": shown(median(series, ({ subjectUse }) => percent(subjectUse))),
    "waiting %": shown(median(series, ({ waitShare }) => percent(waitShare))),
    "load+upstream %": shown(median(series, ({ loadUse, upstreamUse }) => percent(loadUse + upstreamUse))),
    wrong: wrongIn(series.found),
  };
}
