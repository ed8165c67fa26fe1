/**
 * Requests to upstreams over undici's dispatcher. No web stream and no Node stream, no decoding: the caller takes the body as it
 * comes.
 */
import type { Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import { Agent, type Dispatcher } from "undici";
import { type Body, DecodedBody, ResponseBody } from "./body.ts";
import { newConnector, takeStraight } from "./connector.ts";

/** By their lower-case names. */
export type AnswerHeaders = Readonly<Record<string, string>>;

export interface Answer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly body: Body;
}

/** Where requests go, and with which headers. */
export interface Head {
  readonly origin: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Connections to upstreams. Its own time limits are off: the gateway's clocks rule.
 * @param allowH2 HTTP/2 where an upstream chooses it over TLS (RFC 9113, section 3.2)
 */
export function newDispatcher(allowH2: boolean): Dispatcher {
  return new Agent({ headersTimeout: 0, bodyTimeout: 0, allowH2, connect: newConnector(allowH2) });
}

/**
 * Sends one request. The signal gives it up in every state, its answer's body included.
 * Rejects with undici's error, or with the signal's reason, where no answer came.
 */
export function exchange(
  dispatcher: Dispatcher,
  method: "GET" | "POST",
  head: Head,
  body: Uint8Array | null,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const options = { origin: head.origin, path: head.path, method, headers: head.headers, body };
    dispatcher.dispatch(options, new Exchange(signal, resolve, reject));
  });
}

/** One request and its answer. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #signal: AbortSignal;
  readonly #resolve: (answer: Answer) => void;
  readonly #reject: (thrown: unknown) => void;
  readonly #abort = (): void => this.#giveUp();
  #controller: Dispatcher.DispatchController | undefined;
  #body: ResponseBody | undefined;

  constructor(signal: AbortSignal, resolve: (answer: Answer) => void, reject: (thrown: unknown) => void) {
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal.aborted) this.#giveUp();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    raw: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) return;
    const headers = incoming(raw);
    const plain = new ResponseBody(controller);
    const body = decoded(plain, headers["content-encoding"]);
    // A decoder holds the connection up where it falls behind, which only the parser knows how to do.
    if (body === plain && headers["transfer-encoding"]?.toLowerCase() === "chunked")
      takeStraight((bytes, start, end) => plain.take(bytes, start, end));
    this.#body = plain;
    this.#resolve({ status, headers, body });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body?.take(chunk, 0, chunk.length);
  }

  onResponseEnd(): void {
    this.#release();
    this.#body?.finish("whole");
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#release();
    this.#reject(error);
    this.#body?.finish("broken");
  }

  /** Before it was sent there is nothing to abort yet: it is given up when its turn comes. */
  #giveUp(): void {
    const { reason } = this.#signal;
    this.#reject(reason);
    this.#controller?.abort(reason);
  }

  #release(): void {
    this.#signal.removeEventListener("abort", this.#abort);
  }
}

function incoming(raw: Record<string, string | string[] | undefined>): AnswerHeaders {
  const headers: Record<string, string> = {};
  for (const name in raw) {
    const value = raw[name];
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return headers;
}

const DECODERS: Record<string, () => Transform> = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

/** The body without its content encoding: identity was asked for, but some servers compress all the same. */
function decoded(body: ResponseBody, encoding: string | undefined): Body {
  const decoder = DECODERS[(encoding ?? "").trim().toLowerCase()];
  return decoder === undefined ? body : new DecodedBody(body, decoder());
}
