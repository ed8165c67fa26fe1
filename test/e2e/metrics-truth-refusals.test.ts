/** Refused requests, by every way: each is counted once, under its one outcome, and nothing else moves. */
import { afterEach, describe, expect, test } from "vitest";
import { ALL, type Asker, JSON_ASKER, STOCK, STREAMED, UNREAD, WEBSOCKET } from "../support/askers.ts";
import { type TestGateway, until } from "../support/gateway.ts";
import { look, post, startGeneration } from "../support/requests.ts";
import { type Moved, sumOf, type Work } from "../support/scrape.ts";
import { API_KEYS, bearer, KEYS, ticketOf } from "../support/tenants.ts";
import { asked, ended, holdSlot, IDLE, movedBy, refused, silent, startKnowing } from "../support/truth.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
afterEach(() => gateway.close());

const open = async (env: Record<string, string>): Promise<void> => {
  gateway = await startKnowing(env);
};

const TENANTS = { SLUICE_API_KEYS: API_KEYS, SLUICE_METRICS_AUTH: "none" };

/** One generation has the only slot. */
const HELD: Work = { ...IDLE, inFlight: 1, active: 1 };

/** Before the body is read, a route of whole answers and streams has the name of the former. */
const unreadName = (asker: Asker): string =>
  asker.transport === "sse" && asker.name !== "/chat" ? "json" : asker.transport;

test("queue_full", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_MAX_QUEUE: "0" });
  const held = await holdSlot(gateway);
  for (const asker of ALL) {
    const rise = await movedBy(gateway, async () => asker.ask(gateway).over, HELD);
    expect(rise, asker.name).toEqual(refused("queue_full", asker.transport));
  }
  await held.release();
});

test("a key's own limit counts as queue_full, under its name", async () => {
  await open({ ...TENANTS, SLUICE_KEY_MAX_CONCURRENCY: "1", SLUICE_KEY_MAX_QUEUE: "0" });
  gateway.emulator.script = () => ({ fault: { kind: "hang_before_headers" } });
  const headers = bearer("alice");
  const held = STOCK.ask(gateway, { headers });
  await until("the slot is held", () => gateway.emulator.stats.requests === 1);
  for (const asker of ALL) {
    const rise = await movedBy(gateway, async () => asker.ask(gateway, { headers }).over, {
      ...HELD,
      readers: 1,
    });
    expect(rise, asker.name).toEqual({ [`requests_total alice queue_full ${asker.transport}`]: 1 });
  }
  held.leave();
});

test("queue_timeout is the ending of a generation that waited too long", async () => {
  await open({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_QUEUE_TIMEOUT_MS: "50" });
  const held = await holdSlot(gateway);
  for (const asker of ALL) {
    const rise = await movedBy(gateway, async () => asker.ask(gateway).over, HELD);
    const silence = asker === JSON_ASKER ? {} : silent("queue_timeout");
    expect(rise, asker.name).toEqual(sumOf(ended("queue_timeout", asker), silence));
  }
  await held.release();
});

test("overloaded", async () => {
  await open({ SLUICE_RUNNING_MAX_BYTES: "10000" });
  const script = { tokens: 90, payload_bytes: 1000, fault: { kind: "hang", after_tokens: 30 } } as const;
  const grown = await startGeneration(gateway.url, script, { on_disconnect: "continue" });
  await until("it has grown", async () => (await look(gateway.url, grown.id)).last_seq === 31);
  for (const asker of ALL) {
    const rise = await movedBy(gateway, async () => asker.ask(gateway).over, HELD);
    expect(rise, asker.name).toEqual(refused("overloaded", asker.transport));
  }
});

test("draining", async () => {
  await open({});
  await holdSlot(gateway);
  // A connection that was there before; one that comes later is told to go.
  const client = await WsClient.open(gateway.wsUrl);
  const { generation } = await client.ask({ type: "generate", id: "held", request: HANGING }, "accepted");
  const drained = gateway.server.drain();
  const held: Work = { readers: 1, queued: 0, inFlight: 2, active: 2 };
  for (const asker of ALL.filter((one) => one !== WEBSOCKET)) {
    const rise = await movedBy(gateway, async () => asker.ask(gateway).over, held);
    expect(rise, asker.name).toEqual(refused("draining", asker.transport));
  }
  const generate = { type: "generate", id: "a", request: HANGING };
  const rise = await movedBy(gateway, () => client.ask(generate, "error"), held);
  expect(rise).toEqual(refused("draining", "websocket"));
  client.send({ type: "cancel", id: "held" });
  await client.end(generation);
  client.terminate();
  await gateway.close();
  await drained;
});

const HANGING = {
  model: "sluice-demo",
  messages: [],
  emulator: { fault: { kind: "hang_before_headers" } },
};

describe("invalid", () => {
  test.each([
    ["messages that are none", { messages: 1, prompt: 1 }],
    ["a model that is no name", { model: 7 }],
  ])("%s", async (_what, more) => {
    await open({});
    for (const asker of ALL) {
      if (asker.name === "completions" && !("model" in more)) continue;
      const rise = await movedBy(gateway, async () => asker.ask(gateway, { more }).over);
      const lines = Object.entries(rise);
      expect(lines, asker.name).toEqual([[`requests_total other invalid ${unreadName(asker)}`, 1]]);
    }
  });

  test("what is no JSON, what has no type that is taken, and what is too large", async () => {
    await open({ SLUICE_MAX_BODY_BYTES: "1000" });
    const paths = { "/v1/chat/completions": "json", "/v1/generations": "none", "/chat": "sse" };
    for (const [path, transport] of Object.entries(paths)) {
      const invalid = { [`requests_total other invalid ${transport}`]: 1 };
      const send = (body: string, headers = {}) =>
        movedBy(gateway, () => post(gateway.url + path, body, headers));
      expect(await send("{")).toEqual(invalid);
      expect(await send("{}", { "content-type": "text/plain" })).toEqual(invalid);
      expect(await send(JSON.stringify("x".repeat(2000)))).toEqual(invalid);
    }
  });

  test("a header that only /chat knows hides no refusal elsewhere", async () => {
    await open({});
    const headers = { "last-event-id": "gen_unknown:3" };
    const send = (path: string) => movedBy(gateway, () => post(gateway.url + path, "{", headers));
    expect(await send("/v1/chat/completions")).toEqual({ "requests_total other invalid json": 1 });
    expect(await send("/v1/generations")).toEqual({ "requests_total other invalid none": 1 });
    // There it resumes, and creates nothing.
    expect(await send("/chat")).toEqual({ "resumes_total unknown sse": 1 });
  });

  test("a message that was to generate and lacks what it needs; other bad messages create nothing", async () => {
    await open({});
    const client = await WsClient.open(gateway.wsUrl);
    const told = (message: object) => movedBy(gateway, () => client.ask(message, "error"));
    const invalid = { "requests_total other invalid websocket": 1 };
    expect(await told({ type: "generate", id: "a" })).toEqual(invalid);
    expect(await told({ type: "generate", request: {} })).toEqual(invalid);
    expect(await told({ type: "generate", id: "a", request: {} })).toEqual(invalid);
    expect(await told({ type: "subscribe", id: "a" })).toEqual({});
    expect(await told({ type: "unheard of", id: "a" })).toEqual({});
    await client.close();
  });

  test("an idempotency key that came with another request, under the model and the transport that were asked for", async () => {
    await open({ SLUICE_MAX_CONCURRENCY: "1" });
    const options = { idempotencyKey: "k" };
    for (const asker of [...STREAMED, JSON_ASKER, UNREAD]) {
      const own = { ...options, idempotencyKey: asker.name };
      gateway.emulator.queue([{ tokens: 1 }]);
      await asker.ask(gateway, { ...own, policy: "continue" }).over;
      const more = asker.name === "/chat" ? { prompt: "another" } : { user: "another" };
      const rise = await movedBy(gateway, async () => asker.ask(gateway, { ...own, more }).over);
      expect(rise, asker.name).toEqual(refused("invalid", asker.transport));
    }
  });
});

describe("unauthorized", () => {
  test("no key, and a wrong one: counted where a generation was to be created, and only there", async () => {
    await open(TENANTS);
    for (const asker of ALL.filter((one) => one !== WEBSOCKET)) {
      for (const headers of [{}, { authorization: "Bearer wrong" }]) {
        const rise = await movedBy(gateway, async () => asker.ask(gateway, { headers }).over.catch(() => {}));
        expect(rise, asker.name).toEqual({ [`requests_total other unauthorized ${unreadName(asker)}`]: 1 });
      }
    }
    const elsewhere = ["/v1/models", "/v1/generations/gen_x", "/v1/generations/gen_x/events", "/v1/ws"];
    for (const path of elsewhere) {
      expect(await movedBy(gateway, () => fetch(gateway.url + path))).toEqual({});
    }
  });

  test("a ticket for one generation starts no other", async () => {
    await open(TENANTS);
    const created = await post(
      `${gateway.url}/v1/generations`,
      { request: HANGING, on_disconnect: "continue" },
      bearer("alice"),
    );
    const { id } = (await created.json()) as { id: string };
    await until("it runs", () => gateway.emulator.stats.requests === 1);
    const ticket = await ticketOf(gateway.url, "alice", { generation: id });
    const client = await WsClient.open(gateway.wsUrl, {
      protocols: ["sluice.v1", `sluice.ticket.${ticket}`],
    });
    const generate = { type: "generate", id: "a", request: HANGING };
    expect(await movedBy(gateway, () => client.ask(generate, "error"), HELD)).toEqual({
      "requests_total alice other unauthorized websocket": 1,
    });
    client.terminate();
  });

  test("each key has its own series", async () => {
    await open(TENANTS);
    for (const tenant of Object.keys(KEYS) as (keyof typeof KEYS)[]) {
      gateway.emulator.queue([{ tokens: 2 }]);
      const rise: Moved = await movedBy(
        gateway,
        async () => STOCK.ask(gateway, { headers: bearer(tenant) }).over,
      );
      expect(rise).toMatchObject({
        [`requests_total ${tenant} completed sse`]: 1,
        [`tokens_total ${tenant} events output`]: 2,
        ...asked(200),
      });
      expect(Object.keys(rise).filter((name) => name.startsWith("requests_total"))).toHaveLength(1);
    }
  });
});
