/**
 * The chunks of a body (RFC 9112, section 7.1), as far as they are plain: a size in hexadecimal digits, and so many bytes. A
 * token comes as one such chunk in one read, and there the whole of a parser is not needed.
 */

import type { Take } from "./body.ts";

const CR = 13;
const LF = 10;
/** Enough for any chunk that a read can hold. */
const MAX_DIGITS = 5;

/** Knows where the chunks of one body begin, while they are plain. */
export class Chunks {
  /** Bytes of a chunk and its line end that are still to come; negative once the framing was not plain. */
  #left = 0;

  /** False for good once they are not plain, which the last chunk is not. */
  get arePlain(): boolean {
    return this.#left >= 0;
  }

  /**
   * Takes note of the body's next bytes, `bytes[from..end)`.
   * @returns whether they are nothing but whole chunks: those that are not the last, which has no bytes
   */
  follow(bytes: Buffer, from: number, end: number): boolean {
    if (this.#left < 0) return false;
    const isWhole = this.#left === 0;
    let at = from + this.#left;
    while (at < end) {
      const start = dataStart(bytes, at, end);
      if (start === 0) {
        this.#left = -1;
        return false;
      }
      at = start + sizeAt(bytes, at) + 2;
      if (at <= end && !isLineEnd(bytes, at - 2)) {
        this.#left = -1;
        return false;
      }
    }
    this.#left = at - end;
    return isWhole && at === end;
  }
}

/** Calls `take` with the data of each of `bytes[from..end)`, whole chunks; valid only during the call. */
export function eachChunk(bytes: Buffer, from: number, end: number, take: Take): void {
  for (let at = from; at < end; ) {
    const start = dataStart(bytes, at, end);
    const stop = start + sizeAt(bytes, at);
    take(bytes, start, stop);
    at = stop + 2;
  }
}

/** Where the data of the chunk at `at` starts; 0 where its size is not plain, not whole or zero. */
function dataStart(bytes: Buffer, at: number, end: number): number {
  const stop = Math.min(end - 2, at + MAX_DIGITS);
  let digits = at;
  while (digits < stop && digit(bytes[digits] as number) >= 0) digits++;
  if (digits === at || digits + 2 > end || !isLineEnd(bytes, digits)) return 0;
  return sizeAt(bytes, at) === 0 ? 0 : digits + 2;
}

function sizeAt(bytes: Buffer, at: number): number {
  let size = 0;
  for (let value = digit(bytes[at] as number); value >= 0; value = digit(bytes[++at] as number))
    size = size * 16 + value;
  return size;
}

/** The value of a hexadecimal digit, or -1. */
function digit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

const isLineEnd = (bytes: Buffer, at: number): boolean => bytes[at] === CR && bytes[at + 1] === LF;
