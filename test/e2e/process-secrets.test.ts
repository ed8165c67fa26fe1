/** What a process keeps to itself: keys in its output, the operator's `OPENAI_*` variables, one client's generations from another. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { type Emulator, fingerprint, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { chat, type GenerationObject, post, refusal, streamed } from "../support/requests.ts";

const UPSTREAM_KEY = "sk-upstream-0123456789abcdef";
const OTHERS = {
  OPENAI_ORG_ID: "org-leaked",
  OPENAI_PROJECT_ID: "proj-leaked",
  OPENAI_CUSTOM_HEADERS: "x-leaked: yes\nopenai-beta: leaked",
  OPENAI_ADMIN_KEY: "sk-admin-leaked",
  OPENAI_WEBHOOK_SECRET: "whsec-leaked",
  OPENAI_LOG: "debug",
};

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator({ apiKey: UPSTREAM_KEY });
});
afterAll(() => emulator?.close());
beforeEach(() => emulator.reset());
afterEach(() => vi.unstubAllEnvs());

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** One of each kind of upstream request. */
async function askForEverything(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<number[]> {
  const legacy = { model: "sluice-demo", prompt: "hello" };
  const answers = [
    await post(`${url}/v1/chat/completions`, streamed({ text: "so it is" }), headers),
    await post(`${url}/v1/chat/completions`, chat({ text: "so it is" }), headers),
    await post(`${url}/v1/completions`, legacy, headers),
    await post(`${url}/v1/embeddings`, { model: "sluice-demo", input: "hello" }, headers),
    await fetch(`${url}/v1/models`, { headers }),
  ];
  for (const answer of answers) await answer.text();
  return answers.map(({ status }) => status);
}

describe("towards the upstream", () => {
  test("only the base URL and the key of the operator's variables arrive, and the key is never printed", async () => {
    const gateway = await startProcess({
      OPENAI_BASE_URL: emulator.url,
      OPENAI_API_KEY: UPSTREAM_KEY,
      LOG_LEVEL: "trace",
      ...OTHERS,
    });
    try {
      expect(await askForEverything(gateway.url)).toEqual([200, 200, 200, 200, 200]);
      // Errors are where logs tend to say too much.
      const fault = { kind: "status", status: 401 } as const;
      await (await post(`${gateway.url}/v1/chat/completions`, chat({ fault }))).text();
      await (await post(`${gateway.url}/v1/chat/completions`, chat({ fault: { kind: "no_answer" } }))).text();
      const heads = emulator.requests().map(({ headers }) => headers);
      expect(heads.length).toBeGreaterThanOrEqual(6);
      for (const headers of heads) {
        expect(headers["authorization"]).toBe(fingerprint(`Bearer ${UPSTREAM_KEY}`));
        expect(JSON.stringify(headers)).not.toContain("leaked");
        expect(Object.keys(headers)).not.toContain("openai-organization");
        expect(Object.keys(headers)).not.toContain("openai-project");
      }
      expect(gateway.output()).toContain("reached, model sluice-demo");
      expect(gateway.output()).not.toMatch(/leaked|0123456789abcdef/);
      // The SDK's own log, which OPENAI_LOG turns on, names the package.
      expect(gateway.output()).not.toMatch(/openai\.com|OpenAI:DEBUG|sending request/i);
    } finally {
      await gateway.stop();
    }
  });

  test("a client's own key goes no further than the gateway", async () => {
    const open = await startEmulator();
    const gateway = await startProcess({ OPENAI_BASE_URL: open.url });
    try {
      const mine = { ...bearer("sk-client"), "openai-organization": "org-client", cookie: "a=b" };
      expect(await askForEverything(gateway.url, mine)).toEqual([200, 200, 200, 200, 200]);
      for (const { headers } of open.requests()) {
        for (const name of ["authorization", "openai-organization", "cookie"]) {
          expect(Object.keys(headers)).not.toContain(name);
        }
      }
    } finally {
      await gateway.stop();
      await open.close();
    }
  });

  test("the SDK alone would have sent them: the tests above look for the right thing", async () => {
    for (const [name, value] of Object.entries(OTHERS)) if (name !== "OPENAI_LOG") vi.stubEnv(name, value);
    const client = new OpenAI({ baseURL: emulator.url, apiKey: UPSTREAM_KEY, maxRetries: 0 });
    await client.chat.completions.create({ model: "m", messages: [{ role: "user", content: "x" }] });
    expect(emulator.requests()[0]?.headers).toMatchObject({
      "openai-organization": "org-leaked",
      "openai-project": "proj-leaked",
      "x-leaked": "yes",
    });
  });
});

describe("towards clients, with keys", () => {
  const ALICE = bearer("sesame-of-alice");
  const BOB = bearer("sesame-of-bob");
  let gateway: GatewayProcess;

  beforeAll(async () => {
    gateway = await startProcess({
      OPENAI_BASE_URL: emulator.url,
      OPENAI_API_KEY: UPSTREAM_KEY,
      SLUICE_API_KEYS: "alice:sesame-of-alice,bob:sesame-of-bob",
      LOG_LEVEL: "trace",
    });
    await until("the greeting is printed", () => gateway.output().includes("Try:"));
  });
  afterAll(() => gateway?.stop());

  test.each([
    ["POST", "/v1/chat/completions"],
    ["POST", "/v1/completions"],
    ["POST", "/v1/embeddings"],
    ["POST", "/v1/generations"],
    ["POST", "/chat"],
    ["GET", "/chat?prompt=hello"],
    ["GET", "/v1/models"],
    ["GET", "/v1/generations/gen_x"],
    ["GET", "/v1/generations/gen_x/events"],
    ["POST", "/v1/generations/gen_x/cancel"],
    ["GET", "/metrics"],
    ["GET", "/no/such/route"],
  ])("%s %s is 401 without a key and with a wrong one", async (method, path) => {
    const body = method === "POST" ? { body: JSON.stringify(chat({ text: "never" })) } : {};
    for (const headers of [{}, bearer("sesame"), { authorization: "Basic c2VzYW1l" }]) {
      const answer = await fetch(gateway.url + path, {
        method,
        headers: { "content-type": "application/json", ...headers },
        ...body,
      });
      expect(await refusal(answer)).toMatchObject({
        status: 401,
        code: "invalid_api_key",
        type: "authentication_error",
        shouldRetry: "false",
      });
    }
    expect(emulator.stats.requests).toBe(0);
  });

  test("a WebSocket is 401 before its upgrade, without a key and with a wrong one", async () => {
    for (const headers of [{}, bearer("sesame")]) {
      const socket = new WebSocket(`${gateway.url.replace(/^http/, "ws")}/v1/ws`, ["sluice.v1"], { headers });
      socket.on("error", () => {});
      const [, answer] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
      expect(answer.statusCode).toBe(401);
      answer.destroy();
    }
  });

  test.each(["/livez", "/readyz", "/healthz", "/", "/playground.js", "/openapi.json"])(
    "%s needs none",
    async (path) => {
      expect((await fetch(gateway.url + path)).status).toBe(200);
    },
  );

  test("a generation is found by its own key, and unknown to the other", async () => {
    const request = chat({ tokens: 100_000, pace_ms: 5 });
    const created = await post(`${gateway.url}/v1/generations`, { request }, ALICE);
    const { id } = (await created.json()) as GenerationObject;
    const at = `${gateway.url}/v1/generations/${id}`;
    const unknown = { status: 404, code: "generation_not_found" };
    expect(await refusal(fetch(at, { headers: BOB }))).toMatchObject(unknown);
    expect(await refusal(fetch(`${at}/events`, { headers: BOB }))).toMatchObject(unknown);
    expect(await refusal(post(`${at}/cancel`, {}, BOB))).toMatchObject(unknown);
    const resume = { ...BOB, "last-event-id": `${id}:0` };
    expect(await refusal(post(`${gateway.url}/chat`, { prompt: "x" }, resume))).toMatchObject(unknown);
    expect(await (await fetch(at, { headers: ALICE })).json()).toMatchObject({ id, status: "running" });
    expect(await (await post(`${at}/cancel`, {}, ALICE)).json()).toMatchObject({ id, status: "cancelled" });
    await until("the upstream is given up", () => emulator.stats.aborted === 1);
  });

  test("an idempotency key is its owner's: another's is another request", async () => {
    const ids = new Set<string | null>();
    for (const owner of [ALICE, BOB, ALICE]) {
      const headers = { ...owner, "idempotency-key": "the-same" };
      const answer = await post(
        `${gateway.url}/v1/chat/completions`,
        streamed({ text: "once each" }),
        headers,
      );
      await answer.text();
      ids.add(answer.headers.get("x-generation-id"));
    }
    expect(ids.size).toBe(2);
    expect(emulator.stats.requests).toBe(2);
  });

  test("metrics name the keys, and neither they nor the output hold one", async () => {
    await (await post(`${gateway.url}/v1/chat/completions`, chat({ text: "x" }), BOB)).text();
    const metrics = await (await fetch(`${gateway.url}/metrics`, { headers: ALICE })).text();
    expect(metrics).toMatch(/sluice_requests_total\{[^}]*key="bob"/);
    expect(metrics).not.toMatch(/sesame|0123456789abcdef/);
    expect(gateway.output()).not.toMatch(/sesame|0123456789abcdef/);
  });
});
