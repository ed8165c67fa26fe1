import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Log } from "../../src/core/log.ts";
import { giveSlab, SLAB_BYTES, takeSlab } from "../../src/core/slabs.ts";
import { appendTo, COMPLETED, ending, faultCode, newGeneration, payloadsOf, turn } from "../support/core.ts";

const MANY = 1_000_000;

describe("slabs", () => {
  it("are of the least size that is large enough", () => {
    const sizes = [1, 1024, 1025, 2048, 4096, 4097, SLAB_BYTES - 1, SLAB_BYTES];
    const slabs = sizes.map(takeSlab);
    expect(slabs.map(({ length }) => length)).toEqual([1024, 1024, 2048, 2048, 4096, 8192, 65_536, 65_536]);
    slabs.forEach(giveSlab);
  });

  it("beyond the largest are ordinary memory, which is not kept", () => {
    const large = takeSlab(SLAB_BYTES + 1);
    expect([large.length, large.buffer instanceof ArrayBuffer]).toEqual([SLAB_BYTES + 1, true]);
    giveSlab(large);
    expect(takeSlab(SLAB_BYTES + 1)).not.toBe(large);
  });

  it("are used again once they are given back", () => {
    const slab = takeSlab(4096);
    giveSlab(slab);
    expect(takeSlab(3000)).toBe(slab);
    giveSlab(slab);
  });

  it("never overlap while they are taken, however they are taken and given back", () => {
    const step = fc.record({ bytes: fc.integer({ min: 1, max: SLAB_BYTES }), gives: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const taken: Buffer[] = [];
        for (const { bytes, gives } of steps) {
          if (gives && taken.length > 0) giveSlab(taken.shift() as Buffer);
          const slab = takeSlab(bytes);
          slab.fill(taken.length % 251);
          taken.push(slab);
        }
        const spans = taken.map((slab) => ({
          slab,
          from: slab.byteOffset,
          to: slab.byteOffset + slab.length,
        }));
        for (const a of spans) {
          for (const b of spans) {
            if (a === b || a.slab.buffer !== b.slab.buffer) continue;
            expect(a.to <= b.from || b.to <= a.from).toBe(true);
          }
        }
        taken.forEach(giveSlab);
      }),
      { numRuns: 50 },
    );
  });
});

describe("a log's memory", () => {
  const ended = (...texts: string[]): Log => {
    const log = new Log(MANY);
    for (const text of texts) appendTo(log, text);
    log.publish();
    log.end(ending());
    return log;
  };

  it("goes back when it is released, and serves the next log", () => {
    const first = ended("x".repeat(5000));
    const slab = first.slab(1);
    first.release();
    first.release();
    expect(first.isReleased).toBe(true);
    const second = ended("y".repeat(5000));
    expect(second.slab(1)).toBe(slab);
    second.release();
  });

  it("is not released before the ending", () => {
    const log = new Log(MANY);
    expect(() => log.release()).toThrow("release before the ending");
  });

  it("goes back when an attempt's entries are taken back", () => {
    const log = new Log(MANY);
    appendTo(log, "x".repeat(5000));
    const slab = log.slab(1);
    log.discard();
    appendTo(log, "y".repeat(5000));
    expect(log.slab(1)).toBe(slab);
  });

  it("keeps an index that has outgrown its slab", () => {
    const texts = Array.from({ length: 5000 }, (_, n) => `${n}`);
    const log = ended(...texts);
    expect(payloadsOf(log)).toEqual(texts);
    log.release();
  });
});

describe("a forgotten generation", () => {
  it("keeps its log for as long as it has a reader", async () => {
    const { generation } = newGeneration();
    const reader = generation.join("sse", false);
    appendTo(generation.log, "said");
    generation.log.publish();
    generation.finish(COMPLETED);
    generation.forget();
    await turn();
    expect(payloadsOf(generation.log)).toEqual(["said"]);
    reader.leave(false);
    await turn();
    expect(generation.log.isReleased).toBe(true);
  });

  it("can be joined in the turn in which it was found, and not later", async () => {
    const { generation } = newGeneration();
    generation.finish(COMPLETED);
    generation.forget();
    const reader = generation.join("sse", false);
    await turn();
    expect(generation.log.isReleased).toBe(false);
    reader.leave(false);
    await turn();
    expect(faultCode(() => generation.join("sse", false))).toBe("generation_not_found");
  });
});
