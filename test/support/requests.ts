/** What the tests send: small chat requests that carry their emulator's script, and looks at what became of them. */
import type { Emulator, Script } from "../../src/emulator/index.ts";
import { SseClient } from "./sse-client.ts";

export const MESSAGES = [{ role: "user", content: "hello" }];

/** A chat completions body whose upstream plays `script`. */
export const chat = (script: Script, more: object = {}): Record<string, unknown> => ({
  model: "sluice-demo",
  messages: MESSAGES,
  emulator: script,
  ...more,
});

export const streamed = (script: Script, more: object = {}): Record<string, unknown> =>
  chat(script, { stream: true, ...more });

/** An upstream answer of exactly these bytes. */
export const verbatim = (body: string, contentType = "text/event-stream", status = 200): Script => ({
  fault: { kind: "status", status, headers: { "content-type": contentType }, body },
});

export function post(
  url: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

export interface ErrorAnswer {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

/** A refusal in short: status, code and the headers that tell a client whether to come back. */
export async function refusal(answer: Response | Promise<Response>): Promise<{
  status: number;
  code: string;
  type: string;
  retryAfter: string | null;
  shouldRetry: string | null;
}> {
  const response = await answer;
  const { error } = (await response.json()) as ErrorAnswer;
  return {
    status: response.status,
    code: error.code,
    type: error.type,
    retryAfter: response.headers.get("retry-after"),
    shouldRetry: response.headers.get("x-should-retry"),
  };
}

export interface GenerationObject {
  readonly id: string;
  readonly object: string;
  readonly status: string;
  readonly model: string | null;
  readonly created: number;
  readonly position?: number;
  readonly last_seq: number;
  readonly readers: number;
  readonly usage?: Readonly<Record<string, unknown>>;
  readonly error?: ErrorAnswer["error"];
  readonly timing: Readonly<Record<string, number>>;
  readonly events_url: string;
}

/** Starts a generation without reading it. */
export async function startGeneration(
  url: string,
  script: Script,
  more: { readonly on_disconnect?: string; readonly request?: object } = {},
): Promise<GenerationObject> {
  const { request, ...rest } = more;
  const answer = await post(`${url}/v1/generations`, { request: chat(script, request), ...rest });
  if (answer.status !== 201) throw new Error(`status ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as GenerationObject;
}

export async function look(url: string, id: string): Promise<GenerationObject> {
  return (await (await fetch(`${url}/v1/generations/${id}`)).json()) as GenerationObject;
}

export const eventsOf = (url: string, id: string, after?: number): SseClient =>
  new SseClient(`${url}/v1/generations/${id}/events`, {
    headers: after === undefined ? {} : { "last-event-id": String(after) },
  });

/** Reads a generation to its end, from the start and in one piece. */
export async function uncut(url: string, id: string): Promise<SseClient> {
  const client = eventsOf(url, id);
  await client.ended;
  return client;
}

/** Tokens that the emulator has sent so far for the request whose `user` this is. */
export const tokensSent = (emulator: Emulator, user: string): number =>
  emulator.requests().find((record) => record.user === user)?.tokens_sent ?? 0;

export const word = (payload: string): string =>
  (JSON.parse(payload) as { choices: { delta?: { content?: string } }[] }).choices[0]?.delta?.content ?? "";
