/**
 * Who may what: each kind of credential against each route and each WebSocket message. The tables below are what is promised;
 * the tests ask, print what came, and compare.
 */
import type { IncomingMessage } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { codeOf } from "../support/raw-socket.ts";
import { chat, type GenerationObject, post } from "../support/requests.ts";
import { API_KEYS, bearer, forged, type Tenant, ticketOf } from "../support/tenants.ts";
import { WsClient } from "../support/ws-client.ts";

/** Whose generation is asked for: everything below is asked of Alice's. */
const WHO = ["alice", "bob", "its ticket", "ws ticket", "expired", "forged", "none"] as const;
type Who = (typeof WHO)[number];

type Row = readonly [route: string, ...outcomes: readonly string[]];

const NO_KEY = "invalid_api_key";
const BAD = "invalid_ticket";
const NOT = "not_allowed";
const GONE = "generation_not_found";

/** Columns as in WHO; `ok` is an answer of 2xx. */
const HTTP: readonly Row[] = [
  ["GET /livez", "ok", "ok", "ok", "ok", "ok", "ok", "ok"],
  ["GET /readyz", "ok", "ok", "ok", "ok", "ok", "ok", "ok"],
  ["GET /healthz", "ok", "ok", "ok", "ok", "ok", "ok", "ok"],
  ["GET /", "ok", "ok", "ok", "ok", "ok", "ok", "ok"],
  ["GET /openapi.json", "ok", "ok", "ok", "ok", "ok", "ok", "ok"],
  ["GET /metrics", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /v1/models", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /v1/models/sluice-demo", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/chat/completions", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/completions", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/embeddings", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/generations", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /chat", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /chat?prompt=x", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /chat, resuming", "ok", GONE, NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/tickets", "ok", "ok", NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/tickets, for it", "ok", GONE, NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /v1/generations/ID", "ok", GONE, "ok", NOT, BAD, BAD, NO_KEY],
  ["GET /v1/generations/ID/events", "ok", GONE, "ok", NOT, BAD, BAD, NO_KEY],
  ["GET /v1/generations/OTHER", "ok", GONE, NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /v1/generations/OTHER/events", "ok", GONE, NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/generations/OTHER/cancel", "ok", GONE, NOT, NOT, BAD, BAD, NO_KEY],
  ["POST /v1/generations/ID/cancel", "ok", GONE, "ok", NOT, BAD, BAD, NO_KEY],
  [
    "GET /v1/ws",
    "upgrade_required",
    "upgrade_required",
    "upgrade_required",
    "upgrade_required",
    BAD,
    BAD,
    NO_KEY,
  ],
  ["GET /v1/nothing", "not_found", "not_found", NOT, NOT, BAD, BAD, NO_KEY],
  ["GET /nothing", "not_found", "not_found", NOT, NOT, BAD, BAD, NO_KEY],
];

/** Of those who are let in: what the first answer to a message is. OTHER is Alice's too, BOBS is Bob's. */
const SOCKET_WHO = ["alice", "bob", "its ticket", "ws ticket"] as const;
const SOCKET: readonly Row[] = [
  ["ping", "pong", "pong", "pong", "pong"],
  ["generate", "accepted", "accepted", NOT, "accepted"],
  ["generate with Alice's idempotency key", "accepted: hers", "accepted: new", NOT, "accepted: hers"],
  ["subscribe ID", "accepted", GONE, "accepted", "accepted"],
  ["subscribe OTHER", "accepted", GONE, NOT, "accepted"],
  ["subscribe BOBS", GONE, "accepted", NOT, GONE],
  [
    "unsubscribe what is not there",
    "invalid_request",
    "invalid_request",
    "invalid_request",
    "invalid_request",
  ],
  ["cancel what is not there", "invalid_request", "invalid_request", "invalid_request", "invalid_request"],
  ["cancel BOBS", GONE, "cancelled", NOT, GONE],
  ["cancel OTHER", "cancelled", GONE, NOT, "cancelled"],
  ["cancel ID", "cancelled", GONE, "cancelled", "cancelled"],
];

let emulator: Emulator;
let gateway: GatewayProcess;
let url: string;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startProcess({
    OPENAI_BASE_URL: emulator.url,
    SLUICE_API_KEYS: API_KEYS,
    SLUICE_TICKET_SECRET: "a secret of the tests",
  });
  url = gateway.url;
});
afterAll(async () => {
  await gateway?.stop();
  await emulator?.close();
});

const SLOW = { tokens: 100_000, pace_ms: 50 } as const;

async function generationOf(tenant: Tenant): Promise<string> {
  const answer = await post(`${url}/v1/generations`, { request: chat(SLOW) }, bearer(tenant));
  return ((await answer.json()) as GenerationObject).id;
}

interface Shown {
  readonly headers: Record<string, string>;
  readonly ticket?: string;
}

/** The expired ticket, made once: the shortest life is a second. */
let expired: Promise<string> | undefined;
async function makeExpired(): Promise<string> {
  const ticket = await ticketOf(url, "alice", { generation: await generationOf("alice"), ttl_s: 1 });
  await until(
    "it has expired",
    async () => (await fetch(`${url}/v1/models?ticket=${ticket}`)).status === 401,
  );
  return ticket;
}

async function shownBy(who: Who, id: string): Promise<Shown> {
  if (who === "alice" || who === "bob") return { headers: bearer(who) };
  if (who === "none") return { headers: {} };
  if (who === "expired") return { headers: {}, ticket: await (expired ??= makeExpired()) };
  const ticket = await ticketOf(url, "alice", who === "ws ticket" ? {} : { generation: id });
  return { headers: {}, ticket: who === "forged" ? await forged(ticket) : ticket };
}

const BODIES: Readonly<Record<string, object>> = {
  "/v1/chat/completions": chat({ text: "x" }),
  "/v1/completions": { model: "sluice-demo", prompt: "x" },
  "/v1/embeddings": { model: "sluice-demo", input: "x" },
  "/v1/generations": { request: chat({ text: "x" }) },
  "/chat": { prompt: "x" },
};

async function askHttp(route: string, who: Who): Promise<string> {
  const [id, other] = [await generationOf("alice"), await generationOf("alice")];
  const { headers, ticket } = await shownBy(who, id);
  const [method = "", address = "", what] = route.split(/, | /, 3);
  const path = address.replace("ID", id).replace("OTHER", other);
  const at = new URL(path, url);
  if (ticket !== undefined) at.searchParams.set("ticket", ticket);
  const gone = new AbortController();
  const body = what === "for" ? { generation: id } : (BODIES[path] ?? {});
  const answer = await fetch(at, {
    method,
    signal: gone.signal,
    headers: {
      ...headers,
      ...(what === "resuming" ? { "last-event-id": `${id}:0` } : {}),
      ...(method === "POST" ? { "content-type": "application/json" } : {}),
    },
    ...(method === "POST" ? { body: JSON.stringify(body) } : {}),
  });
  const outcome = answer.ok ? "ok" : codeOf(await answer.text());
  gone.abort();
  for (const each of [id, other]) await post(`${url}/v1/generations/${each}/cancel`, {}, bearer("alice"));
  return outcome;
}

function print(title: string, who: readonly string[], rows: readonly Row[]): void {
  const lines = [[title, ...who], ...rows].map(([first = "", ...rest]) =>
    [first.padEnd(40), ...rest.map((cell) => cell.padEnd(21))].join(""),
  );
  console.log(`\n${lines.join("\n")}\n`);
}

describe("the matrix", () => {
  test("of routes", { timeout: 180_000 }, async () => {
    const seen: Row[] = [];
    for (const [route] of HTTP)
      seen.push([route, ...(await Promise.all(WHO.map((who) => askHttp(route, who))))]);
    print("route", WHO, seen);
    expect(seen).toEqual(HTTP);
  });

  test("of WebSocket messages", { timeout: 180_000 }, async () => {
    const seen: Row[] = [];
    for (const [message] of SOCKET) {
      const outcomes: string[] = [];
      for (const who of SOCKET_WHO) outcomes.push(await askSocket(message, who));
      seen.push([message, ...outcomes]);
    }
    print("message", SOCKET_WHO, seen);
    expect(seen).toEqual(SOCKET);
  });

  test("at the door of the WebSocket, without an Origin and with one", async () => {
    for (const [who, code] of [
      ["expired", BAD],
      ["forged", BAD],
      ["none", NO_KEY],
    ] as const) {
      const { ticket } = await shownBy(who, await generationOf("alice"));
      const offers = ticket === undefined ? [[]] : [[], ["sluice.v1", `sluice.ticket.${ticket}`]];
      for (const protocols of offers) {
        const asked = protocols.length === 0 && ticket !== undefined ? `?ticket=${ticket}` : "";
        const plain = new WebSocket(`${gateway.wsUrl}/v1/ws${asked}`, protocols);
        const [, response] = await new Promise<[unknown, IncomingMessage]>((resolve) =>
          plain.on("unexpected-response", (request, answer) => resolve([request, answer])),
        );
        expect(response.statusCode).toBe(401);
        const page = new WsClient(
          new WebSocket(`${gateway.wsUrl}/v1/ws${asked}`, protocols, { origin: gateway.url }),
        );
        expect((await page.closed).code).toBe(4401);
        expect(page.messages).toMatchObject([{ type: "error", error: { code } }]);
      }
    }
  });
});

async function askSocket(message: string, who: (typeof SOCKET_WHO)[number]): Promise<string> {
  const [id, other, bobs] = [
    await generationOf("alice"),
    await generationOf("alice"),
    await generationOf("bob"),
  ];
  const { headers, ticket } = await shownBy(who, id);
  const client = await WsClient.open(gateway.wsUrl, {
    headers,
    protocols: ["sluice.v1", ...(ticket === undefined ? [] : [`sluice.ticket.${ticket}`])],
  });
  expect(client.ws.protocol).toBe("sluice.v1");
  const named: Readonly<Record<string, string>> = { ID: id, OTHER: other, BOBS: bobs };
  const generation = named[message.split(" ")[1] ?? ""];
  try {
    if (message.startsWith("generate with")) return await askWithKey(client);
    if (message.startsWith("cancel ") && generation !== undefined) {
      client.send({ type: "cancel", generation });
      // A cancel has no answer of its own; the pong after it says that it was taken.
      await client.ask({ type: "ping" }, "pong");
      return await cancelOutcome(client, generation, message === "cancel BOBS" ? "bob" : "alice");
    }
    client.send(messageOf(message, generation));
    const answer = await client.next(({ type }) => ["pong", "accepted", "error"].includes(type));
    return answer.error?.code ?? answer.type;
  } finally {
    client.terminate();
    for (const each of [id, other]) await post(`${url}/v1/generations/${each}/cancel`, {}, bearer("alice"));
    await post(`${url}/v1/generations/${bobs}/cancel`, {}, bearer("bob"));
  }
}

function messageOf(message: string, generation: string | undefined): object {
  if (message === "ping") return { type: "ping" };
  if (message === "generate") return { type: "generate", id: "a", request: chat({ text: "x" }) };
  if (message.startsWith("subscribe")) return { type: "subscribe", id: "a", generation };
  return { type: message.split(" ")[0], id: "nothing" };
}

async function cancelOutcome(client: WsClient, generation: string, owner: Tenant): Promise<string> {
  const error = client.messages.find(({ type }) => type === "error");
  const at = `${url}/v1/generations/${generation}`;
  const { status } = (await (await fetch(at, { headers: bearer(owner) })).json()) as GenerationObject;
  if (error !== undefined) expect(status).not.toBe("cancelled");
  return error?.error?.code ?? status;
}

async function askWithKey(client: WsClient): Promise<string> {
  const request = chat({ text: "only Alice's" });
  const key = "a key that anybody may guess";
  const headers = { ...bearer("alice"), "idempotency-key": key };
  const first = await post(`${url}/v1/generations`, { request }, headers);
  const { id } = (await first.json()) as GenerationObject;
  client.send({ type: "generate", id: "a", request, idempotency_key: key });
  const answer = await client.next(({ type }) => ["accepted", "error"].includes(type));
  if (answer.type === "error") return answer.error?.code ?? "";
  return `accepted: ${answer.generation === id ? "hers" : "new"}`;
}
