/** WebSocket over TLS through nginx and HAProxy as docs/DEPLOYMENT.md configures them. */
import { once } from "node:events";
import http2 from "node:http2";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { Script } from "../../src/emulator/index.ts";
import { until } from "../support/gateway.ts";
import { type Front, KEY, missingFor, openSocket, PROXIES, startFront, wsUrlOf } from "../support/proxies.ts";
import { chat } from "../support/requests.ts";
import { readSse } from "../support/sse-client.ts";
import { WsClient } from "../support/ws-client.ts";

const TEXT = "Sluices 水 open 🚪, one “after” the other. ".repeat(10);
const ENDLESS: Script = { tokens: 1_000_000, pace_ms: 5 };
const MAX_BODY_BYTES = 100_000;

describe.each(PROXIES)("WebSocket behind $name", (kind) => {
  const missing = missingFor(kind);
  const suite = missing === "" ? describe : describe.skip;

  suite(`as the document configures it${missing}`, () => {
    let front: Front;

    beforeAll(async () => {
      front = await startFront(kind, { SLUICE_MAX_BODY_BYTES: String(MAX_BODY_BYTES) });
    });
    afterAll(() => front?.close());
    beforeEach(() => front.gateway.emulator.reset());

    const givenUp = (): Promise<void> =>
      until("the upstream is given up", () => front.gateway.emulator.stats.aborted === 1);

    async function generating(script: Script): Promise<{ client: WsClient; generation: string }> {
      const client = await openSocket(front);
      const request = { type: "generate", id: "a", request: chat(script), on_disconnect: "cancel" };
      const { generation } = await client.ask(request, "accepted");
      return { client, generation: String(generation) };
    }

    const direct = (generation: string): Promise<{ payloads: string[] }> =>
      readSse(`${front.gateway.url}/v1/generations/${generation}/events`, { headers: KEY });

    test.each<[string, Script]>([
      ["small events", { text: TEXT, pace_ms: 2 }],
      ["events larger than any buffer", { tokens: 40, payload_bytes: 150_000 }],
    ])("a generation is followed to its end: %s", async (_what, script) => {
      const { client, generation } = await generating(script);
      expect(await client.end(generation)).toMatchObject({ status: "completed" });
      expect(client.payloads(generation)).toEqual((await direct(generation)).payloads);
      await client.close();
      expect(await client.closed).toMatchObject({ code: 1000 });
    });

    test("one that is cut off resumes on another connection", async () => {
      const first = await openSocket(front);
      const request = chat({ text: TEXT, pace_ms: 4 });
      const { generation } = await first.ask({ type: "generate", id: "a", request }, "accepted");
      await first.next(({ seq }) => seq === 20);
      first.terminate();
      await first.closed;
      const seen = first.seqs(generation).length;
      const second = await openSocket(front);
      second.send({ type: "subscribe", id: "b", generation, starting_after: seen });
      expect(await second.end(generation)).toMatchObject({ status: "completed" });
      const all = [...first.payloads(generation), ...second.payloads(generation)];
      expect(all).toEqual((await direct(String(generation))).payloads);
      await second.close();
    });

    test.each([1, 2, 7, 40])("of %i tokens sent so far, the client holds all", async (count) => {
      const fault = { kind: "hang", after_tokens: count } as const;
      const { client, generation } = await generating({ tokens: 1_000, role_chunk: false, fault });
      await until("the client holds them", () => client.payloads(generation).length === count);
      expect(front.gateway.emulator.stats.tokens_sent).toBe(count);
      await client.close();
      await givenUp();
    });

    test("a client that vanishes reaches the upstream", async () => {
      const { client, generation } = await generating(ENDLESS);
      await until("it streams", () => client.payloads(generation).length > 3);
      client.terminate();
      await givenUp();
    });

    test("close codes come through: a message too big, bad messages", async () => {
      const [big, bad] = [await openSocket(front), await openSocket(front)];
      big.send({ type: "ping", more: "x".repeat(MAX_BODY_BYTES) });
      expect(await big.closed).toMatchObject({ code: 1009 });
      for (let n = 0; n <= 100; n++) bad.ws.send("no JSON");
      expect(await bad.closed).toMatchObject({ code: 4400, reason: "too many bad messages" });
    });

    test("a page without a key is told why, and closed with 4401", async () => {
      const headers = { origin: front.url };
      const client = new WsClient(
        new WebSocket(wsUrlOf(front), ["sluice.v1", "sluice.ticket.forged"], { ca: front.ca, headers }),
      );
      expect(await client.closed).toMatchObject({ code: 4401 });
      expect(client.messages).toMatchObject([{ type: "error", error: { code: "invalid_ticket" } }]);
    });

    test.each([
      [401, {}],
      [403, { ...KEY, origin: "https://elsewhere.example" }],
    ])("a refusal before the upgrade is an answer with status %i", async (status, headers) => {
      const ws = new WebSocket(wsUrlOf(front), ["sluice.v1"], { ca: front.ca, headers });
      ws.on("error", () => {});
      const [, response] = await once(ws, "unexpected-response");
      expect(response.statusCode).toBe(status);
      const text = Buffer.concat(await response.toArray()).toString();
      expect(JSON.parse(text)).toHaveProperty("error.code");
      ws.terminate();
    });

    const isOverHttp2 = kind.name === "HAProxy";
    const named = isOverHttp2 ? "" : " (skipped: nginx offers it over HTTP/1.1 alone)";
    test.skipIf(!isOverHttp2)(`over HTTP/2, as browsers open it (RFC 8441)${named}`, async () => {
      const session = http2.connect(front.url, { ca: front.ca });
      const [settings] = (await once(session, "remoteSettings")) as [http2.Settings];
      expect(settings.enableConnectProtocol).toBe(true);
      const stream = session.request({
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":path": "/v1/ws",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "sluice.v1",
        ...KEY,
      });
      const [head] = await once(stream, "response");
      expect(head).toMatchObject({ ":status": 200, "sec-websocket-protocol": "sluice.v1" });
      let text = "";
      stream.on("data", (part: Buffer) => (text += part.toString("latin1")));
      stream.on("error", () => {});
      const request = { type: "generate", id: "a", request: chat(ENDLESS), on_disconnect: "cancel" };
      stream.write(maskedFrame(JSON.stringify(request)));
      await until("events come", () => text.split('"type":"event"').length > 3);
      expect(text).toContain('"type":"ready"');
      stream.close(http2.constants.NGHTTP2_CANCEL);
      await givenUp();
      session.destroy();
    });
  });
});

/** A text message of less than 64 KiB as clients send it: masked, here with a key of zeros, which changes nothing. */
function maskedFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.from([0x81, 0x80 | 126, 0, 0, 0, 0, 0, 0]);
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}
