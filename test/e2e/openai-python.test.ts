/** The official `openai` package for Python, and Python's own `http` for `/chat`, against the gateway. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { PythonClient, python, runPython, type Task, type Told } from "../support/python.ts";

const TEXT = 'Water & <b>weight</b> "only" — ganz für sich, 水門 🚣 and the end.';
const MESSAGES = [{ role: "user", content: "Tell me of locks." }];

/** Members that the package does not know go out in the body as they are. */
const ask = (script: Script, more: object = {}): object => ({
  model: "sluice-demo",
  messages: MESSAGES,
  extra_body: { emulator: script },
  ...more,
});

const missing = " (skipped: no python with openai; see .ci/run)";
const suite = python === undefined ? describe.skip : describe;

suite(`Python openai client${python === undefined ? missing : ""}`, () => {
  let gateway: TestGateway;
  /** Headers leave at once and every silence is filled with comments. */
  let chatty: TestGateway;

  beforeAll(async () => {
    gateway = await startGateway();
    chatty = await startGateway({
      env: { SLUICE_HEARTBEAT_MS: "5", SLUICE_EARLY_HEADERS_MS: "1", SLUICE_MAX_CONCURRENCY: "1" },
    });
  });
  afterAll(async () => {
    await gateway?.close();
    await chatty?.close();
  });

  describe.each(["sync", "async"] as const)("%s", (mode) => {
    let client: PythonClient;
    beforeAll(() => {
      client = new PythonClient(python ?? "", mode);
    });
    afterAll(() => client?.close());

    const through = (task: Omit<Task, "base_url">): Promise<Told> =>
      client.ask({ base_url: `${gateway.url}/v1`, ...task });
    const direct = (task: Omit<Task, "base_url">): Promise<Told> =>
      client.ask({ base_url: gateway.emulator.url, ...task });

    test.each<[string, Script, object]>([
      ["plain", {}, {}],
      ["usage asked for", {}, { stream_options: { include_usage: true } }],
      [
        "reasoning, CRLF and comments",
        { reasoning: "Let me think.", crlf: true, comment_every_ms: 5, pace_ms: 9 },
        {},
      ],
      ["seven bytes a write", { read: 7 }, {}],
    ])("a stream has the same chunks direct and through: %s", async (_name, script, more) => {
      const task = { what: "chat", how: "stream", body: ask({ text: TEXT, ...script }, more) } as const;
      const [straight, relayed] = [await direct(task), await through(task)];
      expect(relayed.error).toBeNull();
      expect(relayed.text).toBe(TEXT);
      const timeless = ({ chunks }: Told) => chunks.map((chunk) => ({ ...chunk, id: "", created: 0 }));
      expect(timeless(relayed)).toEqual(timeless(straight));
    });

    test("the stream helper sums the answer up", async () => {
      const told = await through({ what: "chat", how: "helper", body: ask({ text: TEXT }) });
      expect(told).toMatchObject({ error: null, text: TEXT, final: TEXT, finish: "stop" });
      expect(told.events).toEqual(["chunk", "content.delta", "content.done"]);
    });

    test("answers that are not streamed: chat, completions, embeddings, models", async () => {
      const chat = await through({ what: "chat", body: ask({ text: TEXT }) });
      expect(chat).toMatchObject({ error: null, value: { choices: [{ message: { content: TEXT } }] } });
      expect(chat.headers?.["x-generation-id"]).toMatch(/^gen_/);
      expect(chat.headers?.["x-request-id"]).toMatch(/\S/);
      const { messages: _, ...rest } = ask({ text: TEXT }) as { messages: unknown };
      const legacy = { ...rest, prompt: "Tell me of locks." };
      expect(await through({ what: "completions", body: legacy })).toMatchObject({
        value: { choices: [{ text: TEXT }] },
      });
      expect(await through({ what: "completions", how: "stream", body: legacy })).toMatchObject({
        text: TEXT,
      });
      const embeddings = { what: "embeddings", body: { model: "sluice-demo", input: ["a", "b"] } } as const;
      expect((await through(embeddings)).value).toEqual((await direct(embeddings)).value);
      expect(await through({ what: "models" })).toMatchObject({ error: null, value: ["sluice-demo"] });
    });

    test.each([
      [400, "BadRequestError"],
      [404, "NotFoundError"],
      [422, "UnprocessableEntityError"],
      [429, "RateLimitError"],
      [500, "InternalServerError"],
    ])("a refusal with %i is a %s direct and through", async (status, kind) => {
      for (const how of ["stream", "helper", "whole"] as const) {
        const task = { what: "chat", how, body: ask({ fault: { kind: "status", status } }) } as const;
        const [straight, relayed] = [await direct(task), await through(task)];
        expect([straight.error?.class, relayed.error?.class], how).toEqual([kind, kind]);
        expect([straight.error?.status, relayed.error?.status], how).toEqual([
          status,
          status < 500 ? status : 502,
        ]);
        if (status < 500) expect(relayed.error?.body).toEqual(straight.error?.body);
        expect(relayed.error?.request_id).toMatch(/\S/);
      }
    });

    test("an error event in mid-stream is an APIError with the upstream's words, after the same text", async () => {
      const script: Script = { text: "so far so good", fault: { kind: "error_event", after_tokens: 3 } };
      const task = { what: "chat", how: "stream", body: ask(script) } as const;
      const [straight, relayed] = [await direct(task), await through(task)];
      expect(relayed.error).toMatchObject({ class: "APIError", code: "emulator_fault" });
      expect(relayed.error?.body).toEqual(straight.error?.body);
      expect([straight.text, relayed.text]).toEqual(["so far so", "so far so"]);
    });

    test.each(["reset", "eof", "half_event"] as const)(
      "an upstream cut off (%s) is an error and never a quiet end",
      async (kind) => {
        const body = ask({ text: "so far so good", fault: { kind, after_tokens: 3 } });
        const told = await through({ what: "chat", how: "stream", body });
        expect(told.error).toMatchObject({ class: "APIError", code: "upstream_disconnected" });
        expect(told.text).toBe("so far so");
        const helped = await through({ what: "chat", how: "helper", body });
        expect(helped.error).toMatchObject({ class: "APIError", code: "upstream_disconnected" });
      },
    );

    test("its own retries: 429, and then the stream", async () => {
      gateway.emulator.reset();
      gateway.emulator.queue([
        { fault: { kind: "status", status: 429, headers: { "retry-after-ms": "1" } } },
        { text: TEXT },
      ]);
      const told = await through({ what: "chat", how: "stream", max_retries: 2, body: ask({}) });
      expect(told).toMatchObject({ error: null, text: TEXT });
      expect(gateway.emulator.requests().map(({ status }) => status)).toEqual([429, 200]);
    });

    test("leaving the stream stops the upstream", async () => {
      gateway.emulator.reset();
      const body = ask({ tokens: 100_000, pace_ms: 5 });
      const told = await through({ what: "chat", how: "stream", leave_after: 4, body });
      expect(told.error).toBeNull();
      await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    });

    test("heartbeats and queue positions do not upset its parser", async () => {
      const url = `${chatty.url}/v1`;
      const slow: Script = { text: TEXT, first_token_ms: 80, pace_ms: 15 };
      // Takes the only place, so that what comes after it waits in the queue first.
      const [raw, told] = await Promise.all([
        rawStream(`${url}/chat/completions`, slow),
        until("the place is taken", () => chatty.emulator.stats.open === 1).then(() =>
          client.ask({ base_url: url, what: "chat", how: "stream", body: ask(slow) }),
        ),
      ]);
      expect(raw.split("\n").filter((line) => line === ": ping").length).toBeGreaterThan(3);
      expect(told).toMatchObject({ error: null, text: TEXT });
      const helped = await client.ask({ base_url: url, what: "chat", how: "helper", body: ask(slow) });
      expect(helped).toMatchObject({ error: null, text: TEXT, final: TEXT });
    });

    test("an error after early headers is an error all the same", async () => {
      const fault = { kind: "status", status: 400 } as const;
      const body = ask({ first_token_ms: 60, fault });
      const told = await client.ask({ base_url: `${chatty.url}/v1`, what: "chat", how: "stream", body });
      expect(told.error).toMatchObject({ class: "APIError", type: "invalid_request_error" });
      expect(told.text).toBe("");
    });
  });

  describe("/chat by the standard library, as a front end reads it", () => {
    interface Lines {
      readonly status: number;
      readonly type: string;
      readonly text: string;
      readonly names: readonly string[];
      readonly ids: readonly string[];
      readonly last: Record<string, unknown>;
      readonly error: string | null;
    }
    const chat = (mode: "events" | "text", url = gateway.url): Promise<Lines> =>
      runPython(python ?? "", "chat_lines.py", [url, mode, "Tell me of locks."]);

    test("line by line", async () => {
      gateway.emulator.script = () => ({ text: TEXT, pace_ms: 2 });
      const found = await chat("events");
      expect(found).toMatchObject({ status: 200, type: "text/event-stream; charset=utf-8", text: TEXT });
      expect(found.names).toEqual(["done"]);
      expect(found.last).toMatchObject({ status: "completed" });
      expect(found.ids.every((id) => /^gen_[\w-]+:\d+$/.test(id))).toBe(true);
      expect(new Set(found.ids).size).toBe(found.ids.length);
    });

    test("line by line with heartbeats in every silence", async () => {
      chatty.emulator.script = () => ({ text: TEXT, first_token_ms: 60, pace_ms: 15 });
      expect(await chat("events", chatty.url)).toMatchObject({ text: TEXT, names: ["done"] });
    });

    test("as bare text", async () => {
      gateway.emulator.script = () => ({ text: TEXT, pace_ms: 2 });
      const found = await chat("text");
      expect(found).toMatchObject({ type: "text/plain; charset=utf-8", text: TEXT, error: null });
    });

    test("what goes wrong in the middle is told", async () => {
      gateway.emulator.script = () => ({ text: "so far so good", fault: { kind: "reset", after_tokens: 3 } });
      const events = await chat("events");
      expect(events).toMatchObject({ text: "so far so", names: ["error"] });
      expect(events.last).toMatchObject({ error: { code: "upstream_disconnected" } });
      const text = await chat("text");
      expect(text.error).toMatch(/IncompleteRead|ConnectionResetError/);
      expect("so far so".startsWith(text.text)).toBe(true);
    });

    test("what goes wrong before the first token has its own status", async () => {
      gateway.emulator.script = () => ({ fault: { kind: "status", status: 429 } });
      expect(await chat("events")).toMatchObject({
        status: 429,
        last: { error: { type: "rate_limit_error" } },
      });
    });
  });
});

/** The bytes of a streamed answer, comments and all. */
async function rawStream(url: string, script: Script): Promise<string> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "sluice-demo", messages: MESSAGES, stream: true, emulator: script }),
  });
  return answer.text();
}
