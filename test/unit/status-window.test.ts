import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import * as edges from "../../src/metrics/buckets.ts";
import { OUTCOMES as LABELLED, READING, RESUMES as RESUME_LABELS } from "../../src/metrics/labels.ts";
import type { Metrics } from "../../src/metrics/metrics.ts";
import { parseExposition } from "../../src/web/status/exposition.js";
import { figuresOf, OUTCOMES, RESUMES, readingOf, TRANSPORTS } from "../../src/web/status/figures.js";
import { quantile, SlidingWindow } from "../../src/web/status/window.js";
import { closeAll, facts, make, request } from "../support/metrics.ts";

afterEach(closeAll);

const WINDOW_S = 30;
const newWindow = (): SlidingWindow => new SlidingWindow(WINDOW_S, 12);

/** A reading with one counter. */
const reading = (at: number, value: number, startedAt = 1) => ({
  at,
  startedAt,
  counters: { requests: new Map([["completed", value]]) },
});

async function look(metrics: Metrics, window: SlidingWindow, at: number) {
  const scrape = parseExposition(await metrics.render());
  window.add(readingOf(scrape, at));
  return figuresOf(scrape, window);
}

describe("the window", () => {
  it("knows no rate before the second reading", () => {
    const window = newWindow();
    expect(window.rate("requests")).toBeNull();
    window.add(reading(0, 500));
    expect(window.rate("requests")).toBeNull();
    window.add(reading(2, 510));
    expect(window.rate("requests")).toBe(5);
  });

  it("forgets what is older than itself, and only that", () => {
    const window = newWindow();
    // 100 in the first two seconds, and 1 a second since.
    window.add(reading(0, 0));
    for (let at = 2; at <= 30; at += 2) window.add(reading(at, 98 + at));
    expect(window.seconds).toBe(30);
    expect(window.total("requests")).toBe(128);
    window.add(reading(32, 130));
    expect(window.seconds).toBe(30);
    expect(window.rate("requests")).toBe(1);
  });

  it("counts a restarted gateway's counters from 0", () => {
    const window = newWindow();
    window.add(reading(0, 1000));
    window.add(reading(2, 1010));
    // Told by the process, even where the new counter is already higher; and by a counter that fell.
    window.add(reading(4, 2000, 2));
    expect(window.total("requests")).toBe(2010);
    window.add(reading(6, 3, 2));
    expect(window.total("requests")).toBe(2013);
  });

  it("takes a counter that appears as one that stood at 0", () => {
    const window = newWindow();
    window.add({ at: 0, startedAt: 1, counters: { requests: new Map() } });
    window.add(reading(2, 4));
    expect(window.total("requests")).toBe(4);
  });

  it("begins anew after a pause", () => {
    const window = newWindow();
    window.add(reading(0, 0));
    window.add(reading(2, 10));
    window.add(reading(60, 10_000));
    expect(window.rate("requests")).toBeNull();
    window.add(reading(62, 10_006));
    expect(window.rate("requests")).toBe(3);
  });
});

describe("a quantile", () => {
  const buckets = (...pairs: [string, number][]) => new Map(pairs);

  it.each<[number, ReadonlyMap<string, number>, number | null]>([
    // As Prometheus' histogram_quantile answers.
    [0.5, buckets(["1", 4], ["2", 4], ["+Inf", 4]), 0.5],
    [0.5, buckets(["1", 0], ["2", 4], ["+Inf", 4]), 1.5],
    [0.75, buckets(["1", 2], ["2", 4], ["+Inf", 4]), 1.5],
    [0.99, buckets(["1", 2], ["2", 2], ["+Inf", 4]), 2],
    [0.5, buckets(["+Inf", 0], ["10", 0]), null],
    [0.5, buckets(), null],
    // Edges come in any order.
    [0.75, buckets(["+Inf", 4], ["10", 4], ["2", 4], ["1", 2]), 1.5],
  ])("%f of %o is %o", (q, histogram, expected) => {
    expect(quantile(histogram, q)).toBe(expected);
  });

  it("lies in the bucket of the observation that it stands for", async () => {
    const inMs = fc.array(fc.integer({ min: 0, max: 500_000 }), { minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(inMs, fc.constantFrom(0.5, 0.95, 0.99), async (observed, q) => {
        const metrics = make();
        const window = newWindow();
        await look(metrics, window, 0);
        for (const ms of observed) metrics.delivered(request, "sse", ms, 1);
        await look(metrics, window, 2);
        metrics.close();
        const sorted = observed.map((ms) => ms / 1000).sort((a, b) => a - b);
        const seconds = sorted[Math.ceil(q * sorted.length) - 1] ?? Number.NaN;
        const to = edges.FIRST_TOKEN.find((edge) => seconds <= edge) ?? Number.NaN;
        const from = edges.FIRST_TOKEN[edges.FIRST_TOKEN.indexOf(to) - 1] ?? 0;
        const found = window.quantile("firstToken", q) ?? Number.NaN;
        expect(found).toBeGreaterThanOrEqual(from);
        expect(found).toBeLessThanOrEqual(to);
      }),
      { numRuns: 30 },
    );
  });
});

describe("the figures", () => {
  it("group every outcome, transport and way to resume that the metrics have", () => {
    expect(Object.values(OUTCOMES).flat().sort()).toEqual([...LABELLED].sort());
    expect([...TRANSPORTS].sort()).toEqual([...READING].sort());
    expect([...RESUMES].sort()).toEqual([...RESUME_LABELS].sort());
  });

  it("say what a gateway's metrics say", async () => {
    const metrics = make();
    const window = newWindow();
    const before = await look(metrics, window, 0);
    expect(before).toMatchObject({ queue: 3, queueLimit: 1024, inFlight: 7, slots: 256, active: 10 });
    expect(before).toMatchObject({ retained: 4, retainedBytes: 4096, isDraining: false, version: "1.2.3" });
    expect(before).toMatchObject({ requests: null, errorShare: null, tokens: null, requestsEver: 0 });
    expect(before.firstToken).toEqual({ p50: null, p95: null, p99: null });

    for (let n = 0; n < 6; n++) metrics.ended(facts({ tokens: { input: 1, output: 20 } }));
    metrics.ended(facts({ outcome: "failed", code: "upstream_error" }));
    metrics.refused(request, "queue_full");
    metrics.readerJoined("sse");
    metrics.readerJoined("websocket");
    metrics.resumed("sse", "resumed");
    for (let n = 0; n < 9; n++) metrics.content(request, 20);
    metrics.firstContent(request, 100);
    const after = await look(metrics, window, 2);
    // The failed one had no usage: its 5 content events count.
    expect(after).toMatchObject({ requests: 4, requestsEver: 8, errorShare: 0.25, tokens: 62.5, events: 5 });
    expect(after.groups).toEqual({ served: 3, left: 0, refused: 0.5, failed: 0.5, invalid: 0 });
    expect(after.readers).toEqual({ sse: 1, websocket: 1, json: 0 });
    expect(after).toMatchObject({ readersAll: 2, resumesLately: 1, resumesEver: 1 });
    expect(after.outcomes).toContainEqual({ outcome: "completed", total: 6, lately: 6 });
    expect(after.interToken.p50).toBeGreaterThan(0.015);
    expect(after.interToken.p99).toBeLessThanOrEqual(0.02);
  });

  it("tell of the process", async () => {
    const metrics = make();
    const window = newWindow();
    const { resident, heap, startedAt, node } = await look(metrics, window, 0);
    expect(resident).toBeGreaterThan(heap ?? Number.NaN);
    expect(startedAt).toBeGreaterThan(1.6e9);
    expect(node).toBe(process.versions.node);
    const { cpu } = await look(metrics, window, 2);
    expect(cpu).toBeGreaterThanOrEqual(0);
  });
});
