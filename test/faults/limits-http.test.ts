/** Hostile HTTP: what is too large, too slow, too deep or no HTTP at all is refused by name, and the next request is served. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";
import { type Answered, codeOf, connect, exchange, parseAnswer, requestText } from "../support/raw-socket.ts";
import { chat, post, refusal } from "../support/requests.ts";

let emulator: Emulator;
let gateway: GatewayProcess;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startProcess({ OPENAI_BASE_URL: emulator.url, LOG_LEVEL: "trace" });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
afterEach(async () => {
  expect(gateway.child.exitCode).toBeNull();
  expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
  expect(gateway.output()).not.toMatch(/internal error|unexpected fault|rawPacket/);
});

const raw = (line: string, headers: Readonly<Record<string, string>> = {}, body = ""): Promise<Answered> =>
  exchange(gateway.url, requestText(gateway.url, line, headers, body));

const json = { "content-type": "application/json" };

describe("what the parser refuses has the error object", () => {
  const host = "host: 127.0.0.1\r\n";
  test.each<[what: string, status: number, bytes: string]>([
    ["bytes that are no request", 400, "GARBAGE\r\n\r\n"],
    ["a TLS hello", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["an HTTP/2 preface", 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["headers over 16 KiB", 431, `GET /livez HTTP/1.1\r\n${host}x: ${"a".repeat(20_000)}\r\n\r\n`],
    ["an address over 16 KiB", 431, `GET /${"a".repeat(20_000)} HTTP/1.1\r\n${host}\r\n`],
    ["many headers", 431, `GET /livez HTTP/1.1\r\n${host}${"a: b\r\n".repeat(4000)}\r\n`],
    ["a control character in a header", 400, `GET /livez HTTP/1.1\r\n${host}x-request-id: a\x01b\r\n\r\n`],
    ["a bare CR in a header", 400, `GET /livez HTTP/1.1\r\n${host}x-request-id: a\rx: b\r\n\r\n`],
    ["two lengths", 400, `POST /chat HTTP/1.1\r\n${host}content-length: 1\r\ncontent-length: 2\r\n\r\n{}`],
    [
      "a length and chunks",
      400,
      `POST /chat HTTP/1.1\r\n${host}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["a length below zero", 400, `POST /chat HTTP/1.1\r\n${host}content-length: -5\r\n\r\n`],
    [
      "a chunk without a size",
      400,
      `POST /chat HTTP/1.1\r\n${host}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`,
    ],
    ["an expectation", 400, `POST /chat HTTP/1.1\r\n${host}expect: much\r\ncontent-length: 0\r\n\r\n`],
  ])("%s: %i", async (_what, status, bytes) => {
    const answer = await exchange(gateway.url, Buffer.from(bytes, "latin1"));
    expect([answer.status, codeOf(answer.body)]).toEqual([status, "invalid_request"]);
    expect(answer.head).toContain("x-should-retry: false");
    expect(answer.head).toContain("connection: close");
  });

  test("a request without a Host: 400", async () => {
    const answer = await exchange(gateway.url, "GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n");
    expect([answer.status, codeOf(answer.body)]).toEqual([400, "invalid_request"]);
  });

  test("bytes after a request whose answer is on its way never land in that answer", async () => {
    const body = JSON.stringify(chat({ tokens: 40, pace_ms: 10 }, { stream: true }));
    const socket = connect(gateway.url);
    const head = { connection: "keep-alive" };
    socket.write(requestText(gateway.url, "POST /v1/chat/completions", head, body));
    let text = "";
    await new Promise<void>((resolve) => {
      socket.on("data", (part) => {
        text += part.toString("latin1");
        if (text.includes("data: ")) socket.write("GARBAGE\r\n\r\n");
      });
      socket.on("close", () => resolve());
    });
    expect(parseAnswer(text).status).toBe(200);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(text).not.toContain("invalid_request");
    emulator.reset();
  });
});

describe("methods", () => {
  test.each([
    ["HEAD", 405],
    ["OPTIONS", 405],
    ["PUT", 405],
    ["PATCH", 405],
    ["DELETE", 405],
    ["TRACE", 404],
    ["PROPFIND", 404],
  ])("%s on a route of the API: %i", async (method, status) => {
    const answer = await raw(`${method} /v1/models`);
    expect(answer.status).toBe(status);
    expect(answer.body.includes("secret-of-mine")).toBe(false);
    if (status === 405) expect(answer.head).toContain("allow: get");
    if (method !== "HEAD")
      expect(codeOf(answer.body)).toBe(status === 405 ? "method_not_allowed" : "not_found");
  });

  test("TRACE gives nothing back of what it was sent", async () => {
    const answer = await raw("TRACE /v1/models", { authorization: "Bearer secret-of-mine" });
    expect(answer.text).not.toContain("secret-of-mine");
  });

  test("CONNECT: 405", async () => {
    const answer = await raw("CONNECT example.com:443");
    expect([answer.status, codeOf(answer.body)]).toEqual([405, "method_not_allowed"]);
  });

  test("HEAD on the page and on health: 200 and no body", async () => {
    for (const path of ["/", "/livez", "/openapi.json"]) {
      const answer = await raw(`HEAD ${path}`);
      expect([answer.status, answer.body]).toEqual([200, ""]);
    }
  });
});

describe("addresses and types", () => {
  test.each([
    ["/v1/models/%zz", 400, "invalid_request"],
    ["/v1/generations/%ff%fe", 400, "invalid_request"],
    [`/v1/generations/${"a".repeat(2000)}`, 404, "not_found"],
    [`/v1/generations/${encodeURIComponent("../../livez")}`, 404, "generation_not_found"],
    ["/v1/generations/__proto__", 404, "generation_not_found"],
    ["/v1/models/..%2f..%2fadmin", 404, "model_not_found"],
    ["/../../etc/passwd", 404, "not_found"],
    ["/playground.js/..%2f..%2fserver.ts", 404, "not_found"],
    ["/%00", 404, "not_found"],
    ["/chat?prompt=x&prompt=y", 400, "invalid_request"],
    ["/chat?__proto__[prompt]=x", 400, "invalid_request"],
  ])("GET %s: %i %s, and the address is not told back", async (path, status, code) => {
    const answer = await raw(`GET ${path}`);
    expect([answer.status, codeOf(answer.body)]).toEqual([status, code]);
    if (path.length > 8) expect(answer.body).not.toContain(path.slice(8));
  });

  test.each([
    "text/plain",
    "text/plain; application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/json\tx",
    "text/json",
    "",
  ])("a body as %j: 415", async (type) => {
    const answer = await raw("POST /chat", { "content-type": type }, '{"prompt":"x"}');
    expect([answer.status, codeOf(answer.body)]).toEqual([415, "unsupported_media_type"]);
    expect(emulator.stats.requests).toBe(0);
  });
});

describe("headers of a client that come back", () => {
  const kept = async (id: string): Promise<string | undefined> => {
    const { head } = await raw("GET /livez", { "x-request-id": id });
    return /^x-request-id: (.*)$/m.exec(head)?.[1];
  };

  test("an x-request-id comes back where it is short and printable, and only then", async () => {
    expect(await kept("mine-1/2+3")).toBe("mine-1/2+3");
    for (const id of ["a b", "é", "x".repeat(129), ""]) expect(await kept(id)).toMatch(/^req_/);
  });

  test("a model's name with CR and LF puts no header anywhere", async () => {
    const model = "m\r\nx-injected: yes\r\n\r\n<b>";
    const answer = await post(`${gateway.url}/v1/chat/completions`, chat({ text: "x" }, { model }));
    expect([...answer.headers.keys()]).not.toContain("x-injected");
    await answer.text();
    const found = await fetch(`${gateway.url}/v1/models/${encodeURIComponent(model)}`);
    expect([...found.headers.keys()]).not.toContain("x-injected");
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).not.toContain("injected");
    emulator.reset();
  });

  test("an idempotency key over 255 characters: 400", async () => {
    const headers = { "idempotency-key": "k".repeat(256) };
    const refused = await refusal(post(`${gateway.url}/v1/chat/completions`, chat({ text: "x" }), headers));
    expect(refused).toMatchObject({ status: 400, code: "invalid_request" });
  });

  test("no answer but the page's is stored or guessed at", async () => {
    for (const path of ["/v1/models", "/v1/generations/gen_x", "/metrics", "/nothing", "/livez"]) {
      const { headers } = await fetch(gateway.url + path);
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
    }
    const stream = await post(`${gateway.url}/v1/chat/completions`, chat({ text: "x" }, { stream: true }));
    expect(stream.headers.get("cache-control")).toBe("no-cache, no-transform");
    expect(stream.headers.get("x-content-type-options")).toBe("nosniff");
    await stream.text();
    expect((await fetch(gateway.url)).headers.get("cache-control")).toBe("no-cache");
    emulator.reset();
  });
});

describe("JSON", () => {
  const MB = 1_000_000;
  const deep = `${"[".repeat(MB)}${"]".repeat(MB)}`;
  const routes = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/generations", "/chat"];

  test.each([
    ["10 MB of [", "[".repeat(10 * MB)],
    ['10 MB of {"a":', '{"a":'.repeat(2 * MB)],
    ["a million levels in a member", `{"model":"m","messages":[],"x":${deep}}`],
    ["a million levels in the request", `{"request":{"model":"m","messages":[],"x":${deep}}}`],
    ["a million levels of messages", `{"messages":${deep}}`],
  ])("%s: 400 on every route, and others are served meanwhile", async (_what, body) => {
    for (const path of [...routes, "/v1/tickets"]) {
      const hostile = refusal(post(gateway.url + path, body, { "idempotency-key": "deep" }));
      expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
      expect(await hostile).toMatchObject({ status: 400, code: "invalid_request" });
    }
    expect(emulator.stats.requests).toBe(0);
  });

  test("millions of small values do not swell the process", async () => {
    const flat = `[${"0,".repeat(4 * MB)}0]`;
    const before = await resident();
    const body = `{"request":{"model":"m","stream":false,"messages":[],"x":${flat}}}`;
    expect((await post(`${gateway.url}/v1/generations`, body)).status).toBe(201);
    expect((await resident()) - before).toBeLessThan(500 * MB);
    emulator.reset();
  });

  test("names of prototypes are names like any other", async () => {
    const body = (more: string): string => `{"model":"m","messages":[],${more}}`;
    for (const more of [
      '"__proto__":{"stream":true,"model":"evil"}',
      '"constructor":{"prototype":{"polluted":1}}',
      '"toString":1,"hasOwnProperty":2,"valueOf":null',
    ]) {
      const answer = await post(`${gateway.url}/v1/chat/completions`, body(more), {
        "idempotency-key": more,
      });
      expect(answer.headers.get("content-type")).toBe("application/json");
      await answer.text();
    }
    const last = emulator.requests().at(-1);
    expect(last?.model).toBe("m");
    expect(await (await fetch(`${gateway.url}/livez`)).json()).toEqual({ status: "ok" });
    emulator.reset();
  });

  test("of a member that is there twice the last counts, as in JSON.parse", async () => {
    const answer = await post(
      `${gateway.url}/v1/generations`,
      '{"request":{"model":"first","messages":[]},"request":{"model":"second","messages":[]}}',
    );
    expect(await answer.json()).toMatchObject({ model: "second" });
    emulator.reset();
  });

  test.each([
    ["not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ["a byte order mark", Buffer.from('\uFEFF{"model":"m","messages":[]}')],
    ["nothing", Buffer.from(" ")],
    ["half of it", Buffer.from('{"model":')],
  ])("%s: 400 invalid_json", async (_what, body) => {
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", headers: json, body });
    expect(await refusal(answer)).toMatchObject({ status: 400, code: "invalid_json" });
  });
});

async function resident(): Promise<number> {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\S+)/m.exec(metrics)?.[1]);
}

describe.concurrent("a client that takes its time", () => {
  const trickle = async (first: string, drop: string): Promise<Answered> => {
    const socket = connect(gateway.url);
    socket.write(first);
    const timer = setInterval(() => socket.write(drop), 1000);
    let text = "";
    socket.on("data", (part) => {
      text += part.toString("latin1");
    });
    await new Promise((resolve) => socket.on("close", resolve));
    clearInterval(timer);
    return parseAnswer(text);
  };

  test("over its headers: 408", { timeout: 90_000 }, async ({ expect: expectHere }) => {
    const answer = await trickle(`GET /livez HTTP/1.1\r\nhost: ${new URL(gateway.url).host}\r\n`, "x: y\r\n");
    expectHere([answer.status, codeOf(answer.body)]).toEqual([408, "invalid_request"]);
  });

  test("over its body: 408", { timeout: 120_000 }, async ({ expect: expectHere }) => {
    const head = requestText(gateway.url, "POST /chat", { ...json, "content-length": "100000" });
    const answer = await trickle(head, " ");
    expectHere([answer.status, codeOf(answer.body)]).toEqual([408, "invalid_request"]);
  });
});
