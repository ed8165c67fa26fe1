import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import { ERRORS } from "../../src/core/errors.ts";
import type { Transport } from "../../src/core/ports.ts";
import * as buckets from "../../src/metrics/buckets.ts";
import { ERROR_CODES } from "../../src/metrics/labels.ts";
import { at, callAll, closeAll, facts, LEVELS, make, ours, request, scrape } from "../support/metrics.ts";

afterEach(closeAll);

/** The contract's table: type and labels of each metric. */
const TABLE: Record<string, [type: string, labels: string[]]> = {
  time_to_first_token_seconds: ["histogram", ["model", "transport"]],
  upstream_time_to_first_token_seconds: ["histogram", ["model"]],
  queue_wait_seconds: ["histogram", ["model"]],
  gateway_overhead_seconds: ["histogram", ["transport"]],
  inter_token_latency_seconds: ["histogram", ["model"]],
  time_per_output_token_seconds: ["histogram", ["model"]],
  request_duration_seconds: ["histogram", ["model", "outcome", "transport"]],
  requests_total: ["counter", ["key", "model", "outcome", "transport"]],
  readers_total: ["counter", ["transport"]],
  readers: ["gauge", ["transport"]],
  resumes_total: ["counter", ["outcome", "transport"]],
  upstream_requests_total: ["counter", ["code", "upstream"]],
  upstream_retries_total: ["counter", ["reason", "upstream"]],
  tokens_total: ["counter", ["key", "model", "source", "type"]],
  events_after_last_reader_total: ["counter", []],
  no_first_token_total: ["counter", ["reason"]],
  queue_depth: ["gauge", []],
  queue_limit: ["gauge", []],
  upstream_in_flight: ["gauge", []],
  upstream_concurrency_limit: ["gauge", []],
  upstream_available: ["gauge", ["upstream"]],
  generations_active: ["gauge", []],
  generations_retained: ["gauge", []],
  retained_bytes: ["gauge", []],
  slow_readers_total: ["counter", ["transport"]],
  reader_disconnects_total: ["counter", ["phase", "transport"]],
  websocket_connections: ["gauge", []],
  build_info: ["gauge", ["node", "version"]],
  draining: ["gauge", []],
};

describe("the table", () => {
  it("has every row, of its type and with its labels, and nothing else", async () => {
    const metrics = make();
    callAll(metrics);
    const text = await metrics.render();
    const types = [...text.matchAll(/^# TYPE sluice_(\w+) (\w+)$/gm)].map((match) => [match[1], match[2]]);
    expect(Object.fromEntries(types)).toEqual(
      Object.fromEntries(Object.entries(TABLE).map(([name, [type]]) => [name, type])),
    );
    const series = ours(await scrape(metrics));
    for (const [name, [type, labels]] of Object.entries(TABLE)) {
      const line = new RegExp(`^sluice_${name}${type === "histogram" ? "_count" : ""}\\{`);
      const rows = series.filter((key) => line.test(key));
      expect(rows.length, name).toBeGreaterThan(0);
      for (const row of rows) {
        expect([...row.matchAll(/(\w+)="/g)].map((match) => match[1]).sort()).toEqual(labels);
      }
    }
  });

  it("describes each metric in one sentence", async () => {
    const help = [...(await make().render()).matchAll(/^# HELP sluice_\w+ (.*)$/gm)].map((match) => match[1]);
    expect(help).toHaveLength(Object.keys(TABLE).length);
    for (const sentence of help) expect(sentence).toMatch(/^[A-Z0-9].*[^.]\.$/);
  });

  it("is served as Prometheus text, without gauges that end in _total", async () => {
    const metrics = make();
    expect(metrics.contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
    const text = await metrics.render();
    expect(text).toMatch(/^# TYPE process_cpu_seconds_total counter$/m);
    expect(text).toMatch(/^# TYPE nodejs_eventloop_lag_p99_seconds gauge$/m);
    expect(text).not.toMatch(/^# TYPE \w+_total gauge$/m);
  });

  it("reads the same twice", async () => {
    const metrics = make();
    callAll(metrics);
    const own = async () => (await metrics.render()).split("\n").filter((line) => line.includes("sluice_"));
    expect(await own()).toEqual(await own());
  });

  const promtool = spawnSync("promtool", ["--version"]).error === undefined;
  it.skipIf(!promtool)("leaves `promtool check metrics` nothing to say (needs promtool)", async () => {
    const metrics = make({ models: ["alpha", 'quo"te\\back\nline', "ümläut 模型"] });
    const fresh = await metrics.render();
    callAll(metrics);
    for (const input of [fresh, await metrics.render()]) {
      const check = spawnSync("promtool", ["check", "metrics"], { input, encoding: "utf8" });
      expect([check.status, check.stdout, check.stderr]).toEqual([0, "", ""]);
    }
  });
});

describe("buckets", () => {
  it.each(Object.entries(buckets))("%s rise, and have 2 s", (_name, edges) => {
    expect(edges).toContain(2);
    expect(edges.every((edge, n) => n === 0 || edge > (edges[n - 1] as number))).toBe(true);
  });

  it("have the edges of OpenTelemetry, fine steps for tokens, and parts of a millisecond for overhead", () => {
    const first = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
    expect(buckets.FIRST_TOKEN).toEqual(expect.arrayContaining(first));
    expect(buckets.QUEUE_WAIT).toEqual(expect.arrayContaining(first));
    expect(buckets.OVERHEAD).toEqual(expect.arrayContaining([...first, 0.0001, 0.00025, 0.0005]));
    const token = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
    expect(buckets.TOKEN).toEqual(expect.arrayContaining([...token, 0.002, 0.006, 0.012, 0.03]));
    const duration = Array.from({ length: 14 }, (_, n) => 2 ** n / 100);
    expect(buckets.DURATION).toEqual(expect.arrayContaining([...duration, 600]));
  });
});

describe("gauges", () => {
  it("read the levels at the scrape", async () => {
    let levels = LEVELS;
    const metrics = make({ levels: () => levels });
    const before = await scrape(metrics);
    expect(at(before, "queue_depth")).toBe(3);
    expect(at(before, "queue_limit")).toBe(1024);
    expect(at(before, "upstream_in_flight")).toBe(7);
    expect(at(before, "upstream_concurrency_limit")).toBe(256);
    expect(at(before, "generations_active")).toBe(10);
    expect(at(before, "generations_retained")).toBe(4);
    expect(at(before, "retained_bytes")).toBe(4096);
    expect(at(before, "draining")).toBe(0);
    levels = { ...LEVELS, queueDepth: 0, draining: true };
    const after = await scrape(metrics);
    expect([at(after, "queue_depth"), at(after, "draining")]).toEqual([0, 1]);
  });

  it("tell at the scrape which upstreams are preferred", async () => {
    const well = new Set(["main"]);
    const metrics = make({ isWell: (upstream) => well.has(upstream) });
    const available = async () => {
      const series = await scrape(metrics);
      return ["main", "spare"].map((upstream) => at(series, "upstream_available", { upstream }));
    };
    expect(await available()).toEqual([1, 0]);
    well.delete("main");
    well.add("spare");
    expect(await available()).toEqual([0, 1]);
  });

  it("tell the build", async () => {
    const labels = { version: "1.2.3", node: process.versions.node };
    expect(at(await scrape(make()), "build_info", labels)).toBe(1);
  });
});

describe("labels", () => {
  it("cannot be made by a client", async () => {
    const metrics = make();
    callAll(metrics, { model: undefined, transport: "sse", key: "none" }, "nowhere", "nonsense");
    const before = ours(await scrape(metrics));
    for (let n = 0; n < 10_000; n++) {
      const made_up = `${Math.random()}-${n}`;
      callAll(metrics, { model: made_up, transport: "sse", key: "none" }, made_up, made_up);
    }
    expect(ours(await scrape(metrics))).toEqual(before);
    const odd = `odd ${Math.random()}`;
    callAll(metrics, { model: odd, transport: odd as Transport, key: odd }, odd, odd);
    metrics.refused(request, odd as "invalid");
    metrics.readerLeft("sse", odd as "queued");
    metrics.resumed("sse", odd as "ahead");
    expect((await metrics.render()).includes(odd)).toBe(false);
  });

  it("are not fooled by the names of object members", async () => {
    const metrics = make();
    for (const model of ["__proto__", "constructor", "hasOwnProperty"])
      callAll(metrics, { ...request, model });
    const series = await scrape(metrics);
    expect(at(series, "inter_token_latency_seconds_count", { model: "other" })).toBe(3);
  });

  it("have the models that are learned later, up to 200 in all", async () => {
    const metrics = make();
    metrics.content({ ...request, model: "beta" }, 5);
    metrics.know(["beta", "", "x".repeat(257), "lone \ud800"]);
    metrics.know(Array.from({ length: 1000 }, (_, n) => `many-${n}`));
    for (const model of ["beta", "", "x".repeat(257), "lone \ud800", "many-197", "many-198"]) {
      metrics.content({ ...request, model }, 5);
    }
    const series = await scrape(metrics);
    const count = (model: string) => at(series, "inter_token_latency_seconds_count", { model });
    expect([count("beta"), count("many-197"), count("many-198")]).toEqual([1, 1, undefined]);
    expect(count("other")).toBe(5);
  });

  it("have the configured keys, or none", async () => {
    const metrics = make();
    for (const key of ["team", "none", "stranger"]) metrics.refused({ ...request, key }, "invalid");
    const series = await scrape(metrics);
    for (const key of ["team", "none", "other"]) {
      const labels = { model: "alpha", transport: "sse", outcome: "invalid", key };
      expect(at(series, "requests_total", labels)).toBe(1);
    }
  });

  it("know every error code of the core", () => {
    expect([...ERROR_CODES].sort()).toEqual(Object.keys(ERRORS).sort());
  });
});

describe("faults", () => {
  it("break no stream, spoil no sum, and are told once a metric", async () => {
    const told: string[] = [];
    const metrics = make({ onFault: (fault) => told.push(fault.message) });
    for (const ms of [Number.NaN, -1, Number.POSITIVE_INFINITY, 10]) {
      metrics.content(request, ms);
      metrics.admitted(request, ms);
      metrics.unread(ms);
    }
    metrics.ended(facts({ tokens: { output: 1.5, input: Number.NaN, cached: -3 } }));
    expect(told.map((message) => message.split(" ")[0])).toEqual([
      "sluice_inter_token_latency_seconds",
      "sluice_queue_wait_seconds",
      "sluice_events_after_last_reader_total",
      "sluice_tokens_total",
    ]);
    const series = await scrape(metrics);
    expect(at(series, "inter_token_latency_seconds_sum", { model: "alpha" })).toBe(0.01);
    expect(at(series, "queue_wait_seconds_count", { model: "alpha" })).toBe(1);
    expect(at(series, "events_after_last_reader_total")).toBe(10);
  });

  it("may not come from calls after the close, nor from a second set of metrics", async () => {
    const first = make();
    const second = make();
    callAll(first);
    expect(at(await scrape(second), "events_after_last_reader_total")).toBe(0);
    first.close();
    callAll(first);
    expect(ours(await scrape(first))).toEqual([]);
    expect(at(await scrape(second), "queue_depth")).toBe(3);
  });
});
