import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import { appendTo, COMPLETED, failed, newGeneration } from "../support/core.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (ms: number): void => void vi.advanceTimersByTime(ms);

describe("a generation", () => {
  it("has an id of at least 128 random bits that is good in a path", () => {
    const ids = Array.from({ length: 1000 }, () => newGeneration().generation.id);
    expect(new Set(ids).size).toBe(1000);
    for (const id of ids) expect(id).toMatch(/^gen_[\w-]{22,}$/);
  });

  it("is queued, then running, then what its ending says", () => {
    const { generation } = newGeneration();
    generation.waits(() => 4);
    expect([generation.status, generation.position, generation.phase]).toEqual(["queued", 4, "queued"]);
    generation.admitted();
    expect([generation.status, generation.position]).toEqual(["running", undefined]);
    expect(generation.phase).toBe("before_first_token");
    generation.sent();
    generation.firstContent(1, performance.now());
    expect(generation.phase).toBe("streaming");
    generation.finish({ status: "incomplete" });
    expect([generation.status, generation.isEnded]).toEqual(["incomplete", true]);
  });

  it("times its moments from acceptance, and duration until the ending", () => {
    const { generation } = newGeneration({ policy: "continue" });
    pass(100);
    expect(generation.timing).toEqual({ queue_ms: 100, duration_ms: 100 });
    generation.admitted();
    pass(10);
    generation.sent();
    pass(200);
    expect(generation.timing).toEqual({ queue_ms: 100, duration_ms: 310 });
    generation.firstContent(1, performance.now());
    pass(1000);
    generation.finish(COMPLETED);
    pass(5000);
    const timing = { queue_ms: 100, upstream_ttft_ms: 200, ttft_ms: 310, duration_ms: 1310 };
    expect(generation.timing).toEqual(timing);
    expect(generation.log.ending?.timing).toEqual(timing);
  });

  it("that was never admitted has waited for as long as it lived", () => {
    const { generation } = newGeneration();
    pass(70);
    generation.finish(failed("queue_timeout"));
    pass(70);
    expect(generation.timing).toEqual({ queue_ms: 70, duration_ms: 70 });
  });
});

describe("the ending", () => {
  it("resolves for those who wait, is the log's last entry, and is observed once with all that is known", async () => {
    const { generation, seen, budget } = newGeneration();
    generation.join("websocket", true);
    generation.admitted();
    generation.sent();
    generation.attempts = 1;
    generation.contentEvents = 1;
    appendTo(generation.log, "12345");
    generation.firstContent(1, performance.now());
    generation.log.publish();
    pass(400);
    const tokens = { output: 3 };
    generation.finish({ status: "completed", usage: { n: 1 }, tokens });
    expect(await generation.ended).toBe(generation.log.ending);
    expect(generation.log.lastSeq).toBe(2);
    expect(seen.of("ended")).toEqual([
      [
        {
          model: "m",
          transport: "sse",
          key: "none",
          generation: generation.id,
          outcome: "completed",
          streamed: true,
          timing: generation.timing,
          streaming_ms: 400,
          tokens,
          contentEvents: 1,
          attempts: 1,
          bytes: 5,
        },
      ],
    ]);
    expect(budget.used).toBe(0);
  });

  it.each([
    ["completed", () => COMPLETED, "completed", undefined],
    ["failed", () => failed("upstream_stalled"), "failed", "upstream_stalled"],
    ["queue_timeout", () => failed("queue_timeout"), "queue_timeout", "queue_timeout"],
  ] as const)("is counted as %s", (_name, end, outcome, code) => {
    const { generation, seen } = newGeneration();
    generation.finish(end());
    expect(seen.outcomes).toEqual([outcome]);
    expect(seen.of("ended")[0]?.[0].code).toBe(code);
  });

  it.each(["cancel first", "end first", "stop first"])("is one, whoever races: %s", async (first) => {
    const { generation, seen } = newGeneration();
    generation.admitted();
    const acts = {
      "cancel first": () => generation.cancel("cancelled"),
      "end first": () => generation.finish(COMPLETED),
      "stop first": () => generation.stop("failed", new Fault("draining")),
    };
    const order = [first as keyof typeof acts, ...(Object.keys(acts) as (keyof typeof acts)[])];
    const { stopped } = generation;
    for (const act of order) acts[act]();
    const status = { "cancel first": "cancelled", "end first": "completed", "stop first": "failed" }[first];
    expect((await generation.ended).status).toBe(status);
    expect(seen.of("ended")).toHaveLength(1);
    // The upstream is given up by everything but its own ending.
    expect(stopped.aborted).toBe(first !== "end first");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("wakes each reader, and is there when a reader that it wakes leaves or cancels", () => {
    const { generation, seen } = newGeneration({ policy: "cancel" });
    const reader = generation.join("sse", true);
    generation.log.wait(() => {
      expect(generation.isEnded).toBe(true);
      reader.leave(true);
      generation.cancel("cancelled");
    });
    generation.finish(COMPLETED);
    expect([generation.status, generation.readers, seen.outcomes]).toEqual(["completed", 0, ["completed"]]);
    // It did not vanish before the ending.
    expect(seen.of("readerLeft")).toEqual([["sse", undefined]]);
  });
});

describe("readers", () => {
  it("are counted from join to leave, once each", () => {
    const { generation, seen } = newGeneration();
    const [one, two] = [generation.join("sse", true), generation.join("websocket", false)];
    expect(generation.readers).toBe(2);
    one.leave(false);
    one.leave(true);
    expect(generation.readers).toBe(1);
    two.leave(true);
    expect(generation.readers).toBe(0);
    expect(seen.of("readerJoined")).toEqual([["sse"], ["websocket"]]);
    expect(seen.of("readerLeft")).toEqual([
      ["sse", undefined],
      ["websocket", "queued"],
    ]);
  });

  it("that vanish are counted with where they were", () => {
    const { generation, seen } = newGeneration({ policy: "continue" });
    const vanish = (): void => generation.join("sse", false).leave(true);
    vanish();
    generation.admitted();
    vanish();
    generation.sent();
    generation.firstContent(1, performance.now());
    vanish();
    generation.finish(COMPLETED);
    vanish();
    const phases = seen.of("readerLeft").map(([, phase]) => phase);
    expect(phases).toEqual(["queued", "before_first_token", "streaming", undefined]);
  });

  it("first handed the first content time it, once, and only where they were there before it", () => {
    const { generation, seen } = newGeneration();
    pass(5);
    const readers = [generation.join("websocket", true), generation.join("sse", true)];
    generation.admitted();
    generation.sent();
    pass(100);
    const at = performance.now();
    generation.firstContent(2, at);
    pass(3);
    const late = generation.join("sse", true);
    late.handed(2);
    readers[0]?.handed(1);
    expect(seen.of("delivered")).toEqual([]);
    readers[0]?.handed(2);
    pass(50);
    readers[0]?.handed(3);
    readers[1]?.handed(3);
    expect(seen.of("delivered")).toEqual([[generation.facts, "websocket", 108, 3]]);
  });

  it("of an answer that is not streamed time nothing", () => {
    const { generation, seen } = newGeneration({ stream: false });
    const reader = generation.join("json", true);
    generation.finish(COMPLETED);
    reader.handed(1);
    expect(seen.of("delivered")).toEqual([]);
  });
});

const GRACE_MS = 1000;

describe("the disconnect policy", () => {
  const running = (policy: "cancel" | "grace" | "continue") => {
    const made = newGeneration({ policy }, { disconnectGraceMs: GRACE_MS });
    made.generation.admitted();
    return made;
  };

  it("cancel ends it as the last reader leaves, not before", () => {
    const { generation, seen } = running("cancel");
    const [one, two] = [generation.join("sse", true), generation.join("sse", true)];
    one.leave(true);
    expect(generation.status).toBe("running");
    two.leave(true);
    expect([generation.status, seen.outcomes]).toEqual(["cancelled", ["disconnected"]]);
    expect(generation.log.ending?.fault?.code).toBe("cancelled");
  });

  it("grace ends it after a while without a reader, and the return of one stops the clock", () => {
    const { generation, seen } = running("grace");
    generation.join("sse", true).leave(true);
    pass(GRACE_MS - 1);
    const back = generation.join("websocket", false);
    pass(10 * GRACE_MS);
    expect(generation.status).toBe("running");
    back.leave(true);
    pass(GRACE_MS - 1);
    expect(generation.status).toBe("running");
    pass(1);
    expect([generation.status, seen.outcomes]).toEqual(["cancelled", ["disconnected"]]);
  });

  it.each(["grace", "cancel"] as const)("%s counts from admission where no reader ever came", (policy) => {
    const { generation } = newGeneration({ policy }, { disconnectGraceMs: GRACE_MS });
    pass(10 * GRACE_MS);
    expect(generation.status).toBe("queued");
    generation.admitted();
    generation.admitted();
    pass(GRACE_MS - 1);
    expect(generation.status).toBe("running");
    pass(1);
    expect(generation.status).toBe("cancelled");
  });

  it("grace counts from the leaving of a reader that left while it was queued", () => {
    const { generation } = newGeneration({ policy: "grace" }, { disconnectGraceMs: GRACE_MS });
    generation.join("sse", true).leave(true);
    pass(GRACE_MS - 1);
    generation.admitted();
    pass(1);
    expect(generation.status).toBe("cancelled");
  });

  it("grace does not count while a reader is there that came before admission", () => {
    const { generation } = newGeneration({ policy: "grace" }, { disconnectGraceMs: GRACE_MS });
    generation.join("sse", true);
    generation.admitted();
    pass(10 * GRACE_MS);
    expect(generation.status).toBe("running");
  });

  it("continue lets it be, with and without a first reader", () => {
    const [read, unread] = [running("continue").generation, running("continue").generation];
    read.join("sse", true).leave(true);
    pass(100 * GRACE_MS);
    expect([read.status, unread.status, vi.getTimerCount()]).toEqual(["running", "running", 0]);
  });

  it.each(["grace", "cancel"] as const)("%s does not touch what has ended, and leaves no timer", (policy) => {
    const { generation, seen } = running(policy);
    generation.finish(COMPLETED);
    generation.join("sse", false).leave(true);
    pass(10 * GRACE_MS);
    expect([generation.status, seen.outcomes, vi.getTimerCount()]).toEqual(["completed", ["completed"], 0]);
  });

  it("knows content that nobody is left to read, but for continue and before the first reader", () => {
    const { generation } = running("grace");
    expect(generation.isUnread).toBe(false);
    const reader = generation.join("sse", true);
    expect(generation.isUnread).toBe(false);
    reader.leave(true);
    expect(generation.isUnread).toBe(true);
    const { generation: goesOn } = running("continue");
    goesOn.join("sse", true).leave(true);
    expect(goesOn.isUnread).toBe(false);
  });
});
