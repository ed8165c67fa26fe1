/** The four ways in which a client can ask for a chat completion, each read to its end. */
import { post } from "./requests.ts";
import { readSse } from "./sse-client.ts";
import { WsClient } from "./ws-client.ts";

export const WAYS = ["stock SSE", "/events", "WebSocket", "not streamed"] as const;
export type Way = (typeof WAYS)[number];

/** What a client of any kind was told. */
export interface Told {
  /** The upstream's payloads. */
  readonly payloads: readonly string[];
  /** `completed`, `incomplete`, `failed` or `cancelled`, as far as the way tells. */
  readonly status: string;
  /** Of the HTTP answer; a WebSocket has none. */
  readonly httpStatus: number | undefined;
  readonly code: string | undefined;
  /** Headers that name who answered; where they leave before that is known, there are none. */
  readonly upstream: string | undefined;
  readonly attempts: string | undefined;
  /** Times that an ending was told: `[DONE]`, an error, an `end`. */
  readonly endings: number;
}

interface Failing {
  readonly error?: { readonly code: string };
}

const codeIn = (text: string): string | undefined => (JSON.parse(text) as Failing).error?.code;

export function askBy(
  way: Way,
  { url, wsUrl }: { readonly url: string; readonly wsUrl: string },
  request: object,
): Promise<Told> {
  switch (way) {
    case "stock SSE":
      return stock(url, request);
    case "/events":
      return events(url, request);
    case "WebSocket":
      return webSocket(wsUrl, request);
    case "not streamed":
      return whole(url, request);
  }
}

async function stock(url: string, request: object): Promise<Told> {
  const client = await readSse(`${url}/v1/chat/completions`, {
    method: "POST",
    body: { ...request, stream: true },
  });
  const { status, headers } = await client.head;
  const named = {
    httpStatus: status,
    upstream: headers["x-sluice-upstream"]?.toString(),
    attempts: headers["x-sluice-attempts"]?.toString(),
  };
  if (status !== 200)
    return { ...named, payloads: [], status: "failed", code: codeIn(client.text), endings: 1 };
  const errors = client.payloads.filter((payload) => codeIn(payload) !== undefined);
  const dones = client.events.filter(({ data }) => data === "[DONE]").length;
  return {
    ...named,
    payloads: client.payloads.filter((payload) => !errors.includes(payload)),
    status: dones > 0 ? "completed" : "failed",
    code: errors.map(codeIn)[0],
    endings: dones + errors.length,
  };
}

async function events(url: string, request: object): Promise<Told> {
  const created = await post(`${url}/v1/generations`, { request });
  if (created.status !== 201) return refused(created);
  const { id } = (await created.json()) as { id: string };
  const client = await readSse(`${url}/v1/generations/${id}/events`);
  const ends = client.events.filter(({ event }) => event === "end");
  const end = JSON.parse(ends[0]?.data ?? "{}") as Failing & { status?: string };
  return {
    payloads: client.payloads,
    status: end.status ?? "none",
    httpStatus: (await client.head).status,
    code: end.error?.code,
    upstream: undefined,
    attempts: undefined,
    endings: ends.length,
  };
}

async function webSocket(wsUrl: string, request: object): Promise<Told> {
  const client = await WsClient.open(wsUrl);
  client.send({ type: "generate", id: "a", request });
  const last = await client.next(({ type }) => type === "end" || type === "error");
  // An ending that were told twice would come before the answer to this.
  await client.ask({ type: "ping" }, "pong");
  const told = {
    payloads: client.payloads(last.generation),
    status: last.status ?? "failed",
    httpStatus: undefined,
    code: last.error?.code,
    upstream: undefined,
    attempts: undefined,
    endings: client.messages.filter(({ type }) => type === "end" || type === "error").length,
  };
  await client.close();
  return told;
}

async function whole(url: string, request: object): Promise<Told> {
  const answer = await post(`${url}/v1/chat/completions`, request);
  if (answer.status !== 200) return refused(answer);
  return {
    ...named(answer),
    payloads: [await answer.text()],
    status: "completed",
    code: undefined,
    endings: 1,
  };
}

async function refused(answer: Response): Promise<Told> {
  return { ...named(answer), payloads: [], status: "failed", code: codeIn(await answer.text()), endings: 1 };
}

const named = ({ status, headers }: Response) => ({
  httpStatus: status,
  upstream: headers.get("x-sluice-upstream") ?? undefined,
  attempts: headers.get("x-sluice-attempts") ?? undefined,
});

interface Chunk {
  readonly choices: readonly {
    readonly delta?: { readonly content?: string };
    readonly message?: { readonly content: string };
  }[];
}

/** The text of all payloads together. */
export const textOf = (payloads: readonly string[]): string =>
  payloads
    .flatMap((payload) => (JSON.parse(payload) as Chunk).choices)
    .map(({ delta, message }) => delta?.content ?? message?.content ?? "")
    .join("");
