/** Cancelling, in every state and over every transport, and how each reader of it is told. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, eventsOf, look, post, refusal, startGeneration, streamed } from "../support/requests.ts";
import { SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

const HELD: Script = { first_token_ms: 60_000, tokens: 1 };
const STREAMING: Script = { tokens: 3000, pace_ms: 20 };
const CANCELLED = { status: "cancelled", error: { code: "cancelled", type: "invalid_request_error" } };

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway({ env: { SLUICE_MAX_CONCURRENCY: "1" } });
});
afterAll(() => gateway.close());
beforeEach(async () => {
  await until("the slot is free", async () => (await gateway.metric("sluice_upstream_in_flight")) === 0);
  gateway.emulator.reset();
});

const cancelOverHttp = async (id: string): Promise<void> => {
  expect((await post(`${gateway.url}/v1/generations/${id}/cancel`, "")).status).toBe(200);
};

const cancelOverWebSocket = async (id: string): Promise<void> => {
  const client = await WsClient.open(gateway.wsUrl);
  client.send({ type: "cancel", generation: id });
  await client.ask({ type: "ping" }, "pong");
  client.terminate();
};

type State = "queued" | "before the first token" | "streaming";

/** Holds the one slot while others wait. */
let holder = "";

/** Brings a generation into a state. */
async function bring(state: State, user: string): Promise<string> {
  if (state === "queued") {
    holder = (await startGeneration(gateway.url, HELD, { request: { user: "holder" } })).id;
    await until("the slot is taken", () => gateway.emulator.stats.open === 1);
  }
  const script = state === "streaming" ? STREAMING : HELD;
  const { id } = await startGeneration(gateway.url, script, { request: { user } });
  if (state === "before the first token") {
    await until("the upstream is asked", () => gateway.emulator.stats.open === 1);
  }
  if (state === "streaming") await until("events", async () => (await look(gateway.url, id)).last_seq > 3);
  return id;
}

describe.each([
  ["HTTP", cancelOverHttp],
  ["WebSocket", cancelOverWebSocket],
])("over %s", (_name, cancel) => {
  test.each<State>(["queued", "before the first token", "streaming"])(
    "%s: it ends now, for each reader, and the upstream is let go",
    async (state) => {
      const id = await bring(state, "victim");
      const reader = eventsOf(gateway.url, id);
      const client = await WsClient.open(gateway.wsUrl);
      await client.ask({ type: "subscribe", id: "s", generation: id }, "accepted");
      await reader.head;
      const sent = (): number =>
        gateway.emulator.requests().find(({ user }) => user === "victim")?.tokens_sent ?? 0;
      const before = sent();
      await cancel(id);
      const end = await client.end(id);
      await reader.ended;
      expect(end).toMatchObject(CANCELLED);
      expect(reader.last).toMatchObject({ event: "end", id: String(end.seq) });
      expect(JSON.parse(reader.last?.data ?? "")).toEqual({
        status: end.status,
        error: end.error,
        timing: end.timing,
      });
      const over = await look(gateway.url, id);
      expect(over).toMatchObject({ ...CANCELLED, last_seq: end.seq, readers: 0 });
      if (state === "queued") {
        expect(gateway.emulator.requests().map(({ user }) => user)).toEqual(["holder"]);
        await cancelOverHttp(holder);
      }
      await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
      expect(sent() - before).toBeLessThanOrEqual(5);
      client.terminate();
    },
  );
});

describe("the reader of a generation that somebody else cancels", () => {
  const cancelFrom = async (client: SseClient): Promise<void> =>
    cancelOverHttp(String((await client.head).headers["x-generation-id"]));

  test("on the stock wire in mid-stream: the error event, and no [DONE]", async () => {
    const body = streamed(STREAMING);
    const client = new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body });
    await until("events", () => client.payloads.length > 3);
    await cancelFrom(client);
    expect(await client.ended).toBe("closed");
    expect(client.text).not.toContain("[DONE]");
    expect(JSON.parse(client.last?.data ?? "")).toMatchObject({
      error: { code: "cancelled", type: "invalid_request_error", param: null },
    });
  });

  test("on /chat: an event called error; in bare text, a reset", async () => {
    gateway.emulator.script = () => STREAMING;
    const request = { method: "POST", body: { prompt: "x" } } as const;
    const client = new SseClient(`${gateway.url}/chat`, request);
    await until("events", () => client.payloads.length > 3);
    await cancelFrom(client);
    await client.ended;
    expect(client.last?.event).toBe("error");
    const bare = new SseClient(`${gateway.url}/chat`, { ...request, headers: { accept: "text/plain" } });
    await until("text", () => bare.text.length > 20);
    await cancelFrom(bare);
    expect(await bare.ended).toBe("reset");
  });

  test("before any content: status 499", async () => {
    // Without headers its id is not known yet; the idempotency key leads to it.
    const headers = { "idempotency-key": "k" };
    const answer = refusal(post(`${gateway.url}/v1/chat/completions`, streamed(HELD), headers));
    await until("the upstream is asked", () => gateway.emulator.stats.open === 1);
    const same = await post(`${gateway.url}/v1/generations`, { request: chat(HELD) }, headers);
    await cancelOverHttp(((await same.json()) as { id: string }).id);
    expect(await answer).toMatchObject({ status: 499, code: "cancelled", shouldRetry: "false" });
  });
});
