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

/** The bytes last looked at, word by word: most are read into one buffer, which is not wrapped again for each event. */
let viewed: Buffer = NOTHING;
let view: DataView = new DataView(NOTHING.buffer, 0, 0);

function viewOf(bytes: Buffer): DataView {
  if (bytes !== viewed) {
    viewed = bytes;
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  return view;
}

/** Bytes to compare with: as words of four, and the rest. A call of `Buffer.compare` costs more than these few loads. */
class Model {
  readonly length: number;
  readonly #words: Int32Array;
  readonly #rest: Uint8Array;

  constructor(bytes: Buffer) {
    this.length = bytes.length;
    const words = new Int32Array(bytes.length >> 2);
    for (let index = 0; index < words.length; index++) words[index] = bytes.readInt32LE(index * 4);
    this.#words = words;
    this.#rest = new Uint8Array(bytes.subarray(words.length * 4));
  }

  /** Whether they stand at `at`. */
  stands(view: DataView, at: number): boolean {
    const words = this.#words;
    for (let index = 0; index < words.length; index++) {
      if (view.getInt32(at, true) !== words[index]) return false;
      at += 4;
    }
    for (const byte of this.#rest) {
      if (view.getUint8(at++) !== byte) return false;
    }
    return true;
  }
}

export class Likeness {
  /** What stands before the text, and after it. */
  #before = new Model(NOTHING);
  #after = new Model(NOTHING);
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
    this.#before = new Model(payload.subarray(0, from));
    this.#after = new Model(payload.subarray(to));
  }

  /** Whether `bytes[start..end)` is the model with another text that is not empty: whole JSON in UTF-8 that says the same. */
  matches(bytes: Buffer, start: number, end: number): boolean {
    const from = start + this.#before.length;
    const to = end - this.#after.length;
    if (this.#after.length === 0 || from >= to) return false;
    const view = viewOf(bytes);
    if (!this.#after.stands(view, to) || !this.#before.stands(view, start)) return false;
    if (!isPlain(bytes, from, to)) return false;
    this.#misses = 0;
    return true;
  }
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
