/**
 * A real Prometheus scrapes a gateway under load, and is asked everything that the dashboard, the rules and the alerts ask: none of
 * it fails, none of it is empty, and the quantiles are those that the readers measured themselves. Prints what each query gave.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Emulator, type Script, startEmulator } from "../../src/emulator/index.ts";
import { type EmulatorProcess, startEmulatorProcess } from "../support/emulator-process.ts";
import { everything, type Limits } from "../support/everything.ts";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";
import { load, type Measured, percentile } from "../support/load.ts";
import {
  alerts,
  annotationQueries,
  dashboard,
  leftSides,
  panelQueries,
  type Query,
  recordingRules,
  withVariables,
} from "../support/ops.ts";
import { hasPrometheus, Prometheus, type Sample, type Standstill } from "../support/prometheus.ts";

const LIMITS: Limits = { slots: 12, places: 4 };
const MODEL = "measured";
const SHAKY = "shaky";

/** From quick to slow, so that a quantile lies where many values do and far from where few do. */
const FIRST_TOKEN_MS = [60, 150, 300, 450, 600, 600, 800, 900, 1300, 1800];
const PACE_MS = [60, 60, 60, 60, 85, 85, 120, 120, 250, 450];
const STREAMS = 90;
const scripts = (count: number): Script[] =>
  Array.from({ length: count }, (_, n) => ({
    tokens: 12,
    first_token_ms: FIRST_TOKEN_MS[n % FIRST_TOKEN_MS.length] as number,
    pace_ms: PACE_MS[(n * 7) % PACE_MS.length] as number,
  }));

const folder = mkdtempSync(join(tmpdir(), "sluice-prometheus-"));
let main: EmulatorProcess;
let failing: Emulator;
let gateway: GatewayProcess;
let prometheus: Prometheus;
let measured: Measured[];
/** The measured load lies between them. */
let before: Standstill;
let after: Standstill;
/** What each query gave. */
const table: string[] = [];

const named = (what: string): string => `${what}${hasPrometheus ? "" : " (skipped: no prometheus)"}`;

beforeAll(async () => {
  if (!hasPrometheus) return;
  main = await startEmulatorProcess(folder);
  failing = await startEmulator();
  failing.script = ({ user }) => ({
    fault:
      user === "limited"
        ? { kind: "status", status: 429, headers: { "retry-after": "30" } }
        : { kind: "status", status: 503 },
  });
  const config = join(folder, "sluice.json");
  const upstreams = [
    { name: "failing", baseUrl: failing.url, models: [SHAKY] },
    { name: "main", baseUrl: main.url, models: [MODEL, "sluice-demo", "*"] },
  ];
  writeFileSync(config, JSON.stringify({ upstreams }));
  gateway = await startProcess({
    LOG_LEVEL: "silent",
    SLUICE_CONFIG: config,
    SLUICE_MAX_CONCURRENCY: String(LIMITS.slots),
    SLUICE_MAX_QUEUE: String(LIMITS.places),
    SLUICE_QUEUE_TIMEOUT_MS: "1500",
    SLUICE_WRITE_STALL_MS: "500",
  });
  const home = join(folder, "prometheus");
  mkdirSync(home);
  prometheus = await Prometheus.start(home, gateway.url);
  // Twice: what appears between two scrapes has a rate only once it grows again.
  await everything(gateway, LIMITS, SHAKY);
  await load(gateway, MODEL, scripts(3), 3);
  before = await prometheus.caughtUp();
  measured = await load(gateway, MODEL, scripts(STREAMS), LIMITS.slots - 2);
  await everything(gateway, LIMITS, SHAKY);
  after = await prometheus.caughtUp();
}, 300_000);

afterAll(async () => {
  await prometheus?.stop();
  await gateway?.stop();
  await failing?.close();
  await main?.stop();
  rmSync(folder, { recursive: true, force: true });
  if (table.length > 0) console.log(table.join("\n"));
});

/** As long as the load and what follows it, so that a rate is that of all of it and of nothing else. */
const windowOf = (): string => `${Math.floor((after.seen - before.began) * 1000)}ms`;
const substituted = (expr: string, chosen: Readonly<Record<string, string>> = {}): string =>
  withVariables(expr, windowOf(), chosen);

const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: false });

function note(place: string, expr: string, samples: readonly Sample[]): void {
  const largest = [...samples].sort((a, b) => b.value - a.value).slice(0, 2);
  const told = largest.map(({ labels, value }) => {
    const shown = Object.entries(labels).filter(([name]) => !["__name__", "job", "instance"].includes(name));
    return `${shown.map(([name, label]) => `${name}=${label}`).join(",")} ${SHORT.format(value)}`.trim();
  });
  const more = samples.length > largest.length ? ` (of ${samples.length})` : "";
  table.push(`${place} | ${expr.replace(/\s+/g, " ").trim()} | ${told.join("; ")}${more}`);
}

/** Asks a query; what is wrong with its answer, or nothing. */
async function faultOf({ place, expr }: Query, isNoted = true): Promise<string[]> {
  const samples = await prometheus.query(substituted(expr), after.seen);
  if (isNoted) note(place, expr, samples);
  if (samples.length === 0) return [`${place}: empty`];
  return samples
    .filter(({ value }) => !Number.isFinite(value))
    .map(({ labels, value }) => `${place}: ${value} at ${JSON.stringify(labels)}`);
}

async function faultsOf(queries: readonly Query[]): Promise<string[]> {
  const faults: string[] = [];
  for (const query of queries) faults.push(...(await faultOf(query)));
  return faults;
}

/** The one value of a query, once everything has happened. */
const figureOf = (expr: string): Promise<number> => prometheus.figure(expr, after.seen);

describe.skipIf(!hasPrometheus)(named("Prometheus beside a gateway under load"), () => {
  test("every rule is evaluated without a fault", async () => {
    const rules = await prometheus.rules();
    expect(rules.map(({ name }) => name).sort()).toEqual(
      [...recordingRules(), ...alerts()].map(({ record, alert }) => record ?? alert).sort(),
    );
    expect(rules.filter(({ health, lastError }) => health !== "ok" || lastError)).toEqual([]);
  });

  test("no query of the dashboard is empty", async () => {
    expect(await faultsOf(panelQueries())).toEqual([]);
    const sides = annotationQueries().flatMap(({ place, expr }) =>
      leftSides(expr).map((side) => ({ place, expr: side })),
    );
    expect(await faultsOf(sides)).toEqual([]);
  });

  test("no recording rule is empty, and each has recorded", async () => {
    const rules = recordingRules().map(({ record = "", expr }) => ({ place: record, expr }));
    expect(await faultsOf(rules)).toEqual([]);
    for (const { place } of rules) expect(await faultOf({ place, expr: place }, false)).toEqual([]);
  });

  test("no left side of an alert is empty", async () => {
    const sides = alerts().flatMap(({ alert = "", expr }) =>
      leftSides(expr).map((side) => ({ place: alert, expr: side })),
    );
    expect(await faultsOf(sides)).toEqual([]);
  });

  test("the alerts of what has happened fire", async () => {
    const firing = await prometheus.query('ALERTS{alertstate="firing"}', after.seen);
    const names = firing.map(({ labels }) => labels["alertname"]);
    expect(names).toEqual(expect.arrayContaining(["SluiceRefusing", "SluiceUpstreamRateLimited"]));
    expect(names).not.toContain("SluiceDown");
  });

  test("every metric that the traffic should move has moved", async () => {
    const moved = [
      ...["completed", "incomplete", "failed", "cancelled", "disconnected", "attached"],
      ...["queue_full", "queue_timeout", "invalid", "unauthorized"],
    ].map((outcome) => `sluice_requests_total{outcome="${outcome}"}`);
    for (const transport of ["sse", "websocket"]) {
      moved.push(`sluice_requests_total{transport="${transport}",outcome="completed"}`);
      for (const outcome of ["resumed", "ahead", "unknown"])
        moved.push(`sluice_resumes_total{transport="${transport}",outcome="${outcome}"}`);
    }
    for (const phase of ["queued", "before_first_token", "streaming"])
      moved.push(`sluice_reader_disconnects_total{phase="${phase}"}`);
    for (const type of ["input", "output", "reasoning"]) moved.push(`sluice_tokens_total{type="${type}"}`);
    moved.push(
      'sluice_upstream_requests_total{upstream="failing",code="503"}',
      'sluice_upstream_requests_total{upstream="failing",code="429"}',
      'sluice_upstream_retries_total{upstream="failing"}',
      "sluice_slow_readers_total",
      "sluice_events_after_last_reader_total",
      "sluice_no_first_token_total",
    );
    for (const selector of moved) expect(await figureOf(`sum(${selector})`), selector).toBeGreaterThan(0);
    const levels = [
      "sluice_upstream_in_flight",
      "sluice_generations_active",
      "sluice_generations_retained",
      'sluice_readers{transport="sse"}',
      'sluice_readers{transport="websocket"}',
      "sluice_websocket_connections",
    ];
    for (const level of levels)
      expect(await figureOf(`max_over_time(${level}[${windowOf()}])`), level).toBeGreaterThan(0);
    const available = (upstream: string): Promise<number> =>
      figureOf(`min_over_time(sluice_upstream_available{upstream="${upstream}"}[${windowOf()}])`);
    expect([await available("failing"), await available("main")]).toEqual([0, 1]);
  });

  const quantiles = [
    ["Time to first token", "sluice_time_to_first_token_seconds", ({ firstToken }: Measured) => [firstToken]],
    ["Inter-token latency", "sluice_inter_token_latency_seconds", ({ gaps }: Measured) => gaps],
    ["Request duration", "sluice_request_duration_seconds", ({ duration }: Measured) => [duration]],
  ] as const;
  test.each(quantiles)("%s is what the readers measured", async (title, histogram, of) => {
    const own = measured.flatMap(of);
    const count = `sum(${histogram}_count{model="${MODEL}"})`;
    expect((await figureOf(count)) - (await prometheus.figure(count, before.seen))).toBe(own.length);
    const buckets = await prometheus.query(`sum by (le) (${histogram}_bucket{model="${MODEL}"})`, after.seen);
    const edges = buckets
      .map(({ labels }) => Number(labels["le"]?.replace("+Inf", "Infinity")))
      .sort((a, b) => a - b);
    const bucketOf = (value: number): number => edges.findIndex((edge) => value <= edge);
    const targets =
      dashboard().panels.find((panel) => panel.title === title && panel.type === "timeseries")?.targets ?? [];
    expect(targets.map(({ legendFormat }) => legendFormat)).toEqual(["p50", "p95", "p99"]);
    for (const { legendFormat, expr } of targets) {
      const theirs = await figureOf(substituted(expr, { model: MODEL }));
      const ours = percentile(own, Number(legendFormat.slice(1)) / 100);
      table.push(
        `${title} ${legendFormat} | readers ${SHORT.format(ours)} s | Prometheus ${SHORT.format(theirs)} s`,
      );
      expect(
        Math.abs(bucketOf(theirs) - bucketOf(ours)),
        `${title} ${legendFormat}: ${theirs}, ${ours}`,
      ).toBeLessThanOrEqual(1);
    }
  });

  test("the names of OpenTelemetry give the same quantiles", async () => {
    const pairs = ["time_to_first_token", "time_per_output_token", "request_duration"] as const;
    for (const name of pairs) {
      const sum = async (metric: string, label: string): Promise<number> =>
        figureOf(`sum(${metric}_seconds_count{${label}="${MODEL}"})`);
      expect(await sum(`gen_ai_server_${name}`, "gen_ai_request_model"), name).toBe(
        await sum(`sluice_${name}`, "model"),
      );
      const p95 = (metric: string, label: string): Promise<number> =>
        figureOf(`histogram_quantile(0.95, sum by (le) (${metric}_seconds_bucket{${label}="${MODEL}"}))`);
      expect(await p95(`gen_ai_server_${name}`, "gen_ai_request_model"), name).toBe(
        await p95(`sluice_${name}`, "model"),
      );
    }
  });

  const hasPromtool = spawnSync("promtool", ["--version"]).error === undefined;
  test.skipIf(!hasPromtool)(
    `promtool has nothing to say about the scrape${hasPromtool ? "" : " (skipped: no promtool)"}`,
    async () => {
      const input = await (await fetch(`${gateway.url}/metrics`)).text();
      const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
        input,
        encoding: "utf8",
      });
      expect([status, stdout, stderr]).toEqual([0, "", ""]);
    },
  );
});
