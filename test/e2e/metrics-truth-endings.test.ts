/** One request, by every way and to every ending: exactly one outcome is counted, and nothing moves but what must. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { ALL, type Asker, JSON_ASKER, STREAMED, UNREAD } from "../support/askers.ts";
import { type TestGateway, until } from "../support/gateway.ts";
import { look, startGeneration } from "../support/requests.ts";
import { type Moved, sumOf } from "../support/scrape.ts";
import { SseClient } from "../support/sse-client.ts";
import {
  asked,
  countedEvents,
  ended,
  holdSlot,
  movedBy,
  RELEASED,
  silent,
  startKnowing,
  streamedEvents,
} from "../support/truth.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startKnowing({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_STALL_TIMEOUT_MS: "300" });
});
afterAll(() => gateway.close());

/** Plays the script to one request, asked by this way and read to its end. */
const played = (asker: Asker, script: Script, more: object = {}): Promise<Moved> =>
  movedBy(gateway, async () => {
    gateway.emulator.queue([script]);
    await asker.ask(gateway, { more, ...(asker.reader === undefined ? { policy: "continue" } : {}) }).over;
    const answered = (): boolean => gateway.emulator.stats.open === 0;
    await until("the upstream has been heard", answered);
  });

/** What the emulator's usage moves: 3 tokens after a prompt whose length is the way's own. */
const USAGE_OUTPUT = "tokens_total usage output";
const USAGE_INPUT = "tokens_total usage input";

interface Streamed {
  readonly name: string;
  readonly script: Script;
  readonly outcome: string;
  readonly code: string;
  /** Content events; 0 where it had none, and then why. */
  readonly events: number;
  readonly reason?: string;
}

const STREAMS: readonly Streamed[] = [
  { name: "completed", script: { tokens: 3 }, outcome: "completed", code: "200", events: 3 },
  { name: "one token", script: { tokens: 1 }, outcome: "completed", code: "200", events: 1 },
  {
    name: "cut short by its length",
    script: { tokens: 4, finish_reason: "length" },
    outcome: "incomplete",
    code: "200",
    events: 4,
  },
  {
    name: "stopped by a filter",
    script: { tokens: 2, finish_reason: "content_filter" },
    outcome: "incomplete",
    code: "200",
    events: 2,
  },
  {
    name: "ended well without a word",
    script: { tokens: 0 },
    outcome: "completed",
    code: "200",
    events: 0,
    reason: "empty",
  },
  {
    name: "refused with 400",
    script: { fault: { kind: "status", status: 400 } },
    outcome: "failed",
    code: "400",
    events: 0,
    reason: "upstream_error",
  },
  {
    name: "refused with 503",
    script: { fault: { kind: "status", status: 503, headers: { "retry-after": "0" } } },
    outcome: "failed",
    code: "503",
    events: 0,
    reason: "upstream_error",
  },
  {
    name: "reset before the headers",
    script: { fault: { kind: "reset_before_headers" } },
    outcome: "failed",
    code: "upstream_disconnected",
    events: 0,
    reason: "upstream_disconnected",
  },
  {
    name: "cut before the first token",
    script: { tokens: 3, fault: { kind: "eof" } },
    outcome: "failed",
    code: "200",
    events: 0,
    reason: "upstream_disconnected",
  },
  {
    name: "cut in the middle",
    script: { tokens: 9, fault: { kind: "eof", after_tokens: 3 } },
    outcome: "failed",
    code: "200",
    events: 3,
  },
  {
    name: "reset in the middle",
    script: { tokens: 9, fault: { kind: "reset", after_tokens: 2 } },
    outcome: "failed",
    code: "200",
    events: 2,
  },
  {
    name: "stalled in the middle",
    script: { tokens: 9, fault: { kind: "hang", after_tokens: 2 } },
    outcome: "failed",
    code: "200",
    events: 2,
  },
  {
    name: "an error payload in the middle",
    script: { tokens: 9, fault: { kind: "error_event", after_tokens: 4 } },
    outcome: "failed",
    code: "200",
    events: 4,
  },
  {
    name: "no JSON in the middle",
    script: { tokens: 9, fault: { kind: "garbage", after_tokens: 1 } },
    outcome: "failed",
    code: "200",
    events: 1,
  },
];

const STREAMING = [...STREAMED, UNREAD];

describe.each(STREAMING)("a stream by $name", (asker) => {
  test.each(STREAMS)("$name", async ({ script, outcome, code, events, reason }) => {
    expect(await played(asker, script)).toEqual(
      sumOf(
        ended(outcome, asker),
        asked(code),
        events === 0 ? {} : streamedEvents(events, asker),
        events === 0 ? {} : countedEvents(events),
        reason === undefined ? {} : silent(reason),
      ),
    );
  });

  test("usage stands in place of events, also where it says more", async () => {
    const script = { tokens: 3, usage: true, n: 2 };
    const { [USAGE_INPUT]: input, ...rest } = await played(asker, script);
    expect(input).toBeGreaterThan(0);
    expect(rest).toEqual(
      sumOf(ended("completed", asker), asked(200), streamedEvents(6, asker), {
        [USAGE_OUTPUT]: 6,
        time_per_output_token_seconds_count: 1,
      }),
    );
  });
});

describe("a whole answer", () => {
  test("that is good counts its usage, and has no first token", async () => {
    const { [USAGE_INPUT]: input, ...rest } = await played(JSON_ASKER, { tokens: 5 });
    expect(input).toBeGreaterThan(0);
    expect(rest).toEqual(sumOf(ended("completed", JSON_ASKER), asked(200), { [USAGE_OUTPUT]: 5 }));
  });

  test("that is too short is incomplete", async () => {
    const { [USAGE_INPUT]: _, ...rest } = await played(JSON_ASKER, { tokens: 2, finish_reason: "length" });
    expect(rest).toEqual(sumOf(ended("incomplete", JSON_ASKER), asked(200), { [USAGE_OUTPUT]: 2 }));
  });

  test.each([
    ["400", { kind: "status", status: 400 }],
    ["500", { kind: "status", status: 500 }],
    ["upstream_disconnected", { kind: "reset_before_headers" }],
    ["200", { kind: "reset" }],
    ["200", { kind: "error_event" }],
  ] as const)("that fails counts no token (%s)", async (code, fault) => {
    expect(await played(JSON_ASKER, { tokens: 2, fault })).toEqual(
      sumOf(ended("failed", JSON_ASKER), asked(code)),
    );
  });
});

test("a reader of /events that was there before the first content is timed under its own transport", async () => {
  const held = await holdSlot(gateway);
  const rise = await movedBy(gateway, async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 3 });
    const reader = new SseClient(`${gateway.url}/v1/generations/${id}/events`);
    await until("it reads", async () => (await look(gateway.url, id)).readers === 1);
    await held.release();
    await reader.ended;
  });
  const asker = { ...UNREAD, reader: "sse" } as const;
  expect(rise).toEqual(
    sumOf(RELEASED, ended("completed", asker), asked(200), streamedEvents(3, asker), countedEvents(3)),
  );
});

test("who comes after the first content, or again, is a reader and no sample", async () => {
  const { id } = await startGeneration(gateway.url, { tokens: 3 }, { on_disconnect: "continue" });
  await until("it has ended", async () => (await look(gateway.url, id)).status === "completed");
  const { url } = gateway;
  const read = async (after: string): Promise<number> => {
    const client = new SseClient(`${url}/v1/generations/${id}/events?starting_after=${after}`);
    await client.ended;
    return (await client.head).status;
  };
  expect(await movedBy(gateway, () => read("0"))).toEqual({ "readers_total sse": 1 });
  const resumed = { "resumes_total resumed sse": 1 };
  expect(await movedBy(gateway, () => read("2"))).toEqual({ "readers_total sse": 1, ...resumed });
  // At the ending's own position there is nothing to read: the position was good, and nobody reads.
  expect(await movedBy(gateway, async () => expect(await read("6")).toBe(204))).toEqual(resumed);
  expect(await movedBy(gateway, async () => expect(await read("7")).toBe(400))).toEqual({
    "resumes_total ahead sse": 1,
  });
});

test("each way has a name, and each transport a way", () => {
  expect(new Set(ALL.map(({ name }) => name)).size).toBe(ALL.length);
  expect(new Set(ALL.map(({ transport }) => transport))).toEqual(
    new Set(["sse", "websocket", "json", "none"]),
  );
});
