/** Sections as tables on the terminal and as docs/BENCHMARKS.md. */
import { type Cell, type Goal, type Section, verdictOf } from "./section.ts";
import { shown } from "./statistics.ts";

const text = (cell: Cell): string => (typeof cell === "string" ? cell : shown(cell));

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;

/** With columns as wide as they need to be, so that it reads well unrendered too. */
export function table(columns: readonly string[], rows: ReadonlyArray<readonly Cell[]>): string {
  const cells = [columns, ...rows.map((each) => each.map(text))];
  const widths = columns.map((_, n) => Math.max(3, ...cells.map((each) => (each[n] ?? "").length)));
  const padded = (each: readonly string[]): string =>
    row(each.map((cell, n) => (n === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[n] ?? 0))));
  const rule = row(widths.map((width, n) => (n === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)));
  return [padded(cells[0] ?? []), rule, ...cells.slice(1).map(padded)].join("\n");
}

const GOAL_COLUMNS = ["goal", "must", "aim", "measured", "least to most", "pairs", "verdict"];

export function goalTable(sections: readonly Section[]): string {
  const limit = (value: number | undefined, unit: string): string =>
    value === undefined ? "-" : `<= ${value}${unit}`;
  const rows = sections.flatMap(({ goals }) =>
    goals.map((goal: Goal) => {
      const { what, must, aim, unit, found } = goal;
      const isKnown = found.count > 0;
      return [
        what,
        limit(must, unit),
        limit(aim, unit),
        isKnown ? `${shown(found.median)}${unit}` : "-",
        isKnown ? `${shown(found.least)} to ${shown(found.most)}` : "-",
        String(found.count),
        verdictOf(goal),
      ];
    }),
  );
  return table(GOAL_COLUMNS, rows);
}

export function sectionText({ title, about, columns, rows, notes, wrong }: Section): string {
  const lines = [`## ${title}`, "", about, "", table(columns, rows), ""];
  lines.push(wrong === 0 ? "Lost, reordered, doubled: none." : `**Wrong: ${wrong} events or streams.**`);
  const listed = notes.map((note) => `- ${note}`);
  return [...lines, ...(listed.length > 0 ? ["", ...listed] : [])].join("\n");
}

export interface Run {
  readonly command: string;
  readonly machine: readonly string[];
  readonly rounds: number;
  readonly minutes: number;
  readonly sections: readonly Section[];
}

export const plotName = (section: Section, index: number): string =>
  `${section.name}${index === 0 ? "" : `-${index + 1}`}.svg`;

export function page(run: Run): string {
  const images = (section: Section): string[] =>
    section.plots.map(({ title }, index) => `\n![${title}](bench/${plotName(section, index)})`);
  return `# Benchmarks

What the gateway costs beside a bare pipe, measured by \`${run.command}\` in ${run.minutes.toFixed(0)} minutes. How it is measured stands in
[bench/README.md](../bench/README.md).

${run.machine.map((line) => `- ${line}`).join("\n")}

## Goals

Medians over ${run.rounds} rounds, in which the subjects take turns; a ratio is that of the two subjects of one round. "Must" is what a
change may not break, "aim" what is worked towards.

${goalTable(run.sections)}

Absolute figures move by 20 to 30 % from run to run on such a machine, ratios of one run less: compare nothing across runs. Upstream
and load share one core with each other, and all talk over loopback: a network adds its own time to every figure alike. The upstream
writes what is due once a millisecond, so that several streams' events arrive at about the same time, which favours whoever
writes them together. nginx wins wherever each event costs one read and one write: it is the floor for a proxy of one stream a
connection, and it keeps no log, checks nothing and cannot resume. What "chunks/read" says comes first: where it is far above 1, the subject was
behind and looks cheaper than it is.

${run.sections.map((section) => [sectionText(section), ...images(section)].join("\n")).join("\n\n")}
`;
}
