/**
 * Most events of a stream differ from the one before in the text of their one token and in nothing else. What was read of such an
 * event, byte by byte and as JSON, then holds for the next: only the text itself has to be looked at.
 */
import { isUtf8 } from "node:buffer";

const OPENING = Buffer.from('"content":"');
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;
const FIRST_WIDE = 0x80;
/** A stream whose events change elsewhere each time is not looked at for ever. */
const MAX_MISSES = 16;
const NOTHING = Buffer.alloc(0);

export class Likeness {
  /** What stands before the text, and after it. */
  #before = NOTHING;
  #after = NOTHING;
  #misses = 0;

  /**
   * Takes an event as the model of those to come. It must be whole JSON in UTF-8 with exactly one choice, and say nothing but that
   * choice's non-empty `delta.content`. One that names `"content":"` twice, or has an escape in its text, is no model.
   */
  learn(bytes: Buffer, start: number, end: number, content: string): void {
    if (this.#misses > MAX_MISSES) return;
    this.#misses++;
    const payload = bytes.subarray(start, end);
    const opening = payload.indexOf(OPENING);
    if (opening === -1 || payload.indexOf(OPENING, opening + 1) !== -1) return;
    const from = opening + OPENING.length;
    const to = payload.indexOf(QUOTE, from);
    if (to === -1 || payload.toString("utf8", from, to) !== content) return;
    this.#before = Buffer.from(payload.subarray(0, from));
    this.#after = Buffer.from(payload.subarray(to));
  }

  /** Whether `bytes[start..end)` is the model with another text that is not empty: whole JSON in UTF-8 that says the same. */
  matches(bytes: Buffer, start: number, end: number): boolean {
    const from = start + this.#before.length;
    const to = end - this.#after.length;
    if (this.#after.length === 0 || from >= to) return false;
    if (!isSame(this.#after, bytes, to) || !isSame(this.#before, bytes, start)) return false;
    if (!isPlain(bytes, from, to)) return false;
    this.#misses = 0;
    return true;
  }
}

/** Whether `part` stands in `bytes` at `at`. By hand: it is short, and `Buffer.compare` costs more to call than to do. */
function isSame(part: Buffer, bytes: Buffer, at: number): boolean {
  for (let index = 0; index < part.length; index++) {
    if (part[index] !== bytes[at + index]) return false;
  }
  return true;
}

/** Whether it may stand in a JSON string as it is (RFC 8259, section 7). */
function isPlain(bytes: Buffer, from: number, to: number): boolean {
  let isWide = false;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE || byte === BACKSLASH || byte < FIRST_PRINTABLE) return false;
    if (byte >= FIRST_WIDE) isWide = true;
  }
  return !isWide || isUtf8(bytes.subarray(from, to));
}
