/** The Vercel AI SDK, over its provider for OpenAI-compatible servers: the same parts through Sluice as directly. */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  generateText,
  type LanguageModel,
  RetryError,
  stepCountIs,
  streamText,
  type TextStreamPart,
  type ToolSet,
  tool,
} from "ai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { verbatim } from "../support/requests.ts";

const TEXT = 'Water & <b>weight</b> "only" — ganz für sich, 水門 🚣 and the end.';
const PROMPT = "Tell me of locks.";

let gateway: TestGateway;
let direct: LanguageModel;
let through: LanguageModel;

const over = (baseURL: string): LanguageModel =>
  createOpenAICompatible({ name: "sluice", baseURL, apiKey: "unused", includeUsage: true })("sluice-demo");

beforeAll(async () => {
  gateway = await startGateway();
  direct = over(gateway.emulator.url);
  through = over(`${gateway.url}/v1`);
});
afterAll(() => gateway?.close());
beforeEach(() => {
  gateway.emulator.reset();
  say({ text: TEXT });
});

function say(script: Script): void {
  gateway.emulator.script = () => script;
}

interface Options {
  readonly tools?: ToolSet;
  readonly maxRetries?: number;
  readonly abortSignal?: AbortSignal;
}

/** Streams an answer; its own log of errors is kept quiet, since they are what is tested. */
const stream = (model: LanguageModel, options: Options = {}) =>
  streamText({
    model,
    prompt: PROMPT,
    maxRetries: 0,
    stopWhen: stepCountIs(3),
    onError: () => {},
    ...options,
  });

async function partsOf(model: LanguageModel, options?: Options): Promise<TextStreamPart<ToolSet>[]> {
  const parts: TextStreamPart<ToolSet>[] = [];
  for await (const part of stream(model, options).fullStream) parts.push(part);
  return parts;
}

/** The parts without what differs between two answers of one script: ids, times and headers. */
function told(parts: readonly TextStreamPart<ToolSet>[]): unknown[] {
  return parts.map((part) => {
    if (part.type === "start-step") return { type: part.type, warnings: part.warnings };
    if (part.type === "finish-step")
      return { ...part, response: { modelId: part.response.modelId }, performance: undefined };
    return part.type === "error" ? { type: part.type, error: failure(part.error) } : part;
  });
}

/** An error by what a program can tell it by; one that came in the stream is an object of the upstream's. */
function failure(error: unknown): unknown {
  if (!APICallError.isInstance(error)) return error instanceof Error ? error.name : error;
  const { name, statusCode, isRetryable, data, message } = error;
  return { name, statusCode, isRetryable, data, message };
}

const textOf = (parts: readonly TextStreamPart<ToolSet>[]): string =>
  parts.map((part) => (part.type === "text-delta" ? part.text : "")).join("");
const errorsOf = (parts: readonly TextStreamPart<ToolSet>[]): unknown[] =>
  parts.flatMap((part) => (part.type === "error" ? [part.error] : []));

/** The same work by a model before the upstream itself, and by one before Sluice. */
async function both<T>(work: (model: LanguageModel) => Promise<T>): Promise<{ straight: T; relayed: T }> {
  const [straight, relayed] = await Promise.all([work(direct), work(through)]);
  return { straight, relayed };
}

describe("streamText", () => {
  test.each<[string, Script, string]>([
    ["plain", {}, "stop"],
    ["cut by length", { finish_reason: "length" }, "length"],
    ["a finish reason that is not OpenAI's", { finish_reason: "eos" }, "other"],
    ["CRLF line ends", { crlf: true }, "stop"],
    ["seven bytes a write", { read: 7 }, "stop"],
    ["comments in between", { comment_every_ms: 5, pace_ms: 10 }, "stop"],
  ])("the same parts, usage and finish reason direct and through: %s", async (_name, script, reason) => {
    say({ text: TEXT, ...script });
    const { straight, relayed } = await both((model) => partsOf(model));
    expect(told(relayed)).toEqual(told(straight));
    expect(textOf(relayed)).toBe(TEXT);
    expect(relayed.at(-1)).toMatchObject({ type: "finish", finishReason: reason });
    expect(relayed.at(-1)).toMatchObject({ totalUsage: { outputTokens: expect.any(Number) } });
  });

  test("reasoning is told as such, before the text", async () => {
    say({ text: TEXT, reasoning: "Let me think of water." });
    const { straight, relayed } = await both((model) => partsOf(model));
    expect(told(relayed)).toEqual(told(straight));
    const types = [...new Set(relayed.map(({ type }) => type))];
    expect(types.indexOf("reasoning-delta")).toBeGreaterThan(0);
    expect(types.indexOf("text-delta")).toBeGreaterThan(types.indexOf("reasoning-end"));
    const result = stream(through);
    await result.consumeStream();
    expect([await result.reasoningText, await result.text]).toEqual(["Let me think of water.", TEXT]);
  });

  test("an abort in mid-answer stops the upstream", async () => {
    say({ tokens: 100_000, pace_ms: 5 });
    const leaving = new AbortController();
    const types: string[] = [];
    for await (const part of stream(through, { abortSignal: leaving.signal }).fullStream) {
      types.push(part.type);
      if (part.type === "text-delta" && part.text.includes("tok3")) leaving.abort();
    }
    expect(types.at(-1)).toBe("abort");
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    expect(gateway.emulator.stats.open).toBe(0);
  });
});

test("generateText gives the same answer direct and through", async () => {
  say({ text: TEXT, reasoning: "Let me think of water." });
  const { straight, relayed } = await both(async (model) => {
    const { content, text, reasoningText, usage, finishReason, response } = await generateText({
      model,
      prompt: PROMPT,
    });
    return { content, text, reasoningText, usage, finishReason, model: response.modelId };
  });
  expect(relayed).toEqual(straight);
  expect(relayed).toMatchObject({ text: TEXT, finishReason: "stop" });
  expect(relayed.usage.outputTokens).toBeGreaterThan(8);
});

describe("tool calls", () => {
  const chunk = (delta: object, finish_reason: string | null = null): string =>
    `data: ${JSON.stringify({ id: "c1", created: 1, model: "m", choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
  const call = (index: number, id: string | undefined, args: string): string =>
    chunk({
      tool_calls: [{ index, ...(id && { id }), function: { ...(id && { name: "gate" }), arguments: args } }],
    });
  const CALLS = [
    call(0, "call_a", ""),
    call(0, undefined, '{"op'),
    call(1, "call_b", '{"open":'),
    call(0, undefined, 'en":true}'),
    call(1, undefined, "false}"),
  ];
  const ASKED = [chunk({ role: "assistant", content: null }), ...CALLS, chunk({}, "tool_calls")].join("");
  const SCRIPT = verbatim(`${ASKED}data: [DONE]\n\n`);
  const gate = tool({
    description: "Opens or closes the gate.",
    inputSchema: z.object({ open: z.boolean() }),
    execute: async ({ open }) => (open ? "it is open" : "it is shut"),
  });

  test("arguments in fragments are joined, the tool runs, and its results are sent on", async () => {
    const tell = async (model: LanguageModel): Promise<{ parts: unknown[]; bodies: unknown[] }> => {
      gateway.emulator.reset();
      gateway.emulator.queue([SCRIPT, { text: TEXT }]);
      const parts = await partsOf(model, { tools: { gate } });
      expect(textOf(parts)).toBe(TEXT);
      const results = parts.flatMap((part) => (part.type === "tool-result" ? [part.output] : []));
      expect(results).toEqual(["it is open", "it is shut"]);
      return {
        parts: told(parts),
        bodies: gateway.emulator.requests().map(({ body }) => JSON.parse(body ?? "")),
      };
    };
    const straight = await tell(direct);
    const relayed = await tell(through);
    expect(relayed).toEqual(straight);
    expect(relayed.bodies).toHaveLength(2);
  });
});

describe("errors", () => {
  test.each([400, 404, 409, 422, 429])(
    "a refusal with %i is the same error direct and through",
    async (status) => {
      say({ fault: { kind: "status", status } });
      const { straight, relayed } = await both((model) => partsOf(model));
      expect(told(relayed)).toEqual(told(straight));
      expect(errorsOf(relayed)).toEqual([
        expect.objectContaining({ name: "AI_APICallError", statusCode: status }),
      ]);
      const thrown = await generateText({ model: through, prompt: PROMPT, maxRetries: 0 }).catch(
        (error) => error,
      );
      expect(failure(thrown)).toEqual(failure(errorsOf(straight)[0]));
    },
  );

  test.each([500, 503])("%i is an error to retry direct and through, where it is 502", async (status) => {
    say({ fault: { kind: "status", status } });
    const { straight, relayed } = await both((model) => partsOf(model));
    expect(errorsOf(straight)).toMatchObject([
      { name: "AI_APICallError", statusCode: status, isRetryable: true },
    ]);
    expect(errorsOf(relayed)).toMatchObject([
      {
        name: "AI_APICallError",
        statusCode: 502,
        isRetryable: true,
        data: { error: { code: "upstream_error" } },
      },
    ]);
  });

  test("an error event in mid-stream is an error part with the upstream's words, after the same text", async () => {
    say({ text: "so far so good and on", fault: { kind: "error_event", after_tokens: 3 } });
    const { straight, relayed } = await both((model) => partsOf(model));
    expect(told(relayed)).toEqual(told(straight));
    expect(textOf(relayed)).toBe("so far so");
    expect(errorsOf(relayed)).toMatchObject([{ code: "emulator_fault" }]);
    expect(relayed.at(-1)).toMatchObject({ type: "finish", finishReason: "error" });
  });

  test("a cut is an error that says what happened, where directly it is a riddle", async () => {
    say({ text: "so far so good and on", fault: { kind: "eof", after_tokens: 3 } });
    const { straight, relayed } = await both((model) => partsOf(model));
    expect([straight, relayed].map(textOf)).toEqual(["so far so", "so far so"]);
    // The SDK itself misses the finish reason.
    expect(errorsOf(straight)).toMatchObject([{ name: "AI_InvalidResponseDataError" }]);
    expect(errorsOf(relayed)).toMatchObject([{ code: "upstream_disconnected", type: "upstream_error" }]);
    expect([straight, relayed].map((parts) => parts.at(-1))).toMatchObject([
      { type: "finish", finishReason: "error" },
      { type: "finish", finishReason: "error" },
    ]);
  });

  test.each(["reset", "half_event", "half_utf8"] as const)(
    "an upstream cut off (%s) is never a quiet end",
    async (kind) => {
      say({ text: "so far so good and on", fault: { kind, after_tokens: 3 } });
      const parts = await partsOf(through);
      expect([textOf(parts), errorsOf(parts)]).toMatchObject([
        "so far so",
        [{ code: "upstream_disconnected" }],
      ]);
    },
  );
});

describe("its own retries", () => {
  const refusals: readonly [string, Script][] = [
    ["429", { fault: { kind: "status", status: 429, headers: { "retry-after": "1" } } }],
    ["503", { fault: { kind: "status", status: 503, headers: { "retry-after": "1" } } }],
  ];

  test.each(refusals)("%s, and then the stream", async (_name, refusal) => {
    // One after the other: the queue of scripts is one for all.
    for (const model of [direct, through]) {
      gateway.emulator.reset();
      gateway.emulator.queue([refusal, { text: TEXT }]);
      const parts = await partsOf(model, { maxRetries: 2 });
      expect([textOf(parts), errorsOf(parts)]).toEqual([TEXT, []]);
      expect(gateway.emulator.stats.requests).toBe(2);
    }
  });

  test.each(refusals)("%s again and again is given up after as many tries", async (_name, refusal) => {
    say(refusal);
    const { straight, relayed } = await both((model) => partsOf(model, { maxRetries: 1 }));
    const reasons = [straight, relayed].map((parts) =>
      errorsOf(parts).map((error) => RetryError.isInstance(error) && [error.reason, error.errors.length]),
    );
    expect(reasons).toEqual([[["maxRetriesExceeded", 2]], [["maxRetriesExceeded", 2]]]);
    expect(gateway.emulator.stats.requests).toBe(4);
  });

  test("what has begun to stream is not asked for again", async () => {
    say({ text: "so far so good", fault: { kind: "reset", after_tokens: 2 } });
    expect(errorsOf(await partsOf(through, { maxRetries: 2 }))).toHaveLength(1);
    expect(gateway.emulator.stats.requests).toBe(1);
  });
});
