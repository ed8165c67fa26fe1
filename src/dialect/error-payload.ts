import { type ErrorObject, Fault } from "../core/errors.ts";
import { isRecord, type JsonRecord } from "./json.ts";

/**
 * The fault that a payload with a truthy `error` stands for (PROTOCOL.md, section 6): an error object with a message goes out
 * as it came, and is completed for the ending; anything else is wrapped.
 */
export function faultOfPayload(payload: JsonRecord, bytes: Uint8Array): Fault | undefined {
  const error = payload["error"];
  if (!error) return undefined;
  if (isRecord(error) && typeof error["message"] === "string") {
    const object = completed(error, error["message"]);
    return new Fault("upstream_error", {
      message: object.message,
      object,
      said: { body: Buffer.from(bytes) },
    });
  }
  const message = typeof error === "string" ? error : JSON.stringify(error);
  return new Fault("upstream_error", { message });
}

/** The upstream's error object with its missing members added; members of its own stay. */
export function completed(error: JsonRecord, message: string): ErrorObject {
  const { type, param, code } = error;
  return {
    ...error,
    message,
    type: typeof type === "string" && type !== "" ? type : "upstream_error",
    param: typeof param === "string" ? param : null,
    code: codeOf(code),
  };
}

function codeOf(code: unknown): string {
  if (typeof code === "string" && code !== "") return code;
  return typeof code === "number" ? String(code) : "upstream_error";
}
