/** Upstreams that do not stop, and the limits that end them: silence after `[DONE]`, logs that grow too large. */
import { afterEach, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import {
  chat,
  look,
  post,
  refusal,
  startGeneration,
  streamed,
  uncut,
  verbatim,
} from "../support/requests.ts";
import { readSse } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
afterEach(() => gateway.close());

const open = async (env: Record<string, string>): Promise<void> => {
  gateway = await startGateway({ env });
};

const DONE_THEN_SILENCE = {
  tokens: 3,
  done: true,
  fault: { kind: "error_event" as const, after_finish: true, body: "[DONE]", afterwards: "hang" as const },
};

test("[DONE] and then silence: the client is done at once, the slot is free after a second", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1" });
  const client = await readSse(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    body: streamed(DONE_THEN_SILENCE),
  });
  expect(client.last?.data).toBe("[DONE]");
  // The stream is still open upstream, and its slot still held: one slot is one stream (law 10).
  expect(gateway.emulator.stats.open).toBe(1);
  expect(await gateway.metric("sluice_upstream_in_flight")).toBe(1);
  const next = await startGeneration(gateway.url, { tokens: 2 });
  expect(next.status).toBe("queued");
  await until("the next one runs", async () => (await look(gateway.url, next.id)).status === "completed");
  expect(gateway.emulator.stats).toMatchObject({ max_open: 1, requests: 2 });
  expect((await look(gateway.url, next.id)).timing["queue_ms"]).toBeLessThan(5000);
});

test("what comes after [DONE] is ignored", async () => {
  await open({});
  const stop = `data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n`;
  const client = await readSse(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    body: streamed(
      verbatim(`${stop}data: [DONE]\n\ndata: {"error":"late"}\n\ndata: garbage\n\ndata: [DONE]\n\n`),
    ),
  });
  expect(client.text).toBe(`${stop}data: [DONE]\n\n`);
});

test("a log past its limit fails with log_limit, on each transport, and keeps what it had", async () => {
  await open({ SLUICE_LOG_MAX_BYTES: "20000" });
  const script = { tokens: 1000, pace_ms: 1, payload_bytes: 500 };
  const body = streamed(script);
  const stock = await readSse(`${gateway.url}/v1/chat/completions`, { method: "POST", body });
  expect(JSON.parse(stock.last?.data ?? "")).toMatchObject({
    error: { code: "log_limit", type: "server_error" },
  });
  expect(stock.text).not.toContain("[DONE]");
  const { id } = await startGeneration(gateway.url, script);
  const reader = await uncut(gateway.url, id);
  expect(JSON.parse(reader.last?.data ?? "")).toMatchObject({
    status: "failed",
    error: { code: "log_limit" },
  });
  const size = reader.payloads.join("").length;
  expect(size).toBeLessThanOrEqual(20_000);
  expect(size).toBeGreaterThan(19_000);
  const client = await WsClient.open(gateway.wsUrl);
  const accepted = await client.ask({ type: "generate", id: "a", request: chat(script) }, "accepted");
  expect(await client.end(accepted.generation)).toMatchObject({ error: { code: "log_limit" } });
  client.terminate();
  await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
});

test("one event, or one whole answer, that is too large is log_limit too", async () => {
  await open({ SLUICE_LOG_MAX_BYTES: "20000" });
  const huge = { text: "x".repeat(30_000) };
  for (const stream of [true, false]) {
    const answer = post(`${gateway.url}/v1/chat/completions`, chat(huge, { stream }));
    expect(await refusal(answer)).toMatchObject({ status: 500, code: "log_limit", shouldRetry: "false" });
  }
});

test("running logs past their limit together: new work is 503 overloaded, until there is room", async () => {
  await open({ SLUICE_RUNNING_MAX_BYTES: "10000" });
  const grown = await startGeneration(gateway.url, {
    tokens: 100_000,
    burst: 50,
    pace_ms: 20,
    payload_bytes: 500,
  });
  await until("it has grown", async () => (await look(gateway.url, grown.id)).last_seq > 40);
  for (const path of ["/v1/chat/completions", "/v1/completions"]) {
    const answer = await refusal(post(gateway.url + path, streamed({ text: "a" }, { prompt: "x" })));
    expect(answer).toMatchObject({ status: 503, code: "overloaded", type: "server_error" });
    expect(Number(answer.retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Number(answer.retryAfter)).toBeLessThanOrEqual(30);
  }
  const client = await WsClient.open(gateway.wsUrl);
  const error = await client.ask({ type: "generate", id: "a", request: chat({ text: "a" }) }, "error");
  expect(error).toMatchObject({ id: "a", error: { code: "overloaded" } });
  // To read what runs is no new work.
  await client.ask({ type: "subscribe", id: "b", generation: grown.id }, "accepted");
  expect(await gateway.metric("sluice_requests_total", { outcome: "overloaded" })).toBe(3);
  client.send({ type: "cancel", id: "b" });
  await client.end(grown.id);
  client.terminate();
  expect((await startGeneration(gateway.url, { text: "a" })).object).toBe("generation");
});
