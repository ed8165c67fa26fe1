/** The project's own client in Node, before a real gateway: both transports, and the choice between them. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Client,
  type ClientOptions,
  type Connection,
  createClient,
  type PositionStorage,
  SluiceError,
} from "../../src/client/index.ts";
import { CORPUS, hasCorpus, recordings } from "../support/corpus.ts";
import { type GatewayOptions, startGateway, type TestGateway, until } from "../support/gateway.ts";

const TRANSPORTS = ["sse", "websocket"] as const;
const WORDS = Array.from({ length: 40 }, (_, index) => `wort${index}é`).join(" ");
const ask = (script: object): { messages: unknown[]; emulator: object } => ({
  messages: [],
  emulator: script,
});

let gateway: TestGateway;
let client: Client;

const begin = async (options: GatewayOptions = {}, more: ClientOptions = {}): Promise<void> => {
  gateway = await startGateway(options);
  client = createClient({ url: gateway.url, ...more });
};

afterEach(async () => {
  client?.close();
  await gateway?.close();
});

/** Web Storage in memory. */
function storageOf(entries = new Map<string, string>()): PositionStorage {
  return {
    get length() {
      return entries.size;
    },
    key: (index) => [...entries.keys()][index] ?? null,
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => void entries.set(key, value),
    removeItem: (key) => void entries.delete(key),
  };
}

const codeOf = (reading: Promise<unknown>): Promise<string> =>
  reading.then(
    () => "none",
    (error: SluiceError) => error.code,
  );

describe.each(TRANSPORTS)("over %s", (transport) => {
  beforeEach(() => begin({}, { transport }));

  test("text, events, figures and the ending are those of the generation", async () => {
    const generation = client.generate(ask({ text: WORDS, usage: true }));
    const pieces: string[] = [];
    for await (const piece of generation.textStream) pieces.push(piece);
    expect(pieces.join("")).toBe(WORDS);
    expect(pieces.length).toBeGreaterThan(10);
    const seqs: number[] = [];
    for await (const { seq } of generation) seqs.push(seq);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    const { status, usage, timing, error } = await generation.ended;
    expect([status, error]).toEqual(["completed", undefined]);
    expect(usage).toHaveProperty("completion_tokens");
    expect(timing).toHaveProperty("ttft_ms");
    expect(generation.position).toBe(seqs.length + 1);
    expect(generation.generation).toBe(await generation.accepted);
    expect(generation.timing.ttft_ms).toBeGreaterThanOrEqual(0);
    expect(generation.reconnects).toBe(0);
  });

  test("a failure in mid-answer is thrown after what came before it", async () => {
    const generation = client.generate(ask({ text: WORDS, fault: { kind: "eof", after_tokens: 5 } }));
    const seqs: number[] = [];
    const reading = (async () => {
      for await (const { seq } of generation) seqs.push(seq);
    })();
    expect(await codeOf(reading)).toBe("upstream_disconnected");
    expect(seqs.length).toBeGreaterThanOrEqual(5);
    expect(await generation.ended).toMatchObject({ status: "failed", error: { type: "upstream_error" } });
    expect(await codeOf(generation.text())).toBe("upstream_disconnected");
  });

  test("a refusal for good is told at once, with its code, and not tried again", async () => {
    const refused = client.generate({});
    expect(await codeOf(refused.text())).toBe("invalid_request");
    expect(await codeOf(refused.accepted)).toBe("invalid_request");
    expect((await refused.ended).error).toBeInstanceOf(SluiceError);
    expect(refused.generation).toBeUndefined();
    expect(await gateway.metric("sluice_requests_total")).toBe(1);
  });

  test("one that nobody knows is not found; one that was known is lost", async () => {
    expect(await codeOf(client.follow("gen_none").text())).toBe("generation_not_found");
    expect(await codeOf(client.follow("gen_none", { after: 3 }).text())).toBe("generation_lost");
  });

  test("follows from the start, from a seq, and at the ending itself", async () => {
    const first = client.generate(ask({ text: WORDS }));
    await first.ended;
    const id = await first.accepted;
    expect(await client.follow(id).text()).toBe(WORDS);
    const rest = client.follow(id, { after: 10 });
    const seqs: number[] = [];
    expect(await rest.accepted).toBe(id);
    for await (const { seq } of rest) seqs.push(seq);
    expect(seqs[0]).toBe(11);
    expect(seqs.at(-1)).toBe(first.position - 1);
    const after = client.follow(id, { after: first.position });
    expect(await after.ended).toMatchObject({ status: "completed" });
    expect(await codeOf(client.follow(id, { after: 9999 }).text())).toBe("position_ahead");
  });

  test("cancel stops it for everyone, and what came stays", async () => {
    const generation = client.generate(ask({ text: WORDS, pace_ms: 100 }));
    await until("some text", () => generation.position >= 3);
    const ending = await generation.cancel();
    expect(ending).toMatchObject({ status: "cancelled", error: { code: "cancelled" } });
    expect(ending.timing).toHaveProperty("duration_ms");
    const other = await client.follow(await generation.accepted).ended;
    expect(other.status).toBe("cancelled");
    await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
  });

  test("cancel before the first token, at once after the call", async () => {
    const generation = client.generate(ask({ text: WORDS, first_token_ms: 60_000 }));
    expect((await generation.cancel()).status).toBe("cancelled");
    await until("nothing runs", async () => (await gateway.metric("sluice_generations_active")) === 0);
  });

  test("an aborted signal ends it here at once and cancels it there", async () => {
    const control = new AbortController();
    const { signal } = control;
    const generation = client.generate(ask({ text: WORDS, pace_ms: 100 }), { signal });
    await until("some text", () => generation.position >= 3);
    control.abort();
    expect(await codeOf(generation.text())).toBe("cancelled");
    await until("it is cancelled", async () => {
      const labels = { outcome: "cancelled" };
      return (await gateway.metric("sluice_requests_total", labels)) === 1;
    });
    const never = client.generate(ask({ text: WORDS }), { signal: AbortSignal.abort() });
    expect((await never.ended).status).toBe("cancelled");
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("leave only stops reading: it runs on, and can be followed again", async () => {
    const generation = client.generate(ask({ text: WORDS, pace_ms: 10 }));
    await until("some text", () => generation.position >= 3);
    generation.leave();
    expect(await generation.ended).toEqual({ status: "left" });
    expect(WORDS.startsWith(await generation.text())).toBe(true);
    expect(await client.follow(await generation.accepted).text()).toBe(WORDS);
  });

  test("its own key makes two askings one generation; both are read", async () => {
    const options = { idempotencyKey: "once" };
    const both = [1, 2].map(() => client.generate(ask({ text: WORDS, pace_ms: 5 }), options));
    expect(await Promise.all(both.map((each) => each.text()))).toEqual([WORDS, WORDS]);
    expect(both[0]?.generation).toBe(both[1]?.generation);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("100 at once, each its own, over few connections", async () => {
    const texts = Array.from({ length: 100 }, (_, number) => `n${number} ${WORDS}`);
    const all = texts.map((text) => client.generate(ask({ text, pace_ms: 3 })));
    await until("all are accepted", () => all.every(({ generation }) => generation !== undefined));
    if (transport === "websocket") expect(await gateway.metric("sluice_websocket_connections")).toBe(2);
    expect(await Promise.all(all.map((each) => each.text()))).toEqual(texts);
    expect(new Set(all.map(({ generation }) => generation)).size).toBe(100);
  });

  test("reconnect resumes after the last event", async () => {
    const connections: Connection[] = [];
    const onConnection = (connection: Connection): void => void connections.push(connection);
    const generation = client.generate(ask({ text: WORDS, pace_ms: 20 }), { onConnection });
    await until("some text", () => generation.position >= 3);
    generation.reconnect();
    await until("more text", () => generation.position >= 8);
    generation.reconnect(transport === "sse" ? "websocket" : "sse");
    expect(await generation.text()).toBe(WORDS);
    expect(generation.reconnects).toBe(2);
    expect(connections.map((each) => each.transport)).toEqual([
      transport,
      transport,
      transport === "sse" ? "websocket" : "sse",
    ]);
    expect(connections[1]?.after).toBeGreaterThanOrEqual(3);
  });
});

test("what is stored is what is not ended, and following it reads the rest", async () => {
  const storage = storageOf();
  await begin({}, { storage });
  const done = client.generate(ask({ text: WORDS }));
  await done.ended;
  const generation = client.generate(ask({ text: WORDS, pace_ms: 20 }));
  await until("some text", () => generation.position >= 5);
  // The program goes away.
  client.close();
  const before = await generation.text();
  client = createClient({ url: gateway.url, storage });
  const [stored, ...others] = client.stored();
  expect(others).toEqual([]);
  expect(stored).toEqual({ generation: generation.generation, position: generation.position });
  const rest = client.follow(stored as NonNullable<typeof stored>);
  expect(before + (await rest.text())).toBe(WORDS);
  expect(client.stored()).toEqual([]);
  expect(createClient({ url: "http://elsewhere.example", storage }).stored()).toEqual([]);
});

test("what the program does to its request later does not count; what JSON cannot say is thrown at once", async () => {
  await begin();
  const request = ask({ text: WORDS });
  const generation = client.generate(request);
  request.messages.push("changed");
  expect(await generation.text()).toBe(WORDS);
  expect(() => client.generate({ messages: [1n] })).toThrow(TypeError);
});

test("without an address there is no client outside of a page", () => {
  expect(() => createClient()).toThrow(TypeError);
});

const missing = hasCorpus ? "" : " (skipped: no corpus; set SLUICE_CORPUS)";
describe.skipIf(!hasCorpus)(`recorded answers${missing}`, () => {
  const chats = recordings("chat").filter(
    ({ status, expected }) => status === 200 && expected.text_by_choice?.["0"] !== undefined,
  );

  test.each(TRANSPORTS)("are read over %s to the text that they hold", async (transport) => {
    await begin({ emulator: { corpus: CORPUS } }, { transport });
    const texts = await Promise.all(
      chats.map(async ({ file }) => {
        const reading = client.generate(ask({ replay: file }));
        let text = "";
        // A recording that ends in an error has its text before it.
        await (async () => {
          for await (const piece of reading.textStream) text += piece;
        })().catch((error: unknown) => expect(error).toBeInstanceOf(SluiceError));
        return [file, text];
      }),
    );
    expect(texts).toEqual(chats.map(({ file, expected }) => [file, expected.text_by_choice?.["0"]]));
    expect(chats.length).toBeGreaterThan(20);
  });
});
