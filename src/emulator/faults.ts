/** What goes wrong on request. */
import type { OutgoingHttpHeaders } from "node:http";
import type { Chunks } from "./chunks.ts";
import type { Outlet } from "./outlet.ts";
import {
  EARLY_FAULTS,
  type EarlyFaultKind,
  type FaultKind,
  type LateFaultKind,
  type ScriptFault,
} from "./script.ts";
import { NOTHING, type Spout } from "./spouts.ts";

/** The stream has ended as its fault wanted; nothing more is to be written. */
export class StreamOver extends Error {
  override readonly name = "StreamOver";
}

export const SSE_HEADERS: OutgoingHttpHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
};

const COMMENT_GAP_MS = 100;
const ONE_EVENT = { tokens: 0, events: 1 };

export function isEarly(kind: FaultKind): kind is EarlyFaultKind {
  return (EARLY_FAULTS as readonly string[]).includes(kind);
}

/** An error object as OpenAI shapes it. */
export function errorBody(
  message: string,
  type: string,
  code: string | null,
  param: string | null = null,
): string {
  return JSON.stringify({ error: { message, type, param, code } });
}

/** Acts a fault out that takes the place of the whole answer. `compressed` needs the body, and is the stream's own. */
export async function actEarly(
  out: Outlet,
  fault: ScriptFault,
  kind: Exclude<EarlyFaultKind, "compressed">,
): Promise<void> {
  switch (kind) {
    case "hang_before_headers":
      return out.hang();
    case "reset_before_headers":
      return out.reset();
    case "no_answer":
      return out.hangUp();
    case "headers_then_reset":
      out.head(200, SSE_HEADERS);
      return out.reset();
    case "redirect":
      return refuse(out, fault, 307, { location: "/v1/elsewhere" }, "");
    case "plain_error":
      return refuse(out, fault, 500, { "content-type": "text/plain" }, "upstream connect error");
    case "malformed_error":
      return refuse(
        out,
        fault,
        500,
        { "content-type": "application/json" },
        `{"error":{"message":"half of an`,
      );
    case "status":
      return refuse(out, fault, 500, { "content-type": "application/json" }, statusBody(fault.status ?? 500));
  }
}

function refuse(
  out: Outlet,
  fault: ScriptFault,
  status: number,
  headers: OutgoingHttpHeaders,
  body: string,
): void {
  out.answer(fault.status ?? status, { ...headers, ...fault.headers }, fault.body ?? body, "faulted");
}

function statusBody(status: number): string {
  const type = status === 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
  const code = status === 429 ? "rate_limit_exceeded" : null;
  return errorBody(`The emulator was told to answer with status ${status}.`, type, code);
}

/**
 * Acts a fault out in the middle of a stream. Comes back only where the script says to continue.
 * @throws {StreamOver} when the stream has ended so
 */
export async function actLate(out: Outlet, spout: Spout, chunks: Chunks, fault: ScriptFault): Promise<void> {
  const kind = fault.kind as LateFaultKind;
  if (kind === "comments") return endlessComments(out, spout, chunks);
  const bytes = faultBytes(kind, chunks, fault.body);
  if (bytes !== undefined) await spout.send(bytes, ONE_EVENT);
  if (bytes !== undefined && fault.afterwards === "continue") return;
  await spout.flush();
  await leave(out, kind === "reset" || kind === "hang" ? kind : (fault.afterwards ?? "end"));
  throw new StreamOver();
}

async function leave(out: Outlet, how: NonNullable<ScriptFault["afterwards"]>): Promise<void> {
  if (how === "hang") return out.hang();
  if (how === "reset") return out.reset();
  out.end("faulted");
}

async function endlessComments(out: Outlet, spout: Spout, chunks: Chunks): Promise<never> {
  for (;;) {
    await spout.send(chunks.comment("keep-alive"), NOTHING);
    await spout.flush();
    await out.sleep(COMMENT_GAP_MS);
  }
}

/** What the fault writes into the stream, if it does. */
function faultBytes(kind: LateFaultKind, chunks: Chunks, body: string | undefined): Buffer | undefined {
  const accented = chunks.token(0, " café", false);
  switch (kind) {
    case "half_event":
      return Buffer.from(accented.slice(0, accented.length / 2));
    case "half_utf8": {
      const bytes = Buffer.from(accented);
      return bytes.subarray(0, bytes.indexOf("é") + 1);
    }
    case "not_utf8":
      // In Latin-1, é is a single byte that UTF-8 does not know.
      return Buffer.from(accented, "latin1");
    default: {
      const payload = body ?? faultPayload(kind);
      return payload === undefined ? undefined : Buffer.from(chunks.event(payload));
    }
  }
}

/** The payload of those faults that are an event of their own; also the whole body where the answer is not streamed. */
export function faultPayload(kind: LateFaultKind): string | undefined {
  switch (kind) {
    case "error_event":
      return errorBody("The emulator was told to fail here.", "server_error", "emulator_fault");
    case "error_string":
      return `{"error":"boom"}`;
    case "error_object_no_message":
      return `{"error":{"type":"server_error","code":500}}`;
    case "garbage":
      return "this is not json";
    default:
      return undefined;
  }
}
