/** Cut anywhere, resumed on any transport: the parts join to the uncut bytes. Many readers share one upstream request. */
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, eventsOf, look, startGeneration, uncut } from "../support/requests.ts";
import { SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

type Transport = "sse" | "websocket";

/** What one connection brought before it was cut: seq and payload of each event, and whether the ending came. */
interface Part {
  readonly events: readonly (readonly [seq: number, payload: string])[];
  readonly isWhole: boolean;
}

/** Reads at least `wanted` events after a position, and vanishes; what else came with them counts as well. */
type ReadSome = (id: string, after: number, wanted: number) => Promise<Part>;

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());
beforeEach(() => gateway.emulator.reset());

const readSomeSse: ReadSome = async (id, after, wanted) => {
  const client = eventsOf(gateway.url, id, after === 0 ? undefined : after);
  const isThere = (): boolean => client.payloads.length >= wanted || client.last?.event === "end";
  await until("events on /events", async () => isThere() || (await client.head).status !== 200);
  client.destroy();
  const events = client.events.filter(({ event }) => event === undefined);
  return {
    events: events.map(({ id: seq, data }) => [Number(seq), data]),
    isWhole: client.last?.event === "end",
  };
};

const readSomeWebSocket: ReadSome = async (id, after, wanted) => {
  const client = await WsClient.open(gateway.wsUrl);
  client.send({ type: "subscribe", id: "s", generation: id, starting_after: after });
  await client.next(({ type, seq }) => type === "end" || Number(seq) >= after + wanted);
  client.terminate();
  const payloads = client.payloads(id);
  return {
    events: client.seqs(id).map((seq, index) => [Number(seq), String(payloads[index])]),
    isWhole: client.messages.at(-1)?.type === "end",
  };
};

const readers: Record<Transport, ReadSome> = { sse: readSomeSse, websocket: readSomeWebSocket };

interface Cut {
  readonly transport: Transport;
  readonly wanted: number;
}

const cuts = fc.array(
  fc.record({
    transport: fc.constantFrom<Transport>("sse", "websocket"),
    // Small pieces make many cuts; a large one jumps over what is there.
    wanted: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 60 })),
  }),
  { minLength: 1, maxLength: 12 },
);

const scripts = fc.record({
  tokens: fc.integer({ min: 0, max: 60 }),
  pace_ms: fc.constantFrom(0, 1, 4),
  burst: fc.integer({ min: 1, max: 5 }),
  payload_bytes: fc.constantFrom(0, 400, 70_000),
  usage: fc.boolean(),
  read: fc.constantFrom<("event" | number)[]>("event", 100, 5000),
});

/** Reads with the cuts given and then, whole, with what is left. */
async function readInParts(id: string, plan: readonly Cut[]): Promise<Part["events"]> {
  const events: (readonly [number, string])[] = [];
  for (const { transport, wanted } of [...plan, { transport: "sse" as const, wanted: 1000 }]) {
    const part = await readers[transport](id, events.length, wanted);
    events.push(...part.events);
    if (part.isWhole) break;
  }
  return events;
}

test("a generation cut at any event, any number of times, on either transport, is the uncut one", async () => {
  let seen = 0;
  const check = fc.asyncProperty(scripts, cuts, async (script, plan) => {
    const { id } = await startGeneration(gateway.url, script);
    const events = await readInParts(id, plan);
    const whole = (await uncut(gateway.url, id)).payloads;
    expect(events.map(([seq]) => seq)).toEqual(whole.map((_, index) => index + 1));
    expect(events.map(([, payload]) => payload)).toEqual(whole);
    seen++;
  });
  await fc.assert(check, { numRuns: 60 });
  expect(gateway.emulator.stats.requests).toBeGreaterThanOrEqual(seen);
});

test("an ended generation gives the same from every position, on both transports", async () => {
  const { id } = await startGeneration(gateway.url, {
    text: "ein Wort é 水 🚣",
    reasoning: "hm",
    usage: true,
  });
  const whole = (await uncut(gateway.url, id)).payloads;
  for (let after = 0; after <= whole.length; after++) {
    for (const transport of ["sse", "websocket"] as const) {
      const { events, isWhole } = await readers[transport](id, after, 1000);
      expect(events.map(([, payload]) => payload)).toEqual(whole.slice(after));
      expect(isWhole).toBe(true);
    }
  }
});

test("a failed generation resumes to its failure", async () => {
  const fault = { kind: "reset" as const, after_tokens: 7 };
  const { id } = await startGeneration(gateway.url, { tokens: 20, pace_ms: 2, fault });
  await uncut(gateway.url, id);
  const events = await readInParts(id, [
    { transport: "sse", wanted: 2 },
    { transport: "websocket", wanted: 3 },
  ]);
  expect(events.map(([seq]) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect((await look(gateway.url, id)).error?.code).toBe("upstream_disconnected");
});

test("one begun over WebSocket, or by a stock client, is resumed over the other", async () => {
  const script = { tokens: 40, pace_ms: 5 };
  const begun = await WsClient.open(gateway.wsUrl);
  const request = chat(script);
  const { generation } = await begun.ask({ type: "generate", id: "a", request }, "accepted");
  await begun.next(({ seq }) => seq === 7);
  begun.terminate();
  const seen = begun.payloads(generation);
  const rest = eventsOf(gateway.url, String(generation), seen.length);
  await rest.ended;
  expect([...seen, ...rest.payloads]).toEqual((await uncut(gateway.url, String(generation))).payloads);

  const stock = new SseClient(`${gateway.url}/v1/chat/completions`, {
    method: "POST",
    body: { ...request, stream: true },
    headers: { "x-sluice-on-disconnect": "grace" },
  });
  await until("some events", () => stock.payloads.length > 7);
  stock.destroy();
  const id = String((await stock.head).headers["x-generation-id"]);
  const { events } = await readSomeWebSocket(id, stock.payloads.length, 1000);
  const joined = [...stock.payloads, ...events.map(([, payload]) => payload)];
  expect(joined).toEqual((await uncut(gateway.url, id)).payloads);
});

test("40 readers that join at random times get the same bytes from one upstream request", async () => {
  const { id } = await startGeneration(gateway.url, { tokens: 150, pace_ms: 5, jitter_ms: 5 });
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const sse = Array.from({ length: 20 }, async () => {
    await wait(Math.random() * 1500);
    return (await uncut(gateway.url, id)).payloads;
  });
  const webSocket = Array.from({ length: 20 }, async () => {
    const client = await WsClient.open(gateway.wsUrl);
    await wait(Math.random() * 1500);
    client.send({ type: "subscribe", id: "s", generation: id });
    await client.end(id);
    expect(client.messages.filter(({ type }) => type === "end")).toHaveLength(1);
    client.terminate();
    return client.payloads(id);
  });
  const all = await Promise.all([...sse, ...webSocket]);
  expect(all[0]).toHaveLength(152);
  for (const payloads of all) expect(payloads).toEqual(all[0]);
  expect(gateway.emulator.stats.requests).toBe(1);
  expect(await gateway.metric("sluice_readers_total")).toBeGreaterThanOrEqual(40);
});
