/** Long silences behind a proxy that waits for 2 s only, and a gateway that goes away behind one. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { until } from "../support/gateway.ts";
import { type Front, KEY, missingFor, openSocket, PROXIES, posted, startFront } from "../support/proxies.ts";
import { chat, streamed } from "../support/requests.ts";
import { ask, VERSIONS } from "../support/tls-client.ts";

const CHAT = "/v1/chat/completions";
/** What the proxy waits for. Seconds. */
const IDLE_S = 2;
const SILENT_MS = 5_000;
const BEFORE: Script = { text: "late", first_token_ms: SILENT_MS };
const BETWEEN: Script = { tokens: 2, pace_ms: SILENT_MS };
const ENDED_WELL = /data: \[DONE\]\n\n$|event: end\ndata: \{"status":"completed".*\n\n$/;

describe.each(PROXIES)("behind $name", (kind) => {
  const missing = missingFor(kind);
  const suite = missing === "" ? describe : describe.skip;

  suite(`silences longer than it waits${missing}`, () => {
    let front: Front;

    beforeAll(async () => {
      const env = { SLUICE_EARLY_HEADERS_MS: "700", SLUICE_HEARTBEAT_MS: "500" };
      front = await startFront(kind, env, IDLE_S);
    });
    afterAll(() => front?.close());

    test.concurrent.each(VERSIONS)("over %s a stream outlives them", async (version) => {
      const clients = [BEFORE, BETWEEN].map((script) => ask(version, front, CHAT, posted(streamed(script))));
      const created = await ask(version, front, "/v1/generations", posted({ request: chat(BEFORE) })).whole();
      const { events_url: path } = JSON.parse(created.text) as { readonly events_url: string };
      clients.push(ask(version, front, path, { headers: KEY }));
      for (const client of clients) {
        expect(await client.ended).toBe("closed");
        expect(client.comments).toContain("ping");
        expect(client.text).toMatch(ENDED_WELL);
      }
    });

    test.concurrent("so does a WebSocket, with something to follow and without", async () => {
      const [idle, client] = [await openSocket(front), await openSocket(front)];
      client.send({ type: "generate", id: "a", request: chat(BEFORE) });
      const { generation } = await client.next(({ type }) => type === "accepted");
      expect(await client.end(generation)).toMatchObject({ status: "completed" });
      expect((await idle.ask({ type: "ping" }, "pong")).type).toBe("pong");
      for (const each of [idle, client]) {
        expect(each.messages.map(({ type }) => type)).toContain("heartbeat");
        await each.close();
      }
    });

    // Shows that the proxy's limit was there to be outlived.
    test.concurrent.each(VERSIONS)("over %s an answer that is not streamed meets them", async (version) => {
      expect((await ask(version, front, CHAT, posted(chat(BEFORE))).whole()).status).toBe(504);
    });
  });

  suite(`a gateway that goes away${missing}`, () => {
    test.each(VERSIONS)("over %s what runs ends well, and new work is refused", async (version) => {
      const front = await startFront(kind);
      try {
        const client = ask(version, front, CHAT, posted(streamed({ tokens: 400, pace_ms: 5 })));
        await until("it streams", () => client.payloads.length > 3);
        const drained = front.gateway.server.drain();
        const refused = await ask(version, front, CHAT, posted(streamed({ text: "no" }))).whole();
        expect(refused).toMatchObject({ status: 503, headers: { "retry-after": expect.any(String) } });
        expect(refused.text).toContain('"code":"draining"');
        expect((await ask(version, front, "/readyz").whole()).status).toBe(503);
        // The document's health checks do not take readers away meanwhile.
        const id = String((await client.head).headers["x-generation-id"]);
        const late = ask(version, front, `/v1/generations/${id}/events`, { headers: KEY });
        for (const each of [client, late]) {
          expect(await each.ended).toBe("closed");
          expect(each.text).toMatch(ENDED_WELL);
        }
        await drained;
      } finally {
        await front.close();
      }
    });

    test("a WebSocket is told, and closed with 1001 when idle, with 1012 when time has run out", async () => {
      const front = await startFront(kind, { SLUICE_SHUTDOWN_TIMEOUT_MS: "500" });
      try {
        const [idle, busy] = [await openSocket(front), await openSocket(front)];
        busy.send({ type: "generate", id: "a", request: chat({ fault: { kind: "hang", after_tokens: 3 } }) });
        await busy.next(({ seq }) => seq === 3);
        const drained = front.gateway.server.drain();
        expect(await idle.closed).toMatchObject({ code: 1001 });
        expect(await busy.closed).toMatchObject({ code: 1012 });
        for (const each of [idle, busy]) expect(each.messages.map(({ type }) => type)).toContain("draining");
        expect(busy.messages.at(-1)).toMatchObject({ type: "end", error: { code: "draining" } });
        await drained;
      } finally {
        await front.close();
      }
    });
  });
});
