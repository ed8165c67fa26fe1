/**
 * Connections whose reads land in one buffer, for undici. A socket's stream takes a fresh 64 KiB for each read, cuts it, queues
 * it and schedules its `readable`: with a token in each read that costs more than all that is done with the token.
 */
import type { OnReadOpts, Socket } from "node:net";
import { buildConnector } from "undici";

const READ_BYTES = 65_536;

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

/** What waits for the end of the read that is being taken; undefined between reads. */
let following: (() => void)[] | undefined;

/** Calls `work` when all that one read of a socket brought has been taken, in however many pieces it came. */
export function afterRead(work: () => void): void {
  if (following === undefined) process.nextTick(work);
  else following.push(work);
}

/** A socket's reads as its user asks for them: told of by `readable`, fetched by `read()`. */
class Reads {
  readonly #socket: Socket;
  #unread: Buffer | null = null;

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
    this.#unread = arrived.subarray(0, length);
    const works: (() => void)[] = [];
    following = works;
    try {
      this.#socket.emit("readable");
    } finally {
      following = undefined;
      if (this.#unread !== null) this.#unread = Buffer.from(this.#unread);
      for (const work of works) work();
    }
    return this.#unread === null;
  }

  #fetch(): Buffer | null {
    const bytes = this.#unread;
    this.#unread = null;
    return bytes;
  }
}
