/**
 * The transport under the SDK: its `fetch`, over `undici.request`, whose body is a Node stream. No web stream, no decoding:
 * the caller reads the body as it comes.
 */
import { pipeline, type Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import { Agent, type Dispatcher, request } from "undici";

/** As much of a `Response` as the SDK reads; `body` is a Node stream. */
export class Answer {
  /** Always true: the SDK then hands refusals to us whole, instead of an error without the body's bytes. */
  readonly ok = true;
  readonly status: number;
  readonly headers: Headers;
  readonly url: string;
  readonly body: Readable;

  constructor(status: number, headers: Headers, url: string, body: Readable) {
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
  return new Agent({ headersTimeout: 0, bodyTimeout: 0, allowH2 });
}

/** A `fetch` for the SDK. Rejects with undici's error where no answer came. */
export function fetchOver(dispatcher: Dispatcher): typeof fetch {
  const fetchAnswer = async (url: string | URL | Request, init: RequestInit = {}): Promise<Answer> => {
    const answer = await request(String(url), {
      dispatcher,
      method: (init.method ?? "GET") as Dispatcher.HttpMethod,
      headers: outgoing(init.headers),
      body: (init.body ?? null) as Buffer | string | null,
      ...(init.signal ? { signal: init.signal } : {}),
    });
    const headers = incoming(answer.headers);
    const body = decoded(answer.body, headers.get("content-encoding"));
    return new Answer(answer.statusCode, headers, String(url), body);
  };
  // The SDK reads of a Response only what Answer has.
  return fetchAnswer as unknown as typeof fetch;
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

const DECODERS: Record<string, () => NodeJS.ReadWriteStream & Readable> = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

/** The body without its content encoding: identity was asked for, but some servers compress all the same. */
function decoded(body: Readable, encoding: string | null): Readable {
  const decoder = DECODERS[(encoding ?? "").trim().toLowerCase()];
  if (decoder === undefined) return body;
  const plain = decoder();
  // An error of either end destroys both, and reaches whoever reads `plain`.
  pipeline(body, plain, () => {});
  return plain;
}
