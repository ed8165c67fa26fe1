/** Sockets beyond the limit are told so and closed, and there is room again when others leave. */
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { codeOf, connect, exchange, requestText } from "../support/raw-socket.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: GatewayProcess | undefined;
afterEach(async () => {
  expect(gateway?.child.exitCode).toBeNull();
  await gateway?.stop();
});

async function start(): Promise<string> {
  gateway = await startProcess({ SLUICE_MAX_CONNECTIONS: "5" });
  return gateway.url;
}

describe("SLUICE_MAX_CONNECTIONS", () => {
  const open = async (url: string, count: number) => {
    const sockets = Array.from({ length: count }, () => connect(url));
    await Promise.all(sockets.map((socket) => new Promise((ready) => socket.once("connect", ready))));
    return sockets;
  };

  test("429 too_many_connections, and a connection that closes; health still answers", async () => {
    const url = await start();
    const sockets = await open(url, 8);
    const full = await exchange(url, requestText(url, "GET /v1/models"));
    expect([full.status, codeOf(full.body)]).toEqual([429, "too_many_connections"]);
    expect(full.head).toMatch(/retry-after: \d+/);
    expect(full.head).toContain("connection: close");
    expect((await exchange(url, requestText(url, "GET /livez"))).status).toBe(200);
    for (const socket of sockets) socket.destroy();
    await until("there is room", async () => {
      return (await exchange(url, requestText(url, "GET /v1/models"))).status === 200;
    });
  });

  test("a WebSocket is 429 before the upgrade; a browser's is upgraded, told and closed with 4429", async () => {
    const url = await start();
    const sockets = await open(url, 8);
    const upgrade = {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    const plain = await exchange(url, requestText(url, "GET /v1/ws", upgrade));
    expect([plain.status, codeOf(plain.body)]).toEqual([429, "too_many_connections"]);
    const client = new WsClient(new WebSocket(`${url.replace("http", "ws")}/v1/ws`, { origin: url }));
    expect((await client.closed).code).toBe(4429);
    expect(client.messages).toMatchObject([{ type: "error", error: { code: "too_many_connections" } }]);
    for (const socket of sockets) socket.destroy();
  });
});
