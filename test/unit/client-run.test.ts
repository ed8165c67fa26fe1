import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { loss, SluiceError } from "../../src/client/errors.ts";
import { readRetryAfter } from "../../src/client/http.ts";
import { backoff, pause, watch } from "../../src/client/pause.ts";
import { positionsIn } from "../../src/client/positions.ts";
import { beginRun, type Read, type Run, type Start } from "../../src/client/run.ts";
import type { Chunk } from "../../src/client/types.ts";
import { ERRORS } from "../../src/core/errors.ts";

const START: Start = { request: {}, idempotency_key: "k", on_disconnect: undefined };
const chunk = (content: string): Chunk => ({ choices: [{ delta: { content } }] });

const runOf = (
  what: Start | string,
  read: Read,
  more: Partial<{ after: number; maxReconnects: number }> = {},
) =>
  beginRun(what, more.after ?? 0, {
    read,
    positions: positionsIn("", null),
    options: {},
    maxRetries: 2,
    maxReconnects: more.maxReconnects ?? 3,
  });

/** One connection after the other does what its function says. */
const inTurn =
  (...turns: ((run: Run) => void)[]): Read =>
  async (run) =>
    turns.shift()?.(run);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Lets all pauses pass. */
async function followed(run: Run): Promise<void> {
  let isOver = false;
  void run.followed.then(() => {
    isOver = true;
  });
  for (let second = 0; !isOver; second++) {
    if (second > 3600) throw new Error("it is followed for ever");
    await vi.advanceTimersByTimeAsync(1000);
  }
}

const refuse = (code: string) => (): void => {
  throw new SluiceError({ code });
};
const lose = (): void => {
  throw loss("cut");
};

async function told(run: Run): Promise<{ seqs: number[]; text: string }> {
  const seqs: number[] = [];
  for await (const { seq } of run) seqs.push(seq);
  return { seqs, text: await run.text() };
}

describe("a run", () => {
  it("drops what comes again and goes on after a gap from the last event", async () => {
    const positions: number[] = [];
    const run = runOf(
      START,
      inTurn(
        (it) => {
          it.accept("gen_a");
          it.open("sse", "gen_a");
          it.event(1, chunk("a"));
          it.event(1, chunk("a"));
          it.event(3, chunk("c"));
        },
        (it) => {
          positions.push(it.position);
          it.open("websocket", "gen_a");
          it.event(1, chunk("a"));
          it.event(2, chunk("b"));
          it.end(4, { status: "completed" });
        },
        (it) => {
          positions.push(it.position);
          it.event(3, chunk("c"));
          it.end(4, { status: "completed", usage: { total_tokens: 3 } });
        },
      ),
    );
    await followed(run);
    expect(await told(run)).toEqual({ seqs: [1, 2, 3], text: "abc" });
    expect(positions).toEqual([1, 2]);
    expect(await run.ended).toEqual({ status: "completed", usage: { total_tokens: 3 } });
    expect([run.position, run.reconnects]).toEqual([4, 1]);
  });

  it("has one ending: what comes after it is nothing", async () => {
    const run = runOf("gen_a", async (it) => {
      it.end(1, { status: "failed", error: { code: "upstream_stalled" } });
      it.event(2, chunk("late"));
      it.end(3, { status: "completed" });
    });
    await followed(run);
    await expect(told(run)).rejects.toMatchObject({ code: "upstream_stalled" });
    expect((await run.ended).status).toBe("failed");
  });

  it("is lost where the gateway knew it and knows it no more, and is asked for no further", async () => {
    let asked = 0;
    const run = runOf(START, async (it) => {
      asked++;
      if (asked > 1) refuse("generation_not_found")();
      it.accept("gen_a");
      it.event(1, chunk("a"));
    });
    await followed(run);
    expect((await run.ended).error).toMatchObject({ code: "generation_lost" });
    expect(asked).toBe(2);
  });

  it("gives up after so many losses in a row; an event starts the count anew", async () => {
    let asked = 0;
    const run = runOf("gen_a", async (it) => {
      asked++;
      if (asked === 3) it.event(1, chunk("a"));
      lose();
    });
    await followed(run);
    expect((await run.ended).error).toMatchObject({ code: "connection_lost" });
    // Two, the one with an event, and three more.
    expect(asked).toBe(6);
  });

  it("gives up as well where a connection that had held for long is not made again", async () => {
    let asked = 0;
    const run = runOf("gen_a", async (it) => {
      if (++asked > 1) lose();
      it.open("sse", "gen_a");
      await new Promise((resolve) => setTimeout(resolve, 60_000));
      lose();
    });
    await followed(run);
    expect((await run.ended).error).toMatchObject({ code: "connection_lost" });
    // The one that held, and three more: what is lost after it is the first loss.
    expect(asked).toBe(4);
  });

  it.each(Object.entries(ERRORS))(
    "tries again after the refusal %s just if the table says so",
    async (code, { retry }) => {
      let asked = 0;
      const run = runOf(START, async () => {
        asked++;
        refuse(code)();
      });
      await followed(run);
      expect((await run.ended).error?.code).toBe(code);
      expect(asked).toBe(retry === "no" ? 1 : 3);
    },
  );

  it("tells an ending at the position itself, where that was seen before", async () => {
    const run = runOf("gen_a", async (it) => it.end(7, { status: "completed" }), { after: 7 });
    await followed(run);
    expect((await run.ended).status).toBe("completed");
    expect(run.position).toBe(7);
  });

  it("is cancelled without a word where it was never asked for", async () => {
    const run = runOf(START, () => new Promise(() => {}));
    expect((await run.cancel()).status).toBe("cancelled");
    await expect(run.accepted).rejects.toMatchObject({ code: "cancelled" });
  });
});

test("the backoff grows to ten seconds, and is anywhere below that", () => {
  const most = (tries: number): number => Math.max(...Array.from({ length: 500 }, () => backoff(tries)));
  expect(most(1)).toBeLessThanOrEqual(500);
  expect(most(3)).toBeGreaterThan(500);
  expect(most(50)).toBeLessThanOrEqual(10_000);
});

test("a pause that the gateway asked for is not cut short; one that is broken off is", async () => {
  const control = new AbortController();
  let isOver = false;
  void pause(1, 5000, control.signal).then(() => {
    isOver = true;
  });
  await vi.advanceTimersByTimeAsync(4999);
  expect(isOver).toBe(false);
  await vi.advanceTimersByTimeAsync(300);
  expect(isOver).toBe(true);
  const broken = pause(1, 60_000, control.signal);
  control.abort();
  await broken;
});

test("the watch calls once, after the whole silence", async () => {
  let calls = 0;
  const { heard } = watch(1000, () => calls++);
  for (let time = 0; time < 5; time++) {
    await vi.advanceTimersByTimeAsync(900);
    heard();
  }
  expect(calls).toBe(0);
  heard(2000);
  await vi.advanceTimersByTimeAsync(1999);
  expect(calls).toBe(0);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(calls).toBe(1);
});

test.each([
  [null, undefined],
  ["7", 7000],
  ["0", 0],
  ["soon", undefined],
  ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
  ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
])("Retry-After %s is %s ms", (value, ms) => {
  vi.setSystemTime(new Date("2026-01-01T00:00:00Z"));
  expect(readRetryAfter(value)).toBe(ms);
});

test("a storage that throws costs the position and nothing else", () => {
  const storage = {
    length: 0,
    key: () => null,
    getItem: () => null,
    setItem: () => {
      throw new Error("full");
    },
    removeItem: () => {},
  };
  const positions = positionsIn("http://a", storage);
  positions.keep("gen_a", 1);
  expect(positions.list()).toEqual([]);
});
