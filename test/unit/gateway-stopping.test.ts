import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import { failed, faultCode, newHouse, payloadsOf, startRequest, turn } from "../support/core.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = async (ms: number): Promise<void> => void (await vi.advanceTimersByTimeAsync(ms));

describe("a client that cancels", () => {
  it("in the queue: the place is free at once, and the upstream never asked", async () => {
    const { gateway, upstream, seen, start } = newHouse({ limits: { maxConcurrency: 1, maxQueue: 1 } });
    const [, waiting] = [await start(), await start()];
    expect(faultCode(() => gateway.start(startRequest()))).toBe("queue_full");
    waiting.cancel("cancelled");
    expect([waiting.status, gateway.levels.queueDepth]).toEqual(["cancelled", 0]);
    expect(faultCode(() => gateway.start(startRequest()))).toBeUndefined();
    await turn();
    expect([upstream.attempts.length, seen.outcomes]).toEqual([1, ["queue_full", "cancelled"]]);
  });

  it("before the first content: nothing is seen, and the upstream given up", async () => {
    const { upstream, start } = newHouse();
    const generation = await start();
    upstream.at().other("role");
    generation.cancel("cancelled");
    expect([generation.status, generation.log.lastSeq]).toEqual(["cancelled", 1]);
    expect(upstream.at().signal.aborted).toBe(true);
  });

  it("in mid-stream: what was read stays, what comes later is ignored", async () => {
    const { upstream, seen, start } = newHouse();
    const generation = await start();
    upstream.at().content("a");
    generation.cancel("cancelled");
    upstream.at().content("late").other("later").end().close();
    await turn();
    expect([generation.status, payloadsOf(generation.log), seen.outcomes]).toEqual([
      "cancelled",
      ["a"],
      ["cancelled"],
    ]);
  });

  it("twice, or after the end: changes nothing", async () => {
    const { upstream, seen, start } = newHouse();
    const generation = await start();
    upstream.at().content("a").end();
    generation.cancel("cancelled");
    generation.cancel("disconnected");
    expect([generation.status, seen.outcomes]).toEqual(["completed", ["completed"]]);
  });
});

describe("the policy of a request", () => {
  it("is the client's, else the route's", async () => {
    const { start } = newHouse();
    expect((await start({ defaultPolicy: "cancel" })).spec.policy).toBe("cancel");
    expect((await start({ defaultPolicy: "cancel", policy: "continue" })).spec.policy).toBe("continue");
  });

  it("is grace with an idempotency key, unless the client says otherwise", async () => {
    const { start } = newHouse();
    const keyed = { defaultPolicy: "cancel", idempotencyKey: "k" } as const;
    expect((await start(keyed)).spec.policy).toBe("grace");
    expect((await start({ ...keyed, idempotencyKey: "l", policy: "cancel" })).spec.policy).toBe("cancel");
  });

  it("stops what is queued too, and counts what came unread until the upstream has noticed", async () => {
    const { upstream, seen, start } = newHouse({ limits: { maxConcurrency: 1, disconnectGraceMs: 500 } });
    const [running, waiting] = [await start(), await start({ policy: "cancel" })];
    waiting.join("sse", true).leave(true);
    expect(waiting.status).toBe("cancelled");
    running.join("sse", true).leave(true);
    upstream.at().content("a", "b").content("c");
    await pass(500);
    expect(running.status).toBe("cancelled");
    expect(seen.of("unread")).toEqual([[2], [1]]);
    expect(seen.outcomes).toEqual(["disconnected", "disconnected"]);
  });
});

describe("draining", () => {
  it("refuses new work and waits for what runs", async () => {
    const { gateway, upstream, store, seen, start } = newHouse();
    await start();
    let isDrained = false;
    void gateway.drain(1000).then(() => {
      isDrained = true;
    });
    expect([gateway.isDraining, gateway.levels.draining]).toEqual([true, true]);
    expect(faultCode(() => gateway.start(startRequest()))).toBe("draining");
    await pass(999);
    expect(isDrained).toBe(false);
    upstream.at().content("a").end();
    await turn();
    store.close();
    expect([isDrained, vi.getTimerCount()]).toEqual([true, 0]);
    expect(seen.outcomes.sort()).toEqual(["completed", "draining"]);
  });

  it("fails with draining what its time does not suffice for, queued or running", async () => {
    const { gateway, upstream, start } = newHouse({ limits: { maxConcurrency: 1 } });
    const generations = [await start(), await start()];
    upstream.at().content("a");
    const drained = gateway.drain(1000);
    await pass(1000);
    await drained;
    expect(generations.map(({ status, log }) => [status, log.ending?.fault?.code])).toEqual([
      ["failed", "draining"],
      ["failed", "draining"],
    ]);
    expect(upstream.at().signal.aborted).toBe(true);
  });

  it("is over at once where nothing runs, and for everyone who waits for it", async () => {
    const { gateway, upstream, store, start } = newHouse();
    await newHouse().gateway.drain(1000);
    await start();
    const drains = Promise.all([gateway.drain(1000), gateway.drain(2000)]);
    upstream.at().content("a").end();
    await drains;
    store.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("still attaches to what is there", async () => {
    const { gateway, start } = newHouse();
    const generation = await start({ idempotencyKey: "k" });
    gateway.close();
    expect(gateway.start(startRequest({ idempotencyKey: "k" }))).toEqual({ generation, isAttached: true });
  });
});

describe("each creating request", () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ start: fc.constantFrom("cancel", "grace", "continue") }) },
    { weight: 1, arbitrary: fc.record({ key: fc.constantFrom("k", "l"), body: fc.constantFrom("1", "2") }) },
    { weight: 2, arbitrary: fc.record({ content: fc.nat(9) }) },
    { weight: 2, arbitrary: fc.record({ end: fc.nat(9), badly: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ cancel: fc.nat(9) }) },
    { weight: 2, arbitrary: fc.record({ visit: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ pass: fc.integer({ min: 1, max: 400 }) }) },
  );

  it("has one outcome, each generation one ending, and every slot comes back, whatever happens", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const limits = { disconnectGraceMs: 300, queueTimeoutMs: 1000, maxConcurrency: 2, maxQueue: 2 };
        const { gateway, upstream, seen } = newHouse({ limits });
        const generations = new Set<ReturnType<typeof gateway.start>["generation"]>();
        let requests = 0;
        const start = (more: Parameters<typeof startRequest>[0]): void => {
          faultCode(() => generations.add(gateway.start(startRequest(more)).generation));
          requests++;
        };
        const pick = <T>(all: Iterable<T>, index: number): T | undefined => {
          const list = [...all];
          return list[index % Math.max(1, list.length)];
        };
        for (const now of steps) {
          if ("start" in now) start({ policy: now.start as "cancel" });
          else if ("key" in now) start({ idempotencyKey: now.key, fingerprint: () => now.body });
          else if ("content" in now) pick(upstream.attempts, now.content)?.content("abc");
          else if ("cancel" in now) pick(generations, now.cancel)?.cancel("cancelled");
          else if ("visit" in now) pick(generations, now.visit)?.join("sse", false).leave(true);
          else if ("pass" in now) await pass(now.pass);
          else {
            const attempt = pick(upstream.attempts, now.end);
            attempt?.end(now.badly ? failed("upstream_error") : undefined).close();
          }
          await turn();
          expect(gateway.levels.inFlight).toBeLessThanOrEqual(limits.maxConcurrency);
        }
        for (const generation of generations) generation.stop("failed", new Fault("draining"));
        for (const attempt of upstream.attempts) attempt.close();
        await turn();
        expect(seen.outcomes).toHaveLength(requests);
        expect(seen.of("ended")).toHaveLength(generations.size);
        expect(seen.of("readerJoined").length).toBe(seen.of("readerLeft").length);
        expect(gateway.levels).toMatchObject({ inFlight: 0, queueDepth: 0, active: 0 });
        expect(gateway.levels.retained).toBe(generations.size);
      }),
      { numRuns: 300 },
    );
  });
});
