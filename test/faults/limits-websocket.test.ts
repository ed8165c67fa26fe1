/** Hostile WebSocket clients: floods, frames that are none, and peers that only ask and never read. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type net from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { connect, requestText } from "../support/raw-socket.ts";
import { chat, startGeneration } from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

const MB = 1_000_000;

let emulator: Emulator;
let gateway: GatewayProcess;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startProcess({
    OPENAI_BASE_URL: emulator.url,
    SLUICE_HEARTBEAT_MS: "500",
    SLUICE_WRITE_STALL_MS: "2000",
  });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
afterEach(async () => {
  expect(gateway.child.exitCode).toBeNull();
  const client = await WsClient.open(gateway.wsUrl);
  expect(await client.ask({ type: "ping" }, "pong")).toEqual({ type: "pong" });
  client.terminate();
  expect(gateway.output()).not.toMatch(/"level":[56]0|unexpected fault/);
  emulator.reset();
});

/** A client's frame: masked, unless it breaks the rule on purpose. */
function frame(opcode: number, payload: Buffer, { fin = true, masked = true, rsv = 0 } = {}): Buffer {
  const size = payload.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const bit = masked ? 0x80 : 0;
  if (size < 126) head.push(bit | size);
  else if (size < 65_536) head.push(bit | 126, size >> 8, size & 255);
  else
    head.push(bit | 127, 0, 0, 0, 0, (size >>> 24) & 255, (size >> 16) & 255, (size >> 8) & 255, size & 255);
  if (!masked) return Buffer.concat([Buffer.from(head), payload]);
  const key = randomBytes(4);
  return Buffer.concat([Buffer.from(head), key, payload.map((byte, at) => byte ^ (key[at % 4] as number))]);
}

const TEXT = 1;
const CONTINUATION = 0;
const PING = 9;

/** An upgraded socket, with the bytes of `ready` read off. */
async function upgraded(): Promise<net.Socket> {
  const socket = connect(gateway.url);
  socket.write(
    requestText(gateway.url, "GET /v1/ws", {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }),
  );
  let text = "";
  while (!text.includes('"ready"')) text += String((await once(socket, "data"))[0]);
  return socket;
}

/** The close code that comes, if one comes, before the server drops the socket. */
async function closeCode(socket: net.Socket): Promise<number | undefined> {
  let bytes = Buffer.alloc(0);
  socket.on("data", (part: Buffer) => {
    bytes = Buffer.concat([bytes, part]);
    // The answer to a close frame lets the server drop the socket at once.
    if (bytes.includes(0x88)) socket.end(frame(8, Buffer.alloc(0)));
  });
  await once(socket, "close");
  const at = bytes.lastIndexOf(0x88);
  return at < 0 ? undefined : bytes.readUInt16BE(at + 2);
}

const resident = async (): Promise<number> => {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\S+)/m.exec(metrics)?.[1]);
};

describe("frames", () => {
  test.each<[what: string, code: number, bytes: Buffer]>([
    ["an unmasked frame", 1002, frame(TEXT, Buffer.from('{"type":"ping"}'), { masked: false })],
    ["a reserved bit", 1002, frame(TEXT, Buffer.from("{}"), { rsv: 4 })],
    ["a reserved opcode", 1002, frame(3, Buffer.from("{}"))],
    ["a continuation of nothing", 1002, frame(CONTINUATION, Buffer.from("{}"))],
    ["a control frame of 126 bytes", 1002, frame(PING, Buffer.alloc(126))],
    ["a control frame in fragments", 1002, frame(PING, Buffer.alloc(1), { fin: false })],
    ["a close code that there is not", 1002, frame(8, Buffer.from([3, 0xed]))],
    ["bad UTF-8", 1007, frame(TEXT, Buffer.from([0x22, 0xff, 0x22]))],
    ["bad UTF-8 in a close reason", 1007, frame(8, Buffer.from([0x03, 0xe8, 0xff]))],
    [
      "a message that says it is 2^31 bytes",
      1009,
      Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0x80, 0, 0, 0, 1, 2, 3, 4]),
    ],
    [
      "a message of 2^63 bytes",
      1009,
      Buffer.from([0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4]),
    ],
  ])("%s: closed with %i", async (_what, code, bytes) => {
    const socket = await upgraded();
    socket.write(bytes);
    expect(await closeCode(socket)).toBe(code);
  });

  test("a message in very many fragments: 1008", async () => {
    const socket = await upgraded();
    const piece = frame(CONTINUATION, Buffer.alloc(0), { fin: false });
    const closed = closeCode(socket);
    socket.write(frame(TEXT, Buffer.from("{"), { fin: false }));
    for (let n = 0; n < 50 && !socket.destroyed; n++) socket.write(Buffer.concat(Array(1000).fill(piece)));
    expect(await closed).toBe(1008);
  });

  test("a message in a few fragments is a message", async () => {
    const socket = await upgraded();
    socket.write(frame(TEXT, Buffer.from('{"type":'), { fin: false }));
    socket.write(frame(PING, Buffer.from("between")));
    socket.write(frame(CONTINUATION, Buffer.from('"ping"}')));
    let text = "";
    while (!text.includes('"pong"')) text += String((await once(socket, "data"))[0]);
    expect(text).toContain("between");
    socket.destroy();
  });
});

describe("floods", () => {
  /** Sends until the socket takes no more for a while, or so many bytes are gone. */
  async function flood(socket: net.Socket, piece: Buffer, most: number): Promise<number> {
    let sent = 0;
    while (sent < most && !socket.destroyed) {
      sent += piece.length;
      if (socket.write(piece)) continue;
      const drained = await Promise.race([
        new Promise<boolean>((resolve) => socket.once("drain", () => resolve(true))),
        new Promise<boolean>((resolve) => socket.once("close", () => resolve(false))),
        new Promise<boolean>((resolve) => setTimeout(resolve, 1500, false)),
      ]);
      if (!drained) break;
    }
    return sent;
  }

  test.each([
    ["messages that are answered", frame(TEXT, Buffer.from('{"type":"ping"}'))],
    [
      "messages that are refused",
      frame(TEXT, Buffer.from('{"type":"subscribe","id":"a","generation":"gen_x"}')),
    ],
    ["protocol pings", frame(PING, Buffer.alloc(100))],
  ])("%s, from a peer that never reads: it is not read from, and let go", async (_what, piece) => {
    const socket = await upgraded();
    socket.pause();
    const before = await resident();
    const sent = await flood(socket, Buffer.concat(Array(2000).fill(piece)), 400 * MB);
    expect(sent).toBeLessThan(400 * MB);
    expect((await resident()) - before).toBeLessThan(150 * MB);
    await until("it is let go", async () => {
      const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
      return /^sluice_websocket_connections 0$/m.test(metrics);
    });
    socket.destroy();
  });

  test("messages while one is being answered stay few, and are all answered in order", async () => {
    const client = await WsClient.open(gateway.wsUrl);
    const count = 20_000;
    for (let n = 0; n < count; n++) client.send({ type: "unsubscribe", id: `n${n}` });
    await client.next((message) => message.id === `n${count - 1}`);
    const ids = client.messages.filter(({ type }) => type === "error").map(({ id }) => id);
    expect(ids).toEqual(Array.from({ length: count }, (_, n) => `n${n}`));
    client.terminate();
  });

  test("over a hundred bad messages: 4400", async () => {
    const client = await WsClient.open(gateway.wsUrl);
    for (let n = 0; n < 150; n++) client.ws.send("[".repeat(n % 2 === 0 ? 3 : 3000));
    expect((await client.closed).code).toBe(4400);
    expect(client.messages.filter(({ type }) => type === "error")).toHaveLength(101);
  });

  test("over 64 subscriptions: too_many_subscriptions, and a place that is free is taken again", async () => {
    const client = await WsClient.open(gateway.wsUrl);
    const ids: string[] = [];
    for (let n = 0; n < 65; n++) {
      ids.push((await startGeneration(gateway.url, { tokens: 100_000, pace_ms: 500 })).id);
      client.send({ type: "subscribe", id: `s${n}`, generation: ids[n] });
    }
    const refused = await client.next(({ type }) => type === "error");
    expect(refused).toMatchObject({ id: "s64", error: { code: "too_many_subscriptions" } });
    await client.ask({ type: "unsubscribe", id: "s0" }, "unsubscribed");
    await client.ask({ type: "subscribe", id: "again", generation: ids[64] }, "accepted");
    for (const generation of ids) client.send({ type: "cancel", generation });
    await client.end(ids[64]);
    client.terminate();
  });

  test("a depth that no parser should see, and a name that nobody has: refused", async () => {
    const client = await WsClient.open(gateway.wsUrl);
    const request = `{"model":"m","messages":${"[".repeat(MB)}${"]".repeat(MB)}}`;
    client.ws.send(`{"type":"generate","id":"a","request":${request}}`);
    const deep = await client.next(({ type }) => type === "error");
    expect(deep.error).toMatchObject({ code: "invalid_request", message: "The JSON nests too deeply." });
    const long = await client.ask({ type: "subscribe", id: "b", generation: "g".repeat(100_000) }, "error");
    expect(long.error?.code).toBe("invalid_request");
    expect(JSON.stringify(long).length).toBeLessThan(1000);
    const proto = await client.ask(
      JSON.parse('{"type":"generate","id":"c","__proto__":{"x":1},"request":{"__proto__":{}}}'),
      "error",
    );
    expect(proto.error?.code).toBe("invalid_request");
    expect(
      await client.ask({ type: "generate", id: "d", request: chat({ text: "x" }) }, "accepted"),
    ).toBeDefined();
    client.terminate();
  });
});
