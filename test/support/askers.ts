/** One creating request by each way there is, kept in hand: it can be read to its end, left or cancelled. */
import type { TestGateway } from "./gateway.ts";
import { MESSAGES, post } from "./requests.ts";
import { SseClient } from "./sse-client.ts";
import { WsClient } from "./ws-client.ts";

export interface AskOptions {
  readonly policy?: "cancel" | "grace" | "continue";
  readonly idempotencyKey?: string;
  /** Sent in place of a good request's members. */
  readonly more?: object;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request that was sent. */
export interface Asked {
  /** Content events that the client has seen. */
  seen(): number;
  /** The generation's name, once the client knows it. */
  generation(): Promise<string>;
  /** The reader vanishes; the generation may go on. */
  leave(): void;
  /** Cancels the generation by the means of this way, once the client knows which it is. */
  cancel(): Promise<void>;
  /** Resolves when the client has been told the ending, or the refusal. */
  readonly over: Promise<unknown>;
}

export interface Asker {
  readonly name: string;
  /** As the metrics name them: the creating request's, and its reader's; a generation may have none. */
  readonly transport: "sse" | "websocket" | "json" | "none";
  readonly reader: "sse" | "websocket" | "json" | undefined;
  ask(gateway: TestGateway, options?: AskOptions): Asked;
}

const request = (more: object | undefined): Record<string, unknown> => ({
  model: "sluice-demo",
  messages: MESSAGES,
  ...more,
});

const headersOf = ({ policy, idempotencyKey, headers }: AskOptions): Record<string, string> => ({
  ...headers,
  ...(policy === undefined ? {} : { "x-sluice-on-disconnect": policy }),
  ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
});

export const cancelById = async ({ url }: TestGateway, id: string): Promise<void> => {
  await post(`${url}/v1/generations/${id}/cancel`, "");
};

/** Whether a payload says something: the chunks of the emulator say it in one of three places. */
const says = (payload: string): boolean => {
  const { choices, text } = JSON.parse(payload) as {
    choices?: { delta?: { content?: string }; text?: string }[];
    text?: string;
  };
  return Boolean(text ?? choices?.[0]?.delta?.content ?? choices?.[0]?.text);
};

const overSse = (name: string, path: string, body: (more: object | undefined) => object): Asker => ({
  name,
  transport: "sse",
  reader: "sse",
  ask(gateway, options = {}) {
    const headers = headersOf(options);
    const client = new SseClient(gateway.url + path, { method: "POST", body: body(options.more), headers });
    const generation = async () => String((await client.head).headers["x-generation-id"]);
    return {
      seen: () =>
        client.events.filter(({ event, data }) => event === undefined && data !== "[DONE]" && says(data))
          .length,
      leave: () => client.destroy(),
      generation,
      cancel: async () => cancelById(gateway, await generation()),
      over: client.ended,
    };
  },
});

const webSocket: Asker = {
  name: "WebSocket",
  transport: "websocket",
  reader: "websocket",
  ask(gateway, { policy, idempotencyKey, more, headers } = {}) {
    const opened = WsClient.open(gateway.wsUrl, headers === undefined ? {} : { headers });
    let client: WsClient | undefined;
    const message = {
      type: "generate",
      id: "a",
      request: request(more),
      ...(policy === undefined ? {} : { on_disconnect: policy }),
      ...(idempotencyKey === undefined ? {} : { idempotency_key: idempotencyKey }),
    };
    const generation = async () =>
      String((await (await opened).next(({ type }) => type === "accepted")).generation);
    const over = opened.then(async (open) => {
      client = open;
      open.send(message);
      const last = open.next(({ type }) => type === "end" || type === "error");
      // Who leaves is told nothing more.
      await last.then(
        () => open.close(),
        () => {},
      );
    });
    return {
      seen: () =>
        (client?.messages ?? []).filter(({ type, data }) => type === "event" && says(JSON.stringify(data)))
          .length,
      leave: () => client?.terminate(),
      generation,
      async cancel() {
        await generation();
        client?.send({ type: "cancel", id: "a" });
      },
      over,
    };
  },
};

const unknown = (): Promise<never> =>
  Promise.reject(new Error("who waits for a whole answer knows no generation"));

const json: Asker = {
  name: "JSON",
  transport: "json",
  reader: "json",
  ask({ url }, options = {}) {
    const client = new SseClient(`${url}/v1/chat/completions`, {
      method: "POST",
      body: request(options.more),
      headers: headersOf(options),
    });
    return {
      seen: () => 0,
      leave: () => client.destroy(),
      generation: unknown,
      cancel: unknown,
      over: client.ended,
    };
  },
};

const unread: Asker = {
  name: "no reader",
  transport: "none",
  reader: undefined,
  ask(gateway, options = {}) {
    const { url } = gateway;
    const started = post(`${url}/v1/generations`, { request: request(options.more) }, headersOf(options));
    const id = started.then(async (answer) => ((await answer.json()) as { id: string }).id);
    return {
      seen: () => 0,
      leave() {
        throw new Error("it has no reader");
      },
      generation: () => id,
      cancel: async () => cancelById(gateway, await id),
      over: id,
    };
  },
};

export const STOCK = overSse("SSE", "/v1/chat/completions", (more) => ({ ...request(more), stream: true }));
/** The ways in which a generation is streamed to the one who asked for it. */
export const STREAMED: readonly Asker[] = [
  STOCK,
  overSse("completions", "/v1/completions", (more) => ({
    model: "sluice-demo",
    prompt: "hello",
    stream: true,
    ...more,
  })),
  overSse("/chat", "/chat", (more) => ({ model: "sluice-demo", prompt: "hello", ...more })),
  webSocket,
];
export const WEBSOCKET = webSocket;
export const JSON_ASKER = json;
export const UNREAD = unread;
export const ALL: readonly Asker[] = [...STREAMED, json, unread];
