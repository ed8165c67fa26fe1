/** The HTTP side of the measurement: connections that are kept and used again, and event streams read as they arrive. */
import type { Readable } from "node:stream";
import { Agent } from "undici";
import { faultOf, isJson } from "./chunks.ts";
import { EventStream } from "./event-stream.ts";
import { RequestFault } from "./observation.ts";

const CONNECT_TIMEOUT_MS = 30_000;
/** How long a server may take to close a stream whose ending was seen. */
const CLOSING_MS = 1_000;
const BODY_CHARACTERS = 300;

/** Told by the reader of a stream: whether this event was the ending. */
export type TakeEvent = (type: string, data: string, now: number) => boolean;

export class HttpClient {
  /** As many connections as there are requests at once; no clock but the request's own. */
  readonly #agent = new Agent({
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  });
  readonly #headers: Readonly<Record<string, string>>;

  constructor(headers: Readonly<Record<string, string>>) {
    this.#headers = headers;
  }

  /**
   * Sends a request and waits for the headers of its answer.
   * @throws {RequestFault} where the server cannot be reached, or the answer is no success
   */
  async send(
    method: "GET" | "POST",
    url: string,
    body: string | null,
    signal: AbortSignal,
  ): Promise<Readable> {
    const { origin, pathname, search } = new URL(url);
    const headers = {
      ...this.#headers,
      accept: "text/event-stream, application/json",
      ...(body === null ? {} : { "content-type": "application/json" }),
    };
    try {
      const path = pathname + search;
      const answer = await this.#agent.request({ origin, path, method, headers, body, signal });
      if (answer.statusCode >= 200 && answer.statusCode < 300) return answer.body;
      throw refusal(answer.statusCode, await answer.body.text());
    } catch (thrown) {
      throw faultOfNetwork(thrown);
    }
  }

  /** @throws {RequestFault} as `send`, and where the answer is not JSON */
  async json(
    method: "GET" | "POST",
    url: string,
    body: string | null,
    signal: AbortSignal,
  ): Promise<unknown> {
    const answer = await this.send(method, url, body, signal);
    try {
      const pieces: Buffer[] = [];
      for await (const piece of answer) pieces.push(piece as Buffer);
      return JSON.parse(Buffer.concat(pieces).toString());
    } catch (thrown) {
      if (thrown instanceof SyntaxError) throw new RequestFault("invalid_json", "the answer is not JSON");
      throw faultOfNetwork(thrown);
    }
  }

  /** Cuts what is still open. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

/**
 * Reads an event stream to its end; `take` gets every event with the time at which its bytes arrived.
 * @returns whether the ending was among the events
 * @throws {RequestFault} what `take` throws, or where the connection broke before the ending
 */
export function readEvents(body: Readable, take: TakeEvent): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let isEnded = false;
    let now = 0;
    let closing: NodeJS.Timeout | undefined;
    const settle = (fault?: unknown): void => {
      clearTimeout(closing);
      body.destroy();
      if (fault === undefined || isEnded) resolve(isEnded);
      else reject(faultOfNetwork(fault));
    };
    const stream = new EventStream((type, data) => {
      if (isEnded) return;
      isEnded = take(type, data, now);
      if (isEnded) closing = setTimeout(settle, CLOSING_MS);
    });
    const attempt = (work: () => void): boolean => {
      try {
        now = performance.now();
        work();
        return true;
      } catch (thrown) {
        settle(thrown);
        return false;
      }
    };
    body.on("data", (bytes: Buffer) => attempt(() => stream.push(bytes)));
    body.on("end", () => attempt(() => stream.end()) && settle());
    body.on("error", settle);
  });
}

/** A fault of the connection, by its system's code wherever the libraries put it; anything else is returned as it is. */
export function faultOfNetwork(thrown: unknown): unknown {
  if (thrown instanceof RequestFault) return thrown;
  const { code, cause, message } = thrown as NodeJS.ErrnoException;
  const word = code ?? (cause as NodeJS.ErrnoException | undefined)?.code;
  return word === undefined ? thrown : new RequestFault(word, message || word);
}

function refusal(status: number, text: string): RequestFault {
  try {
    const body: unknown = JSON.parse(text);
    if (isJson(body) && body["error"]) return faultOf(body["error"], `http_${status}`);
  } catch {
    // No JSON: the status and the text are all there is to tell.
  }
  return new RequestFault(`http_${status}`, text.slice(0, BODY_CHARACTERS).trim());
}
