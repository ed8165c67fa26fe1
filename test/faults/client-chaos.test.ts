/** The client on a bad network: whatever is done to its connections, every answer is whole, each event once, and none twice. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Client, createClient, type Generation } from "../../src/client/index.ts";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type ChaosProxy, randomOf, startChaosProxy } from "../support/chaos-proxy.ts";
import { type GatewayProcess, metricOf, startProcess, until } from "../support/gateway.ts";

const SEED = Number(process.env["SLUICE_CHAOS_SEED"] ?? 20_260);
const COUNT = Number(process.env["SLUICE_CHAOS_COUNT"] ?? 1000);
const AT_ONCE = 40;
/** Connections that meet a fault. */
const SHARE = 0.95;
/** So that a dead connection is noticed in a second; and, where nothing dies, so that a busy machine is not mistaken for it. */
const QUICK_MS = 400;
const CALM_MS = 4000;
const TRANSPORTS = ["sse", "websocket"] as const;

/** Every word is another, so that one lost or repeated shows. */
const wordsOf = (name: string, count: number): string =>
  Array.from({ length: count }, (_, index) => `${name}.${index}é`).join(" ");

let emulator: Emulator;
let gateway: GatewayProcess;
let proxy: ChaosProxy;
let clients: Client[] = [];

let heartbeatMs = QUICK_MS;

const startGateway = (): Promise<GatewayProcess> =>
  startProcess({
    LOG_LEVEL: "error",
    OPENAI_BASE_URL: emulator.url,
    SLUICE_HEARTBEAT_MS: String(heartbeatMs),
    // The many short connections of this test are no crowd.
    SLUICE_MAX_CONNECTIONS: "20000",
  });

const clientOf = (transport: (typeof TRANSPORTS)[number]): Client => {
  const client = createClient({
    url: proxy.url,
    transport,
    heartbeatMs,
    maxRetries: 30,
    maxReconnects: 60,
  });
  clients.push(client);
  return client;
};

beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator?.close());
beforeEach(async () => {
  emulator.reset();
  gateway = await startGateway();
  proxy = await startChaosProxy(gateway.url, SEED, SHARE);
});
afterEach(async () => {
  for (const client of clients) client.close();
  clients = [];
  await proxy?.close();
  await gateway?.stop();
});

interface Heard {
  readonly seqs: readonly number[];
  readonly text: string;
}

async function hear(generation: Generation): Promise<Heard> {
  const seqs: number[] = [];
  let text = "";
  for await (const { seq, data } of generation) {
    seqs.push(seq);
    const content = data.choices?.[0]?.delta?.content;
    if (typeof content === "string") text += content;
  }
  return { seqs, text };
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

test(`${COUNT} generations through cuts, resets, stalls, garbage, broken frames and refused upgrades (seed ${SEED})`, async () => {
  const random = randomOf(SEED + 1);
  // Several sockets, each with several generations.
  const pool = [...TRANSPORTS, ...TRANSPORTS, ...TRANSPORTS].map(clientOf);
  let started = 0;
  let whole = 0;
  let reconnects = 0;
  const wrong: string[] = [];

  const one = async (number: number): Promise<void> => {
    const tokens = 10 + Math.floor(random() * 60);
    const text = wordsOf(`g${number}`, tokens);
    const script = { text, first_token_ms: random() * 40, pace_ms: random() * 8, burst: 2 };
    const generation = (pool[number % pool.length] as Client).generate({ messages: [], emulator: script });
    const { seqs, text: heard } = await hear(generation).catch(async (error: unknown) => {
      throw new Error(`${number}: ${JSON.stringify(await generation.ended)}`, { cause: error });
    });
    const { status } = await generation.ended;
    reconnects += generation.reconnects;
    const isWhole = heard === text && status === "completed" && generation.position === seqs.length + 1;
    if (isWhole && seqs.every((seq, index) => seq === index + 1)) whole++;
    else wrong.push(`${number}: ${status}, seqs ${seqs}, ${heard}`);
  };
  const worker = async (): Promise<void> => {
    while (started < COUNT) await one(started++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));

  console.log(
    `client chaos: ${whole} of ${COUNT} generations whole, ${reconnects} reconnects; connections: ` +
      JSON.stringify(proxy.counts),
  );
  expect(wrong).toEqual([]);
  expect(whole).toBe(COUNT);
  // Nothing was asked for twice, however often an answer was lost.
  expect(emulator.stats.requests).toBe(COUNT);
  for (const [fault, count] of Object.entries(proxy.counts)) expect(count, fault).toBeGreaterThan(0);
  // How many there are depends on how fast the machine is; that there are many, does not.
  expect(reconnects).toBeGreaterThan(COUNT / 20);
}, 600_000);

describe("a gateway that went away", () => {
  const EACH = 15;

  beforeAll(() => {
    heartbeatMs = CALM_MS;
  });

  /** Answers that are in their middle on both transports. */
  async function running(paceMs: number): Promise<{ text: string; generation: Generation }[]> {
    const all = TRANSPORTS.flatMap((transport) => {
      const client = clientOf(transport);
      return upTo(EACH).map((number) => {
        const text = wordsOf(`${transport}${number}`, 150);
        const emulated = { text, pace_ms: paceMs };
        return { text, generation: client.generate({ messages: [], emulator: emulated }) };
      });
    });
    await until("all in mid-answer", () => all.every(({ generation }) => generation.position >= 5));
    return all;
  }

  const partOf = async (generation: Generation): Promise<Heard> => {
    const seqs: number[] = [];
    let text = "";
    try {
      for await (const { seq, data } of generation) {
        seqs.push(seq);
        text += data.choices?.[0]?.delta?.content ?? "";
      }
    } catch {
      // The ending tells; this is about what came before it.
    }
    return { seqs, text };
  };

  test("by SIGKILL, with all its memory: generation_lost, and nothing else", async () => {
    proxy.isWild = false;
    const all = await running(40);
    const asked = emulator.stats.requests;
    await gateway.stop();
    gateway = await startGateway();
    proxy.target = gateway.url;
    for (const { text, generation } of all) {
      const { status, error } = await generation.ended;
      expect([status, error?.code]).toEqual(["failed", "generation_lost"]);
      const heard = await partOf(generation);
      expect(heard.seqs).toEqual(upTo(heard.seqs.length));
      expect(heard.seqs.length).toBeGreaterThanOrEqual(5);
      expect(text.startsWith(heard.text) && heard.text.length < text.length).toBe(true);
      await expect(hear(generation)).rejects.toMatchObject({ code: "generation_lost" });
    }
    // None was begun anew.
    expect([asked, emulator.stats.requests]).toEqual([2 * EACH, 2 * EACH]);
    console.log(`client chaos: ${all.length} of ${2 * EACH} said generation_lost after the hard restart`);
  });

  test("by SIGTERM: what runs comes to its end there, and what is new waits for the next gateway", async () => {
    proxy.isWild = false;
    const all = await running(20);
    const old = gateway;
    old.child.kill("SIGTERM");
    await until("the old one drains", async () => (await fetch(`${old.url}/readyz`)).status === 503);
    const text = "late but whole";
    const late = TRANSPORTS.map((transport) => ({
      text,
      generation: clientOf(transport).generate({ messages: [], emulator: { text } }),
    }));
    await until("the newcomers are refused", async () => {
      const labels = { outcome: "draining" };
      return (await metricOf(old.url, "sluice_requests_total", labels)) >= late.length;
    });
    gateway = await startGateway();
    proxy.target = gateway.url;
    for (const { text, generation } of [...all, ...late]) {
      expect((await hear(generation)).text).toBe(text);
      expect((await generation.ended).status).toBe("completed");
    }
    expect(await old.exited).toBe(0);
  });
});
