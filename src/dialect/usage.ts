import type { TokenCounts } from "../core/ports.ts";
import { at, type JsonRecord } from "./json.ts";

const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;

/** The token counts of a `usage` object, as far as it tells them. */
export function tokensOf(usage: JsonRecord): TokenCounts {
  const told = {
    input: count(usage["prompt_tokens"]),
    output: count(usage["completion_tokens"]),
    cached: count(at(usage["prompt_tokens_details"], "cached_tokens")),
    reasoning: count(at(usage["completion_tokens_details"], "reasoning_tokens")),
  };
  return Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined));
}
