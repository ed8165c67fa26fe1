/**
 * The transport under the SDK: its `fetch`, over undici's dispatcher. No web stream and no Node stream, no decoding: the caller
 * takes the body as it comes.
 */
import type { Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import { Agent, type Dispatcher } from "undici";
import { type Body, DecodedBody, ResponseBody } from "./body.ts";
import { newConnector, takeStraight } from "./connector.ts";

/** As much of a `Response` as the SDK reads. */
export class Answer {
  /** Always true: the SDK then hands refusals to us whole, instead of an error without the body's bytes. */
  readonly ok = true;
  readonly status: number;
  readonly headers: Headers;
  readonly url: string;
  readonly body: Body;

  constructor(status: number, headers: Headers, url: string, body: Body) {
    this.status = status;
    this.headers = headers;
    this.url = url;
    this.body = body;
  }
}

/**
 * Connections to upstreams. Its own time limits are off: the gateway's clocks rule.
 * @param allowH2 HTTP/2 where an upstream chooses it over TLS (RFC 9113, section 3.2)
 */
export function newDispatcher(allowH2: boolean): Dispatcher {
  return new Agent({ headersTimeout: 0, bodyTimeout: 0, allowH2, connect: newConnector(allowH2) });
}

/** A `fetch` for the SDK. Rejects with undici's error, or with the signal's reason, where no answer came. */
export function fetchOver(dispatcher: Dispatcher): typeof fetch {
  const fetchAnswer = (url: string | URL | Request, init: RequestInit = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const { origin, pathname, search } = new URL(String(url));
      const options: Dispatcher.DispatchOptions = {
        origin,
        path: pathname + search,
        method: (init.method ?? "GET") as Dispatcher.HttpMethod,
        headers: outgoing(init.headers),
        body: (init.body ?? null) as Buffer | string | null,
      };
      dispatcher.dispatch(options, new Exchange(String(url), init.signal ?? undefined, resolve, reject));
    });
  // The SDK reads of a Response only what Answer has.
  return fetchAnswer as unknown as typeof fetch;
}

/** One request and its answer. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #url: string;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (answer: Answer) => void;
  readonly #reject: (thrown: unknown) => void;
  readonly #abort = (): void => this.#giveUp();
  #controller: Dispatcher.DispatchController | undefined;
  #body: ResponseBody | undefined;

  constructor(
    url: string,
    signal: AbortSignal | undefined,
    resolve: (answer: Answer) => void,
    reject: (thrown: unknown) => void,
  ) {
    this.#url = url;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal?.aborted) this.#giveUp();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    raw: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) return;
    const headers = incoming(raw);
    const plain = new ResponseBody(controller);
    const body = decoded(plain, headers.get("content-encoding"));
    // A decoder holds the connection up where it falls behind, which only the parser knows how to do.
    if (body === plain && headers.get("transfer-encoding")?.toLowerCase() === "chunked")
      takeStraight((bytes, start, end) => plain.take(bytes, start, end));
    this.#body = plain;
    this.#resolve(new Answer(status, headers, this.#url, body));
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
    const { reason } = this.#signal as AbortSignal;
    this.#reject(reason);
    this.#controller?.abort(reason);
  }

  #release(): void {
    this.#signal?.removeEventListener("abort", this.#abort);
  }
}

function outgoing(headers: RequestInit["headers"]): Record<string, string> {
  const plain = Object.fromEntries(new Headers(headers));
  return { ...plain, "accept-encoding": "identity" };
}

function incoming(raw: Record<string, string | string[] | undefined>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
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
function decoded(body: ResponseBody, encoding: string | null): Body {
  const decoder = DECODERS[(encoding ?? "").trim().toLowerCase()];
  return decoder === undefined ? body : new DecodedBody(body, decoder());
}
