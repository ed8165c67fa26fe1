/**
 * The upstream of the bench, a process of its own: an OpenAI-compatible server on bare sockets, so that most of its processor
 * goes into the kernel's writes. Tells its parent the port; each request's prompt says what it wants (`wire.ts`).
 */
import { readFileSync } from "node:fs";
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import net from "node:net";
import type { Writable } from "node:stream";
import { paceOf } from "./wheel.ts";
import { type Ask, askIn, ENDING, EVENT_BYTES, frameOf, nowUs, numbered } from "./wire.ts";

const CRLF2 = Buffer.from("\r\n\r\n");
/** What stands around the events of a stream, and of each. */
interface Framing {
  readonly headers: string;
  readonly before: string;
  readonly after: string;
  readonly last: string;
}

/** HTTP/1.1: each event is one chunk. */
const CHUNKED: Framing = {
  headers:
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n",
  before: `${EVENT_BYTES.toString(16)}\r\n`,
  after: "\r\n",
  last: `${ENDING.length.toString(16)}\r\n${ENDING}\r\n0\r\n\r\n`,
};
/** HTTP/2 frames by itself. */
const PLAIN: Framing = { headers: "", before: "", after: "", last: ENDING };
/** Events of an unpaced stream in one write. */
const BURST = 64;

/** One streamed answer. */
class Stream {
  readonly #out: Writable;
  readonly #ask: Ask;
  readonly #last: string;
  readonly #before: string;
  readonly #after: string;
  readonly #onEnd: () => void;
  readonly #leave: () => void;
  #seq = 0;

  constructor(out: Writable, framing: Framing, ask: Ask, arrivedUs: number, onEnd: () => void) {
    this.#out = out;
    this.#ask = ask;
    this.#last = framing.last;
    this.#onEnd = onEnd;
    const [before, after] = frameOf(ask.stream, arrivedUs);
    this.#before = framing.before + before;
    this.#after = after + framing.after;
    // The first leaves at once, so that a request's way to its first event holds no waiting for a turn.
    out.write(framing.headers + this.#next(), "latin1");
    this.#leave = ask.pace === 0 ? () => {} : paceOf(ask.pace, this);
    out.once("close", this.#leave);
    if (ask.pace === 0) this.#burst();
  }

  send(): void {
    if (this.#seq >= this.#ask.events) this.#finish();
    else this.#out.write(this.#next(), "latin1");
  }

  #next(): string {
    return this.#before + numbered(++this.#seq, nowUs()) + this.#after;
  }

  #burst(): void {
    let text = "";
    const until = Math.min(this.#ask.events, this.#seq + BURST);
    while (this.#seq < until) text += this.#next();
    const isTaken = this.#out.write(text, "latin1");
    if (this.#seq >= this.#ask.events) this.#finish();
    else if (isTaken) setImmediate(() => this.#burst());
    else this.#out.once("drain", () => this.#burst());
  }

  #finish(): void {
    this.#leave();
    this.#out.off("close", this.#leave);
    this.#out.write(this.#last, "latin1");
    this.#onEnd();
  }
}

const json = (body: string): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const MODELS_BODY =
  '{"object":"list","data":[{"id":"bench","object":"model","created":0,"owned_by":"bench"}]}';
const MODELS = json(MODELS_BODY);
const WHOLE = json(
  '{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"A short answer, given at once."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16}}',
);

/** Reads one request after another from a connection that is kept alive. */
function serve(socket: net.Socket): void {
  let bytes: Buffer = Buffer.alloc(0);
  let isBusy = false;
  const next = (): void => {
    if (isBusy) return;
    const request = requestIn(bytes);
    if (request === undefined) return;
    bytes = bytes.subarray(request.length);
    if (request.line.startsWith("GET")) socket.write(MODELS);
    else if (!/"stream" ?: ?true/.test(request.body)) socket.write(WHOLE);
    else {
      isBusy = true;
      const done = (): void => {
        isBusy = false;
        next();
      };
      new Stream(socket, CHUNKED, askIn(request.body), nowUs(), done);
      return;
    }
    next();
  };
  socket.on("data", (chunk: Buffer) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    next();
  });
  // A connection that breaks is the other side's affair: its close takes the stream out.
  socket.on("error", () => {});
}

/** The request that the bytes start with; undefined while it is not whole. */
function requestIn(bytes: Buffer): { line: string; body: string; length: number } | undefined {
  const end = bytes.indexOf(CRLF2);
  if (end === -1) return undefined;
  const head = bytes.toString("latin1", 0, end);
  const start = end + CRLF2.length;
  const line = head.slice(0, head.indexOf("\r\n"));
  if (/^transfer-encoding: *chunked/im.test(head)) {
    const last = bytes.indexOf("0\r\n\r\n", start);
    if (last === -1) return undefined;
    // The prompt is looked for as text: where chunks part is of no interest in bodies as small as these.
    return { line, body: bytes.toString("latin1", start, last), length: last + 5 };
  }
  const length = start + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  if (bytes.length < length) return undefined;
  return { line, body: bytes.toString("latin1", start, length), length };
}

/** The same over HTTP/2 and TLS. */
function serveStream(stream: ServerHttp2Stream, method: string | undefined): void {
  stream.on("error", () => {});
  const type = { ":status": 200, "content-type": "application/json" };
  if (method === "GET") {
    stream.respond(type);
    stream.end(MODELS_BODY);
    return;
  }
  let body = "";
  stream.on("data", (bytes: Buffer) => {
    body += bytes.toString();
  });
  stream.on("end", () => {
    stream.respond({ ...type, "content-type": "text/event-stream; charset=utf-8" });
    new Stream(stream, PLAIN, askIn(body), nowUs(), () => stream.end());
  });
}

const [, , certificate] = process.argv;
const host = "127.0.0.1";
const server = net.createServer({ noDelay: true }, serve);
server.listen({ host, port: 0, backlog: 4096 }, () => {
  const { port } = server.address() as net.AddressInfo;
  if (certificate === undefined) {
    process.send?.({ port });
    return;
  }
  const [key, cert] = ["key.pem", "chain.pem"].map((name) => readFileSync(`${certificate}/${name}`));
  const settings = { maxConcurrentStreams: 10_000 };
  const secure = createSecureServer({ ...(key && cert ? { key, cert } : {}), settings });
  secure.on("stream", (stream: ServerHttp2Stream, headers) => serveStream(stream, headers[":method"]));
  secure.listen({ host, port: 0, backlog: 4096 }, () => {
    process.send?.({ port, securePort: (secure.address() as net.AddressInfo).port });
  });
});
process.on("disconnect", () => process.exit(0));
