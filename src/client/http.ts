/** The client's requests, and reading over Server-Sent Events (PROTOCOL.md, section 2). */
import type { ToldEnding } from "./endings.ts";
import { type ErrorObject, loss, SluiceError } from "./errors.ts";
import { eventStream } from "./event-stream.ts";
import { SILENT_BEATS, watch } from "./pause.ts";
import type { Read, Run } from "./run.ts";
import type { ClientOptions } from "./types.ts";

export interface Http {
  /** Reads a run over SSE, which is started where it was not yet. */
  readonly read: Read;
  /** A ticket for one WebSocket; undefined where none is needed. */
  readonly socketTicket: () => Promise<string | undefined>;
}

interface Ask<Value> {
  readonly signal?: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes it a POST. */
  readonly body?: object;
  /** Reads the answer's body, and tells of each sign of life. */
  readonly read?: (answer: Response, heard: () => void) => Promise<Value>;
}

/** @param url without a slash at its end */
export function createHttp(url: string, options: ClientOptions): Http {
  // A browser's fetch must not be called on anything but its window.
  const { apiKey, ticket, fetch = globalThis.fetch, heartbeatMs = 15_000 } = options;

  /** @throws SluiceError what the gateway refused; a loss, or what fetch throws, where it could not be asked */
  async function ask<Value = Readonly<Record<string, unknown>>>(
    path: string,
    { signal, headers, body, read = (answer) => answer.json() as Promise<Value> }: Ask<Value>,
  ): Promise<Value> {
    signal?.throwIfAborted();
    const line = new AbortController();
    const drop = (): void => line.abort();
    const { heard, stop } = watch(heartbeatMs * SILENT_BEATS, drop);
    signal?.addEventListener("abort", drop, line);
    try {
      const answer = await fetch(url + path, {
        ...(body && { method: "POST", body: JSON.stringify(body) }),
        headers: {
          ...headers,
          ...(body && { "content-type": "application/json" }),
          ...(apiKey && { authorization: `Bearer ${apiKey}` }),
        },
        cache: "no-store",
        signal: line.signal,
      });
      heard();
      if (!answer.ok) throw await refusal(answer);
      return await read(answer, heard);
    } finally {
      stop();
      // Whatever is left of the answer is not waited for.
      drop();
    }
  }

  async function create(run: Run, signal: AbortSignal): Promise<string> {
    const { idempotency_key: key, ...body } = run.begin();
    const { id } = await ask("/v1/generations", { signal, headers: { "idempotency-key": key }, body });
    if (typeof id !== "string") throw loss("no generation");
    run.accept(id);
    return id;
  }

  return {
    async read(run, signal) {
      const id = run.generation ?? (await create(run, signal));
      const path = `/v1/generations/${encodeURIComponent(id)}`;
      const query = ticket && !apiKey ? `?ticket=${encodeURIComponent(await ticket(id))}` : "";
      if (run.isStopping) await ask(`${path}/cancel${query}`, { signal, body: {} });
      const headers = { accept: "text/event-stream", "last-event-id": `${run.position}` };
      const isOver = await ask(`${path}/events${query}`, {
        signal,
        headers,
        read: (answer, heard) => follow(run, id, answer, heard),
      });
      // It had seen the ending itself: what that said is asked for.
      if (!isOver) run.end(run.position, await ask<ToldEnding>(path + query, { signal }));
    },
    async socketTicket() {
      if (ticket) return ticket();
      return apiKey && ((await ask("/v1/tickets", { body: {} }))["ticket"] as string);
    },
  };
}

/** @returns false where there was nothing to read: the ending itself had been seen */
async function follow(run: Run, id: string, answer: Response, heard: () => void): Promise<boolean> {
  if (answer.status === 204) return false;
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) throw loss("no event stream");
  run.open("sse", id);
  let isOver = false;
  const feed = eventStream(
    ({ id: seq, event, data }) => {
      isOver = event === "end";
      run[isOver ? "end" : "event"](Number(seq), JSON.parse(data));
    },
    (comment) => {
      const position = /^queued position=(\d+)/.exec(comment)?.[1];
      if (position) run.wait(Number(position));
    },
  );
  // What is not UTF-8 was not sent by a gateway.
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const reader = (answer.body as NonNullable<typeof answer.body>).getReader();
  while (!isOver) {
    const { done, value } = await reader.read();
    if (done) throw loss("it stopped early");
    heard();
    feed(decoder.decode(value, { stream: true }));
  }
  return true;
}

/** What a refusal says. One that is not the gateway's own, a proxy's 502 perhaps, counts as a loss where it may pass. */
async function refusal(answer: Response): Promise<Error> {
  const { status, headers } = answer;
  const retryAfterMs = readRetryAfter(headers.get("retry-after"));
  const message = `status ${status}`;
  const said = ((await answer.json().catch(() => null)) as { error?: ErrorObject } | null)?.error;
  if (typeof said?.code === "string") return new SluiceError(said, { status, retryAfterMs });
  return status >= 500 || status === 408 || status === 429
    ? loss(message, retryAfterMs)
    : new SluiceError({ code: "unexpected_answer", message }, { status, retryAfterMs });
}

/** `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. @returns milliseconds */
export function readRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
