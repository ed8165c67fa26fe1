/**
 * What a streamed answer must become, worked out from its bytes at one go: the WHATWG event stream rules, and the contract's
 * own on framing, content and endings (sections 2, 5 and 6). It shares no code with the gateway, on purpose.
 */

export interface Verdict {
  /** The events, in order; none where it failed before any content. */
  readonly payloads: readonly Buffer[];
  readonly status: "completed" | "incomplete" | "failed";
  readonly usage: unknown;
  readonly failure?: Failure;
}

export interface Failure {
  /** What the ending's error must hold; no `message` where the words are the gateway's own. */
  readonly error: Json;
  /** The upstream's payload, where it goes out on the stock wire as it came. */
  readonly said?: Buffer;
}

export type Json = Readonly<Record<string, unknown>>;

const CONTENT = /^(content|reasoning|reasoning_content|refusal|tool_calls|function_call|audio)$/;

export const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Every payload of an event stream, and `[DONE]` among them. */
export function payloadsOf(body: Buffer): Buffer[] {
  // Latin-1 keeps each byte as one character, so that text tools do for bytes.
  const lines = body
    .toString("latin1")
    .replace(/^\xef\xbb\xbf/, "")
    .split(/\r\n|\n|\r/);
  const unfinished = lines.pop() ?? "";
  const payloads: string[] = [];
  let data: string[] = [];
  for (const line of lines) {
    if (line !== "") data.push(...dataOf(line));
    else if (data.length > 0) {
      payloads.push(data.join("\n"));
      data = [];
    }
  }
  data.push(...dataOf(unfinished));
  const last = data.join("\n");
  if (last === "[DONE]" || jsonOf(Buffer.from(last, "latin1")) !== undefined) payloads.push(last);
  return payloads.filter((payload) => payload !== "").map((payload) => Buffer.from(payload, "latin1"));
}

function dataOf(line: string): string[] {
  const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
  return field === "data" ? [value] : [];
}

/** The JSON value; undefined for what is not JSON in UTF-8. */
export function jsonOf(payload: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload));
  } catch {
    return undefined;
  }
}

/** @param choicesAsked `n` of the request */
export function judge(body: Buffer, choicesAsked = 1): Verdict {
  const events: Json[] = [];
  const payloads: Buffer[] = [];
  let usage: unknown;
  for (const payload of payloadsOf(body)) {
    if (payload.toString() === "[DONE]") return endedWell(payloads, events, usage);
    const value = jsonOf(payload);
    if (!isObject(value)) return failed(payloads, events, usage, { error: { code: "upstream_error" } });
    usage = usageIn(value) ?? usage;
    if (value["error"]) return failed(payloads, events, usage, failureOf(value["error"], payload));
    payloads.push(payload);
    events.push(value);
  }
  const choices = events.flatMap(choicesOf);
  const seen = new Set(choices.map(indexOf)).size;
  const finished = new Set(choices.filter(reasonOf).map(indexOf)).size;
  if (finished >= 1 && finished >= Math.min(choicesAsked, seen)) return endedWell(payloads, events, usage);
  return failed(payloads, events, usage, {
    error: { code: "upstream_disconnected", type: "upstream_error" },
  });
}

function endedWell(payloads: Buffer[], events: Json[], usage: unknown): Verdict {
  const reasons = events.flatMap(choicesOf).map(reasonOf);
  const isCut = reasons.some((reason) => reason === "length" || reason === "content_filter");
  return { payloads, status: isCut ? "incomplete" : "completed", usage };
}

function failed(payloads: Buffer[], events: Json[], usage: unknown, failure: Failure): Verdict {
  return { payloads: events.some(hasContent) ? payloads : [], status: "failed", usage, failure };
}

function failureOf(error: unknown, payload: Buffer): Failure {
  if (!isObject(error) || typeof error["message"] !== "string") return { error: { code: "upstream_error" } };
  const { message, type, param, code } = error;
  const whole = {
    message,
    type: type ?? "upstream_error",
    param: param ?? null,
    code: String(code ?? "upstream_error"),
  };
  return { error: whole, said: payload };
}

function hasContent(event: Json): boolean {
  return choicesOf(event).some((choice) => {
    const delta = isObject(choice["delta"]) ? choice["delta"] : {};
    const members = Object.keys(delta).filter((name) => CONTENT.test(name));
    return [choice["text"], ...members.map((name) => delta[name])].some(isFilled);
  });
}

const isFilled = (value: unknown): boolean =>
  typeof value === "string" ? value !== "" : typeof value === "object" && Object.keys(value ?? {}).length > 0;

/** Groq tells usage under a name of its own. */
function usageIn(event: Json): unknown {
  const own = isObject(event["x_groq"]) ? event["x_groq"]["usage"] : undefined;
  return [event["usage"], own].find(isObject);
}

export const choicesOf = (event: Json): Json[] => {
  const { choices } = event as { choices?: unknown };
  return Array.isArray(choices) ? choices.filter(isObject) : [];
};

const indexOf = (choice: Json): string => String(choice["index"] ?? 0);

function reasonOf(choice: Json): string {
  const reason = choice["finish_reason"];
  return typeof reason === "string" ? reason : "";
}

export interface Assembled {
  readonly text: Readonly<Record<string, string>>;
  readonly reasons: Readonly<Record<string, readonly string[]>>;
}

/** What a client makes of the events: the text and the finish reasons of each choice. */
export function assemble(payloads: readonly Buffer[]): Assembled {
  const text: Record<string, string> = {};
  const reasons: Record<string, string[]> = {};
  for (const choice of payloads.map(jsonOf).filter(isObject).flatMap(choicesOf)) {
    const index = indexOf(choice);
    const delta = isObject(choice["delta"]) ? choice["delta"] : {};
    const words = wordsOf(delta["content"] ?? choice["text"]);
    if (words !== undefined) text[index] = (text[index] ?? "") + words;
    const reason = reasonOf(choice);
    if (reason !== "") reasons[index] = [...(reasons[index] ?? []), reason];
  }
  return { text, reasons };
}

function wordsOf(content: unknown): string | undefined {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return undefined;
  return content.map((part) => (isObject(part) && part["type"] === "text" ? part["text"] : "")).join("");
}
