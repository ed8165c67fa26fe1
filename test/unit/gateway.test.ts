import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Fault } from "../../src/core/errors.ts";
import type { Generation } from "../../src/core/generation.ts";
import type { Upstream } from "../../src/core/ports.ts";
import { failed, faultCode, newHouse, payloadsOf, startRequest, turn } from "../support/core.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = async (ms: number): Promise<void> => void (await vi.advanceTimersByTimeAsync(ms));

describe("a generation on its way", () => {
  it("is asked of the upstream, published, ended, and kept", async () => {
    const { gateway, upstream, store, seen, start } = newHouse();
    const generation = await start({ body: Buffer.from('{"n":1.0}'), choices: 3, withholdUsage: true });
    expect(generation.status).toBe("running");
    const { call, signal } = upstream.at();
    expect(call).toMatchObject({ endpoint: "/v1/chat/completions", model: "m", stream: true, choices: 3 });
    expect([Buffer.from(call.body).toString(), call.withholdUsage]).toEqual(['{"n":1.0}', true]);
    expect(call.firstContentBy).toBe(performance.now() + 60_000);
    upstream.at().content("a").content("b", "c");
    expect([payloadsOf(generation.log), generation.contentEvents]).toEqual([["a", "b", "c"], 3]);
    upstream.at().end();
    await turn();
    expect([generation.status, signal.aborted, gateway.levels.active]).toEqual(["completed", false, 0]);
    expect(await store.find(generation.id)).toBe(generation);
    expect([seen.of("admitted").length, seen.of("firstContent").length, seen.of("content").length]).toEqual([
      1, 1, 2,
    ]);
    expect(generation).toMatchObject({ upstream: "scripted", attempts: 1 });
    expect(generation.answerHeaders).toEqual({ "x-ratelimit-limit": "7" });
  });

  it("waits for its slot, tells its place, and moves up", async () => {
    const { gateway, upstream, start } = newHouse({ limits: { maxConcurrency: 1 } });
    const [first, second, third] = [await start(), await start(), await start()];
    expect([first.status, second.status, second.position, third.position]).toEqual([
      "running",
      "queued",
      1,
      2,
    ]);
    expect(gateway.levels).toMatchObject({ active: 3, inFlight: 1, queueDepth: 2 });
    upstream.at(0).content("a").end().close();
    await turn();
    expect([second.status, third.position, upstream.attempts.length]).toEqual(["running", 1, 2]);
  });

  it("that waits for too long fails with queue_timeout", async () => {
    const { gateway, seen, start } = newHouse({ limits: { maxConcurrency: 1, queueTimeoutMs: 500 } });
    const [, waiting] = [await start(), await start()];
    await pass(500);
    expect([waiting.status, waiting.log.ending?.fault?.code]).toEqual(["failed", "queue_timeout"]);
    expect([seen.outcomes, gateway.levels.queueDepth]).toEqual([["queue_timeout"], 0]);
  });

  it("has the time of a whole answer where it does not stream, and no time to first token", async () => {
    const { upstream, seen, start } = newHouse({ limits: { totalTimeoutMs: 777 } });
    const generation = await start({ stream: false });
    expect(upstream.at().call.firstContentBy).toBe(performance.now() + 777);
    upstream.at().content('{"whole":1}').end();
    expect(Object.keys(generation.timing)).toEqual(["queue_ms", "duration_ms"]);
    expect([payloadsOf(generation.log), seen.of("firstContent")]).toEqual([['{"whole":1}'], []]);
  });
});

describe("what came before the first content", () => {
  it("is held back, and published with it", async () => {
    const { upstream, start } = newHouse();
    const generation = await start();
    upstream.at().other("role").other("comment");
    expect([generation.log.head, generation.log.stagedSeq]).toEqual([0, 2]);
    upstream.at().content("a");
    expect(payloadsOf(generation.log)).toEqual(["role", "comment", "a"]);
  });

  it("is published with a good ending", async () => {
    const { upstream, start } = newHouse();
    const generation = await start();
    upstream.at().other("role", "finish").end();
    expect([generation.status, payloadsOf(generation.log)]).toEqual(["completed", ["role", "finish"]]);
    expect(Object.keys(generation.timing)).not.toContain("ttft_ms");
  });

  it("leaves no event where the attempt fails", async () => {
    const { upstream, start } = newHouse();
    const generation = await start();
    upstream.at().other("role").end(failed("upstream_disconnected")).close();
    await turn();
    expect([generation.status, generation.log.lastSeq, generation.log.bytes]).toEqual(["failed", 1, 0]);
    expect(generation.log.ending?.fault?.code).toBe("upstream_disconnected");
  });

  it("is not taken back once content was seen", async () => {
    const { upstream, start } = newHouse();
    const generation = await start();
    upstream.at().other("role").content("a").end(failed("upstream_stalled"));
    expect([generation.status, payloadsOf(generation.log)]).toEqual(["failed", ["role", "a"]]);
  });
});

describe("the log's limit", () => {
  it("keeps what came before it, and lets the failure be told", async () => {
    const { upstream, start } = newHouse({ limits: { logMaxBytes: 10 } });
    const generation = await start();
    upstream.at().content("12345", "67890");
    expect(faultCode(() => upstream.at().content("x"))).toBe("log_limit");
    upstream.at().end(failed("log_limit"));
    expect([generation.status, payloadsOf(generation.log)]).toEqual(["failed", ["12345", "67890"]]);
  });

  it("of all running logs together refuses new work with overloaded, until one has ended", async () => {
    const { gateway, upstream, seen, start } = newHouse({ limits: { runningMaxBytes: 100 } });
    await start();
    upstream.at().content("x".repeat(100));
    expect(faultCode(() => gateway.start(startRequest()))).toBe("overloaded");
    expect(seen.outcomes).toEqual(["overloaded"]);
    upstream.at().end().close();
    await turn();
    expect(faultCode(() => gateway.start(startRequest()))).toBeUndefined();
  });
});

describe("the slot", () => {
  const stages: [string, (generation: Generation, house: ReturnType<typeof newHouse>) => void][] = [
    ["a good ending", (_, { upstream }) => void upstream.at().content("a").end()],
    ["a failure before content", (_, { upstream }) => void upstream.at().end(failed("upstream_error"))],
    [
      "a failure after content",
      (_, { upstream }) => void upstream.at().content("a").end(failed("log_limit")),
    ],
    ["a cancel before content", (generation) => generation.cancel("cancelled")],
    [
      "a cancel in mid-stream",
      (generation, { upstream }) => {
        upstream.at().content("a");
        generation.cancel("cancelled");
      },
    ],
  ];

  it.each(stages)("is held after %s until the upstream's stream is over, and free then", async (_, act) => {
    const house = newHouse({ limits: { maxConcurrency: 1 } });
    const generation = await house.start();
    const waiting = await house.start();
    act(generation, house);
    await turn();
    expect([house.gateway.levels.inFlight, waiting.status]).toEqual([1, "queued"]);
    house.upstream.at(0).close();
    await turn();
    expect([generation.isEnded, waiting.status]).toEqual([true, "running"]);
    waiting.cancel("cancelled");
    house.upstream.at(1).close();
    await turn();
    expect(house.gateway.levels).toMatchObject({ inFlight: 0, queueDepth: 0, active: 0, retained: 2 });
  });

  const broken = (attempt: Upstream["attempt"]): Upstream => ({ name: "broken", isWell: true, attempt });

  it.each([
    ["rejects", broken(() => Promise.reject(new Error("oops")))],
    [
      "throws",
      broken(() => {
        throw new Error("oops");
      }),
    ],
    ["comes back without an ending", broken(() => Promise.resolve())],
    [
      "comes back without an ending after events that were held back",
      broken(async (_call, intake) => intake.append(Buffer.from("role"), 0, 4, 0)),
    ],
  ])("is freed, and the generation an internal_error, where the upstream %s", async (_name, upstream) => {
    const { gateway, seen, start } = newHouse({ upstreams: () => [upstream] });
    const generation = await start();
    expect([generation.status, generation.log.ending?.fault?.code]).toEqual(["failed", "internal_error"]);
    expect(generation.log.lastSeq).toBe(1);
    expect(gateway.levels).toMatchObject({ inFlight: 0, active: 0 });
    expect(seen.outcomes).toEqual(["failed"]);
  });

  it("of a generation that is stopped as it starts is given on when its upstream has let go", async () => {
    const { gateway, upstream } = newHouse();
    gateway.start(startRequest()).generation.cancel("cancelled");
    await turn();
    expect([upstream.at().signal.aborted, gateway.levels.inFlight]).toEqual([true, 1]);
    upstream.at().close();
    await turn();
    expect(gateway.levels.inFlight).toBe(0);
  });

  it("of a generation that is stopped about when it is granted is given on, asked or not", async () => {
    const asked = new Set<number>();
    for (let turns = 0; turns < 12; turns++) {
      const { gateway, upstream, start } = newHouse({ limits: { maxConcurrency: 1 } });
      await start();
      const waiting = await start();
      upstream.at(0).end().close();
      for (let turn = 0; turn < turns; turn++) await undefined;
      waiting.cancel("cancelled");
      await turn();
      for (const attempt of upstream.attempts.slice(1)) {
        expect(attempt.signal.aborted).toBe(true);
        attempt.close();
      }
      await turn();
      expect(gateway.levels).toMatchObject({ inFlight: 0, queueDepth: 0, active: 0 });
      asked.add(upstream.attempts.length);
    }
    expect(asked).toEqual(new Set([1, 2]));
  });
});

describe("finding", () => {
  it("is for the owner, running or kept, and for nobody else", async () => {
    const { gateway, upstream, start } = newHouse({ retentionMs: 1000 });
    const generation = await start({ owner: "team" });
    const findings = async () =>
      Promise.all(
        ["team", "other", "none"].map((owner) =>
          gateway.find(generation.id, owner).then(
            (found) => found === generation,
            (thrown: unknown) => (thrown as Fault).code,
          ),
        ),
      );
    expect(await findings()).toEqual([true, "generation_not_found", "generation_not_found"]);
    upstream.at().end().close();
    await turn();
    expect(await findings()).toEqual([true, "generation_not_found", "generation_not_found"]);
    await pass(1001);
    expect(await findings()).toEqual(Array(3).fill("generation_not_found"));
  });

  it("has no gap between running and kept", async () => {
    const { gateway, start } = newHouse();
    const generation = await start();
    const findings: Promise<Generation>[] = [];
    generation.log.wait(() => findings.push(gateway.find(generation.id, "none")));
    void generation.ended.then(() => findings.push(gateway.find(generation.id, "none")));
    generation.cancel("cancelled");
    for (let microtask = 0; microtask < 10; microtask++) {
      findings.push(gateway.find(generation.id, "none"));
      await Promise.resolve();
    }
    expect(new Set(await Promise.all(findings))).toEqual(new Set([generation]));
  });
});
