import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ErrorCode, Fault } from "../../src/core/errors.ts";
import { Health } from "../../src/upstream/health.ts";
import { turn } from "../support/core.ts";

const FAILURES = 5;
const OPEN_MS = 500;

// Only the clocks that it reads; an attempt's outcome is awaited in real turns of the event loop.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Follows one attempt to its end. */
async function attempt(health: Health, fault?: Fault, signal = new AbortController().signal): Promise<void> {
  health.follow(Promise.resolve(fault), signal);
  await turn();
}

async function failures(
  health: Health,
  count: number,
  fault = new Fault("upstream_unreachable"),
): Promise<void> {
  for (let n = 0; n < count; n++) await attempt(health, fault);
}

/** It is not well before so long, and is then. */
function wellAfter(health: Health, ms: number): void {
  vi.advanceTimersByTime(ms - 1);
  expect(health.isWell).toBe(false);
  vi.advanceTimersByTime(1);
  expect(health.isWell).toBe(true);
}

describe("health", () => {
  it("is well until so many attempts in a row have failed", async () => {
    const health = new Health();
    expect(health.isWell).toBe(true);
    await failures(health, FAILURES - 1);
    expect(health.isWell).toBe(true);
    await attempt(health);
    await failures(health, FAILURES - 1);
    expect(health.isWell).toBe(true);
    await failures(health, 1);
    expect(health.isWell).toBe(false);
  });

  it.each<ErrorCode>([
    "upstream_unreachable",
    "upstream_disconnected",
    "upstream_timeout",
    "upstream_stalled",
    "upstream_error",
  ])("counts %s", async (code) => {
    const health = new Health();
    await failures(health, FAILURES, new Fault(code));
    expect(health.isWell).toBe(false);
  });

  it("does not count what the upstream refuses as the client's fault, or what was too much for the gateway", async () => {
    const health = new Health();
    await failures(health, FAILURES, new Fault("upstream_error", { said: { status: 400 } }));
    await failures(health, FAILURES, new Fault("log_limit"));
    expect(health.isWell).toBe(true);
  });

  it("does not count attempts that were given up", async () => {
    const health = new Health();
    await failures(health, FAILURES - 1);
    await attempt(health, new Fault("cancelled"), AbortSignal.abort());
    expect(health.isWell).toBe(true);
    await failures(health, 1);
    expect(health.isWell).toBe(false);
  });

  it("lets one attempt try after a while, and is well again where that serves", async () => {
    const health = new Health(OPEN_MS);
    await failures(health, FAILURES);
    expect(health.isWell).toBe(false);
    wellAfter(health, OPEN_MS);
    const settled = Promise.withResolvers<Fault | undefined>();
    health.follow(settled.promise, new AbortController().signal);
    await turn();
    expect(health.isWell).toBe(false);
    settled.resolve(undefined);
    await turn();
    expect(health.isWell).toBe(true);
    await failures(health, FAILURES - 1);
    expect(health.isWell).toBe(true);
  });

  it("waits anew where that fails, or was given up", async () => {
    const health = new Health(OPEN_MS);
    await failures(health, FAILURES);
    wellAfter(health, OPEN_MS);
    await failures(health, 1);
    expect(health.isWell).toBe(false);
    wellAfter(health, OPEN_MS);
    await attempt(health, new Fault("cancelled"), AbortSignal.abort());
    expect(health.isWell).toBe(false);
    wellAfter(health, OPEN_MS);
    await attempt(health);
    expect(health.isWell).toBe(true);
  });

  it("is not helped by the attempts that come while it is open", async () => {
    const health = new Health();
    await failures(health, FAILURES);
    await attempt(health);
    await attempt(health, new Fault("upstream_unreachable"));
    expect(health.isWell).toBe(false);
  });

  it("is told as it changes, and not of trials that fail", async () => {
    const told: string[] = [];
    const health = new Health(OPEN_MS, (state) => told.push(state));
    await failures(health, FAILURES);
    expect(told).toEqual(["failing"]);
    wellAfter(health, OPEN_MS);
    await failures(health, 1);
    expect(told).toEqual(["failing"]);
    wellAfter(health, OPEN_MS);
    await attempt(health);
    expect(told).toEqual(["failing", "well"]);
    await failures(health, FAILURES);
    expect(told).toEqual(["failing", "well", "failing"]);
  });

  it("keeps the pause that the upstream asked for", async () => {
    const health = new Health();
    health.pause(7);
    expect(health.isWell).toBe(false);
    await attempt(health);
    wellAfter(health, 7000);
  });

  it("keeps a pause for no longer than half a minute", () => {
    const health = new Health();
    health.pause(3600);
    wellAfter(health, 30_000);
  });

  it("is left alone for ten seconds where nothing else is said", async () => {
    const health = new Health();
    await failures(health, FAILURES);
    wellAfter(health, 10_000);
  });

  it.each([0, -1, Number.NaN])("takes %s for no pause", (seconds) => {
    const health = new Health();
    health.pause(seconds);
    expect(health.isWell).toBe(true);
  });
});
