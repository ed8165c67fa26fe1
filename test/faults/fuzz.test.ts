/**
 * Over a hundred thousand hostile inputs, seeded, at a gateway in a process of its own: it must not crash or hang, answer no
 * client with a 5xx, and never show one key what is another's. `SLUICE_FUZZ_SEED` repeats or changes the run.
 */
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import * as draw from "../support/fuzz-bytes.ts";
import { batches, count, inTime, printCounts, SEED, spread } from "../support/fuzz-run.ts";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";
import { eventOf, type PlainUpstream, startPlainUpstream, wholeAnswer } from "../support/plain-upstream.ts";
import { connect, requestText } from "../support/raw-socket.ts";
import { type GenerationObject, post } from "../support/requests.ts";

const SENT = { http: 60_000, broken: 4000, messages: 40_000, frames: 16_000 };
const KEY = "key-of-mallory-000";
const CANARY_KEY = "key-of-the-canary-111";
/** Stands in the canary's generations alone. */
const CANARY = "CANARYCONTENT";

let upstream: PlainUpstream;
let gateway: GatewayProcess;
let canaries: GenerationObject[];
let targets: draw.Targets;

beforeAll(async () => {
  upstream = await startPlainUpstream((response, body) => {
    const content = body.includes(CANARY) ? CANARY : "ok";
    const isStream = (JSON.parse(body) as { stream?: unknown }).stream === true;
    response.writeHead(200, { "content-type": isStream ? "text/event-stream" : "application/json" });
    if (!isStream) response.end(wholeAnswer(content));
    else if (body.includes("endless")) response.write(eventOf(content));
    else response.end(`${eventOf(content)}data: [DONE]\n\n`);
  });
  gateway = await startProcess({
    OPENAI_BASE_URL: upstream.url,
    SLUICE_API_KEYS: `mallory:${KEY},canary:${CANARY_KEY}`,
    SLUICE_METRICS_AUTH: "none",
    SLUICE_DISCONNECT_GRACE_MS: "1000",
  });
  canaries = await Promise.all(["endless", "short"].map((kind) => canary(kind)));
  targets = { host: new URL(gateway.url).host, key: KEY, foreign: canaries.map(({ id }) => id) };
});
afterAll(async () => {
  await gateway?.stop();
  await upstream?.close();
});

const own = { authorization: `Bearer ${CANARY_KEY}` };

async function canary(kind: string): Promise<GenerationObject> {
  const request = { model: "plain", messages: [{ role: "user", content: `${CANARY} ${kind}` }] };
  const headers = { ...own, "idempotency-key": "a" };
  const body = { request, on_disconnect: "continue" };
  const answer = await post(`${gateway.url}/v1/generations`, body, kind === "short" ? headers : own);
  return (await answer.json()) as GenerationObject;
}

function judge(kind: string, text: string, n: number): void {
  for (const [, status = ""] of text.matchAll(/HTTP\/1\.1 (\d{3}) /g)) count(kind, `${status[0]}xx`);
  const bad = /HTTP\/1\.1 5\d\d [\s\S]{0,600}/.exec(text)?.[0];
  if (bad !== undefined) throw new Error(`a 5xx in batch ${n} of ${kind}, seed ${SEED}: ${bad}`);
  if (text.includes(CANARY)) throw new Error(`a leak in batch ${n} of ${kind}, seed ${SEED}`);
}

/** Sends it all, and reads until `isDone` or the end. */
async function converse(bytes: Buffer, isDone: (text: string) => boolean, end = false): Promise<string> {
  const socket = connect(gateway.url);
  const parts: string[] = [];
  let tail = "";
  const closed = once(socket, "close");
  const done = new Promise<void>((resolve) => {
    socket.setEncoding("latin1").on("data", (part: string) => {
      parts.push(part);
      tail = (tail + part).slice(-4000);
      if (isDone(tail)) resolve();
    });
  });
  if (end) socket.end(bytes);
  else socket.write(bytes);
  await inTime(
    `after ${JSON.stringify(bytes.toString("latin1").slice(0, 300))}`,
    Promise.race([closed, done]),
  );
  socket.destroy();
  return parts.join("");
}

async function isWell(): Promise<void> {
  expect(gateway.child.exitCode, gateway.output()).toBeNull();
  expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
  expect(gateway.output()).not.toMatch(/internal error|unexpected fault|"level":[456]0/);
}

const SECONDS = 1000;

test("requests, pipelined on kept connections", { timeout: 120 * SECONDS }, async () => {
  await spread(batches(draw.request(targets), SENT.http, 50), 8, async (batch, n) => {
    const sentinel = `sentinel-${n}-`;
    const last = requestText(gateway.url, "GET /livez", { "x-request-id": sentinel });
    const text = await converse(Buffer.concat([...batch, Buffer.from(last)]), (tail) =>
      tail.includes(sentinel),
    );
    judge("http", text, n);
    if (!text.includes(sentinel))
      throw new Error(`batch ${n}, seed ${SEED}, was not answered to its end: ${text.slice(-400)}`);
    count("http", "sent", batch.length);
  });
  await isWell();
});

test("bytes that are no request, or no longer one", { timeout: 120 * SECONDS }, async () => {
  await spread(batches(draw.broken(targets), SENT.broken, 10), 8, async (batch, n) => {
    for (const bytes of batch) judge("broken", await converse(bytes, () => false, true), n);
    count("broken", "sent", batch.length);
  });
  await isWell();
});

test("WebSocket messages", { timeout: 120 * SECONDS }, async () => {
  await spread(batches(draw.message(targets), SENT.messages, 100), 4, async (batch, n) => {
    const headers = { authorization: `Bearer ${KEY}` };
    const ws = new WebSocket(`${gateway.wsUrl}/v1/ws`, ["sluice.v1"], { headers });
    await once(ws, "open");
    const answered = new Promise<void>((resolve, reject) => {
      ws.on("close", (code) => reject(new Error(`closed with ${code} in batch ${n}, seed ${SEED}`)));
      ws.on("message", (data) => {
        const text = data.toString();
        if (text.includes(CANARY)) reject(new Error(`a leak in batch ${n}, seed ${SEED}`));
        const { type, id, error } = JSON.parse(text) as {
          type: string;
          id?: string;
          error?: { code: string };
        };
        count("messages", type);
        if (type === "error" && error?.code === "internal_error")
          reject(new Error(`batch ${n}, seed ${SEED}: ${text}`));
        if (id === "sentinel") resolve();
      });
    });
    // A text frame must be UTF-8, or the connection is over: what is not is tried among the frames.
    for (const bytes of batch) ws.send(bytes.toString("utf8"));
    ws.send('{"type":"unsubscribe","id":"sentinel"}');
    await inTime(`batch ${n} of messages`, answered);
    ws.removeAllListeners("close").terminate();
    count("messages", "sent", batch.length);
  });
  await isWell();
});

test("WebSocket frames", { timeout: 120 * SECONDS }, async () => {
  const upgrade = requestText(gateway.url, "GET /v1/ws", {
    authorization: `Bearer ${KEY}`,
    connection: "upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  });
  await spread(batches(draw.frame(targets), SENT.frames, 12), 8, async (batch, n) => {
    const text = await converse(Buffer.concat([Buffer.from(upgrade), ...batch]), () => false, true);
    judge("frames", text, n);
    count("frames", "sent", batch.length);
  });
  await isWell();
});

test("after all that: the canaries are unharmed, and over 100,000 inputs were sent", async () => {
  const states = await Promise.all(
    canaries.map(async ({ id }) => {
      const answer = await fetch(`${gateway.url}/v1/generations/${id}`, { headers: own });
      return ((await answer.json()) as GenerationObject).status;
    }),
  );
  expect(states).toEqual(["running", "completed"]);
  await isWell();
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  const resident = Number(/^process_resident_memory_bytes (\S+)/m.exec(metrics)?.[1]);
  const sent = printCounts();
  console.log(`${sent} inputs, seed ${SEED}; the gateway holds ${Math.round(resident / 1e6)} MB`);
  expect(sent).toBeGreaterThanOrEqual(100_000);
});
