/** Clients that leave, in every state and on every transport, and what the upstream still sends for nobody. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, eventsOf, look, startGeneration, streamed, tokensSent, uncut } from "../support/requests.ts";
import { SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

const GRACE_MS = 300;
/** 50 tokens a second. */
const PACE_MS = 20;
const MOST_AFTER_LEAVING = 5;

const STREAMING: Script = { tokens: 3000, pace_ms: PACE_MS };
const BEFORE_FIRST: Script = { ...STREAMING, first_token_ms: 500 };
const HELD: Script = { first_token_ms: 60_000, tokens: 1 };

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway({
    env: { SLUICE_MAX_CONCURRENCY: "2", SLUICE_DISCONNECT_GRACE_MS: String(GRACE_MS) },
  });
});
afterAll(() => gateway.close());
beforeEach(async () => {
  await until("the last test's upstreams are let go", () => gateway.emulator.stats.open === 0);
  gateway.emulator.reset();
});

const recordOf = (user: string) => gateway.emulator.requests().find((record) => record.user === user);
const isClosed = (user: string): boolean => recordOf(user)?.closed_ms != null;
const gauge = (name: string): Promise<number> => gateway.metric(`sluice_${name}`);

/** A client that asks for a generation and can vanish. */
interface Leaver {
  leave(): void;
}

type Asks = (script: Script, user: string) => Promise<Leaver>;

const overSse =
  (path: string): Asks =>
  async (script, user) => {
    const client = new SseClient(gateway.url + path, { method: "POST", body: streamed(script, { user }) });
    return { leave: () => client.destroy() };
  };

const overWebSocket: Asks = async (script, user) => {
  const client = await WsClient.open(gateway.wsUrl);
  const request = chat(script, { user });
  client.send({ type: "generate", id: "a", request, on_disconnect: "cancel" });
  return { leave: () => client.terminate() };
};

const overJson: Asks = async (script, user) => {
  const leaving = new AbortController();
  const init = { method: "POST", body: JSON.stringify(chat(script, { user })), signal: leaving.signal };
  const headers = { "content-type": "application/json" };
  fetch(`${gateway.url}/v1/chat/completions`, { ...init, headers }).catch(() => {});
  return { leave: () => leaving.abort() };
};

const waysToAsk: [string, Asks][] = [
  ["SSE", overSse("/v1/chat/completions")],
  ["WebSocket", overWebSocket],
];

const report = (state: string, way: string, tokens: number): void =>
  console.log(`tokens after leaving, ${state}, ${way}, at ${1000 / PACE_MS} tokens/s: ${tokens}`);

describe.each(waysToAsk)("a client on %s that leaves", (way, ask) => {
  test("while it waits in the queue: the upstream is never asked", async () => {
    const hold = () => startGeneration(gateway.url, HELD, { on_disconnect: "continue" });
    const held = [await hold(), await hold()];
    const { leave } = await ask(STREAMING, "waiting");
    await until("it waits", async () => (await gauge("queue_depth")) === 1);
    leave();
    await until("its place is free", async () => (await gauge("queue_depth")) === 0);
    for (const { id } of held) await fetch(`${gateway.url}/v1/generations/${id}/cancel`, { method: "POST" });
    await until("the slots are free", async () => (await gauge("upstream_in_flight")) === 0);
    expect(recordOf("waiting")).toBeUndefined();
    report("queued", way, tokensSent(gateway.emulator, "waiting"));
  });

  test("before the first token: none is sent", async () => {
    const { leave } = await ask(BEFORE_FIRST, "early");
    await until("the upstream is asked", () => recordOf("early") !== undefined);
    leave();
    await until("the upstream is let go", () => isClosed("early"));
    const after = tokensSent(gateway.emulator, "early");
    report("before the first token", way, after);
    expect(after).toBeLessThanOrEqual(MOST_AFTER_LEAVING);
    expect(recordOf("early")).toMatchObject({ state: "aborted" });
  });

  test("in mid-stream: a few at most", async () => {
    const { leave } = await ask(STREAMING, "late");
    await until("tokens flow", () => tokensSent(gateway.emulator, "late") > 20);
    const before = tokensSent(gateway.emulator, "late");
    leave();
    await until("the upstream is let go", () => isClosed("late"));
    const after = tokensSent(gateway.emulator, "late") - before;
    report("mid-stream", way, after);
    expect(after).toBeLessThanOrEqual(MOST_AFTER_LEAVING);
    expect(await gauge("events_after_last_reader_total")).toBeLessThanOrEqual(2 * MOST_AFTER_LEAVING);
  });
});

test("a client that waits for a whole answer leaves as well", async () => {
  const { leave } = await overJson(HELD, "whole");
  await until("the upstream is asked", () => recordOf("whole") !== undefined);
  leave();
  await until("the upstream is let go", () => isClosed("whole"));
  expect(recordOf("whole")).toMatchObject({ state: "aborted", tokens_sent: 0 });
});

test("while one reader is left, nothing stops; when the last leaves, everything does", async () => {
  const body = streamed(STREAMING, { user: "shared" });
  const first = new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body });
  const id = String((await first.head).headers["x-generation-id"]);
  const second = eventsOf(gateway.url, id);
  await until("both read", async () => (await look(gateway.url, id)).readers === 2);
  first.destroy();
  const { last_seq } = await look(gateway.url, id);
  await until("it goes on", async () => (await look(gateway.url, id)).last_seq > last_seq + 10);
  second.destroy();
  await until("the upstream is let go", () => isClosed("shared"));
  expect(await look(gateway.url, id)).toMatchObject({ status: "cancelled", readers: 0 });
});

describe("policies", () => {
  test("grace: it goes on for a while, and whoever comes back in time keeps it alive", async () => {
    const client = await WsClient.open(gateway.wsUrl);
    const request = chat({ tokens: 60, pace_ms: 15 });
    const { generation } = await client.ask({ type: "generate", id: "a", request }, "accepted");
    await client.next(({ seq }) => seq === 5);
    client.terminate();
    const id = String(generation);
    await until("the reader is gone", async () => (await look(gateway.url, id)).readers === 0);
    expect((await look(gateway.url, id)).status).toBe("running");
    const back = await uncut(gateway.url, id);
    expect(back.payloads).toHaveLength(62);
    expect(JSON.parse(back.last?.data ?? "")).toMatchObject({ status: "completed" });
  });

  test("grace: with nobody coming back it ends as cancelled, and is counted as disconnected", async () => {
    const before = await gateway.metric("sluice_requests_total", { outcome: "disconnected" });
    const client = await WsClient.open(gateway.wsUrl);
    const request = chat(STREAMING, { user: "abandoned" });
    const { generation } = await client.ask({ type: "generate", id: "a", request }, "accepted");
    await client.next(({ seq }) => seq === 3);
    client.terminate();
    await until("the upstream is let go", () => isClosed("abandoned"));
    expect(await look(gateway.url, String(generation))).toMatchObject({
      status: "cancelled",
      error: { code: "cancelled" },
    });
    expect(await gateway.metric("sluice_requests_total", { outcome: "disconnected" })).toBe(before + 1);
    const [left, closed] = [recordOf("abandoned")?.opened_ms, recordOf("abandoned")?.closed_ms];
    expect(Number(closed) - Number(left)).toBeGreaterThanOrEqual(GRACE_MS);
  });

  test.each(["grace", "cancel"])(
    "%s: a generation that nobody ever reads ends after the grace",
    async (on_disconnect) => {
      const { id } = await startGeneration(gateway.url, STREAMING, { on_disconnect });
      await until("it is given up", async () => (await look(gateway.url, id)).status === "cancelled");
      expect((await look(gateway.url, id)).timing["duration_ms"]).toBeGreaterThanOrEqual(GRACE_MS - 5);
    },
  );

  test("cancel on /v1/generations: from its first reader on, at once", async () => {
    const { id } = await startGeneration(gateway.url, STREAMING, {
      on_disconnect: "cancel",
      request: { user: "strict" },
    });
    const reader = eventsOf(gateway.url, id);
    await until("it reads", () => reader.payloads.length > 5);
    reader.destroy();
    await until("it is stopped", async () => (await look(gateway.url, id)).status === "cancelled");
  });

  test("continue: it runs to its end without a reader, whoever began it", async () => {
    const script = { tokens: 60, pace_ms: 15 };
    const started = await startGeneration(gateway.url, script, { on_disconnect: "continue" });
    const stock = new SseClient(`${gateway.url}/v1/chat/completions`, {
      method: "POST",
      body: streamed(script),
      headers: { "x-sluice-on-disconnect": "continue" },
    });
    await until("some events", () => stock.payloads.length > 3);
    const ids = [started.id, String((await stock.head).headers["x-generation-id"])];
    stock.destroy();
    for (const id of ids) {
      await until("it ends well", async () => (await look(gateway.url, id)).status === "completed");
      expect((await uncut(gateway.url, id)).payloads).toHaveLength(62);
    }
    expect(gateway.emulator.stats.aborted).toBe(0);
  });
});

describe("a process that is killed", () => {
  const URL_OF_CHAT = (): string => `${gateway.url}/v1/chat/completions`;
  const hasCurl = spawnSync("curl", ["--version"]).status === 0;

  async function noticed(child: ChildProcess, user: string): Promise<void> {
    await until("tokens flow", () => tokensSent(gateway.emulator, user) > 5);
    const before = tokensSent(gateway.emulator, user);
    child.kill("SIGKILL");
    await until("the upstream is let go", () => isClosed(user));
    const after = tokensSent(gateway.emulator, user) - before;
    report("killed", user, after);
    expect(after).toBeLessThanOrEqual(MOST_AFTER_LEAVING);
  }

  test.skipIf(!hasCurl)("curl, on an event stream (skipped where there is no curl)", async () => {
    const body = JSON.stringify(streamed(STREAMING, { user: "curl" }));
    const args = ["-sN", URL_OF_CHAT(), "-H", "content-type: application/json", "-d", body];
    await noticed(spawn("curl", args, { stdio: "ignore" }), "curl");
  });

  test("node, on a WebSocket", async () => {
    const request = chat(STREAMING, { user: "node" });
    const message = JSON.stringify({ type: "generate", id: "a", request, on_disconnect: "cancel" });
    const code = `const ws = new WebSocket(${JSON.stringify(`${gateway.wsUrl}/v1/ws`)}, "sluice.v1");
      ws.onopen = () => ws.send(${JSON.stringify(message)});`;
    await noticed(spawn(process.execPath, ["-e", code], { stdio: "ignore" }), "node");
  });
});
