/** What metering costs each content event: `bench/observer.ts`, in a process of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Bench } from "../rounds.ts";
import type { Section } from "../section.ts";

const FILE = fileURLToPath(new URL("../observer.ts", import.meta.url));
const LINE = /^(.+): ([\d.]+) us a content event \(median of (\d+) .*?; ([\d.]+) to ([\d.]+)\)/gm;
/** The line that the goal is for. */
const GOAL = /as the core calls it/;
const MOST_US = 1;

export async function observer(bench: Bench): Promise<Section> {
  bench.tell("bench/observer.ts");
  const child = spawn(process.execPath, [FILE], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (bytes: Buffer) => {
    output += bytes.toString();
  });
  await once(child, "close");
  const lines = [...output.matchAll(LINE)].map(([, name = "", median, count, least, most]) => ({
    name,
    found: { median: Number(median), least: Number(least), most: Number(most), count: Number(count) },
  }));
  const told = lines.find(({ name }) => GOAL.test(name)) ?? lines[0];
  return {
    name: "observer",
    title: "Metrics and log",
    about: "What looking on adds to each content event, measured alone.",
    columns: ["", "us/event", "least", "most"],
    rows: lines.map(({ name, found }) => [name, found.median, found.least, found.most]),
    goals: told === undefined ? [] : [{ what: told.name, must: MOST_US, unit: " us", found: told.found }],
    plots: [],
    notes: lines.length === 0 ? ["bench/observer.ts printed no figure"] : [],
    wrong: 0,
  };
}
