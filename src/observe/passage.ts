import type { TraceHeaders } from "../core/ports.ts";
import type { Watcher } from "./observers.ts";

/** What follows a request through a trace. */
export interface Tracing extends Watcher {
  /** The headers of a request that it wants to see in `Origin.trace`, in lower case. */
  readonly fields: readonly string[];
  /** Sends what is still held. Never rejects. */
  flush?(): Promise<void>;
}

/** W3C Trace Context, section 3.2.2: version, trace-id, parent-id and flags; later versions may say more. */
const TRACEPARENT =
  /^(?!ff)([\da-f]{2})-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}(-[\x21-\x7e]*)?$/;
/** Section 3.3: at least so many characters are to be passed on. */
const MAX_TRACESTATE = 512;
const PRINTABLE = /^[\x20-\x7e]+$/;

/**
 * Tracing where the gateway makes no spans: the client's place in its trace goes on to the upstream as it came (W3C Trace
 * Context, section 2.1: who takes no part passes the headers on). Not baggage: it may say what is no upstream's business,
 * and here nobody has chosen to send it.
 */
export const passage: Tracing = {
  fields: ["traceparent", "tracestate"],
  attempted: ({ origin }) => (origin?.trace === undefined ? undefined : passed(origin.trace)),
};

function passed({ traceparent, tracestate }: TraceHeaders): TraceHeaders | undefined {
  const version = TRACEPARENT.exec(traceparent ?? "");
  if (traceparent === undefined || version === null) return undefined;
  // Version 00 has nothing after the flags.
  if (version[1] === "00" && version[2] !== undefined) return undefined;
  const isKept =
    tracestate !== undefined && tracestate.length <= MAX_TRACESTATE && PRINTABLE.test(tracestate);
  return isKept ? { traceparent, tracestate } : { traceparent };
}
