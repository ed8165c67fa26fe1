/**
 * `npm run bench`: everything, in less than 40 minutes. `--only steady,churn`, `--rounds N`, `--seconds N` (scales every window),
 * `--out DIR` for the result and its plots, `--write-docs` for docs/BENCHMARKS.md, `--profile` for where the processor time goes. Ctrl-C reports
 * what there is. Exits with 1 where an event was lost, reordered or doubled.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machine } from "./machine.ts";
import { plot } from "./plot.ts";
import { profile } from "./profile.ts";
import { goalTable, page, plotName, type Run, sectionText } from "./report.ts";
import { startRig } from "./rig.ts";
import type { Bench } from "./rounds.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import type { Section } from "./section.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "1" },
    out: { type: "string", default: fileURLToPath(new URL("results/", import.meta.url)) },
    "write-docs": { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
  },
});
const DOCS = fileURLToPath(new URL("../docs/", import.meta.url));
const names = values.only?.split(",") ?? [...SCENARIOS.keys()];
for (const name of names) {
  if (!SCENARIOS.has(name))
    throw new Error(`no scenario is called ${name}; there are ${[...SCENARIOS.keys()]}`);
}

let isStopped = false;
process.once("SIGINT", () => {
  isStopped = true;
  process.stderr.write("\nending with what there is; again to leave at once\n");
});

const began = performance.now();
const sections: Section[] = [];
const rig = await startRig();
let current = "";
const bench: Bench = {
  rig,
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  isStopped: () => isStopped,
  tell: (text) => progress(`${current}: ${text}`),
};

try {
  if (values.profile) await profile(rig, values.out);
  else for (const name of names) await scenario(name);
} finally {
  progress("");
  await rig.stop();
}
if (!values.profile) report();

async function scenario(name: string): Promise<void> {
  const run = SCENARIOS.get(name);
  if (run === undefined || isStopped) return;
  current = `${minutes().toFixed(1)} min, ${name}`;
  const section = await run(bench);
  progress("");
  console.log(`${sectionText(section)}\n`);
  sections.push(section);
}

function minutes(): number {
  return (performance.now() - began) / 60_000;
}

/** On a terminal one line that changes; elsewhere nothing, so that a file gets the tables alone. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

function report(): void {
  const args = process.argv.slice(2).filter((arg) => arg !== "--write-docs");
  const run: Run = {
    command: ["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" "),
    machine: machine(),
    rounds: bench.rounds,
    minutes: minutes(),
    sections,
  };
  console.log(
    `## Goals\n\n${goalTable(sections)}\n\n${run.machine.join("\n")}\n${minutes().toFixed(1)} minutes`,
  );
  mkdirSync(values.out, { recursive: true });
  writeFileSync(join(values.out, "latest.json"), `${JSON.stringify(run, undefined, 2)}\n`);
  plots(values.out);
  if (values["write-docs"]) {
    plots(join(DOCS, "bench"));
    writeFileSync(join(DOCS, "BENCHMARKS.md"), page(run));
  }
  process.exitCode = sections.every(({ wrong }) => wrong === 0) ? 0 : 1;
}

function plots(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const section of sections) {
    section.plots.forEach((each, index) => {
      writeFileSync(join(folder, plotName(section, index)), plot(each));
    });
  }
}
