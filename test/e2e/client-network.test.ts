/** The project's own client in Node: the queue, keys and tickets, cut connections, and the choice between the transports. */
import { afterEach, describe, expect, test } from "vitest";
import {
  type Client,
  type ClientOptions,
  createClient,
  type Generation,
  type SluiceError,
} from "../../src/client/index.ts";
import { type CuttingProxy, headerIn, startCuttingProxy } from "../support/cutting-proxy.ts";
import { type GatewayOptions, startGateway, type TestGateway, until } from "../support/gateway.ts";

const TRANSPORTS = ["sse", "websocket"] as const;
const WORDS = Array.from({ length: 40 }, (_, index) => `wort${index}é`).join(" ");
const ask = (script: object): { messages: unknown[]; emulator: object } => ({
  messages: [],
  emulator: script,
});

let gateway: TestGateway;
let client: Client;
let proxy: CuttingProxy | undefined;

const begin = async (options: GatewayOptions = {}, more: ClientOptions = {}): Promise<void> => {
  gateway = await startGateway(options);
  client = createClient({ url: gateway.url, ...more });
};

afterEach(async () => {
  client?.close();
  await proxy?.close();
  proxy = undefined;
  await gateway?.close();
});

const codeOf = (reading: Promise<unknown>): Promise<string> =>
  reading.then(
    () => "none",
    (error: SluiceError) => error.code,
  );

describe.each(TRANSPORTS)("in the queue over %s", (transport) => {
  test("the place is told as it changes, and gone with the first event", async () => {
    await begin({ env: { SLUICE_MAX_CONCURRENCY: "1" } }, { transport });
    const running = client.generate(ask({ text: WORDS, pace_ms: 60_000 }));
    await until("the slot is held", () => running.position > 0);
    const second = client.generate(ask({ text: "second" }));
    await until("it waits", () => second.queue === 1);
    const places: (number | undefined)[] = [];
    const third = client.generate(ask({ text: "third" }), { onQueue: (place) => places.push(place) });
    await until("it waits behind", () => third.queue === 2);
    await second.cancel();
    await until("it moved up", () => third.queue === 1);
    await running.cancel();
    expect(await third.text()).toBe("third");
    expect(places).toEqual([2, 1, undefined]);
    expect(third.queue).toBeUndefined();
  });

  test("a full one is tried again after what it asked for, so often and no more", async () => {
    await begin(
      { env: { SLUICE_MAX_CONCURRENCY: "1", SLUICE_MAX_QUEUE: "0" } },
      { transport, maxRetries: 1 },
    );
    const running = client.generate(ask({ text: WORDS, pace_ms: 60_000 }));
    await until("the slot is held", () => running.position > 0);
    const refused = client.generate(ask({ text: "refused" }));
    expect(await codeOf(refused.text())).toBe("queue_full");
    expect(await gateway.metric("sluice_requests_total", { outcome: "queue_full" })).toBe(2);
    const patient = client.generate(ask({ text: "patient" }));
    await until("it is refused once", async () => {
      return (await gateway.metric("sluice_requests_total", { outcome: "queue_full" })) === 3;
    });
    await running.cancel();
    expect(await patient.text()).toBe("patient");
  });
});

describe("keys and tickets", () => {
  const env = { SLUICE_API_KEYS: "team:secret-of-the-team" };
  const apiKey = "secret-of-the-team";

  test.each(TRANSPORTS)("a key opens %s", async (transport) => {
    await begin({ env }, { transport, apiKey });
    expect(await client.generate(ask({ text: WORDS })).text()).toBe(WORDS);
  });

  test.each(["auto", ...TRANSPORTS] as const)("a wrong key is told as such on %s", async (transport) => {
    await begin({ env }, { transport, apiKey: "wrong" });
    expect(await codeOf(client.generate(ask({ text: WORDS })).text())).toBe("invalid_api_key");
  });

  test("tickets alone start over WebSocket, and follow over both", async () => {
    const asked: (string | undefined)[] = [];
    const ticket = async (generation?: string): Promise<string> => {
      asked.push(generation);
      const answer = await fetch(`${gateway.url}/v1/tickets`, {
        method: "POST",
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
        body: JSON.stringify({ generation }),
      });
      return ((await answer.json()) as { ticket: string }).ticket;
    };
    await begin({ env }, { ticket });
    const started = client.generate(ask({ text: WORDS, pace_ms: 5 }));
    expect(await started.text()).toBe(WORDS);
    const id = await started.accepted;
    expect(await client.follow(id, { transport: "sse", after: 2 }).ended).toMatchObject({
      status: "completed",
    });
    expect(await client.follow(id, { transport: "sse", after: started.position }).ended).toMatchObject({
      status: "completed",
    });
    expect(asked).toEqual([undefined, id, id]);
  });
});

describe("cut connections", () => {
  const through = async (options: ClientOptions = {}): Promise<CuttingProxy> => {
    await begin();
    proxy = await startCuttingProxy(gateway.url);
    client.close();
    client = createClient({ url: proxy.url, ...options });
    return proxy;
  };

  test("an answer to the creating request that is lost starts no second generation", async () => {
    const cutting = await through({ transport: "sse" });
    cutting.cut("POST /v1/generations", [0, 20]);
    expect(await client.generate(ask({ text: WORDS })).text()).toBe(WORDS);
    const keys = cutting.requests
      .filter((head) => head.startsWith("POST /v1/generations"))
      .map((head) => headerIn(head, "idempotency-key"));
    expect(keys.length).toBe(3);
    expect(new Set(keys).size).toBe(1);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test.each([
    ["sse", "/events"],
    ["websocket", "/v1/ws"],
  ] as const)("%s goes on after the last event, wherever it was cut", async (transport, part) => {
    const cutting = await through({ transport });
    cutting.cut(part, [900, 1700, 2400, 1201]);
    const generation = client.generate(ask({ text: WORDS, pace_ms: 2 }));
    expect(await generation.text()).toBe(WORDS);
    expect(cutting.cuts).toBe(4);
    expect(gateway.emulator.stats.requests).toBe(1);
    if (transport === "sse") {
      const after = cutting.requests.flatMap((head) => Number(headerIn(head, "last-event-id") ?? []));
      expect(after.filter((seq) => seq > 0).length).toBeGreaterThan(0);
    }
  });

  test("a gateway that is never there is given up, with a code of its own", async () => {
    await begin();
    const nobody = createClient({ url: "http://127.0.0.1:1", maxReconnects: 2 });
    const { status, error } = await nobody.generate(ask({ text: WORDS })).ended;
    expect([status, error?.code]).toEqual(["failed", "connection_lost"]);
  });

  test("where WebSockets are blocked, SSE is used, and for good", async () => {
    let tried = 0;
    class Blocked extends WebSocket {
      constructor(url: string) {
        tried++;
        // A port that answers no upgrade.
        super(url.replace(/:\d+/, ":1"));
      }
    }
    await begin({}, { WebSocket: Blocked as typeof WebSocket });
    for (const _ of [1, 2, 3]) {
      const generation: Generation = client.generate(ask({ text: WORDS }));
      expect(await generation.text()).toBe(WORDS);
    }
    expect(tried).toBe(1);
    expect(await gateway.metric("sluice_readers_total", { transport: "sse" })).toBe(3);
  });

  test("where a page may not open one, SSE is used", async () => {
    class Forbidden {
      constructor() {
        throw new DOMException("the page's policy forbids it", "SecurityError");
      }
    }
    await begin({}, { WebSocket: Forbidden as unknown as typeof WebSocket });
    expect(await client.generate(ask({ text: WORDS })).text()).toBe(WORDS);
  });

  test("a server that is no gateway is told as such", async () => {
    await begin();
    const elsewhere = createClient({ url: `${gateway.url}/nowhere`, transport: "sse" });
    expect(await codeOf(elsewhere.generate(ask({})).text())).toBe("not_found");
    const page = createClient({
      url: gateway.url,
      transport: "sse",
      fetch: async () => new Response("<h1>no</h1>", { status: 404 }),
    });
    expect(await codeOf(page.generate(ask({})).text())).toBe("unexpected_answer");
  });
});
