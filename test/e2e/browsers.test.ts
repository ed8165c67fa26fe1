/** Pages: which may call and what they may read, by their headers. What a real browser makes of it is in browsers-chromium. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { codeOf, exchange, requestText } from "../support/raw-socket.ts";
import { chat, post } from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

const FRIEND = "https://friend.example";
const PUBLIC = "https://sluice.example";
const EVIL = "https://evil.example";
const KEY = { authorization: "Bearer sesame" };

let keyless: TestGateway;
let keyed: TestGateway;
let open: TestGateway;
beforeAll(async () => {
  keyless = await startGateway();
  keyed = await startGateway({
    env: { SLUICE_API_KEYS: "alice:sesame", SLUICE_CORS_ORIGINS: FRIEND, SLUICE_PUBLIC_URL: PUBLIC },
  });
  open = await startGateway({ env: { SLUICE_CORS_ORIGINS: "*" } });
});
afterAll(async () => {
  for (const gateway of [keyless, keyed, open]) await gateway?.close();
});

async function ask(
  gateway: TestGateway,
  line: string,
  headers: Readonly<Record<string, string>>,
  body = "",
): Promise<readonly [status: number, code: string]> {
  const answer = await exchange(gateway.url, requestText(gateway.url, line, headers, body));
  return [answer.status, answer.status < 300 || answer.body === "" ? "" : codeOf(answer.body)];
}

const hostOf = (gateway: TestGateway): string => new URL(gateway.url).host;
const ORIGIN = [403, "origin_not_allowed"] as const;
const HOST = [403, "host_not_allowed"] as const;
const OK = [200, ""] as const;

/** Every route that is not health, the open ones included. */
const ROUTES = [
  "GET /",
  "GET /playground.js",
  "GET /openapi.json",
  "GET /metrics",
  "GET /v1/models",
  "GET /v1/models/x",
  "POST /v1/chat/completions",
  "POST /v1/completions",
  "POST /v1/embeddings",
  "POST /v1/generations",
  "GET /v1/generations/gen_x",
  "GET /v1/generations/gen_x/events",
  "POST /v1/generations/gen_x/cancel",
  "POST /v1/tickets",
  "POST /chat",
  "GET /chat?prompt=x",
  "GET /v1/ws",
  "OPTIONS /v1/chat/completions",
  "GET /nothing",
];

describe("a foreign page", () => {
  test.each(ROUTES)("%s is 403, with and without keys, and nothing is generated", async (route) => {
    for (const gateway of [keyless, keyed]) {
      const host = { host: hostOf(gateway), ...KEY };
      for (const headers of [
        { origin: EVIL },
        { origin: "null" },
        { origin: `${gateway.url}.evil.example` },
        { origin: gateway.url.replace(/\d+$/, "1") },
        { origin: gateway.url.replace("127.0.0.1", "localhost") },
        { origin: `${FRIEND}.evil.example` },
        { origin: FRIEND.replace("https", "http") },
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" },
      ]) {
        expect(await ask(gateway, route, { ...host, ...headers } as Record<string, string>)).toEqual(ORIGIN);
      }
      expect(gateway.emulator.stats.requests).toBe(0);
    }
  });

  test("another port of the same host may link to the page, and fetch nothing", async () => {
    const headers = { "sec-fetch-site": "same-site" };
    expect(await ask(keyless, "GET /", headers)).toEqual(OK);
    expect(await ask(keyless, "GET /chat?prompt=x", headers)).toEqual(ORIGIN);
    expect(await ask(keyless, "GET /v1/models", headers)).toEqual(ORIGIN);
  });

  test.each(["/livez", "/readyz", "/healthz"])("%s answers anybody", async (path) => {
    const headers = { origin: EVIL, host: "evil.example", "sec-fetch-site": "cross-site" };
    expect(await ask(keyless, `GET ${path}`, headers)).toEqual(OK);
  });

  test("is told nothing that lets it read an answer", async () => {
    const answer = await exchange(
      keyed.url,
      requestText(keyed.url, "GET /v1/models", { origin: EVIL, ...KEY }),
    );
    expect(answer.head).not.toContain("access-control-allow");
  });
});

describe("hosts", () => {
  test.each([
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhostx",
    "127.0.0.1@evil.example",
    "[::2]",
    "0.0.0.0",
    "2130706433",
    "10.0.0.1",
    "",
  ])("without keys, %j is 403 on every route, though the page's origin is the same", async (host) => {
    for (const route of ROUTES) {
      expect(await ask(keyless, route, { host, origin: `http://${host || "x"}` })).toEqual(HOST);
    }
  });

  test.each(["localhost", "LOCALHOST:9", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"])(
    "without keys, %s is answered",
    async (host) => {
      expect(await ask(keyless, "GET /v1/models", { host })).toEqual(OK);
    },
  );

  test("with keys, a key is what counts", async () => {
    expect(await ask(keyed, "GET /v1/models", { host: "anything.example", ...KEY })).toEqual(OK);
    expect(await ask(keyed, "GET /v1/models", { host: "anything.example" })).toEqual([
      401,
      "invalid_api_key",
    ]);
  });

  test("an address with another host in it changes nothing", async () => {
    const headers = { host: "evil.example" };
    expect(await ask(keyless, "GET http://127.0.0.1/v1/models", headers)).toEqual(HOST);
  });
});

describe("an allowed page", () => {
  test.each([
    ["the gateway's own", () => keyed.url],
    ["that of the public address", () => PUBLIC],
    ["one that is named", () => FRIEND],
  ])("%s is answered", async (_what, origin) => {
    expect(await ask(keyed, "GET /v1/models", { origin: origin(), ...KEY })).toEqual(OK);
    const crossing = { origin: origin(), "sec-fetch-site": "cross-site", ...KEY };
    expect(await ask(keyed, "GET /v1/models", crossing)).toEqual(OK);
  });

  test("gets its preflight, with all that the SDK sends, without a key", async () => {
    const asked = [
      ...["authorization", "content-type", "idempotency-key", "last-event-id", "x-sluice-on-disconnect"],
      ...[
        "lang",
        "package-version",
        "os",
        "arch",
        "runtime",
        "runtime-version",
        "retry-count",
        "timeout",
      ].map((name) => `x-stainless-${name}`),
    ].join(",");
    const answer = await fetch(`${keyed.url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: {
        origin: FRIEND,
        "access-control-request-method": "POST",
        "access-control-request-headers": asked,
      },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("access-control-allow-origin")).toBe(FRIEND);
    expect(answer.headers.get("access-control-allow-methods")).toContain("POST");
    const allowed = (answer.headers.get("access-control-allow-headers") ?? "").split(/, ?/);
    expect(allowed).toEqual(expect.arrayContaining(asked.split(",")));
    expect(answer.headers.get("access-control-max-age")).toBe("600");
    expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    expect(answer.headers.get("vary")).toMatch(/origin/i);
  });

  test("may read the headers that clients need, on answers, streams and errors", async () => {
    const url = `${keyed.url}/v1/chat/completions`;
    const headers = { origin: FRIEND, ...KEY };
    const answers = [
      await post(url, chat({ text: "x" }), headers),
      await post(url, chat({ text: "x" }, { stream: true }), headers),
      await post(url, {}, headers),
      await post(url, {}, { origin: FRIEND }),
      await post(url, chat({ fault: { kind: "plain_error", status: 503 } }), headers),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 400, 401, 502]);
    for (const answer of answers) {
      await answer.text();
      expect(answer.headers.get("access-control-allow-origin")).toBe(FRIEND);
      const exposed = answer.headers.get("access-control-expose-headers") ?? "";
      for (const name of ["x-request-id", "x-generation-id", "retry-after", "x-should-retry"]) {
        expect(exposed).toContain(name);
      }
    }
  });

  test("is any, where * says so, and even then no other host is answered without keys", async () => {
    expect(await ask(open, "GET /v1/models", { origin: EVIL })).toEqual(OK);
    expect(await ask(open, "GET /v1/models", { origin: EVIL, host: "evil.example" })).toEqual(HOST);
  });
});

describe("WebSocket", () => {
  const attempt = (gateway: TestGateway, headers: Readonly<Record<string, string>>): Promise<string> =>
    new Promise((resolve) => {
      const ws = new WebSocket(`${gateway.wsUrl}/v1/ws`, ["sluice.v1"], { headers });
      ws.on("unexpected-response", (_request, answer) => resolve(String(answer.statusCode)));
      ws.on("open", () => {
        resolve("open");
        ws.terminate();
      });
      ws.on("error", () => {});
    });

  test("of a foreign page is 403 before the upgrade", async () => {
    for (const gateway of [keyless, keyed]) {
      expect(await attempt(gateway, { origin: EVIL, ...KEY })).toBe("403");
      expect(await attempt(gateway, { origin: "null", ...KEY })).toBe("403");
    }
    expect(await attempt(keyless, { host: "evil.example" })).toBe("403");
  });

  test("of an allowed page without a key is upgraded, told, and closed with 4401", async () => {
    for (const origin of [keyed.url, FRIEND, PUBLIC]) {
      const page = new WsClient(new WebSocket(`${keyed.wsUrl}/v1/ws`, ["sluice.v1"], { origin }));
      expect((await page.closed).code).toBe(4401);
      expect(page.messages).toMatchObject([{ type: "error", error: { code: "invalid_api_key" } }]);
    }
  });

  test("without an Origin and without a key is 401 before the upgrade", async () => {
    expect(await attempt(keyed, {})).toBe("401");
    expect(await attempt(keyed, KEY)).toBe("open");
  });
});

describe("the playground", () => {
  test.each(["/", "/playground.js", "/playground.css", "/openapi.json"])(
    "%s may run and reach nothing but its own",
    async (path) => {
      const { headers } = await fetch(keyed.url + path);
      const policy = new Map(
        (headers.get("content-security-policy") ?? "").split("; ").map((rule) => {
          const [name = "", ...sources] = rule.split(" ");
          return [name, sources.join(" ")] as const;
        }),
      );
      expect(Object.fromEntries(policy)).toEqual({
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
      });
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("referrer-policy")).toBe("no-referrer");
      expect(headers.get("cross-origin-opener-policy")).toBe("same-origin");
      expect(headers.get("set-cookie")).toBeNull();
      expect(headers.get("server")).toBeNull();
      expect(headers.get("x-powered-by")).toBeNull();
    },
  );

  test("has no script and no style of its own in the page", async () => {
    const page = await (await fetch(keyed.url)).text();
    expect(page).not.toMatch(/<script(?![^>]*\ssrc=)|\son\w+=|<style|\sstyle=|javascript:/i);
  });
});
