/** What a scenario found, before it becomes a table, a page or a plot. */
import type { Spread } from "./statistics.ts";

export type Cell = string | number | undefined;

export interface Goal {
  readonly what: string;
  /** At most this; `aim` is better still. */
  readonly must?: number;
  readonly aim?: number;
  /** Of the figure, such as ` ms`; empty for a ratio. */
  readonly unit: string;
  readonly found: Spread;
}

export interface Bars {
  readonly kind: "bars";
  readonly title: string;
  readonly bars: ReadonlyArray<{ readonly name: string; readonly found: Spread; readonly isOurs: boolean }>;
}

export interface Lines {
  readonly kind: "lines";
  readonly title: string;
  readonly x: string;
  readonly lines: ReadonlyArray<{
    readonly name: string;
    readonly points: ReadonlyArray<readonly [x: number, y: number]>;
  }>;
}

export interface Section {
  readonly name: string;
  readonly title: string;
  /** What was done, in a sentence or two. */
  readonly about: string;
  readonly columns: readonly string[];
  readonly rows: ReadonlyArray<readonly Cell[]>;
  readonly goals: readonly Goal[];
  readonly plots: ReadonlyArray<Bars | Lines>;
  readonly notes: readonly string[];
  /** Events lost, reordered, doubled or unreadable, and streams that did not end well. */
  readonly wrong: number;
}

export type Verdict = "aim met" | "met" | "missed" | "not measured";

export function verdictOf({ must, aim, found }: Goal): Verdict {
  if (found.count === 0) return "not measured";
  if (aim !== undefined && found.median <= aim) return "aim met";
  if (must !== undefined && found.median > must) return "missed";
  return must === undefined ? "missed" : "met";
}
