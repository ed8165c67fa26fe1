/**
 * HTTP's chunked transfer coding (RFC 9112, section 7.1), made together with what it holds: one buffer that every reader of a
 * batch shares, and one write to the socket, where `ServerResponse.write` makes four pieces of each chunk.
 */
import type { ServerResponse } from "node:http";

const CR = 0x0d;
const LF = 0x0a;
const CRLF_BYTES = 2;

/** Bytes of an answer, as one chunk. */
export class Chunk {
  /** The chunk as it goes on the socket. */
  readonly coded: Buffer;
  readonly #start: number;

  private constructor(coded: Buffer, start: number) {
    this.coded = coded;
    this.#start = start;
  }

  /** A chunk of `length` bytes, which `fill` writes from `at` on. Without any, there is no chunk: it would end the answer. */
  static of(length: number, fill: (out: Buffer, at: number) => void): Chunk {
    if (length === 0) return new Chunk(Buffer.alloc(0), 0);
    const size = length.toString(16);
    const start = size.length + CRLF_BYTES;
    const coded = Buffer.allocUnsafe(start + length + CRLF_BYTES);
    coded.write(size, 0, "latin1");
    coded[start - 2] = CR;
    coded[start - 1] = LF;
    fill(coded, start);
    coded[start + length] = CR;
    coded[start + length + 1] = LF;
    return new Chunk(coded, start);
  }

  static from(bytes: Buffer): Chunk {
    return Chunk.of(bytes.length, (out, at) => bytes.copy(out, at));
  }

  /** What the chunk holds, without the coding. */
  get bytes(): Buffer {
    return this.isEmpty ? this.coded : this.coded.subarray(this.#start, this.coded.length - CRLF_BYTES);
  }

  get isEmpty(): boolean {
    return this.coded.length === 0;
  }
}

/**
 * Writes a chunk of an answer whose headers have left. An answer that waits for its turn on a pipelined connection, one to a
 * client of HTTP/1.0, or one whose socket is ending goes the way of `ServerResponse`.
 */
export function writeChunk(response: ServerResponse, chunk: Chunk): void {
  const { socket } = response;
  if (socket?.writable && response.chunkedEncoding) socket.write(chunk.coded);
  else response.write(chunk.bytes);
}
