/** Where requests go, and what is in them. */
import { isJson } from "./chunks.ts";
import { HttpClient } from "./http.ts";
import { RequestFault } from "./observation.ts";
import type { BenchOptions } from "./options.ts";
import { DEFAULT_PROMPT, randomPrompt } from "./prompts.ts";
import type { RequestBody, Target, Transport, Wire } from "./wire.ts";
import { WebSocketWire } from "./wire-websocket.ts";
import { EventsWire, StockWire } from "./wires-http.ts";

export function targetOf({ baseUrls, apiKey }: BenchOptions, side: number): Target {
  const baseUrl = baseUrls[side];
  if (baseUrl === undefined) throw new Error(`no side ${side}`);
  return { baseUrl, headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` } };
}

export function wireTo(transport: Transport | undefined, target: Target): Wire {
  if (transport === "websocket") return new WebSocketWire(target);
  return transport === "events" ? new EventsWire(target) : new StockWire(target);
}

/** The body of the nth request. `--extra-body` has the last word; its `max_completion_tokens` stands instead of `max_tokens`. */
export function bodyOf(options: BenchOptions, model: string, index: number): RequestBody {
  const { extraBody, inputWords, maxTokens, seed, ignoreEos } = options;
  const content =
    inputWords === undefined ? (options.prompt ?? DEFAULT_PROMPT) : randomPrompt(inputWords, seed, index);
  return {
    model,
    messages: [{ role: "user", content }],
    ...("max_completion_tokens" in extraBody ? {} : { max_tokens: maxTokens }),
    stream: true,
    stream_options: { include_usage: true },
    ...(ignoreEos ? { ignore_eos: true } : {}),
    ...extraBody,
  };
}

/**
 * The first model that the server lists.
 * @throws {RequestFault} where it lists none or cannot be asked
 */
export async function firstModel({ baseUrl, headers }: Target, stop: AbortSignal): Promise<string> {
  const client = new HttpClient(headers);
  try {
    const list = await client.json("GET", `${baseUrl}/models`, null, stop);
    const data = isJson(list) ? list["data"] : undefined;
    const id = Array.isArray(data) && isJson(data[0]) ? data[0]["id"] : undefined;
    if (typeof id === "string") return id;
    throw new RequestFault("no_model", "the server lists none");
  } catch (thrown) {
    if (!(thrown instanceof RequestFault)) throw thrown;
    throw new RequestFault(
      thrown.code,
      `no model from ${baseUrl}/models (${thrown.code}: ${thrown.message}); name one with --model`,
    );
  } finally {
    await client.close();
  }
}
