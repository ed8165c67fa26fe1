/**
 * OpenAI's Chat Completions and legacy Completions: payloads pass unchanged, one entry for each. Read here is only what tells
 * content, finish reasons, usage and errors; every provider's oddities are met by reading little and assuming less.
 */
import { isUtf8 } from "node:buffer";
import { Fault } from "../core/errors.ts";
import { type AttemptEnd, type Call, CONTENT, type Intake, MULTILINE } from "../core/ports.ts";
import type { Dialect, Translator } from "./dialect.ts";
import { faultOfPayload } from "./error-payload.ts";
import { at, isRecord, type JsonRecord, listAt, nestsTooDeeply } from "./json.ts";
import { Likeness } from "./likeness.ts";
import { tokensOf } from "./usage.ts";

const DONE = Buffer.from("[DONE]");
const CONTENT_MEMBERS = [
  "content",
  "reasoning",
  "reasoning_content",
  "refusal",
  "tool_calls",
  "function_call",
  "audio",
];
const TRUNCATED = new Set(["length", "content_filter"]);
const LF = 10;
const CR = 13;

class ChatTranslator implements Translator {
  readonly #choicesAsked: number;
  readonly #withholdUsage: boolean;
  readonly #likeness = new Likeness();
  readonly #seen = new Set<unknown>();
  /** Finish reasons, by choice. */
  readonly #finished = new Map<unknown, string>();
  #isTruncated = false;
  #usage: JsonRecord | undefined;

  constructor(call: Call) {
    this.#choicesAsked = Math.max(1, call.choices);
    this.#withholdUsage = call.withholdUsage;
  }

  repeat(bytes: Buffer, start: number, end: number, intake: Intake): boolean {
    if (!this.#likeness.matches(bytes, start, end)) return false;
    intake.append(bytes, start, end, CONTENT);
    return true;
  }

  frame(
    bytes: Buffer,
    start: number,
    end: number,
    isMultiline: boolean,
    intake: Intake,
  ): AttemptEnd | undefined {
    if (!isMultiline && this.repeat(bytes, start, end, intake)) return undefined;
    if (isDone(bytes, start, end)) return this.#endedWell();
    const payload = parse(bytes, start, end);
    if (payload === undefined) return this.#failed(notJson());
    if (isRecord(payload)) {
      this.#readUsage(payload);
      const fault = faultOfPayload(payload, bytes.subarray(start, end));
      if (fault !== undefined) return this.#failed(fault);
      if (this.#withholdUsage && isUsageOnly(payload)) return undefined;
    }
    const flags = (isRecord(payload) ? this.#read(payload, "delta") : 0) | (isMultiline ? MULTILINE : 0);
    intake.append(bytes, start, end, flags);
    const content = flags === CONTENT ? contentAlone(payload) : undefined;
    if (content !== undefined) this.#likeness.learn(bytes, start, end, content);
    return undefined;
  }

  isWhole(bytes: Buffer): boolean {
    return isDone(bytes, 0, bytes.length) || parse(bytes, 0, bytes.length) !== undefined;
  }

  stopped(why: Fault): AttemptEnd {
    const needed = Math.max(1, Math.min(this.#choicesAsked, this.#seen.size));
    return this.#finished.size >= needed ? this.#endedWell() : this.#failed(why);
  }

  body(bytes: Buffer, intake: Pick<Intake, "append">): AttemptEnd {
    const payload = parse(bytes, 0, bytes.length);
    if (!isRecord(payload)) return this.#failed(notJson());
    this.#readUsage(payload);
    const fault = faultOfPayload(payload, bytes);
    if (fault !== undefined) return this.#failed(fault);
    const isMultiline = bytes.includes(LF) || bytes.includes(CR);
    const flags = this.#read(payload, "message") | (isMultiline ? MULTILINE : 0);
    intake.append(bytes, 0, bytes.length, flags | CONTENT);
    return this.#endedWell();
  }

  /** Notes choices and finish reasons; returns the entry's flags. */
  #read(payload: JsonRecord, part: "delta" | "message"): number {
    let flags = 0;
    const choices = listAt(payload, "choices");
    for (const choice of choices) {
      if (!isRecord(choice)) continue;
      const index = choice["index"] ?? 0;
      this.#seen.add(index);
      this.#readFinish(choice["finish_reason"], index);
      if (hasContent(at(choice, part)) || isFilled(choice["text"])) flags |= CONTENT;
    }
    return flags;
  }

  #readFinish(reason: unknown, index: unknown): void {
    if (typeof reason !== "string" || reason === "") return;
    this.#finished.set(index, reason);
    if (TRUNCATED.has(reason)) this.#isTruncated = true;
  }

  /** The last usage that came counts; Groq tells it under `x_groq`. */
  #readUsage(payload: JsonRecord): void {
    const usage = payload["usage"] ?? at(payload["x_groq"], "usage");
    if (isRecord(usage)) this.#usage = usage;
  }

  #endedWell(): AttemptEnd {
    const finishReasons = [...this.#finished.values()];
    return { status: this.#isTruncated ? "incomplete" : "completed", ...this.#told(finishReasons) };
  }

  #failed(fault: Fault): AttemptEnd {
    const finishReasons = [...this.#seen].map((choice) => this.#finished.get(choice) ?? "error");
    return { status: "failed", fault, ...this.#told(finishReasons) };
  }

  #told(finishReasons: readonly string[]): Pick<AttemptEnd, "usage" | "tokens" | "finishReasons"> {
    return {
      ...(this.#usage === undefined ? {} : { usage: this.#usage, tokens: tokensOf(this.#usage) }),
      ...(finishReasons.length === 0 ? {} : { finishReasons }),
    };
  }
}

/** The Chat Completions dialect, which legacy Completions share. */
export const chat: Dialect = {
  endpoints: ["/v1/chat/completions", "/v1/completions"],
  translator: (call) => new ChatTranslator(call),
};

const notJson = (): Fault =>
  new Fault("upstream_error", { message: "The upstream sent a payload that is not JSON in UTF-8." });

function isDone(bytes: Buffer, start: number, end: number): boolean {
  // "[DONE]", perhaps with white space around it.
  if (end - start < DONE.length || end - start > 64) return false;
  return bytes.toString("latin1", start, end).trim() === "[DONE]";
}

/** The payload's value, or undefined where it is not JSON in UTF-8. */
function parse(bytes: Buffer, start: number, end: number): unknown {
  if (!isUtf8(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end))) return undefined;
  if (nestsTooDeeply(bytes, start, end)) return undefined;
  try {
    return JSON.parse(bytes.toString("utf8", start, end));
  } catch {
    // Not a hidden fault: the caller ends the generation as failed.
    return undefined;
  }
}

/** The text of an event that says nothing else of what is read here. */
function contentAlone(payload: unknown): string | undefined {
  const [choice, ...others] = listAt(payload, "choices");
  if (others.length > 0 || isRecord(at(payload, "usage")) || at(payload, "x_groq") !== undefined)
    return undefined;
  const content = at(at(choice, "delta"), "content");
  const isOver = typeof at(choice, "finish_reason") === "string";
  return typeof content === "string" && content !== "" && !isOver ? content : undefined;
}

function hasContent(delta: unknown): boolean {
  return isRecord(delta) && CONTENT_MEMBERS.some((member) => isFilled(delta[member]));
}

/** The chunk that `stream_options.include_usage` adds: usage and no choices. */
const isUsageOnly = (payload: JsonRecord): boolean =>
  isRecord(payload["usage"]) && listAt(payload, "choices").length === 0;

/** A non-empty string, array or object. */
function isFilled(value: unknown): boolean {
  if (typeof value === "string" || Array.isArray(value)) return value.length > 0;
  return isRecord(value) && Object.keys(value).length > 0;
}
