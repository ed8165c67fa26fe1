/** What the soak found, as a table, a page and a plot. */
import { arch, cpus, platform, totalmem } from "node:os";
import type { Tally } from "./client.ts";
import { floors, type Sample, type Trend, trend } from "./samples.ts";

export interface Check {
  readonly name: string;
  readonly isWell: boolean;
  readonly found: string;
}

export interface Findings {
  readonly minutes: number;
  readonly streams: number;
  readonly seed: number;
  readonly command: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly samples: readonly Sample[];
  readonly tally: Tally;
  readonly checks: readonly Check[];
  readonly wrong: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
}

/** Minutes at the end over which the trends are taken. */
export const WINDOW_MINUTES = 20;
/** What a trend may rise over the window, as a share of its mean. */
export const MOST_RISE = 0.05;

interface Series {
  readonly name: string;
  readonly unit: string;
  readonly of: (sample: Sample) => number;
  readonly isBound: boolean;
}

const SERIES: readonly Series[] = [
  { name: "heap in use, lowest of each minute", unit: " MB", of: ({ heapMb }) => heapMb, isBound: true },
  { name: "open file descriptors", unit: "", of: ({ fds }) => fds, isBound: true },
  { name: "active resources", unit: "", of: ({ resources }) => resources, isBound: true },
  { name: "resident memory", unit: " MB", of: ({ rssMb }) => rssMb, isBound: false },
  { name: "readers", unit: "", of: ({ readers }) => readers, isBound: false },
  { name: "event loop lag, p99", unit: " ms", of: ({ lagMs }) => lagMs, isBound: false },
  { name: "one processor used", unit: " %", of: ({ cpu }) => cpu * 100, isBound: false },
];

/** The samples of the last 20 minutes; of a shorter run, of its last two thirds. */
export function windowOf(samples: readonly Sample[]): readonly Sample[] {
  const end = samples.at(-1)?.seconds ?? 0;
  const from = Math.max(end - WINDOW_MINUTES * 60, end / 3);
  return samples.filter(({ seconds }) => seconds >= from);
}

const trendOf = (samples: readonly Sample[], { of, name }: Series): Trend => {
  const window = windowOf(samples);
  return trend(name.startsWith("heap") ? floors(window, of) : window.map(of));
};

/** Whether what must be flat is. */
export const trendChecks = (samples: readonly Sample[]): Check[] =>
  SERIES.filter(({ isBound }) => isBound).map((series) => {
    const { mean, rise, share } = trendOf(samples, series);
    return {
      name: `${series.name}: rises by less than ${MOST_RISE * 100} % of the mean`,
      isWell: share < MOST_RISE,
      found: `${signed(rise)}${series.unit} on ${mean.toFixed(1)}, ${signed(share * 100)} %`,
    };
  });

const signed = (value: number): string => (value < 0 ? "" : "+") + value.toFixed(1);

const row = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;

export function seriesTable(samples: readonly Sample[]): string {
  const rows = SERIES.map((series) => {
    const values = windowOf(samples).map(series.of);
    const { mean, rise, share } = trendOf(samples, series);
    const ends = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(1));
    return row([
      series.name + series.unit.replace(/^ (.*)$/, " ($1)"),
      ...ends,
      mean.toFixed(1),
      `${signed(rise)} (${signed(share * 100)} %)`,
    ]);
  });
  return [
    row(["", "lowest", "highest", "mean", "trend over the window"]),
    "| --- | ---: | ---: | ---: | ---: |",
    ...rows,
  ].join("\n");
}

export const checkTable = (checks: readonly Check[]): string =>
  [
    row(["check", "", "found"]),
    "| --- | --- | --- |",
    ...checks.map(({ name, isWell, found }) => row([name, isWell ? "yes" : "**NO**", found])),
  ].join("\n");

export const tallyTable = (tally: Readonly<Record<string, number>>): string =>
  [
    row(["what", "times"]),
    "| --- | ---: |",
    ...Object.entries(tally)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, times]) => row([name, times])),
  ].join("\n");

const settingsTable = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `\`${name}=${value}\``)
    .join(", ");

const machine = (): string =>
  `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GB of memory, ${platform()} ${arch()}, Node ${process.versions.node}`;

export function page(findings: Findings, notes: readonly string[]): string {
  const { minutes, streams, seed, command, settings, samples, tally, checks, wrong, counters } = findings;
  return `# Soak

One gateway process for ${minutes} minutes under ${streams} streams at once, against an emulated upstream in a process of its own; the
clients are a third. Written by \`${command}\` on ${new Date().toISOString().slice(0, 10)}; seed ${seed}.

Machine: ${machine()}. Settings: ${settingsTable(settings)}; the rest are the defaults.

![Heap, resident memory and file descriptors over time](soak.svg)

The streams are drawn from the seed: a third on the stock wire, a third on \`/events\`, the rest over WebSocket (five to a connection) and
some not streamed. A fifth are told to fail (resets, early ends, half events, silence, error events, garbage, refusals). Readers
stay, leave, cancel, come back up to four times on either transport, are stuck until they are cut off, or read the whole once more; now and then a WebSocket goes down with
everything on it. Every event is held against its script byte for byte, with its seq; every ending against the one that was scripted.

## Checks

${checkTable(checks)}

${
  wrong.length === 0
    ? "Nothing was wrong."
    : `${wrong.length} times something was wrong; the first:\n\n${wrong
        .slice(0, 10)
        .map((text) => `- ${text.replaceAll("\n", " ")}`)
        .join("\n")}`
}

## Over time

The last ${Math.round((windowOf(samples).length * 10) / 60)} minutes of the load, sampled each 10 s. The trend is the line of least squares through the window, from its start to its end. The
heap is looked at each 2 s and the lowest look of each minute counts, which is what a collection leaves.

${seriesTable(samples)}

## What the clients saw

${tallyTable(tally)}

## What the gateway counted

${tallyTable(counters)}

## Notes

${notes.map((note) => `- ${note}`).join("\n")}
`;
}
