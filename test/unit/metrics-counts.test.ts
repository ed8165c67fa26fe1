import { afterEach, describe, expect, it } from "vitest";
import type { Outcome, Transport } from "../../src/core/ports.ts";
import { at, closeAll, facts, make, request, scrape } from "../support/metrics.ts";

afterEach(closeAll);

describe("counters", () => {
  it("stand at 0 from the start", async () => {
    const series = await scrape(make());
    const zero = (name: string, labels: Record<string, string> = {}) =>
      expect(at(series, name, labels), `${name} ${JSON.stringify(labels)}`).toBe(0);
    for (const transport of ["sse", "websocket", "json", "none"]) {
      for (const outcome of ["completed", "disconnected", "attached", "queue_full", "unauthorized"]) {
        zero("requests_total", { model: "other", key: "none", transport, outcome });
      }
    }
    for (const transport of ["sse", "websocket", "json"]) {
      zero("readers_total", { transport });
      zero("readers", { transport });
      zero("slow_readers_total", { transport });
      for (const outcome of ["resumed", "ahead", "unknown"]) zero("resumes_total", { transport, outcome });
      for (const phase of ["queued", "before_first_token", "streaming"]) {
        zero("reader_disconnects_total", { transport, phase });
      }
    }
    for (const reason of ["cancelled", "disconnected", "empty", "upstream_timeout", "other"]) {
      zero("no_first_token_total", { reason });
    }
    for (const type of ["input", "output", "cached", "reasoning"]) {
      zero("tokens_total", { model: "other", key: "none", type, source: "usage" });
    }
    zero("tokens_total", { model: "other", key: "none", type: "output", source: "events" });
    for (const upstream of ["main", "spare"]) zero("upstream_requests_total", { upstream, code: "200" });
    zero("events_after_last_reader_total");
  });

  it("count each creating request once", async () => {
    const metrics = make();
    metrics.refused(request, "attached");
    metrics.refused({ ...request, transport: "none" }, "invalid");
    for (const outcome of ["completed", "completed", "disconnected", "queue_timeout"] satisfies Outcome[]) {
      metrics.ended(facts({ outcome }));
    }
    const series = await scrape(metrics);
    const total = (outcome: string, transport = "sse") =>
      at(series, "requests_total", { model: "alpha", key: "team", transport, outcome });
    expect(total("attached")).toBe(1);
    expect(total("invalid", "none")).toBe(1);
    expect(total("completed")).toBe(2);
    expect(total("disconnected")).toBe(1);
    expect(total("queue_timeout")).toBe(1);
  });

  it("count tokens by usage, or content events where none came", async () => {
    const metrics = make();
    metrics.ended(facts({ tokens: { input: 10, output: 20, reasoning: 4 } }));
    metrics.ended(facts({ tokens: { input: 1, output: 2, cached: 1 }, contentEvents: 99 }));
    metrics.ended(facts({ contentEvents: 7 }));
    metrics.ended(facts({ contentEvents: 6, outcome: "cancelled" }));
    metrics.ended(facts({ contentEvents: 1, streamed: false, transport: "json" }));
    const series = await scrape(metrics);
    const total = (type: string, source: string) =>
      at(series, "tokens_total", { model: "alpha", key: "team", type, source });
    expect(total("input", "usage")).toBe(11);
    expect(total("output", "usage")).toBe(22);
    expect(total("cached", "usage")).toBe(1);
    expect(total("reasoning", "usage")).toBe(4);
    expect(total("output", "events")).toBe(13);
  });

  it("tell why a stream had no first token", async () => {
    const metrics = make();
    const silent = (outcome: Outcome, code?: string, streamed = true) =>
      metrics.ended(facts({ outcome, streamed, contentEvents: 0, ...(code === undefined ? {} : { code }) }));
    silent("cancelled");
    silent("disconnected");
    silent("completed");
    silent("incomplete");
    silent("failed", "upstream_timeout");
    silent("failed", "model_not_found");
    silent("failed", "made_up");
    silent("failed");
    silent("queue_timeout", "queue_timeout");
    silent("failed", "upstream_timeout", false);
    metrics.ended(facts({ outcome: "failed", code: "upstream_stalled", contentEvents: 1 }));
    metrics.refused(request, "queue_full");
    const series = await scrape(metrics);
    const total = (reason: string) => at(series, "no_first_token_total", { reason });
    expect([total("cancelled"), total("disconnected"), total("empty")]).toEqual([1, 1, 2]);
    expect([total("upstream_timeout"), total("model_not_found"), total("other")]).toEqual([1, 1, 2]);
    expect([total("queue_timeout"), total("upstream_stalled"), total("queue_full")]).toEqual([
      1,
      0,
      undefined,
    ]);
  });

  it("count upstream requests and retries by status or code", async () => {
    const metrics = make();
    for (const code of ["200", "200", "503", "upstream_unreachable", "teapot", "99", "2000"]) {
      metrics.upstreamAnswered("main", code);
    }
    metrics.upstreamRetried("main", "503");
    metrics.upstreamAnswered("unheard of", "200");
    const series = await scrape(metrics);
    const total = (code: string, upstream = "main") =>
      at(series, "upstream_requests_total", { upstream, code });
    expect([total("200"), total("503"), total("upstream_unreachable"), total("other")]).toEqual([2, 1, 1, 3]);
    expect(total("200", "other")).toBe(1);
    expect(at(series, "upstream_retries_total", { upstream: "main", reason: "503" })).toBe(1);
  });

  it("count readers, resumes and what becomes of them", async () => {
    const metrics = make();
    for (const transport of ["sse", "sse", "websocket"] satisfies Transport[])
      metrics.readerJoined(transport);
    metrics.readerLeft("sse");
    metrics.readerLeft("websocket", "queued");
    metrics.resumed("sse", "ahead");
    metrics.slowReader("websocket");
    metrics.unread(3);
    metrics.unread(4);
    metrics.connectionOpened();
    metrics.connectionOpened();
    metrics.connectionClosed();
    const series = await scrape(metrics);
    expect(at(series, "readers_total", { transport: "sse" })).toBe(2);
    expect(at(series, "readers", { transport: "sse" })).toBe(1);
    expect(at(series, "readers", { transport: "websocket" })).toBe(0);
    expect(at(series, "reader_disconnects_total", { transport: "websocket", phase: "queued" })).toBe(1);
    expect(at(series, "reader_disconnects_total", { transport: "sse", phase: "streaming" })).toBe(0);
    expect(at(series, "resumes_total", { transport: "sse", outcome: "ahead" })).toBe(1);
    expect(at(series, "slow_readers_total", { transport: "websocket" })).toBe(1);
    expect(at(series, "events_after_last_reader_total")).toBe(7);
    expect(at(series, "websocket_connections")).toBe(1);
  });
});

describe("histograms", () => {
  it("take milliseconds and tell seconds", async () => {
    const metrics = make();
    metrics.admitted(request, 250);
    metrics.firstContent(request, 300);
    metrics.delivered(request, "websocket", 560, 0.4);
    metrics.ended(facts({ outcome: "failed", code: "upstream_stalled" }));
    const series = await scrape(metrics);
    const both = (name: string, labels: Record<string, string>) => [
      at(series, `${name}_sum`, labels),
      at(series, `${name}_count`, labels),
    ];
    expect(both("queue_wait_seconds", { model: "alpha" })).toEqual([0.25, 1]);
    expect(both("upstream_time_to_first_token_seconds", { model: "alpha" })).toEqual([0.3, 1]);
    expect(both("time_to_first_token_seconds", { model: "alpha", transport: "websocket" })).toEqual([
      0.56, 1,
    ]);
    expect(both("gateway_overhead_seconds", { transport: "websocket" })).toEqual([0.0004, 1]);
    const duration = { model: "alpha", transport: "sse", outcome: "failed" };
    expect(both("request_duration_seconds", duration)).toEqual([1.5, 1]);
  });

  it("put each gap between tokens into its bucket, cumulated", async () => {
    const metrics = make();
    for (const gap of [0, 2, 2.0001, 20, 45, 130_000]) metrics.content(request, gap);
    metrics.content({ ...request, model: "unheard of" }, 1);
    metrics.content({ ...request, model: undefined }, 1);
    const series = await scrape(metrics);
    const le = (edge: number | string) =>
      at(series, "inter_token_latency_seconds_bucket", { model: "alpha", le: edge });
    expect([le(0.002), le(0.003), le(0.015), le(0.02), le(0.04), le(0.05)]).toEqual([2, 3, 3, 4, 4, 5]);
    expect([le(120), le("+Inf")]).toEqual([5, 6]);
    expect(at(series, "inter_token_latency_seconds_count", { model: "alpha" })).toBe(6);
    expect(at(series, "inter_token_latency_seconds_sum", { model: "alpha" })).toBeCloseTo(130.0690001, 9);
    expect(at(series, "inter_token_latency_seconds_count", { model: "other" })).toBe(2);
  });

  it("tell the time per output token only of streams whose output is known and longer than one", async () => {
    const metrics = make();
    metrics.ended(facts({ tokens: { output: 11 }, streaming_ms: 500 }));
    metrics.ended(facts({ tokens: { output: 1 } }));
    metrics.ended(facts({ tokens: { input: 3 } }));
    metrics.ended(facts());
    metrics.ended(facts({ streamed: false, tokens: { output: 50 } }));
    const series = await scrape(metrics);
    expect(at(series, "time_per_output_token_seconds_count", { model: "alpha" })).toBe(1);
    expect(at(series, "time_per_output_token_seconds_sum", { model: "alpha" })).toBe(0.05);
  });
});
