/** What a WebSocket client may send (PROTOCOL.md, section 3). */
import { isUtf8 } from "node:buffer";
import { z } from "zod";
import { Fault } from "../core/errors.ts";
import { nestsTooDeeply } from "../dialect/json.ts";

const id = z.string().min(1).max(64);
/** Longer than any that there is: what is named is told back in an error. */
const generation = z.string().min(1).max(128);

const message = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("generate"),
    id,
    request: z.record(z.string(), z.unknown()),
    on_disconnect: z.unknown().optional(),
    idempotency_key: z.unknown().optional(),
  }),
  z.object({
    type: z.literal("subscribe"),
    id,
    generation,
    starting_after: z.unknown().optional(),
  }),
  z.object({ type: z.literal("unsubscribe"), id }),
  z.object({ type: z.literal("cancel"), id: id.optional(), generation: generation.optional() }),
  z.object({ type: z.literal("ping") }),
]);

export type ClientMessage = z.infer<typeof message>;
export type MessageOf<Type extends ClientMessage["type"]> = Extract<ClientMessage, { type: Type }>;

/** A message that the protocol does not know, with the `id` that it may have named. */
export class BadMessage extends Fault {
  readonly id: string | undefined;
  /** It was to start a generation. */
  readonly creates: boolean;

  constructor(code: "invalid_json" | "invalid_request", text: string, id?: string, creates = false) {
    super(code, { message: text });
    this.id = id;
    this.creates = creates;
  }
}

/** Reads one text message. @throws BadMessage */
export function readMessage(data: Buffer, isBinary: boolean): ClientMessage {
  if (isBinary) throw new BadMessage("invalid_request", "Messages are JSON text; this one is binary.");
  if (nestsTooDeeply(data)) throw new BadMessage("invalid_request", "The JSON nests too deeply.");
  let value: unknown;
  try {
    value = isUtf8(data) ? JSON.parse(data.toString("utf8")) : undefined;
  } catch {
    // Told to the client below.
    value = undefined;
  }
  if (value === undefined) throw new BadMessage("invalid_json", "The message is not JSON.");
  const read = message.safeParse(value);
  if (read.success) return read.data;
  throw new BadMessage("invalid_request", problemOf(read.error, value), nameOf(value), isGenerate(value));
}

const isGenerate = (value: unknown): boolean => (value as { type?: unknown } | null)?.type === "generate";

function problemOf(error: z.ZodError, value: unknown): string {
  const [issue] = error.issues;
  if (issue === undefined) return "The message is not valid.";
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return "A message is a JSON object.";
  if (issue.code === "invalid_union") return "The type of the message is not known.";
  return `${issue.path.join(".")}: ${issue.message}`;
}

function nameOf(value: unknown): string | undefined {
  const given = typeof value === "object" && value !== null ? (value as { id?: unknown }).id : undefined;
  return typeof given === "string" && given.length <= 64 ? given : undefined;
}
