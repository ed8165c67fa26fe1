/** The log of a real process: one line for each creating request, whatever becomes of it, on every transport. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Emulator, type Script, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, metricOf, startProcess, until } from "../support/gateway.ts";
import { counted, LEVEL, type LogLine, logOf, requestsIn } from "../support/log-lines.ts";
import { chat, post, streamed } from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

let emulator: Emulator;
let gateway: GatewayProcess | undefined;
beforeAll(async () => {
  emulator = await startEmulator();
});
beforeEach(() => emulator.reset());
afterEach(() => gateway?.stop());
afterAll(() => emulator?.close());

const ENDLESS: Script = { tokens: 100_000, pace_ms: 5 };
/** Holds its slot, and no byte of memory. */
const HELD: Script = { fault: { kind: "hang_before_headers" } };

async function start(env: Record<string, string> = {}): Promise<GatewayProcess> {
  gateway = await startProcess({ OPENAI_BASE_URL: emulator.url, ...env });
  return gateway;
}

/** The one line of a request, by its `x-request-id`. */
async function lineOf(from: GatewayProcess, id: string): Promise<LogLine> {
  const lines = (): LogLine[] => requestsIn(from).filter((line) => line.request_id === id);
  await until(`a line for ${id}`, () => lines().length > 0);
  expect(lines()).toHaveLength(1);
  return lines()[0] as LogLine;
}

const complete = (url: string, id: string, body: unknown, headers = {}): Promise<Response> =>
  post(`${url}/v1/chat/completions`, body, { "x-request-id": id, ...headers });

/** Reads an answer to its end, however it ends. */
const drained = async (answer: Promise<Response>): Promise<Response> => {
  const response = await answer;
  await response.text().catch((thrown: unknown) => expect(thrown).toBeInstanceOf(Error));
  return response;
};

const socket = (from: GatewayProcess, id: string): Promise<WsClient> =>
  WsClient.open(from.wsUrl, { headers: { "x-request-id": id } });

const generate = (client: WsClient, script: Script, more: object = {}) =>
  client.ask({ type: "generate", id: "a", request: chat(script), ...more }, "accepted");

const USAGE: Script = { text: "one two three", usage: true };
const ENDED = { queue_ms: expect.any(Number), duration_ms: expect.any(Number), bytes: expect.any(Number) };
const SERVED = { upstream: "upstream", attempts: 1, ...ENDED };

describe("what was generated", () => {
  test("streamed, whole, in the background and over a WebSocket: outcome, times, tokens", async () => {
    const { url } = await start();
    const from = gateway as GatewayProcess;
    const usage = { stream_options: { include_usage: true } };
    const answer = await drained(complete(url, "sse", streamed(USAGE, usage)));
    await drained(complete(url, "json", chat(USAGE)));
    await drained(complete(url, "long", streamed({ text: "cut", finish_reason: "length" })));
    const background = { request: chat(USAGE) };
    await drained(post(`${url}/v1/generations`, background, { "x-request-id": "none" }));
    const client = await socket(from, "ws");
    const { generation } = await generate(client, USAGE);
    await client.end(generation);
    client.terminate();
    const streaming = { ttft_ms: expect.any(Number), upstream_ttft_ms: expect.any(Number) };
    expect(await lineOf(from, "sse")).toMatchObject({
      level: LEVEL.info,
      generation: answer.headers.get("x-generation-id"),
      model: "sluice-demo",
      transport: "sse",
      key: "none",
      outcome: "completed",
      tokens: { input: expect.any(Number), output: expect.any(Number) },
      ...SERVED,
      ...streaming,
    });
    const whole = await lineOf(from, "json");
    expect(whole).toMatchObject({ transport: "json", outcome: "completed", content_events: 1, ...SERVED });
    expect(whole).not.toHaveProperty("ttft_ms");
    expect(whole).not.toHaveProperty("code");
    expect(await lineOf(from, "long")).toMatchObject({ outcome: "incomplete", ...SERVED, ...streaming });
    expect(await lineOf(from, "none")).toMatchObject({ transport: "none", outcome: "completed", ...SERVED });
    expect(await lineOf(from, "ws")).toMatchObject({
      level: LEVEL.info,
      generation,
      transport: "websocket",
      outcome: "completed",
      ...SERVED,
      ...streaming,
    });
    const { log, metrics } = await counted(from);
    expect(log).toEqual(metrics);
  });

  test("failed: a warning with its code; refused by the upstream as the client's fault: none", async () => {
    const { url } = await start();
    const from = gateway as GatewayProcess;
    await drained(complete(url, "early", streamed({ fault: { kind: "reset_before_headers" } })));
    await drained(
      complete(url, "late", streamed({ text: "a b c", fault: { kind: "eof", after_tokens: 1 } })),
    );
    await drained(complete(url, "whole", chat({ fault: { kind: "status", status: 503 } })));
    await drained(complete(url, "theirs", streamed({ fault: { kind: "status", status: 422 } })));
    const client = await socket(from, "ws");
    const { generation } = await generate(client, {
      text: "a b c",
      fault: { kind: "reset", after_tokens: 1 },
    });
    await client.end(generation);
    client.terminate();
    const failed = { level: LEVEL.warn, outcome: "failed", ...SERVED };
    const broken = { ...failed, code: "upstream_disconnected" };
    expect(await lineOf(from, "early")).toMatchObject({ ...broken, content_events: 0 });
    expect(await lineOf(from, "late")).toMatchObject({ ...broken, content_events: 1 });
    expect(await lineOf(from, "whole")).toMatchObject({ ...failed, code: "upstream_error" });
    expect(await lineOf(from, "ws")).toMatchObject({ ...broken, transport: "websocket" });
    expect(await lineOf(from, "theirs")).toMatchObject({
      level: LEVEL.info,
      outcome: "failed",
      code: "upstream_error",
      upstream_status: 422,
    });
    const { log, metrics } = await counted(from);
    expect(log).toEqual(metrics);
  });

  test("stopped, left and attached to", async () => {
    const { url } = await start();
    const from = gateway as GatewayProcess;
    for (const id of ["leaver", "canceller"]) {
      const gone = new AbortController();
      const answer = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-request-id": id },
        body: JSON.stringify(streamed(ENDLESS)),
        signal: gone.signal,
      });
      const generation = answer.headers.get("x-generation-id");
      if (id === "leaver") gone.abort();
      else {
        await post(`${url}/v1/generations/${generation}/cancel`, {});
        await answer.text();
      }
    }
    const same = { "idempotency-key": "same" };
    const first = await drained(complete(url, "first", streamed(USAGE), same));
    await drained(complete(url, "again", streamed(USAGE), same));
    const client = await socket(from, "ws-canceller");
    await generate(client, ENDLESS);
    client.send({ type: "cancel", id: "a" });
    await client.next(({ type }) => type === "end");
    client.terminate();
    const attacher = await socket(from, "ws-again");
    const twin = { type: "generate", id: "b", request: chat(USAGE), idempotency_key: "ws" };
    for (const _ of ["makes it", "is attached to it"]) {
      const before = attacher.received.length;
      attacher.send(twin);
      await attacher.next(({ type }) => type === "end", before);
    }
    attacher.terminate();
    const stopped = { level: LEVEL.info, code: "cancelled", upstream: "upstream" };
    expect(await lineOf(from, "leaver")).toMatchObject({ ...stopped, outcome: "disconnected" });
    expect(await lineOf(from, "canceller")).toMatchObject({ ...stopped, outcome: "cancelled" });
    expect(await lineOf(from, "ws-canceller")).toMatchObject({ ...stopped, outcome: "cancelled" });
    const attached = await lineOf(from, "again");
    expect(attached).toMatchObject({
      level: LEVEL.info,
      outcome: "attached",
      generation: first.headers.get("x-generation-id"),
    });
    expect(attached).not.toHaveProperty("duration_ms");
    const shared = (): LogLine[] => requestsIn(from).filter((line) => line.request_id === "ws-again");
    await until("both lines are read", () => shared().length > 1);
    const both = shared();
    expect(both.map(({ outcome }) => outcome)).toEqual(["completed", "attached"]);
    expect(new Set(both.map(({ generation }) => generation)).size).toBe(1);
    const { log, metrics } = await counted(from);
    expect(log).toEqual(metrics);
  });
});

describe("what was refused", () => {
  test("unauthorized and invalid, with the reason and no generation", async () => {
    const { url, wsUrl } = await start({ SLUICE_API_KEYS: "alice:key-of-alice-0123456789" });
    const from = gateway as GatewayProcess;
    const key = { authorization: "Bearer key-of-alice-0123456789" };
    await drained(complete(url, "stranger", chat(USAGE)));
    await drained(complete(url, "not-json", "{", key));
    await drained(complete(url, "no-messages", { model: "m" }, key));
    await drained(post(`${url}/chat`, { prompt: 7 }, { ...key, "x-request-id": "chat" }));
    await drained(post(`${url}/v1/generations`, {}, { ...key, "x-request-id": "generations" }));
    const client = await WsClient.open(wsUrl, { headers: { ...key, "x-request-id": "ws" } });
    await client.ask({ type: "generate", id: "a", request: { messages: "none" } }, "error");
    client.terminate();
    expect(await lineOf(from, "stranger")).toMatchObject({
      level: LEVEL.info,
      outcome: "unauthorized",
      code: "invalid_api_key",
      transport: "json",
      key: "none",
    });
    const invalid = { level: LEVEL.info, outcome: "invalid", key: "alice" };
    expect(await lineOf(from, "not-json")).toMatchObject({ ...invalid, code: "invalid_json" });
    expect(await lineOf(from, "no-messages")).toMatchObject({ ...invalid, code: "invalid_request" });
    expect(await lineOf(from, "chat")).toMatchObject({ ...invalid, transport: "sse" });
    expect(await lineOf(from, "generations")).toMatchObject({ ...invalid, transport: "none" });
    expect(await lineOf(from, "ws")).toMatchObject({ ...invalid, transport: "websocket" });
    for (const line of requestsIn(from)) expect(line).not.toHaveProperty("generation");
    // Looking, listing and what is no creating request have no line.
    await drained(fetch(`${url}/v1/models`, { headers: { ...key, "x-request-id": "models" } }));
    await drained(fetch(`${url}/v1/generations/gen_x`, { headers: { ...key, "x-request-id": "look" } }));
    expect(requestsIn(from)).toHaveLength(6);
  });

  test("no room: in the line, in its time, in the memory", async () => {
    const limits = { SLUICE_MAX_CONCURRENCY: "1", SLUICE_MAX_QUEUE: "1", SLUICE_QUEUE_TIMEOUT_MS: "5000" };
    const { url } = await start({ ...limits, SLUICE_RUNNING_MAX_BYTES: "1" });
    const from = gateway as GatewayProcess;
    const holder = await socket(from, "holder");
    const { generation } = await generate(holder, HELD);
    const waiting = drained(complete(url, "waiter", streamed(USAGE)));
    await until("one waits", async () => (await metricOf(url, "sluice_queue_depth")) === 1);
    await drained(complete(url, "too-many", streamed(USAGE)));
    const client = await socket(from, "ws");
    await client.ask({ type: "generate", id: "a", request: chat(USAGE) }, "error");
    await waiting;
    holder.send({ type: "cancel", id: "a" });
    await holder.end(generation);
    const { generation: filling } = await generate(holder, ENDLESS);
    await holder.next((message) => message.type === "event" && message.generation === filling);
    await drained(complete(url, "no-memory", streamed(USAGE)));
    holder.terminate();
    client.terminate();
    const refused = { level: LEVEL.info, outcome: "queue_full", code: "queue_full", model: "sluice-demo" };
    expect(await lineOf(from, "too-many")).toMatchObject({ ...refused, transport: "sse" });
    expect(await lineOf(from, "ws")).toMatchObject({ ...refused, transport: "websocket" });
    const waited = await lineOf(from, "waiter");
    expect(waited).toMatchObject({ level: LEVEL.warn, outcome: "queue_timeout", attempts: 0, ...ENDED });
    expect(waited).not.toHaveProperty("upstream");
    expect(await lineOf(from, "no-memory")).toMatchObject({ level: LEVEL.warn, outcome: "overloaded" });
  });
});

test("outside of requests: listening, draining, what the drain refuses and cuts short, drained", async () => {
  const { url, child, exited } = await start({ SLUICE_SHUTDOWN_TIMEOUT_MS: "1500" });
  const from = gateway as GatewayProcess;
  expect(logOf(from).map(({ level, msg }) => ({ level, msg }))).toEqual([
    { level: LEVEL.info, msg: `listening on ${url}` },
  ]);
  const running = await complete(url, "cut", streamed(ENDLESS));
  const client = await socket(from, "ws");
  child.kill("SIGTERM");
  await client.next(({ type }) => type === "draining");
  await drained(complete(url, "late", streamed(USAGE)));
  await running.text();
  expect(await exited).toBe(0);
  expect(await lineOf(from, "late")).toMatchObject({ level: LEVEL.warn, outcome: "draining" });
  const cut = { level: LEVEL.warn, outcome: "failed", code: "draining" };
  expect(await lineOf(from, "cut")).toMatchObject(cut);
  const others = logOf(from).filter(({ msg }) => msg !== "request");
  expect(others.map(({ msg }) => msg)).toEqual([`listening on ${url}`, "draining", "drained"]);
});

test("an upstream's health, once for each change", async () => {
  const { url } = await start();
  const from = gateway as GatewayProcess;
  for (let n = 0; n < 7; n++)
    await drained(complete(url, `n${n}`, chat({ fault: { kind: "reset_before_headers" } })));
  const health = (): LogLine[] => logOf(from).filter(({ msg }) => msg.startsWith("upstream "));
  await until("it is noticed", () => health().length > 0);
  expect(health()).toHaveLength(1);
  expect(health()[0]).toMatchObject({ level: LEVEL.warn, upstream: "upstream" });
});
