/** Every limit that is a setting, driven past by a client: its outcome has a name, and the process serves the next request. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { eventOf, startPlainUpstream, wholeAnswer } from "../support/plain-upstream.ts";
import { codeOf, connect, exchange, requestText } from "../support/raw-socket.ts";
import {
  chat,
  type GenerationObject,
  post,
  refusal,
  startGeneration,
  streamed,
} from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

/** Goes on until it is cancelled. */
const ENDLESS = { tokens: 1_000_000, pace_ms: 20 } as const;

let emulator: Emulator;
let gateway: GatewayProcess | undefined;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());

/** Whatever the test did, the process lives and answers. */
afterEach(async () => {
  const served = gateway;
  gateway = undefined;
  if (served === undefined) return;
  try {
    expect(served.child.exitCode).toBeNull();
    expect((await fetch(`${served.url}/livez`)).status).toBe(200);
    expect(served.output()).not.toMatch(/internal error|unexpected fault/);
  } finally {
    await served.stop();
    emulator.reset();
  }
});

async function start(env: Readonly<Record<string, string>>): Promise<string> {
  gateway = await startProcess({ OPENAI_BASE_URL: emulator.url, ...env });
  return gateway.url;
}

const complete = (url: string, script: object, more: object = {}): Promise<Response> =>
  post(`${url}/v1/chat/completions`, chat(script, more));

async function stateOf(url: string, id: string): Promise<GenerationObject> {
  return (await (await fetch(`${url}/v1/generations/${id}`)).json()) as GenerationObject;
}

describe("the gate", () => {
  const full = { SLUICE_MAX_CONCURRENCY: "1", SLUICE_MAX_QUEUE: "1" };

  test("SLUICE_MAX_CONCURRENCY and SLUICE_MAX_QUEUE: 429 queue_full", async () => {
    const url = await start(full);
    const running = await startGeneration(url, ENDLESS);
    const waiting = await startGeneration(url, ENDLESS);
    expect([running.status, waiting.status]).toEqual(["running", "queued"]);
    const refused = await refusal(complete(url, ENDLESS));
    expect(refused).toMatchObject({ status: 429, code: "queue_full" });
    expect(Number(refused.retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Number(refused.retryAfter)).toBeLessThanOrEqual(30);
    // Room again as soon as one is gone.
    await post(`${url}/v1/generations/${waiting.id}/cancel`, {});
    expect((await startGeneration(url, ENDLESS)).status).toBe("queued");
  });

  test("calls that are no generations are as many at once: 429 queue_full", async () => {
    const upstream = await startPlainUpstream(() => {});
    const url = await start({ ...full, OPENAI_BASE_URL: upstream.url });
    const model = { model: "plain", input: "x" };
    const gone = new AbortController();
    const open = [1, 2].map(() =>
      fetch(`${url}/v1/embeddings`, {
        method: "POST",
        body: JSON.stringify(model),
        headers: { "content-type": "application/json" },
        signal: gone.signal,
      }).catch(() => undefined),
    );
    await until("both are open", () => upstream.open === 2);
    const third = await refusal(post(`${url}/v1/embeddings`, model));
    expect(third).toMatchObject({ status: 429, code: "queue_full" });
    gone.abort();
    await Promise.all(open);
    await until("their places are free", async () => (await fetch(`${url}/v1/models`)).status === 200);
    await upstream.close();
  });

  test("SLUICE_QUEUE_MAX_BYTES: 429 queue_full", async () => {
    const url = await start({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_QUEUE_MAX_BYTES: "3000" });
    await startGeneration(url, ENDLESS);
    const large = { user: "u".repeat(2000) };
    await startGeneration(url, ENDLESS, { request: large });
    expect(await refusal(complete(url, ENDLESS, large))).toMatchObject({ status: 429, code: "queue_full" });
    expect((await startGeneration(url, ENDLESS)).status).toBe("queued");
  });

  test("SLUICE_QUEUE_TIMEOUT_MS: 503 queue_timeout", async () => {
    const url = await start({ SLUICE_MAX_CONCURRENCY: "1", SLUICE_QUEUE_TIMEOUT_MS: "100" });
    await startGeneration(url, ENDLESS);
    const late = await refusal(complete(url, ENDLESS));
    expect(late).toMatchObject({ status: 503, code: "queue_timeout" });
    expect(late.retryAfter).not.toBeNull();
  });

  test("SLUICE_KEY_MAX_CONCURRENCY and SLUICE_KEY_MAX_QUEUE: 429 rate_limited, for that key alone", async () => {
    const url = await start({
      SLUICE_API_KEYS: "a:key-of-a,b:key-of-b",
      SLUICE_KEY_MAX_CONCURRENCY: "1",
      SLUICE_KEY_MAX_QUEUE: "1",
    });
    const ask = (key: string): Promise<Response> =>
      post(`${url}/v1/generations`, { request: chat(ENDLESS) }, { authorization: `Bearer ${key}` });
    expect([(await ask("key-of-a")).status, (await ask("key-of-a")).status]).toEqual([201, 201]);
    expect(await refusal(ask("key-of-a"))).toMatchObject({ status: 429, code: "rate_limited" });
    expect((await ask("key-of-b")).status).toBe(201);
  });
});

describe("the clocks", () => {
  test("SLUICE_FIRST_TOKEN_TIMEOUT_MS: 504 upstream_timeout", async () => {
    const url = await start({ SLUICE_FIRST_TOKEN_TIMEOUT_MS: "100" });
    const late = await refusal(
      post(`${url}/v1/chat/completions`, streamed({ fault: { kind: "hang_before_headers" } })),
    );
    expect(late).toMatchObject({ status: 504, code: "upstream_timeout", shouldRetry: "false" });
  });

  test("SLUICE_STALL_TIMEOUT_MS: upstream_stalled in the stream, and no [DONE]", async () => {
    const url = await start({ SLUICE_STALL_TIMEOUT_MS: "100" });
    const script = { tokens: 5, pace_ms: 1, fault: { kind: "hang", after_tokens: 2 } } as const;
    const text = await (await post(`${url}/v1/chat/completions`, streamed(script))).text();
    expect(text).toContain('"code":"upstream_stalled"');
    expect(text).not.toContain("[DONE]");
  });

  test("SLUICE_TOTAL_TIMEOUT_MS: 504 upstream_timeout", async () => {
    const url = await start({ SLUICE_TOTAL_TIMEOUT_MS: "100" });
    const late = await refusal(complete(url, { fault: { kind: "hang_before_headers" } }));
    expect(late).toMatchObject({ status: 504, code: "upstream_timeout" });
  });

  test("SLUICE_DISCONNECT_GRACE_MS: a generation that nobody comes for is cancelled", async () => {
    const url = await start({ SLUICE_DISCONNECT_GRACE_MS: "100" });
    const { id } = await startGeneration(url, ENDLESS);
    await until("it is cancelled", async () => (await stateOf(url, id)).status === "cancelled");
    expect((await stateOf(url, id)).error?.code).toBe("cancelled");
    await until("its upstream is given up", () => emulator.stats.open === 0);
  });

  test("SLUICE_RETENTION_MS: 404 generation_not_found", async () => {
    const url = await start({ SLUICE_RETENTION_MS: "100" });
    const answer = await complete(url, { text: "short" });
    await answer.text();
    const at = `${url}/v1/generations/${answer.headers.get("x-generation-id")}`;
    await until("it is gone", async () => (await fetch(at)).status === 404);
    expect(await refusal(fetch(`${at}/events`))).toMatchObject({ status: 404, code: "generation_not_found" });
  });

  test.each([false, true])(
    "SLUICE_WRITE_STALL_MS: an answer that its client does not take is reset (streamed: %s)",
    async (stream) => {
      const size = 40_000_000;
      const upstream = await startPlainUpstream((response, body) => {
        const isStream = body.includes('"stream":true');
        response.writeHead(200, { "content-type": isStream ? "text/event-stream" : "application/json" });
        if (isStream) response.end(`${eventOf("x".repeat(1_000_000)).repeat(40)}data: [DONE]\n\n`);
        else response.end(wholeAnswer("x".repeat(size)));
      });
      const url = await start({
        OPENAI_BASE_URL: upstream.url,
        SLUICE_WRITE_STALL_MS: "300",
        SLUICE_LOG_MAX_BYTES: "64000000",
      });
      const body = JSON.stringify({ model: "plain", messages: [], stream });
      const socket = connect(url);
      socket.pause();
      socket.write(requestText(url, "POST /v1/chat/completions", { connection: "keep-alive" }, body));
      await until("it is cut off", async () => {
        const metrics = await (await fetch(`${url}/metrics`)).text();
        return /^sluice_slow_readers_total\{.*\} 1$/m.test(metrics);
      });
      let received = 0;
      socket.on("data", (part) => {
        received += part.length;
      });
      socket.resume();
      await new Promise((resolve) => socket.on("close", resolve));
      expect(received).toBeLessThan(size);
      await upstream.close();
    },
  );
});

describe("memory", () => {
  test("SLUICE_LOG_MAX_BYTES: failed with log_limit", async () => {
    const url = await start({ SLUICE_LOG_MAX_BYTES: "2000" });
    const text = await (
      await post(`${url}/v1/chat/completions`, streamed({ tokens: 500, pace_ms: 0 }))
    ).text();
    expect(text).toContain('"code":"log_limit"');
    expect(text).not.toContain("[DONE]");
    expect(await refusal(complete(url, { text: "x".repeat(5000) }))).toMatchObject({
      status: 500,
      code: "log_limit",
    });
  });

  test("SLUICE_RUNNING_MAX_BYTES: 503 overloaded for new work, on HTTP and on WebSocket", async () => {
    const url = await start({ SLUICE_RUNNING_MAX_BYTES: "1000" });
    const { id } = await startGeneration(url, { tokens: 1_000_000, pace_ms: 1 });
    await until("it has grown", async () => (await stateOf(url, id)).last_seq > 20);
    expect(await refusal(complete(url, ENDLESS))).toMatchObject({ status: 503, code: "overloaded" });
    const client = await WsClient.open(url.replace("http", "ws"));
    const error = await client.ask({ type: "generate", id: "a", request: chat(ENDLESS) }, "error");
    expect(error.error?.code).toBe("overloaded");
    client.terminate();
    await post(`${url}/v1/generations/${id}/cancel`, {});
    expect((await complete(url, { text: "room again" })).status).toBe(200);
  });

  test("SLUICE_RETAINED_MAX_BYTES: the oldest go first", async () => {
    const url = await start({ SLUICE_RETAINED_MAX_BYTES: "20000" });
    const ids: string[] = [];
    for (let n = 0; n < 12; n++) {
      const answer = await complete(url, { text: "y".repeat(3000) });
      await answer.text();
      ids.push(answer.headers.get("x-generation-id") ?? "");
    }
    const found = await Promise.all(
      ids.map(async (id) => (await fetch(`${url}/v1/generations/${id}`)).status),
    );
    expect(found[0]).toBe(404);
    expect(found.at(-1)).toBe(200);
    expect(found).toEqual([...found].sort((a, b) => b - a));
  });

  test("SLUICE_MAX_BODY_BYTES: 413 body_too_large, told before or after it has come; 1009 on WebSocket", async () => {
    const url = await start({ SLUICE_MAX_BODY_BYTES: "5000" });
    const large = chat({ text: "x" }, { user: "u".repeat(6000) });
    for (const path of ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/generations"]) {
      expect(await refusal(post(url + path, large))).toMatchObject({ status: 413, code: "body_too_large" });
    }
    const told = requestText(url, "POST /chat", {
      "content-type": "application/json",
      "content-length": "999999999999",
    });
    const early = await exchange(url, told);
    expect([early.status, codeOf(early.body)]).toEqual([413, "body_too_large"]);
    const chunk = `${(1000).toString(16)}\r\n${"x".repeat(1000)}\r\n`;
    const untold = await exchange(
      url,
      requestText(url, "POST /chat", {
        "content-type": "application/json",
        "transfer-encoding": "chunked",
      }) + chunk.repeat(8),
    );
    expect([untold.status, codeOf(untold.body)]).toEqual([413, "body_too_large"]);
    const client = await WsClient.open(url.replace("http", "ws"));
    client.send({ type: "generate", id: "a", request: large });
    expect((await client.closed).code).toBe(1009);
  });
});
