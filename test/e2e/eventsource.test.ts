/** The `eventsource` and `eventsource-parser` packages against the gateway: cut anywhere, they come back and lose nothing. */
import { EventSource } from "eventsource";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CuttingProxy, headerIn, startCuttingProxy } from "../support/cutting-proxy.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { post, startGeneration, streamed, uncut, word } from "../support/requests.ts";

/** Every word is another, so that one lost or repeated shows. */
const TEXT = `Water & <b>weight</b> — ${Array.from({ length: 60 }, (_, n) => `wort${n}é`).join(" ")} 水門 🚣 end.`;
const SLOWLY = { text: TEXT, first_token_ms: 50, pace_ms: 4 };
/** Longer than the package waits before it comes back (3 s), so that a request that should not be made is seen. */
const RECONNECT_AND_MORE_MS = 3500;

const PROMPT = "Tell me of locks, in /chat.";

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startGateway();
  // `/chat` takes no script in its body.
  gateway.emulator.script = (body) => (JSON.stringify(body).includes(PROMPT) ? SLOWLY : undefined);
});
afterAll(() => gateway?.close());

interface Heard {
  readonly source: EventSource;
  readonly events: { readonly id: string; readonly name: string; readonly data: string }[];
}

function listen(url: string, ...names: readonly string[]): Heard {
  const source = new EventSource(url);
  const events: Heard["events"] = [];
  for (const name of ["message", ...names]) {
    source.addEventListener(name, ({ lastEventId, type, data }: MessageEvent) => {
      events.push({ id: lastEventId, name: type, data: String(data) });
    });
  }
  return { source, events };
}

const untilClosed = ({ source }: Heard): Promise<void> =>
  until("the EventSource closes for good", () => source.readyState === source.CLOSED);

/** The requests for this path, and what they asked to resume after. */
const resumes = (proxy: CuttingProxy, path: string): (string | undefined)[] =>
  proxy.requests.filter((head) => head.includes(path)).map((head) => headerIn(head, "last-event-id"));

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

// Side by side: each of them waits for the package to come back.
describe.concurrent("EventSource, cut in mid-stream", () => {
  /** A proxy of the test's own. */
  async function proxied(test: (proxy: CuttingProxy) => Promise<void>): Promise<void> {
    const proxy = await startCuttingProxy(gateway.url);
    try {
      await test(proxy);
    } finally {
      await proxy.close();
    }
  }

  test("on a generation's events: resumes twice, hears the end, and 204 stops it for good", () =>
    proxied(async (proxy) => {
      // It still runs when the package comes back first, and has ended when it comes back again.
      const { id } = await startGeneration(gateway.url, { ...SLOWLY, pace_ms: 60 });
      const path = `/v1/generations/${id}/events`;
      // In the middle of an event each time: nothing but luck cuts between two.
      proxy.cut(path, [2_345, 3_456]);
      const heard = listen(proxy.url + path, "end");
      await untilClosed(heard);
      const whole = await uncut(gateway.url, id);
      expect(heard.events.map(({ data }) => data)).toEqual(whole.events.map(({ data }) => data));
      expect(heard.events.map((event) => Number(event.id))).toEqual(
        heard.events.map((_, index) => index + 1),
      );
      expect(heard.events.filter(({ name }) => name === "end")).toHaveLength(1);
      const { name, data } = heard.events.at(-1) ?? {};
      expect(name).toBe("end");
      expect(JSON.parse(data ?? "")).toMatchObject({ status: "completed" });
      expect(textOf(heard)).toBe(TEXT);

      const asked = resumes(proxy, path);
      expect(asked).toHaveLength(4);
      expect(asked[0]).toBeUndefined();
      expect(Number(asked[1])).toBeGreaterThan(1);
      expect(Number(asked[2])).toBeGreaterThan(Number(asked[1]));
      expect(Number(asked[3])).toBe(heard.events.length);
      await pause(RECONNECT_AND_MORE_MS);
      expect(resumes(proxy, path)).toHaveLength(4);
      expect(heard.source.readyState).toBe(EventSource.CLOSED);
    }));

  test("on GET /chat with the policy grace: one generation, its whole text, `done`, and 204", () =>
    proxied(async (proxy) => {
      const path = `/chat?prompt=${encodeURIComponent(PROMPT)}&on_disconnect=grace`;
      proxy.cut("/chat", [1_234]);
      const heard = listen(proxy.url + path, "done");
      await untilClosed(heard);
      const texts = heard.events.filter(({ name }) => name === "message");
      expect(texts.map(({ data }) => (JSON.parse(data) as { text: string }).text).join("")).toBe(TEXT);
      expect(new Set(heard.events.map(({ id }) => id.split(":")[0])).size).toBe(1);
      expect(heard.events.find(({ name }) => name === "done")).toBeDefined();
      // It asked to go on, and never started a second answer: not after the cut and not after the end.
      const upstream = gateway.emulator.requests().filter(({ body }) => body?.includes(PROMPT));
      expect(upstream.map(({ state }) => state)).toEqual(["completed"]);
      const asked = resumes(proxy, "/chat");
      expect(asked).toHaveLength(3);
      expect(asked[1]).toMatch(/^gen_[\w-]+:\d+$/);
      expect(asked[2]).toBe(heard.events.find(({ name }) => name === "done")?.id);
      await pause(RECONNECT_AND_MORE_MS);
      expect(resumes(proxy, "/chat")).toHaveLength(3);
    }));

  test("a generation that is stopped meanwhile: the rest of it, `end` with cancelled, and no more", () =>
    proxied(async (proxy) => {
      const { id } = await startGeneration(gateway.url, { tokens: 100_000, pace_ms: 2 });
      const path = `/v1/generations/${id}/events`;
      proxy.cut(path, [3_000]);
      const heard = listen(proxy.url + path, "end");
      await until("the connection was cut", () => heard.events.length > 3 && heard.source.readyState === 0);
      await post(`${gateway.url}/v1/generations/${id}/cancel`, "{}");
      await untilClosed(heard);
      expect(JSON.parse(heard.events.at(-1)?.data ?? "")).toMatchObject({ status: "cancelled" });
      expect(heard.events.map((event) => Number(event.id))).toEqual(
        heard.events.map((_, index) => index + 1),
      );
    }));

  test("an unknown generation is no reason to come back", async () => {
    const heard = listen(`${gateway.url}/v1/generations/gen_unknown/events`);
    let code: number | undefined;
    heard.source.onerror = (error) => {
      code = error.code;
    };
    await untilClosed(heard);
    expect(code).toBe(404);
  });
});

/** The text of the events that are the upstream's. */
const textOf = ({ events }: Heard): string =>
  events
    .filter(({ name }) => name === "message")
    .map(({ data }) => word(data))
    .join("");

describe("EventSourceParserStream over the stock wire", () => {
  interface Parsed {
    readonly data: string[];
    readonly fields: (string | undefined)[];
    readonly comments: string[];
    readonly retries: number[];
  }

  async function parse(url: string, body: object): Promise<Parsed> {
    const answer = await post(url, body);
    const parsed: Parsed = { data: [], fields: [], comments: [], retries: [] };
    const parser = new EventSourceParserStream({
      onError: "terminate",
      onComment: (comment) => parsed.comments.push(comment),
      onRetry: (retry) => parsed.retries.push(retry),
    });
    if (answer.body === null) throw new Error("an answer without a body");
    for await (const { data, id, event } of answer.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(parser)) {
      parsed.data.push(data);
      parsed.fields.push(id, event);
    }
    return parsed;
  }

  test.each([{}, { crlf: true }, { read: 5 }, { reasoning: "Let me think." }])(
    "the events are those of the upstream, with no id, no name and no retry: %o",
    async (more) => {
      const body = streamed({ text: TEXT, ...more });
      const [straight, relayed] = await Promise.all(
        [gateway.emulator.url, `${gateway.url}/v1`].map((base) => parse(`${base}/chat/completions`, body)),
      );
      const timeless = (parsed: Parsed | undefined) =>
        parsed?.data.map((data) => data.replace(/"id":"[^"]*"|"created":\d+/g, ""));
      expect(timeless(relayed)).toEqual(timeless(straight));
      expect(relayed?.data.at(-1)).toBe("[DONE]");
      expect(relayed?.fields.filter((field) => field !== undefined)).toEqual([]);
      expect(relayed?.retries).toEqual([]);
    },
  );

  test("heartbeats are comments between events", async () => {
    const eager = await startGateway({ env: { SLUICE_HEARTBEAT_MS: "5", SLUICE_EARLY_HEADERS_MS: "1" } });
    try {
      const script = { text: TEXT, first_token_ms: 60, pace_ms: 12, read: 9 };
      const { data, comments } = await parse(`${eager.url}/v1/chat/completions`, streamed(script));
      expect(comments.length).toBeGreaterThan(5);
      expect(new Set(comments)).toEqual(new Set(["ping"]));
      expect(data.slice(0, -1).map(word).join("")).toBe(TEXT);
    } finally {
      await eager.close();
    }
  });
});
