/** Keys take turns at the gate: one that floods it delays the others by no more than its turn. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, type GenerationObject, post, refusal } from "../support/requests.ts";
import { API_KEYS, bearer, type Tenant } from "../support/tenants.ts";

let emulator: Emulator;
let gateway: TestGateway | undefined;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
  emulator.reset();
});

async function start(env: Readonly<Record<string, string>>): Promise<TestGateway> {
  gateway = await startGateway({
    env: { OPENAI_BASE_URL: emulator.url, SLUICE_API_KEYS: API_KEYS, SLUICE_METRICS_AUTH: "none", ...env },
  });
  return gateway;
}

const ENDLESS = { tokens: 1_000_000, pace_ms: 20 } as const;

async function generate(at: TestGateway, tenant: Tenant, user: string, script: object): Promise<Response> {
  const request = chat(script, { user });
  return post(`${at.url}/v1/generations`, { request, on_disconnect: "continue" }, bearer(tenant));
}

/** Who was served, in order. */
const served = (): (string | null)[] => emulator.requests().map(({ user }) => user);

describe("turns", () => {
  test.each([1, 2, 5])(
    "one key waits with 500, another with 1: served within two turns (%i at once)",
    async (slots) => {
      const at = await start({ SLUICE_MAX_CONCURRENCY: String(slots) });
      const held = await Promise.all(
        Array.from({ length: slots }, async (_, n) => {
          return (await (await generate(at, "alice", `held${n}`, ENDLESS)).json()) as GenerationObject;
        }),
      );
      await Promise.all(Array.from({ length: 500 }, (_, n) => generate(at, "alice", `a${n}`, { text: "x" })));
      expect(await at.metric("sluice_queue_depth")).toBe(500);
      const bobs = (await (await generate(at, "bob", "bob", { text: "x" })).json()) as GenerationObject;
      expect(bobs.position).toBeLessThanOrEqual(2);
      for (const { id } of held) await post(`${at.url}/v1/generations/${id}/cancel`, {}, bearer("alice"));
      await until("Bob is served", () => served().includes("bob"));
      // Those that the freed slots took at the same moment came before its turn, one for each slot.
      const turn = served().indexOf("bob") - slots;
      console.log(`Bob was number ${turn + 1} of those who waited, behind 500 (${slots} at once)`);
      expect(turn).toBeLessThanOrEqual(slots);
      await until("all are served", () => served().length === slots + 501, 60_000);
    },
  );

  test("two keys that both wait are served in turn", async () => {
    const at = await start({ SLUICE_MAX_CONCURRENCY: "1" });
    const held = (await (await generate(at, "alice", "held", ENDLESS)).json()) as GenerationObject;
    for (let n = 0; n < 20; n++) await generate(at, "alice", "alice", { text: "x" });
    for (let n = 0; n < 20; n++) await generate(at, "bob", "bob", { text: "x" });
    await post(`${at.url}/v1/generations/${held.id}/cancel`, {}, bearer("alice"));
    await until("all are served", () => served().length === 41);
    const order = served().slice(1);
    for (let n = 0; n < 40; n += 2) expect(new Set(order.slice(n, n + 2))).toEqual(new Set(["alice", "bob"]));
  });
});

describe("a key's own limits", () => {
  test("SLUICE_KEY_MAX_CONCURRENCY leaves the other slots to the others", async () => {
    const at = await start({ SLUICE_MAX_CONCURRENCY: "4", SLUICE_KEY_MAX_CONCURRENCY: "2" });
    for (let n = 0; n < 6; n++) await generate(at, "alice", `a${n}`, ENDLESS);
    await until("two of Alice's run", () => emulator.stats.open === 2);
    const bobs = (await (await generate(at, "bob", "bob", ENDLESS)).json()) as GenerationObject;
    expect(bobs.status).toBe("running");
    await until("Bob's runs beside them", () => emulator.stats.open === 3);
    expect(served()).toEqual(["a0", "a1", "bob"]);
  });

  test("SLUICE_KEY_MAX_QUEUE: 429 rate_limited for that key, on every way in, and for no other", async () => {
    const at = await start({
      SLUICE_MAX_CONCURRENCY: "1",
      SLUICE_KEY_MAX_CONCURRENCY: "1",
      SLUICE_KEY_MAX_QUEUE: "3",
    });
    for (let n = 0; n < 4; n++) expect((await generate(at, "alice", `a${n}`, ENDLESS)).status).toBe(201);
    for (const [path, body] of [
      ["/v1/generations", { request: chat(ENDLESS) }],
      ["/v1/chat/completions", chat(ENDLESS, { stream: true })],
      ["/v1/chat/completions", chat(ENDLESS)],
      ["/chat", { prompt: "x" }],
    ] as const) {
      const refused = await refusal(post(at.url + path, body, bearer("alice")));
      expect(refused).toMatchObject({ status: 429, code: "rate_limited", type: "rate_limit_error" });
      expect(Number(refused.retryAfter)).toBeGreaterThanOrEqual(1);
      expect(refused.shouldRetry).toBeNull();
    }
    expect((await generate(at, "bob", "bob", ENDLESS)).status).toBe(201);
    expect(await at.metric("sluice_requests_total", { key: "alice", outcome: "queue_full" })).toBe(4);
    expect(await at.metric("sluice_requests_total", { key: "bob", outcome: "queue_full" })).toBe(0);
  });
});
