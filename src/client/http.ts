/** The client's requests, and reading over Server-Sent Events (PROTOCOL.md, section 2). */
import { type ErrorObject, Loss, SluiceError } from "./errors.ts";
import { EventStream } from "./event-stream.ts";
import { Watch } from "./pause.ts";
import type { Run, Start, ToldEnding } from "./run.ts";
import type { Chunk } from "./types.ts";

export interface HttpTerms {
  /** Without a slash at its end. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly ticket: ((generation?: string) => Promise<string>) | undefined;
  readonly fetch: typeof globalThis.fetch;
  /** After so much silence a connection is dead. Milliseconds. */
  readonly silenceMs: number;
}

interface Ask {
  readonly method?: "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
  readonly signal?: AbortSignal;
}

/** What an answer's body is read to, while somebody watches that it comes. */
type Reader<Value> = (answer: Response, watch: Watch) => Promise<Value>;

export class Http {
  readonly #terms: HttpTerms;

  constructor(terms: HttpTerms) {
    this.#terms = terms;
  }

  /** Reads a run over SSE, which is started where it was not yet. */
  async read(run: Run, signal: AbortSignal): Promise<void> {
    const { start } = run;
    if (run.generation === undefined) run.accept(await this.#create(run, start as Start, signal));
    const id = run.generation as string;
    const path = `/v1/generations/${encodeURIComponent(id)}`;
    const ticket = await this.#ticketFor(id);
    if (run.isStopping) await this.#ask(`${path}/cancel${ticket}`, { method: "POST", signal }, readJson);
    const headers = { accept: "text/event-stream", "last-event-id": String(run.position) };
    const isOver = await this.#ask(`${path}/events${ticket}`, { headers, signal }, (answer, watch) =>
      follow(run, answer, watch),
    );
    // It had seen the ending itself: what that said is asked for.
    if (!isOver) run.end((await this.#ask(path + ticket, { signal }, readJson)) as unknown as ToldEnding);
  }

  /** A ticket for one WebSocket; undefined where none is needed. */
  async socketTicket(): Promise<string | undefined> {
    const { apiKey, ticket } = this.#terms;
    if (ticket !== undefined) return ticket();
    if (apiKey === undefined) return undefined;
    const told = await this.#ask("/v1/tickets", { method: "POST", body: {} }, readJson);
    return told["ticket"] as string;
  }

  async #create(run: Run, { request, key, onDisconnect }: Start, signal: AbortSignal): Promise<string> {
    const body = { request, on_disconnect: onDisconnect };
    const headers = { "idempotency-key": key };
    run.mayBeStarted = true;
    const told = await this.#ask("/v1/generations", { method: "POST", headers, body, signal }, readJson);
    if (typeof told["id"] !== "string") throw new Loss("the answer names no generation");
    return told["id"];
  }

  async #ticketFor(generation: string): Promise<string> {
    const { apiKey, ticket } = this.#terms;
    if (apiKey !== undefined || ticket === undefined) return "";
    return `?ticket=${encodeURIComponent(await ticket(generation))}`;
  }

  /** @throws SluiceError what the gateway refused; Loss, or what fetch throws, where it could not be asked */
  async #ask<Value>(path: string, ask: Ask, read: Reader<Value>): Promise<Value> {
    const { url, apiKey, fetch, silenceMs } = this.#terms;
    const { method = "GET", headers, body, signal } = ask;
    const line = new AbortController();
    const drop = (): void => line.abort();
    const watch = new Watch(silenceMs, drop);
    signal?.addEventListener("abort", drop);
    if (signal?.aborted) drop();
    try {
      const answer = await fetch(url + path, {
        method,
        headers: {
          ...headers,
          ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        cache: "no-store",
        signal: line.signal,
      });
      watch.heard();
      if (!answer.ok) throw await refusal(answer);
      return await read(answer, watch);
    } finally {
      watch.stop();
      signal?.removeEventListener("abort", drop);
      // Whatever is left of the answer is not waited for.
      line.abort();
    }
  }
}

const readJson: Reader<Record<string, unknown>> = async (answer) => {
  const value: unknown = await answer.json();
  if (typeof value !== "object" || value === null) throw new Loss("the answer is no object");
  return value as Record<string, unknown>;
};

/** @returns false where there was nothing to read: the ending itself had been seen */
async function follow(run: Run, answer: Response, watch: Watch): Promise<boolean> {
  if (answer.status === 204) return false;
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || answer.body === null)
    throw new Loss("the answer is no event stream");
  run.open("sse");
  let isOver = false;
  const stream = new EventStream(
    ({ id: seq, event, data }) => {
      if (event !== "end") run.event(Number(seq), JSON.parse(data) as Chunk);
      else {
        run.end(JSON.parse(data) as ToldEnding, Number(seq));
        isOver = true;
      }
    },
    (comment) => {
      const position = /^queued position=(\d+)/.exec(comment)?.[1];
      if (position !== undefined) run.wait(Number(position));
    },
  );
  // What is not UTF-8 was not sent by a gateway.
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const reader = answer.body.getReader();
  while (!isOver) {
    const { done, value } = await reader.read();
    if (done) throw new Loss("the stream stopped before the ending");
    watch.heard();
    stream.feed(decoder.decode(value, { stream: true }));
  }
  return true;
}

/** What a refusal says. One that is not the gateway's own, a proxy's 502 perhaps, counts as a loss where it may pass. */
async function refusal(answer: Response): Promise<Error> {
  const { status, headers } = answer;
  const retryAfterMs = readRetryAfter(headers.get("retry-after"));
  const said = ((await answer.json().catch(() => null)) as { error?: ErrorObject } | null)?.error;
  const more = { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  if (typeof said?.code === "string") return new SluiceError(said, more);
  if (status >= 500 || status === 408 || status === 429) return new Loss(`status ${status}`, retryAfterMs);
  return new SluiceError({ code: "unexpected_answer", message: `The answer had status ${status}.` }, more);
}

/** `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. @returns milliseconds */
export function readRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
