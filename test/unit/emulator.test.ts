import net from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  type Emulator,
  fingerprint,
  type RequestRecord,
  type Script,
  startEmulator,
} from "../../src/emulator/index.ts";

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator({ models: ["sluice-demo", "org/other"] });
});
afterAll(() => emulator.close());
beforeEach(() => emulator.reset());

function post(body: unknown, route = "/chat/completions", init: RequestInit = {}): Promise<Response> {
  const headers = { "content-type": "application/json", ...(init.headers as Record<string, string>) };
  return fetch(emulator.url + route, { method: "POST", body: JSON.stringify(body), ...init, headers });
}

/** The answer's JSON; what the tests look at is checked by their looking at it. */
async function json<T>(response: Response | Promise<Response>): Promise<T> {
  return (await (await response).json()) as T;
}

interface Refused {
  error: { message: string; type: string; code: string | null };
}

interface Chunk {
  object: string;
  model: string;
  choices: { index: number; delta?: Record<string, string>; text?: string; finish_reason: string | null }[];
  usage?: { completion_tokens: number } | null;
}

/** The payloads of a streamed answer, whatever its line ends. */
async function payloads(script: Script | undefined, more: object = {}, route?: string): Promise<string[]> {
  const body = await (await post({ stream: true, emulator: script, ...more }, route)).text();
  return body.split(/\r?\n\r?\n/).flatMap((block) => (block.startsWith("data: ") ? [block.slice(6)] : []));
}

function chunksOf(lines: readonly string[]): Chunk[] {
  return lines.filter((line) => line !== "[DONE]").map((line) => JSON.parse(line));
}

function joined(chunks: readonly Chunk[], key: string, index = 0): string {
  const choices = chunks.flatMap((chunk) => chunk.choices.filter((choice) => choice.index === index));
  return choices.map((choice) => choice.delta?.[key] ?? "").join("");
}

describe("scripted streams", () => {
  test("a text comes word by word, with role, finish reason and [DONE]", async () => {
    const lines = await payloads({ text: "Hello  big\nworld é😀" }, { model: "m1" });
    const chunks = chunksOf(lines);
    expect(lines.at(-1)).toBe("[DONE]");
    expect(joined(chunks, "content")).toBe("Hello  big\nworld é😀");
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: "assistant", content: "" });
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
    expect(new Set(chunks.map((chunk) => `${chunk.object} ${chunk.model}`))).toEqual(
      new Set(["chat.completion.chunk m1"]),
    );
    expect(chunks).toHaveLength(6);
  });

  test("synthetic tokens, in bursts, padded to the size asked for", async () => {
    const lines = await payloads({
      tokens: 50,
      burst: 8,
      payload_bytes: 330,
      role_chunk: false,
      done: false,
    });
    expect(joined(chunksOf(lines), "content")).toBe(
      Array.from({ length: 50 }, (_, i) => ` tok${i}`).join(""),
    );
    expect(lines).toHaveLength(51);
    expect(lines.every((line) => line.length === 330)).toBe(true);
  });

  test("choices take turns, reasoning comes first, usage where it is asked for", async () => {
    const script = { text: "a b", reasoning: "hm hm", finish_reason: "length" };
    const chunks = chunksOf(await payloads(script, { n: 2, stream_options: { include_usage: true } }));
    expect([joined(chunks, "content", 0), joined(chunks, "content", 1)]).toEqual(["a b", "a b"]);
    expect(joined(chunks, "reasoning_content", 1)).toBe("hm hm");
    expect(chunks.slice(2, 6).map((chunk) => chunk.choices[0]?.index)).toEqual([0, 1, 0, 1]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 8 } });
    expect(emulator.stats.tokens_sent).toBe(8);
  });

  test("paced, with comments beside the tokens, in CRLF", async () => {
    const script = {
      tokens: 5,
      pace_ms: 4,
      jitter_ms: 2,
      first_token_ms: 5,
      comment_every_ms: 2,
      crlf: true,
    };
    const text = await (await post({ stream: true, emulator: script })).text();
    expect(text).toContain(": keep-alive\r\n\r\n");
    expect(text.replaceAll("\r\n", "")).not.toContain("\n");
    expect(text.match(/tok\d/g)).toHaveLength(5);
  });

  test("completions stream text, and no role", async () => {
    const chunks = chunksOf(await payloads({ text: "one two" }, { prompt: "x" }, "/completions"));
    expect(chunks.map((chunk) => chunk.choices[0]?.text)).toEqual(["one", " two", ""]);
    expect(chunks[0]?.object).toBe("text_completion");
  });

  test("without stream, one JSON with usage", async () => {
    const answer = await json<{ choices: unknown[] }>(post({ emulator: { text: "a b c", n: 2 } }));
    expect(answer).toMatchObject({ object: "chat.completion", usage: { completion_tokens: 6 } });
    expect(answer.choices[1]).toMatchObject({
      index: 1,
      message: { content: "a b c" },
      finish_reason: "stop",
    });
  });

  test("without a script, the demo says what it is, echoes, and heeds max_tokens", async () => {
    const messages = [{ role: "user", content: [{ type: "text", text: `Tell ${"x".repeat(400)}` }] }];
    const whole = chunksOf(await payloads(undefined, { messages }));
    const text = joined(whole, "content");
    expect(text).toContain("not a model");
    expect(text).toContain("OPENAI_API_KEY=... npm start");
    expect(/“(.*)”/.exec(text)?.[1]).toHaveLength(200);
    const cut = chunksOf(await payloads(undefined, { messages, max_tokens: 3 }));
    expect(cut.at(-1)?.choices[0]?.finish_reason).toBe("length");
    expect(cut).toHaveLength(5);
  });
});

describe("which script", () => {
  test("the queue goes before the function, and that before the request", async () => {
    emulator.script = (_body, n) => (n === 2 ? { text: "function" } : undefined);
    emulator.queue([{ text: "queue" }]);
    const said: string[] = [];
    for (let i = 0; i < 3; i += 1)
      said.push(joined(chunksOf(await payloads({ text: "request" })), "content"));
    expect(said).toEqual(["queue", "function", "request"]);
  });

  test("the queue can be filled over HTTP", async () => {
    const root = emulator.url.slice(0, -3);
    const init = { method: "POST", body: JSON.stringify({ queue: [null, { text: "second" }] }) };
    expect(await (await fetch(`${root}/emulator/script`, init)).json()).toEqual({ queued: 2 });
    expect(joined(chunksOf(await payloads({ text: "own" })), "content")).toBe("own");
    expect(joined(chunksOf(await payloads({ text: "own" })), "content")).toBe("second");
  });

  test.each([
    [{ tokns: 3 }, "emulator.tokns is not known"],
    [{ pace_ms: "fast" }, 'emulator.pace_ms must be a number of milliseconds, 0 or more, not "fast"'],
    [{ text: "a", tokens: 1 }, "emulator has both text and tokens: name one"],
    [{ fault: { kind: "boredom" } }, "emulator.fault.kind must be one of"],
    [{ fault: {} }, "emulator.fault needs a kind"],
    [7, "emulator must be an object"],
  ])("refuses %j", async (script, message) => {
    const response = await post({ emulator: script });
    expect(response.status).toBe(400);
    expect((await json<Refused>(response)).error.message).toContain(message);
  });
});

describe("other routes", () => {
  test("models", async () => {
    const list = await json<{ data: { id: string }[] }>(fetch(`${emulator.url}/models`));
    expect(list.data.map((model) => model.id)).toEqual(["sluice-demo", "org/other"]);
    for (const id of ["org/other", "org%2Fother"]) {
      expect(await (await fetch(`${emulator.url}/models/${id}`)).json()).toMatchObject({
        id: "org/other",
        object: "model",
      });
    }
    const unknown = await fetch(`${emulator.url}/models/none`);
    expect([unknown.status, (await json<Refused>(unknown)).error.code]).toEqual([404, "model_not_found"]);
  });

  test("embeddings are the same each time, as numbers or base64", async () => {
    const body = { input: ["a", "b"], encoding_format: "base64" };
    const base64 = await json<{ data: { embedding: string }[] }>(post(body, "/embeddings"));
    const numbers = await json<{ data: { embedding: number[] }[] }>(
      post({ input: body.input }, "/embeddings"),
    );
    const bytes = Buffer.from(base64.data[1]?.embedding ?? "", "base64");
    const floats = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
    expect(numbers.data[1]?.embedding).toEqual(floats);
    expect(floats).toHaveLength(8);
  });

  test("unknown routes and bodies that are no JSON are refused in OpenAI's shape", async () => {
    const unknown = await post({}, "/nothing");
    expect([unknown.status, (await json<Refused>(unknown)).error.type]).toEqual([
      404,
      "invalid_request_error",
    ]);
    expect((await post({}, "/completions", { body: "{" })).status).toBe(400);
    expect((await fetch(`${emulator.url}/chat/completions`)).status).toBe(404);
  });

  test("a key, where one is set", async () => {
    const keyed = await startEmulator({ apiKey: "secret" });
    expect((await fetch(`${keyed.url}/models`)).status).toBe(401);
    const headers = { authorization: "Bearer secret" };
    expect((await fetch(`${keyed.url}/models`, { headers })).status).toBe(200);
    await keyed.close();
  });
});

describe("the ledger", () => {
  test("records what came and what went", async () => {
    const headers = { authorization: "Bearer k", "x-probe": "1" };
    await (
      await post({ stream: true, model: "m", user: "u1", emulator: { tokens: 3 } }, undefined, { headers })
    ).text();
    await vi.waitFor(() =>
      expect(emulator.stats).toMatchObject({ requests: 1, open: 0, completed: 1, max_open: 1 }),
    );
    const records = await json<RequestRecord[]>(
      fetch(`${emulator.url.slice(0, -3)}/emulator/requests?user=u1`),
    );
    expect(records).toEqual(emulator.requests());
    expect(records[0]).toMatchObject({
      n: 1,
      path: "/v1/chat/completions",
      model: "m",
      user: "u1",
      status: 200,
    });
    expect(records[0]).toMatchObject({ tokens_sent: 3, events_sent: 6, state: "completed" });
    expect(records[0]?.headers).toMatchObject({ "x-probe": "1", authorization: fingerprint("Bearer k") });
    expect(JSON.parse(records[0]?.body ?? "{}").emulator).toEqual({ tokens: 3 });
  });

  test("a client that leaves is an abort, in mid-stream as before the first byte, and stops everything", async () => {
    const scripts: Script[] = [
      { tokens: 1e6, pace_ms: 1, comment_every_ms: 1 },
      { tokens: 1e6 },
      { tokens: 5, first_token_ms: 60_000 },
      { fault: { kind: "hang_before_headers" } },
    ];
    const leaving = new AbortController();
    const asked = scripts.map((script) =>
      post({ stream: true, emulator: script }, undefined, { signal: leaving.signal }).then((r) => r.text()),
    );
    await vi.waitFor(() => expect(emulator.stats.open).toBe(4));
    await vi.waitFor(() =>
      expect(emulator.requests().filter((record) => record.tokens_sent > 2)).toHaveLength(2),
    );
    leaving.abort();
    await Promise.allSettled(asked);
    await vi.waitFor(() => expect(emulator.stats).toMatchObject({ open: 0, max_open: 4, aborted: 4 }));
    const { tokens_sent } = emulator.stats;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(emulator.stats).toMatchObject({ tokens_sent, completed: 0, sent_after_abort: 0 });
  });

  test("a client that does not read holds its generation back", async () => {
    const text = JSON.stringify({ stream: true, emulator: { tokens: 1_000_000, payload_bytes: 1_000 } });
    const socket = net.connect(emulator.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.pause();
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
    );
    let before = -1;
    await vi.waitFor(
      () => {
        const last = before;
        before = emulator.stats.tokens_sent;
        expect(before).toBeGreaterThan(0);
        expect(before).toBe(last);
      },
      { timeout: 30_000, interval: 200 },
    );
    // What the kernel took, some megabytes, and not the gigabyte that there is.
    expect(before).toBeLessThan(50_000);
    socket.destroy();
    await vi.waitFor(() => expect(emulator.stats).toMatchObject({ open: 0, aborted: 1 }));
  });
});
