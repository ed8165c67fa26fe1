/**
 * Splits a `text/event-stream` body into payloads, incrementally, at any read boundary.
 *
 * Follows the WHATWG HTML standard, section 9.2.6 (interpreting an event stream): lines end with LF, CRLF or CR; one space
 * after the colon is dropped; several `data` lines of one event are joined by LF; comments and other fields carry no payload;
 * a byte order mark at the start is skipped. Beyond the standard, the block that the end of the body leaves open is given to
 * the caller, who can tell whether it was whole. Blank payloads are no events: some servers send `data:` to keep a line open.
 */

const LF = 10;
const CR = 13;
const COLON = 58;
const SPACE = 32;
const DATA = Buffer.from("data");
const NOTHING = Buffer.alloc(0);
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** Takes the payload `bytes[start..end)`, which is only valid during the call. `isMultiline`: it holds LFs between lines. */
export type OnPayload = (bytes: Buffer, start: number, end: number, isMultiline: boolean) => void;

/** Thrown by `push` when one event outgrows the bound. */
export class EventTooLarge extends Error {
  override readonly name = "EventTooLarge";
}

export class Splitter {
  readonly #maxEventBytes: number;
  readonly #onPayload: OnPayload;
  /** The start of a line whose end has not been read yet. */
  #line: Buffer = NOTHING;
  #lineLength = 0;
  /** The data of an event whose blank line has not been read yet: one line where it lies in what is being read, or a copy. */
  #isBorrowed = false;
  #data: Buffer = NOTHING;
  #dataStart = 0;
  #dataEnd = 0;
  #dataLines = 0;
  /** A CR ended the last read: a LF at the start of the next belongs to it. */
  #afterCr = false;
  #atStart = true;

  /** @param maxEventBytes bound on one event's lines together */
  constructor(maxEventBytes: number, onPayload: OnPayload) {
    this.#maxEventBytes = maxEventBytes;
    this.#onPayload = onPayload;
  }

  /** Nothing is kept of what was read: the next byte begins an event. */
  get isBetweenEvents(): boolean {
    return !this.#atStart && !this.#afterCr && this.#lineLength === 0 && this.#dataLines === 0;
  }

  /** Takes what was read, `bytes[start..stop)`. @throws EventTooLarge, and whatever the payload callback throws */
  push(bytes: Buffer, start = 0, stop = bytes.length): void {
    let from = start;
    if (this.#afterCr && from < stop) {
      this.#afterCr = false;
      if (bytes[from] === LF) from++;
    }
    // Each is looked for again only once it has been passed: a body without one of them is scanned for it once.
    let cr = find(bytes, CR, from, stop);
    let lf = find(bytes, LF, from, stop);
    while (from < stop) {
      if (cr < from) cr = find(bytes, CR, from, stop);
      if (lf < from) lf = find(bytes, LF, from, stop);
      const end = Math.min(cr, lf);
      if (end === stop) {
        this.#keepLine(bytes, from, stop);
        break;
      }
      this.#lineTo(bytes, from, end);
      from = end + 1;
      if (end === cr) {
        if (from === stop) this.#afterCr = true;
        else if (bytes[from] === LF) from++;
      }
    }
    this.#own(bytes);
  }

  /** The body is over: hands the event that its last lines leave open, if any, to `onPayload`. */
  finish(onPayload: OnPayload): void {
    if (this.#lineLength > 0) this.#lineTo(NOTHING, 0, 0);
    this.#dispatch(NOTHING, onPayload);
  }

  /** A line is complete: what was kept of it, and `chunk[from..end)`. */
  #lineTo(chunk: Buffer, from: number, end: number): void {
    if (this.#lineLength > 0) {
      this.#keepLine(chunk, from, end);
      const length = this.#lineLength;
      this.#lineLength = 0;
      this.#takeLine(this.#line, 0, length);
      // The next line may be kept where this one lies.
      this.#own(this.#line);
    } else if (from === end) this.#dispatch(chunk);
    else this.#takeLine(chunk, from, end);
  }

  #takeLine(bytes: Buffer, from: number, end: number): void {
    if (this.#atStart) {
      this.#atStart = false;
      if (end - from >= BOM.length && BOM.equals(bytes.subarray(from, from + BOM.length))) from += BOM.length;
      if (from === end) {
        this.#dispatch(bytes);
        return;
      }
    }
    if (!isData(bytes, from, end)) return;
    let start = from + DATA.length;
    if (start < end) start++;
    if (start < end && bytes[start] === SPACE) start++;
    this.#keepData(bytes, start, end);
  }

  /** An event is over. @param bytes what is being read */
  #dispatch(bytes: Buffer, onPayload = this.#onPayload): void {
    this.#atStart = false;
    const isMultiline = this.#dataLines > 1;
    this.#dataLines = 0;
    const data = this.#isBorrowed ? bytes : this.#data;
    const start = this.#dataStart;
    const end = this.#dataEnd;
    this.#dataStart = this.#dataEnd = 0;
    this.#isBorrowed = false;
    if (!isBlank(data, start, end)) onPayload(data, start, end, isMultiline);
  }

  #keepLine(bytes: Buffer, from: number, end: number): void {
    this.#checkSize(this.#lineLength + this.#dataEnd - this.#dataStart + end - from);
    this.#line = grown(this.#line, this.#lineLength, end - from);
    bytes.copy(this.#line, this.#lineLength, from, end);
    this.#lineLength += end - from;
  }

  #keepData(bytes: Buffer, start: number, end: number): void {
    this.#checkSize(this.#dataEnd - this.#dataStart + end - start);
    this.#dataLines++;
    if (this.#dataLines === 1) {
      this.#dataStart = start;
      this.#dataEnd = end;
      this.#isBorrowed = true;
      return;
    }
    this.#own(bytes);
    this.#data = grown(this.#data, this.#dataEnd, end - start + 1);
    this.#data[this.#dataEnd++] = LF;
    bytes.copy(this.#data, this.#dataEnd, start, end);
    this.#dataEnd += end - start;
  }

  /** Copies the data that lies in `bytes`, before they are given up. */
  #own(bytes: Buffer): void {
    if (!this.#isBorrowed) return;
    this.#isBorrowed = false;
    this.#data = Buffer.from(bytes.subarray(this.#dataStart, this.#dataEnd));
    this.#dataEnd -= this.#dataStart;
    this.#dataStart = 0;
  }

  #checkSize(bytes: number): void {
    if (bytes > this.#maxEventBytes)
      throw new EventTooLarge(`one event is larger than ${this.#maxEventBytes} bytes`);
  }
}

/** What stands around the payload of an event as most servers write it: `data: `, and a blank line. */
export const EVENT_OPENING = 6;
export const EVENT_CLOSING = 2;

/** Whether what was read looks like one such event. What lies between may hold line ends all the same. */
export function looksLikeEvent(bytes: Buffer, start: number, stop: number): boolean {
  return (
    stop - start > EVENT_OPENING + EVENT_CLOSING &&
    bytes[stop - 1] === LF &&
    bytes[stop - 2] === LF &&
    bytes[start + DATA.length + 1] === SPACE &&
    isData(bytes, start, stop)
  );
}

/** Where `byte` stands in `bytes[from..stop)`; `stop` where it does not. */
function find(bytes: Buffer, byte: number, from: number, stop: number): number {
  // It looks past `stop`, but not far: either nothing is there, or the line end of a chunk's framing.
  const at = bytes.indexOf(byte, from);
  return at === -1 || at > stop ? stop : at;
}

/** Whether the line is a `data` field: `data:...`, or the field's bare name. */
function isData(bytes: Buffer, from: number, end: number): boolean {
  for (let index = 0; index < DATA.length; index++) {
    if (bytes[from + index] !== DATA[index]) return false;
  }
  return end - from === DATA.length || (end - from > DATA.length && bytes[from + DATA.length] === COLON);
}

function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    if (byte !== SPACE && byte !== LF && byte !== 9) return false;
  }
  return true;
}

/** `buffer`, or a larger copy of its first `used` bytes, with room for `more`. */
function grown(buffer: Buffer, used: number, more: number): Buffer {
  if (buffer.length - used >= more) return buffer;
  const larger = Buffer.allocUnsafe(Math.max(256, (used + more) * 2));
  buffer.copy(larger, 0, 0, used);
  return larger;
}
