/** New requests all the time: how much later than the upstream sends it the first token arrives; and whole answers. */
import { type Bench, basics, interleaved, remarks, type Series, seriesOf, wrongIn } from "../rounds.ts";
import type { Goal, Section } from "../section.ts";
import { differences, spreadOf } from "../statistics.ts";
import { subjectsNamed } from "../subjects/index.ts";
import type { Subject } from "../subjects/subject.ts";

const RATE = 200;
const EVENTS = 20;
const PACE = 50;
const SECONDS = 3;
/** The window opens so long after the first request. Milliseconds. */
const LEAD_MS = 700;

export async function churn(bench: Bench): Promise<Section> {
  const names = ["direct", "nginx", "pipe", "obvious", "portkey", "sluice-sse", "sluice-ws"];
  return section(await measured(bench, names, undefined), {
    name: "churn",
    title: `Churn: ${RATE} new requests a second`,
    about: `Each on a connection of its own, ${EVENTS} events at ${PACE} a second. Time to first token added: from the request to the first event at the reader, less what the upstream took and less what the same takes with nothing between.`,
    what: "time to first token added",
    must: { p50: 0.5, p99: 5 },
    aim: { p50: 0.25, p99: 2 },
  });
}

export async function whole(bench: Bench): Promise<Section> {
  const names = ["direct", "nginx", "pipe", "sluice-sse"];
  return section(await measured(bench, names, "json"), {
    name: "whole",
    title: `Not streamed: ${RATE} requests a second`,
    about:
      "Each on a connection of its own. Time added to a whole answer: from the request to its last byte, less what the same takes with nothing between.",
    what: "time added to an answer",
  });
}

function measured(bench: Bench, names: readonly string[], wire: "json" | undefined): Promise<Series[]> {
  const rampMs = LEAD_MS + SECONDS * bench.seconds * 1000;
  return interleaved(bench, subjectsNamed(names), [RATE], (subject, running) => ({
    plan: {
      ...basics(subject, running),
      ...(wire === undefined ? {} : { wire }),
      streams: Math.round((RATE * rampMs) / 1000),
      pace: PACE,
      events: wire === undefined ? EVENTS : 0,
      rampMs,
    },
    timing: { settleMs: LEAD_MS - rampMs, seconds: SECONDS * bench.seconds, endMs: 10_000 },
  }));
}

interface Frame {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  readonly what: string;
  readonly must?: { readonly p50: number; readonly p99: number };
  readonly aim?: { readonly p50: number; readonly p99: number };
}

type Quantile = "p50" | "p99" | "p999";

/** Milliseconds beyond the same round with nothing between. */
function added(all: readonly Series[], { subject }: Series, quantile: Quantile): number[] {
  const of = (name: string): number[] =>
    seriesOf(all, name)?.found.map(({ window }) => window.first[quantile]) ?? [];
  return differences(of(subject.name), of("direct"));
}

function section(all: readonly Series[], frame: Frame): Section {
  const { must, aim, ...rest } = frame;
  const between = all.filter(({ subject }) => subject.name !== "direct");
  const perRequest = ({ found }: Series): number[] =>
    found.map(({ window, cpuUs = Number.NaN }) => cpuUs / window.first.count);
  const goal = (series: Series, quantile: "p50" | "p99"): Goal => ({
    what: `${titleOf(series.subject)}: ${frame.what}, ${quantile}`,
    ...(must === undefined ? {} : { must: must[quantile] }),
    ...(aim === undefined ? {} : { aim: aim[quantile] }),
    unit: " ms",
    found: spreadOf(added(all, series, quantile)),
  });
  const ours = between.filter(({ subject }) => subject.name.startsWith("sluice"));
  return {
    ...rest,
    columns: ["subject", "added p50 ms", "p99 ms", "p99.9 ms", "us/request"],
    rows: between.map((series) => [
      titleOf(series.subject),
      ...(["p50", "p99", "p999"] as const).map((each) => spreadOf(added(all, series, each)).median),
      spreadOf(perRequest(series)).median,
    ]),
    goals: must === undefined ? [] : ours.flatMap((series) => [goal(series, "p50"), goal(series, "p99")]),
    plots: [
      {
        kind: "bars",
        title: `${frame.what[0]?.toUpperCase()}${frame.what.slice(1)}, median, milliseconds`,
        bars: between.map((series) => ({
          name: titleOf(series.subject),
          found: spreadOf(added(all, series, "p50")),
          isOurs: series.subject.name.startsWith("sluice"),
        })),
      },
    ],
    notes: remarks(all),
    wrong: wrongIn(all.flatMap(({ found }) => found)),
  };
}

const titleOf = ({ title }: Subject): string => title;
