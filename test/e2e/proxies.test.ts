/** Streams through nginx and HAProxy as docs/DEPLOYMENT.md configures them: same bytes, nothing held back, nobody forgotten. */
import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { until } from "../support/gateway.ts";
import { type Front, KEY, missingFor, PROXIES, posted, startFront } from "../support/proxies.ts";
import { chat, streamed, tokensSent } from "../support/requests.ts";
import { readSse } from "../support/sse-client.ts";
import { ask, type TlsReading, type TlsRequest, VERSIONS } from "../support/tls-client.ts";

const CHAT = "/v1/chat/completions";
const TEXT = "Locks lift 水門 boats 🚣, ganz langsam; “only” water <b>does</b> that. ".repeat(8);
const ENDLESS: Script = { tokens: 1_000_000, pace_ms: 5 };
const HOUR_MS = 3_600_000;

const speaksHttp2 = /\bHTTP2\b/.test(String(spawnSync("curl", ["--version"]).stdout));
const curl = speaksHttp2 ? "curl" : "curl (skipped: no curl that speaks HTTP/2)";

describe.each(PROXIES)("streams behind $name", (kind) => {
  const missing = missingFor(kind);
  const suite = missing === "" ? describe : describe.skip;

  suite(`as the document configures it${missing}`, () => {
    let front: Front;

    beforeAll(async () => {
      front = await startFront(kind, { SLUICE_DISCONNECT_GRACE_MS: "200" });
    });
    afterAll(() => front?.close());
    beforeEach(() => front.gateway.emulator.reset());

    const givenUp = (): Promise<void> =>
      until("the upstream is given up", () => {
        const { aborted, open } = front.gateway.emulator.stats;
        return aborted === 1 && open === 0;
      });

    describe.each(VERSIONS)("over %s", (version) => {
      const to = (path: string, request?: TlsRequest): TlsReading => ask(version, front, path, request);

      test.each<[string, Script]>([
        ["small events", { text: TEXT, pace_ms: 2 }],
        ["events larger than any buffer", { tokens: 60, payload_bytes: 150_000 }],
        ["no pace at all", { tokens: 5_000 }],
      ])("a stream is the direct one, byte for byte: %s", async (what, script) => {
        // One generation, read by both at once.
        const request = posted(streamed(script), { "idempotency-key": `${version} ${what}` });
        const direct = readSse(front.gateway.url + CHAT, request);
        const through = to(CHAT, request);
        expect(await through.ended).toBe("closed");
        const { status, headers } = await through.head;
        expect(status).toBe(200);
        expect(headers).toMatchObject({
          "content-type": "text/event-stream; charset=utf-8",
          "cache-control": "no-cache, no-transform",
          "x-generation-id": (await (await direct).head).headers["x-generation-id"],
        });
        expect(through.text).toBe((await direct).text);
        expect(through.text.endsWith("data: [DONE]\n\n")).toBe(true);
        expect(front.gateway.emulator.stats.requests).toBe(1);
      });

      test.each([1, 2, 7, 40])("of %i tokens sent so far, the client holds all", async (count) => {
        const user = `${version} ${count}`;
        // The upstream then says nothing more: whatever is held back stays back.
        const fault = { kind: "hang", after_tokens: count } as const;
        const client = to(CHAT, posted(streamed({ tokens: 1_000, role_chunk: false, fault }, { user })));
        await until("the client holds them", () => client.payloads.length === count);
        expect(tokensSent(front.gateway.emulator, user)).toBe(count);
        client.leave();
        await givenUp();
      });

      test("/events, left in mid-answer and resumed, is the uncut read", async () => {
        const script: Script = { text: TEXT, pace_ms: 4 };
        const created = await to("/v1/generations", posted({ request: chat(script) })).whole();
        expect(created.status).toBe(201);
        const { events_url: path } = JSON.parse(created.text) as { readonly events_url: string };
        const first = to(path, { headers: KEY });
        await until("some events came", () => first.events.length > 20);
        first.leave();
        const seen = Number(first.events.at(-1)?.id);
        const rest = to(path, { headers: { ...KEY, "last-event-id": String(seen) } });
        expect(await rest.ended).toBe("closed");
        const whole = await readSse(front.gateway.url + path, { headers: KEY });
        expect([...first.events.slice(0, seen), ...rest.events]).toEqual(whole.events);
        expect(rest.text).toBe(whole.text.slice(whole.text.indexOf(`id: ${seen + 1}\n`)));
        const end = { ...KEY, "last-event-id": String(whole.lastId) };
        expect((await to(path, { headers: end }).whole()).status).toBe(204);
      });

      test.each<[string, "leave" | "destroy", Script]>([
        ["that gives up in mid-stream", "leave", ENDLESS],
        ["whose connection is gone in mid-stream", "destroy", ENDLESS],
        ["that gives up while the stream is silent", "leave", { fault: { kind: "hang", after_tokens: 3 } }],
      ])("a client %s reaches the upstream", async (_what, how, script) => {
        const client = to(CHAT, posted(streamed(script)));
        await until("it streams", () => client.payloads.length > 2);
        client[how]();
        await givenUp();
      });

      test.each<[string, "leave" | "destroy", object]>([
        ["gives up before the first token", "leave", streamed({ text: TEXT, first_token_ms: HOUR_MS })],
        ["is gone before the first token", "destroy", streamed({ text: TEXT, first_token_ms: HOUR_MS })],
        ["gives up an answer that is not streamed", "leave", chat({ text: TEXT, first_token_ms: HOUR_MS })],
      ])("a client that %s reaches the upstream", async (_what, how, body) => {
        const client = to(CHAT, posted(body));
        await until("the upstream was asked", () => front.gateway.emulator.stats.open === 1);
        client[how]();
        await givenUp();
      });
    });

    test.skipIf(!speaksHttp2).each(["--http1.1", "--http2"])(`${curl} %s reads the same`, async (flag) => {
      const folder = await mkdtemp(join(tmpdir(), "sluice-curl-"));
      writeFileSync(join(folder, "ca.pem"), front.ca);
      const request = posted(streamed({ text: TEXT, pace_ms: 2 }), { "idempotency-key": flag });
      const direct = readSse(front.gateway.url + CHAT, request);
      const headers = { "content-type": "application/json", ...request.headers };
      const { stdout } = await promisify(execFile)("curl", [
        ...["-sS", "-N", flag, "--cacert", join(folder, "ca.pem"), "-w", "%{http_version}"],
        ...Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
        ...["-d", JSON.stringify(request.body), front.url + CHAT],
      ]);
      await rm(folder, { recursive: true });
      expect(stdout).toBe((await direct).text + (flag === "--http2" ? "2" : "1.1"));
    });
  });
});
