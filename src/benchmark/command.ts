/** The command `sluice bench`: options to a load, a load to a report. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HELP } from "./help.ts";
import { INTERRUPTED, Load, type LoadPlan, type Side } from "./load.ts";
import { measure } from "./metrics.ts";
import { RequestFault } from "./observation.ts";
import { type BenchOptions, readOptions } from "./options.ts";
import { distribution, timeline } from "./plot.ts";
import { showProgress } from "./progress.ts";
import { arrivals } from "./prompts.ts";
import { comparison, notes, report } from "./report.ts";
import { bodyOf, firstModel, targetOf, wireTo } from "./request.ts";
import { type MeasuredSide, masked, resultOf } from "./result.ts";

const FAILURE_EXIT = 1;
const USAGE_EXIT = 2;
const INTERRUPTED_EXIT = 130;

/**
 * `sluice bench`: measures a server and prints what it found. Sets the exit code 2 where the arguments are wrong, 1 where a server
 * completed nothing, 130 after SIGINT; never throws for any of them.
 * @param args what follows `bench` on the command line
 */
export async function runBenchmark(args: readonly string[]): Promise<void> {
  let options: BenchOptions | "help";
  try {
    options = readOptions(args, process.env);
  } catch (thrown) {
    return complain(USAGE_EXIT, thrown);
  }
  if (options === "help") return void process.stdout.write(HELP);
  const stop = new AbortController();
  const interrupt = (): void => stop.abort(INTERRUPTED);
  // Once: a second Ctrl-C has its usual meaning.
  process.once("SIGINT", interrupt);
  try {
    await benchmark(options, stop.signal);
  } catch (thrown) {
    if (!isExpected(thrown)) throw thrown;
    complain(stop.signal.aborted ? INTERRUPTED_EXIT : FAILURE_EXIT, thrown, options.apiKey);
  } finally {
    process.removeListener("SIGINT", interrupt);
  }
}

async function benchmark(options: BenchOptions, stop: AbortSignal): Promise<void> {
  const model = options.model ?? (await firstModel(targetOf(options, 0), stop));
  const sides = options.baseUrls.map((_, index): Side => {
    return { wire: wireTo(options.transports[index], targetOf(options, index)), observations: [] };
  });
  try {
    await warmUp(options, model, sides, stop);
    const total = options.numPrompts * sides.length;
    const load = new Load(planOf(options, model, options.numPrompts, 0), sides, stop);
    const finish = showProgress(load, sides, total);
    await load.run().finally(finish);
    await tell(options, model, sides, load, stop.aborted);
  } finally {
    await Promise.all(sides.map(({ wire }) => wire.close()));
  }
}

/** @param first the index of the first request: prompts are drawn by it */
function planOf(options: BenchOptions, model: string, count: number, first: number): LoadPlan {
  const total = count * options.baseUrls.length;
  return {
    count,
    dueMs: arrivals(total, options.rate, options.seed),
    concurrency: options.concurrency ?? Infinity,
    timeoutMs: options.requestTimeoutMs,
    bodyOf: (index) => bodyOf(options, model, first + index),
  };
}

/** Requests that are not measured. Their prompts are none of those that are. */
async function warmUp(
  options: BenchOptions,
  model: string,
  sides: readonly Side[],
  stop: AbortSignal,
): Promise<void> {
  if (options.warmup === 0) return;
  const first = options.numPrompts * sides.length;
  const unmeasured = sides.map(({ wire }): Side => ({ wire, observations: [] }));
  await new Load(
    planOf({ ...options, rate: Infinity }, model, options.warmup, first),
    unmeasured,
    stop,
  ).run();
  const failed = unmeasured
    .flatMap(({ observations }) => observations)
    .filter(({ fault }) => fault !== undefined);
  const fault = failed[0]?.fault;
  if (fault === undefined || stop.aborted) return;
  const why = `${fault.code}: ${masked(fault.message, options.apiKey)}`;
  process.stderr.write(
    `sluice bench: ${failed.length} requests of the warm-up failed, the first with ${why}\n`,
  );
}

async function tell(
  options: BenchOptions,
  model: string,
  sides: readonly Side[],
  { startMs, endMs }: Load,
  isInterrupted: boolean,
): Promise<void> {
  const durationS = (endMs - startMs) / 1000;
  const measured = sides.map(({ observations }, index): MeasuredSide => {
    const metrics = measure(observations, durationS, options.percentiles, options.goodput);
    const { baseUrls, transports } = options;
    return { baseUrl: baseUrls[index] ?? "", transport: transports[index] ?? "sse", metrics, observations };
  });
  process.stdout.write(textOf(measured, options, model));
  if (isInterrupted) process.exitCode = INTERRUPTED_EXIT;
  else if (measured.some(({ metrics }) => metrics.completed === 0)) process.exitCode = FAILURE_EXIT;
  if (options.json !== undefined) {
    await writeFile(options.json, `${JSON.stringify(resultOf(measured, options, model, startMs))}\n`);
  }
  if (options.svg !== undefined) await writePlots(options.svg, measured, startMs);
}

function textOf(measured: readonly MeasuredSide[], options: BenchOptions, model: string): string {
  const [first, second] = measured;
  if (first === undefined) throw new Error("nothing was measured");
  const named = (side: MeasuredSide, name: string): string[] => [
    `${name} ${side.baseUrl}, model ${model}, ${side.transport}`,
    ...notes(side.metrics, options.numPrompts - side.observations.length).map((note) => `  ${note}`),
    ...side.observations
      .filter(({ outcome }) => outcome === "failed")
      .slice(0, 1)
      .map(({ fault }) => {
        return `  The first failure: ${masked(fault?.message ?? "", options.apiKey).split("\n")[0]}`;
      }),
  ];
  const lines =
    second === undefined
      ? [report(first.metrics, options), ...named(first, "Measured")]
      : [
          comparison(first.metrics, second.metrics, options),
          ...named(first, "URL"),
          ...named(second, "--compare"),
        ];
  return `${lines.join("\n")}\n`;
}

async function writePlots(folder: string, measured: readonly MeasuredSide[], startMs: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const series = (values: (side: MeasuredSide) => number[]) =>
    measured.map((side) => ({ name: side.baseUrl, values: values(side) }));
  const completed = ({ observations }: MeasuredSide) =>
    observations.filter(({ outcome }) => outcome === "completed");
  const ttfts = series((side) => completed(side).map(({ ttftMs }) => ttftMs));
  const itls = series((side) => completed(side).flatMap(({ itlsMs }) => itlsMs));
  const files: [string, string][] = [
    ["ttft.svg", distribution("Time to first token, share of requests", ttfts)],
    ["itl.svg", distribution("Inter-token latency, share of gaps", itls)],
    ...measured.map(({ baseUrl, observations }, index): [string, string] => [
      index === 0 ? "timeline.svg" : "timeline-compare.svg",
      timeline(`Requests to ${baseUrl} over time`, observations, startMs),
    ]),
  ];
  await Promise.all(files.map(([name, text]) => writeFile(join(folder, name), text)));
}

/** A server that cannot be asked, or a file that cannot be written: told in a line. Anything else is a fault of the program. */
const isExpected = (thrown: unknown): boolean =>
  thrown instanceof RequestFault || typeof (thrown as NodeJS.ErrnoException).syscall === "string";

function complain(exitCode: number, thrown: unknown, secret?: string): void {
  const message = masked(thrown instanceof Error ? thrown.message : String(thrown), secret);
  process.stderr.write(`sluice bench: ${message.split("\n")[0]}\n`);
  process.exitCode = exitCode;
}
