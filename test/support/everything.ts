/** Traffic that moves every metric: each way to ask, to come back, to leave, and to be turned away. */
import type { Script } from "../../src/emulator/index.ts";
import { metricOf, until } from "./gateway.ts";
import type { Target } from "./load.ts";
import { chat, eventsOf, look, MESSAGES, post, startGeneration, streamed } from "./requests.ts";
import { readSse, SseClient } from "./sse-client.ts";
import { WsClient } from "./ws-client.ts";

const HELD: Script = { first_token_ms: 600_000, tokens: 1 };
const PACED: Script = { tokens: 60, pace_ms: 20 };
/** More than a socket's own buffers hold. */
const LARGE: Script = { tokens: 12_000, payload_bytes: 1000 };
const USAGE = { stream_options: { include_usage: true } };

export interface Limits {
  readonly slots: number;
  readonly places: number;
}

let calls = 0;

const stock = (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): SseClient =>
  new SseClient(`${url}/v1/chat/completions`, { method: "POST", body, headers });

/** Waits until the metric has grown by so much since now, while `work` goes on. */
async function grows(
  { url }: Target,
  name: string,
  labels: Readonly<Record<string, string>>,
  work: () => Promise<void>,
  by = 1,
): Promise<void> {
  const before = await metricOf(url, name, labels);
  await work();
  await until(`${name} ${JSON.stringify(labels)} grows by ${by}`, async () => {
    return (await metricOf(url, name, labels)) >= before + by;
  });
}

async function ask({ url, wsUrl }: Target): Promise<void> {
  await (await post(`${url}/v1/chat/completions`, chat({ tokens: 5 }))).text();
  await readSse(`${url}/v1/chat/completions`, {
    method: "POST",
    body: streamed({ tokens: 5, reasoning: "a b" }, USAGE),
  });
  await readSse(`${url}/v1/chat/completions`, {
    method: "POST",
    body: streamed({ tokens: 5, finish_reason: "length" }),
  });
  const client = await WsClient.open(wsUrl);
  await client.ask({ type: "generate", id: "a", request: chat({ tokens: 5 }, USAGE) }, "end");
  await client.close();
  const key = { "idempotency-key": `everything-${++calls}` };
  const body = streamed({ tokens: 5 });
  for (let n = 0; n < 2; n++) await (await post(`${url}/v1/chat/completions`, body, key)).text();
}

async function comeBack({ url, wsUrl }: Target): Promise<void> {
  const { id } = await startGeneration(url, { tokens: 10 }, { on_disconnect: "continue" });
  await until("it is complete", async () => (await look(url, id)).status === "completed");
  for (const after of [3, 9999]) await eventsOf(url, id, after).ended;
  await eventsOf(url, "gen_unknown", 3).ended;
  const client = await WsClient.open(wsUrl);
  await client.ask({ type: "subscribe", id: "a", generation: id, starting_after: 3 }, "end");
  await client.ask({ type: "subscribe", id: "b", generation: id, starting_after: 9999 }, "error");
  await client.ask({ type: "subscribe", id: "c", generation: "gen_unknown", starting_after: 3 }, "error");
  await client.close();
}

async function leave(target: Target): Promise<void> {
  const { url } = target;
  const { id } = await startGeneration(url, HELD);
  await post(`${url}/v1/generations/${id}/cancel`, "");
  const lost = (transport: string, phase: string, work: () => Promise<void>): Promise<void> =>
    grows(target, "sluice_reader_disconnects_total", { transport, phase }, work);
  await lost("sse", "before_first_token", async () => {
    const client = stock(url, streamed(HELD));
    await until("it runs", async () => (await metricOf(url, "sluice_readers", { transport: "sse" })) > 0);
    await until("it has a slot", async () => (await metricOf(url, "sluice_upstream_in_flight")) > 0);
    client.destroy();
  });
  await grows(target, "sluice_events_after_last_reader_total", {}, () =>
    lost("sse", "streaming", async () => {
      const client = stock(url, streamed(PACED), { "x-sluice-on-disconnect": "grace" });
      await until("it streams", () => client.events.length > 2);
      client.destroy();
    }),
  );
  await lost("websocket", "streaming", async () => {
    const client = await WsClient.open(target.wsUrl);
    const request = { type: "generate", id: "a", request: chat(PACED), on_disconnect: "cancel" };
    await client.ask(request, "event");
    client.terminate();
  });
}

/** Fills the gate and the line; one leaves the line, one is refused, the others wait too long. */
async function crowd(target: Target, { slots, places }: Limits): Promise<void> {
  const { url } = target;
  const depth = (): Promise<number> => metricOf(url, "sluice_queue_depth");
  const held = await Promise.all(Array.from({ length: slots }, () => startGeneration(url, HELD)));
  await grows(target, "sluice_reader_disconnects_total", { transport: "sse", phase: "queued" }, async () => {
    const client = stock(url, streamed(HELD));
    await until("it waits", async () => (await depth()) === 1);
    client.destroy();
  });
  await until("the line is empty", async () => (await depth()) === 0);
  const refused = { outcome: "queue_full" };
  await grows(target, "sluice_requests_total", refused, async () => {
    const waiting = Array.from({ length: places + 1 }, () =>
      post(`${url}/v1/chat/completions`, streamed({ tokens: 1 })),
    );
    await Promise.all(waiting.map(async (answer) => (await answer).text()));
  });
  for (const { id } of held) await post(`${url}/v1/generations/${id}/cancel`, "");
  await until("the gate is empty", async () => (await metricOf(url, "sluice_upstream_in_flight")) === 0);
}

async function fail({ url }: Target): Promise<void> {
  const faults: Script["fault"][] = [
    { kind: "status", status: 500 },
    { kind: "status", status: 429 },
    { kind: "reset", after_tokens: 2 },
    { kind: "eof", after_tokens: 2 },
  ];
  for (const fault of faults) {
    await stock(url, streamed({ tokens: 5, ...(fault === undefined ? {} : { fault }) })).ended;
    // In between, so that the upstream is not given up.
    await stock(url, streamed({ tokens: 1 })).ended;
  }
  await post(`${url}/v1/chat/completions`, "{");
  await post(`${url}/v1/chat/completions`, streamed({ tokens: 1 }), { origin: "https://foreign.example" });
}

/** @param model one that the failing upstream is asked for first; `user` tells it how to fail */
async function tryAgain({ url }: Target, model: string, user: string): Promise<void> {
  const body = { model, user, stream: true, messages: MESSAGES };
  const client = await readSse(`${url}/v1/chat/completions`, { method: "POST", body });
  if (client.last?.data !== "[DONE]") throw new Error(`no other upstream was found: ${client.text}`);
}

/** A reader that takes nothing, until it is cut off. */
async function stall(target: Target): Promise<void> {
  const { url } = target;
  const { id } = await startGeneration(url, { ...LARGE, first_token_ms: 500 }, { on_disconnect: "continue" });
  await grows(target, "sluice_slow_readers_total", { transport: "sse" }, async () => {
    const client = eventsOf(url, id);
    await client.head;
    client.pause();
    await until("it is complete", async () => (await look(url, id)).status === "completed");
  });
}

/** All of it once. `shaky` is a model whose first upstream fails, with 429 where the request's `user` is `limited`. */
export async function everything(target: Target, limits: Limits, shaky: string): Promise<void> {
  await ask(target);
  await comeBack(target);
  await leave(target);
  await fail(target);
  await stall(target);
  await crowd(target, limits);
  await tryAgain(target, shaky, "failing");
  await tryAgain(target, shaky, "limited");
}
