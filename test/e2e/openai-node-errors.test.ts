/** Errors as the official `openai` package for Node sees them: the same class through Sluice as directly, and never a quiet end. */
import OpenAI from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { bodyOf, CORPUS, hasCorpus, type Recording, recordings } from "../support/corpus.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const ASK = { model: "sluice-demo", messages: [{ role: "user" as const, content: "Tell me of locks." }] };

let gateway: TestGateway;
let through: OpenAI;
let direct: OpenAI;

beforeAll(async () => {
  gateway = await startGateway(hasCorpus ? { emulator: { corpus: CORPUS } } : {});
  through = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: "unused", maxRetries: 0 });
  direct = new OpenAI({ baseURL: gateway.emulator.url, apiKey: "unused", maxRetries: 0 });
});
afterAll(() => gateway?.close());
beforeEach(() => gateway.emulator.reset());

function say(script: Script): void {
  gateway.emulator.script = () => script;
}

/** What the SDK threw, and what it had given before. */
async function failed(run: () => Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  try {
    await run();
  } catch (thrown) {
    if (thrown instanceof OpenAI.APIError) return thrown;
    throw thrown;
  }
  throw new Error("it ended as if all were well");
}

interface Heard {
  text: string;
}

/** Reads a stream to its end, keeping the text in `heard` even where it throws. */
async function read(client: OpenAI, heard: Heard = { text: "" }): Promise<string> {
  const stream = await client.chat.completions.create({ ...ASK, stream: true });
  for await (const chunk of stream) heard.text += chunk.choices[0]?.delta.content ?? "";
  return heard.text;
}

const CALLS: readonly [string, (client: OpenAI) => Promise<unknown>][] = [
  ["streamed", (client) => read(client)],
  ["the stream helper", (client) => client.chat.completions.stream(ASK).finalChatCompletion()],
  ["not streamed", (client) => client.chat.completions.create(ASK)],
  ["completions", (client) => client.completions.create({ model: "sluice-demo", prompt: "x", stream: true })],
  ["embeddings", (client) => client.embeddings.create({ model: "sluice-demo", input: "x" })],
];

describe.each(CALLS)("an upstream that refuses, %s", (_name, call) => {
  test.each([
    [400, OpenAI.BadRequestError],
    [404, OpenAI.NotFoundError],
    [409, OpenAI.ConflictError],
    [422, OpenAI.UnprocessableEntityError],
    [429, OpenAI.RateLimitError],
  ])("%i is the same error direct and through", async (status, kind) => {
    say({ fault: { kind: "status", status, headers: { "retry-after": "7", "x-should-retry": "false" } } });
    const [straight, relayed] = await Promise.all(
      [direct, through].map((client) => failed(() => call(client))),
    );
    expect(relayed).toBeInstanceOf(kind);
    expect(relayed?.constructor).toBe(straight?.constructor);
    expect(relayed?.status).toBe(status);
    expect(relayed?.error).toEqual(straight?.error);
    expect(relayed?.message).toBe(straight?.message);
    for (const name of ["retry-after", "x-should-retry"]) {
      expect(relayed?.headers?.get(name)).toBe(straight?.headers?.get(name));
    }
    expect(relayed?.requestID).toMatch(/\S/);
  });

  test.each([500, 503])(
    "%i is an InternalServerError direct and through, where it is 502",
    async (status) => {
      say({ fault: { kind: "status", status } });
      const [straight, relayed] = await Promise.all(
        [direct, through].map((client) => failed(() => call(client))),
      );
      expect(straight).toBeInstanceOf(OpenAI.InternalServerError);
      expect(relayed).toBeInstanceOf(OpenAI.InternalServerError);
      expect([straight?.status, relayed?.status]).toEqual([status, 502]);
      expect(relayed).toMatchObject({ code: "upstream_error", type: "upstream_error", param: null });
    },
  );

  test.each([401, 403])(
    "%i is the operator's fault: 502 and not a word of the upstream's",
    async (status) => {
      const body = JSON.stringify({ error: { message: "key sk-secret is wrong" } });
      say({ fault: { kind: "status", status, body } });
      const relayed = await failed(() => call(through));
      expect(relayed).toBeInstanceOf(OpenAI.InternalServerError);
      expect(relayed).toMatchObject({ status: 502, code: "upstream_error" });
      expect(JSON.stringify(relayed.error)).not.toContain("sk-secret");
    },
  );

  test.each(["reset_before_headers", "no_answer"] as const)("%s is 502", async (kind) => {
    say({ fault: { kind } });
    expect(await failed(() => call(through))).toMatchObject({ status: 502, type: "upstream_error" });
  });
});

/** Without 401 and 403, which are told as 502. */
const refusals = recordings("errors").filter(({ status }) => status !== 401 && status !== 403);

function hasError(recording: Recording): boolean {
  try {
    return "error" in (JSON.parse(bodyOf(recording).toString()) as object);
  } catch {
    return false;
  }
}

/** Of a refusal that is an error object without an `error` around it, the code is its own; of all else it is ours. */
function wrappedCode(recording: Recording): string {
  if (recording.status >= 500 || !recording.file.endsWith(".json")) return "upstream_error";
  const { message, code } = JSON.parse(bodyOf(recording).toString()) as Record<string, unknown>;
  return typeof message === "string" && code !== undefined ? String(code) : "upstream_error";
}

describe.skipIf(!hasCorpus)(`recorded refusals${hasCorpus ? "" : " (skipped: no corpus)"}`, () => {
  test("there are enough of them", () => expect(refusals.length).toBeGreaterThan(20));

  test.each(refusals.map((recording) => [recording.status, recording.file, recording] as const))(
    "%i of %s is the same class through Sluice",
    async (status, file, recording) => {
      say({ replay: file });
      const both = [direct, through].map((client) => failed(() => read(client)));
      const [straight, relayed] = await Promise.all(both);
      expect(relayed?.constructor).toBe(straight?.constructor);
      expect(relayed?.status).toBe(status < 500 ? status : 502);
      // What is no object with an `error` is wrapped in one, so that the SDK finds a message.
      if (status < 500 && hasError(recording)) expect(relayed?.error).toEqual(straight?.error);
      else
        expect(relayed).toMatchObject({ code: wrappedCode(recording), message: expect.stringMatching(/\S/) });
    },
  );
});

describe("a stream that fails in the middle", () => {
  test("an error event is an error with the upstream's words, after the same text", async () => {
    say({ text: "so far so good and on", fault: { kind: "error_event", after_tokens: 3 } });
    const heard = [{ text: "" }, { text: "" }] as const;
    const [straight, relayed] = await Promise.all(
      [direct, through].map((client, index) => failed(() => read(client, heard[index]))),
    );
    expect(relayed?.constructor).toBe(straight?.constructor);
    expect(relayed?.error).toEqual(straight?.error);
    expect(relayed?.code).toBe("emulator_fault");
    expect(heard[1]).toEqual(heard[0]);
    expect(heard[1].text).toBe("so far so");
  });

  test.each(["error_string", "error_object_no_message", "garbage", "not_utf8"] as const)(
    "%s is an error whose object has a message, a type and a code",
    async (kind) => {
      say({ text: "so far so good and on", fault: { kind, after_tokens: 3 } });
      const heard = { text: "" };
      const { error } = await failed(() => read(through, heard));
      expect(error).toEqual({
        message: expect.any(String),
        type: expect.any(String),
        param: null,
        code: expect.any(String),
      });
      expect(heard.text).toBe("so far so");
    },
  );

  test.each(["reset", "eof", "half_event", "half_utf8"] as const)(
    "an upstream cut off (%s) is an error and never a quiet end",
    async (kind) => {
      say({ text: "so far so good and on", fault: { kind, after_tokens: 3 } });
      const heard = { text: "" };
      expect(await failed(() => read(through, heard))).toMatchObject({ code: "upstream_disconnected" });
      expect(heard.text).toBe("so far so");
      const helper = through.chat.completions.stream(ASK);
      expect(await failed(() => helper.finalChatCompletion())).toMatchObject({
        code: "upstream_disconnected",
      });
    },
  );

  test.each(["reset", "eof", "half_event"] as const)(
    "an answer that is not streamed and is cut off (%s) is 502",
    async (kind) => {
      say({ text: "so far so good", fault: { kind, after_tokens: 2 } });
      expect(await failed(() => through.chat.completions.create(ASK))).toMatchObject({ status: 502 });
    },
  );

  test("a stall is an error, and the upstream is given up", async () => {
    const impatient = await startGateway({ env: { SLUICE_STALL_TIMEOUT_MS: "150" } });
    try {
      impatient.emulator.script = () => ({
        text: "so far so good",
        fault: { kind: "hang", after_tokens: 2 },
      });
      const client = new OpenAI({ baseURL: `${impatient.url}/v1`, apiKey: "unused", maxRetries: 2 });
      expect(await failed(() => read(client))).toMatchObject({ code: "upstream_stalled" });
      // What has begun to stream is never asked for again behind the client's back.
      expect(impatient.emulator.stats.requests).toBe(1);
    } finally {
      await impatient.close();
    }
  });
});

describe("its own retries", () => {
  const retrying = (url = gateway.url): OpenAI =>
    new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 2 });

  test("429 with retry-after, and then the stream", async () => {
    gateway.emulator.queue([
      { fault: { kind: "status", status: 429, headers: { "retry-after": "1" } } },
      { text: "after the pause" },
    ]);
    expect(await read(retrying())).toBe("after the pause");
    const [first, second, ...more] = gateway.emulator.requests();
    expect([first?.status, second?.status, more.length]).toEqual([429, 200, 0]);
    // Not how fast, but in what order: without the header the SDK comes back after half a second at most.
    expect((second?.opened_ms ?? 0) - (first?.closed_ms ?? 0)).toBeGreaterThan(900);
  });

  test("a 502 before the first token is retried, and nothing of the failed attempt is seen", async () => {
    gateway.emulator.queue([{ fault: { kind: "headers_then_reset" } }, { text: "second try" }]);
    expect(await read(retrying())).toBe("second try");
  });

  test("a request that is wrong is not sent again", async () => {
    say({ fault: { kind: "status", status: 400 } });
    await expect(read(retrying())).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("a first token that never comes is not asked for twice: it may have been billed", async () => {
    const impatient = await startGateway({ env: { SLUICE_FIRST_TOKEN_TIMEOUT_MS: "150" } });
    try {
      impatient.emulator.script = () => ({ first_token_ms: 60_000, text: "never" });
      const thrown = await failed(() => read(retrying(impatient.url)));
      expect(thrown).toMatchObject({ status: 504, code: "upstream_timeout" });
      expect(impatient.emulator.stats.requests).toBe(1);
    } finally {
      await impatient.close();
    }
  });
});

describe("the gateway's own refusals", () => {
  test("an unknown route, a wrong body, and a wrong method have its error object and its class", async () => {
    const missing = await failed(() => through.post("/fine_tuning/jobs", { body: {} }));
    expect(missing).toBeInstanceOf(OpenAI.NotFoundError);
    expect(missing).toMatchObject({ code: "not_found", type: "invalid_request_error" });
    const wrong = await failed(() =>
      through.post("/chat/completions", { body: { model: "m", messages: 1 } }),
    );
    expect(wrong).toBeInstanceOf(OpenAI.BadRequestError);
    expect(wrong).toMatchObject({ code: "invalid_request", param: "messages" });
    expect(wrong.headers?.get("x-should-retry")).toBe("false");
    const method = await failed(() => through.get("/chat/completions"));
    expect(method).toMatchObject({ status: 405, code: "method_not_allowed" });
  });

  test("with keys, a wrong one is an AuthenticationError and the right one answers", async () => {
    const guarded = await startGateway({ env: { SLUICE_API_KEYS: "alice:sesame" } });
    try {
      guarded.emulator.script = () => ({ text: "welcome" });
      const client = (apiKey: string) => new OpenAI({ baseURL: `${guarded.url}/v1`, apiKey, maxRetries: 2 });
      const refused = await failed(() => read(client("wrong")));
      expect(refused).toBeInstanceOf(OpenAI.AuthenticationError);
      expect(refused.code).toBe("invalid_api_key");
      expect(await read(client("sesame"))).toBe("welcome");
    } finally {
      await guarded.close();
    }
  });
});
