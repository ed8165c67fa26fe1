/** What one generation will say, worked out from its script and its request before the first byte. */
import type { Endpoint } from "./chunks.ts";
import { demoText } from "./demo.ts";
import { isRecord, type Script } from "./script.ts";

/** Tokens by index; synthetic ones are made as they are needed. */
export interface Tokens {
  readonly count: number;
  at(index: number): string;
}

export interface Plan {
  readonly reasoning: Tokens;
  readonly content: Tokens;
  /** Choices, each with the same tokens. */
  readonly n: number;
  readonly finishReason: string | null;
  readonly showUsage: boolean;
  readonly usage: Usage;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
}

/** A token chunk of a stream: which choice it belongs to and what it says. */
export interface PlannedToken {
  readonly choice: number;
  readonly text: string;
  readonly reasoning: boolean;
}

export type RequestBody = Readonly<Record<string, unknown>>;

export function planGeneration(endpoint: Endpoint, body: RequestBody, script: Script, hint: string): Plan {
  const { tokens, cut } = contentTokens(body, script, hint);
  // Completions have no place for reasoning.
  const reasoning = wordTokens(endpoint === "chat" ? (script.reasoning ?? "") : "");
  const n = script.n ?? requestedChoices(body);
  return {
    reasoning,
    content: tokens,
    n,
    finishReason: script.finish_reason === undefined ? (cut ? "length" : "stop") : script.finish_reason,
    showUsage: script.usage ?? asksForUsage(body),
    usage: usageOf(body, n, reasoning.count, tokens.count),
  };
}

/** How many token chunks a plan has over all its choices. */
export function plannedTokens(plan: Plan): number {
  return (plan.reasoning.count + plan.content.count) * plan.n;
}

/** The token chunk at an index, the choices taking turns. */
export function plannedToken(plan: Plan, index: number): PlannedToken {
  const choice = index % plan.n;
  const step = Math.floor(index / plan.n);
  const reasoning = step < plan.reasoning.count;
  const text = reasoning ? plan.reasoning.at(step) : plan.content.at(step - plan.reasoning.count);
  return { choice, text, reasoning };
}

export function textOfTokens(tokens: Tokens): string {
  return Array.from({ length: tokens.count }, (_, index) => tokens.at(index)).join("");
}

/** Words with the space before them; together they are the text again. */
export function wordTokens(text: string): Tokens {
  const words: readonly string[] = text.match(/\s*\S+|\s+/g) ?? [];
  return { count: words.length, at: (index) => words[index] ?? "" };
}

/** The script's words, or the demo's, which alone heed the request's own limit of tokens. */
function contentTokens(body: RequestBody, script: Script, hint: string): { tokens: Tokens; cut: boolean } {
  if (script.tokens !== undefined) {
    return { tokens: { count: script.tokens, at: (index) => ` tok${index}` }, cut: false };
  }
  if (script.text !== undefined) return { tokens: wordTokens(script.text), cut: false };
  const tokens = wordTokens(demoText(body, hint));
  const limit = body["max_completion_tokens"] ?? body["max_tokens"];
  if (typeof limit !== "number" || limit < 0 || limit >= tokens.count) return { tokens, cut: false };
  return { tokens: { count: Math.floor(limit), at: tokens.at }, cut: true };
}

function requestedChoices(body: RequestBody): number {
  const n = body["n"];
  return typeof n === "number" && Number.isInteger(n) && n >= 1 && n <= 128 ? n : 1;
}

function asksForUsage(body: RequestBody): boolean {
  const options = body["stream_options"];
  return isRecord(options) && options["include_usage"] === true;
}

function usageOf(body: RequestBody, n: number, reasoning: number, content: number): Usage {
  const prompt = Math.ceil(JSON.stringify(body["messages"] ?? body["prompt"] ?? "").length / 4);
  const completion = (reasoning + content) * n;
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    completion_tokens_details: { reasoning_tokens: reasoning * n },
  };
}
