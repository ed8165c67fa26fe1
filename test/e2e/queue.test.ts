/** The gate: how many run, how many wait, who is refused, what those that wait are told, and that nothing is left over. */
import { afterEach, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, eventsOf, look, post, refusal, startGeneration, streamed } from "../support/requests.ts";
import { readSse, SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
afterEach(() => gateway.close());

const open = async (env: Record<string, string>): Promise<void> => {
  gateway = await startGateway({ env });
};

const HELD = { first_token_ms: 60_000, tokens: 1 };

const positionsOf = ({ comments }: SseClient): number[] =>
  comments.flatMap((comment) => /^queued position=(\d+)$/.exec(comment)?.[1] ?? []).map(Number);

test("4 run, 6 wait, 4 of 14 are refused; 10 complete, and never more than 4 are open upstream", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "4", SLUICE_MAX_QUEUE: "6" });
  // Long enough that none has ended by the time the last of the 14 arrives, on however busy a machine.
  const script = { tokens: 10, first_token_ms: 3000 };
  const answers = await Promise.all(
    Array.from({ length: 14 }, () => post(`${gateway.url}/v1/chat/completions`, streamed(script))),
  );
  const refused = answers.filter(({ status }) => status === 429);
  expect(refused).toHaveLength(4);
  for (const answer of refused) {
    const { code, type, retryAfter } = await refusal(answer);
    expect([code, type]).toEqual(["queue_full", "rate_limit_error"]);
    expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Number(retryAfter)).toBeLessThanOrEqual(30);
  }
  const texts = await Promise.all(answers.filter(({ ok }) => ok).map((answer) => answer.text()));
  expect(texts).toHaveLength(10);
  for (const text of texts) expect(text.match(/tok\d|\[DONE\]/g)).toHaveLength(11);
  expect(gateway.emulator.stats).toMatchObject({ requests: 10, max_open: 4, completed: 10, aborted: 0 });
  expect(await gateway.metric("sluice_requests_total", { outcome: "queue_full" })).toBe(4);
  expect(await gateway.metric("sluice_requests_total", { outcome: "completed" })).toBe(10);
});

test("the refusal is the same on every creating route, and in an error message over WebSocket", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_MAX_QUEUE: "0" });
  await startGeneration(gateway.url, HELD);
  const bodies: [string, object][] = [
    ["/v1/chat/completions", chat({ text: "a" })],
    ["/v1/completions", { model: "m", prompt: "x" }],
    ["/v1/generations", { request: chat({ text: "a" }) }],
    ["/chat", { prompt: "x" }],
  ];
  for (const [path, body] of bodies) {
    expect(await refusal(post(gateway.url + path, body))).toMatchObject({ status: 429, code: "queue_full" });
  }
  const client = await WsClient.open(gateway.wsUrl);
  const answer = await client.ask({ type: "generate", id: "a", request: chat({ text: "a" }) }, "error");
  expect(answer).toMatchObject({ id: "a", error: { code: "queue_full", type: "rate_limit_error" } });
  client.terminate();
});

test("the bodies that wait are bounded too", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_QUEUE_MAX_BYTES: "2000" });
  await startGeneration(gateway.url, HELD);
  const filled = chat({ text: "a" }, { padding: "x".repeat(1200) });
  const ask = (): Promise<Response> => post(`${gateway.url}/v1/generations`, { request: filled });
  expect((await ask()).status).toBe(201);
  expect(await refusal(ask())).toMatchObject({ status: 429, code: "queue_full" });
  expect((await startGeneration(gateway.url, { text: "a" })).status).toBe("queued");
});

test("who waits too long is told 503 queue_timeout, on each transport", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_QUEUE_TIMEOUT_MS: "300" });
  await startGeneration(gateway.url, HELD);
  const client = await WsClient.open(gateway.wsUrl);
  const message = { type: "generate", id: "a", request: chat({ text: "a" }) };
  const accepted = client.ask(message, "accepted");
  const started = await startGeneration(gateway.url, { text: "a" });
  const reader = eventsOf(gateway.url, started.id);
  const stock = await refusal(post(`${gateway.url}/v1/chat/completions`, streamed({ text: "a" })));
  expect(stock).toMatchObject({ status: 503, code: "queue_timeout", type: "server_error" });
  expect(Number(stock.retryAfter)).toBeGreaterThanOrEqual(1);
  const wanted = { status: "failed", error: { code: "queue_timeout" } };
  expect(await client.end((await accepted).generation)).toMatchObject({ seq: 1, ...wanted });
  await reader.ended;
  expect(JSON.parse(reader.last?.data ?? "")).toMatchObject(wanted);
  expect(reader.lastId).toBe("1");
  expect(gateway.emulator.stats.requests).toBe(1);
  expect(await gateway.metric("sluice_requests_total", { outcome: "queue_timeout" })).toBe(3);
  client.terminate();
});

test("everyone who waits sees the place in the line, and sees it come nearer", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_EARLY_HEADERS_MS: "100", SLUICE_HEARTBEAT_MS: "200" });
  const held = await startGeneration(gateway.url, HELD);
  const ahead = [await startGeneration(gateway.url, HELD), await startGeneration(gateway.url, HELD)];
  const last = await startGeneration(gateway.url, { text: "at last" });
  expect(last).toMatchObject({ status: "queued", position: 3 });
  const reader = eventsOf(gateway.url, last.id);
  const client = await WsClient.open(gateway.wsUrl);
  const subscribe = { type: "subscribe", id: "s", generation: last.id };
  expect(await client.ask(subscribe, "accepted")).toMatchObject({ status: "queued", last_seq: 0 });
  const stock = new SseClient(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    body: streamed({ text: "the very last" }),
  });
  // At once, and not only when it changes.
  await until("the place on /events", () => positionsOf(reader).includes(3));
  expect(await client.next(({ type }) => type === "queued")).toEqual({
    type: "queued",
    generation: last.id,
    position: 3,
  });
  await until("the place on the stock wire", () => positionsOf(stock).includes(4));
  expect(stock.text).toContain(": queued position=4\n\n");
  for (const [index, { id }] of [held, ...ahead].entries()) {
    await post(`${gateway.url}/v1/generations/${id}/cancel`, "");
    if (index === 2) break;
    const place = 2 - index;
    await until("it comes nearer on /events", () => positionsOf(reader).includes(place));
    await client.next(({ position }) => position === place);
    expect(await look(gateway.url, last.id)).toMatchObject({ status: "queued", position: place });
    await until("it comes nearer on the stock wire", () => positionsOf(stock).includes(place + 1));
  }
  await Promise.all([reader.ended, stock.ended, client.end(last.id)]);
  expect([reader.last?.event, stock.last?.data]).toEqual(["end", "[DONE]"]);
  const told = client.of(last.id).flatMap(({ position }) => position ?? []);
  for (const positions of [positionsOf(reader), positionsOf(stock), told]) {
    expect(positions).toEqual([...positions].sort((a, b) => b - a));
  }
  expect(told).toEqual([3, 2, 1]);
  client.terminate();
});

test("those that wait go in the order in which they came", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1" });
  const held = await startGeneration(gateway.url, HELD);
  const users = ["a", "b", "c", "d", "e"];
  const ids: string[] = [];
  for (const user of users) {
    ids.push((await startGeneration(gateway.url, { text: "x" }, { request: { user } })).id);
  }
  // One in the middle gives up its place.
  await post(`${gateway.url}/v1/generations/${ids[2]}/cancel`, "");
  await post(`${gateway.url}/v1/generations/${held.id}/cancel`, "");
  await until("all are done", () => gateway.emulator.stats.completed === 4);
  const asked = gateway.emulator.requests().map(({ user }) => user);
  expect(asked.slice(1)).toEqual(["a", "b", "d", "e"]);
});

test("200 requests that are abandoned, in whatever state, leave nothing behind", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "40", SLUICE_MAX_QUEUE: "400" });
  const before = { first_token_ms: 60_000, tokens: 5 };
  const during = { tokens: 100_000, pace_ms: 20 };
  const leavers: (() => void)[] = [];
  // The first forty get the slots, half of them before their first token; all others wait.
  for (let index = 0; index < 200; index++) {
    const script = index % 2 === 0 ? before : during;
    if (index % 4 < 2) {
      const body = streamed(script);
      const client = new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body });
      leavers.push(() => client.destroy());
    } else {
      const client = await WsClient.open(gateway.wsUrl);
      client.send({ type: "generate", id: "a", request: chat(script), on_disconnect: "cancel" });
      leavers.push(() => client.terminate());
    }
  }
  await until("the slots are taken", () => gateway.emulator.stats.open === 40);
  await until("the others wait", async () => (await gateway.metric("sluice_queue_depth")) === 160);
  await until("tokens flow", () => gateway.emulator.stats.tokens_sent > 100);
  expect(await gateway.metric("sluice_generations_active")).toBe(200);
  expect(await gateway.metric("sluice_websocket_connections")).toBe(100);
  // Those that wait go in between the others, so that places move while they are given up.
  for (const leave of leavers.sort(() => Math.random() - 0.5)) leave();
  const gauges = [
    "sluice_queue_depth",
    "sluice_upstream_in_flight",
    "sluice_generations_active",
    "sluice_readers",
    "sluice_websocket_connections",
  ];
  for (const gauge of gauges) await until(`${gauge} is 0`, async () => (await gateway.metric(gauge)) === 0);
  await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
  expect(gateway.emulator.stats.max_open).toBeLessThanOrEqual(40);
  expect(gateway.emulator.stats.sent_after_abort).toBe(0);
  expect(await gateway.metric("sluice_requests_total", { outcome: "disconnected" })).toBe(200);
  const after = await readSse(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    body: streamed({ text: "still there" }),
  });
  expect(after.last?.data).toBe("[DONE]");
});
