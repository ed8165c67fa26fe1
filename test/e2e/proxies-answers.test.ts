/** What is no stream, through nginx and HAProxy as docs/DEPLOYMENT.md configures them: errors, origins, health, the scrape. */
import { once } from "node:events";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway } from "../support/gateway.ts";
import { type Front, KEY, missingFor, PROXIES, posted, startFront } from "../support/proxies.ts";
import { connect, parseAnswer } from "../support/raw-socket.ts";
import { streamed, verbatim } from "../support/requests.ts";
import { readSse } from "../support/sse-client.ts";
import { ask, type TlsReading, type TlsRequest, VERSIONS } from "../support/tls-client.ts";

const CHAT = "/v1/chat/completions";
const WELL = streamed({ text: "well" });
const CUT: Script = { text: "so far so good, and then no more", fault: { kind: "reset", after_tokens: 4 } };
const TOO_LARGE = { ...WELL, user: "x".repeat(11_000_000) };

const refusedWith = (status: number): object =>
  streamed({ fault: { kind: "status", status, headers: { "retry-after": "7" } } });

describe.each(PROXIES)("answers behind $name", (kind) => {
  const missing = missingFor(kind);
  const suite = missing === "" ? describe : describe.skip;

  suite(`as the document configures it${missing}`, () => {
    let front: Front;

    beforeAll(async () => {
      front = await startFront(kind);
    });
    afterAll(() => front?.close());
    beforeEach(() => front.gateway.emulator.reset());

    describe.each(VERSIONS)("over %s", (version) => {
      const to = (path: string, request?: TlsRequest): TlsReading => ask(version, front, path, request);

      /** Status, body and what tells a client whether to come back, compared with the direct answer. */
      async function expectTheGateways(status: number, path: string, request: TlsRequest): Promise<void> {
        const through = await to(path, request).whole();
        const direct = await readSse(front.gateway.url + path, request);
        const { status: directly, headers } = await direct.head;
        expect([through.status, directly]).toEqual([status, status]);
        expect(through.text).toBe(direct.text);
        expect(JSON.parse(through.text)).toHaveProperty("error.message");
        for (const name of ["content-type", "retry-after", "x-should-retry", "allow"])
          expect(through.headers[name]).toBe(headers[name]);
      }

      test.each<[number, string, TlsRequest]>([
        [400, CHAT, posted({ model: 7 })],
        [401, CHAT, { method: "POST", body: WELL }],
        [403, CHAT, posted(WELL, { origin: "https://elsewhere.example" })],
        [404, "/v1/generations/gen_unknown/events", { headers: KEY }],
        [405, CHAT, { headers: KEY }],
        [413, CHAT, posted(TOO_LARGE)],
        [415, CHAT, posted({}, { "content-type": "text/plain" })],
        [422, CHAT, posted(streamed(verbatim('{"error":{"message":"no"}}', "application/json", 422)))],
        [429, CHAT, posted(refusedWith(429))],
        [502, CHAT, posted(refusedWith(503))],
      ])("status %i comes with the gateway's own body and headers", expectTheGateways);

      // nginx hands the header `upgrade` on over HTTP/2, where it is not allowed.
      test.skipIf(kind.name === "nginx" && version === "HTTP/2")("so does 426", () =>
        expectTheGateways(426, "/v1/ws", { headers: KEY }),
      );

      test("a failure in mid-stream is an event, without [DONE]", async () => {
        const client = to(CHAT, posted(streamed(CUT)));
        expect(await client.ended).toBe("closed");
        expect(client.payloads.at(-1)).toContain('"code":"upstream_disconnected"');
        expect(client.text).not.toContain("[DONE]");
      });

      // HAProxy ends a chunked answer that broke off as if it were whole, over HTTP/2.
      test.skipIf(kind.name === "HAProxy" && version === "HTTP/2")(
        "bare text that fails in mid-answer is reset",
        async () => {
          front.gateway.emulator.script = () => CUT;
          const client = to("/chat", posted({ prompt: "hello" }, { accept: "text/plain" }));
          expect(await client.ended).toBe("reset");
        },
      );

      test("a page of the public address may call", async () => {
        const page = { ...KEY, origin: front.url, "sec-fetch-site": "same-origin" };
        expect((await to("/v1/models", { headers: page }).whole()).status).toBe(200);
        expect((await to("/", { headers: page }).whole()).headers["content-type"]).toMatch(/^text\/html/);
      });

      test("health is open, and the scrape asks for its key", async () => {
        expect((await to("/readyz").whole()).text).toBe('{"status":"ready"}');
        expect((await to("/metrics").whole()).status).toBe(401);
        expect((await to("/metrics", { headers: KEY }).whole()).text).toContain("sluice_build_info{");
      });
    });

    test("plain HTTP is sent to TLS", async () => {
      const answer = await fetch(`${front.plainUrl}/v1/models?a=b`, { redirect: "manual" });
      expect(answer.status).toBe(308);
      expect(answer.headers.get("location")).toMatch(/^https:\/\/localhost.*\/v1\/models\?a=b$/);
    });
  });
});

test("without keys, the public address is answered and no other name", async () => {
  const gateway = await startGateway({ env: { SLUICE_PUBLIC_URL: "https://llm.example.com" } });
  try {
    const scraped = async (host: string): Promise<number> =>
      (await (await readSse(`${gateway.url}/metrics`, { headers: { host } })).head).status;
    const hosts = ["llm.example.com", "127.0.0.1:8000", "sluice:8000"];
    expect(await Promise.all(hosts.map(scraped))).toEqual([200, 200, 403]);
  } finally {
    await gateway.close();
  }
});

/** A proxy sends the whole body before it reads: a socket closed under it would take the answer with it, and become a 502. */
test("who sends a body that is too large may send all of it, and reads the answer", async () => {
  const gateway = await startGateway();
  const socket = connect(gateway.url);
  try {
    const broken: Error[] = [];
    let text = "";
    socket.on("error", (error) => broken.push(error)).on("data", (part) => (text += part));
    const closed = once(socket, "close");
    const length = 40_000_000;
    const head = `POST ${CHAT} HTTP/1.1\r\nhost: ${new URL(gateway.url).host}\r\ncontent-type: application/json\r\n`;
    socket.write(`${head}content-length: ${length}\r\n\r\n`);
    await once(socket, "data");
    socket.write(Buffer.alloc(length, "x"));
    await closed;
    expect(broken).toEqual([]);
    expect(parseAnswer(text).status).toBe(413);
    expect(parseAnswer(text).body).toContain('"code":"body_too_large"');
  } finally {
    socket.destroy();
    await gateway.close();
  }
});
