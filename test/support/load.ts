/** Streams whose tokens are timed where they arrive, as a load generator does; all times in seconds. */
import http from "node:http";
import { createParser } from "eventsource-parser";
import type { Script } from "../../src/emulator/index.ts";
import { chat, streamed } from "./requests.ts";
import { WsClient } from "./ws-client.ts";

/** What one stream's reader measured. */
export interface Measured {
  readonly firstToken: number;
  readonly gaps: readonly number[];
  readonly duration: number;
}

export interface Target {
  readonly url: string;
  readonly wsUrl: string;
}

const SHOWN = { stream_options: { include_usage: true } };

/** Notes when content comes. */
class Clock {
  readonly #began = performance.now();
  readonly #content: number[] = [];

  take(chunk: unknown): void {
    const { choices } = chunk as { choices?: readonly { delta?: { content?: string } }[] };
    if (choices?.[0]?.delta?.content) this.#content.push(performance.now());
  }

  stop(): Measured {
    const now = performance.now();
    const [first] = this.#content;
    if (first === undefined) throw new Error("the stream had no content");
    const gaps = this.#content.slice(1).map((at, n) => (at - (this.#content[n] as number)) / 1000);
    return { firstToken: (first - this.#began) / 1000, gaps, duration: (now - this.#began) / 1000 };
  }
}

function overSse({ url }: Target, model: string, script: Script): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const clock = new Clock();
    const headers = { "content-type": "application/json" };
    const request = http.request(`${url}/v1/chat/completions`, { method: "POST", headers });
    request.on("error", reject);
    request.on("response", (response) => {
      const parser = createParser({
        onEvent: ({ data }) => {
          if (data === "[DONE]") resolve(clock.stop());
          else clock.take(JSON.parse(data));
        },
      });
      response.setEncoding("utf8").on("data", (text: string) => parser.feed(text));
      response.on("end", () => reject(new Error(`status ${response.statusCode}, and no [DONE]`)));
    });
    request.end(JSON.stringify(streamed(script, { model, ...SHOWN })));
  });
}

async function overWebSocket({ wsUrl }: Target, model: string, script: Script): Promise<Measured> {
  const client = await WsClient.open(wsUrl);
  const clock = new Clock();
  client.ws.on("message", (data) => {
    const message = JSON.parse(data.toString()) as { type: string; data?: unknown };
    if (message.type === "event") clock.take(message.data);
  });
  client.send({ type: "generate", id: "a", request: chat(script, { model, ...SHOWN }) });
  await client.next(({ type }) => type === "end");
  const measured = clock.stop();
  await client.close();
  return measured;
}

/** Plays every script, every third over WebSocket, some at once. */
export async function load(
  target: Target,
  model: string,
  scripts: readonly Script[],
  atOnce: number,
): Promise<Measured[]> {
  const measured: Measured[] = [];
  const left = [...scripts.entries()];
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, script] = next;
      measured.push(await (index % 3 === 0 ? overWebSocket : overSse)(target, model, script));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return measured;
}

/** The value below or at which this share of the values lies (nearest rank). */
export function percentile(values: readonly number[], share: number): number {
  const value = [...values].sort((a, b) => a - b)[Math.ceil(share * values.length) - 1];
  if (value === undefined) throw new Error("a percentile of nothing");
  return value;
}
