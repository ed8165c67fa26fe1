import type { ErrorCode, Fault } from "../core/errors.ts";
import type { Refusal, RequestFacts } from "../core/ports.ts";
import type { House } from "./house.ts";

/** What the gateway has counted itself by the time it throws; a second subscription was counted as attached. */
const COUNTED: ReadonlySet<ErrorCode> = new Set([
  "draining",
  "overloaded",
  "queue_full",
  "rate_limited",
  "already_subscribed",
  "idempotency_conflict",
  "model_not_found",
]);

/** Counts a creating request that failed before there was a generation, each once. */
export function countRefusal({ gateway }: House, fault: Fault, request: Omit<RequestFacts, "model">): void {
  if (COUNTED.has(fault.code)) return;
  gateway.observer.refused({ ...request, model: undefined }, outcomeOf(fault), fault);
}

function outcomeOf({ row: { status } }: Fault): Refusal {
  if (status === 401 || status === 403) return "unauthorized";
  if (status === 429) return "overloaded";
  return status < 500 ? "invalid" : "failed";
}
