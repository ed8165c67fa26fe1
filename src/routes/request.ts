/** Reads a creating request: its body stays byte for byte as the client wrote it, but for what a setting or route must add. */

import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import { type Node, parseTree } from "jsonc-parser";
import { Fault } from "../core/errors.ts";
import type { StartRequest } from "../core/gateway.ts";
import type { DisconnectPolicy, Transport } from "../core/ports.ts";
import { isRecord, type JsonRecord } from "../dialect/json.ts";

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
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"));
  } catch (thrown) {
    throw new Fault("invalid_json", { cause: thrown });
  }
  if (!isRecord(value)) throw invalid("The body must be a JSON object.");
  return value;
}

/** The bytes of a member of a JSON object, as they stand in it. @throws Fault `invalid_request` where it nests too deeply */
export function memberBytes(bytes: Uint8Array, name: string): Buffer {
  const text = Buffer.from(bytes).toString("utf8");
  const node = tooDeep(() => memberOf(text, name));
  if (node === undefined) throw invalid(`${name} is missing.`, name);
  return Buffer.from(text.slice(node.offset, node.offset + node.length));
}

/** The value of a member in an object's text; of several of that name the last, which is the one that JSON.parse takes. */
function memberOf(text: string, name: string): Node | undefined {
  const members = parseTree(text)?.children ?? [];
  return members.findLast((member) => member.children?.[0]?.value === name)?.children?.[1];
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
  const names = Object.keys(members);
  if (names.length === 0) return bytes;
  let text = Buffer.from(bytes).toString("utf8");
  for (const name of names) {
    const value = tooDeep(() => JSON.stringify(members[name]));
    const old = name in values ? tooDeep(() => memberOf(text, name)) : undefined;
    if (old !== undefined) {
      text = text.slice(0, old.offset) + value + text.slice(old.offset + old.length);
    } else {
      const at = text.indexOf("{") + 1;
      const comma = isEmptyObject(text) ? "" : ",";
      text = `${text.slice(0, at)}${JSON.stringify(name)}:${value}${comma}${text.slice(at)}`;
    }
  }
  return Buffer.from(text);
}

const isEmptyObject = (text: string): boolean => /^\s*\{\s*\}/.test(text);

/** Endpoint and request as JSON values, `stream` aside, which is the transport's. */
function digest(endpoint: string, values: JsonRecord, isStream: boolean): string {
  const { stream: _transport, ...request } = values;
  const text = tooDeep(() => canonicalOf({ endpoint, isStream, request }));
  return createHash("sha256").update(text).digest("base64");
}

/** RFC 8785 has no form for a lone surrogate or a number beyond a double: with one, the members' order counts too. */
function canonicalOf(value: JsonRecord): string {
  try {
    return canonicalize(value) ?? "";
  } catch (thrown) {
    if (thrown instanceof RangeError) throw thrown;
    return JSON.stringify(value);
  }
}

/** Runs a recursive reader of the client's JSON; the depth that its stack does not hold is the client's fault. */
function tooDeep<T>(read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof RangeError) throw invalid("The JSON nests too deeply.");
    throw thrown;
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
