/** The messages of the AI SDK's `useChat`, made of parts, as messages of Chat Completions. */
import { at, isRecord, type JsonRecord, listAt } from "./json.ts";

/** A message or part that Chat Completions has no form for; `param` says where it stands. */
export class UiMessageError extends Error {
  override readonly name = "UiMessageError";
  readonly param: string;

  constructor(param: string, problem: string) {
    super(`${param} ${problem}`);
    this.param = param;
  }
}

/**
 * The messages for the upstream. Reasoning, sources and data parts say nothing to it, and calls without a result were
 * overtaken by what came after them: these are left out.
 * @throws UiMessageError
 */
export function chatMessages(messages: readonly unknown[]): JsonRecord[] {
  return messages.flatMap((message, index) => {
    const where = `messages[${index}]`;
    const role = at(message, "role");
    if (!Array.isArray(at(message, "parts"))) throw new UiMessageError(`${where}.parts`, "must be an array.");
    const parts = listAt(message, "parts");
    if (role === "system") return [{ role, content: textOf(parts) }];
    if (role === "user") return [{ role, content: userContent(parts, where) }];
    if (role === "assistant") return stepsOf(parts).flatMap(assistantMessages);
    throw new UiMessageError(`${where}.role`, "must be system, user or assistant.");
  });
}

const isText = (part: unknown): boolean => at(part, "type") === "text";
const textOf = (parts: readonly unknown[]): string =>
  parts
    .filter(isText)
    .map((part) => at(part, "text"))
    .join("");

function userContent(parts: readonly unknown[], where: string): string | JsonRecord[] {
  const told = parts.flatMap((part, index): JsonRecord[] => {
    if (isText(part)) return [{ type: "text", text: at(part, "text") }];
    return at(part, "type") === "file" ? [filePart(part, `${where}.parts[${index}]`)] : [];
  });
  return told.every(isText) ? textOf(parts) : told;
}

function filePart(part: unknown, where: string): JsonRecord {
  const url = at(part, "url");
  const mediaType = at(part, "mediaType");
  if (typeof url !== "string" || url === "") throw new UiMessageError(`${where}.url`, "is missing.");
  if (typeof mediaType !== "string") throw new UiMessageError(`${where}.mediaType`, "is missing.");
  if (mediaType.startsWith("image/")) return { type: "image_url", image_url: { url } };
  if (!url.startsWith("data:"))
    throw new UiMessageError(`${where}.url`, "must be a data: URL where the file is no image.");
  const filename = at(part, "filename");
  return {
    type: "file",
    file: { ...(typeof filename === "string" ? { filename } : {}), file_data: url },
  };
}

/** The parts of each step: what one request to the model gave. */
function stepsOf(parts: readonly unknown[]): unknown[][] {
  const steps: unknown[][] = [[]];
  for (const part of parts) {
    if (at(part, "type") === "step-start") steps.push([]);
    else steps.at(-1)?.push(part);
  }
  return steps;
}

/** One step: the assistant's words and calls, and what the tools answered. */
function assistantMessages(parts: readonly unknown[]): JsonRecord[] {
  const text = textOf(parts);
  const results = parts.flatMap((part) => {
    const name = toolNameOf(part);
    const content = resultOf(part);
    return name === undefined || content === undefined ? [] : [{ part, name, content }];
  });
  if (text === "" && results.length === 0) return [];
  const calls = results.map(({ part, name }) => ({
    id: at(part, "toolCallId"),
    type: "function",
    function: { name, arguments: JSON.stringify(at(part, "input") ?? at(part, "rawInput") ?? {}) },
  }));
  return [
    {
      role: "assistant",
      content: text === "" ? null : text,
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    },
    ...results.map(({ part, content }) => ({ role: "tool", tool_call_id: at(part, "toolCallId"), content })),
  ];
}

const TOOL = "tool-";

function toolNameOf(part: unknown): string | undefined {
  const type = at(part, "type");
  const name = type === "dynamic-tool" ? at(part, "toolName") : type;
  if (typeof name !== "string") return undefined;
  if (type === "dynamic-tool") return name;
  return name.startsWith(TOOL) ? name.slice(TOOL.length) : undefined;
}

/** What a tool answered, as text; undefined where it has not. */
function resultOf(part: unknown): string | undefined {
  switch (at(part, "state")) {
    case "output-available":
      return asText(at(part, "output"));
    case "output-error":
      return asText(at(part, "errorText"));
    case "output-denied":
      return asText(at(at(part, "approval"), "reason") ?? "The call of the tool was denied.");
    default:
      return undefined;
  }
}

const asText = (value: unknown): string =>
  typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));

/** What `useChat` says beside the request itself; everything else of its body is the request's. */
export interface UiRequest {
  readonly id: unknown;
  readonly messages: unknown;
  readonly body: JsonRecord;
}

/** Takes apart the body that the SDK's `DefaultChatTransport` sends. */
export function takeApart({
  id,
  messages,
  trigger: _trigger,
  messageId: _messageId,
  ...body
}: JsonRecord): UiRequest {
  return { id, messages, body };
}

/** The id of the assistant's message that an answer goes on with, since tools were asked for in it; none where it is a new one. */
export function continuedMessage(messages: readonly unknown[]): string | undefined {
  const last = messages.at(-1);
  const id = isRecord(last) && last["role"] === "assistant" ? last["id"] : undefined;
  return typeof id === "string" && id !== "" ? id : undefined;
}
