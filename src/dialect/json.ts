/** Reading JSON of unknown shape. */
export type JsonRecord = Record<string, unknown>;

export const isRecord = (value: unknown): value is JsonRecord =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Deeper than any request or answer of a language model, and far below what exhausts a parser's stack or time. */
const MAX_DEPTH = 1000;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** What opens an array or an object, and what closes one, less the bit in which brackets and braces differ. */
const OPENING = 0x5b;
const CLOSING = 0x5d;
const KIND = 0x20;
const BLANKS: ReadonlySet<number> = new Set([...Buffer.from(" \t\n\r")]);
const AFTER_SCALAR: ReadonlySet<number> = new Set([...BLANKS, ...Buffer.from(",]}")]);

/** Whether JSON text nests deeper than parsers should be asked to go. Looked at before it is parsed: depth costs them most. */
export function nestsTooDeeply(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  if (end - start <= MAX_DEPTH) return false;
  let depth = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) at = stringEnd(bytes, at + 1, end);
    else if ((byte & ~KIND) === OPENING && ++depth > MAX_DEPTH) return true;
    else if ((byte & ~KIND) === CLOSING) depth--;
  }
  return false;
}

/** Where something stands in a text: `bytes[start..end)`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Where the value of a member of an object stands; of several of that name the last, which is the one that JSON.parse takes.
 * @param bytes the object's text, which must be JSON: it is walked through, not checked, and no tree of it is built
 */
export function memberSpan(bytes: Uint8Array, name: string): Span | undefined {
  let found: Span | undefined;
  let at = skipBlank(bytes, skipBlank(bytes, 0) + 1);
  while (bytes[at] === QUOTE) {
    const keyEnd = stringEnd(bytes, at + 1) + 1;
    const isNamed = JSON.parse(Buffer.from(bytes.subarray(at, keyEnd)).toString("utf8")) === name;
    const start = skipBlank(bytes, skipBlank(bytes, keyEnd) + 1);
    const end = valueEnd(bytes, start);
    if (isNamed) found = { start, end };
    at = skipBlank(bytes, skipBlank(bytes, end) + 1);
  }
  return found;
}

/** The first byte from `at` on that is no white space. */
export function skipBlank(bytes: Uint8Array, at: number): number {
  while (BLANKS.has(bytes[at] as number)) at++;
  return at;
}

function valueEnd(bytes: Uint8Array, at: number): number {
  let depth = 0;
  do {
    const byte = bytes[at] as number;
    if (byte === QUOTE) at = stringEnd(bytes, at + 1);
    else if ((byte & ~KIND) === OPENING) depth++;
    else if ((byte & ~KIND) === CLOSING) depth--;
    else if (depth === 0) return scalarEnd(bytes, at);
    at++;
  } while (depth > 0 && at < bytes.length);
  return at;
}

function scalarEnd(bytes: Uint8Array, at: number): number {
  while (at < bytes.length && !AFTER_SCALAR.has(bytes[at] as number)) at++;
  return at;
}

function stringEnd(bytes: Uint8Array, at: number, end = bytes.length): number {
  while (at < end && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}

/** The member of that name; undefined where there is none or `value` is no object. */
export const at = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);

/** The array of that name; empty where there is none. */
export function listAt(value: unknown, name: string): readonly unknown[] {
  const list = at(value, name);
  return Array.isArray(list) ? list : [];
}
