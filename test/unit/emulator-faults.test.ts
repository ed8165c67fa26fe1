import { setTimeout } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  type EARLY_FAULTS,
  type Emulator,
  type LATE_FAULTS,
  type ScriptFault,
  startEmulator,
} from "../../src/emulator/index.ts";
import { type RawAnswer, rawPost } from "../support/raw-post.ts";

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
beforeEach(() => emulator.reset());

type Expected = Partial<Pick<RawAnswer, "status" | "ending" | "complete">> & { readonly body?: RegExp };

function provoke(fault: ScriptFault, until?: (bytes: Buffer) => boolean, stream = true): Promise<RawAnswer> {
  const body = { stream, emulator: { tokens: 5, fault } };
  return rawPost(`${emulator.url}/chat/completions`, body, until);
}

async function expectState(state: string): Promise<void> {
  await vi.waitFor(() => expect(emulator.requests().map((record) => record.state)).toEqual([state]));
  await vi.waitFor(() => expect(emulator.stats).toMatchObject({ open: 0, sent_after_abort: 0 }));
}

function check(answer: RawAnswer, { body, ...facts }: Expected): void {
  expect(answer).toMatchObject(facts);
  if (body !== undefined) expect(answer.body.toString()).toMatch(body);
}

const tokens = (answer: RawAnswer): number => answer.body.toString("latin1").match(/ tok\d/g)?.length ?? 0;
const clean = { status: 200, ending: "closed", complete: true } as const;

describe("instead of an answer", () => {
  const cases: Record<
    Exclude<(typeof EARLY_FAULTS)[number], "compressed" | "hang_before_headers">,
    Expected
  > = {
    status: {
      ...clean,
      status: 500,
      body: /^{"error":{"message":".*","type":"server_error","param":null,"code":null}}$/,
    },
    plain_error: { ...clean, status: 500, body: /^upstream connect error$/ },
    malformed_error: { ...clean, status: 500, body: /^{"error":{"message":"half of an$/ },
    redirect: { ...clean, status: 307 },
    no_answer: { status: undefined, ending: "closed", complete: false },
    reset_before_headers: { status: undefined, ending: "reset", complete: false },
    headers_then_reset: { status: 200, ending: "reset", complete: false, body: /^$/ },
  };

  test.each(Object.entries(cases))("%s", async (kind, expected) => {
    for (const stream of [true, false]) {
      emulator.reset();
      check(await provoke({ kind: kind as ScriptFault["kind"] }, undefined, stream), expected);
      await expectState("faulted");
    }
  });

  test("hang_before_headers says nothing until the client leaves", async () => {
    const leaving = new AbortController();
    const body = JSON.stringify({ emulator: { fault: { kind: "hang_before_headers" } } });
    const answer = fetch(`${emulator.url}/chat/completions`, {
      method: "POST",
      body,
      signal: leaving.signal,
    });
    await vi.waitFor(() => expect(emulator.stats.open).toBe(1));
    expect(await Promise.race([answer, setTimeout(50, "silence")])).toBe("silence");
    expect(emulator.requests()[0]).toMatchObject({ state: "open", status: null });
    leaving.abort();
    await expect(answer).rejects.toThrow("aborted");
    await expectState("aborted");
  });

  test("status, headers and body are the script's", async () => {
    const fault = {
      kind: "status",
      status: 429,
      headers: { "retry-after": "1" },
      body: `{"error":"slow"}`,
    } as const;
    const answer = await provoke(fault);
    check(answer, { ...clean, status: 429, body: /^{"error":"slow"}$/ });
    expect(answer.headers).toContain("retry-after: 1");
  });

  test.each([true, false])("compressed, stream %s", async (stream) => {
    const answer = await provoke({ kind: "compressed" }, undefined, stream);
    expect(answer.headers).toContain("content-encoding: gzip");
    expect(gunzipSync(answer.body).toString()).toMatch(stream ? / tok4[\s\S]*\[DONE\]\n\n$/ : / tok4/);
  });

  test("embeddings fail too", async () => {
    const body = { input: "x", emulator: { fault: { kind: "status", status: 503 } } };
    expect((await rawPost(`${emulator.url}/embeddings`, body)).status).toBe(503);
  });
});

describe("in the middle of a stream", () => {
  const cases: Record<Exclude<(typeof LATE_FAULTS)[number], "hang" | "comments">, Expected> = {
    reset: { status: 200, ending: "reset", complete: false, body: / tok1.*\n\n$/ },
    eof: { ...clean, body: / tok1.*\n\n$/ },
    half_event: { ...clean, body: /\n\ndata: {"id":[^\n]*$/ },
    half_utf8: { ...clean, body: / caf\uFFFD$/ },
    not_utf8: { ...clean, body: / caf\uFFFD".*\n\n$/ },
    error_event: { ...clean, body: /data: {"error":{"message":".*","type":"server_error",.*}}\n\n$/ },
    error_string: { ...clean, body: /data: {"error":"boom"}\n\n$/ },
    error_object_no_message: { ...clean, body: /data: {"error":{"type":"server_error","code":500}}\n\n$/ },
    garbage: { ...clean, body: /data: this is not json\n\n$/ },
  };

  test.each(Object.entries(cases))("%s", async (kind, expected) => {
    const answer = await provoke({ kind: kind as ScriptFault["kind"], after_tokens: 2 });
    check(answer, expected);
    expect(tokens(answer)).toBe(2);
    expect(answer.body.toString()).not.toMatch(/\[DONE\]|"finish_reason":"/);
    await expectState("faulted");
  });

  test("hang says nothing more until the client leaves", async () => {
    const answer = await provoke({ kind: "hang", after_tokens: 2 }, (bytes) => bytes.includes("tok1"));
    expect(tokens(answer)).toBe(2);
    await expectState("aborted");
  });

  test("comments go on without end", async () => {
    const twice = (bytes: Buffer): boolean => bytes.toString().split(": keep-alive\n\n").length > 2;
    expect(tokens(await provoke({ kind: "comments", after_tokens: 1 }, twice))).toBe(1);
    await expectState("aborted");
  });

  test("after 0 tokens there is the role, and no token", async () => {
    const answer = await provoke({ kind: "eof" });
    check(answer, { ...clean, body: /^data: .*"role":"assistant".*\n\n$/ });
  });

  test("a fault beyond the last token acts at the end, before the finish reason", async () => {
    const answer = await provoke({ kind: "eof", after_tokens: 99 });
    expect(tokens(answer)).toBe(5);
    expect(answer.body.toString()).not.toContain(`"stop"`);
  });

  test("after_finish acts between the finish reason and [DONE]", async () => {
    const answer = await provoke({ kind: "reset", after_finish: true });
    check(answer, { ending: "reset", complete: false, body: /"finish_reason":"stop"}]}\n\n$/ });
  });

  test("a stream can go on, hang or be reset after what the fault wrote", async () => {
    const on = await provoke({ kind: "garbage", after_tokens: 2, afterwards: "continue" });
    check(on, { ...clean, body: /not json\n\ndata: .* tok2[\s\S]*\[DONE\]\n\n$/ });
    const reset = await provoke({ kind: "half_event", after_tokens: 2, afterwards: "reset" });
    check(reset, { ending: "reset", complete: false, body: /data: {"id":[^\n]*$/ });
    const hung = await provoke({ kind: "error_string", afterwards: "hang" }, (bytes) =>
      bytes.includes("boom"),
    );
    expect(hung.ending).toBe("open");
  });

  test("a cut at a byte, in pieces, and then the fault", async () => {
    const script = { text: "Hello world", cut_at: 300, read: 7, fault: { kind: "reset" } };
    const answer = await rawPost(`${emulator.url}/chat/completions`, { stream: true, emulator: script });
    expect(answer.body).toHaveLength(300);
    expect(answer.ending).toBe("reset");
  });
});

describe("without stream", () => {
  test.each([
    ["reset", { ending: "reset", complete: false, body: /^{"id"/ }],
    ["eof", { ...clean, body: /^{"id".*[^}]$/ }],
    ["error_event", { ...clean, body: /^{"error":{/ }],
    ["garbage", { ...clean, body: /^this is not json$/ }],
    ["not_utf8", { ...clean, body: /caf\uFFFD/ }],
  ] satisfies [ScriptFault["kind"], Expected][])("%s", async (kind, expected) => {
    check(await provoke({ kind }, undefined, false), expected);
    await expectState("faulted");
  });
});
