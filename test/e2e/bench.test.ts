/** `sluice bench` as a process, against real servers: what it reports hangs together, whatever the machine's pace. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { BenchFolder, type BenchResult, rowOf, runBench } from "../support/bench-process.ts";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";

const TOKENS = 12;
const SCRIPT = JSON.stringify({ emulator: { tokens: TOKENS, pace_ms: 2, first_token_ms: 5 } });
const LOAD = ["--num-prompts", "9", "--concurrency", "3", "--model", "sluice-demo", "--extra-body"];

let emulator: Emulator;
let gateway: GatewayProcess;
let folder: BenchFolder;

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startProcess({ OPENAI_BASE_URL: emulator.url, LOG_LEVEL: "silent" });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => {
  folder = new BenchFolder();
  emulator.reset();
});
afterEach(() => folder.remove());

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;

/** Nine streams of twelve tokens, and figures that follow from the requests' own. */
function expectWhole(result: BenchResult): void {
  expect(result).toMatchObject({ completed: 9, failed: 0, interrupted: 0, error_codes: {} });
  expect(result.token_counts).toEqual({ usage: 9, events: 0 });
  expect(result.output_lens).toEqual(new Array(9).fill(TOKENS));
  expect(result.total_output_tokens).toBe(9 * TOKENS);
  expect(result.itls.map((gaps) => gaps.length)).toEqual(new Array(9).fill(TOKENS - 1));
  expect(result.errors).toEqual(new Array(9).fill(""));
  expect(result.input_lens.every((count) => count > 0)).toBe(true);
  for (const [index, latency] of result.latencies.entries()) {
    expect(latency).toBeCloseTo((result.ttfts[index] ?? 0) + sum(result.itls[index] ?? []), 6);
  }
  expect(result.request_throughput * result.duration).toBeCloseTo(9, 6);
  expect(result.output_throughput * result.duration).toBeCloseTo(9 * TOKENS, 6);
  expect(result.mean_ttft_ms).toBeCloseTo(1000 * mean(result.ttfts), 6);
  expect(result.mean_itl_ms).toBeCloseTo(1000 * mean(result.itls.flat()), 6);
  expect(result.median_e2el_ms).toBeCloseTo(1000 * (result.latencies.toSorted((a, b) => a - b)[4] ?? 0), 6);
  expect(Math.max(...result.latencies)).toBeLessThan(result.duration);
}

describe("a server is measured", () => {
  it("without a gateway", async () => {
    const args = [...LOAD, SCRIPT, "--json", folder.json, "--svg", folder.path, "--percentiles", "50,99"];
    const ended = await runBench([...args, emulator.url]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expectWhole(folder.result());
    expect(rowOf(ended.stdout, "Successful requests")).toBe("9");
    expect(rowOf(ended.stdout, "Total generated tokens")).toBe(String(9 * TOKENS));
    expect(rowOf(ended.stdout, "Mean TTFT (ms)")).toBe(folder.result().mean_ttft_ms.toFixed(2));
    expect(rowOf(ended.stdout, "P50 E2EL (ms)")).toBe(rowOf(ended.stdout, "Median E2EL (ms)"));
    expect(emulator.stats).toMatchObject({ requests: 9, max_open: 3, completed: 9 });
    for (const name of ["ttft.svg", "itl.svg", "timeline.svg"]) expect(folder.text(name)).toMatch(/^<svg /);
  });

  it.each(["sse", "events", "websocket"])("through a gateway over %s", async (transport) => {
    const args = [...LOAD, SCRIPT, "--json", folder.json, "--transport", transport];
    const ended = await runBench([...args, gateway.url]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expectWhole(folder.result());
    expect(emulator.stats).toMatchObject({ requests: 9, completed: 9 });
    expect(emulator.stats.max_open).toBeLessThanOrEqual(3);
    // The stock wire has no room for the gateway's own timing.
    const isTold = transport !== "sse";
    expect(rowOf(ended.stdout, "Mean gateway queue (ms)") !== undefined).toBe(isTold);
    expect(folder.result()["mean_gateway_queue_ms"] !== null).toBe(isTold);
  });

  it("at a rate, after a warm-up that does not count", async () => {
    const args = [...LOAD, SCRIPT, "--json", folder.json, "--rate", "60", "--warmup", "2", "--seed", "5"];
    const ended = await runBench([...args, emulator.url]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expectWhole(folder.result());
    expect(folder.result()).toMatchObject({ request_rate: 60, seed: 5 });
    expect(emulator.stats.requests).toBe(11);
    // The last is due after exactly count / rate seconds.
    expect(folder.result().start_times.at(-1)).toBeGreaterThanOrEqual(9 / 60);
  });

  it("and compared with another, in turns", async () => {
    const args = [...LOAD, SCRIPT, "--json", folder.json, "--svg", folder.path, "--warmup", "1"];
    const second = ["--compare", gateway.url, "--compare-transport", "websocket"];
    const ended = await runBench([...args, emulator.url, ...second]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    const { compare, ...first } = folder.result();
    if (compare === undefined) throw new Error("there is no second side");
    expectWhole(first as BenchResult);
    expectWhole(compare);
    expect(first).toMatchObject({ base_url: emulator.url, transport: "sse" });
    expect(compare).toMatchObject({ base_url: `${gateway.url}/v1`, transport: "websocket" });
    expect(ended.stdout).toMatch(/^Successful requests: +9 +9 +1\.000$/m);
    const ratio = (compare.mean_ttft_ms / first.mean_ttft_ms).toFixed(3);
    expect(rowOf(ended.stdout, "Mean TTFT (ms)")?.split(/ +/).at(-1)).toBe(ratio);
    expect(emulator.stats).toMatchObject({ requests: 20, completed: 20 });
    // Each begins before the other has begun its last: they ran side by side.
    expect(first.start_times[0]).toBeLessThan(compare.start_times.at(-1) ?? 0);
    expect(compare.start_times[0]).toBeLessThan(first.start_times.at(-1) ?? 0);
    expect(existsSync(join(folder.path, "timeline-compare.svg"))).toBe(true);
  });

  it("whose model is the first that it lists, and whose tokens no usage tells", async () => {
    const script = JSON.stringify({ emulator: { tokens: TOKENS, usage: false, role_chunk: true, read: 7 } });
    const args = ["--num-prompts", "2", "--extra-body", script, "--json", folder.json];
    const ended = await runBench([...args, emulator.url]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    const result = folder.result();
    expect(result).toMatchObject({ model_id: "sluice-demo", completed: 2, total_output_tokens: 2 * TOKENS });
    expect(result.token_counts).toEqual({ usage: 0, events: 2 });
    expect(ended.stdout).toContain("events with content in 2");
  });
});

test("the JSON has the members that vLLM writes", async () => {
  const args = [...LOAD, SCRIPT, "--json", folder.json, "--goodput", "ttft:60000", "e2el:60000"];
  expect(await runBench([...args, emulator.url])).toMatchObject({ code: 0 });
  const names = ["ttft", "tpot", "itl", "e2el"].flatMap((name) =>
    ["mean", "median", "std", "p99"].map((word) => `${word}_${name}_ms`),
  );
  const head =
    "date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency";
  const figures =
    "duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput output_throughput total_token_throughput max_output_tokens_per_s max_concurrent_requests";
  const lists = "input_lens output_lens ttfts itls latencies start_times queue_times errors";
  const keys = Object.keys(folder.result());
  expect(keys).toEqual(expect.arrayContaining([...`${head} ${figures} ${lists}`.split(" "), ...names]));
  // All of them keep limits of a minute.
  expect(folder.result()["request_goodput"]).toBe(folder.result().request_throughput);
});

describe("the command", () => {
  it.each([
    [["--nope", "http://host"], "--nope"],
    [["--rate", "fast", "http://host"], "--rate"],
    [[], "URL"],
  ])("refuses %j in one line", async (args, named) => {
    const ended = await runBench(args);
    expect(ended).toMatchObject({ code: 2, stdout: "" });
    expect(ended.stderr).toMatch(/^sluice bench: [^\n]+\n$/);
    expect(ended.stderr).toContain(named);
  });

  it("has help", async () => {
    const ended = await runBench(["--help"]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toContain("--goodput LIMIT...");
  });

  it("tells in one line that a file cannot be written, after the report", async () => {
    const load = ["--num-prompts", "1", "--max-tokens", "2", "--json", join(folder.path, "no", "where")];
    const ended = await runBench([...load, emulator.url]);
    expect(ended.code).toBe(1);
    expect(rowOf(ended.stdout, "Successful requests")).toBe("1");
    expect(ended.stderr).toMatch(/^sluice bench: ENOENT[^\n]+\n$/);
  });
});
