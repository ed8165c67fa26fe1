/** Reads UI message streams as the AI SDK does: its own transport, which refuses every part that is not of its schema. */
import {
  DefaultChatTransport,
  parseJsonEventStream,
  readUIMessageStream,
  type UIMessage,
  type UIMessageChunk,
  uiMessageChunkSchema,
} from "ai";

export const asked = (text = "hello"): UIMessage => ({
  id: "u1",
  role: "user",
  parts: [{ type: "text", text }],
});

export const transportTo = (url: string, headers: Record<string, string> = {}) =>
  new DefaultChatTransport({ api: `${url}/api/chat`, headers });

/** Sends what `useChat` sends, `body` with it. */
export const send = (
  url: string,
  chatId: string,
  body: object,
  messages: UIMessage[] = [asked()],
): Promise<ReadableStream<UIMessageChunk>> =>
  transportTo(url).sendMessages({
    chatId,
    messages,
    body,
    trigger: "submit-message",
    messageId: undefined,
    abortSignal: undefined,
  });

export async function partsOf(stream: ReadableStream<UIMessageChunk>): Promise<UIMessageChunk[]> {
  const parts: UIMessageChunk[] = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

/** The parts of a whole answer's bytes; throws at one that is not of the schema. */
export async function parsed(bytes: string): Promise<UIMessageChunk[]> {
  const stream = parseJsonEventStream({ stream: new Blob([bytes]).stream(), schema: uiMessageChunkSchema });
  const parts: UIMessageChunk[] = [];
  for await (const part of stream) {
    if (!part.success) throw part.error;
    parts.push(part.value);
  }
  return parts;
}

/** The message that the SDK makes of the parts; what it finds wrong with them is thrown, `error` parts aside. */
export async function messageOf(parts: readonly UIMessageChunk[]): Promise<UIMessage | undefined> {
  const stream = ReadableStream.from(parts.filter(({ type }) => type !== "error"));
  let last: UIMessage | undefined;
  for await (const message of readUIMessageStream({ stream, terminateOnError: true })) last = message;
  return last;
}

/** The text of a message's parts of one type, joined. */
export const wordsOf = (message: UIMessage | undefined, type: "text" | "reasoning" = "text"): string =>
  (message?.parts ?? []).map((part) => (part.type === type ? part.text : "")).join("");
