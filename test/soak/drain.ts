/** `npm run drain`: SIGTERM under two hundred streams, again and again. Exits with 1 where anything was not as it should be. */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { startEmulatorProcess } from "../support/emulator-process.ts";
import { type DrainResult, drainUnderLoad, STREAMS } from "./drain-load.ts";

const { values } = parseArgs({
  options: {
    times: { type: "string", default: "20" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});

const emulator = await startEmulatorProcess(tmpdir());
const results: DrainResult[] = [];
for (let time = 0; time < Number(values.times); time++) {
  const result = await drainUnderLoad(Number(values.seed) + time, emulator);
  results.push(result);
  const { seed, momentMs, running, ended, failedAsScripted, cut, exitCode, exitMs, wrong } = result;
  console.log(
    `seed ${seed}: SIGTERM after ${momentMs} ms with ${running} of ${STREAMS} running; ${ended} ended, ${failedAsScripted} failed as scripted, ${cut} were told draining; exit ${exitCode} after ${exitMs} ms; ${wrong.length} wrong`,
  );
  for (const problem of wrong.slice(0, 10)) console.log(`  ${problem}`);
}
await emulator.stop();

const sum = (of: (result: DrainResult) => number): number =>
  results.reduce((all, result) => all + of(result), 0);
const wrong = sum((result) => result.wrong.length);
console.log(
  `${results.length} times: ${sum(({ running }) => running)} streams running at SIGTERM, ${sum(({ ended }) => ended)} ended whole, ${sum(({ failedAsScripted }) => failedAsScripted)} failed as scripted, ${sum(({ cut }) => cut)} told draining; longest exit ${Math.max(...results.map(({ exitMs }) => exitMs))} ms; ${wrong} wrong`,
);
process.exitCode = wrong === 0 ? 0 : 1;
