/** Server-Sent Events: the stock wire of any OpenAI-compatible server, and Sluice's `/events`. */
import { faultOf, isJson, parseJson, takeChunk, takeTiming, takeUsage } from "./chunks.ts";
import { HttpClient, readEvents } from "./http.ts";
import { type Observation, RequestFault } from "./observation.ts";
import type { RequestBody, Target, Wire } from "./wire.ts";

/** `POST /v1/chat/completions`, `data:` lines to `data: [DONE]`. */
export class StockWire implements Wire {
  readonly #client: HttpClient;
  readonly #url: string;

  constructor({ baseUrl, headers }: Target) {
    this.#client = new HttpClient(headers);
    this.#url = `${baseUrl}/chat/completions`;
  }

  async generate(body: RequestBody, seen: Observation, signal: AbortSignal): Promise<void> {
    const answer = await this.#client.send("POST", this.#url, JSON.stringify(body), signal);
    const isDone = await readEvents(answer, (_, data, now) => {
      if (data.trim() === "[DONE]") return true;
      takeChunk(parseJson(data), seen, now);
      return false;
    });
    if (!isDone) throw new RequestFault("no_done", "the stream ended without [DONE]");
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

/** `POST /v1/generations`, then `GET /v1/generations/{id}/events` (PROTOCOL.md, 2.4 and 2.6). */
export class EventsWire implements Wire {
  readonly #client: HttpClient;
  readonly #url: string;

  constructor({ baseUrl, headers }: Target) {
    this.#client = new HttpClient(headers);
    this.#url = `${baseUrl}/generations`;
  }

  async generate(request: RequestBody, seen: Observation, signal: AbortSignal): Promise<void> {
    // Whoever gives up a request wants it stopped.
    const body = JSON.stringify({ request, on_disconnect: "cancel" });
    const generation = await this.#client.json("POST", this.#url, body, signal);
    const id = isJson(generation) ? generation["id"] : undefined;
    if (typeof id !== "string") throw new RequestFault("no_generation", "the server named no generation");
    const answer = await this.#client.send("GET", `${this.#url}/${id}/events`, null, signal);
    const isEnded = await readEvents(answer, (type, data, now) => {
      const payload = parseJson(data);
      if (type === "end") takeEnding(payload, seen);
      else takeChunk(payload, seen, now);
      return type === "end";
    });
    if (!isEnded) throw new RequestFault("no_ending", "the stream ended without its ending");
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

/**
 * Notes an ending of Sluice's own: usage and timing.
 * @throws {RequestFault} where it is not a good one
 */
export function takeEnding(ending: unknown, seen: Observation): void {
  if (!isJson(ending)) throw new RequestFault("invalid_chunk", "an ending is no JSON object");
  takeUsage(ending["usage"], seen);
  takeTiming(ending["timing"], seen);
  const status = ending["status"];
  if (status === "completed" || status === "incomplete") return;
  throw faultOf(ending["error"], String(status));
}
