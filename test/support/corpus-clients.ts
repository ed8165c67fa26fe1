/** Real clients, each told to stream one answer and to say what it made of it: chunks, text, usage, and what it threw. */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import type { AIMessageChunk } from "@langchain/core/messages";
import { ChatOpenAI, OpenAI as LangChainCompletions } from "@langchain/openai";
import { APICallError, RetryError, streamText, type TextStreamPart, type ToolSet } from "ai";
import { EventSourceParserStream } from "eventsource-parser/stream";
import OpenAI from "openai";
import { isObject, type Json } from "./oracle.ts";

/** One streamed request, whatever the client. */
export interface Ask {
  readonly what: "chat" | "completions";
  /** Members beside model and messages. */
  readonly more: Readonly<Record<string, string | number | { readonly [name: string]: string | number }>>;
  readonly maxRetries: number;
}

export interface Reading {
  readonly chunks: readonly unknown[];
  readonly text: string;
  readonly usage: unknown;
  readonly error?: ReadError;
}

export interface ReadError {
  /** The class and whatever else a program tells it by. */
  readonly kind: string;
  readonly status: number | undefined;
  /** The error object of the answer or the stream, as the client hands it on. */
  readonly said: unknown;
}

export interface CorpusClient {
  readonly name: string;
  /** Whether it asks again after a refusal with 429; undefined where it has no retries at all. */
  readonly retries?: (retryAfter: string | undefined) => boolean;
  read(baseUrl: string, ask: Ask): Promise<Reading>;
}

const MODEL = "sluice-demo";
const PROMPT = "Go on.";
const MESSAGES = [{ role: "user" as const, content: PROMPT }];

/** The members that every request has. */
export const bodyFor = (what: Ask["what"]): Json => ({
  model: MODEL,
  ...(what === "chat" ? { messages: MESSAGES } : { prompt: PROMPT }),
});

/** What is read so far; it stands where the client throws. */
export class Sheet {
  readonly chunks: unknown[] = [];
  text = "";
  usage: unknown;

  take(chunk: unknown): void {
    this.chunks.push(chunk);
    if (!isObject(chunk)) return;
    this.usage = chunk["usage"] ?? this.usage;
    const [choice] = Array.isArray(chunk["choices"]) ? (chunk["choices"] as unknown[]) : [];
    if (!isObject(choice)) return;
    const words = isObject(choice["delta"]) ? choice["delta"]["content"] : choice["text"];
    if (typeof words === "string") this.text += words;
  }

  told(error?: ReadError): Reading {
    const { chunks, text, usage } = this;
    return { chunks, text, usage, ...(error === undefined ? {} : { error }) };
  }
}

/** Errors of the `openai` package, LangChain's own copy included: the copies' classes are known by their names. */
interface OpenAiError extends Error {
  readonly status?: number;
  readonly error?: unknown;
  readonly lc_error_code?: string;
}

function errorOf(thrown: unknown): ReadError {
  if (!(thrown instanceof Error)) throw thrown;
  // LangChain tells a context that is too long by a class around the error.
  const { status, error } = (thrown.name === "ContextOverflowError" ? thrown.cause : thrown) as OpenAiError;
  const { name, lc_error_code: code } = thrown as OpenAiError;
  const kind = [thrown.constructor.name, name, code].filter((word) => word !== undefined).join(" ");
  return { kind, status, said: error };
}

async function reading(read: (sheet: Sheet) => Promise<unknown>): Promise<Reading> {
  const sheet = new Sheet();
  try {
    await read(sheet);
  } catch (thrown) {
    return sheet.told(errorOf(thrown));
  }
  return sheet.told();
}

export const openAiNode: CorpusClient = {
  name: "openai-node",
  retries: () => true,
  read: (baseURL, { what, more, maxRetries }) =>
    reading(async (sheet) => {
      const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries });
      const stream =
        what === "chat"
          ? await client.chat.completions.create({ model: MODEL, messages: MESSAGES, ...more, stream: true })
          : await client.completions.create({ model: MODEL, prompt: PROMPT, ...more, stream: true });
      for await (const chunk of stream) sheet.take(chunk);
    }),
};

export const langChain: CorpusClient = {
  name: "LangChain",
  // Without the header it takes a 429 for a lack of capacity, and does not ask again.
  retries: (retryAfter) => retryAfter !== undefined,
  read: (baseURL, { what, more, maxRetries }) =>
    reading(async (sheet) => {
      quietenLangChain();
      const { n, ...modelKwargs } = more;
      const choices = typeof n === "number" ? { n } : {};
      const configuration = { baseURL };
      const fields = { model: MODEL, apiKey: "unused", maxRetries, ...choices, modelKwargs, configuration };
      if (what === "chat") {
        for await (const chunk of await new ChatOpenAI(fields).stream(PROMPT)) takeMessage(sheet, chunk);
        return;
      }
      for await (const text of await new LangChainCompletions(fields).stream(PROMPT)) {
        sheet.chunks.push(text);
        sheet.text += text;
      }
    }),
};

/** It warns of each content that is no text, in some hundred lines. */
function quietenLangChain(): void {
  const { log } = console;
  if (log.name === "quiet") return;
  console.log = function quiet(...words: unknown[]) {
    if (!String(words[0]).startsWith("[WARNING]: Received non-string content")) log(...words);
  };
}

function takeMessage(sheet: Sheet, chunk: AIMessageChunk): void {
  const { content, tool_call_chunks, usage_metadata, additional_kwargs, response_metadata } = chunk;
  // Where the answer has no id, it is the run's.
  const id = chunk.id?.startsWith("run-") ? "run" : chunk.id;
  sheet.chunks.push({ id, content, tool_call_chunks, usage_metadata, additional_kwargs, response_metadata });
  sheet.text += chunk.text;
  sheet.usage = usage_metadata ?? sheet.usage;
}

export const aiSdk: CorpusClient = {
  name: "AI SDK",
  retries: () => true,
  async read(baseURL, { what, more, maxRetries }) {
    const provider = createOpenAICompatible({ name: "sluice", baseURL, apiKey: "unused" });
    const { fullStream } = streamText({
      model: what === "chat" ? provider.chatModel(MODEL) : provider.completionModel(MODEL),
      prompt: PROMPT,
      maxRetries,
      includeRawChunks: true,
      providerOptions: { sluice: more },
      // Its own log of errors is kept quiet: they are told in the reading.
      onError: () => {},
    });
    const sheet = new Sheet();
    const errors: ReadError[] = [];
    const ids = new Map<string, string>();
    for await (const part of fullStream) {
      sheet.chunks.push(timeless(part, ids));
      if (part.type === "text-delta") sheet.text += part.text;
      if (part.type === "finish") sheet.usage = part.totalUsage;
      if (part.type === "error") errors.push(aiError(part.error));
    }
    return sheet.told(errors[0]);
  },
};

/** A part without what the SDK makes anew for each answer: times, headers, and ids where the upstream gave none. */
function timeless(part: TextStreamPart<ToolSet>, ids: Map<string, string>): unknown {
  if (part.type === "start-step") return { type: part.type, warnings: part.warnings };
  if (part.type === "finish-step")
    return { ...part, response: { modelId: part.response.modelId }, performance: undefined };
  if (part.type === "error") return { type: part.type, error: aiError(part.error) };
  // The upstream's own are in the raw parts.
  const id =
    "toolCallId" in part ? part.toolCallId : "id" in part && part.type.startsWith("tool") ? part.id : "";
  if (id === "") return part;
  const name = ids.get(id) ?? `call ${ids.size}`;
  ids.set(id, name);
  return { ...part, ...("toolCallId" in part ? { toolCallId: name } : { id: name }) };
}

function aiError(thrown: unknown): ReadError {
  const error = RetryError.isInstance(thrown) ? thrown.lastError : thrown;
  if (APICallError.isInstance(error)) {
    const kind = `${error.name}${error.isRetryable ? ", retryable" : ""}`;
    return { kind, status: error.statusCode, said: (error.data as Json | undefined)?.["error"] };
  }
  // What came in the stream has the object that was sent.
  if (error instanceof Error && error.name === "AI_StreamProviderError")
    return { kind: "error part", status: undefined, said: (error as { data?: unknown }).data };
  return error instanceof Error
    ? { kind: error.name, status: undefined, said: undefined }
    : { kind: "error part", status: undefined, said: error };
}

/** No SDK at all: what a program reads that takes the payloads from an event-stream parser. */
export const eventSourceParser: CorpusClient = {
  name: "eventsource-parser",
  async read(baseUrl, { what, more }) {
    const body = { ...bodyFor(what), ...more, stream: true };
    const answer = await fetch(`${baseUrl}/${what === "chat" ? "chat/completions" : what}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const sheet = new Sheet();
    if (answer.status >= 400) return sheet.told(await refusalOf(answer));
    const events = answer.body
      ?.pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream());
    for await (const { data } of events ?? []) {
      if (data === "[DONE]") break;
      const payload = JSON.parse(data) as Json;
      if (payload["error"]) return sheet.told({ kind: "payload", status: undefined, said: payload["error"] });
      sheet.take(payload);
    }
    return sheet.told();
  },
};

async function refusalOf(answer: Response): Promise<ReadError> {
  const text = await answer.text();
  // A body that is no JSON is what some upstreams answer.
  const parsed: unknown = await new Response(text).json().catch(() => undefined);
  return { kind: "refusal", status: answer.status, said: isObject(parsed) ? parsed["error"] : undefined };
}
