/**
 * What must not leave: keys of clients and of the operator, prompts, completions and tickets are planted in every way in, and
 * searched for in the logs at every level, in answers and headers that are not theirs, and in the metrics.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { eventOf } from "../support/plain-upstream.ts";
import { exchange, requestText } from "../support/raw-socket.ts";
import { chat, type GenerationObject, post, verbatim } from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

const KEY = "sk-client-PLANTEDKEY-7f3a";
const WRONG = "sk-client-WRONGKEY-55aa";
const UPSTREAM_KEY = "sk-upstream-PLANTEDKEY-9c1d";
const SECRET = "PLANTEDTICKETSECRET-1234";
const PROMPT = "PLANTEDPROMPT";
const COMPLETION = "PLANTEDCOMPLETION";
const TICKETS: string[] = [];

const bearer = { authorization: `Bearer ${KEY}` };

/** What may stand nowhere but in the answer that it was asked in; keys and secrets, not even there. */
const NEVER = [KEY, WRONG, UPSTREAM_KEY, SECRET, "PLANTEDKEY", "WRONGKEY"];
const found = (text: string, words: readonly string[]): string[] => {
  // Buffers are logged as numbers, and credentials are often sent in base64.
  const packets = [...text.matchAll(/"data":\[([\d,]+)\]/g)].map(([, numbers = ""]) =>
    Buffer.from(numbers.split(",").map(Number)).toString("latin1"),
  );
  const all = [text, ...packets].join("\n");
  return words.filter((word) => all.includes(word) || all.includes(Buffer.from(word).toString("base64")));
};

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator({ apiKey: UPSTREAM_KEY });
});
afterAll(() => emulator.close());

const messages = [{ role: "user", content: PROMPT }];
const asked = (script: object, more: object = {}): object => chat(script, { messages, ...more });

/** All that came over HTTP: heads, and bodies of refusals. */
class Answers {
  readonly heads: string[] = [];
  readonly refusals: string[] = [];
  readonly statuses = new Map<number, number>();

  async take(answer: Response | Promise<Response>): Promise<string> {
    const response = await answer;
    const body = await response.text().catch((thrown: unknown) => String(thrown));
    this.#note(response.status, JSON.stringify([...response.headers]), body);
    return body;
  }

  note({ status, head, body }: { status: number; head: string; body: string }): void {
    this.#note(status, head, body);
  }

  #note(status: number, head: string, body: string): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    this.heads.push(head);
    if (status >= 400 || status === 0) this.refusals.push(body);
  }
}

const FAULTS = [
  ...["status", "plain_error", "malformed_error", "redirect", "no_answer", "reset_before_headers"],
  ...["headers_then_reset", "compressed", "reset", "eof", "half_event", "half_utf8", "error_event"],
  ...["error_string", "error_object_no_message", "garbage", "not_utf8"],
] as const;

async function successes(url: string, answers: Answers): Promise<void> {
  const text = { text: COMPLETION, usage: true };
  for (const stream of [false, true]) {
    await answers.take(post(`${url}/v1/chat/completions`, asked(text, { stream }), bearer));
  }
  const legacy = { model: "sluice-demo", prompt: PROMPT, emulator: text };
  await answers.take(post(`${url}/v1/completions`, legacy, bearer));
  await answers.take(post(`${url}/v1/embeddings`, { model: "sluice-demo", input: PROMPT }, bearer));
  await answers.take(fetch(`${url}/chat?prompt=${PROMPT}`, { headers: bearer }));
  await answers.take(post(`${url}/chat`, { prompt: PROMPT }, { ...bearer, accept: "text/plain" }));
  await answers.take(fetch(`${url}/v1/models`, { headers: bearer }));
}

async function byTicket(url: string, answers: Answers): Promise<void> {
  const created = await answers.take(
    post(`${url}/v1/generations`, { request: asked({ text: COMPLETION }) }, bearer),
  );
  const { id } = JSON.parse(created) as GenerationObject;
  const one = await answers.take(post(`${url}/v1/tickets`, { generation: id }, bearer));
  const socket = await answers.take(post(`${url}/v1/tickets`, {}, bearer));
  const [ticket, entry] = [one, socket].map((text) => (JSON.parse(text) as { ticket: string }).ticket);
  TICKETS.push(ticket ?? "", entry ?? "");
  for (const path of [
    `/v1/generations/${id}`,
    `/v1/generations/${id}/events`,
    `/v1/generations/${id}%zz/events`,
    "/v1/generations/gen_unknown/events",
    "/v1/models",
    "/v1/nothing",
    "/v1/ws",
    "/nothing",
  ]) {
    await answers.take(fetch(`${url}${path}?ticket=${ticket}`));
    await answers.take(fetch(`${url}${path}?ticket=${ticket}x`));
  }
  const ws = `${url.replace("http", "ws")}/v1/ws`;
  const client = await WsClient.open(url.replace("http", "ws"), {
    protocols: ["sluice.v1", `sluice.ticket.${entry}`],
  });
  client.send({ type: "generate", id: "a", request: asked({ text: COMPLETION }) });
  await client.next(({ type }) => type === "end");
  client.ws.send(`{"${PROMPT}`);
  client.ws.send(Buffer.from(PROMPT));
  await client.ask({ type: "subscribe", id: "x", generation: "gen_unknown" }, "error");
  await client.ask({ type: "generate", id: "y", request: { messages: PROMPT } }, "error");
  client.terminate();
  const again = new WsClient(new WebSocket(`${ws}?ticket=${entry}`, { origin: url }));
  await again.closed;
  answers.refusals.push(
    JSON.stringify([...again.messages, ...client.messages.filter((m) => m.type === "error")]),
  );
}

async function failures(url: string, answers: Answers): Promise<void> {
  const target = `${url}/v1/chat/completions`;
  for (const kind of FAULTS) {
    for (const stream of [false, true]) {
      const script = { text: `${COMPLETION} and more`, fault: { kind, after_tokens: 1 } };
      const body = await answers.take(post(target, asked(script, { stream }), bearer));
      // What failed in the middle was an answer up to there.
      if (body.includes('"error"')) answers.refusals.push(body.slice(body.lastIndexOf('{"error"')));
    }
  }
  const more = { emulator: { fault: { kind: "status", status: 401 } } };
  await answers.take(post(target, { ...asked({}), ...more }, bearer));
  await answers.take(
    post(
      target,
      asked(verbatim(`${eventOf(COMPLETION)}data: {"broken": ${COMPLETION}\n\n`), { stream: true }),
      bearer,
    ),
  );
  await answers.take(post(target, asked({}), { authorization: `Bearer ${WRONG}` }));
  await answers.take(
    post(target, asked({}), { authorization: `Basic ${Buffer.from(KEY).toString("base64")}` }),
  );
  await answers.take(post(target, `{"messages":"${PROMPT}`, bearer));
  await answers.take(post(target, { model: 7, messages }, bearer));
  await answers.take(post(target, { model: "m", messages: PROMPT }, bearer));
  await answers.take(post(target, asked({}, { user: "u".repeat(60_000) }), bearer));
  await answers.take(post(`${url}/v1/generations`, { request: PROMPT, endpoint: PROMPT }, bearer));
  await answers.take(post(`${url}/v1/tickets`, { generation: PROMPT }, bearer));
  await answers.take(fetch(`${url}/v1/models/${PROMPT}%zz`, { headers: bearer }));
  for (const body of [asked({ text: COMPLETION }), { ...asked({}), messages: [PROMPT] }]) {
    await answers.take(post(target, body, { ...bearer, "idempotency-key": "the same" }));
  }
}

/** What only a socket can send: the parser's own refusals carry the packet with them. */
async function broken(url: string, answers: Answers): Promise<void> {
  const head = { authorization: `Bearer ${KEY}`, "x-request-id": "mine" };
  for (const bytes of [
    `${requestText(url, "GET /v1/models", head).slice(0, -2)}bad header\x01\r\n\r\n`,
    requestText(url, "GET /v1/models", { ...head, x: "y".repeat(20_000) }),
    requestText(url, "BAD\x01 /v1/models", head),
    `${requestText(url, "POST /chat", { ...head, "content-type": "application/json", "transfer-encoding": "chunked" })}zz\r\n${PROMPT}`,
    requestText(url, "CONNECT x:1", head),
    requestText(url, "TRACE /", head),
    requestText(url, "POST /chat", { ...head, expect: PROMPT }, "{}"),
    requestText(url, `GET /v1/ws?ticket=${TICKETS[0]}`, { upgrade: "websocket", connection: "upgrade" }),
  ]) {
    answers.note(await exchange(url, bytes));
  }
}

/** A fault of the gateway's own making, as its log shows it. */
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;

describe("planted secrets", () => {
  test.each(LEVELS)(
    "are not found after all that can go well or wrong, logging at %s",
    { timeout: 120_000 },
    async (level) => {
      const gateway: GatewayProcess = await startProcess({
        OPENAI_BASE_URL: emulator.url,
        OPENAI_API_KEY: UPSTREAM_KEY,
        SLUICE_API_KEYS: `alice:${KEY}`,
        SLUICE_TICKET_SECRET: SECRET,
        SLUICE_MAX_BODY_BYTES: "50000",
        SLUICE_FIRST_TOKEN_TIMEOUT_MS: "500",
        SLUICE_TOTAL_TIMEOUT_MS: "500",
        SLUICE_STALL_TIMEOUT_MS: "500",
        LOG_LEVEL: level,
      });
      const answers = new Answers();
      try {
        await successes(gateway.url, answers);
        await byTicket(gateway.url, answers);
        await failures(gateway.url, answers);
        await broken(gateway.url, answers);
        const metrics = await (await fetch(`${gateway.url}/metrics`, { headers: bearer })).text();
        gateway.child.kill("SIGTERM");
        expect(await gateway.exited).toBe(0);
        await until("its last words are read", () => gateway.output().includes("Try:"));
        const all = [...NEVER, ...TICKETS, PROMPT, COMPLETION];
        // The lines that are searched are there: one for each request, of which the worst are warnings.
        const isQuiet = level === "error" || level === "fatal";
        expect(gateway.output().includes('"msg":"request"')).toBe(!isQuiet);
        expect(found(gateway.output(), all)).toEqual([]);
        expect(found(metrics, all)).toEqual([]);
        expect(found(answers.heads.join("\n"), all)).toEqual([]);
        // What an upstream says of a request goes to the client who sent it; prompts and completions of ours to say are none.
        expect(found(answers.refusals.join("\n"), [...NEVER, ...TICKETS, PROMPT])).toEqual([]);
        const statuses = [...answers.statuses]
          .sort(([a], [b]) => a - b)
          .map(([status, count]) => `${status}: ${count}`);
        console.log(
          `${level}: ${answers.heads.length} answers (${statuses.join(", ")}), ${gateway.output().length} characters of output`,
        );
        expect(answers.heads.length).toBeGreaterThan(60);
      } finally {
        await gateway.stop();
      }
    },
  );

  test("would be found: the search sees packets and base64 too", () => {
    const packet = JSON.stringify({ err: { rawPacket: Buffer.from(`authorization: Bearer ${KEY}`) } });
    expect(found(packet, [KEY])).toEqual([KEY]);
    expect(found(Buffer.from(KEY).toString("base64"), [KEY])).toEqual([KEY]);
  });
});
