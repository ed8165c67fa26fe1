/**
 * What upstream and load have agreed on: how a request asks for its stream, and the mark that every event carries, with the
 * stream's number, the event's own number and when it was sent, so that loss, order and latency are seen at the far end.
 */

/** Bytes of one event, with its `data: ` and its blank line. */
export const EVENT_BYTES = 330;

export interface Ask {
  /** The load's number for the stream. */
  readonly stream: number;
  /** Content events before the finish. */
  readonly events: number;
  /** Events a second; 0 is as fast as the connection takes them. */
  readonly pace: number;
}

/** Microseconds of CLOCK_MONOTONIC, which on Linux all processes share. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1000;
}

/** Stands in the prompt, the one part of a request that every gateway passes on unchanged. */
const promptOf = ({ stream, events, pace }: Ask): string => `bench ${stream} ${events} ${pace} bench`;
const PROMPT = /bench (\d+) (\d+) ([\d.]+) bench/;

/** A chat completions body. */
export const requestOf = (ask: Ask, stream = true): object => ({
  model: "bench",
  stream,
  messages: [{ role: "user", content: promptOf(ask) }],
});

/** @throws Error where the body names no stream */
export function askIn(body: string): Ask {
  const [, stream, events, pace] = PROMPT.exec(body) ?? [];
  if (stream === undefined) throw new Error(`no stream is named in ${body}`);
  return { stream: Number(stream), events: Number(events), pace: Number(pace) };
}

/** Opens a mark; no other byte of an event is a tilde. */
export const MARK = "~";
const TILDE = 0x7e;
const DIGITS = { stream: 6, seq: 8, sent: 16, arrived: 16 } as const;
export const MARK_BYTES = 1 + DIGITS.stream + DIGITS.seq + DIGITS.sent + DIGITS.arrived;

const HEAD =
  'data: {"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","object":"chat.completion.chunk","created":1767225600,"model":"bench","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":';
const TAIL = ',"logprobs":null,"finish_reason":null}]}\n\n';
const OPEN = '{"content":"';
const FILL = ".".repeat(EVENT_BYTES - (HEAD + OPEN + TAIL).length - MARK_BYTES - '"}'.length);

/** The finish and `[DONE]`. */
export const ENDING = `${HEAD}{}${TAIL.replace("null}", '"stop"}')}data: [DONE]\n\n`;

const padded = (value: number, digits: number): string => String(Math.floor(value)).padStart(digits, "0");

/** The text before an event's own number, and the text after its time: both stay the same over a stream. */
export function frameOf(stream: number, arrivedUs: number): readonly [before: string, after: string] {
  return [
    `${HEAD}${OPEN}${MARK}${padded(stream, DIGITS.stream)}`,
    `${padded(arrivedUs, DIGITS.arrived)}${FILL}"}${TAIL}`,
  ];
}

/** @param sentUs when the event is sent, of `nowUs` */
export const numbered = (seq: number, sentUs: number): string =>
  padded(seq, DIGITS.seq) + padded(sentUs, DIGITS.sent);

export interface Mark {
  stream: number;
  seq: number;
  sentUs: number;
  /** When the upstream had read the request. */
  arrivedUs: number;
}

/**
 * Reads the mark that starts at `at` into `mark`.
 * @returns false where no whole mark stands there
 */
export function readMark(bytes: Buffer, at: number, mark: Mark): boolean {
  if (bytes[at] !== TILDE || at + MARK_BYTES > bytes.length) return false;
  let from = at + 1;
  mark.stream = numberAt(bytes, from, (from += DIGITS.stream));
  mark.seq = numberAt(bytes, from, (from += DIGITS.seq));
  mark.sentUs = numberAt(bytes, from, (from += DIGITS.sent));
  mark.arrivedUs = numberAt(bytes, from, from + DIGITS.arrived);
  return mark.stream + mark.seq + mark.sentUs + mark.arrivedUs >= 0;
}

/** NaN where something else than digits stands there. */
function numberAt(bytes: Buffer, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] as number) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}
