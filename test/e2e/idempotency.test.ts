/** `Idempotency-Key`: the same key and request join the same generation, on whatever route and transport that may be. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, look, post, refusal, streamed, uncut } from "../support/requests.ts";
import { readSse, SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());
beforeEach(() => gateway.emulator.reset());

let keys = 0;
const newKey = (): string => `key ${++keys}`;
const at = (path: string): string => gateway.url + path;
const withKey = (key: string): Record<string, string> => ({ "idempotency-key": key });

const idOf = (answer: Response): string => String(answer.headers.get("x-generation-id"));

async function read(path: string, body: unknown, key: string): Promise<{ id: string; text: string }> {
  const answer = await post(at(path), body, withKey(key));
  expect(answer.ok).toBe(true);
  return { id: idOf(answer), text: await answer.text() };
}

describe("attaching", () => {
  test("chat completions: the same bytes again, from one upstream request", async () => {
    const key = newKey();
    const body = streamed({ tokens: 5 });
    const first = await read("/v1/chat/completions", body, key);
    // As JSON values: order, spaces and numbers' spelling do not count.
    const same = JSON.stringify(Object.fromEntries(Object.entries(body).reverse()), null, 2);
    const again = [
      await read("/v1/chat/completions", body, key),
      await read("/v1/chat/completions", same, key),
    ];
    for (const answer of again) expect(answer).toEqual(first);
    expect(gateway.emulator.stats.requests).toBe(1);
    expect(await gateway.metric("sluice_requests_total", { outcome: "attached" })).toBe(2);
  });

  test.each([
    ["not streamed", "/v1/chat/completions", chat({ text: "a b" })],
    ["completions", "/v1/completions", { model: "m", prompt: "x", stream: true, emulator: { text: "a" } }],
    ["/chat", "/chat", { model: "m", prompt: "x" }],
  ])("%s", async (_name, path, body) => {
    const key = newKey();
    const first = await read(path, body, key);
    expect(await read(path, body, key)).toEqual(first);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("across routes and transports: one generation for all", async () => {
    const key = newKey();
    const request = chat({ tokens: 20, pace_ms: 10 });
    const started = await post(at("/v1/generations"), { request }, withKey(key));
    const { id } = (await started.json()) as { id: string };
    const stock = new SseClient(at("/v1/chat/completions"), {
      method: "POST",
      body: { ...request, stream: true },
      headers: withKey(key),
    });
    const client = await WsClient.open(gateway.wsUrl);
    const generate = { type: "generate", id: "a", request, idempotency_key: key };
    const accepted = await client.ask(generate, "accepted");
    expect(accepted.generation).toBe(id);
    const again = await post(at("/v1/generations"), { request }, withKey(key));
    expect(again.status).toBe(201);
    expect(await again.json()).toMatchObject({ id });
    await client.end(id);
    await stock.ended;
    expect(client.payloads(id)).toEqual(stock.payloads);
    expect((await uncut(gateway.url, id)).payloads).toEqual(stock.payloads);
    expect(gateway.emulator.stats.requests).toBe(1);
    await client.close();
  });

  test("the generation outlives its reader: the default policy is grace", async () => {
    const key = newKey();
    const body = streamed({ tokens: 40, pace_ms: 5 });
    const request = { method: "POST", body, headers: withKey(key) } as const;
    const first = new SseClient(at("/v1/chat/completions"), request);
    await until("it has begun", () => first.payloads.length > 2);
    const id = String((await first.head).headers["x-generation-id"]);
    first.destroy();
    await until("the reader is gone", async () => (await look(gateway.url, id)).readers === 0);
    const second = await readSse(at("/v1/chat/completions"), request);
    expect(second.payloads).toHaveLength(42);
    expect(second.last?.data).toBe("[DONE]");
    expect(gateway.emulator.stats.requests).toBe(1);
  });
});

describe("not attaching", () => {
  const conflict = { status: 409, code: "idempotency_conflict", shouldRetry: "false" };

  test("another request, endpoint, or streamed where it was not, is a conflict", async () => {
    const key = newKey();
    const body = streamed({ text: "a" });
    await read("/v1/chat/completions", body, key);
    const others: [string, unknown][] = [
      ["/v1/chat/completions", { ...body, seed: 1 }],
      ["/v1/chat/completions", { ...body, stream: false }],
      ["/v1/chat/completions", chat({ text: "a" })],
      ["/v1/completions", { ...body, prompt: "x" }],
      ["/v1/generations", { request: { ...body, seed: 1 } }],
      ["/chat", { prompt: "x", model: "m" }],
    ];
    for (const [path, other] of others) {
      expect(await refusal(post(at(path), other, withKey(key)))).toMatchObject(conflict);
    }
    const client = await WsClient.open(gateway.wsUrl);
    const message = { type: "generate", id: "a", request: { ...body, seed: 1 }, idempotency_key: key };
    expect(await client.ask(message, "error")).toMatchObject({
      id: "a",
      error: { code: "idempotency_conflict" },
    });
    await client.close();
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("one that failed or was cancelled before content is tried anew", async () => {
    const key = newKey();
    gateway.emulator.queue([
      { fault: { kind: "status", status: 500 } },
      { first_token_ms: 60_000, tokens: 1 },
    ]);
    const body = streamed({ text: "a b" });
    const failed = await post(at("/v1/chat/completions"), body, withKey(key));
    expect(failed.status).toBe(502);
    const waiting = await post(at("/v1/generations"), { request: chat({ text: "a b" }) }, withKey(key));
    const { id } = (await waiting.json()) as { id: string };
    expect(id).not.toBe(idOf(failed));
    await post(at(`/v1/generations/${id}/cancel`), "");
    const third = await read("/v1/chat/completions", body, key);
    expect(third.text).toContain("[DONE]");
    expect(third.id).not.toBe(id);
    expect(gateway.emulator.stats.requests).toBe(3);
  });

  test("one that failed after content is attached to", async () => {
    const key = newKey();
    const body = streamed({ tokens: 5, fault: { kind: "eof", after_tokens: 2 } });
    const first = await read("/v1/chat/completions", body, key);
    expect(first.text).toContain("upstream_disconnected");
    expect(await read("/v1/chat/completions", body, key)).toEqual(first);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("another owner's key is another key", async () => {
    const shared = await startGateway({ env: { SLUICE_API_KEYS: "ann:secret-a,bob:secret-b" } });
    const ids: string[] = [];
    for (const secret of ["secret-a", "secret-b", "secret-a"]) {
      const headers = { ...withKey("k"), authorization: `Bearer ${secret}` };
      const answer = await post(`${shared.url}/v1/chat/completions`, streamed({ text: "a" }), headers);
      ids.push(idOf(answer));
      await answer.text();
    }
    expect(ids[2]).toBe(ids[0]);
    expect(ids[1]).not.toBe(ids[0]);
    await shared.close();
  });

  test("a key may have 255 characters, and not one more", async () => {
    const body = streamed({ text: "a" });
    expect((await post(at("/v1/chat/completions"), body, withKey("k".repeat(255)))).status).toBe(200);
    expect(await refusal(post(at("/v1/chat/completions"), body, withKey("k".repeat(256))))).toMatchObject({
      status: 400,
      code: "invalid_request",
    });
  });

  test("a generation whose retention has passed is no longer attached to", async () => {
    const brief = await startGateway({ env: { SLUICE_RETENTION_MS: "50" } });
    const ask = (): Promise<Response> =>
      post(`${brief.url}/v1/chat/completions`, streamed({ text: "a" }), withKey("k"));
    const first = idOf(await ask());
    await until(
      "it is forgotten",
      async () => (await fetch(`${brief.url}/v1/generations/${first}`)).status === 404,
    );
    const second = await ask();
    expect(second.status).toBe(200);
    expect(idOf(second)).not.toBe(first);
    await brief.close();
  });
});
