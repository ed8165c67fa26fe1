/** The fault for a request that got no answer. */
import { Fault } from "../core/errors.ts";

/** Why a request was given up: the reason that its signal was aborted with. */
export function givenUp({ reason }: AbortSignal): Fault {
  if (reason instanceof Fault) return reason;
  return new Fault((reason as Error).name === "TimeoutError" ? "upstream_timeout" : "cancelled");
}

/** Codes of a connection that was there and broke before the answer. */
const BROKEN = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET", "UND_ERR_DESTROYED", "UND_ERR_CLOSED"]);

/** Why no answer came to a request that nobody gave up. */
export function unreached(thrown: unknown): Fault {
  if (thrown instanceof Fault) return thrown;
  const code = codeOf(thrown);
  if (code !== undefined && BROKEN.has(code)) return new Fault("upstream_disconnected", { cause: thrown });
  const message = `The upstream could not be reached${code === undefined ? "" : ` (${code})`}.`;
  return new Fault("upstream_unreachable", { message, cause: thrown });
}

/** The first system or undici error code along the chain of causes. */
function codeOf(thrown: unknown): string | undefined {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    const { code } = error as NodeJS.ErrnoException;
    if (typeof code === "string") return code;
    if (error instanceof AggregateError) return codeOf(error.errors[0]);
  }
  return undefined;
}
