/** The official `openai` package for Node against the gateway: what it reads through Sluice is what it reads directly. */
import OpenAI from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { CORPUS, hasCorpus, recordings } from "../support/corpus.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";

const TEXT = 'Water & <b>weight</b> "only" — ganz für sich, 水門 🚣 and the end.';
const MESSAGES = [{ role: "user" as const, content: "Tell me of locks." }];
const ASK = { model: "sluice-demo", messages: MESSAGES };

type Chunk = OpenAI.Chat.Completions.ChatCompletionChunk;

let gateway: TestGateway;
/** The SDK before Sluice, and the same SDK before the upstream itself. */
let through: OpenAI;
let direct: OpenAI;

beforeAll(async () => {
  gateway = await startGateway(hasCorpus ? { emulator: { corpus: CORPUS } } : {});
  through = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "unused", maxRetries: 0 });
  direct = new OpenAI({ baseURL: gateway.emulator.url, apiKey: "unused", maxRetries: 0 });
});
afterAll(() => gateway?.close());
beforeEach(() => {
  gateway.emulator.reset();
  say({ text: TEXT });
});

function say(script: Script): void {
  gateway.emulator.script = () => script;
}

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

const contentOf = (chunks: readonly Chunk[]): string =>
  chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

/** What differs between two answers of one script: the answer's name and the second it was made in. */
const timeless = <T extends object>(item: T): object => ({ ...item, id: "", created: 0 });

describe("streamed chat completions", () => {
  test("the raw iterator gives the upstream's chunks, in its words", async () => {
    const chunks = await all(await through.chat.completions.create({ ...ASK, stream: true }));
    expect(contentOf(chunks)).toBe(TEXT);
    expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant");
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
  });

  test.each<[string, Script, object]>([
    ["plain", {}, {}],
    ["usage asked for", {}, { stream_options: { include_usage: true } }],
    ["two choices", {}, { n: 2 }],
    ["reasoning first", { reasoning: "Let me think of water." }, {}],
    ["cut by length", { finish_reason: "length" }, {}],
    ["CRLF line ends", { crlf: true }, {}],
    ["seven bytes a write", { read: 7 }, {}],
    ["comments in between", { comment_every_ms: 5, pace_ms: 10 }, {}],
  ])("the same request gives the same chunks direct and through: %s", async (_name, script, more) => {
    say({ text: TEXT, ...script });
    const ask = { ...ASK, ...more, stream: true } as const;
    const [straight, relayed] = await Promise.all(
      [direct, through].map(async (client) => all(await client.chat.completions.create(ask))),
    );
    expect(straight?.length).toBeGreaterThan(8);
    expect(relayed?.map(timeless)).toEqual(straight?.map(timeless));
  });

  test("the stream helper tells its events in order and sums the answer up", async () => {
    const stream = through.chat.completions.stream({ ...ASK, stream_options: { include_usage: true } });
    const told: string[] = [];
    let deltas = "";
    let whole: string | undefined;
    stream.on("connect", () => told.push("connect"));
    stream.on("content.delta", ({ delta, snapshot }) => {
      deltas += delta;
      expect(snapshot).toBe(deltas);
    });
    stream.on("content.done", ({ content }) => {
      told.push("content.done");
      whole = content;
    });
    stream.on("end", () => told.push("end"));
    const final = await stream.finalChatCompletion();
    expect(deltas).toBe(TEXT);
    expect(whole).toBe(TEXT);
    expect(final.choices[0]?.message.content).toBe(TEXT);
    expect(final.choices[0]?.finish_reason).toBe("stop");
    expect(await stream.finalContent()).toBe(TEXT);
    expect((await stream.totalUsage()).completion_tokens).toBe(final.usage?.completion_tokens);
    await stream.done();
    expect(told).toEqual(["connect", "content.done", "end"]);
  });

  test("withResponse shows the ids, and the generation is found by its own", async () => {
    const { data, response, request_id } = await through.chat.completions
      .create({ ...ASK, stream: true })
      .withResponse();
    expect(request_id).toMatch(/\S/);
    expect(response.headers.get("x-request-id")).toBe(request_id);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const id = response.headers.get("x-generation-id") ?? "";
    expect(id).toMatch(/^gen_[\w-]{22,}$/);
    expect(contentOf(await all(data))).toBe(TEXT);
    const generation = await (await fetch(`${gateway.url}/v1/generations/${id}`)).json();
    expect(generation).toMatchObject({ id, object: "generation", status: "completed" });
  });

  test("a request id of the client's own comes back", async () => {
    const headers = { "x-request-id": "trace-0815" };
    const answer = through.chat.completions.create(ASK, { headers });
    expect((await answer.withResponse()).request_id).toBe("trace-0815");
  });

  test.each([
    ["break", (_stream: { controller: AbortController }) => {}],
    ["controller.abort()", (stream: { controller: AbortController }) => stream.controller.abort()],
  ])("%s in mid-answer stops the upstream", async (_name, leave) => {
    say({ tokens: 100_000, pace_ms: 5 });
    const stream = await through.chat.completions.create({ ...ASK, stream: true });
    for await (const chunk of stream) {
      if (!chunk.choices[0]?.delta.content?.includes("tok3")) continue;
      leave(stream);
      break;
    }
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    expect(gateway.emulator.stats.open).toBe(0);
  });

  test("a signal that fires before the first token stops the upstream", async () => {
    say({ text: TEXT, first_token_ms: 60_000 });
    const leaving = new AbortController();
    const answer = through.chat.completions.create({ ...ASK, stream: true }, { signal: leaving.signal });
    const refused = expect(answer).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    await until("the upstream was asked", () => gateway.emulator.stats.open === 1);
    leaving.abort();
    await refused;
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
  });
});

interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly args: string;
}

/** Recordings whose arguments come in fragments, so that their joining is tested. */
const toolRecordings = recordings("chat").filter(
  ({ features, request }) =>
    features.includes("tool_args_fragmented") && features.includes("done") && (request.n ?? 1) === 1,
);
const OPENAI_TOOLS = toolRecordings.filter(
  ({ file, features }) => /chat\/(openai|azure|github)/.test(file) && !features.includes("n_gt_1"),
);

describe.skipIf(!hasCorpus)(`recorded tool calls${hasCorpus ? "" : " (skipped: no corpus)"}`, () => {
  test.each(toolRecordings.map(({ file }) => file))(
    "%s: the same chunks direct and through",
    async (file) => {
      say({ replay: file, read: 11 });
      const [straight, relayed] = await Promise.all(
        [direct, through].map(async (client) =>
          all(await client.chat.completions.create({ ...ASK, stream: true })),
        ),
      );
      expect(straight?.length).toBeGreaterThan(1);
      expect(relayed).toEqual(straight);
    },
  );

  test("the helper joins fragmented arguments as they were recorded", async () => {
    expect(OPENAI_TOOLS.length).toBeGreaterThan(3);
    for (const recording of OPENAI_TOOLS) {
      say({ replay: recording.file });
      const stream = through.chat.completions.stream(ASK);
      const final = await stream.finalChatCompletion();
      const { tool_calls: wanted } = recording.expected as { tool_calls?: readonly ToolCall[] };
      const joined = final.choices[0]?.message.tool_calls?.map(
        (call) => call.type === "function" && [call.id, call.function.name, call.function.arguments],
      );
      expect(joined, recording.file).toEqual(wanted?.map(({ id, name, args }) => [id, name, args]));
    }
  });
});

describe("everything else that it asks for", () => {
  test("a chat completion that is not streamed", async () => {
    const [straight, relayed] = await Promise.all(
      [direct, through].map((client) => client.chat.completions.create(ASK).withResponse()),
    );
    expect(relayed?.data.choices[0]?.message.content).toBe(TEXT);
    expect(timeless(relayed?.data ?? {})).toEqual(timeless(straight?.data ?? {}));
    expect(relayed?.response.headers.get("x-generation-id")).toMatch(/^gen_/);
    expect(relayed?.response.headers.get("x-request-id")).toBe(relayed?.request_id);
  });

  test("legacy completions, streamed and not", async () => {
    const ask = { model: "sluice-demo", prompt: "Tell me of locks." };
    expect((await through.completions.create(ask)).choices[0]?.text).toBe(TEXT);
    const chunks = await all(await through.completions.create({ ...ask, stream: true }));
    expect(chunks.map(({ choices }) => choices[0]?.text ?? "").join("")).toBe(TEXT);
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
  });

  test("models: the list, one of them, and one that there is not", async () => {
    const models = await all(through.models.list());
    expect(models.map(({ id }) => id)).toEqual(["sluice-demo"]);
    expect((await through.models.retrieve("sluice-demo")).id).toBe("sluice-demo");
    await expect(through.models.retrieve("org/none")).rejects.toMatchObject({
      status: 404,
      code: "model_not_found",
    });
  });

  test.each(["float", "base64", undefined] as const)(
    "embeddings as %s are those of the upstream",
    async (format) => {
      const ask = { model: "sluice-demo", input: ["lock", "weir"], dimensions: 16 };
      const options = format === undefined ? ask : { ...ask, encoding_format: format };
      const [straight, relayed] = await Promise.all(
        [direct, through].map((client) => client.embeddings.create(options)),
      );
      expect(relayed?.data).toHaveLength(2);
      expect(relayed).toEqual(straight);
    },
  );
});
