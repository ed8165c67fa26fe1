/** Answers that are not streamed: one JSON after all the delays. */
import { wholeAnswer } from "./chunks.ts";
import { faultPayload } from "./faults.ts";
import { plannedTokens, textOfTokens } from "./plan.ts";
import type { LateFaultKind, ScriptFault } from "./script.ts";
import type { Job } from "./stream.ts";

const JSON_TYPE = { "content-type": "application/json" };

/** The completion's JSON. */
export function wholeBody({ plan, shape }: Job): string {
  const choice = {
    text: textOfTokens(plan.content),
    reasoning: textOfTokens(plan.reasoning),
    finishReason: plan.finishReason,
  };
  return wholeAnswer(shape, new Array(plan.n).fill(choice), plan.usage);
}

export async function answerWhole(job: Job): Promise<void> {
  const { out, script, plan } = job;
  const tokens = plannedTokens(plan);
  await out.sleep((script.first_token_ms ?? 0) + tokens * (script.pace_ms ?? 0));
  if (script.fault !== undefined) return failWhole(job, script.fault);
  const body = wholeBody(job);
  out.head(200, { ...JSON_TYPE, "content-length": Buffer.byteLength(body) });
  out.write(body, { tokens, events: 0 });
  out.end();
}

/** A fault that belongs in a stream, as near as a single body comes to it: its payload alone, or half of the JSON. */
async function failWhole(job: Job, fault: ScriptFault): Promise<void> {
  const { out } = job;
  const kind = fault.kind as LateFaultKind;
  const payload = fault.body ?? faultPayload(kind);
  if (payload !== undefined) return out.answer(200, JSON_TYPE, payload, "faulted");
  if (kind === "not_utf8")
    return out.answer(200, JSON_TYPE, Buffer.from(`{"text":"café"}`, "latin1"), "faulted");
  const body = Buffer.from(wholeBody(job));
  out.head(200, JSON_TYPE);
  out.write(body.subarray(0, body.length / 2), { tokens: 0, events: 0 });
  if (kind === "hang" || kind === "comments") return out.hang();
  if (kind === "reset") return out.reset();
  out.end("faulted");
}
