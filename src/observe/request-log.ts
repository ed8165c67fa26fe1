/** One log line for each creating request (ARCHITECTURE.md, "Log lines"), and one for each change of an upstream's health. */
import { type Fault, thrownAt } from "../core/errors.ts";
import type { EndFacts, Refusal, RequestFacts } from "../core/ports.ts";
import { shownName } from "./names.ts";
import type { Watcher } from "./observers.ts";

type Level = "info" | "warn" | "error";
type Write = (fields: object, message: string) => void;
/** As much of a pino logger as is written to. */
export type Lines = Readonly<Record<Level, Write>>;

/** Fields are named one by one: nothing of a request gets into a line because it was near. */
export class RequestLog implements Watcher {
  readonly #lines: Lines;

  constructor(lines: Lines) {
    this.#lines = lines;
  }

  refused(request: RequestFacts, outcome: Refusal, fault?: Fault): void {
    this.#lines[levelOf(fault)]({ ...asked(request), outcome, ...reason(fault) }, "request");
  }

  ended(facts: EndFacts): void {
    const { outcome, fault, upstream, attempts, timing, tokens, contentEvents, bytes } = facts;
    const fields = {
      ...asked(facts),
      outcome,
      ...reason(fault),
      ...(fault?.code === "internal_error" ? thrownAt(fault.cause) : {}),
      upstream,
      attempts,
      queue_ms: timing.queue_ms,
      upstream_ttft_ms: timing.upstream_ttft_ms,
      ttft_ms: timing.ttft_ms,
      duration_ms: timing.duration_ms,
      tokens,
      content_events: contentEvents,
      bytes,
    };
    this.#lines[levelOf(fault)](fields, "request");
  }

  upstreamHealth(upstream: string, state: "failing" | "well"): void {
    if (state === "well") this.#lines.info({ upstream }, "upstream serves again");
    else this.#lines.warn({ upstream }, "upstream failed too often in a row: it is asked last for a while");
  }
}

const asked = ({ origin, generation, model, transport, key }: RequestFacts): object => ({
  request_id: origin?.requestId,
  generation,
  model: model === undefined ? undefined : shownName(model),
  transport,
  key,
});

const reason = (fault: Fault | undefined): object =>
  fault === undefined ? {} : { code: fault.code, upstream_status: fault.said?.status };

/** What the client did or asked for is no warning: errors below 500, an upstream's own among them. */
function levelOf(fault: Fault | undefined): Level {
  if (fault === undefined || (fault.said?.status ?? fault.row.status) < 500) return "info";
  return fault.code === "internal_error" ? "error" : "warn";
}
