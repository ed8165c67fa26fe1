/**
 * Chat chunks as parts of the UI message stream, version 1, which `useChat` of the AI SDK reads. What a payload becomes follows
 * from the payloads before it and nothing else, so that every reading of a log gives the same parts.
 */
import { at, isRecord, listAt } from "./json.ts";

/** One part: the JSON of one event. */
export interface UiPart {
  readonly type: string;
  readonly [member: string]: unknown;
}

type Prose = "text" | "reasoning";

interface Call {
  /** What the upstream tells its fragments by. */
  readonly key: unknown;
  readonly id: string;
  readonly name: string;
}

/** Where an answer stands. It is never changed, so that readers can share it. */
export interface UiState {
  /** The part of text that is open. */
  readonly open?: { readonly prose: Prose; readonly id: string } | undefined;
  /** How many parts of text there were. */
  readonly proses: number;
  readonly calls: readonly Call[];
  /** The upstream's own word. */
  readonly finishReason?: string | undefined;
}

export const UI_START: UiState = { proses: 0, calls: [] };

const FINISH_REASONS: Readonly<Record<string, string>> = {
  stop: "stop",
  length: "length",
  content_filter: "content-filter",
  tool_calls: "tool-calls",
  function_call: "tool-calls",
};

/** The parts that open a message. */
export const opening = (messageId: string): UiPart[] => [
  { type: "start", messageId },
  { type: "start-step" },
];

/**
 * Reads the payloads of one answer, in order, from a state on. Only the first choice is read: a message has one.
 * A tool's input is passed on as it comes, and kept by nobody: `ended` is told it.
 */
export class UiTranslator {
  /** What the ids of calls without one begin with. */
  readonly #prefix: string;
  #open: UiState["open"];
  #proses: number;
  #calls: Call[];
  #finishReason: string | undefined;

  /** @param generation the generation's id */
  constructor(generation: string, { open, proses, calls, finishReason }: UiState = UI_START) {
    this.#prefix = `call_${generation}`;
    this.#open = open;
    this.#proses = proses;
    this.#calls = [...calls];
    this.#finishReason = finishReason;
  }

  get state(): UiState {
    return {
      open: this.#open,
      proses: this.#proses,
      calls: [...this.#calls],
      finishReason: this.#finishReason,
    };
  }

  /** The parts that a payload adds. */
  payload(json: string): UiPart[] {
    const parts: UiPart[] = [];
    for (const choice of listAt(JSON.parse(json), "choices")) {
      if ((at(choice, "index") ?? 0) !== 0) continue;
      this.#delta(at(choice, "delta"), parts);
      const reason = at(choice, "finish_reason");
      if (typeof reason === "string" && reason !== "") this.#finishReason = reason;
    }
    return parts;
  }

  /**
   * The parts that close a message which ended well.
   * @param inputOf the whole input of a call, as it was passed on
   */
  ended(inputOf: (toolCallId: string) => string): UiPart[] {
    const parts: UiPart[] = [];
    this.#close(parts);
    for (const { id, name } of this.#calls) parts.push(inputPart(id, name, inputOf(id)));
    const reason = this.#finishReason;
    const told = reason === undefined ? {} : { finishReason: FINISH_REASONS[reason] ?? "other" };
    parts.push({ type: "finish-step" }, { type: "finish", ...told });
    return parts;
  }

  #delta(delta: unknown, parts: UiPart[]): void {
    if (!isRecord(delta)) return;
    this.#prose("reasoning", firstText(delta["reasoning_content"], delta["reasoning"]), parts);
    const { content } = delta;
    if (typeof content === "string") this.#prose("text", content, parts);
    else for (const [prose, text] of contentParts(content)) this.#prose(prose, text, parts);
    this.#prose("text", firstText(delta["refusal"]), parts);
    for (const call of listAt(delta, "tool_calls"))
      this.#call(at(call, "index"), at(call, "id"), at(call, "function"), parts);
    if (isRecord(delta["function_call"])) this.#call("legacy", undefined, delta["function_call"], parts);
  }

  #prose(prose: Prose, delta: string, parts: UiPart[]): void {
    if (delta === "") return;
    if (this.#open?.prose !== prose) {
      this.#close(parts);
      this.#open = { prose, id: `${prose}-${++this.#proses}` };
      parts.push({ type: `${prose}-start`, id: this.#open.id });
    }
    parts.push({ type: `${prose}-delta`, id: this.#open.id, delta });
  }

  #close(parts: UiPart[]): void {
    if (this.#open === undefined) return;
    parts.push({ type: `${this.#open.prose}-end`, id: this.#open.id });
    this.#open = undefined;
  }

  #call(index: unknown, id: unknown, fragment: unknown, parts: UiPart[]): void {
    const name = at(fragment, "name");
    const call = this.#known(index, id, name) ?? this.#begun(index, id, name, parts);
    const args = at(fragment, "arguments");
    const inputTextDelta = typeof args === "string" || args == null ? args : JSON.stringify(args);
    if (call !== undefined && inputTextDelta)
      parts.push({ type: "tool-input-delta", toolCallId: call.id, inputTextDelta });
  }

  /** The call that a fragment goes on with: the one of its index, else of its id, else the last. */
  #known(index: unknown, id: unknown, name: unknown): Call | undefined {
    const isNamed = typeof id === "string" && id !== "";
    const found =
      index == null
        ? this.#calls.findLast((call) => (isNamed ? call.id === id : name == null))
        : this.#calls.findLast((call) => call.key === index);
    // Some servers give every call the index 0: another id with a name is another call.
    return found !== undefined && isNamed && found.id !== id && isFilled(name) ? undefined : found;
  }

  /** A new call; none where the fragment names no tool. */
  #begun(index: unknown, id: unknown, name: unknown, parts: UiPart[]): Call | undefined {
    if (!isFilled(name)) return undefined;
    this.#close(parts);
    const key = index ?? `without index ${this.#calls.length}`;
    const call = { key, id: isFilled(id) ? id : `${this.#prefix}_${this.#calls.length}`, name };
    this.#calls.push(call);
    parts.push({ type: "tool-input-start", toolCallId: call.id, toolName: name });
    return call;
  }
}

const isFilled = (value: unknown): value is string => typeof value === "string" && value !== "";

const firstText = (...values: readonly unknown[]): string => values.find(isFilled) ?? "";

/** Content in parts: text, and the thinking that Mistral's models send among it. */
function contentParts(content: unknown): [Prose, string][] {
  if (!Array.isArray(content)) return [];
  return content.flatMap((part): [Prose, string][] => {
    if (at(part, "type") !== "thinking") return [["text", firstText(at(part, "text"))]];
    return listAt(part, "thinking").map((thought) => ["reasoning", firstText(at(thought, "text"))]);
  });
}

/** A call's whole input. One that is no JSON, since it was cut by a limit, must not be taken for a call. */
function inputPart(toolCallId: string, toolName: string, text: string): UiPart {
  try {
    const input: unknown = text.trim() === "" ? {} : JSON.parse(text);
    return { type: "tool-input-available", toolCallId, toolName, input };
  } catch {
    const errorText = "The tool's input is no whole JSON.";
    return { type: "tool-input-error", toolCallId, toolName, input: text, errorText };
  }
}
