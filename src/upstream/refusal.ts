import { type ErrorObject, Fault } from "../core/errors.ts";
import { completed, faultOfPayload } from "../dialect/error-payload.ts";
import { isRecord } from "../dialect/json.ts";
import type { Body } from "./body.ts";

/** An error answer is read up to here; a longer one is cut and wrapped. */
const MAX_BYTES = 1_048_576;
/** Of a text that is no JSON error, so much is quoted. */
const MAX_QUOTED = 2000;

/**
 * The fault for an upstream's answer that is not a success (PROTOCOL.md, section 6): its 4xx reach the client with status and
 * body, except 401 and 403, which are the operator's to mend; everything else is a 502.
 */
export async function refusalOf(
  status: number,
  headers: Readonly<Record<string, string>>,
  body: Body,
): Promise<Fault> {
  // Where it breaks off, the status tells the failure already.
  const { bytes } = await readAll(body, MAX_BYTES);
  if (status === 401 || status === 403) {
    return new Fault("upstream_error", {
      message: `The upstream refused the gateway's credentials (status ${status}).`,
    });
  }
  const value = parsed(bytes);
  const own = errorOf(value, bytes);
  if (status >= 400 && status < 500) {
    if (own !== undefined)
      return new Fault("upstream_error", { ...own, said: { status, headers, body: bytes } });
    const object = wrapped(status, value, bytes);
    const body = Buffer.from(JSON.stringify({ error: object }));
    return new Fault("upstream_error", { message: object.message, object, said: { status, headers, body } });
  }
  const message = own?.message ?? messageOf(value) ?? `The upstream answered with status ${status}.`;
  return new Fault("upstream_error", { message, ...retryAfter(headers) });
}

const MAX_RETRY_AFTER_S = 30;

/** Of an answer that is ours, the upstream's `Retry-After` in seconds, within our own bounds. */
function retryAfter(headers: Readonly<Record<string, string>>): { retryAfterS?: number } {
  const seconds = Math.ceil(Number(headers["retry-after"]));
  return seconds > 0 ? { retryAfterS: Math.min(seconds, MAX_RETRY_AFTER_S) } : {};
}

/** What was received of a body, up to a bound; `isWhole` where that is all. */
export interface Received {
  readonly bytes: Buffer;
  readonly isWhole: boolean;
}

/** Reads a body up to `maxBytes`. Never rejects. */
export function readAll(body: Body, maxBytes: number): Promise<Received> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    body.flow({
      data: (bytes, start, end) => {
        chunks.push(Buffer.from(bytes.subarray(start, end)));
        length += end - start;
        if (length > maxBytes) body.destroy();
      },
      over: (isWhole) => resolve({ bytes: Buffer.concat(chunks).subarray(0, maxBytes), isWhole }),
    });
  });
}

const messageOf = (value: unknown): string | undefined =>
  isRecord(value) && typeof value["message"] === "string" ? value["message"] : undefined;

interface OwnError {
  readonly message: string;
  readonly object: ErrorObject;
}

/** The body's own error object, where it is a JSON object with an `error`. */
function errorOf(value: unknown, bytes: Buffer): OwnError | undefined {
  const fault = isRecord(value) ? faultOfPayload(value, bytes) : undefined;
  return fault === undefined ? undefined : { message: fault.message, object: fault.toObject() };
}

/** The body as JSON; undefined where it is none, and then it is wrapped as text. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

/** An error object for a body that has none: some servers (Mistral, Cerebras) send the object without its `error` around it. */
function wrapped(status: number, value: unknown, bytes: Buffer): ErrorObject {
  const message = messageOf(value);
  if (isRecord(value) && message !== undefined) return completed(value, message);
  const text = bytes.toString("utf8").trim().slice(0, MAX_QUOTED);
  const type = status === 429 ? "rate_limit_error" : "invalid_request_error";
  return {
    message: text || `The upstream answered with status ${status}.`,
    type,
    param: null,
    code: "upstream_error",
  };
}
