import { getEventListeners } from "node:events";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Budget, Log } from "../../src/core/log.ts";
import { CONTENT, MULTILINE } from "../../src/core/ports.ts";
import { appendTo, ending, faultCode, payloadsOf, turn } from "../support/core.ts";

const MANY = 1_000_000;
const SLAB_BYTES = 65_536;

/** A log with these events published. */
function published(...texts: string[]): Log {
  const log = new Log(MANY);
  for (const text of texts) appendTo(log, text);
  log.publish();
  return log;
}

describe("entries", () => {
  it("are numbered from 1 and keep bytes and flags", () => {
    const log = new Log(MANY);
    appendTo(log, '{"a":1}', CONTENT);
    appendTo(log, "", MULTILINE);
    appendTo(log, "é😀", CONTENT | MULTILINE);
    log.publish();
    expect(log.head).toBe(3);
    expect(payloadsOf(log)).toEqual(['{"a":1}', "", "é😀"]);
    expect([1, 2, 3].map((seq) => log.flags(seq))).toEqual([CONTENT, MULTILINE, CONTENT | MULTILINE]);
    expect(log.slab(3).subarray(log.start(3), log.stop(3)).toString()).toBe("é😀");
  });

  it("are a copy of a part of the source", () => {
    const log = new Log(MANY);
    const source = Buffer.from("xxhelloxx");
    log.append(source, 2, 7, 0);
    source.fill(0);
    log.publish();
    expect(payloadsOf(log)).toEqual(["hello"]);
    expect(log.bytes).toBe(5);
  });

  it("are unseen until they are published, and then all at once", () => {
    const log = new Log(MANY);
    appendTo(log, "a");
    appendTo(log, "b");
    expect([log.head, log.stagedSeq, log.lastSeq, log.batch(0, MANY)]).toEqual([0, 2, 0, 0]);
    log.publish();
    expect([log.head, log.stagedSeq, log.lastSeq, log.batch(0, MANY)]).toEqual([2, 2, 2, 2]);
  });

  it("can be taken back while none was published, with their bytes", () => {
    const budget: Budget = { used: 0 };
    const log = new Log(MANY, budget);
    appendTo(log, "lost");
    log.discard();
    log.publish();
    expect([log.head, log.stagedSeq, log.bytes, budget.used]).toEqual([0, 0, 0, 0]);
    appendTo(log, "kept");
    log.publish();
    expect(payloadsOf(log)).toEqual(["kept"]);
    expect(() => log.discard()).toThrow("discard after publish");
  });

  it("survive in slabs of any fill: payloads larger than a slab between small ones", () => {
    const log = new Log(10 * MANY);
    const sizes = [1, 4095, 4096, 4097, SLAB_BYTES - 1, SLAB_BYTES, SLAB_BYTES + 1, 300_000, 0, 7];
    const texts = sizes.map((size, index) => String.fromCharCode(97 + index).repeat(size));
    for (const text of [...texts, ...texts]) appendTo(log, text);
    log.publish();
    expect(payloadsOf(log)).toEqual([...texts, ...texts]);
    expect(log.bytes).toBe(2 * sizes.reduce((sum, size) => sum + size, 0));
  });

  it("share slabs: ten thousand small ones lie in few", () => {
    const log = new Log(MANY);
    const texts = Array.from({ length: 10_000 }, (_, index) => `{"n":${index}}`);
    for (const text of texts) appendTo(log, text);
    log.publish();
    expect(payloadsOf(log)).toEqual(texts);
    const slabs = new Set(texts.map((_, index) => log.slab(index + 1)));
    expect(slabs.size).toBeLessThanOrEqual(6);
  });

  it("do not change under a reader's view when more is appended", () => {
    const log = published("first");
    const view = log.payload(1);
    for (let n = 0; n < 20_000; n++) appendTo(log, `later ${n}`);
    log.publish();
    expect(view.toString()).toBe("first");
  });
});

describe("the bound", () => {
  it("lets the log grow to it exactly, and stages nothing past it", () => {
    const budget: Budget = { used: 0 };
    const log = new Log(10, budget);
    appendTo(log, "12345");
    appendTo(log, "67890");
    expect(faultCode(() => appendTo(log, "x"))).toBe("log_limit");
    expect([log.stagedSeq, log.bytes, budget.used]).toEqual([2, 10, 10]);
    log.publish();
    expect(payloadsOf(log)).toEqual(["12345", "67890"]);
  });

  it("holds for one payload that is too large by itself", () => {
    const log = new Log(10);
    expect(faultCode(() => appendTo(log, "x".repeat(11)))).toBe("log_limit");
    expect([log.stagedSeq, log.bytes]).toEqual([0, 0]);
  });

  it("tallies several logs in one budget, which comes back to 0 as they end", () => {
    const budget: Budget = { used: 0 };
    const logs = [new Log(100, budget), new Log(100, budget), new Log(100, budget)];
    for (const log of logs) appendTo(log, "x".repeat(30));
    logs[0]?.publish();
    expect(budget.used).toBe(90);
    logs[1]?.discard();
    expect(budget.used).toBe(60);
    for (const log of logs) log.end(ending());
    expect(budget.used).toBe(0);
    for (const log of logs) log.end(ending());
    expect(budget.used).toBe(0);
  });
});

describe("the ending", () => {
  it("is the last entry, and has a seq", () => {
    const log = published("a", "b");
    const last = ending();
    expect(log.end(last)).toBe(true);
    expect([log.ending, log.head, log.lastSeq]).toEqual([last, 2, 3]);
  });

  it("has seq 1 in a log without events", () => {
    const log = new Log(MANY);
    log.end(ending());
    expect([log.head, log.lastSeq]).toEqual([0, 1]);
  });

  it("wakes those that wait once, for it and for what was published with it", () => {
    const log = published("a");
    const seen: [number, boolean][] = [];
    log.wait(() => seen.push([log.head, log.ending !== undefined]));
    appendTo(log, "b");
    log.publishLast();
    expect(seen).toEqual([]);
    log.end(ending());
    expect(seen).toEqual([[2, true]]);
    expect(payloadsOf(log)).toEqual(["a", "b"]);
  });

  it("comes once: a second changes nothing", () => {
    const log = published("a");
    const first = ending();
    log.end(first);
    expect(log.end(ending({ status: "failed" }))).toBe(false);
    expect(log.ending).toBe(first);
  });

  it("takes no event after it", () => {
    const log = published("a");
    appendTo(log, "staged");
    log.end(ending());
    expect(() => appendTo(log, "late")).toThrow("append after the ending");
    log.publish();
    expect(payloadsOf(log)).toEqual(["a"]);
  });

  it("drops what was only staged", () => {
    const log = new Log(MANY);
    appendTo(log, "staged");
    log.end(ending());
    expect([log.bytes, log.stagedSeq, log.head]).toEqual([0, 0, 0]);
  });
});

describe("a batch", () => {
  it("takes what fits, at least one event, and nothing where there is nothing new", () => {
    const log = published("aaaa", "bbbb", "cccc", "d");
    expect(log.batch(0, 8)).toBe(2);
    expect(log.batch(0, 7)).toBe(1);
    expect(log.batch(0, 1)).toBe(1);
    expect(log.batch(2, 5)).toBe(4);
    expect(log.batch(4, MANY)).toBe(4);
  });
});

describe("waiting", () => {
  it("is over once, at the next publish", () => {
    const log = new Log(MANY);
    let calls = 0;
    log.wait(() => void calls++);
    expect(log.waiting).toBe(1);
    log.publish();
    expect(calls).toBe(0);
    appendTo(log, "a");
    log.publish();
    appendTo(log, "b");
    log.publish();
    expect([calls, log.waiting]).toEqual([1, 0]);
  });

  it("is over at the ending, for all who wait", () => {
    const log = new Log(MANY);
    let calls = 0;
    for (let n = 0; n < 100; n++) log.wait(() => void calls++);
    log.end(ending());
    expect([calls, log.waiting]).toEqual([100, 0]);
  });

  it("can be given up, and begun again from within the call", () => {
    const log = new Log(MANY);
    const seen: number[] = [];
    const again = (): void => {
      seen.push(log.head);
      log.wait(again);
    };
    const never = (): never => {
      throw new Error("it was given up");
    };
    log.wait(again);
    log.wait(never);
    log.unwait(never);
    for (const text of ["a", "b"]) {
      appendTo(log, text);
      log.publish();
    }
    expect([seen, log.waiting]).toEqual([[1, 2], 1]);
  });
});

/** Reads to the end, as text. */
async function readAll(log: Log, after: number, signal: AbortSignal, maxBytes: number): Promise<string[]> {
  const read: string[] = [];
  for await (const batch of log.read(after, signal, maxBytes)) {
    const bytes = batch.reduce((sum, payload) => sum + payload.length, 0);
    if (batch.length > 1 && bytes > maxBytes) throw new Error("a batch of several is larger than asked for");
    if (batch.length === 0) throw new Error("an empty batch");
    read.push(...batch.map((payload) => payload.toString("hex")));
  }
  return read;
}

describe("reading", () => {
  it.each([
    ["an abort", (_log: Log, stop: AbortController) => stop.abort()],
    ["the ending", (log: Log) => void log.end(ending())],
  ])("leaves no waiter and no listener behind after %s", async (_name, finish) => {
    const log = published("a");
    const stop = new AbortController();
    const reading = readAll(log, 0, stop.signal, MANY);
    await turn();
    expect([log.waiting, getEventListeners(stop.signal, "abort").length]).toEqual([1, 1]);
    finish(log, stop);
    expect(await reading).toEqual([Buffer.from("a").toString("hex")]);
    expect([log.waiting, getEventListeners(stop.signal, "abort").length]).toEqual([0, 0]);
  });

  it("leaves none behind after an event, or where the reader breaks off", async () => {
    const log = new Log(MANY);
    const { signal } = new AbortController();
    const reading = (async () => {
      for await (const _ of log.read(0, signal)) break;
    })();
    await turn();
    appendTo(log, "a");
    log.publish();
    await reading;
    expect([log.waiting, getEventListeners(signal, "abort").length]).toEqual([0, 0]);
  });

  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ append: fc.uint8Array({ maxLength: 40 }) }) },
    { weight: 1, arbitrary: fc.record({ append: fc.constant(new Uint8Array(70_000).fill(7)) }) },
    { weight: 2, arbitrary: fc.constant("publish" as const) },
    { weight: 1, arbitrary: fc.constant("pause" as const) },
    { weight: 2, arbitrary: fc.record({ from: fc.nat(), maxBytes: fc.integer({ min: 1, max: 200 }) }) },
  );

  it("gives the same bytes wherever, whenever and in whatever batches a reader starts", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const log = new Log(10 * MANY);
        const { signal } = new AbortController();
        const all: string[] = [];
        const readers: { after: number; reading: Promise<string[]> }[] = [];
        for (const now of steps) {
          if (now === "publish") log.publish();
          else if (now === "pause") await turn();
          else if ("append" in now) {
            log.append(Buffer.from(now.append), 0, now.append.length, 0);
            all.push(Buffer.from(now.append).toString("hex"));
          } else {
            const after = now.from % (log.head + 1);
            readers.push({ after, reading: readAll(log, after, signal, now.maxBytes) });
          }
        }
        const seen = all.slice(0, log.head);
        log.end(ending());
        for (const { after, reading } of readers) expect(await reading).toEqual(seen.slice(after));
        expect(log.waiting).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
