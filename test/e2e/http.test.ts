/** The OpenAI face over HTTP: what a stock client sees, byte for byte. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, MESSAGES, post, refusal, streamed, verbatim } from "../support/requests.ts";
import { readSse, SseClient } from "../support/sse-client.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway({ emulator: { models: ["sluice-demo", "org/some model"] } });
});
afterAll(() => gateway.close());
beforeEach(() => gateway.emulator.reset());

const at = (path: string): string => gateway.url + path;

const STREAM_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

/** What JSON.parse and JSON.stringify would not give back: order, spaces, escapes, long numbers, unknown members. */
const ODD = [
  `{"z":1.10, "choices":[{"index":0,"delta":{"content":"h\\u00e9 \\/ é 水"},"finish_reason":null}],"id":12345678901234567890}`,
  `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"__proto__":{"a":[]}}`,
];
const wire = (...payloads: string[]): string => payloads.map((payload) => `data: ${payload}\n\n`).join("");

describe("chat completions, streamed", () => {
  test("the stock wire, with the headers of a stream and both ids", async () => {
    const client = await readSse(at("/v1/chat/completions"), {
      method: "POST",
      body: streamed({ text: "one two" }),
      headers: { "x-request-id": "mine-1" },
    });
    const { status, headers } = await client.head;
    expect(status).toBe(200);
    expect(headers).toMatchObject({ ...STREAM_HEADERS, "x-request-id": "mine-1" });
    expect(headers["x-generation-id"]).toMatch(/^gen_[\w-]{22,}$/);
    expect(client.events).toHaveLength(5);
    expect(client.last?.data).toBe("[DONE]");
    expect(client.text.split("\n").filter((line) => line !== "" && !line.startsWith("data: "))).toEqual([]);
  });

  test("payloads leave byte for byte as they came, several lines as several lines", async () => {
    const multiline = `{"choices":[\n{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}`;
    const sent = `data:${ODD[0]}\r\n\r\n: note\nevent: chunk\nid: 7\nretry: 5\ndata: ${ODD[1]}\n\n`;
    const body = `${sent}data: ${multiline.replace("\n", "\ndata: ")}\n\ndata: [DONE]\n\n`;
    const client = await readSse(at("/v1/chat/completions"), {
      method: "POST",
      body: streamed(verbatim(body)),
    });
    expect(client.text).toBe(wire(...ODD) + wire(multiline.replace("\n", "\ndata: "), "[DONE]"));
  });

  test("[DONE] is added where a finish reason alone ended it well", async () => {
    const client = await readSse(at("/v1/chat/completions"), {
      method: "POST",
      body: streamed({ text: "a", done: false }),
    });
    expect(client.last?.data).toBe("[DONE]");
  });

  test("the request reaches the upstream byte for byte", async () => {
    const body = `{"model":"sluice-demo" , "messages":[], "n": 1.0,"stream":true,"user":"\\u0041", "emulator":{"text":"x"}}`;
    await (await post(at("/v1/chat/completions"), body)).text();
    expect(gateway.emulator.requests()[0]?.body).toBe(body);
  });

  test("useful headers of the upstream come along, cookies and the like do not", async () => {
    const script = verbatim(wire(...ODD));
    const headers = { ...script.fault?.headers, "x-ratelimit-remaining-tokens": "7", "set-cookie": "a=b" };
    const fault = { kind: "status" as const, ...script.fault, headers };
    const response = await post(at("/v1/chat/completions"), streamed({ fault }));
    await response.text();
    expect(response.headers.get("x-ratelimit-remaining-tokens")).toBe("7");
    expect(response.headers.get("set-cookie")).toBeNull();
    expect(response.headers.get("x-upstream-request-id")).toMatch(/^req_emulator/);
  });

  test("usage that only the gateway asked for is read and withheld", async () => {
    const asking = await startGateway({ env: { SLUICE_INCLUDE_USAGE: "true" } });
    const text = (body: object): Promise<string> =>
      post(`${asking.url}/v1/chat/completions`, body).then((response) => response.text());
    const withheld = await text(streamed({ text: "a b" }));
    const shown = await text(streamed({ text: "a b" }, { stream_options: { include_usage: true } }));
    expect(withheld).not.toContain("completion_tokens");
    expect(withheld).toMatch(/\[DONE\]\n\n$/);
    expect(shown).toContain("completion_tokens");
    expect(await asking.metric("sluice_tokens_total", { type: "output", source: "usage" })).toBe(4);
    await asking.close();
  });
});

describe("chat completions, not streamed", () => {
  test("the upstream's body, byte for byte", async () => {
    const body = `{ "id":"x", "choices":[{"message":{"content":"\\u00e9 é"},"finish_reason":"stop"}],\n "n":1e2 }`;
    const response = await post(at("/v1/chat/completions"), chat(verbatim(body, "application/json")));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch(/^application\/json/);
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    expect(await response.text()).toBe(body);
    const id = response.headers.get("x-generation-id");
    const look = await (await fetch(at(`/v1/generations/${id}`))).json();
    expect(look).toMatchObject({ id, status: "completed", last_seq: 2 });
    expect(look).not.toHaveProperty("timing.ttft_ms");
  });

  test("an upstream's refusal with its status, headers and bytes", async () => {
    const body = `{"error": {"message":"no","type":"invalid_request_error","param":"n","code":null}, "x":1 }`;
    const fault = {
      kind: "status" as const,
      status: 422,
      body,
      headers: { "retry-after": "9", "x-should-retry": "true" },
    };
    for (const request of [chat({ fault }), streamed({ fault })]) {
      const response = await post(at("/v1/chat/completions"), request);
      expect([response.status, await response.text()]).toEqual([422, body]);
      expect(response.headers.get("retry-after")).toBe("9");
      expect(response.headers.get("x-should-retry")).toBe("true");
      expect(response.headers.get("x-generation-id")).toMatch(/^gen_/);
    }
  });
});

describe("other routes that are relayed", () => {
  test("completions stream like chat, and answer whole", async () => {
    const body = { model: "sluice-demo", prompt: "x", emulator: { text: "one two" } };
    const client = await readSse(at("/v1/completions"), { method: "POST", body: { ...body, stream: true } });
    expect((await client.head).headers).toMatchObject(STREAM_HEADERS);
    expect(
      client.payloads.map((payload) => JSON.parse(payload)).map(({ choices }) => choices[0].text),
    ).toEqual(["one", " two", ""]);
    expect(client.last?.data).toBe("[DONE]");
    const whole = await (await post(at("/v1/completions"), body)).json();
    expect(whole).toMatchObject({ object: "text_completion", choices: [{ text: "one two" }] });
  });

  test("embeddings, which are no generation", async () => {
    const body = { model: "sluice-demo", input: ["a"], encoding_format: "base64" };
    const ours = await post(at("/v1/embeddings"), body);
    const theirs = await post(`${gateway.emulator.url}/embeddings`, body);
    expect(await ours.text()).toBe(await theirs.text());
    expect(ours.headers.get("x-request-id")).toMatch(/^req_/);
    expect(ours.headers.get("x-generation-id")).toBeNull();
  });

  test("models: all, one, one whose name holds a slash, one that is not there", async () => {
    const { data } = (await (await fetch(at("/v1/models"))).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(["sluice-demo", "org/some model"]);
    for (const name of ["org/some%20model", "org%2Fsome%20model"]) {
      expect(await (await fetch(at(`/v1/models/${name}`))).json()).toMatchObject({ id: "org/some model" });
    }
    expect(await refusal(fetch(at("/v1/models/none")))).toMatchObject({
      status: 404,
      code: "model_not_found",
    });
    expect((await fetch(at("/v1/models/a/../b"))).status).toBe(404);
  });
});

describe("the model of a request that names none", () => {
  test("several are listed: the request is refused, on each creating route", async () => {
    const bodies: [string, object][] = [
      ["/v1/chat/completions", { messages: MESSAGES }],
      ["/v1/completions", { prompt: "x" }],
      ["/v1/generations", { request: { messages: MESSAGES } }],
      ["/chat", { prompt: "x" }],
    ];
    for (const [path, body] of bodies) {
      expect(await refusal(post(at(path), body))).toMatchObject({ status: 400, code: "invalid_request" });
    }
    expect(gateway.emulator.stats.requests).toBe(0);
  });

  test("the only one, or the one that is set, is put into the request", async () => {
    const models = ["a", "b"];
    const gateways = [
      await startGateway({ emulator: { models: ["only"] } }),
      await startGateway({ emulator: { models }, env: { SLUICE_DEFAULT_MODEL: "set" } }),
    ];
    for (const each of gateways) {
      const response = await post(`${each.url}/v1/chat/completions`, { messages: MESSAGES, emulator: {} });
      expect(response.status).toBe(200);
    }
    expect(gateways.map(({ emulator }) => emulator.requests()[0]?.model)).toEqual(["only", "set"]);
    for (const each of gateways) await each.close();
  });
});

describe("silence", () => {
  test("an early failure keeps its status; headers that have left early do not, and pings follow them", async () => {
    const early = await startGateway({
      env: { SLUICE_EARLY_HEADERS_MS: "60", SLUICE_HEARTBEAT_MS: "30" },
    });
    const fault = { kind: "status" as const, status: 500 };
    const url = `${early.url}/v1/chat/completions`;
    expect((await post(url, streamed({ fault }))).status).toBe(502);
    const late = new SseClient(url, { method: "POST", body: streamed({ fault, first_token_ms: 600 }) });
    expect((await late.head).status).toBe(200);
    await until("a ping", () => late.comments.includes("ping"));
    await late.ended;
    expect(late.text).toContain(": ping\n\n");
    expect(late.events).toHaveLength(1);
    expect(JSON.parse(late.last?.data ?? "")).toMatchObject({ error: { code: "upstream_error" } });
    await early.close();
  });

  test("heartbeats stand between events, never inside one", async () => {
    const quiet = await startGateway({ env: { SLUICE_HEARTBEAT_MS: "20" } });
    const client = await readSse(`${quiet.url}/v1/chat/completions`, {
      method: "POST",
      body: streamed({ tokens: 4, pace_ms: 120 }),
    });
    expect(client.comments.length).toBeGreaterThan(2);
    expect(new Set(client.comments)).toEqual(new Set(["ping"]));
    expect(client.text.replaceAll(": ping\n\n", "")).toBe(wire(...client.payloads, "[DONE]"));
    await quiet.close();
  });
});
