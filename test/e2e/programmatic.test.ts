/** The gateway inside another program: with a listener of its own, and as a part of a Fastify app. */
import { once } from "node:events";
import fastifyWebsocket from "@fastify/websocket";
import fastify, { type FastifyInstance } from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startEmulator } from "../../src/emulator/index.ts";
import { ConfigError, createGateway, type Gateway, type Settings, version } from "../../src/index.ts";
import { metricOf, until } from "../support/gateway.ts";
import { chat, post, refusal } from "../support/requests.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function created(settings: Settings = {}): Gateway {
  const gateway = createGateway({ port: 0, logLevel: "silent", ...settings });
  closing.push(() => gateway.close());
  return gateway;
}

async function upstream(): ReturnType<typeof startEmulator> {
  const emulator = await startEmulator();
  closing.push(() => emulator.close());
  return emulator;
}

interface Mounted {
  readonly app: FastifyInstance;
  readonly gateway: Gateway;
  readonly url: string;
}

async function mounted(
  prepare: (app: FastifyInstance) => void | Promise<void> = () => {},
  settings: Settings = {},
  prefix = "/llm",
): Promise<Mounted> {
  const gateway = created(settings);
  const app = fastify();
  await prepare(app);
  await app.register(gateway.plugin, { prefix });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  closing.push(() => app.close());
  return { app, gateway, url };
}

/** Everything a socket is sent until it closes. */
async function talk(url: string, headers: Record<string, string> = {}): Promise<unknown[]> {
  const ws = new WebSocket(url.replace(/^http/, "ws"), "sluice.v1", { headers });
  const said: { type: string }[] = [];
  ws.on("open", () => {
    ws.send(JSON.stringify({ type: "generate", id: "a", request: chat({ text: "over the wire" }) }));
  });
  ws.on("message", (data) => {
    said.push(JSON.parse(String(data)));
    if (said.at(-1)?.type === "end") ws.close();
  });
  await once(ws, "close");
  return said;
}

describe("with a listener of its own", () => {
  test("says where, answers, and is gone when drained", async () => {
    const emulator = await upstream();
    const gateway = created({ upstream: emulator.url });
    expect(gateway.url).toBeUndefined();
    const url = await gateway.listen();
    expect(gateway.url).toBe(url);
    expect(await gateway.models()).toEqual(["sluice-demo"]);
    const answer = await post(`${url}/v1/chat/completions`, chat({ text: "in process" }));
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: "in process" } }] });
    expect(await metricOf(url, "sluice_build_info", { version })).toBe(1);
    await gateway.drain();
    expect(gateway.url).toBeUndefined();
    await expect(fetch(`${url}/livez`)).rejects.toThrow();
    await gateway.close();
  });

  test("reads no variable of the environment", async () => {
    process.env["SLUICE_API_KEYS"] = "sesame";
    try {
      const url = await created().listen();
      expect((await fetch(`${url}/v1/models`)).status).toBe(200);
    } finally {
      delete process.env["SLUICE_API_KEYS"];
    }
  });

  test("starts once, and not after a start that failed", async () => {
    const gateway = created();
    await gateway.listen();
    await expect(gateway.listen()).rejects.toThrow("started already");
    const port = Number(new URL(gateway.url ?? "").port);
    const second = created({ port });
    await expect(second.listen()).rejects.toThrow("EADDRINUSE");
    await second.drain();
    await expect(second.listen()).rejects.toThrow("started already");
  });
});

describe("settings", () => {
  test.each<[Settings, string, RegExp]>([
    [{ maxConcurrency: 0 }, "maxConcurrency", /^maxConcurrency: "0" is not a whole number/],
    [{ maxConcurency: 1 } as Settings, "settings", /unknown member "maxConcurency"/],
    [{ port: "8000" } as unknown as Settings, "port", /^port: .*number/],
    [{ upstream: "olama" }, "upstream", /^upstream: must be one of openai, ollama/],
    [{ upstream: "openai" }, "upstreamKey", /openai needs one/],
    [{ upstream: "demo", upstreams: [{ name: "a", baseUrl: "http://a/v1" }] }, "upstream", /drop one/],
    [{ upstreams: [{ name: "a", baseUrl: "a" }] }, "upstreams[0].baseUrl", /must be a URL/],
    [{ upstreams: [{ name: "a", baseUrl: "http://a", apiKey: "ä" }] }, "upstreams[0].apiKey", /header/],
    [
      { upstreams: [{ name: "a", baseUrl: "http://a", keyVariable: "NOT_SET" }] },
      "upstreams[0].keyVariable",
      /not set/,
    ],
    [{ apiKeys: [{ name: "a b", key: "secret" }] }, "apiKeys[0]", /./],
    [{ apiKeys: ["a:one", { name: "a", key: "two" }] }, "apiKeys", /same name/],
    [{ auth: "none", apiKeys: ["one"] }, "auth", /apiKeys/],
  ])("%o are refused", (settings, setting, message) => {
    let thrown: unknown;
    try {
      createGateway(settings);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ConfigError);
    expect((thrown as ConfigError).setting).toBe(setting);
    expect((thrown as ConfigError).message).toMatch(message);
    expect((thrown as ConfigError).message).not.toMatch(/secret|ä/);
  });

  test("an address that cannot be is refused where it would be taken", async () => {
    await expect(created({ host: "0.0.0.0" }).listen()).rejects.toThrow(ConfigError);
    const itself = { port: 8000, upstream: "http://127.0.0.1:8000/v1" };
    await expect(created(itself).listen()).rejects.toThrow(/^upstream: .*listens on/);
  });

  test("undefined members have their defaults; keys come in three forms", async () => {
    const apiKeys = ["one", "two:2", { name: "three", key: "3:3" }];
    const url = await created({ apiKeys, defaultModel: undefined }).listen();
    for (const [key, status] of [
      ["one", 200],
      ["2", 200],
      ["3:3", 200],
      ["two:2", 401],
    ] as const) {
      const headers = { authorization: `Bearer ${key}` };
      expect((await fetch(`${url}/v1/models`, { headers })).status, key).toBe(status);
    }
  });
});

describe("as a part of a Fastify app", () => {
  test("answers under the prefix, with addresses that can be followed", async () => {
    const emulator = await upstream();
    const { url } = await mounted((app) => void app.get("/own", () => "own"), { upstream: emulator.url });
    expect(await (await fetch(`${url}/own`)).text()).toBe("own");
    expect((await fetch(`${url}/v1/models`)).status).toBe(404);
    const request = chat({ text: "under a prefix" });
    const started = await post(`${url}/llm/v1/generations`, { request });
    const { events_url } = (await started.json()) as { events_url: string };
    expect(started.headers.get("location")).toMatch(/^\/llm\/v1\/generations\/gen_/);
    const events = await (await fetch(url + events_url)).text();
    expect(events).toMatch(/^event: end\ndata: \{"status":"completed"/m);
    expect(await refusal(fetch(`${url}/llm/nothing`))).toMatchObject({ status: 404, code: "not_found" });
    expect((await fetch(`${url}/llm`)).status).toBe(200);
  });

  test("reads bodies itself, whatever their type, and refuses them itself", async () => {
    const { url } = await mounted();
    const send = (type: string) =>
      fetch(`${url}/llm/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": type },
        body: "x",
      });
    expect(await refusal(send("application/json"))).toMatchObject({ code: "invalid_json" });
    expect(await refusal(send("text/plain"))).toMatchObject({ code: "unsupported_media_type" });
  });

  test("works without a prefix, beside routes of the app", async () => {
    const { url } = await mounted((app) => void app.get("/own", () => "own"), {}, "");
    expect(await (await fetch(`${url}/own`)).text()).toBe("own");
    expect((await fetch(`${url}/livez`)).status).toBe(200);
    expect((await fetch(`${url}/v1/models`)).status).toBe(200);
  });

  const guarded = (app: FastifyInstance): void => {
    app.addHook("preHandler", async (request, reply) => {
      if (request.headers["x-pass"] !== "yes") return reply.code(401).send({ by: "the app" });
    });
  };

  test.each(["alone", "beside a plugin for WebSockets of the app's own"])("WebSockets, %s", async (kind) => {
    const emulator = await upstream();
    const prepare = async (app: FastifyInstance): Promise<void> => {
      if (kind.includes("plugin")) {
        await app.register(fastifyWebsocket);
        app.get("/echo", { websocket: true }, (ws) => void ws.on("message", (data) => ws.send(String(data))));
      }
      guarded(app);
    };
    const { url } = await mounted(prepare, { upstream: emulator.url });
    const said = await talk(`${url}/llm/v1/ws`, { "x-pass": "yes" });
    expect(said[0]).toMatchObject({ type: "ready", protocol: "sluice.v1" });
    expect(said.at(-1)).toMatchObject({ type: "end", status: "completed" });
    await expect(talk(`${url}/llm/v1/ws`)).rejects.toThrow("401");
    if (!kind.includes("plugin")) return;
    const ws = new WebSocket(`${url.replace(/^http/, "ws")}/echo`, { headers: { "x-pass": "yes" } });
    await once(ws, "open");
    ws.send("still mine");
    expect(String((await once(ws, "message"))[0])).toBe("still mine");
    ws.close();
  });

  test("the app's hooks may refuse, and no other way of writing the path goes round them", async () => {
    const { url } = await mounted(guarded);
    for (const path of ["/llm/v1/models", "/llm", "/llm/", "/%6clm/v1/models", "/llm//v1/models"]) {
      const answer = await fetch(url + path);
      expect([401, 404], path).toContain(answer.status);
    }
    const headers = { "x-pass": "yes" };
    expect((await fetch(`${url}/llm/v1/models`, { headers })).status).toBe(200);
    expect((await fetch(`${url}/%6clm/v1/models`, { headers })).status).toBe(404);
  });

  test("closing the app lets what runs end", async () => {
    const emulator = await upstream();
    const { app, url } = await mounted(undefined, { upstream: emulator.url });
    const script = { tokens: 40, pace_ms: 20 };
    const answer = await post(`${url}/llm/v1/chat/completions`, { ...chat(script), stream: true });
    const reading = answer.text();
    await app.close();
    expect(await reading).toMatch(/data: \[DONE\]\n\n$/);
    await expect(fetch(`${url}/llm/livez`)).rejects.toThrow();
  });

  test("a reader that vanishes is noticed, and the upstream stopped", async () => {
    const emulator = await upstream();
    const { url } = await mounted(undefined, { upstream: emulator.url });
    const leaving = new AbortController();
    const body = JSON.stringify({ ...chat({ tokens: 10_000, pace_ms: 20 }), stream: true });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${url}/llm/v1/chat/completions`, {
      method: "POST",
      headers,
      body,
      signal: leaving.signal,
    });
    await answer.body?.getReader().read();
    leaving.abort();
    await until("the upstream is idle", () => emulator.stats.open === 0);
  });

  test("closing does not wait for a stream for ever", async () => {
    const emulator = await upstream();
    const { gateway, app, url } = await mounted(undefined, { upstream: emulator.url });
    const answer = await post(`${url}/llm/v1/chat/completions`, {
      ...chat({ tokens: 10_000, pace_ms: 50 }),
      stream: true,
    });
    const reading = answer.text();
    await Promise.all([gateway.close(), expect(reading).rejects.toThrow()]);
    await app.close();
  });

  test("what cannot be is said at registration", async () => {
    const app = fastify();
    closing.push(() => app.close());
    await expect(app.register(created().plugin, { prefix: "/:tenant" })).rejects.toThrow(
      "without parameters",
    );
  });
});
