/** Plots by hand: bars with their spread, and lines over a logarithmic axis; readable on a light page and on a dark one. */
import type { Bars, Lines } from "./section.ts";
import { shown } from "./statistics.ts";

const WIDTH = 860;
const LEFT = 250;
const RIGHT = 90;
const BAR = 26;
const TOP = 34;
const HEIGHT = 300;

const STYLE = `<style>
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .grid, .spread { stroke: #57606a; }
  .grid { stroke-opacity: 0.3; }
  .theirs { fill: #afb8c1; } .ours { fill: #54aeff; }
  path { fill: none; stroke-width: 2; }
  .c0 { stroke: #57606a; } .c1 { stroke: #bc4c00; } .c2 { stroke: #0969da; } .c3 { stroke: #1a7f37; } .c4 { stroke: #8250df; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .theirs { fill: #6e7681; } .ours { fill: #1f6feb; } .spread { stroke: #e6edf3; }
  }
</style>`;

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

export const plot = (what: Bars | Lines): string => (what.kind === "bars" ? bars(what) : lines(what));

function page(title: string, height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">
${STYLE}
<text class="title" x="8" y="20">${escaped(title)}</text>
${parts.join("\n")}
</svg>
`;
}

function bars({ title, bars }: Bars): string {
  const known = bars.filter(({ found }) => found.count > 0);
  const most = Math.max(...known.map(({ found }) => found.most), 0.001);
  const x = (value: number): string =>
    (LEFT + (Math.max(0, value) / most) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const parts = known.map(({ name, found, isOurs }, index) => {
    const top = TOP + index * BAR;
    const middle = top + BAR / 2;
    const width = (Number(x(found.median)) - LEFT).toFixed(1);
    return `<text x="${LEFT - 8}" y="${middle}" dy="4" text-anchor="end">${escaped(name)}</text><rect class="${isOurs ? "ours" : "theirs"}" x="${LEFT}" y="${top + 4}" width="${width}" height="${BAR - 8}"/><line class="spread" x1="${x(found.least)}" x2="${x(found.most)}" y1="${middle}" y2="${middle}"/><text x="${Number(x(found.most)) + 8}" y="${middle}" dy="4">${shown(found.median)}</text>`;
  });
  return page(title, TOP + known.length * BAR + 10, parts);
}

function lines({ title, x: axis, lines }: Lines): string {
  const known = lines.map(({ name, points }) => ({
    name,
    points: points.filter(([, y]) => Number.isFinite(y)),
  }));
  const xs = [...new Set(known.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const most = Math.max(...known.flatMap(({ points }) => points.map(([, y]) => y)), 0.001);
  const [from, to] = [Math.log(xs[0] ?? 1), Math.log(xs.at(-1) ?? 10)];
  const left = 60;
  const right = WIDTH - LEFT - 10;
  const x = (value: number): string =>
    (left + ((Math.log(value) - from) / Math.max(to - from, 0.001)) * (right - left)).toFixed(1);
  const y = (value: number): string => (TOP + HEIGHT - (value / most) * (HEIGHT - 16)).toFixed(1);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = share * most;
    return `<line class="grid" x1="${left}" x2="${right}" y1="${y(value)}" y2="${y(value)}"/><text x="${left - 8}" y="${y(value)}" dy="4" text-anchor="end">${shown(value)}</text>`;
  });
  const ticks = xs.map(
    (value) =>
      `<text x="${x(value)}" y="${TOP + HEIGHT + 18}" text-anchor="middle">${value.toLocaleString("en")}</text>`,
  );
  const label = `<text x="${right}" y="${TOP + HEIGHT + 36}" text-anchor="end">${escaped(axis)}</text>`;
  const paths = known.map(({ name, points }, index) => {
    const path = points.map(([px, py]) => `${x(px)} ${y(py)}`).join("L");
    const row = TOP + 14 + index * 20;
    const legend = `<path class="c${index % 5}" d="M${right + 16} ${row}L${right + 40} ${row}"/><text x="${right + 46}" y="${row}" dy="4">${escaped(name)}</text>`;
    return `${points.length === 0 ? "" : `<path class="c${index % 5}" d="M${path}"/>`}${legend}`;
  });
  return page(title, TOP + HEIGHT + 46, [...grid, ...ticks, label, ...paths]);
}
