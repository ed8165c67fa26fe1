/** The shapes of OpenAI's bodies. What is the same in every chunk of a stream is built once: benches send many thousands. */
import type { Usage } from "./plan.ts";

export type Endpoint = "chat" | "completions";

export interface ChunkOptions {
  readonly endpoint: Endpoint;
  readonly serial: number;
  readonly model: string;
  /** Each chunk says `"usage":null`, as OpenAI's do when usage is asked for. */
  readonly usage: boolean;
  /** JSON is padded to about this many bytes. */
  readonly payloadBytes: number;
  readonly crlf: boolean;
}

const FINGERPRINT = `"system_fingerprint":"fp_sluice_emulator"`;
const PADDING_FRAME = `,"obfuscation":""`.length;

/** Whole SSE events, with their blank lines. */
export class Chunks {
  readonly endpoint: Endpoint;
  readonly #head: string;
  readonly #eol: string;
  readonly #eventEnd: string;
  readonly #usageNull: string;
  readonly #payloadBytes: number;
  readonly #filler: string;

  constructor(options: ChunkOptions) {
    this.endpoint = options.endpoint;
    this.#head = headOf(options, true);
    this.#eol = options.crlf ? "\r\n" : "\n";
    this.#eventEnd = this.#eol + this.#eol;
    this.#usageNull = options.usage ? `,"usage":null` : "";
    this.#payloadBytes = options.payloadBytes;
    this.#filler = "x".repeat(options.payloadBytes);
  }

  role(index: number): string {
    return this.#choice(index, `{"role":"assistant","content":""}`, "null");
  }

  token(index: number, text: string, reasoning: boolean): string {
    const json = JSON.stringify(text);
    if (this.endpoint === "completions") return this.#choice(index, json, "null");
    return this.#choice(index, reasoning ? `{"reasoning_content":${json}}` : `{"content":${json}}`, "null");
  }

  finish(index: number, reason: string): string {
    return this.#choice(index, this.endpoint === "chat" ? "{}" : `""`, JSON.stringify(reason));
  }

  usage(usage: Usage): string {
    return this.event(`${this.#head}[],"usage":${JSON.stringify(usage)}}`);
  }

  done(): string {
    return this.event("[DONE]");
  }

  /** Any payload of one line as an event. */
  event(payload: string): string {
    return `data: ${payload}${this.#eventEnd}`;
  }

  comment(text: string): string {
    return `: ${text}${this.#eventEnd}`;
  }

  #choice(index: number, delta: string, reason: string): string {
    const name = this.endpoint === "chat" ? "delta" : "text";
    const json = `${this.#head}[{"index":${index},"${name}":${delta},"logprobs":null,"finish_reason":${reason}}]${this.#usageNull}`;
    return `data: ${json}${this.#padding(json.length + 1)}}${this.#eventEnd}`;
  }

  #padding(length: number): string {
    const missing = this.#payloadBytes - length - PADDING_FRAME;
    return missing > 0 ? `,"obfuscation":"${this.#filler.slice(0, missing)}"` : "";
  }
}

export interface WholeChoice {
  readonly text: string;
  readonly reasoning: string;
  readonly finishReason: string | null;
}

/** The JSON of an answer that is not streamed. */
export function wholeAnswer(options: ChunkOptions, choices: readonly WholeChoice[], usage: Usage): string {
  const entries = choices.map((choice, index) => wholeChoice(options.endpoint, choice, index));
  return `${headOf(options, false)}${JSON.stringify(entries)},"usage":${JSON.stringify(usage)}}`;
}

function wholeChoice(
  endpoint: Endpoint,
  { text, reasoning, finishReason }: WholeChoice,
  index: number,
): object {
  const common = { logprobs: null, finish_reason: finishReason };
  if (endpoint === "completions") return { index, text, ...common };
  const message = {
    role: "assistant",
    content: text,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    refusal: null,
  };
  return { index, message, ...common };
}

/** An answer's JSON up to the value of `choices`. */
function headOf({ endpoint, serial, model }: ChunkOptions, streamed: boolean): string {
  const chat = endpoint === "chat";
  const id = `${chat ? "chatcmpl" : "cmpl"}-emulator${String(serial).padStart(8, "0")}`;
  const object = chat ? `chat.completion${streamed ? ".chunk" : ""}` : "text_completion";
  const created = Math.floor(Date.now() / 1000);
  return `{"id":"${id}","object":"${object}","created":${created},"model":${JSON.stringify(model)},${FINGERPRINT},"choices":`;
}
