/** What the chunks of a completion stream mean to a measurement. */
import { type GatewayTiming, type Observation, RequestFault } from "./observation.ts";

type Json = Readonly<Record<string, unknown>>;

const MESSAGE_CHARACTERS = 300;

/** @throws {RequestFault} `invalid_json` */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new RequestFault("invalid_json", `not JSON: ${text.slice(0, 80)}`);
  }
}

export const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Notes what one chunk brings: content, usage, or neither. A chunk with only a role, a finish reason or usage is no content.
 * @param now when its bytes arrived
 * @throws {RequestFault} for an error payload
 */
export function takeChunk(chunk: unknown, seen: Observation, now: number): void {
  if (!isJson(chunk)) throw new RequestFault("invalid_chunk", "a chunk is no JSON object");
  if (chunk["error"]) throw faultOf(chunk["error"], "error_payload");
  const choices = chunk["choices"];
  if (Array.isArray(choices) && choices.some(hasContent)) seen.contentMs.push(now);
  takeUsage(chunk["usage"], seen);
}

/** The last usage told is the whole one: some servers send a growing count with each chunk. */
export function takeUsage(usage: unknown, seen: Observation): void {
  if (!isJson(usage)) return;
  seen.promptTokens = countOf(usage["prompt_tokens"]) ?? seen.promptTokens;
  seen.completionTokens = countOf(usage["completion_tokens"]) ?? seen.completionTokens;
}

export function takeTiming(timing: unknown, seen: Observation): void {
  if (isJson(timing)) seen.timing = timing as GatewayTiming;
}

/**
 * The fault that an error object tells.
 * @param fallback the code where the object names none
 */
export function faultOf(error: unknown, fallback: string): RequestFault {
  const told: Json = isJson(error) ? error : { message: error };
  const code = told["code"] ?? told["type"] ?? fallback;
  const message = told["message"];
  const text = typeof message === "string" ? message : (JSON.stringify(error) ?? "");
  return new RequestFault(String(code), text.slice(0, MESSAGE_CHARACTERS));
}

const CONTENT_MEMBERS = [
  "content",
  "reasoning_content",
  "reasoning",
  "refusal",
  "tool_calls",
  "function_call",
  "audio",
] as const;

function hasContent(choice: unknown): boolean {
  if (!isJson(choice)) return false;
  if (isSomething(choice["text"])) return true;
  const delta = choice["delta"];
  return isJson(delta) && CONTENT_MEMBERS.some((name) => isSomething(delta[name]));
}

function isSomething(value: unknown): boolean {
  if (typeof value === "string" || Array.isArray(value)) return value.length > 0;
  return isJson(value);
}

const countOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
