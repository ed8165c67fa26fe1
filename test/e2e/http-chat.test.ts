/** `/chat`, the plain face: text as it comes, or simple events that an `EventSource` can come back to. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { look, MESSAGES, post, refusal } from "../support/requests.ts";
import { readSse, SseClient } from "../support/sse-client.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());
beforeEach(() => {
  gateway.emulator.reset();
  gateway.emulator.script = () => ({ text: "one two  trois é" });
});

const chatUrl = (): string => `${gateway.url}/chat`;
const TEXTS = ["one", " two", "  trois", " é"];

const ask = (body: unknown = { prompt: "hi" }, headers: Record<string, string> = {}): Promise<SseClient> =>
  readSse(chatUrl(), { method: "POST", body, headers });

const textsOf = (client: SseClient): unknown[] =>
  client.payloads.map((payload) => (JSON.parse(payload) as { text: unknown }).text);

const generationOf = (client: SseClient): string => String(client.lastId?.split(":")[0]);

describe("events", () => {
  test("a prompt: texts, then done, each with <generation>:<seq>", async () => {
    const client = await ask();
    const { status, headers } = await client.head;
    expect([status, headers["content-type"]]).toEqual([200, "text/event-stream; charset=utf-8"]);
    const id = String(headers["x-generation-id"]);
    expect(textsOf(client)).toEqual(TEXTS);
    // Event 1 is the role and event 6 the finish reason: they have no text, and no event here.
    expect(client.events.map((event) => event.id)).toEqual([2, 3, 4, 5, 7].map((seq) => `${id}:${seq}`));
    expect(client.last?.event).toBe("done");
    expect(JSON.parse(client.last?.data ?? "")).toMatchObject({ status: "completed" });
    expect(client.text).toContain(`id: ${id}:2\ndata: {"text":"one"}\n\n`);
    const [sent] = gateway.emulator.requests();
    expect(JSON.parse(sent?.body ?? "")).toEqual({
      model: "sluice-demo",
      stream: true,
      messages: [{ role: "user", content: "hi" }],
    });
  });

  test("messages and a model of one's own", async () => {
    const messages = [{ role: "system", content: "be brief" }, ...MESSAGES];
    expect(textsOf(await ask({ messages, model: "another" }))).toEqual(TEXTS);
    expect(JSON.parse(gateway.emulator.requests()[0]?.body ?? "")).toMatchObject({
      model: "another",
      messages,
    });
  });

  test("GET with a prompt, as an EventSource asks", async () => {
    const client = await readSse(`${chatUrl()}?prompt=${encodeURIComponent("a & b?")}&model=m`);
    expect(textsOf(client)).toEqual(TEXTS);
    expect(JSON.parse(gateway.emulator.requests()[0]?.body ?? "")).toMatchObject({
      model: "m",
      messages: [{ role: "user", content: "a & b?" }],
    });
  });
});

describe("bare text", () => {
  test("the text and nothing else", async () => {
    const response = await post(chatUrl(), { prompt: "hi" }, { accept: "text/plain" });
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(response.headers.get("x-generation-id")).toMatch(/^gen_/);
    expect(await response.text()).toBe(TEXTS.join(""));
    const viaGet = await fetch(`${chatUrl()}?prompt=x`, { headers: { accept: "text/plain" } });
    expect(await viaGet.text()).toBe(TEXTS.join(""));
  });

  test("it leaves as it comes", async () => {
    gateway.emulator.script = () => ({ tokens: 1000, pace_ms: 20 });
    const body = { prompt: "x" };
    const client = new SseClient(chatUrl(), { method: "POST", body, headers: { accept: "text/plain" } });
    await until("the first words", () => client.text.startsWith(" tok0 tok1 tok2"));
    client.destroy();
    await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
  });

  test("a failure in the middle resets the connection: no text could tell it", async () => {
    gateway.emulator.script = () => ({ tokens: 9, pace_ms: 5, fault: { kind: "eof", after_tokens: 3 } });
    const client = await ask({ prompt: "x" }, { accept: "text/plain" });
    expect(await client.ended).toBe("reset");
    expect(" tok0 tok1 tok2".startsWith(client.text)).toBe(true);
  });
});

describe("coming back", () => {
  test("Last-Event-ID resumes that generation, by POST and by GET, and never starts one", async () => {
    const whole = await ask();
    for (const [index, { id }] of whole.events.slice(0, -1).entries()) {
      const headers = { "last-event-id": String(id) };
      const rest = [
        await ask({ prompt: "hi" }, headers),
        await readSse(`${chatUrl()}?prompt=x`, { headers }),
      ];
      for (const client of rest) expect(client.events).toEqual(whole.events.slice(index + 1));
    }
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("204 once the end was seen, which stops an EventSource for good", async () => {
    const whole = await ask();
    const answer = await fetch(chatUrl(), { headers: { "last-event-id": String(whole.lastId) } });
    expect(answer.status).toBe(204);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("it resumes one that still runs, in bare text too", async () => {
    gateway.emulator.script = () => ({ tokens: 30, pace_ms: 10 });
    const headers = { "x-sluice-on-disconnect": "grace" };
    const first = new SseClient(chatUrl(), { method: "POST", body: { prompt: "x" }, headers });
    await until("some text", () => first.events.length > 3);
    const seen = [...first.events];
    first.destroy();
    const rest = await ask({}, { "last-event-id": String(seen.at(-1)?.id), accept: "text/plain" });
    const text = seen.map(({ data }) => (JSON.parse(data) as { text: string }).text).join("") + rest.text;
    expect(text).toBe(Array.from({ length: 30 }, (_, index) => ` tok${index}`).join(""));
  });

  test.each([
    ["gen_unknown:3", 404, "generation_not_found"],
    ["gen_unknown", 400, "invalid_request"],
    ["gen_unknown:", 400, "invalid_request"],
    ["gen_unknown:-1", 400, "invalid_request"],
    [":3", 400, "invalid_request"],
    ["3", 400, "invalid_request"],
  ])("%s is refused and starts nothing", async (id, status, code) => {
    const answer = fetch(`${chatUrl()}?prompt=x`, { headers: { "last-event-id": id } });
    expect(await refusal(answer)).toMatchObject({ status, code });
    expect(gateway.emulator.stats.requests).toBe(0);
  });

  test("a position ahead is refused", async () => {
    const id = generationOf(await ask());
    const answer = fetch(`${chatUrl()}?prompt=x`, { headers: { "last-event-id": `${id}:8` } });
    expect(await refusal(answer)).toMatchObject({ status: 400, code: "position_ahead" });
  });
});

describe("what goes wrong", () => {
  test("before the text: the HTTP status", async () => {
    gateway.emulator.script = () => ({ fault: { kind: "status", status: 500 } });
    for (const accept of ["text/plain", "text/event-stream"]) {
      const answer = post(chatUrl(), { prompt: "x" }, { accept });
      expect(await refusal(answer)).toMatchObject({ status: 502, code: "upstream_error" });
    }
  });

  test("in the middle: an event of that name, with the error object, and then the close", async () => {
    gateway.emulator.script = () => ({ tokens: 9, fault: { kind: "eof", after_tokens: 2 } });
    const client = await ask();
    expect(await client.ended).toBe("closed");
    expect(textsOf(client).slice(0, 2)).toEqual([" tok0", " tok1"]);
    expect(client.last?.event).toBe("error");
    expect(JSON.parse(client.last?.data ?? "")).toMatchObject({ error: { code: "upstream_disconnected" } });
    expect(client.events.filter(({ event }) => event === "done")).toEqual([]);
    const { last_seq } = await look(gateway.url, generationOf(client));
    expect(client.lastId).toBe(`${generationOf(client)}:${last_seq}`);
    const again = await fetch(chatUrl(), { headers: { "last-event-id": String(client.lastId) } });
    expect(again.status).toBe(204);
  });

  test.each([[{}], [{ prompt: "" }], [{ prompt: 7 }], [{ messages: "x" }], [{ prompt: "x", model: 7 }]])(
    "%j is refused",
    async (body) => {
      expect(await refusal(post(chatUrl(), body))).toMatchObject({ status: 400, code: "invalid_request" });
    },
  );

  test("GET without a prompt", async () => {
    expect(await refusal(fetch(chatUrl()))).toMatchObject({ status: 400, code: "invalid_request" });
  });
});
