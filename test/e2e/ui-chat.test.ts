/** The routes of `useChat`, read by the AI SDK's own transport. */
import type { UIMessage } from "ai";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type GatewayOptions, startGateway, type TestGateway, until } from "../support/gateway.ts";
import { post } from "../support/requests.ts";
import { asked, messageOf, parsed, partsOf, send, transportTo, wordsOf } from "../support/ui-stream.ts";

const WORDS = Array.from({ length: 20 }, (_, index) => `wort${index}é`).join(" ");
/** Goes on until it is stopped. */
const ENDLESS = { text: WORDS, fault: { kind: "hang", after_tokens: 5 } } as const;

let gateway: TestGateway;
const begin = async (options: GatewayOptions = {}): Promise<void> => {
  gateway = await startGateway(options);
};
beforeEach(() => begin());
afterEach(() => gateway.close());

const again = async (options: GatewayOptions): Promise<void> => {
  await gateway.close();
  await begin(options);
};
const body = (emulator: object, more: object = {}): object => ({
  id: "c",
  messages: [asked()],
  emulator,
  ...more,
});
const ask = (emulator: object, more: object = {}, headers: Record<string, string> = {}): Promise<Response> =>
  post(`${gateway.url}/api/chat`, body(emulator, more), headers);
const look = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${gateway.url}/api/chat/${path}`, init);
const halt = (chat = "c"): Promise<Response> => look(`${chat}/stop`, { method: "POST" });

/** Reads an answer until that text has come, and gives what has come by then. */
async function readUntil(answer: Response, text: string): Promise<string> {
  const decoder = new TextDecoder();
  let read = "";
  for await (const bytes of answer.body ?? []) {
    read += decoder.decode(bytes as Uint8Array, { stream: true });
    if (read.includes(text)) break;
  }
  return read;
}

describe("an answer", () => {
  test("is a message that the SDK reads, with the generation's id", async () => {
    const answer = await ask({ text: WORDS, reasoning: "Let me think." });
    expect(answer.headers.get("x-vercel-ai-ui-message-stream")).toBe("v1");
    expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const bytes = await answer.text();
    expect(bytes.endsWith("data: [DONE]\n\n")).toBe(true);
    const parts = await parsed(bytes);
    expect(parts.at(-1)).toEqual({ type: "finish", finishReason: "stop" });
    const message = await messageOf(parts);
    expect(message?.id).toBe(answer.headers.get("x-generation-id"));
    expect([wordsOf(message), wordsOf(message, "reasoning")]).toEqual([WORDS, "Let me think."]);
  });

  test("is asked for with what the body says, less what is the SDK's", async () => {
    const more = { temperature: 0.5, emulator: { text: "x" } };
    await partsOf(await send(gateway.url, "c", more, [asked("What is a lock?")]));
    const [request] = gateway.emulator.requests();
    expect(JSON.parse(request?.body ?? "")).toEqual({
      model: "sluice-demo",
      messages: [{ role: "user", content: "What is a lock?" }],
      stream: true,
      ...more,
    });
  });

  test("goes on in the assistant's message where that is the last", async () => {
    const tool = {
      type: "tool-gate",
      toolCallId: "t",
      state: "output-available",
      input: {},
      output: "open",
    } as const;
    const said: UIMessage = { id: "a1", role: "assistant", parts: [{ type: "step-start" }, tool] };
    const parts = await partsOf(await send(gateway.url, "c", { emulator: { text: "x" } }, [asked(), said]));
    expect(parts[0]).toEqual({ type: "start", messageId: "a1" });
  });

  test("counts as one creating request over sse", async () => {
    await (await ask({ text: WORDS })).text();
    const labels = { transport: "sse", outcome: "completed" };
    await until("it is counted", async () => (await gateway.metric("sluice_requests_total", labels)) === 1);
    await ask({}, { messages: "none" });
    expect(await gateway.metric("sluice_requests_total", { transport: "sse", outcome: "invalid" })).toBe(1);
    expect(await gateway.metric("sluice_requests_total")).toBe(2);
  });
});

describe("resuming", () => {
  test("gives the same bytes from the start, at whatever moment", async () => {
    const answer = await ask({ text: WORDS, pace_ms: 20 });
    const resumed = await Promise.all(
      [0, 3, 9].map(async (word) => {
        await until("that word is there", async () => {
          const { last_seq } = (await (
            await fetch(`${gateway.url}/v1/generations/${answer.headers.get("x-generation-id")}`)
          ).json()) as { last_seq: number };
          return last_seq > word;
        });
        const stream = await look("c/stream");
        expect(stream.status).toBe(200);
        expect(stream.headers.get("x-vercel-ai-ui-message-stream")).toBe("v1");
        return stream.text();
      }),
    );
    const uncut = await answer.text();
    expect(resumed).toEqual([uncut, uncut, uncut]);
    expect(wordsOf(await messageOf(await parsed(uncut)))).toBe(WORDS);
  });

  test("outlives the connection that asked", async () => {
    const leaving = new AbortController();
    const answer = await fetch(`${gateway.url}/api/chat`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body({ text: WORDS, pace_ms: 30 })),
      signal: leaving.signal,
    });
    await readUntil(answer, "wort3é");
    leaving.abort();
    const stream = await transportTo(gateway.url).reconnectToStream({ chatId: "c" });
    expect(wordsOf(await messageOf(await partsOf(stream as NonNullable<typeof stream>)))).toBe(WORDS);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("finds nothing where nothing runs, but for one that asks for what has ended", async () => {
    expect((await look("c/stream")).status).toBe(204);
    expect(await transportTo(gateway.url).reconnectToStream({ chatId: "c" })).toBeNull();
    const uncut = await (await ask({ text: WORDS })).text();
    expect((await look("c/stream")).status).toBe(204);
    expect(await (await look("c/stream?ended=replay")).text()).toBe(uncut);
    expect((await look("c/stream?ended=yes")).status).toBe(400);
  });

  test("finds the latest of a chat, and what was before goes on for its reader", async () => {
    const first = await ask({ text: WORDS, pace_ms: 20 });
    const second = await ask(ENDLESS);
    const stream = await look("c/stream");
    expect(stream.headers.get("x-generation-id")).toBe(second.headers.get("x-generation-id"));
    expect(wordsOf(await messageOf(await parsed(await first.text())))).toBe(WORDS);
    await halt();
    await Promise.all([stream.text(), second.text()]);
  });

  test("forgets with the retention", async () => {
    await again({ env: { SLUICE_RETENTION_MS: "50" } });
    await (await ask({ text: WORDS })).text();
    await until("it is forgotten", async () => (await look("c/stream?ended=replay")).status === 204);
  });

  test("never crosses owners", async () => {
    await again({ env: { SLUICE_API_KEYS: "alice:key-a,bob:key-b" } });
    const [alice, bob] = ["key-a", "key-b"].map((key) => ({ authorization: `Bearer ${key}` }));
    expect((await ask(ENDLESS)).status).toBe(401);
    const answer = await ask(ENDLESS, {}, alice);
    expect((await look("c/stream", { headers: { ...bob } })).status).toBe(204);
    expect((await look("c/stop", { method: "POST", headers: { ...bob } })).status).toBe(204);
    expect(gateway.emulator.stats.open).toBe(1);
    const stopped = await look("c/stop", { method: "POST", headers: { ...alice } });
    expect(await stopped.json()).toMatchObject({ status: "cancelled" });
    await answer.text();
  });
});

describe("who may not", () => {
  const ROUTES = ["", "/c/stream", "/c/stop"] as const;
  const told = async (path: string, headers: Record<string, string>, query = ""): Promise<unknown[]> => {
    const method = path.endsWith("stream") ? "GET" : "POST";
    const url = `${gateway.url}/api/chat${path}${query}`;
    const init = method === "POST" ? { body: JSON.stringify(body(ENDLESS)) } : {};
    const sent = { "content-type": "application/json", ...headers };
    const answer = await fetch(url, { method, headers: sent, ...init });
    await answer.arrayBuffer();
    return [answer.status, answer.headers.get("x-sluice-error")];
  };

  test.each(ROUTES)("a foreign page, at /api/chat%s", async (path) => {
    expect(await told(path, { origin: "https://elsewhere.example" })).toEqual([403, "origin_not_allowed"]);
    expect(gateway.emulator.stats.requests).toBe(0);
  });

  test.each(ROUTES)("nobody, a wrong key or a ticket, at /api/chat%s", async (path) => {
    await again({ env: { SLUICE_API_KEYS: "alice:key-a" } });
    expect(await told(path, {})).toEqual([401, "invalid_api_key"]);
    expect(await told(path, { authorization: "Bearer key-b" })).toEqual([401, "invalid_api_key"]);
    const asked = await post(`${gateway.url}/v1/tickets`, {}, { authorization: "Bearer key-a" });
    const { ticket } = (await asked.json()) as { ticket: string };
    expect(await told(path, {}, `?ticket=${ticket}`)).toEqual([403, "not_allowed"]);
    expect(gateway.emulator.stats.requests).toBe(0);
  });
});

describe("stopping", () => {
  test("stops the upstream, and readers are told so", async () => {
    const answer = await ask(ENDLESS);
    const stopped = await halt();
    expect(await stopped.json()).toMatchObject({
      id: answer.headers.get("x-generation-id"),
      status: "cancelled",
    });
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    const bytes = await answer.text();
    const parts = await parsed(bytes);
    expect(parts.at(-1)).toEqual({ type: "abort", reason: "The generation was cancelled." });
    expect(parts.map(({ type }) => type)).not.toContain("finish");
    expect(bytes.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("is idempotent, and nothing to a chat that is not there", async () => {
    expect((await halt("other")).status).toBe(204);
    await (await ask({ text: WORDS })).text();
    expect(await (await halt()).json()).toMatchObject({ status: "completed" });
  });
});

describe("failures", () => {
  const refusal = (status: number, message: string): object => ({
    fault: { kind: "status", status, body: JSON.stringify({ error: { message } }) },
  });

  test.each([
    [400, refusal(400, "That is too long."), "That is too long.", "upstream_error"],
    [502, refusal(500, "Broken."), "Broken.", "upstream_error"],
    [
      502,
      { fault: { kind: "eof" } },
      "The upstream stopped before the generation had ended.",
      "upstream_disconnected",
    ],
  ])("before content are a status and the message: %i", async (status, script, message, code) => {
    const answer = await ask(script);
    expect([answer.status, await answer.text()]).toEqual([status, message]);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(answer.headers.get("x-sluice-error")).toBe(code);
    await expect(send(gateway.url, "d", { emulator: script })).rejects.toThrow(message);
  });

  test.each([
    ["an id", { id: "" }, /^id must/],
    ["an id that is short enough", { id: "x".repeat(256) }, /^id must/],
    ["messages", { messages: {} }, /^messages must/],
    ["messages of parts", { messages: [{ role: "user", content: "x" }] }, /^messages\[0\]\.parts must/],
    ["a model's name", { model: 1 }, /^model must/],
  ])("a request without %s is refused with words", async (_what, more, words) => {
    const answer = await ask({}, more);
    expect(answer.status).toBe(400);
    expect(await answer.text()).toMatch(words);
    expect(gateway.emulator.stats.requests).toBe(0);
  });

  test("in mid-answer are an error part, and no finish", async () => {
    const bytes = await (await ask({ text: WORDS, fault: { kind: "eof", after_tokens: 3 } })).text();
    const parts = await parsed(bytes);
    expect(parts.at(-1)).toEqual({
      type: "error",
      errorText: "The upstream stopped before the generation had ended.",
    });
    expect(parts.map(({ type }) => type)).not.toContain("finish");
    expect(wordsOf(await messageOf(parts))).toBe(WORDS.split(" ").slice(0, 3).join(" "));
  });

  test("after early headers are a message with an error part", async () => {
    await again({ env: { SLUICE_EARLY_HEADERS_MS: "20", SLUICE_FIRST_TOKEN_TIMEOUT_MS: "400" } });
    const answer = await ask({ fault: { kind: "hang" } });
    expect(answer.status).toBe(200);
    const parts = await parsed(await answer.text());
    expect(parts.map(({ type }) => type)).toEqual(["start", "start-step", "error"]);
  });

  test("of the method and of the media type are told as text too", async () => {
    const wrong = await look("c/stream", { method: "PUT" });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET"]);
    const plain = await fetch(`${gateway.url}/api/chat`, { method: "POST", body: "hello" });
    expect([plain.status, await plain.text()]).toEqual([415, "The body must be application/json."]);
  });
});
