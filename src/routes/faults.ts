import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyError } from "fastify";
import { asFault, type ErrorCode, Fault } from "../core/errors.ts";

/** An HTTP answer, ready to be sent. */
export interface FaultAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** What Fastify itself refuses, in the codes of the table. */
const FASTIFY_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "body_too_large",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "unsupported_media_type",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "invalid_request",
  FST_ERR_CTP_EMPTY_JSON_BODY: "invalid_json",
  FST_ERR_BAD_URL: "invalid_request",
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE_HEADER: "unsupported_media_type",
};

/** The fault for anything that a handler, a hook or Fastify threw. */
export function faultOf(thrown: unknown): Fault {
  if (thrown instanceof Fault) return thrown;
  const { code, statusCode } = thrown as Partial<FastifyError>;
  const known = code === undefined ? undefined : FASTIFY_CODES[code];
  if (known !== undefined) return new Fault(known, { cause: thrown });
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new Fault("invalid_request", { cause: thrown });
  }
  return asFault(thrown);
}

/** The HTTP answer for a fault (PROTOCOL.md, section 6): an upstream's refusal as it came, everything else our error object. */
export function faultAnswer(fault: Fault): FaultAnswer {
  const { said } = fault;
  const headers: Record<string, string> = { "content-type": "application/json; charset=utf-8" };
  const isRelayed = said?.status !== undefined;
  Object.assign(headers, said?.headers);
  if (fault.retryAfterS !== undefined) headers["retry-after"] = String(fault.retryAfterS);
  else if (fault.row.retry === "after") headers["retry-after"] = "1";
  // SDKs retry 409 and 5xx by themselves; what was relayed keeps the upstream's own word.
  if (!isRelayed && fault.row.retry === "no") headers["x-should-retry"] = "false";
  const body = said?.body ?? Buffer.from(JSON.stringify({ error: fault.toObject() }));
  return { status: said?.status ?? fault.row.status, headers, body: Buffer.from(body) };
}

/** Answers on a response that Fastify has let go of. */
export function writeFault(
  response: ServerResponse,
  fault: Fault,
  more: Record<string, string>,
  answer: (fault: Fault) => FaultAnswer = faultAnswer,
): void {
  if (response.headersSent || response.destroyed) return;
  const { status, headers, body } = answer(fault);
  response.writeHead(status, { ...headers, ...more, "content-length": body.length });
  response.end(body);
}

/**
 * Resets a socket that takes nothing of its answer for so long: its client would hold the answer and its place for good.
 * @param onDrop called when it comes to that
 */
export function dropIfNotTaken(
  response: ServerResponse,
  socket: Socket | null,
  stallMs: number,
  onDrop?: () => void,
): void {
  if (socket === null || response.writableFinished) return;
  const drop = (): void => {
    onDrop?.();
    socket.resetAndDestroy();
  };
  socket.setTimeout(stallMs, drop);
  // Before Node's own listener, which sets the time that an idle connection is kept.
  response.prependOnceListener("finish", () => socket.setTimeout(0, drop));
}
