/** Reads a creating request: its body stays byte for byte as the client wrote it, but for what a setting or route must add. */

import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import { Fault } from "../core/errors.ts";
import type { StartRequest } from "../core/gateway.ts";
import type { DisconnectPolicy, Origin, Transport } from "../core/ports.ts";
import { isRecord, type JsonRecord, memberSpan, nestsTooDeeply, skipBlank } from "../dialect/json.ts";

export const CHAT = "/v1/chat/completions";
export const COMPLETIONS = "/v1/completions";

const POLICIES: readonly unknown[] = ["cancel", "grace", "continue"];
const MAX_IDEMPOTENCY_KEY = 255;

/** What a creating request says beside its body. */
export interface Terms {
  readonly endpoint: string;
  readonly owner: string;
  readonly transport: (isStream: boolean) => Transport;
  /** The route always streams, whatever the body says. */
  readonly impliesStream: boolean;
  readonly policy: unknown;
  readonly defaultPolicy: DisconnectPolicy;
  readonly idempotencyKey: unknown;
  readonly origin?: Origin;
}

/** What the gateway may add to a body. */
export interface Additions {
  /** The model for a request that names none. */
  defaultModel(): Promise<string>;
  readonly includeUsage: boolean;
}

const invalid = (message: string, param?: string): Fault =>
  new Fault("invalid_request", param === undefined ? { message } : { message, param });

/** The value of a body. @throws Fault `invalid_json`, or `invalid_request` where it is no object */
export function parseObject(bytes: Uint8Array | undefined): JsonRecord {
  if (bytes === undefined || bytes.length === 0 || !isUtf8(bytes)) throw new Fault("invalid_json");
  if (nestsTooDeeply(bytes)) throw invalid("The JSON nests too deeply.");
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"));
  } catch (thrown) {
    throw new Fault("invalid_json", { cause: thrown });
  }
  if (!isRecord(value)) throw invalid("The body must be a JSON object.");
  return value;
}

/** The bytes of a member of a JSON object, as they stand in it. @throws Fault `invalid_request` where there is none */
export function memberBytes(bytes: Uint8Array, name: string): Buffer {
  const span = memberSpan(bytes, name);
  if (span === undefined) throw invalid(`${name} is missing.`, name);
  return Buffer.from(bytes.subarray(span.start, span.end));
}

/**
 * The request to start.
 * @throws Fault `invalid_json`, `invalid_request`, and what asking for the default model throws
 */
export async function readStart(
  bytes: Uint8Array | undefined,
  terms: Terms,
  add: Additions,
): Promise<StartRequest> {
  const values = parseObject(bytes);
  checkShape(values, terms);
  const isStream = terms.impliesStream || values["stream"] === true;
  const model = (values["model"] as string | undefined) ?? (await add.defaultModel());
  const withholdUsage = isStream && add.includeUsage && !asksForUsage(values);
  return {
    endpoint: terms.endpoint,
    model,
    stream: isStream,
    owner: terms.owner,
    transport: terms.transport(isStream),
    body: complete(bytes as Uint8Array, values, {
      ...(values["model"] === undefined ? { model } : {}),
      ...(isStream && values["stream"] !== true ? { stream: true } : {}),
      ...(withholdUsage ? { stream_options: withUsage(values["stream_options"]) } : {}),
    }),
    choices: Number.isInteger(values["n"]) ? (values["n"] as number) : 1,
    withholdUsage,
    policy: readPolicy(terms.policy),
    defaultPolicy: terms.defaultPolicy,
    idempotencyKey: readIdempotencyKey(terms.idempotencyKey),
    fingerprint: () => digest(terms.endpoint, values, isStream),
    origin: terms.origin,
  };
}

function checkShape(values: JsonRecord, terms: Terms): void {
  const { model, stream, messages } = values;
  if (model !== undefined && (typeof model !== "string" || model === "")) {
    throw invalid("model must be a non-empty string.", "model");
  }
  if (stream !== undefined && stream !== null && typeof stream !== "boolean") {
    throw invalid("stream must be a boolean.", "stream");
  }
  if (terms.endpoint === CHAT && !Array.isArray(messages)) {
    throw invalid("messages must be an array.", "messages");
  }
}

const asksForUsage = (values: JsonRecord): boolean =>
  isRecord(values["stream_options"]) && values["stream_options"]["include_usage"] === true;

const withUsage = (options: unknown): JsonRecord => ({
  ...(isRecord(options) ? options : {}),
  include_usage: true,
});

function readPolicy(value: unknown): DisconnectPolicy | undefined {
  if (value === undefined) return undefined;
  if (!POLICIES.includes(value)) {
    throw invalid("The disconnect policy must be cancel, grace or continue.", "on_disconnect");
  }
  return value as DisconnectPolicy;
}

function readIdempotencyKey(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value === "" || value.length > MAX_IDEMPOTENCY_KEY) {
    throw invalid(`The idempotency key must have 1 to ${MAX_IDEMPOTENCY_KEY} characters.`, "idempotency_key");
  }
  return value;
}

/** The body with members set: what is absent is put first, what is there is replaced in place; all else stays as it was. */
function complete(bytes: Uint8Array, values: JsonRecord, members: JsonRecord): Uint8Array {
  let whole = bytes;
  for (const [name, member] of Object.entries(members)) {
    const value = JSON.stringify(member);
    const old = Object.hasOwn(values, name) ? memberSpan(whole, name) : undefined;
    if (old !== undefined) {
      whole = spliced(whole, old.start, old.end, value);
    } else {
      const at = skipBlank(whole, 0) + 1;
      const comma = whole[skipBlank(whole, at)] === CLOSE_BRACE ? "" : ",";
      whole = spliced(whole, at, at, `${JSON.stringify(name)}:${value}${comma}`);
    }
  }
  return whole;
}

const CLOSE_BRACE = 0x7d;

const spliced = (bytes: Uint8Array, start: number, end: number, text: string): Uint8Array =>
  Buffer.concat([bytes.subarray(0, start), Buffer.from(text), bytes.subarray(end)]);

/** Endpoint and request as JSON values, `stream` aside, which is the transport's. */
function digest(endpoint: string, values: JsonRecord, isStream: boolean): string {
  const { stream: _transport, ...request } = values;
  return createHash("sha256").update(canonicalOf({ endpoint, isStream, request })).digest("base64");
}

/** RFC 8785 has no form for a lone surrogate or a number beyond a double: with one, the members' order counts too. */
function canonicalOf(value: JsonRecord): string {
  try {
    return canonicalize(value) ?? "";
  } catch {
    return JSON.stringify(value);
  }
}

/** A position to start after. @throws Fault `invalid_request` for what is no number from 0 to 2^53-1 */
export function readPosition(value: unknown, name: string): number {
  const position = typeof value === "string" && /^\d{1,16}$/.test(value) ? Number(value) : value;
  if (typeof position !== "number" || !Number.isSafeInteger(position) || position < 0) {
    throw invalid(`${name} must be a whole number from 0 to 2^53-1.`, name);
  }
  return position;
}
