/** Plots by hand, readable on a light page and on a dark one. */
import type { Observation } from "./observation.ts";
import { percentile } from "./statistics.ts";

const WIDTH = 860;
const HEIGHT = 320;
const LEFT = 64;
const RIGHT = 20;
const TOP = 52;
const BOTTOM = 40;
/** Points of a distribution: more than there are pixels would not be seen. */
const POINTS = 400;
const TICKS = 5;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .grid { stroke: #8b949e; stroke-opacity: 0.35; }
  path { fill: none; stroke-width: 1.8; }
  .first, .streaming { stroke: #0969da; } .second { stroke: #bc4c00; }
  .waiting { stroke: #8b949e; } .failed { stroke: #cf222e; }
  .key-first, .key-streaming { fill: #0969da; } .key-second { fill: #bc4c00; }
  .key-waiting { fill: #8b949e; } .key-failed { fill: #cf222e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .first, .streaming { stroke: #58a6ff; } .second { stroke: #ffa657; }
    .waiting { stroke: #6e7681; } .failed { stroke: #ff7b72; }
    .key-first, .key-streaming { fill: #58a6ff; } .key-second { fill: #ffa657; }
    .key-waiting { fill: #6e7681; } .key-failed { fill: #ff7b72; }
  }`;

export interface Series {
  readonly name: string;
  /** Milliseconds. */
  readonly values: readonly number[];
}

const KINDS = ["first", "second"] as const;

/** The cumulative distribution of one or two series: of how many percent of the values at most how many milliseconds. */
export function distribution(title: string, series: readonly Series[]): string {
  const sorted = series.map(({ values }) => Float64Array.from(values).sort());
  const most = roundUp(Math.max(...sorted.map((values) => values.at(-1) ?? 0)));
  const x = (ms: number): number => LEFT + (ms / most) * (WIDTH - LEFT - RIGHT);
  const y = (percent: number): number => HEIGHT - BOTTOM - (percent / 100) * (HEIGHT - TOP - BOTTOM);
  const curves = sorted.map((values, index) => {
    if (values.length === 0) return "";
    const shares = Array.from({ length: POINTS + 1 }, (_, step) => (step / POINTS) * 100);
    const points = shares.map((share) => `${fixed(x(percentile(values, share)))} ${fixed(y(share))}`);
    return `<path class="${KINDS[index]}" d="M${points.join("L")}"/>`;
  });
  const rows = [0, 25, 50, 75, 100].map((share) => gridRow(y(share), `${share} %`));
  const legend = series.length > 1 ? keys(series.map(({ name }, index) => [KINDS[index] ?? "", name])) : "";
  return page(title, HEIGHT, [...rows, ticks(most, HEIGHT, "ms"), legend, ...curves]);
}

const MOST_ROWS_HEIGHT = 600;
const MOST_ROW = 8;

/** Each request as a line, in the order of sending: grey until its first content, then coloured to its last; red if it failed. */
export function timeline(title: string, seen: readonly Observation[], startMs: number): string {
  const row = Math.min(MOST_ROW, MOST_ROWS_HEIGHT / Math.max(1, seen.length));
  const height = TOP + Math.max(40, row * seen.length) + BOTTOM;
  const most = roundUp(seen.reduce((latest, { endMs }) => Math.max(latest, endMs - startMs), 0) / 1000);
  const x = (ms: number): string => fixed(LEFT + ((ms - startMs) / 1000 / most) * (WIDTH - LEFT - RIGHT));
  const bars: Record<"waiting" | "streaming" | "failed", string[]> = {
    waiting: [],
    streaming: [],
    failed: [],
  };
  for (const [index, { startMs: start, endMs, contentMs, outcome }] of seen.entries()) {
    const y = fixed(TOP + (index + 0.5) * row);
    const first = contentMs[0] ?? endMs;
    bars.waiting.push(`M${x(start)} ${y}H${x(first)}`);
    bars[outcome === "completed" ? "streaming" : "failed"].push(`M${x(first)} ${y}H${x(endMs)}`);
    // A failure before any content has no length of its own after it: the wait is its length.
    if (outcome !== "completed" && contentMs.length === 0) bars.failed.push(`M${x(start)} ${y}H${x(endMs)}`);
  }
  const paths = Object.entries(bars).map(
    ([kind, parts]) =>
      `<path class="${kind}" style="stroke-width:${fixed(row * 0.8)}" d="${parts.join("")}"/>`,
  );
  const legend = keys([
    ["waiting", "until the first content"],
    ["streaming", "to the ending"],
    ["failed", "failed or interrupted"],
  ]);
  return page(title, height, [ticks(most, height, "s"), legend, ...paths]);
}

function page(title: string, height: number, parts: readonly string[]): string {
  const label = escaped(title);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${fixed(height)}" role="img" aria-label="${label}">
<style>${STYLE}
</style>
<text class="title" x="${LEFT}" y="20">${label}</text>
${parts.filter((part) => part !== "").join("\n")}
</svg>
`;
}

const gridRow = (y: number, text: string): string =>
  `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${fixed(y)}" y2="${fixed(y)}"/>` +
  `<text x="${LEFT - 8}" y="${fixed(y)}" dy="4" text-anchor="end">${text}</text>`;

function ticks(most: number, height: number, unit: string): string {
  return Array.from({ length: TICKS + 1 }, (_, index) => {
    const value = (most * index) / TICKS;
    const x = fixed(LEFT + (index / TICKS) * (WIDTH - LEFT - RIGHT));
    const text = `${Number(value.toPrecision(3))}${index === 0 ? ` ${unit}` : ""}`;
    return `<text x="${x}" y="${fixed(height - BOTTOM + 18)}" text-anchor="middle">${text}</text>`;
  }).join("\n");
}

const KEY_WIDTH = 260;

const keys = (entries: readonly (readonly [string, string])[]): string =>
  entries
    .map(([kind, name], index) => {
      const x = LEFT + index * KEY_WIDTH;
      return `<rect class="key-${kind}" x="${x}" y="30" width="10" height="10"/><text x="${x + 16}" y="39">${escaped(name)}</text>`;
    })
    .join("\n");

/** To one or two digits and zeros, halves being readable too. */
function roundUp(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return Math.ceil(value / unit / 0.5) * 0.5 * unit || unit;
}

const fixed = (value: number): string => value.toFixed(1);

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
