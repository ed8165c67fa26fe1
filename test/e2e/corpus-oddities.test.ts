/** The oddities of real providers that the corpus's README lists, one test for each, on recordings that have them. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { bodyOf, CORPUS, hasCorpus, type Recording, recordings } from "../support/corpus.ts";
import { checkNumbered, checkStock } from "../support/delivery-checks.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { assemble, choicesOf, isObject, type Json, jsonOf, judge, type Verdict } from "../support/oracle.ts";
import { type Deliveries, Replayer, replayOf, scripted } from "../support/replay.ts";

const CHAT = recordings("chat");
const name = hasCorpus ? "oddities" : `oddities (skipped: there are no recordings at ${CORPUS})`;

/** The recordings with a feature; at least one. */
function having(feature: string): readonly Recording[] {
  const found = CHAT.filter(({ features }) => features.includes(feature));
  if (found.length === 0) throw new Error(`no recording has ${feature}`);
  return found;
}

function one(feature: string): Recording {
  const [found] = having(feature);
  if (found === undefined) throw new Error(`no recording has ${feature}`);
  return found;
}

const values = (payloads: readonly Buffer[]): Json[] => payloads.map(jsonOf).filter(isObject);
const deltas = (payloads: readonly Buffer[]): unknown[] =>
  values(payloads)
    .flatMap(choicesOf)
    .map((choice) => choice["delta"]);
const members = (payloads: readonly Buffer[], member: string): unknown[] =>
  deltas(payloads).map((delta) => (isObject(delta) ? delta[member] : undefined));

describe.skipIf(!hasCorpus)(name, () => {
  let gateway: TestGateway;
  let replayer: Replayer;
  beforeAll(async () => {
    gateway = await startGateway({ emulator: { corpus: CORPUS } });
    replayer = await Replayer.over(gateway);
  });
  afterAll(async () => {
    replayer.close();
    await gateway.close();
  });

  /** The recording as three readers got it, which is as the oracle has it. */
  async function delivered(
    file: Recording,
    script: Script = {},
    n = file.request.n ?? 1,
  ): Promise<Deliveries> {
    const body = bodyOf(file).subarray(0, script.cut_at ?? file.bytes);
    const deliveries = await replayer.together(replayOf(file, { read: 7, ...script }, { n }));
    return checked(deliveries, judge(body, n));
  }

  /** As if an upstream had answered with this body. */
  async function deliveredBody(body: string): Promise<Deliveries> {
    const headers = { "content-type": "text/event-stream" };
    const script: Script = { fault: { kind: "status", status: 200, headers, body } };
    return checked(await replayer.together(scripted(script)), judge(Buffer.from(body)));
  }

  function checked(deliveries: Deliveries, verdict: Verdict): Deliveries {
    checkStock(deliveries.stock, verdict);
    checkNumbered(deliveries.events, verdict);
    checkNumbered(deliveries.websocket, verdict);
    return deliveries;
  }

  test("an `error: {...}` line is no field of an event stream: the stream just stopped", async () => {
    const file = one("non_sse_lines");
    expect(bodyOf(file).toString()).toMatch(/^error: \{.*failed to decode/m);
    const { stock, websocket } = await delivered(file, { read: "event" });
    expect(websocket.seqs).toHaveLength(1997);
    expect(websocket.end).toMatchObject({ status: "failed", error: { code: "upstream_disconnected" } });
    expect(stock.body.toString()).not.toContain("failed to decode");
    expect(stock.body.toString()).not.toContain("[DONE]");
  });

  test("`event: error` is the ending, and no name of an event of ours", async () => {
    const file = one("event_names");
    expect(bodyOf(file).toString()).toContain("\nevent: error\n");
    const { stock, events } = await delivered(file);
    expect(events.end).toMatchObject({
      status: "failed",
      error: { code: "tool_use_failed", type: "invalid_request_error", param: null, status_code: 400 },
    });
    expect(events.seqs).toHaveLength(file.events - 1);
    expect(stock.body.toString()).not.toMatch(/^event:/m);
  });

  test("an error inside a chunk ends it, whatever finish reason came before and [DONE] after", async () => {
    const file = having("error_in_stream").find(({ done_sentinel }) => done_sentinel) as Recording;
    expect(file.expected.finish_reasons).toEqual({ 0: ["length", "length"] });
    const { stock, events } = await delivered(file);
    expect(stock.doneCount).toBe(0);
    expect(jsonOf(stock.error as Buffer)).toMatchObject({ choices: [{ index: 0 }], error: { code: 400 } });
    const error = { message: "Token limit reached", type: "upstream_error", param: null, code: "400" };
    expect(events.end).toMatchObject({ status: "failed", error, usage: { total_tokens: 53 } });
  });

  test("an error before any content leaves no events, and has an HTTP status", async () => {
    const file = one("empty_choices_first_chunk");
    const payload = `{"error":{"message":"no more","code":7}}`;
    const fault = { kind: "error_event", after_tokens: 1, body: payload } as const;
    const body = bodyOf(file).toString();
    const verdict = judge(Buffer.from(`${body.slice(0, body.indexOf("\n\n") + 2)}data: ${payload}\n\n`));
    expect(verdict.payloads).toEqual([]);
    const { stock, events } = checked(await replayer.apart(replayOf(file, { fault })), verdict);
    expect([stock.status, stock.body.toString()]).toEqual([502, payload]);
    const error = { message: "no more", type: "upstream_error", param: null, code: "7" };
    expect(events.end).toMatchObject({ seq: 1, status: "failed", error });
  });

  test("CRLF: payloads without the CR, also where it comes alone", async () => {
    for (const file of having("crlf")) {
      const { stock, events } = await delivered(file, { read: file.bytes < 100_000 ? 1 : 16 });
      expect(events.seqs).toHaveLength(file.events);
      expect(stock.body.includes("\r")).toBe(false);
    }
  });

  test("`data:` without a space", async () => {
    for (const file of having("data_no_space")) {
      expect(bodyOf(file).toString()).toMatch(/^data:\{/m);
      const { events } = await delivered(file);
      expect(events.payloads.every((payload) => payload.toString().startsWith("{"))).toBe(true);
    }
  });

  test("a missing [DONE] is made good where a finish reason came", async () => {
    const files = having("no_done").filter(({ features }) => !features.includes("no_finish_reason"));
    expect(files.length).toBeGreaterThan(20);
    for (const file of files) {
      const { stock } = await delivered(file, { read: "event" });
      expect(stock.doneCount, file.file).toBe(1);
    }
  });

  test("comments are no payload", async () => {
    const file = one("sse_comments");
    expect(bodyOf(file).toString()).toContain(": OPENROUTER PROCESSING\n");
    const { stock, events } = await delivered(file);
    expect(stock.body.toString()).not.toContain("PROCESSING");
    expect(events.seqs).toHaveLength(file.json_events);
    const bare = bodyOf(file).toString().replaceAll("\n\n", "\n\n: \n\n:\n\n");
    expect((await deliveredBody(bare)).events.payloads).toEqual(events.payloads);
  });

  test("ids that change in mid-stream stay as they are, in one generation", async () => {
    for (const file of having("id_changes_mid_stream")) {
      const { websocket } = await delivered(file);
      expect(new Set(values(websocket.payloads).map(({ id }) => id)).size).toBeGreaterThan(1);
    }
  });

  test("a repeated finish reason ends nothing twice, and nothing early", async () => {
    for (const file of having("repeated_finish_reason")) {
      const { events } = await delivered(file);
      const reasons = Object.values(assemble(events.payloads).reasons);
      expect(reasons.some((told) => told.length > 1)).toBe(true);
    }
  });

  test("no finish reason: [DONE] ends it well, a stop does not", async () => {
    const files = having("no_finish_reason").filter(({ done_sentinel }) => done_sentinel);
    expect(files).toHaveLength(4);
    for (const file of files) {
      expect((await delivered(file, { read: "event" })).events.end["status"]).toBe("completed");
      const cut_at = bodyOf(file).lastIndexOf("data: [DONE]");
      const { events } = await delivered(file, { read: "event", cut_at });
      expect(events.end).toMatchObject({ status: "failed", error: { code: "upstream_disconnected" } });
    }
  });

  test("finish reasons that OpenAI does not have end it well", async () => {
    for (const file of [...having("finish_eos"), ...having("finish_eos_token")]) {
      expect((await delivered(file)).events.end["status"]).toBe("completed");
    }
  });

  test("interleaved choices stay in order, and each is whole", async () => {
    for (const file of having("n_gt_1")) {
      const { stock } = await delivered(file);
      const { text } = assemble(stock.payloads);
      expect(text).toEqual(file.expected.text_by_choice);
    }
  });

  test("a stop after one of two finish reasons is an end only where one choice was asked for", async () => {
    const file = having("n_gt_1").find(({ done_sentinel }) => !done_sentinel) as Recording;
    const body = bodyOf(file);
    const cut_at = body.indexOf("\n\n", body.indexOf(`"finish_reason":"stop"`)) + 2;
    expect((await delivered(file, { cut_at }, 2)).events.end["status"]).toBe("failed");
    expect((await delivered(file, { cut_at }, 1)).events.end["status"]).toBe("completed");
    expect((await delivered(file, {}, 2)).events.end["status"]).toBe("completed");
  });

  test("content as an array of parts, and as null", async () => {
    for (const file of having("content_parts_array")) {
      const { websocket } = await delivered(file);
      expect(members(websocket.payloads, "content").some(Array.isArray)).toBe(true);
      expect(assemble(websocket.payloads).text["0"]).toBe(file.expected.text);
    }
    const { websocket } = await delivered(one("null_content"));
    expect(members(websocket.payloads, "content")).toContain(null);
  });

  test("a choice without a delta", async () => {
    const { events } = await delivered(one("delta_null_or_missing"));
    expect(deltas(events.payloads)).toContain(undefined);
  });

  test("tool calls without an index are content like others", async () => {
    for (const file of having("tool_call_without_index")) {
      const { events } = await delivered(file);
      const calls = members(events.payloads, "tool_calls").flatMap((list) => list ?? []);
      expect(calls.some((call) => isObject(call) && !("index" in call))).toBe(true);
      expect(events.end["status"]).toBe("completed");
    }
  });

  test("of usage in many chunks the last counts", async () => {
    for (const file of having("usage_in_many_chunks")) {
      const { websocket } = await delivered(file, { read: "event" });
      const told = values(websocket.payloads).map(
        ({ usage, x_groq }) => usage ?? (x_groq as Json)?.["usage"],
      );
      expect(told.filter(isObject).length, file.file).toBeGreaterThan(1);
      expect(websocket.end["usage"]).toEqual(told.findLast(isObject));
    }
  });

  test("a last block without its blank line counts", async () => {
    for (const file of having("last_event_unterminated")) {
      expect(bodyOf(file).toString()).not.toMatch(/\n\n$/);
      expect((await delivered(file)).events.end["status"]).toBe("completed");
    }
  });

  test.each(["whole", 7, 4096] as const)("one line of 118 KB, read by %s", async (read) => {
    for (const file of having("huge_line_gt_16k")) await delivered(file, { read });
    // The longest chat line that was recorded has 26 KB: this one is made.
    const text = `"${"\\é水".repeat(16_850)}"`;
    const { stock, events, websocket } = await replayer.together(scripted({ text, read }));
    expect(Math.max(...stock.payloads.map((payload) => payload.length))).toBeGreaterThan(118_000);
    expect(events.payloads).toEqual(stock.payloads);
    expect(websocket.payloads).toEqual(stock.payloads);
    expect(assemble(stock.payloads).text).toEqual({ 0: text });
  });
});
