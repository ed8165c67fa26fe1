/** The block that users of `vllm bench serve` know: the same rows by the same names, and some of our own after them. */
import { LATENCIES, type Metrics, TIMINGS, type Timing } from "./metrics.ts";
import type { Summary } from "./statistics.ts";

export interface ReportSetting {
  readonly concurrency: number | undefined;
  /** Requests a second; Infinity is not told. */
  readonly rate: number;
  readonly percentiles: readonly number[];
}

const LABEL_WIDTH = 40;
const VALUE_WIDTH = 10;
const WIDTH = 50;
const COLUMN_WIDTH = 13;

const TITLES = {
  ttft: ["Time to First Token", "TTFT"],
  tpot: ["Time per Output Token (excl. 1st token)", "TPOT"],
  itl: ["Inter-token Latency", "ITL"],
  e2el: ["End-to-end Latency", "E2EL"],
} as const;

const TIMING_NAMES: Readonly<Record<Timing, string>> = {
  queue_ms: "gateway queue",
  upstream_ttft_ms: "upstream TTFT",
  ttft_ms: "gateway TTFT",
};

interface Row {
  readonly label: string;
  readonly value: number | undefined;
  readonly isCount: boolean;
}

/** A title between rules, or a row. */
type Line = string | Row;

/** One column: a row is its label, 40 wide, and its value. */
export function report(metrics: Metrics, setting: ReportSetting): string {
  const lines = linesOf(metrics, setting, timingsOf(metrics)).map((line) =>
    typeof line === "string"
      ? centered(line, "-", WIDTH)
      : `${line.label.padEnd(LABEL_WIDTH)} ${shown(line).padEnd(VALUE_WIDTH)}`.trimEnd(),
  );
  return block(lines, WIDTH);
}

/** A column for each server, and the second's value as a multiple of the first's. */
export function comparison(first: Metrics, second: Metrics, setting: ReportSetting): string {
  const columns = (...values: readonly string[]): string =>
    values.map((value) => value.padStart(COLUMN_WIDTH)).join("");
  const width = LABEL_WIDTH + 3 * COLUMN_WIDTH;
  // Rows that only one of the two has: Sluice's own timing, where the other server is none.
  const timings = timingsOf(first, second);
  const others = linesOf(second, setting, timings);
  const lines = linesOf(first, setting, timings).map((line, index) => {
    const other = others[index];
    if (typeof line === "string" || typeof other !== "object") return centered(String(line), "-", width);
    return line.label.padEnd(LABEL_WIDTH) + columns(shown(line), shown(other), ratio(line, other));
  });
  const head = " ".repeat(LABEL_WIDTH) + columns("URL", "--compare", "ratio");
  return block([head, ...lines], width);
}

/**
 * What is to be known beside the figures: how tokens were counted, what failed, what was cut short.
 * @param unsent requests that an interruption left unsent
 */
export function notes(metrics: Metrics, unsent: number): string[] {
  const { completed, countedByUsage, countedByEvents, faults, interrupted } = metrics;
  const counted = [
    ...(countedByUsage > 0 ? [`by the server's usage in ${countedByUsage} requests`] : []),
    ...(countedByEvents > 0
      ? [
          `as events with content in ${countedByEvents} requests, whose input tokens are unknown and count as 0 unless told`,
        ]
      : []),
  ];
  return [
    ...(completed > 0 ? [`Tokens were counted ${counted.join(", and ")}.`] : []),
    ...(interrupted + unsent > 0
      ? [`Interrupted: ${interrupted} requests were running and ${unsent} not yet sent; they count nowhere.`]
      : []),
    ...faults.map(([code, count]) => `Failed with ${code}: ${count}`),
  ];
}

const ABSENT = "n/a";

/** The timings that any of them was told. */
const timingsOf = (...all: readonly Metrics[]): Timing[] =>
  TIMINGS.filter((name) => all.some(({ timings }) => timings[name] !== undefined));

/** The same lines for the same setting and timings, whatever was measured. */
function linesOf(metrics: Metrics, setting: ReportSetting, timings: readonly Timing[]): Line[] {
  const { percentiles } = setting;
  return [
    ...totals(metrics, setting),
    ...LATENCIES.flatMap((name) => {
      const [title, short] = TITLES[name];
      return [title, ...summaryRows(short, metrics.latencies[name], percentiles)];
    }),
    ...(timings.length > 0 ? ["Told by Sluice"] : []),
    ...timings.flatMap((name) => summaryRows(TIMING_NAMES[name], metrics.timings[name], percentiles)),
  ];
}

function totals(metrics: Metrics, { concurrency, rate }: ReportSetting): Row[] {
  const count = (label: string, value: number): Row => ({ label, value, isCount: true });
  const figure = (label: string, value: number): Row => ({ label, value, isCount: false });
  const { requestGoodput } = metrics;
  return [
    count("Successful requests:", metrics.completed),
    count("Failed requests:", metrics.failed),
    ...(concurrency === undefined ? [] : [count("Maximum request concurrency:", concurrency)]),
    ...(rate === Infinity ? [] : [figure("Request rate configured (RPS):", rate)]),
    figure("Benchmark duration (s):", metrics.durationS),
    count("Total input tokens:", metrics.inputTokens),
    count("Total generated tokens:", metrics.outputTokens),
    figure("Request throughput (req/s):", metrics.requestThroughput),
    ...(requestGoodput === undefined ? [] : [figure("Request goodput (req/s):", requestGoodput)]),
    figure("Output token throughput (tok/s):", metrics.outputThroughput),
    figure("Peak output token throughput (tok/s):", metrics.peakOutputThroughput),
    figure("Peak concurrent requests:", metrics.peakConcurrency),
    figure("Total token throughput (tok/s):", metrics.totalThroughput),
  ];
}

function summaryRows(name: string, summary: Summary | undefined, percentiles: readonly number[]): Row[] {
  const row = (label: string, value: number | undefined): Row => ({
    label: `${label} ${name} (ms):`,
    value,
    isCount: false,
  });
  const values = new Map(summary?.percentiles);
  return [
    row("Mean", summary?.mean),
    row("Median", summary?.median),
    ...percentiles.map((p) => row(`P${p}`, values.get(p))),
  ];
}

function shown({ value, isCount }: Row): string {
  if (value === undefined) return ABSENT;
  return isCount ? String(value) : value.toFixed(2);
}

function ratio({ value: first }: Row, { value: second }: Row): string {
  const quotient = (second ?? Number.NaN) / (first ?? Number.NaN);
  return Number.isFinite(quotient) ? quotient.toFixed(3) : ABSENT;
}

const block = (lines: readonly string[], width: number): string =>
  [centered(" Serving Benchmark Result ", "=", width), ...lines, "=".repeat(width), ""].join("\n");

/** As Python centres: an odd one goes to the right. */
function centered(text: string, fill: string, width: number): string {
  const missing = Math.max(0, width - text.length);
  return fill.repeat(Math.floor(missing / 2)) + text + fill.repeat(Math.ceil(missing / 2));
}
