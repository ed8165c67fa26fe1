/** Going away: what runs ends as it would have, what is new is sent elsewhere, and what is left at the end is told so. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Emulator, type Script, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, metricOf, startProcess, until } from "../support/gateway.ts";
import {
  chat,
  eventsOf,
  look,
  post,
  refusal,
  startGeneration,
  streamed,
  uncut,
} from "../support/requests.ts";
import { SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

const RUNNING: Script = { tokens: 150, pace_ms: 20, payload_bytes: 300 };
const ENDLESS: Script = { tokens: 100_000, pace_ms: 20 };
const HELD: Script = { first_token_ms: 600_000, tokens: 1 };

let emulator: Emulator;
let gateway: GatewayProcess;
beforeEach(async () => {
  emulator = await startEmulator();
});
afterEach(async () => {
  await gateway.stop();
  await emulator.close();
});

async function open(env: Record<string, string> = {}): Promise<void> {
  gateway = await startProcess({ OPENAI_BASE_URL: emulator.url, LOG_LEVEL: "silent", ...env });
}

const ask = (script: Script): SseClient =>
  new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body: streamed(script) });

async function webSocketWith(script: Script): Promise<{ client: WsClient; id: string }> {
  const client = await WsClient.open(gateway.wsUrl);
  const { generation } = await client.ask({ type: "generate", id: "a", request: chat(script) }, "accepted");
  return { client, id: String(generation) };
}

async function terminate(): Promise<void> {
  gateway.child.kill("SIGTERM");
  await until("it is no longer ready", async () => (await fetch(`${gateway.url}/readyz`)).status === 503);
}

const tokens = (client: SseClient): number => client.text.match(/ tok\d+"/g)?.length ?? 0;

describe("under load", () => {
  test("what runs goes on to its end, new work is refused, joining is not, and it exits with 0", async () => {
    await open();
    const stock = Array.from({ length: 8 }, () => ask(RUNNING));
    const whole = post(
      `${gateway.url}/v1/chat/completions`,
      chat({ ...RUNNING, pace_ms: 0, first_token_ms: 2500 }),
    );
    const { id } = await startGeneration(gateway.url, RUNNING);
    const followed = eventsOf(gateway.url, id);
    const { client, id: own } = await webSocketWith(RUNNING);
    const idle = await WsClient.open(gateway.wsUrl);
    await until(
      "all stream",
      () => stock.every((reader) => tokens(reader) > 3) && followed.payloads.length > 3,
    );
    await terminate();

    expect(await fetch(`${gateway.url}/livez`)).toMatchObject({ status: 200 });
    expect(await refusal(fetch(`${gateway.url}/readyz`))).toMatchObject({ status: 503, code: "draining" });
    const bodies: [string, object][] = [
      ["/v1/chat/completions", streamed({ text: "new" })],
      ["/v1/completions", { model: "m", prompt: "new" }],
      ["/v1/generations", { request: chat({ text: "new" }) }],
      ["/chat", { prompt: "new" }],
    ];
    for (const [path, body] of bodies) {
      const refused = await refusal(post(gateway.url + path, body));
      expect(refused).toMatchObject({ status: 503, code: "draining", type: "server_error" });
      expect(Number(refused.retryAfter)).toBeGreaterThanOrEqual(1);
      expect(Number(refused.retryAfter)).toBeLessThanOrEqual(30);
    }
    const message = { type: "generate", id: "new", request: chat({ text: "new" }) };
    expect(await client.ask(message, "error")).toMatchObject({ id: "new", error: { code: "draining" } });

    // The idle connection has gone; the other stays for what runs on it.
    expect(await idle.closed).toMatchObject({ code: 1001 });
    expect(idle.messages.at(-1)).toMatchObject({ type: "draining" });
    expect(Number(idle.messages.at(-1)?.["retry_ms"])).toBeGreaterThan(0);

    // Joining what runs is no new work, on either transport, with a connection of its own.
    const joined = uncut(gateway.url, id);
    const late = await WsClient.open(gateway.wsUrl);
    await late.next(({ type }) => type === "draining");
    await late.ask({ type: "subscribe", id: "s", generation: id, starting_after: 2 }, "accepted");

    await Promise.all([followed.ended, client.end(own), late.end(id), ...stock.map(({ ended }) => ended)]);
    for (const reader of stock) {
      expect(reader.last?.data).toBe("[DONE]");
      expect([reader.payloads.length, tokens(reader)]).toEqual([152, 150]);
    }
    expect(JSON.parse(followed.last?.data ?? "")).toMatchObject({ status: "completed" });
    expect((await joined).bytes.equals(followed.bytes)).toBe(true);
    expect(late.payloads(id)).toEqual(followed.payloads.slice(2));
    expect(client.payloads(own)).toHaveLength(152);
    expect(client.messages.filter(({ type }) => type === "draining")).toHaveLength(1);
    expect([(await client.closed).code, (await late.closed).code]).toEqual([1001, 1001]);
    expect([(await whole).status, (await (await whole).json()) as object]).toMatchObject([
      200,
      { object: "chat.completion" },
    ]);
    expect(await gateway.exited).toBe(0);
    expect(emulator.stats).toMatchObject({ aborted: 0, completed: 11 });
  });

  test("what waits in the queue still gets its turn", async () => {
    await open({ SLUICE_MAX_CONCURRENCY: "1" });
    const readers = Array.from({ length: 3 }, () => ask({ tokens: 10, pace_ms: 20, first_token_ms: 1500 }));
    await until("one runs", () => emulator.stats.open === 1);
    await until("two wait", async () => (await metricOf(gateway.url, "sluice_queue_depth")) === 2);
    await terminate();
    for (const reader of readers) {
      await reader.ended;
      expect(reader.last?.data).toBe("[DONE]");
    }
    expect(await gateway.exited).toBe(0);
  });

  test("a reader that lags behind gets everything, though its generation has ended long since", async () => {
    await open();
    const script = { tokens: 14_000, payload_bytes: 1000, first_token_ms: 1000 };
    const { client, id } = await webSocketWith(script);
    const reader = eventsOf(gateway.url, id);
    await reader.head;
    client.ws.pause();
    reader.pause();
    await terminate();
    await until("the upstream is done", () => emulator.stats.completed === 1);
    // Longer than the two seconds that the last bytes have once everything is over.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    client.ws.resume();
    reader.resume();
    await reader.ended;
    expect(reader.payloads).toHaveLength(14_002);
    expect(reader.last?.event).toBe("end");
    expect(await client.end(id)).toMatchObject({ status: "completed" });
    expect(client.payloads(id)).toEqual(reader.payloads);
    expect(await gateway.exited).toBe(0);
  });
});

describe("when the time is up", () => {
  const DRAINING = { error: { code: "draining", type: "server_error", param: null } };

  test("what is left fails with draining, is told so on each transport, and it exits with 0", async () => {
    await open({ SLUICE_SHUTDOWN_TIMEOUT_MS: "700", SLUICE_MAX_CONCURRENCY: "5" });
    const stock = ask(ENDLESS);
    const { client, id } = await webSocketWith(ENDLESS);
    const followed = eventsOf(gateway.url, id);
    const plain = new SseClient(`${gateway.url}/chat`, {
      method: "POST",
      body: { prompt: "x".repeat(100_000) },
    });
    await until("three stream", () => tokens(stock) > 3 && followed.payloads.length > 3);
    await plain.ended;
    const early = refusal(post(`${gateway.url}/v1/chat/completions`, streamed(HELD)));
    const whole = refusal(post(`${gateway.url}/v1/chat/completions`, chat(HELD)));
    await until("they are asked for", () => emulator.stats.open === 4);
    await startGeneration(gateway.url, HELD);
    const waiting = refusal(post(`${gateway.url}/v1/chat/completions`, streamed(HELD)));
    gateway.child.kill("SIGTERM");

    await Promise.all([stock.ended, followed.ended, client.end(id)]);
    expect(await stock.ended).toBe("closed");
    expect(JSON.parse(stock.last?.data ?? "")).toMatchObject(DRAINING);
    expect(stock.text).not.toContain("[DONE]");
    const wanted = { status: "failed", ...DRAINING };
    expect(followed.last?.event).toBe("end");
    expect(JSON.parse(followed.last?.data ?? "")).toMatchObject(wanted);
    expect(await client.end(id)).toMatchObject(wanted);
    expect(client.messages.at(-1)?.type).toBe("end");
    expect(await client.closed).toMatchObject({ code: 1012 });
    for (const answer of [await early, await whole, await waiting]) {
      expect(answer).toMatchObject({ status: 503, code: "draining" });
      expect(Number(answer.retryAfter)).toBeGreaterThanOrEqual(1);
    }
    expect(await gateway.exited).toBe(0);
    await until("the upstream is let go", () => emulator.stats.open === 0);
  });

  test("readers that read nothing do not keep it from leaving", async () => {
    await open({ SLUICE_SHUTDOWN_TIMEOUT_MS: "300" });
    const { client, id } = await webSocketWith({ tokens: 14_000, payload_bytes: 1000 });
    const reader = eventsOf(gateway.url, id);
    await reader.head;
    client.ws.pause();
    reader.pause();
    await until("it has ended", async () => (await look(gateway.url, id)).status === "completed");
    gateway.child.kill("SIGTERM");
    expect(await gateway.exited).toBe(0);
  });
});

test("a peer that does not answer the close does not keep it from leaving either", async () => {
  await open();
  const silent = await WsClient.open(gateway.wsUrl);
  silent.ws.pause();
  gateway.child.kill("SIGTERM");
  expect(await gateway.exited).toBe(0);
});

describe("signals", () => {
  test.each<NodeJS.Signals>(["SIGTERM", "SIGINT"])("a second %s exits at once", async (signal) => {
    await open();
    const reader = ask(ENDLESS);
    await until("it streams", () => tokens(reader) > 3);
    gateway.child.kill(signal);
    await until("it drains", async () => (await fetch(`${gateway.url}/readyz`)).status === 503);
    gateway.child.kill(signal);
    expect(await gateway.exited).toBe(1);
    expect(await reader.ended).toBe("reset");
  });

  test("with nothing to do it leaves at once, with 0", async () => {
    await open();
    const idle = await WsClient.open(gateway.wsUrl);
    gateway.child.kill("SIGTERM");
    expect(await gateway.exited).toBe(0);
    expect(await idle.closed).toMatchObject({ code: 1001 });
  });

  test("a restarted gateway has no memory: a resume there is 404", async () => {
    await open();
    const { id } = await startGeneration(gateway.url, { tokens: 3 });
    await uncut(gateway.url, id);
    gateway.child.kill("SIGTERM");
    await gateway.exited;
    await open();
    expect(await refusal(fetch(`${gateway.url}/v1/generations/${id}/events?starting_after=2`))).toMatchObject(
      {
        status: 404,
        code: "generation_not_found",
      },
    );
  });
});
