import type { Fault } from "../core/errors.ts";
import type { AttemptEnd, Call, Intake } from "../core/ports.ts";

/**
 * What an upstream's events mean. A translator follows one answer: it turns each upstream frame into no, one or several log
 * entries, and tells when and how the answer has ended (PROTOCOL.md, section 5).
 */
export interface Translator {
  /**
   * Takes a payload that says what the one before it said, with another text, and does so without reading it anew.
   * @returns whether it was one: a payload of one line; any other is untouched
   */
  repeat(bytes: Buffer, start: number, end: number, intake: Intake): boolean;
  /**
   * One payload of the stream, `bytes[start..end)`.
   * @returns the end, where this payload is one; the rest of the stream is then of no interest
   */
  frame(
    bytes: Buffer,
    start: number,
    end: number,
    isMultiline: boolean,
    intake: Intake,
  ): AttemptEnd | undefined;
  /** Whether a block that the body's end left open is whole enough to count as a frame. */
  isWhole(bytes: Buffer): boolean;
  /** The stream stopped without saying so; `why` is the fault to report unless what came was complete. */
  stopped(why: Fault): AttemptEnd;
  /** The whole body of an answer that was not streamed. */
  body(bytes: Buffer, intake: Pick<Intake, "append">): AttemptEnd;
}

export interface Dialect {
  /** The endpoints that speak it. */
  readonly endpoints: readonly string[];
  translator(call: Call): Translator;
}
