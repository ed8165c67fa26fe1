/** How far the run is, on standard error: one line that rewrites itself on a terminal, now and then a line elsewhere. */
import type { Load, Side } from "./load.ts";

const TERMINAL_MS = 200;
const LINES_MS = 10_000;
const CLEAR = "\r\u001b[K";

/** @returns what ends it, and clears the line */
export function showProgress(load: Load, sides: readonly Side[], total: number): () => void {
  const isTerminal = process.stderr.isTTY === true;
  const write = (): void => {
    const line = `sluice bench: ${progressOf(load, sides, total)}`;
    process.stderr.write(isTerminal ? CLEAR + line : `${line}\n`);
  };
  const timer = setInterval(write, isTerminal ? TERMINAL_MS : LINES_MS);
  return () => {
    clearInterval(timer);
    if (isTerminal) process.stderr.write(CLEAR);
  };
}

function progressOf(load: Load, sides: readonly Side[], total: number): string {
  const seen = sides.flatMap(({ observations }) => observations);
  const failed = seen.filter(({ outcome }) => outcome === "failed").length;
  const contents = seen.reduce((sum, { contentMs }) => sum + contentMs.length, 0);
  const seconds = (performance.now() - load.startMs) / 1000;
  return [
    `${seen.length - load.running} of ${total} requests done`,
    `${failed} failed`,
    `${load.running} running`,
    `${Math.round(contents / seconds)} contents/s`,
    `${Math.round(seconds)} s`,
  ].join(", ");
}
