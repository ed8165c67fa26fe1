/** A client over TLS, in either version of HTTP, that keeps the bytes as they came. */
import http2 from "node:http2";
import https from "node:https";
import type { Readable } from "node:stream";
import { createParser, type EventSourceMessage } from "eventsource-parser";

export const VERSIONS = ["HTTP/1.1", "HTTP/2"] as const;
export type HttpVersion = (typeof VERSIONS)[number];

export interface TlsServer {
  readonly url: string;
  readonly ca: Buffer;
}

export interface TlsRequest {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

export interface TlsHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** One answer, on a connection of its own. */
export class TlsReading {
  readonly events: EventSourceMessage[] = [];
  readonly comments: string[] = [];
  /** Rejects where the connection broke before it. */
  readonly head: Promise<TlsHead>;
  /** `closed`: the answer was said to be whole. Never rejects. */
  readonly ended: Promise<"closed" | "reset">;
  /** Vanishes: HTTP/2 gives up the stream and keeps the connection, HTTP/1.1 can only close it. */
  readonly leave: () => void;
  /** Vanishes with the whole connection. */
  readonly destroy: () => void;
  readonly #chunks: Buffer[] = [];
  readonly #decoder = new TextDecoder();
  readonly #parser = createParser({
    onEvent: (event) => this.events.push(event),
    onComment: (comment) => this.comments.push(comment),
  });

  constructor(version: HttpVersion, server: TlsServer, path: string, request: TlsRequest) {
    const sent = version === "HTTP/2" ? overHttp2(server, path, request) : overHttp1(server, path, request);
    this.head = sent.head;
    // Whoever does not look at the head has no use for its failure either.
    this.head.catch(() => {});
    this.ended = sent.ended;
    this.leave = sent.leave;
    this.destroy = sent.destroy;
    sent.onBody((body) =>
      body.on("data", (chunk: Buffer) => {
        this.#chunks.push(chunk);
        this.#parser.feed(this.#decoder.decode(chunk, { stream: true }));
      }),
    );
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }

  /** The payloads of the events that have no name of their own, less `[DONE]`. */
  get payloads(): string[] {
    return this.events
      .filter(({ event, data }) => event === undefined && data !== "[DONE]")
      .map(({ data }) => data);
  }

  /** Status, and the body once it is whole. */
  async whole(): Promise<TlsHead & { readonly text: string }> {
    const head = await this.head;
    const ending = await this.ended;
    if (ending !== "closed") throw new Error(`the answer broke off after ${this.text}`);
    return { ...head, text: this.text };
  }
}

interface Sent extends Pick<TlsReading, "head" | "ended" | "leave" | "destroy"> {
  onBody(take: (body: Readable) => void): void;
}

const bodyOf = ({ body }: TlsRequest): string => (body === undefined ? "" : JSON.stringify(body));

const headersOf = ({ headers, body }: TlsRequest): Record<string, string> => ({
  ...(body === undefined ? {} : { "content-type": "application/json" }),
  ...headers,
});

function overHttp1({ url, ca }: TlsServer, path: string, asked: TlsRequest): Sent {
  const { method = "GET" } = asked;
  const request = https.request(url + path, { method, headers: headersOf(asked), ca, agent: false });
  const head = Promise.withResolvers<TlsHead>();
  const ended = Promise.withResolvers<"closed" | "reset">();
  request.on("error", (error) => {
    head.reject(error);
    ended.resolve("reset");
  });
  request.on("response", (response) => {
    head.resolve({ status: response.statusCode ?? 0, headers: response.headers });
    response.on("error", () => {});
    response.on("close", () => ended.resolve(response.complete ? "closed" : "reset"));
  });
  request.end(bodyOf(asked));
  const destroy = (): void => void request.destroy();
  const onBody = (take: (body: Readable) => void): void => void request.on("response", take);
  return { head: head.promise, ended: ended.promise, leave: destroy, destroy, onBody };
}

function overHttp2({ url, ca }: TlsServer, path: string, asked: TlsRequest): Sent {
  const { method = "GET" } = asked;
  const session = http2.connect(url, { ca });
  const head = Promise.withResolvers<TlsHead>();
  const ended = Promise.withResolvers<"closed" | "reset">();
  session.on("error", (error) => {
    head.reject(error);
    ended.resolve("reset");
  });
  const stream = session.request({ ":method": method, ":path": path, ...headersOf(asked) });
  let isWhole = false;
  stream.on("error", head.reject);
  stream.on("response", ({ ":status": status = 0, ...headers }) => head.resolve({ status, headers }));
  stream.on("end", () => (isWhole = !stream.aborted));
  stream.on("close", () => {
    head.reject(new Error("the stream closed before its headers"));
    ended.resolve(isWhole && stream.rstCode === http2.constants.NGHTTP2_NO_ERROR ? "closed" : "reset");
    session.close();
  });
  // A GET is sent as ended.
  if (method === "POST") stream.end(bodyOf(asked));
  return {
    head: head.promise,
    ended: ended.promise,
    leave: () => stream.close(http2.constants.NGHTTP2_CANCEL),
    destroy: () => session.destroy(),
    onBody: (take) => take(stream),
  };
}

export const ask = (
  version: HttpVersion,
  server: TlsServer,
  path: string,
  request: TlsRequest = {},
): TlsReading => new TlsReading(version, server, path, request);
