/** LangChain's `ChatOpenAI` against the gateway: messages, tool calls, usage and errors are those that it gets directly. */
import { type AIMessage, AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { ChatOpenAI, type ChatOpenAIFields } from "@langchain/openai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { verbatim } from "../support/requests.ts";

const TEXT = 'Water & <b>weight</b> "only" — ganz für sich, 水門 🚣 and the end.';
const ASK = [new HumanMessage("Tell me of locks.")];

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway?.close());
beforeEach(() => {
  gateway.emulator.reset();
  say({ text: TEXT });
});

function say(script: Script): void {
  gateway.emulator.script = () => script;
}

const over = (baseURL: string, fields: ChatOpenAIFields = {}): ChatOpenAI =>
  new ChatOpenAI({
    model: "sluice-demo",
    apiKey: "unused",
    maxRetries: 0,
    ...fields,
    configuration: { baseURL, ...fields.configuration },
  });

const through = (fields?: ChatOpenAIFields): ChatOpenAI => over(`${gateway.url}/v1`, fields);

interface Both<T> {
  readonly straight: T;
  readonly relayed: T;
}

/** The same work by a model before the upstream itself, and by one before Sluice. */
async function both<T>(work: (model: ChatOpenAI) => Promise<T>, fields?: ChatOpenAIFields): Promise<Both<T>> {
  const [straight, relayed] = await Promise.all([
    work(over(gateway.emulator.url, fields)),
    work(through(fields)),
  ]);
  return { straight, relayed };
}

async function chunksOf(model: ChatOpenAI): Promise<AIMessageChunk[]> {
  const chunks: AIMessageChunk[] = [];
  for await (const chunk of await model.stream(ASK)) chunks.push(chunk);
  return chunks;
}

/** All that a message says but its ids: two answers of one script have two. */
const said = (message: AIMessage | AIMessageChunk): object => {
  const { content, tool_calls, usage_metadata, additional_kwargs, response_metadata } = message;
  return { content, tool_calls, usage_metadata, additional_kwargs, response_metadata };
};

function joined(chunks: readonly AIMessageChunk[]): AIMessageChunk {
  return chunks.reduce((whole, chunk) => whole.concat(chunk), new AIMessageChunk(""));
}

/** An error of the `openai` package that LangChain brings, which is not ours: its classes are known by their names. */
interface ApiError extends Error {
  readonly status?: number;
  readonly code?: string;
  readonly error?: unknown;
  readonly lc_error_code?: string;
}

const told = (thrown: ApiError): object => {
  const { name, message, status, code, error } = thrown;
  return { kind: thrown.constructor.name, name, message, status, code, error };
};

/** What it threw, and the text that came before. */
async function failing(model: ChatOpenAI): Promise<{ error: ApiError; text: string }> {
  let text = "";
  try {
    for await (const chunk of await model.stream(ASK)) text += chunk.text;
  } catch (error) {
    if (error instanceof Error && "requestID" in error) return { error, text };
    throw error;
  }
  throw new Error("it ended as if all were well");
}

describe("stream", () => {
  test.each<[string, Script]>([
    ["plain", {}],
    ["cut by length", { finish_reason: "length" }],
    ["reasoning first", { reasoning: "Let me think of water." }],
    ["CRLF line ends", { crlf: true }],
    ["seven bytes a write", { read: 7 }],
    ["comments in between", { comment_every_ms: 5, pace_ms: 10 }],
  ])("the same chunks direct and through: %s", async (_name, script) => {
    say({ text: TEXT, ...script });
    const { straight, relayed } = await both(chunksOf);
    expect(straight.length).toBeGreaterThan(8);
    expect(relayed.map(said)).toEqual(straight.map(said));
    const whole = joined(relayed);
    expect(whole.text).toBe(TEXT);
    expect(whole.response_metadata["finish_reason"]).toBe(script.finish_reason ?? "stop");
    // It asks for usage by itself, so the last chunk has it.
    expect(whole.usage_metadata).toEqual(joined(straight).usage_metadata);
    expect(whole.usage_metadata).toMatchObject({ output_tokens: expect.any(Number) });
  });

  test("without streamUsage there is none, direct and through", async () => {
    const { straight, relayed } = await both(chunksOf, { streamUsage: false });
    expect(joined(relayed).usage_metadata).toBeUndefined();
    expect(relayed.map(said)).toEqual(straight.map(said));
  });

  test("streamEvents tells the same tokens and the same whole", async () => {
    const tell = async (model: ChatOpenAI): Promise<string[]> => {
      const told: string[] = [];
      for await (const { event, data } of model.streamEvents(ASK, { version: "v2" })) {
        told.push(event === "on_chat_model_stream" ? `${event}: ${data.chunk.text}` : event);
      }
      return told;
    };
    const { straight, relayed } = await both(tell);
    expect(relayed).toEqual(straight);
    expect([relayed[0], relayed.at(-1)]).toEqual(["on_chat_model_start", "on_chat_model_end"]);
  });

  test("leaving in mid-answer stops the upstream", async () => {
    say({ tokens: 100_000, pace_ms: 5 });
    const leaving = new AbortController();
    const stream = await through().stream(ASK, { signal: leaving.signal });
    await expect(
      (async () => {
        for await (const chunk of stream) if (chunk.text.includes("tok3")) leaving.abort();
      })(),
    ).rejects.toThrow(/abort/i);
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    expect(gateway.emulator.stats.open).toBe(0);
  });
});

test("invoke gives the same message, usage and finish reason direct and through", async () => {
  const { straight, relayed } = await both((model) => model.invoke(ASK));
  expect(relayed.text).toBe(TEXT);
  expect(said(relayed)).toEqual(said(straight));
  expect(relayed.usage_metadata).toMatchObject({ output_tokens: expect.any(Number) });
  expect(relayed.response_metadata["finish_reason"]).toBe("stop");
});

describe("tool calls", () => {
  const TOOLS = [
    {
      type: "function",
      function: { name: "gate", parameters: { type: "object", properties: { open: { type: "boolean" } } } },
    },
  ] as const;
  const call = (index: number, part: object) => ({ index, type: "function", ...part });
  const delta = (told: object, finish_reason: string | null = null): string => {
    const choices = [{ index: 0, delta: told, finish_reason }];
    return `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", choices })}\n\n`;
  };
  /** Two calls whose arguments come in fragments, one in the midst of the other. */
  const STREAM = [
    delta({ role: "assistant", content: null }),
    delta({ tool_calls: [call(0, { id: "call_a", function: { name: "gate", arguments: "" } })] }),
    delta({ tool_calls: [call(0, { function: { arguments: '{"op' } })] }),
    delta({ tool_calls: [call(1, { id: "call_b", function: { name: "gate", arguments: '{"open":' } })] }),
    delta({ tool_calls: [call(0, { function: { arguments: 'en":true}' } })] }),
    delta({ tool_calls: [call(1, { function: { arguments: "false}" } })] }),
    delta({}, "tool_calls"),
    "data: [DONE]\n\n",
  ].join("");
  const CALLS = [
    { id: "call_a", name: "gate", args: { open: true }, type: "tool_call" },
    { id: "call_b", name: "gate", args: { open: false }, type: "tool_call" },
  ];

  test("streamed in fragments, they are joined as they are directly", async () => {
    say(verbatim(STREAM));
    const { straight, relayed } = await both(async (model) => {
      const chunks: AIMessageChunk[] = [];
      for await (const chunk of await model.bindTools([...TOOLS]).stream(ASK)) chunks.push(chunk);
      return chunks;
    });
    expect(relayed.map(({ tool_call_chunks }) => tool_call_chunks)).toEqual(
      straight.map(({ tool_call_chunks }) => tool_call_chunks),
    );
    expect(relayed.map(said)).toEqual(straight.map(said));
    expect(joined(relayed).tool_calls).toEqual(CALLS);
    const [first, second] = gateway.emulator.requests();
    expect(JSON.parse(first?.body ?? "{}")).toMatchObject({ tools: TOOLS, stream: true });
    // What is sent through is what is sent directly.
    expect(second?.body).toBe(first?.body);
  });

  test("not streamed", async () => {
    const tool_calls = CALLS.map(({ id, name, args }) => ({
      id,
      type: "function",
      function: { name, arguments: JSON.stringify(args) },
    }));
    const message = { role: "assistant", content: null, tool_calls };
    const body = {
      id: "chatcmpl-1",
      object: "chat.completion",
      created: 1,
      model: "sluice-demo",
      choices: [{ index: 0, message, finish_reason: "tool_calls" }],
    };
    say(verbatim(JSON.stringify(body), "application/json"));
    const { straight, relayed } = await both((model) => model.bindTools([...TOOLS]).invoke(ASK));
    expect(relayed.tool_calls).toEqual(CALLS);
    expect(said(relayed)).toEqual(said(straight));
  });
});

describe("errors", () => {
  test.each([
    [400, "BadRequestError", undefined],
    [404, "NotFoundError", "MODEL_NOT_FOUND"],
    [422, "UnprocessableEntityError", undefined],
    [429, "RateLimitError", "MODEL_RATE_LIMIT"],
  ])("a refusal with %i is the same error direct and through", async (status, kind, code) => {
    say({ fault: { kind: "status", status, headers: { "retry-after": "1" } } });
    const { straight, relayed } = await both(failing);
    expect(told(relayed.error)).toEqual(told(straight.error));
    expect(told(relayed.error)).toMatchObject({ kind, status });
    expect(relayed.error.lc_error_code).toBe(code);
    expect(await through().invoke(ASK).catch(told)).toEqual(told(straight.error));
  });

  test("a context that is too long is told by its class", async () => {
    const error = {
      message: "This model's maximum context length is 8192 tokens.",
      type: "invalid_request_error",
      param: "messages",
      code: "context_length_exceeded",
    };
    say({ fault: { kind: "status", status: 400, body: JSON.stringify({ error }) } });
    const { straight, relayed } = await both((model) => model.invoke(ASK).catch(told));
    expect(relayed).toEqual(straight);
    expect(relayed).toMatchObject({ name: "ContextOverflowError" });
  });

  test.each([500, 503])(
    "%i is an InternalServerError direct and through, where it is 502",
    async (status) => {
      say({ fault: { kind: "status", status } });
      const { straight, relayed } = await both(failing);
      expect(relayed.error.constructor).toBe(straight.error.constructor);
      expect([straight.error.status, relayed.error.status]).toEqual([status, 502]);
      expect(relayed.error).toMatchObject({ code: "upstream_error", type: "upstream_error" });
    },
  );

  test("an error event in mid-stream is an error with the upstream's words, after the same text", async () => {
    say({ text: "so far so good and on", fault: { kind: "error_event", after_tokens: 3 } });
    const { straight, relayed } = await both(failing);
    expect(told(relayed.error)).toEqual(told(straight.error));
    expect([straight.text, relayed.text]).toEqual(["so far so", "so far so"]);
  });

  test.each(["eof", "reset", "half_event"] as const)("an upstream cut off (%s) is an error", async (kind) => {
    say({ text: "so far so good and on", fault: { kind, after_tokens: 3 } });
    // Directly, a clean end looks like the answer's own.
    if (kind === "eof") expect(joined(await chunksOf(over(gateway.emulator.url))).text).toBe("so far so");
    const { error, text } = await failing(through());
    expect([error.code, text]).toEqual(["upstream_disconnected", "so far so"]);
  });
});

describe("its own retries", () => {
  test.each<[string, Script]>([
    ["429 with retry-after", { fault: { kind: "status", status: 429, headers: { "retry-after": "1" } } }],
    ["503, which is 502 through Sluice", { fault: { kind: "status", status: 503 } }],
  ])("%s, and then the stream", async (_name, first) => {
    // One after the other: the queue of scripts is one for all.
    for (const url of [gateway.emulator.url, `${gateway.url}/v1`]) {
      gateway.emulator.reset();
      gateway.emulator.queue([first, { text: TEXT }]);
      expect(joined(await chunksOf(over(url, { maxRetries: 2 }))).text).toBe(TEXT);
      expect(gateway.emulator.stats.requests).toBe(2);
    }
  });

  test("429 without retry-after is not asked again, and is told as such", async () => {
    say({ fault: { kind: "status", status: 429 } });
    const { straight, relayed } = await both(failing, { maxRetries: 2 });
    expect([straight.error.name, relayed.error.name]).toEqual([
      "RateLimitCapacityError",
      "RateLimitCapacityError",
    ]);
    expect(gateway.emulator.stats.requests).toBe(2);
  });
});
