/** The figures of `sluice bench`: against values computed by hand and by numpy. */
import { describe, expect, it, test } from "vitest";
import { takeChunk } from "../../src/benchmark/chunks.ts";
import { EventStream } from "../../src/benchmark/event-stream.ts";
import { turns } from "../../src/benchmark/load.ts";
import { measure } from "../../src/benchmark/metrics.ts";
import { Observation, type Outcome, RequestFault } from "../../src/benchmark/observation.ts";
import { distribution, timeline } from "../../src/benchmark/plot.ts";
import { arrivals, randomPrompt } from "../../src/benchmark/prompts.ts";
import { comparison, report } from "../../src/benchmark/report.ts";
import { summarize } from "../../src/benchmark/statistics.ts";

describe("the statistics", () => {
  it("are numpy's", () => {
    const summary = summarize([15, 20, 35, 40, 50], [0, 5, 40, 50, 90, 99, 100]);
    // numpy 2.4: percentile([15, 20, 35, 40, 50], p), std, mean
    expect(summary?.percentiles.map(([p]) => p)).toEqual([0, 5, 40, 50, 90, 99, 100]);
    expect(summary?.percentiles.map(([, value]) => value)).toEqual([15, 16, 29, 35, 46, 49.6, 50]);
    expect(summary?.std).toBeCloseTo(12.884098726725126, 12);
    expect(summary).toMatchObject({ mean: 32, median: 35 });
  });

  it("sort numbers as numbers, and leave the list as it is", () => {
    const values = [0.3, 1.7, 2.2, 9.1, 4.4, 4.4, 0.01, 12.5];
    const summary = summarize(values, [1, 25, 75, 99.9]);
    const expected = [0.0303, 1.35, 5.575, 12.4762];
    for (const [index, [, value]] of (summary?.percentiles ?? []).entries())
      expect(value).toBeCloseTo(expected[index] ?? Number.NaN, 10);
    expect(summary?.median).toBeCloseTo(3.3, 10);
    expect(summary?.std).toBeCloseTo(4.121113130878598, 10);
    expect(values[0]).toBe(0.3);
  });

  it("of one value are that value, and of none are not there", () => {
    expect(summarize([7], [1, 99])).toMatchObject({ mean: 7, median: 7, std: 0 });
    expect(summarize([], [99])).toBeUndefined();
  });
});

interface Seen {
  readonly start: number;
  readonly contents: readonly number[];
  readonly end: number;
  readonly tokens?: number;
  readonly outcome?: Outcome;
  readonly code?: string;
}

function observation({ start, contents, end, tokens, outcome = "completed", code }: Seen): Observation {
  const seen = new Observation(start, start);
  seen.contentMs.push(...contents);
  seen.endMs = end;
  seen.completionTokens = tokens;
  seen.promptTokens = tokens === undefined ? undefined : 10;
  seen.outcome = outcome;
  seen.fault = code === undefined ? undefined : new RequestFault(code, "told");
  return seen;
}

/** Two that completed (one counted by usage, in two contents of five tokens), one of a single token, two that failed. */
const SEEN = [
  observation({ start: 1000, contents: [1100, 1500], end: 1600, tokens: 5 }),
  observation({ start: 1200, contents: [1500, 1600, 2300], end: 2300 }),
  observation({ start: 1600, contents: [1650], end: 1700, tokens: 1 }),
  observation({ start: 1100, contents: [1200], end: 1300, outcome: "failed", code: "no_done" }),
  observation({ start: 1100, contents: [], end: 1300, outcome: "failed", code: "ECONNREFUSED" }),
  observation({ start: 1100, contents: [], end: 1300, outcome: "interrupted" }),
];

describe("the metrics", () => {
  const metrics = measure(SEEN, 2, [99], {});

  it("count what completed, failed and was interrupted", () => {
    expect(metrics).toMatchObject({ completed: 3, failed: 2, interrupted: 1 });
    expect(metrics.faults).toEqual([
      ["no_done", 1],
      ["ECONNREFUSED", 1],
    ]);
  });

  it("take tokens from usage, else from the events with content", () => {
    expect(metrics).toMatchObject({ inputTokens: 20, outputTokens: 5 + 3 + 1 });
    expect(metrics).toMatchObject({ countedByUsage: 2, countedByEvents: 1 });
    expect(metrics).toMatchObject({ requestThroughput: 1.5, outputThroughput: 4.5, totalThroughput: 14.5 });
  });

  it("TTFT, TPOT, ITL and E2EL are those of the completed", () => {
    // TTFT 100, 300, 50; E2EL 500, 1100, 50; TPOT (500-100)/4 and (1100-300)/2; ITL 400, 100, 700.
    expect(metrics.latencies.ttft).toMatchObject({ mean: 150, median: 100 });
    expect(metrics.latencies.e2el).toMatchObject({ mean: 550, median: 500 });
    expect(metrics.latencies.tpot).toMatchObject({ mean: 250, median: 250, std: 150 });
    expect(metrics.latencies.itl).toMatchObject({ mean: 400, median: 400 });
  });

  it("peaks: contents in a whole second, requests at the same moment", () => {
    // From 1000 on: 1100, 1500, 1500, 1600, 1650 in the first second. One that ends at 1600 is not beside one that starts then.
    expect(metrics).toMatchObject({ peakOutputThroughput: 5, peakConcurrency: 2 });
  });

  it.each([
    [{ ttft: 100 }, 1],
    [{ ttft: 99 }, 0.5],
    [{ tpot: 100 }, 1],
    [{ e2el: 1099 }, 1],
    [{ ttft: 300, tpot: 400, e2el: 1100 }, 1.5],
    [{ ttft: 0 }, 0],
  ])("goodput within %j is %d a second", (limits, expected) => {
    expect(measure(SEEN, 2, [99], limits).requestGoodput).toBe(expected);
  });

  it("without a limit there is no goodput, and without a completion no latency", () => {
    expect(metrics.requestGoodput).toBeUndefined();
    const none = measure(SEEN.slice(3), 2, [99], { ttft: 1 });
    expect(none).toMatchObject({ completed: 0, requestGoodput: 0, peakConcurrency: 0 });
    expect(Object.values(none.latencies)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe("the report", () => {
  const setting = { concurrency: 4, rate: 2.5, percentiles: [50, 99.9] };
  const metrics = measure(SEEN, 2, setting.percentiles, { ttft: 100 });
  const labelsOf = (text: string): string[] =>
    [...text.matchAll(/^([^-=\s].*?):/gm)].map(([, label]) => label ?? "");

  it("has vLLM's rows in vLLM's order", () => {
    const text = report(metrics, setting);
    expect(text.split("\n")[0]).toBe("============ Serving Benchmark Result ============");
    const latency = (name: string): string[] =>
      ["Mean", "Median", "P50", "P99.9"].map((word) => `${word} ${name} (ms)`);
    expect(labelsOf(text)).toEqual([
      "Successful requests",
      "Failed requests",
      "Maximum request concurrency",
      "Request rate configured (RPS)",
      "Benchmark duration (s)",
      "Total input tokens",
      "Total generated tokens",
      "Request throughput (req/s)",
      "Request goodput (req/s)",
      "Output token throughput (tok/s)",
      "Peak output token throughput (tok/s)",
      "Peak concurrent requests",
      "Total token throughput (tok/s)",
      ...["TTFT", "TPOT", "ITL", "E2EL"].flatMap(latency),
    ]);
    expect(text).toContain(`${"Mean TTFT (ms):".padEnd(40)} 150.00\n`);
    expect(text).toContain("\n---------------Time to First Token----------------\n");
  });

  it("keeps its rows where nothing was measured", () => {
    const none = measure([], 2, setting.percentiles, { ttft: 100 });
    expect(labelsOf(report(none, setting))).toEqual(labelsOf(report(metrics, setting)));
    expect(report(none, setting)).toContain(`${"P99.9 ITL (ms):".padEnd(40)} n/a\n`);
  });

  it("compares row by row, and tells what only the second has", () => {
    const timed = SEEN.map((seen) => Object.assign(new Observation(0, 0), seen, { timing: { queue_ms: 3 } }));
    const text = comparison(metrics, measure(timed, 4, setting.percentiles, { ttft: 100 }), setting);
    expect(text).toMatch(/^Benchmark duration \(s\): +2\.00 +4\.00 +2\.000$/m);
    expect(text).toMatch(/^Request throughput \(req\/s\): +1\.50 +0\.75 +0\.500$/m);
    expect(text).toMatch(/^-+Told by Sluice-+$/m);
    expect(text).toMatch(/^Mean gateway queue \(ms\): +n\/a +3\.00 +n\/a$/m);
  });
});

describe("the plots", () => {
  it("escape what they name, and draw a curve for each series", () => {
    const svg = distribution("a <b>", [
      { name: "one & two", values: [3, 1, 2] },
      { name: "none", values: [] },
    ]);
    expect(svg).toContain("a &lt;b>");
    expect(svg).toContain("one &amp; two");
    expect(svg.match(/<path/g)).toHaveLength(1);
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  it("show requests that failed and none at all", () => {
    expect(timeline("requests", SEEN, 1000)).toMatch(/class="failed"[^>]* d="M/);
    expect(timeline("requests", [], 1000)).not.toMatch(/NaN|Infinity/);
  });
});

describe("what is drawn from the seed", () => {
  it("is the same for the same seed, and another for another", () => {
    expect(arrivals(50, 5, 1)).toEqual(arrivals(50, 5, 1));
    expect(arrivals(50, 5, 1)).not.toEqual(arrivals(50, 5, 2));
    expect(randomPrompt(20, 1, 3)).toBe(randomPrompt(20, 1, 3));
    const prompts = Array.from({ length: 100 }, (_, index) => randomPrompt(8, 1, index));
    expect(new Set(prompts).size).toBe(100);
  });

  it("arrivals rise, and the last is due after count / rate seconds", () => {
    const due = arrivals(200, 4, 7);
    expect(due.toSorted((one, other) => one - other)).toEqual(due);
    expect(due.at(-1)).toBeCloseTo(50_000, 6);
    expect(arrivals(3, Infinity, 7)).toEqual([0, 0, 0]);
  });

  it("arrivals are exponential: of many gaps as many are short as should be", () => {
    const due = arrivals(20_000, 1, 3);
    const gaps = due.map((at, index) => at - (due[index - 1] ?? 0));
    const short = gaps.filter((gap) => gap < 1000 * Math.LN2).length;
    expect(short / gaps.length).toBeCloseTo(0.5, 1);
  });

  it("prompts have so many words", () => {
    expect(randomPrompt(33, 0, 0).split(" ")).toHaveLength(33);
  });
});

test("two servers take turns, and neither always goes first", () => {
  expect(turns(3, 2)).toEqual([0, 1, 1, 0, 0, 1]);
  expect(turns(3, 1)).toEqual([0, 0, 0]);
});

describe("the event stream", () => {
  const TEXT =
    '\uFEFF: ping\r\n\r\ndata: {"a":"ä"}\r\n\r\nid: 7\nevent: end\ndata:one\ndata: two\n\ndata\rdata: three\r\rdata:  \n\ndata: four';
  const EXPECTED = [
    ["", '{"a":"ä"}'],
    ["end", "one\ntwo"],
    ["", "three"],
    ["", "four"],
  ];

  it.each([1, 2, 3, 7, 1000])("is cut into its events, read by %d bytes", (size) => {
    const events: string[][] = [];
    const stream = new EventStream((type, data) => events.push([type, data]));
    const bytes = Buffer.from(TEXT);
    for (let at = 0; at < bytes.length; at += size) stream.push(bytes.subarray(at, at + size));
    stream.end();
    expect(events).toEqual(EXPECTED);
  });
});

describe("a chunk", () => {
  const contentsOf = (...chunks: readonly unknown[]): Observation => {
    const seen = new Observation(0, 0);
    for (const chunk of chunks) takeChunk(chunk, seen, 5);
    return seen;
  };
  const delta = (value: unknown): unknown => ({ choices: [{ index: 0, delta: value }] });

  it.each([
    ["content", delta({ content: "a" }), 1],
    ["reasoning", delta({ reasoning_content: "a" }), 1],
    ["a tool call", delta({ tool_calls: [{ index: 0 }] }), 1],
    ["a legacy text", { choices: [{ text: "a" }] }, 1],
    ["the second choice", { choices: [{ delta: {} }, { delta: { content: "a" } }] }, 1],
    ["a role", delta({ role: "assistant", content: "" }), 0],
    ["a role with null", delta({ role: "assistant", content: null }), 0],
    ["a finish reason", { choices: [{ delta: {}, finish_reason: "stop" }] }, 0],
    ["usage", { choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } }, 0],
  ])("with %s", (_, chunk, contents) => {
    expect(contentsOf(chunk).contentMs).toHaveLength(contents);
  });

  it("with usage tells tokens, the last one counting; null tells nothing", () => {
    const usage = (completion_tokens: number): unknown => ({
      usage: { prompt_tokens: 3, completion_tokens },
    });
    expect(contentsOf(usage(1), usage(2), { usage: null })).toMatchObject({
      promptTokens: 3,
      completionTokens: 2,
    });
  });

  it.each([
    [{ error: { message: "m", code: "busy" } }, "busy"],
    [{ error: { message: "m", type: "server_error", code: null } }, "server_error"],
    [{ error: "text" }, "error_payload"],
    [[], "invalid_chunk"],
  ])("%j is a fault", (chunk, code) => {
    expect(() => contentsOf(chunk)).toThrow(expect.objectContaining({ code }));
  });
});
