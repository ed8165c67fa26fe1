import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Generation } from "../../src/core/generation.ts";
import { MemoryStore, type MemoryStoreLimits } from "../../src/store/memory.ts";
import { appendTo, COMPLETED, newGeneration } from "../support/core.ts";

const AMPLE: MemoryStoreLimits = { retentionMs: 1000, retainedMaxBytes: 10_000_000 };

/** An ended generation whose log holds so many bytes. */
function ended(bytes = 10): Generation {
  const { generation } = newGeneration();
  appendTo(generation.log, "x".repeat(bytes));
  generation.log.publish();
  generation.finish(COMPLETED);
  return generation;
}

function newStore(limits: Partial<MemoryStoreLimits> = {}) {
  const store = new MemoryStore({ ...AMPLE, ...limits });
  const forgotten: Generation[] = [];
  store.onForgotten((generation) => forgotten.push(generation));
  return { store, forgotten };
}

describe("the memory store", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("finds what it keeps, the same object, and nothing else", async () => {
    const { store } = newStore();
    const generation = ended();
    store.keep(generation);
    expect(await store.find(generation.id)).toBe(generation);
    expect(await store.find("gen_other")).toBeUndefined();
    expect(store.size).toBe(1);
  });

  it("counts bytes: the payloads, and something for each generation and event", () => {
    const { store } = newStore();
    store.keep(ended(5000));
    const one = store.bytes;
    expect(one).toBeGreaterThan(5000);
    store.keep(ended(5000));
    expect(store.bytes).toBe(2 * one);
  });

  it("forgets each after its retention, not before, and says so once", async () => {
    const { store, forgotten } = newStore();
    const [first, second] = [ended(), ended()];
    store.keep(first);
    vi.advanceTimersByTime(400);
    store.keep(second);
    vi.advanceTimersByTime(599);
    expect([await store.find(first.id), forgotten]).toEqual([first, []]);
    vi.advanceTimersByTime(2);
    expect([await store.find(first.id), await store.find(second.id)]).toEqual([undefined, second]);
    expect([store.size, forgotten]).toEqual([1, [first]]);
    vi.advanceTimersByTime(10_000);
    expect([store.size, store.bytes, forgotten]).toEqual([0, 0, [first, second]]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("does not show what has expired, though the sweep is late", async () => {
    const { store } = newStore();
    const generation = ended();
    store.keep(generation);
    // The clock goes on, the timer does not get its turn: a busy event loop.
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 1000);
    expect(await store.find(generation.id)).toBeUndefined();
    vi.restoreAllMocks();
  });

  it("drops the oldest first where the bytes do not fit", async () => {
    const { store, forgotten } = newStore({ retainedMaxBytes: 20_000 });
    const generations = [ended(5000), ended(5000), ended(5000)];
    for (const generation of generations) store.keep(generation);
    expect(forgotten).toEqual(generations.slice(0, 1));
    const large = ended(9000);
    store.keep(large);
    expect(forgotten).toEqual(generations.slice(0, 2));
    expect(await store.find(large.id)).toBe(large);
    expect(store.bytes).toBeLessThanOrEqual(20_000);
  });

  it("does not keep what is larger than its bound by itself, and is empty then", async () => {
    const { store, forgotten } = newStore({ retainedMaxBytes: 8000 });
    const [small, large] = [ended(10), ended(9000)];
    store.keep(small);
    store.keep(large);
    expect([forgotten, store.size, store.bytes]).toEqual([[small, large], 0, 0]);
    expect(await store.find(large.id)).toBeUndefined();
  });

  it("keeps nothing with a bound of 0, and goes on", () => {
    const { store, forgotten } = newStore({ retainedMaxBytes: 0 });
    store.keep(ended());
    store.keep(ended());
    expect([store.size, store.bytes, forgotten.length]).toEqual([0, 0, 2]);
  });

  it("sets no timer for each of many", () => {
    const { store } = newStore();
    for (let n = 0; n < 1000; n++) store.keep(ended());
    expect(vi.getTimerCount()).toBe(1);
    store.close();
    expect([vi.getTimerCount(), store.size, store.bytes]).toEqual([0, 0, 0]);
  });

  it("sweeps on, where the oldest was dropped before its time", () => {
    const { store, forgotten } = newStore({ retainedMaxBytes: 8000 });
    store.keep(ended(5000));
    vi.advanceTimersByTime(500);
    store.keep(ended(5000));
    vi.advanceTimersByTime(1000);
    expect([store.size, forgotten.length, vi.getTimerCount()]).toEqual([0, 2, 0]);
  });
});

// Only a process of its own shows that its timer does not hold it.
it("does not keep the process alive", () => {
  const script = `
    import { MemoryStore } from "./src/store/memory.ts";
    import { newGeneration, COMPLETED } from "./test/support/core.ts";
    const { generation } = newGeneration();
    generation.finish(COMPLETED);
    new MemoryStore({ retentionMs: 600_000, retainedMaxBytes: 1e6 }).keep(generation);
    console.log("kept");
  `;
  const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "--eval", script], {
    encoding: "utf8",
    timeout: 20_000,
  });
  expect([status, stdout]).toEqual([0, "kept\n"]);
});
