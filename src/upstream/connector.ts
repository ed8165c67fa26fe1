/**
 * Connections whose reads land in one buffer, for undici. A socket's stream takes a fresh 64 KiB for each read, cuts it, queues
 * it and schedules its `readable`: with a token in each read that costs more than all that is done with the token.
 */
import type { OnReadOpts, Socket } from "node:net";
import { buildConnector } from "undici";
import type { Take } from "./body.ts";
import { Chunks, eachChunk } from "./chunks.ts";

const READ_BYTES = 65_536;
const FINAL = "HTTP/1.1 2";
const BLANK_LINE = Buffer.from("\r\n\r\n");
const NOBODY: Take = () => {};

/** What is read from any socket, until the callback returns: whoever needs it for longer copies it. */
const arrived = Buffer.allocUnsafeSlow(READ_BYTES);

/**
 * A connector for undici. Bodies' chunks are valid only while they are handed over.
 * @param allowH2 HTTP/2 where an upstream chooses it over TLS (RFC 9113, section 3.2)
 */
export function newConnector(allowH2: boolean): buildConnector.connector {
  // Under TLS, bytes are decrypted into buffers of their own, and HTTP/2 reads past the stream.
  const secure = buildConnector({ allowH2 });
  return (options, callback) => {
    if (options.protocol === "https:") secure(options, callback);
    else connectPlain(options, callback);
  };
}

type PlainOptions = buildConnector.BuildOptions & { readonly onread: OnReadOpts };

function connectPlain(options: buildConnector.Options, callback: buildConnector.Callback): void {
  let reads: Reads | undefined;
  const onread: OnReadOpts = { buffer: arrived, callback: (length) => reads?.take(length) ?? true };
  const plain: PlainOptions = { host: options.hostname, port: Number(options.port), onread };
  buildConnector(plain)(options, (...outcome) => {
    // Of a connection that failed, undici hands over the error alone.
    if (outcome[0] === null) reads = new Reads(outcome[1]);
    callback(...outcome);
  });
}

/** The connection whose read is being taken. */
let current: Reads | undefined;
/** What waits for the end of that read. */
const following: (() => void)[] = [];

/** Calls `work` when all that one read of a socket brought has been taken, in however many pieces it came. */
export function afterRead(work: () => void): void {
  if (current === undefined) process.nextTick(work);
  else following.push(work);
}

/**
 * For an answer in chunks, while its headers are being told: from the next read on, what is nothing but whole chunks goes straight
 * to `take`, past undici's parser, which knows the last chunk and all else. The data is valid only during the call.
 */
export function takeStraight(take: Take): void {
  current?.takeStraight(take);
}

/** A socket's reads as its user asks for them: told of by `readable`, fetched by `read()`. */
class Reads {
  readonly #socket: Socket;
  #unread: Buffer | null = null;
  /** Those of the answer that is being read; undefined where only the parser reads it. */
  #chunks: Chunks | undefined;
  #take: Take = NOBODY;

  constructor(socket: Socket) {
    this.#socket = socket;
    const read = socket.read.bind(socket);
    socket.read = (size) => (size === 0 ? read(0) : (this.#fetch() ?? read(size)));
    // What a parser that pauses in the middle of a read gives back is kept as unread: nothing that came later may pass it.
    socket.unshift = (rest: Buffer) => {
      if (rest.length > 0) this.#unread = rest;
    };
  }

  /** @returns whether to read on: what is not fetched at once is kept, and nothing more is read before it is */
  take(length: number): boolean {
    current = this;
    try {
      if (this.#follow(arrived, 0, length)) this.#straight(length);
      else this.#parse(length);
    } finally {
      current = undefined;
      for (let work = following.pop(); work !== undefined; work = following.pop()) work();
    }
    return this.#unread === null;
  }

  /** What is being taken holds an answer's headers. */
  takeStraight(take: Take): void {
    this.#take = take;
    this.#chunks = new Chunks();
  }

  #parse(length: number): void {
    // A copy: it keeps what it has of headers until they are all there.
    const bytes = Buffer.from(arrived.subarray(0, length));
    const before = this.#chunks;
    this.#unread = bytes;
    this.#socket.emit("readable");
    if (this.#chunks === before) return;
    // The headers may have begun in an earlier read, or follow those of an informational answer: where the body begins is not clear then.
    const start = bytes.toString("latin1", 0, FINAL.length) === FINAL ? bytes.indexOf(BLANK_LINE) : -1;
    if (start === -1) this.#leaveToParser();
    else this.#follow(bytes, start + BLANK_LINE.length, length);
  }

  #follow(bytes: Buffer, from: number, end: number): boolean {
    if (this.#chunks === undefined) return false;
    const areWhole = this.#chunks.follow(bytes, from, end);
    if (!this.#chunks.arePlain) this.#leaveToParser();
    return areWhole;
  }

  /** An idle connection holds on to nothing of its last answer. */
  #leaveToParser(): void {
    this.#chunks = undefined;
    this.#take = NOBODY;
  }

  #straight(length: number): void {
    try {
      eachChunk(arrived, 0, length, this.#take);
    } catch (thrown) {
      // As undici does with what a handler of its own throws.
      this.#socket.destroy(thrown as Error);
    }
  }

  #fetch(): Buffer | null {
    const bytes = this.#unread;
    this.#unread = null;
    return bytes;
  }
}
