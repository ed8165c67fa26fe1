/** An event stream as a client of another make reads it: `node:http` and eventsource-parser, with the bytes kept as they came. */
import http, { type IncomingHttpHeaders } from "node:http";
import { createParser, type EventSourceMessage } from "eventsource-parser";

export interface SseRequest {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

export type SseEnding = "closed" | "reset";

export interface SseHead {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

export class SseClient {
  readonly events: EventSourceMessage[] = [];
  readonly comments: string[] = [];
  /** Resolves with the headers; rejects where the connection broke before them. */
  readonly head: Promise<SseHead>;
  /** Resolves when the connection is over; never rejects. */
  readonly ended: Promise<SseEnding>;
  readonly #request: http.ClientRequest;
  readonly #chunks: Buffer[] = [];
  #size = 0;
  readonly #parser = createParser({
    onEvent: (event) => {
      this.events.push(event);
    },
    onComment: (comment) => {
      this.comments.push(comment);
    },
  });
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #end: (ending: SseEnding) => void = () => {};

  constructor(url: string, { method = "GET", headers = {}, body }: SseRequest = {}) {
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const json = body === undefined ? {} : { "content-type": "application/json" };
    // A connection of its own: what happens to one client must not touch another.
    const request = http.request(url, { method, agent: false, headers: { ...json, ...headers } });
    this.#request = request;
    this.head = new Promise((resolve, reject) => {
      request.on("error", (error) => {
        this.#end("reset");
        reject(error);
      });
      request.on("response", (response) => {
        this.#read(response);
        resolve({ status: response.statusCode ?? 0, headers: response.headers });
      });
    });
    // Whoever does not look at the head has no use for its failure either.
    this.head.catch(() => {});
    request.end(body === undefined ? undefined : JSON.stringify(body));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get size(): number {
    return this.#size;
  }

  get text(): string {
    return this.bytes.toString("utf8");
  }

  /** The payloads of the events that have no name of their own, less `[DONE]`. */
  get payloads(): string[] {
    return this.events.filter(({ event, data }) => event === undefined && data !== "[DONE]").map(dataOf);
  }

  get last(): EventSourceMessage | undefined {
    return this.events.at(-1);
  }

  get lastId(): string | undefined {
    return this.events.findLast(({ id }) => id !== undefined)?.id;
  }

  /** Vanishes: the socket is closed without a word. */
  destroy(): void {
    this.#request.destroy();
    this.#end("reset");
  }

  /** Takes nothing more off the socket, but leaves it open. */
  pause(): void {
    this.#request.socket?.pause();
  }

  resume(): void {
    this.#request.socket?.resume();
  }

  #read(response: http.IncomingMessage): void {
    response.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
      this.#parser.feed(this.#decoder.decode(chunk, { stream: true }));
    });
    response.on("end", () => this.#end("closed"));
    response.on("error", () => this.#end("reset"));
    response.on("close", () => this.#end(response.complete ? "closed" : "reset"));
  }
}

const dataOf = ({ data }: EventSourceMessage): string => data;

/** Reads a whole stream. */
export async function readSse(url: string, request?: SseRequest): Promise<SseClient> {
  const client = new SseClient(url, request);
  await client.ended;
  return client;
}
