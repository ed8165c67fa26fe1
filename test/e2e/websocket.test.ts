/** `/v1/ws`: starting, following, leaving and stopping generations, message by message. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, look, startGeneration, uncut } from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
let client: WsClient;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());
beforeEach(async () => {
  gateway.emulator.reset();
  client = await WsClient.open(gateway.wsUrl);
});
afterEach(() => client.terminate());

const ENDLESS = { tokens: 100_000, pace_ms: 10 };

/** Of policy `cancel`, so that a test leaves nothing running for the next. */
const generate = (id: string, script: object, more: object = {}): Promise<string> =>
  client
    .ask({ type: "generate", id, request: chat(script), on_disconnect: "cancel", ...more }, "accepted")
    .then(generationOf);

const generationOf = ({ generation }: { generation?: string }): string => String(generation);

const subscribe = (id: string, generation: string, after?: number): object => ({
  type: "subscribe",
  id,
  generation,
  ...(after === undefined ? {} : { starting_after: after }),
});

test("ready comes first and tells the limits", () => {
  expect(client.ws.protocol).toBe("sluice.v1");
  expect(client.messages[0]).toEqual({
    type: "ready",
    protocol: "sluice.v1",
    heartbeat_ms: 15_000,
    max_message_bytes: 10_485_760,
    max_subscriptions: 64,
  });
});

describe("generate", () => {
  test("accepted, then every event, then one end", async () => {
    const generation = await generate("a", { text: "one two", usage: true });
    const end = await client.end(generation);
    const types = client.of(generation).map(({ type }) => type);
    expect(types).toEqual(["accepted", ...Array(5).fill("event"), "end"]);
    expect(client.of(generation)[0]).toMatchObject({ id: "a", last_seq: 0 });
    expect(["queued", "running"]).toContain(client.of(generation)[0]?.status);
    expect(client.seqs(generation)).toEqual([1, 2, 3, 4, 5]);
    expect(end).toMatchObject({ type: "end", generation, seq: 6, status: "completed" });
    const { usage, timing } = await look(gateway.url, generation);
    expect([end.usage, end.timing]).toEqual([usage, timing]);
    expect(end).not.toHaveProperty("id");
    expect(end).not.toHaveProperty("error");
  });

  test("data is the last member and the upstream's own bytes", async () => {
    const odd = `{"z":1.10, "choices":[{"index":0,"delta":{"content":"\\u00e9 é \\/"}, "finish_reason":"stop"}],"id":12345678901234567890}`;
    const body = `data: ${odd}\n\ndata: [DONE]\n\n`;
    const headers = { "content-type": "text/event-stream" };
    const generation = await generate("a", { fault: { kind: "status", status: 200, headers, body } });
    await client.end(generation);
    const text = client.received.find(({ message }) => message.type === "event")?.text;
    expect(text).toBe(`{"type":"event","generation":"${generation}","seq":1,"data":${odd}}`);
  });

  test("the request reaches the upstream as it was written, stream added", async () => {
    const request = `{ "messages":[ ], "model":"sluice-demo","seed":1.0, "emulator":{"text":"a"} }`;
    client.ws.send(`{"type":"generate","id":"a","request":${request}}`);
    await client.next(({ type }) => type === "end");
    expect(gateway.emulator.requests()[0]?.body).toBe(request.replace("{", '{"stream":true,'));
  });

  test("a failure is told in the end, before content as in mid-stream", async () => {
    const early = await generate("a", { fault: { kind: "status", status: 429 } });
    const late = await generate("b", { tokens: 3, fault: { kind: "reset", after_tokens: 2 } });
    expect(await client.end(early)).toMatchObject({
      seq: 1,
      status: "failed",
      error: { code: "rate_limit_exceeded" },
    });
    expect(await client.end(late)).toMatchObject({
      status: "failed",
      error: { code: "upstream_disconnected" },
    });
    expect(client.seqs(early)).toEqual([]);
    expect(client.seqs(late)).toEqual([1, 2, 3]);
  });

  test("a name may be used again after its end, and not before", async () => {
    const first = await generate("a", ENDLESS);
    const doubled = await client.ask({ type: "generate", id: "a", request: chat({ text: "x" }) }, "error");
    expect(doubled).toMatchObject({ id: "a", error: { code: "invalid_request" } });
    expect(gateway.emulator.stats.requests).toBe(1);
    client.send({ type: "cancel", id: "a" });
    await client.end(first);
    expect(await client.end(await generate("a", { text: "x" }))).toMatchObject({ status: "completed" });
  });

  test("many at once on one connection, each complete and in order", async () => {
    const scripts = Array.from({ length: 12 }, (_, index) => ({
      tokens: 30 + index,
      pace_ms: 3,
      jitter_ms: 6,
      burst: 1 + (index % 3),
      payload_bytes: index % 4 === 3 ? 70_000 : 200,
    }));
    for (const [index, script] of scripts.entries()) {
      client.send({ type: "generate", id: `g${index}`, request: chat(script, { user: `u${index}` }) });
    }
    for (const [index, { tokens }] of scripts.entries()) {
      const accepted = await client.next(({ type, id }) => type === "accepted" && id === `g${index}`);
      const id = generationOf(accepted);
      await client.end(id);
      expect(client.seqs(id)).toEqual(Array.from({ length: tokens + 2 }, (_, seq) => seq + 1));
      expect(client.payloads(id)).toEqual((await uncut(gateway.url, id)).payloads);
    }
    expect(client.messages.filter(({ type }) => type === "end")).toHaveLength(12);
    const order = client.messages.filter(({ type }) => type === "event").map(({ generation }) => generation);
    const switches = order.filter((generation, index) => generation !== order[index - 1]).length;
    expect(switches).toBeGreaterThan(24);
  });
});

describe("subscribe", () => {
  test("at every position, the ending's own included", async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 4 });
    const whole = (await uncut(gateway.url, id)).payloads;
    for (let after = 0; after <= 7; after++) {
      const from = client.received.length;
      client.send(subscribe(`s${after}`, id, after));
      const end = await client.next(({ type }) => type === "end", from);
      const [accepted, ...rest] = client.received.slice(from).map(({ message }) => message);
      expect(accepted).toEqual({
        type: "accepted",
        id: `s${after}`,
        generation: id,
        status: "completed",
        last_seq: 7,
      });
      expect(end.seq).toBe(7);
      const seqs = rest.slice(0, -1).map(({ seq }) => seq);
      expect(seqs).toEqual(whole.map((_, index) => index + 1).filter((seq) => seq > after));
    }
    expect(client.payloads(id).slice(0, 6)).toEqual(whole);
  });

  test("to one that runs, from the middle, and to its end", async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 30, pace_ms: 10 });
    await until("some events", async () => (await look(gateway.url, id)).last_seq > 5);
    const accepted = await client.ask(subscribe("s", id, 5), "accepted");
    expect(accepted).toMatchObject({ status: "running" });
    await client.end(id);
    expect(client.seqs(id)).toEqual(Array.from({ length: 27 }, (_, index) => index + 6));
    expect(client.payloads(id)).toEqual((await uncut(gateway.url, id)).payloads.slice(5));
  });

  test.each([
    ["a position ahead", (id: string) => subscribe("s", id, 9), "position_ahead"],
    ["an unknown generation", () => subscribe("s", "gen_none"), "generation_not_found"],
    ["a negative position", (id: string) => subscribe("s", id, -1), "invalid_request"],
    ["a fraction", (id: string) => subscribe("s", id, 1.5), "invalid_request"],
    ["2^53", (id: string) => subscribe("s", id, 2 ** 53), "invalid_request"],
    ["no number", (id: string) => ({ ...subscribe("s", id), starting_after: null }), "invalid_request"],
  ])("%s is an error, and the connection goes on", async (_name, message, code) => {
    const { id } = await startGeneration(gateway.url, { tokens: 4 });
    await uncut(gateway.url, id);
    expect(await client.ask(message(id), "error")).toMatchObject({ id: "s", error: { code } });
    await client.ask(subscribe("s", id), "accepted");
    expect(await client.end(id)).toMatchObject({ status: "completed" });
  });

  test("twice to the same generation, under whatever name", async () => {
    const generation = await generate("a", ENDLESS);
    const again = await client.ask(subscribe("b", generation), "error");
    expect(again).toMatchObject({ id: "b", generation, error: { code: "already_subscribed" } });
    expect((await look(gateway.url, generation)).readers).toBe(1);
  });

  test("at most 64 at once; one that has ended makes room", async () => {
    const names = Array.from({ length: 64 }, (_, index) => `g${index}`);
    for (const id of names) {
      client.send({ type: "generate", id, request: chat(ENDLESS), on_disconnect: "cancel" });
    }
    await client.next(({ type, id }) => type === "accepted" && id === "g63");
    const refused = await client.ask({ type: "generate", id: "more", request: chat({ text: "x" }) }, "error");
    expect(refused).toMatchObject({ id: "more", error: { code: "too_many_subscriptions" } });
    const { id } = await startGeneration(gateway.url, { text: "x" });
    const other = await client.ask(subscribe("more", id), "error");
    expect(other).toMatchObject({ error: { code: "too_many_subscriptions" } });
    await until("the others are asked for", () => gateway.emulator.stats.requests === 65);
    await client.ask({ type: "unsubscribe", id: "g0" }, "unsubscribed");
    await client.ask(subscribe("more", id), "accepted");
    for (const name of names.slice(1)) client.send({ type: "cancel", id: name });
    await until("all are cancelled", () => gateway.emulator.stats.open === 0);
  });
});

describe("unsubscribe", () => {
  test("is answered by unsubscribed, the last message of it; the name is free again", async () => {
    const generation = await generate("a", ENDLESS, { on_disconnect: "grace" });
    await client.next(({ type, seq }) => type === "event" && seq === 5);
    const answer = await client.ask({ type: "unsubscribe", id: "a" }, "unsubscribed");
    expect(answer).toEqual({ type: "unsubscribed", id: "a", generation });
    const before = client.received.length;
    const { last_seq } = await look(gateway.url, generation);
    await until("it goes on", async () => (await look(gateway.url, generation)).last_seq > last_seq + 5);
    expect(client.received.slice(before)).toEqual([]);
    const seen = client.seqs(generation).at(-1);
    await client.ask(subscribe("a", generation, seen), "accepted");
    await client.next(({ type, seq }) => type === "event" && seq === Number(seen) + 5, before);
    expect(client.seqs(generation)).toEqual(client.seqs(generation).map((_, index) => index + 1));
    client.send({ type: "cancel", id: "a" });
    await client.end(generation);
  });

  test("the disconnect policy applies: cancel stops it", async () => {
    const generation = await generate("a", ENDLESS);
    await client.ask({ type: "unsubscribe", id: "a" }, "unsubscribed");
    expect(await look(gateway.url, generation)).toMatchObject({ status: "cancelled" });
    await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
  });

  test("an unknown name is an error", async () => {
    expect(await client.ask({ type: "unsubscribe", id: "a" }, "error")).toMatchObject({
      id: "a",
      error: { code: "invalid_request" },
    });
  });
});

describe("cancel", () => {
  test("by the client's name, and by the generation, whoever began it", async () => {
    const mine = await generate("a", ENDLESS);
    const { id } = await startGeneration(gateway.url, ENDLESS);
    await client.ask(subscribe("b", id), "accepted");
    client.send({ type: "cancel", id: "a" });
    client.send({ type: "cancel", generation: id });
    for (const generation of [mine, id]) {
      expect(await client.end(generation)).toMatchObject({
        status: "cancelled",
        error: { code: "cancelled" },
      });
    }
    await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
    // Idempotent, and silent: what it did was told by the end.
    client.send({ type: "cancel", generation: id });
    await client.ask({ type: "ping" }, "pong");
    expect(client.messages.at(-1)).toEqual({ type: "pong" });
  });

  test.each([
    [{ id: "nobody" }, "invalid_request"],
    [{ generation: "gen_none" }, "generation_not_found"],
    [{}, "invalid_request"],
  ])("%j is an error", async (what, code) => {
    expect(await client.ask({ type: "cancel", ...what }, "error")).toMatchObject({
      ...what,
      error: { code },
    });
  });
});
