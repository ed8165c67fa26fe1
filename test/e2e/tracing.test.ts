/** Traces of a real process, with the setup that docs/TRACING.md shows; and none without it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { chat, post, streamed } from "../support/requests.ts";
import {
  documentedSetup,
  type Setup,
  type SpanLine,
  setupWithLines,
  spansOf,
  writeSetup,
} from "../support/span-lines.ts";
import { WsClient } from "../support/ws-client.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = "00f067aa0ba902b7";
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`;
const CONTEXT = { traceparent: TRACEPARENT, tracestate: "vendor=value", baggage: "tenant=blue" };
const KEY = "sk-PLANTEDKEY-0123456789";
const bearer = { authorization: `Bearer ${KEY}` };
const PROMPT = "PLANTEDPROMPT";
const USAGE = { text: "PLANTEDCOMPLETION one two", usage: true } as const;

let emulator: Emulator;
let gateway: GatewayProcess | undefined;
const setups: Setup[] = [];
const folder = mkdtempSync(join(tmpdir(), "sluice-tracing-"));
beforeAll(async () => {
  emulator = await startEmulator();
});
beforeEach(() => emulator.reset());
afterEach(() => gateway?.stop());
afterAll(async () => {
  await emulator?.close();
  for (const setup of setups) setup.remove();
  rmSync(folder, { recursive: true, force: true });
});

async function traced(code: string, env: Record<string, string> = {}): Promise<GatewayProcess> {
  const setup = writeSetup(code);
  setups.push(setup);
  gateway = await startProcess({
    OPENAI_BASE_URL: emulator.url,
    SLUICE_API_KEYS: `alice:${KEY}`,
    NODE_OPTIONS: setup.option,
    // Spans leave soon, so that a test need not wait.
    OTEL_BSP_SCHEDULE_DELAY: "20",
    ...env,
  });
  return gateway;
}

async function ask(url: string, body: object, headers: Record<string, string> = CONTEXT): Promise<Response> {
  const messages = [{ role: "user", content: PROMPT }];
  const answer = await post(`${url}/v1/chat/completions`, { ...body, messages }, { ...bearer, ...headers });
  await answer.text();
  return answer;
}

/** The spans of one request, once the outermost is there. */
async function treeOf(from: GatewayProcess, test: (span: SpanLine) => boolean): Promise<SpanLine[]> {
  const whole = (): SpanLine | undefined =>
    spansOf(from).find((span) => span.name === "generate" && test(span));
  await until("its span is exported", () => whole() !== undefined);
  const { id } = whole() as SpanLine;
  return spansOf(from).filter((span) => span.id === id || span.parent === id);
}

const byId =
  (answer: Response) =>
  ({ attributes }: SpanLine): boolean =>
    attributes["sluice.generation.id"] === answer.headers.get("x-generation-id");

const sentHeaders = (n: number): Readonly<Record<string, string>> => emulator.requests()[n]?.headers ?? {};

describe("with the documented setup", () => {
  test("a streamed request is a tree under the client's span, and the upstream's parent is its attempt", async () => {
    const from = await traced(setupWithLines());
    const answer = await ask(from.url, streamed(USAGE, { stream_options: { include_usage: true } }));
    const [queue, attempt, whole, ...more] = await treeOf(from, byId(answer));
    expect(more).toEqual([]);
    expect(whole).toMatchObject({
      name: "generate",
      kind: SpanKind.SERVER,
      trace: TRACE,
      parent: PARENT,
      status: SpanStatusCode.UNSET,
      events: ["first_token"],
    });
    expect(whole?.attributes).toMatchObject({
      "sluice.request.id": answer.headers.get("x-request-id"),
      "sluice.transport": "sse",
      "sluice.key": "alice",
      "sluice.outcome": "completed",
      "sluice.upstream": "upstream",
      "sluice.attempts": 1,
    });
    expect(queue).toMatchObject({ name: "queue", kind: SpanKind.INTERNAL, trace: TRACE, parent: whole?.id });
    expect(attempt).toMatchObject({
      name: "chat sluice-demo",
      kind: SpanKind.CLIENT,
      trace: TRACE,
      parent: whole?.id,
      events: ["first_token"],
    });
    expect(attempt?.attributes).toMatchObject({
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "sluice-demo",
      "gen_ai.request.stream": true,
      "gen_ai.usage.input_tokens": expect.any(Number),
      "gen_ai.usage.output_tokens": expect.any(Number),
      "gen_ai.response.finish_reasons": ["stop"],
      "gen_ai.response.time_to_first_chunk": expect.any(Number),
      "server.address": "127.0.0.1",
      "server.port": Number(new URL(emulator.url).port),
    });
    expect(sentHeaders(0)).toMatchObject({ ...CONTEXT, traceparent: `00-${TRACE}-${attempt?.id}-01` });
    // Usage stands once, and nothing of what was said anywhere.
    expect(Object.keys(whole?.attributes ?? {}).filter((name) => name.startsWith("gen_ai."))).toEqual([]);
    expect(JSON.stringify(spansOf(from))).not.toMatch(/PLANTED/);
  });

  test("a request without context, one over a WebSocket, and one that is not streamed", async () => {
    const from = await traced(setupWithLines());
    const alone = await ask(from.url, chat(USAGE), {});
    const [, , root] = await treeOf(from, byId(alone));
    expect(root).not.toHaveProperty("parent");
    expect(root?.trace).not.toBe(TRACE);
    expect(sentHeaders(0)["traceparent"]).toContain(root?.trace);
    const client = await WsClient.open(from.wsUrl, { headers: { ...bearer, ...CONTEXT } });
    for (const id of ["a", "b"]) {
      const before = client.received.length;
      client.send({ type: "generate", id, request: chat(USAGE) });
      const { generation } = await client.next(({ type }) => type === "end", before);
      const [queue, attempt, whole] = await treeOf(
        from,
        ({ attributes }) => attributes["sluice.generation.id"] === generation,
      );
      expect(whole).toMatchObject({ trace: TRACE, parent: PARENT, events: ["first_token"] });
      expect(whole?.attributes).toMatchObject({ "sluice.transport": "websocket" });
      expect([queue?.parent, attempt?.parent]).toEqual([whole?.id, whole?.id]);
      const sent = emulator.requests().map(({ headers }) => headers["traceparent"]);
      expect(sent.at(-1)).toBe(`00-${TRACE}-${attempt?.id}-01`);
    }
    client.terminate();
  });

  test("each attempt has its span; refused and attached requests have one without children", async () => {
    const spare = await startEmulator();
    const upstreams = [
      { name: "A", baseUrl: emulator.url },
      { name: "B", baseUrl: spare.url },
    ];
    const file = join(folder, "sluice.json");
    writeFileSync(file, JSON.stringify({ upstreams }));
    try {
      const from = await traced(setupWithLines(), { SLUICE_CONFIG: file, OPENAI_BASE_URL: "" });
      const once = { ...CONTEXT, "idempotency-key": "once" };
      // Played by whoever is asked: both fail, before any content.
      const failed = await ask(from.url, streamed({ fault: { kind: "reset_before_headers" } }), once);
      const tree = await treeOf(from, byId(failed));
      expect(tree.map(({ name, status }) => [name, status])).toEqual([
        ["queue", SpanStatusCode.UNSET],
        ["chat sluice-demo", SpanStatusCode.ERROR],
        ["chat sluice-demo", SpanStatusCode.ERROR],
        ["generate", SpanStatusCode.ERROR],
      ]);
      expect(tree.map(({ attributes }) => attributes["sluice.upstream"])).toEqual([undefined, "A", "B", "B"]);
      expect(tree.at(-1)?.attributes["error.type"]).toBe("upstream_disconnected");
      const seen = [emulator, spare].map((each) => each.requests()[0]?.headers["traceparent"]);
      expect(seen).toEqual([tree[1], tree[2]].map((span) => `00-${TRACE}-${span?.id}-01`));

      const first = await ask(from.url, streamed(USAGE), { ...once, "idempotency-key": "twice" });
      await ask(from.url, streamed(USAGE), { ...once, "idempotency-key": "twice" });
      const attached = await treeOf(from, ({ attributes }) => attributes["sluice.outcome"] === "attached");
      expect(attached).toHaveLength(1);
      expect(attached[0]?.attributes["sluice.generation.id"]).toBe(first.headers.get("x-generation-id"));
      await post(`${from.url}/v1/chat/completions`, "{", { ...bearer, ...CONTEXT });
      const invalid = await treeOf(from, ({ attributes }) => attributes["sluice.outcome"] === "invalid");
      expect(invalid).toMatchObject([
        { trace: TRACE, parent: PARENT, status: SpanStatusCode.UNSET, events: [] },
      ]);
      expect(invalid[0]?.attributes["error.type"]).toBe("invalid_json");
    } finally {
      await spare.close();
    }
  });

  test("word for word: the last spans leave before the process does", async () => {
    const from = await traced(documentedSetup(), { OTEL_BSP_SCHEDULE_DELAY: "60000" });
    const answer = await ask(from.url, chat(USAGE));
    expect(answer.status).toBe(200);
    expect(from.output()).not.toContain(TRACE);
    from.child.kill("SIGTERM");
    expect(await from.exited).toBe(0);
    await until("its last words are read", () => from.output().includes(`traceId: '${TRACE}'`));
    for (const name of ["generate", "queue", "chat sluice-demo"])
      expect(from.output()).toContain(`name: '${name}'`);
    expect(from.output()).not.toMatch(/PLANTED/);
  });
});

describe("without an SDK", () => {
  test("a valid traceparent goes on as it came, with its tracestate and without baggage; another does not", async () => {
    const from = await startProcess({ OPENAI_BASE_URL: emulator.url, SLUICE_API_KEYS: `alice:${KEY}` });
    gateway = from;
    await ask(from.url, streamed(USAGE));
    await ask(from.url, chat(USAGE), { traceparent: "made-up", tracestate: "vendor=value" });
    await ask(from.url, chat(USAGE), {});
    const client = await WsClient.open(from.wsUrl, { headers: { ...bearer, ...CONTEXT } });
    client.send({ type: "generate", id: "a", request: chat(USAGE) });
    await client.next(({ type }) => type === "end");
    client.terminate();
    const { traceparent, tracestate } = CONTEXT;
    const sent = emulator.requests().map(({ headers }) => {
      const names = ["traceparent", "tracestate", "baggage"].filter((name) => name in headers);
      return Object.fromEntries(names.map((name) => [name, headers[name]]));
    });
    expect(sent).toEqual([{ traceparent, tracestate }, {}, {}, { traceparent, tracestate }]);
  });
});
