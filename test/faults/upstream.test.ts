/** What upstreams do wrong, and what becomes of it on the stock wire, on `/events` and over WebSocket. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, eventsOf, post, refusal, startGeneration, streamed, verbatim } from "../support/requests.ts";
import { readSse, type SseClient } from "../support/sse-client.ts";
import { type ServerMessage, WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway({
    env: {
      SLUICE_FIRST_TOKEN_TIMEOUT_MS: "2000",
      SLUICE_STALL_TIMEOUT_MS: "1200",
      SLUICE_TOTAL_TIMEOUT_MS: "1500",
    },
  });
});
afterAll(() => gateway.close());
beforeEach(() => gateway.emulator.reset());

interface Told {
  readonly stock: SseClient;
  readonly events: SseClient;
  readonly end: ServerMessage;
  /** The end event of `/events`, read. */
  readonly ending: Record<string, unknown> & { error?: { code: string } };
}

/** The same script on each transport. */
async function play(script: Script): Promise<Told> {
  const { url } = gateway;
  const stock = readSse(`${url}/v1/chat/completions`, { method: "POST", body: streamed(script) });
  const { id } = await startGeneration(url, script);
  const events = eventsOf(url, id);
  const client = await WsClient.open(gateway.wsUrl);
  const { generation } = await client.ask({ type: "generate", id: "a", request: chat(script) }, "accepted");
  const end = await client.end(generation);
  await events.ended;
  client.terminate();
  const { seq: _, type: __, generation: ___, timing: ____, ...said } = end;
  const { timing: _____, ...ending } = JSON.parse(events.last?.data ?? "{}") as Record<string, unknown>;
  expect(ending).toEqual(said);
  expect(events.lastId).toBe(String(end.seq));
  return { stock: await stock, events, end, ending: ending as Told["ending"] };
}

const early = (kind: string, more: object = {}): Script => ({
  tokens: 3,
  fault: { kind, ...more } as NonNullable<Script["fault"]>,
});
const late = (kind: string, more: object = {}): Script => ({
  tokens: 6,
  pace_ms: 5,
  fault: { kind, after_tokens: 3, ...more } as NonNullable<Script["fault"]>,
});

describe("before any content: the HTTP status, and an ending that is the only event", () => {
  test.each<[string, Script, number, string]>([
    ["status 500", early("status"), 502, "upstream_error"],
    [
      "status 503 with retry-after",
      early("status", { status: 503, headers: { "retry-after": "7" } }),
      502,
      "upstream_error",
    ],
    ["status 401, the operator's fault", early("status", { status: 401 }), 502, "upstream_error"],
    ["status 403", early("status", { status: 403 }), 502, "upstream_error"],
    ["status 404, relayed", early("status", { status: 404 }), 404, "upstream_error"],
    ["status 429, relayed", early("status", { status: 429 }), 429, "rate_limit_exceeded"],
    ["an error in plain text", early("plain_error"), 502, "upstream_error"],
    ["an error in broken JSON", early("malformed_error"), 502, "upstream_error"],
    ["a redirect", early("redirect"), 502, "upstream_error"],
    ["no answer", early("no_answer"), 502, "upstream_disconnected"],
    ["a reset before headers", early("reset_before_headers"), 502, "upstream_disconnected"],
    ["headers, then a reset", early("headers_then_reset"), 502, "upstream_disconnected"],
    ["silence before headers", early("hang_before_headers"), 504, "upstream_timeout"],
    ["silence before content", early("hang"), 504, "upstream_timeout"],
    ["comments before content", early("comments"), 504, "upstream_timeout"],
    ["a reset before content", early("reset"), 502, "upstream_disconnected"],
    ["an end before content", early("eof"), 502, "upstream_disconnected"],
    ["garbage before content", early("garbage"), 502, "upstream_error"],
    ["half an event before content", early("half_event"), 502, "upstream_disconnected"],
    [
      "JSON where a stream was asked for",
      verbatim(`{"choices":[]}`, "application/json"),
      502,
      "upstream_error",
    ],
    [
      "an error as JSON with status 200",
      verbatim(`{"error":"full"}`, "application/json"),
      502,
      "upstream_error",
    ],
  ])("%s", async (_name, script, status, code) => {
    const { stock, events, ending } = await play(script);
    expect((await stock.head).status).toBe(status);
    expect((await stock.head).headers["content-type"]).toMatch(/^application\/json/);
    expect(ending).toMatchObject({ status: "failed", error: { code } });
    expect(events.events.map(({ id, event }) => [id, event])).toEqual([["1", "end"]]);
    if (status !== 404 && status !== 429) expect(JSON.parse(stock.text)).toMatchObject({ error: { code } });
    expect(stock.text).not.toContain("[DONE]");
  });

  test("an error event before content goes out as it came", async () => {
    const { stock, ending } = await play(early("error_event"));
    expect((await stock.head).status).toBe(502);
    expect(ending.error?.code).toBe("emulator_fault");
  });

  test("credentials that were refused: nothing of the upstream's text", async () => {
    const body = `{"error":{"message":"Incorrect API key provided: sk-secret","code":"invalid_api_key"}}`;
    const { stock, ending } = await play(early("status", { status: 401, body }));
    expect(stock.text + JSON.stringify(ending)).not.toContain("sk-secret");
  });
});

describe("in mid-stream: an error event or an ending, and no [DONE]", () => {
  const own = { error: { message: "", type: "upstream_error", param: null } };

  test.each<[string, Script, string]>([
    ["a reset", late("reset"), "upstream_disconnected"],
    ["an end without an ending", late("eof"), "upstream_disconnected"],
    ["half an event", late("half_event"), "upstream_disconnected"],
    ["half a character", late("half_utf8"), "upstream_disconnected"],
    ["silence", late("hang"), "upstream_stalled"],
    ["nothing but comments", late("comments"), "upstream_stalled"],
    ["a payload that is no JSON", late("garbage"), "upstream_error"],
    [
      "a payload that is no JSON, and then more",
      late("garbage", { afterwards: "continue" }),
      "upstream_error",
    ],
    ["a payload that is no UTF-8", late("not_utf8"), "upstream_error"],
    ["an error that is a string", late("error_string"), "upstream_error"],
    ["an error without a message", late("error_object_no_message"), "upstream_error"],
    ["no finish reason", { tokens: 3, finish_reason: null, done: false }, "upstream_disconnected"],
  ])("%s", async (_name, script, code) => {
    const { stock, events, end, ending } = await play(script);
    expect((await stock.head).status).toBe(200);
    expect(await stock.ended).toBe("closed");
    expect(stock.text).not.toContain("[DONE]");
    const error = JSON.parse(stock.last?.data ?? "") as typeof own;
    expect(error).toMatchObject({ error: { type: "upstream_error", param: null, code } });
    expect(ending).toMatchObject({ status: "failed", error: error.error });
    expect(end.seq).toBe(5);
    expect(events.payloads).toHaveLength(4);
    expect(stock.payloads).toHaveLength(5);
    await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
  });

  test("the upstream's own error object goes out as it came, and completed in the ending", async () => {
    const body = `{"error": {"message":"out of \\u0063ards","extra":[1.0]}, "id":1}`;
    const { stock, ending } = await play(late("error_event", { body }));
    expect(stock.last?.data).toBe(body);
    expect(stock.text).not.toContain("[DONE]");
    expect(ending["error"]).toMatchObject({
      message: "out of cards",
      type: "upstream_error",
      param: null,
      code: "upstream_error",
    });
  });
});

describe("ended well all the same", () => {
  test.each<[string, Script, string]>([
    [
      "a reset after the finish reason",
      { tokens: 3, fault: { kind: "reset", after_finish: true } },
      "completed",
    ],
    ["an end after the finish reason", { tokens: 3, done: false }, "completed"],
    [
      "silence after the finish reason",
      { tokens: 3, fault: { kind: "hang", after_finish: true } },
      "completed",
    ],
    ["[DONE] without a finish reason", { tokens: 3, finish_reason: null }, "completed"],
    ["cut short", { tokens: 3, finish_reason: "length" }, "incomplete"],
    ["filtered", { tokens: 3, finish_reason: "content_filter" }, "incomplete"],
    ["another word", { tokens: 3, finish_reason: "because" }, "completed"],
    ["tool calls", { tokens: 3, finish_reason: "tool_calls" }, "completed"],
    ["no content at all", { tokens: 0 }, "completed"],
    ["gzip that nobody asked for", { tokens: 3, fault: { kind: "compressed" } }, "completed"],
    ["CRLF", { tokens: 3, crlf: true }, "completed"],
    ["comments in between", { tokens: 3, pace_ms: 30, comment_every_ms: 5 }, "completed"],
    ["a few bytes at a time", { tokens: 3, read: 7 }, "completed"],
  ])("%s", async (_name, script, status) => {
    const { stock, ending } = await play(script);
    expect(ending).toMatchObject({ status });
    expect(ending).not.toHaveProperty("error");
    expect(stock.last?.data).toBe("[DONE]");
    expect(stock.text.match(/\[DONE\]/g)).toHaveLength(1);
  });

  test("two choices were asked for and seen: one finish reason is not enough", async () => {
    const chunk = (index: number, reason: string | null): string =>
      `data: {"choices":[{"index":${index},"delta":{"content":"x"},"finish_reason":${JSON.stringify(reason)}}]}\n\n`;
    const half = verbatim(chunk(0, null) + chunk(1, null) + chunk(0, "stop"));
    const whole = verbatim(chunk(0, null) + chunk(1, "stop") + chunk(0, "stop"));
    const read = async (script: Script, n: number): Promise<string | undefined> =>
      (await readSse(`${gateway.url}/v1/chat/completions`, { method: "POST", body: streamed(script, { n }) }))
        .last?.data;
    expect(await read(half, 2)).toContain("upstream_disconnected");
    expect(await read(whole, 2)).toBe("[DONE]");
    // One was asked for: the other choice's end is not waited for.
    expect(await read(half, 1)).toBe("[DONE]");
  });
});

test("what is not streamed has one clock, and its failures have their status", async () => {
  const ask = (script: Script) => refusal(post(`${gateway.url}/v1/chat/completions`, chat(script)));
  expect(await ask({ first_token_ms: 60_000, tokens: 1 })).toMatchObject({
    status: 504,
    code: "upstream_timeout",
    type: "upstream_error",
    shouldRetry: "false",
  });
  for (const kind of ["eof", "reset", "hang", "garbage", "status", "no_answer"]) {
    const answer = await ask(early(kind));
    expect([kind, answer.status]).toEqual([kind, kind === "hang" ? 504 : 502]);
  }
  await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
});
