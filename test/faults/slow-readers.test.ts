/** Readers that stop reading: they cost no memory, hold nobody up, are cut off in the end, and can come back. */
import { existsSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Emulator, type Script, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, metricOf, startProcess, until } from "../support/gateway.ts";
import { eventsOf, look, post, startGeneration, uncut } from "../support/requests.ts";
import type { SseClient } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

const MEGABYTE = 1_048_576;
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
  gateway = await startProcess({
    OPENAI_BASE_URL: emulator.url,
    LOG_LEVEL: "silent",
    SLUICE_MAX_CONCURRENCY: "1",
    ...env,
  });
}

/** A generation that waits in the queue until `go`: its readers can all be there before its first event. */
async function readied(script: Script): Promise<{ id: string; go: () => Promise<unknown> }> {
  const holder = await startGeneration(gateway.url, HELD, { on_disconnect: "continue" });
  const { id } = await startGeneration(gateway.url, script, { on_disconnect: "continue" });
  return { id, go: () => post(`${gateway.url}/v1/generations/${holder.id}/cancel`, "") };
}

async function stuckSse(id: string): Promise<SseClient> {
  const client = eventsOf(gateway.url, id);
  await client.head;
  client.pause();
  return client;
}

async function stuckWebSocket(id: string): Promise<WsClient> {
  const client = await WsClient.open(gateway.wsUrl);
  await client.ask({ type: "subscribe", id: "s", generation: id }, "accepted");
  client.ws.pause();
  return client;
}

/** The resident memory of the gateway, in bytes. */
function residentBytes(): number {
  const status = readFileSync(`/proc/${gateway.child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

const hasProc = existsSync("/proc/self/status");

test.skipIf(!hasProc)(
  "60 readers that read nothing, beside one that reads 20,000 events (skipped where there is no /proc)",
  async () => {
    // None is cut here, however slow this machine is.
    await open({ SLUICE_WRITE_STALL_MS: "600000" });
    const { id, go } = await readied({ tokens: 20_000, payload_bytes: 330 });
    const sse = await Promise.all(Array.from({ length: 30 }, () => stuckSse(id)));
    const webSockets = await Promise.all(Array.from({ length: 30 }, () => stuckWebSocket(id)));
    const healthy = eventsOf(gateway.url, id);
    await healthy.head;
    const before = residentBytes();
    let most = before;
    const watching = setInterval(() => {
      most = Math.max(most, residentBytes());
    }, 20);
    await go();
    await healthy.ended;
    // The others have not been cut: they stood beside it all the while, and did not hold it up.
    expect((await look(gateway.url, id)).readers).toBe(60);
    expect(await metricOf(gateway.url, "sluice_slow_readers_total")).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    clearInterval(watching);
    most = Math.max(most, residentBytes());

    const again = await uncut(gateway.url, id);
    expect(healthy.payloads).toHaveLength(20_002);
    expect(healthy.text.replace(/^(: queued position=\d+\n\n)+/, "")).toBe(again.text);
    const logBytes = Buffer.byteLength(healthy.payloads.join(""));
    const grown = most - before - logBytes;
    const inMegabytes = (bytes: number): string => (bytes / MEGABYTE).toFixed(1);
    console.log(
      `60 stuck readers: resident memory ${inMegabytes(before)} -> at most ${inMegabytes(most)} MB, ` +
        `${inMegabytes(grown)} MB beyond the log's own ${inMegabytes(logBytes)} MB`,
    );
    expect(grown).toBeLessThan(100 * MEGABYTE);

    // Each of them would get the whole of it on reading on; a few show it, the others leave as they are.
    for (const client of sse.splice(3)) client.destroy();
    for (const client of webSockets.splice(3)) client.terminate();
    for (const client of sse) {
      client.resume();
      await client.ended;
      expect(client.bytes.subarray(-again.bytes.length).equals(again.bytes)).toBe(true);
    }
    for (const client of webSockets) {
      client.ws.resume();
      await client.end(id);
      expect(client.payloads(id).join("\n")).toBe(again.payloads.join("\n"));
      client.terminate();
    }
  },
);

/** Resumes as often as it takes: on a busy machine a test's own reader may be too slow as well. */
async function readOn(id: string, seen: string[]): Promise<void> {
  for (let isOver = false; !isOver; ) {
    const client = await WsClient.open(gateway.wsUrl);
    client.send({ type: "subscribe", id: "s", generation: id, starting_after: seen.length });
    isOver = await client.end(id).then(
      () => true,
      () => false,
    );
    seen.push(...client.payloads(id));
    client.terminate();
  }
}

test("one that takes nothing for too long is cut off, is counted, and can resume", async () => {
  await open({ SLUICE_WRITE_STALL_MS: "500" });
  // More than the sockets' own buffers hold.
  const { id, go } = await readied({ tokens: 14_000, payload_bytes: 1000 });
  const sse = await Promise.all(Array.from({ length: 5 }, () => stuckSse(id)));
  const webSockets = await Promise.all(Array.from({ length: 5 }, () => stuckWebSocket(id)));
  const healthy: string[] = [];
  const reading = readOn(id, healthy);
  await go();
  await reading;
  expect(healthy).toHaveLength(14_002);
  for (const transport of ["sse", "websocket"]) {
    await until(`the stuck ${transport} readers are cut`, async () => {
      return (await metricOf(gateway.url, "sluice_slow_readers_total", { transport })) >= 5;
    });
  }
  await until("nobody reads", async () => (await look(gateway.url, id)).readers === 0);
  expect((await look(gateway.url, id)).status).toBe("completed");
  for (const client of sse) {
    client.resume();
    expect(await client.ended).toBe("reset");
    const seen = client.payloads;
    expect(seen.length).toBeLessThan(14_002);
    await readOn(id, seen);
    expect(seen.join("\n")).toBe(healthy.join("\n"));
  }
  for (const client of webSockets) {
    client.ws.resume();
    expect([1013, 1006]).toContain((await client.closed).code);
    const seen = client.payloads(id);
    await readOn(id, seen);
    expect(seen.join("\n")).toBe(healthy.join("\n"));
  }
  await until("the sockets are gone", async () => {
    return (await metricOf(gateway.url, "sluice_websocket_connections")) === 0;
  });
});

test("one that is slow but takes something is never cut", async () => {
  await open({ SLUICE_WRITE_STALL_MS: "2500" });
  const { id, go } = await readied({ tokens: 14_000, payload_bytes: 1000 });
  const client = await stuckSse(id);
  await go();
  await until("it has ended", async () => (await look(gateway.url, id)).status === "completed");
  // Sips: it stands still most of the time, and for longer than the stall time in all, but never so long at once. A sip is
  // large, since the kernel tells of room only once a good part of its buffer is free.
  let isOver = false;
  void client.ended.then(() => {
    isOver = true;
  });
  while (!isOver) {
    const before = client.size;
    client.resume();
    await until("a sip", () => isOver || client.size - before > 2 * MEGABYTE);
    client.pause();
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  expect(client.payloads).toHaveLength(14_002);
  expect(client.last?.event).toBe("end");
  expect(await metricOf(gateway.url, "sluice_slow_readers_total")).toBe(0);
});
