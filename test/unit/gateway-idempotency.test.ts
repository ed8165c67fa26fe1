import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { failed, faultCode, newHouse, startRequest, turn } from "../support/core.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const keyed = (more: Parameters<typeof startRequest>[0] = {}) =>
  startRequest({ idempotencyKey: "k", ...more });

describe("the same key with the same request", () => {
  it("attaches: queued, running and ended, without another upstream request", async () => {
    const { gateway, upstream, seen, start } = newHouse({ limits: { maxConcurrency: 1 } });
    const running = await start();
    const generation = await start({ idempotencyKey: "k" });
    const attach = () => gateway.start(keyed());
    expect(attach()).toEqual({ generation, isAttached: true });
    running.cancel("cancelled");
    upstream.at().close();
    await turn();
    expect(attach()).toEqual({ generation, isAttached: true });
    upstream.at().content("a").end().close();
    await turn();
    expect(attach()).toEqual({ generation, isAttached: true });
    expect(upstream.attempts).toHaveLength(2);
    expect(seen.of("refused").map(([, outcome]) => outcome)).toEqual(["attached", "attached", "attached"]);
  });

  it("is another's own where the owner is another", async () => {
    const { gateway, start } = newHouse();
    const generation = await start({ idempotencyKey: "k", owner: "team" });
    const other = gateway.start(keyed({ owner: "ci" }));
    expect(other.isAttached).toBe(false);
    expect(other.generation).not.toBe(generation);
  });

  it("is nothing to a request without a key", async () => {
    const { gateway, start } = newHouse();
    await start({ idempotencyKey: "k" });
    expect(gateway.start(startRequest()).isAttached).toBe(false);
  });

  it("starts anew once the retention has passed", async () => {
    const { gateway, upstream, start } = newHouse({ retentionMs: 1000 });
    await start({ idempotencyKey: "k" });
    upstream.at().content("a").end().close();
    await turn();
    await vi.advanceTimersByTimeAsync(1001);
    expect(gateway.start(keyed()).isAttached).toBe(false);
  });

  it("starts anew once its bytes were needed for others", async () => {
    const { gateway, upstream, start } = newHouse({ retainedMaxBytes: 3000 });
    await start({ idempotencyKey: "k" });
    upstream.at().content("a").end().close();
    await turn();
    expect(gateway.start(keyed()).isAttached).toBe(true);
    await start();
    upstream.at().content("a").end().close();
    await turn();
    expect(gateway.start(keyed()).isAttached).toBe(false);
  });
});

describe("the same key with another request", () => {
  it("is a conflict, running and ended", async () => {
    const { gateway, upstream, start } = newHouse();
    await start({ idempotencyKey: "k" });
    const other = () => gateway.start(keyed({ fingerprint: () => "another" }));
    expect(faultCode(other)).toBe("idempotency_conflict");
    upstream.at().content("a").end().close();
    await turn();
    expect(faultCode(other)).toBe("idempotency_conflict");
    expect(upstream.attempts).toHaveLength(1);
  });
});

describe("a generation without content that", () => {
  const startAndEnd = async (how: "failed" | "cancelled" | "completed", content: boolean) => {
    const house = newHouse();
    const generation = await house.start({ idempotencyKey: "k" });
    if (content) house.upstream.at().content("a");
    else house.upstream.at().other("role");
    if (how === "cancelled") generation.cancel("cancelled");
    else house.upstream.at().end(how === "failed" ? failed("upstream_error") : undefined);
    house.upstream.at().close();
    await turn();
    expect(generation.status).toBe(how);
    return house;
  };

  it.each(["failed", "cancelled"] as const)(
    "%s is spent: the next starts anew, even another",
    async (how) => {
      const { gateway } = await startAndEnd(how, false);
      const { isAttached, generation } = gateway.start(keyed({ fingerprint: () => "another" }));
      expect(isAttached).toBe(false);
      expect(gateway.start(keyed({ fingerprint: () => "another" }))).toEqual({
        generation,
        isAttached: true,
      });
    },
  );

  it.each([
    ["failed", true],
    ["cancelled", true],
    ["completed", false],
  ] as const)("%s after content (%s) is not spent", async (how, content) => {
    const { gateway } = await startAndEnd(how, content);
    expect(gateway.start(keyed()).isAttached).toBe(true);
  });

  it("is forgotten does not take the key from the one that followed it", async () => {
    const { gateway, upstream, start } = newHouse({ retentionMs: 1000 });
    const spent = await start({ idempotencyKey: "k" });
    spent.cancel("cancelled");
    upstream.at().close();
    await turn();
    await vi.advanceTimersByTimeAsync(500);
    const next = await start({ idempotencyKey: "k" });
    await vi.advanceTimersByTimeAsync(600);
    expect(gateway.levels.retained).toBe(0);
    expect(gateway.start(keyed())).toEqual({ generation: next, isAttached: true });
  });
});

it("a refused request leaves its key free", async () => {
  const { gateway, upstream, start } = newHouse({ limits: { maxConcurrency: 1, maxQueue: 0 } });
  await start();
  expect(faultCode(() => gateway.start(keyed()))).toBe("queue_full");
  upstream.at().content("a").end().close();
  await turn();
  expect(gateway.start(keyed()).isAttached).toBe(false);
});
