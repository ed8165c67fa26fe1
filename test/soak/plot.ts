/** A plot of the soak by hand: three panels over one time axis, readable on a light page and on a dark one. */
import type { Sample } from "./samples.ts";

const WIDTH = 860;
const PANEL = 150;
const LEFT = 70;
const RIGHT = 20;
const TOP = 34;
const GAP = 46;

interface Panel {
  readonly title: string;
  readonly of: (sample: Sample) => number;
  readonly kind: string;
}

const PANELS: readonly Panel[] = [
  { title: "heap in use, lowest of each 10 s (MB)", of: ({ heapMb }) => heapMb, kind: "heap" },
  { title: "resident memory (MB)", of: ({ rssMb }) => rssMb, kind: "rss" },
  { title: "open file descriptors", of: ({ fds }) => fds, kind: "fds" },
];

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .grid { stroke: #8b949e; stroke-opacity: 0.35; }
  path { fill: none; stroke-width: 1.6; }
  .heap { stroke: #0969da; } .rss { stroke: #bc4c00; } .fds { stroke: #1a7f37; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .heap { stroke: #58a6ff; } .rss { stroke: #ffa657; } .fds { stroke: #56d364; }
  }`;

export function plot(samples: readonly Sample[]): string {
  const height = TOP + PANELS.length * (PANEL + GAP);
  const panels = PANELS.map((panel, index) => panelOf(panel, samples, TOP + index * (PANEL + GAP)));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Heap, resident memory and open file descriptors of the gateway over the soak">
<style>${STYLE}
</style>
${panels.join("\n")}
</svg>
`;
}

function panelOf({ title, of, kind }: Panel, samples: readonly Sample[], top: number): string {
  const end = samples.at(-1)?.seconds ?? 1;
  const most = roundUp(Math.max(...samples.map(of)));
  const x = (seconds: number): string => (LEFT + (seconds / end) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (value: number): string => (top + PANEL - (value / most) * PANEL).toFixed(1);
  const lines = [0, 0.5, 1].map((share) => {
    const value = share * most;
    return `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/><text x="${LEFT - 8}" y="${y(value)}" dy="4" text-anchor="end">${value}</text>`;
  });
  const step = stepOf(end / 60);
  const ticks = Array.from({ length: Math.floor(end / 60 / step) + 1 }, (_, index) => {
    const minute = index * step;
    return `<text x="${x(minute * 60)}" y="${top + PANEL + 16}" text-anchor="middle">${minute}${index === 0 ? " min" : ""}</text>`;
  });
  const points = samples.map((sample) => `${x(sample.seconds)} ${y(of(sample))}`);
  return `<text class="title" x="${LEFT}" y="${top - 8}">${title}</text>
${[...lines, ...ticks].join("\n")}
<path class="${kind}" d="M${points.join("L")}"/>`;
}

/** To one or two digits and zeros, halves being readable too. */
function roundUp(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return Math.ceil(value / unit / 0.5) * 0.5 * unit;
}

const stepOf = (minutes: number): number => (minutes > 20 ? 5 : minutes > 6 ? 2 : 1);
