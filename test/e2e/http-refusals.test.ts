/** What the HTTP face refuses, and how it says so; and the routes of operation. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type ErrorAnswer, MESSAGES, post, refusal } from "../support/requests.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway({ env: { SLUICE_MAX_BODY_BYTES: "2000" } });
});
afterAll(() => gateway.close());

const at = (path: string): string => gateway.url + path;
const CREATING = ["/v1/chat/completions", "/v1/completions", "/v1/generations", "/chat"];

test.each(["/livez", "/readyz", "/healthz"])("%s is well", async (path) => {
  const answer = await fetch(at(path));
  expect([answer.status, answer.headers.get("content-type")]).toEqual([
    200,
    "application/json; charset=utf-8",
  ]);
  expect((await fetch(at(path), { method: "HEAD" })).status).toBe(200);
});

test("the page, its description and the metrics are served", async () => {
  const types = { "/": "text/html", "/openapi.json": "application/json", "/metrics": "text/plain" };
  for (const [path, type] of Object.entries(types)) {
    const answer = await fetch(at(path));
    expect([answer.status, answer.headers.get("content-type")?.split(";")[0]]).toEqual([200, type]);
  }
});

describe("unknown routes", () => {
  test.each(["/v1/nothing", "/v1/chat/completion", "/v2/models", "/v1", "/chat/completions"])(
    "%s is 404 in the error object",
    async (path) => {
      for (const method of ["GET", "POST", "DELETE"]) {
        expect(await refusal(fetch(at(path), { method }))).toMatchObject({
          status: 404,
          code: "not_found",
          type: "invalid_request_error",
          shouldRetry: "false",
        });
      }
    },
  );

  test("under /v1 the message tells what is served", async () => {
    const { error } = (await (await fetch(at("/v1/chat/completion"))).json()) as ErrorAnswer;
    for (const route of ["chat/completions", "completions", "embeddings", "models", "generations"]) {
      expect(error.message).toContain(route);
    }
    expect(error.param).toBeNull();
  });
});

test.each([
  ["/v1/chat/completions", "POST"],
  ["/v1/completions", "POST"],
  ["/v1/embeddings", "POST"],
  ["/v1/models", "GET"],
  ["/v1/models/a/b", "GET"],
  ["/v1/generations", "POST"],
  ["/v1/generations/gen_x", "GET"],
  ["/v1/generations/gen_x/events", "GET"],
  ["/v1/generations/gen_x/cancel", "POST"],
  ["/chat", "POST, GET"],
])("%s takes %s and nothing else", async (path, allowed) => {
  for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
    if (allowed.includes(method)) continue;
    const answer = await fetch(at(path), { method });
    expect(new Set(answer.headers.get("allow")?.split(", "))).toEqual(new Set(allowed.split(", ")));
    expect(await refusal(answer)).toMatchObject({
      status: 405,
      code: "method_not_allowed",
      shouldRetry: "false",
    });
  }
});

test.each(["/livez", "/readyz", "/healthz", "/", "/openapi.json", "/metrics"])(
  "%s is only to be read",
  async (path) => {
    const answer = await fetch(at(path), { method: "DELETE" });
    expect([path, answer.status, answer.headers.get("allow")?.includes("GET")]).toEqual([path, 405, true]);
  },
);

describe("bodies", () => {
  test.each([...CREATING, "/v1/embeddings"])("%s takes application/json and nothing else", async (path) => {
    const types = [
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/jsonp",
      "multipart/form-data",
    ];
    for (const type of types) {
      const answer = post(at(path), { model: "m", prompt: "x", messages: [] }, { "content-type": type });
      expect(await refusal(answer)).toMatchObject({ status: 415, code: "unsupported_media_type" });
    }
    const answer = await post(at(path), "[]", { "content-type": "application/json; charset=utf-8" });
    expect(answer.status).toBe(400);
  });

  test.each([...CREATING, "/v1/embeddings"])("%s: too large is 413", async (path) => {
    const body = { model: "sluice-demo", prompt: "x".repeat(2001) };
    expect(await refusal(post(at(path), body))).toMatchObject({
      status: 413,
      code: "body_too_large",
      shouldRetry: "false",
    });
  });

  test.each([...CREATING, "/v1/embeddings"])("%s: what is no JSON object is 400", async (path) => {
    for (const text of ["", "{", `{"a":1,}`, `{"a":1}{"b":2}`, "\u00ef", "undefined", "NaN"]) {
      expect([text, await refusal(post(at(path), text))]).toMatchObject([
        text,
        { status: 400, code: "invalid_json", type: "invalid_request_error", shouldRetry: "false" },
      ]);
    }
    for (const text of ["7", "null", "[]", `"text"`]) {
      expect([text, await refusal(post(at(path), text))]).toMatchObject([
        text,
        { status: 400, code: "invalid_request" },
      ]);
    }
  });

  test("bytes that are no UTF-8 are no JSON", async () => {
    const body = Buffer.from(`{"model":"m","messages":[],"user":"caf\u00e9"}`, "latin1");
    const answer = fetch(at("/v1/chat/completions"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    expect(await refusal(answer)).toMatchObject({ status: 400, code: "invalid_json" });
  });

  test.each([
    [{ messages: MESSAGES, model: 7 }, "model"],
    [{ messages: MESSAGES, model: "" }, "model"],
    [{ messages: MESSAGES, model: "m", stream: "yes" }, "stream"],
    [{ model: "m" }, "messages"],
  ])("%j names the member at fault", async (body, param) => {
    const answer = await post(at("/v1/chat/completions"), body);
    const { error } = (await answer.json()) as ErrorAnswer;
    expect([answer.status, error.code, error.param]).toEqual([400, "invalid_request", param]);
  });

  test("nothing of all that reached the upstream", () => {
    expect(gateway.emulator.stats.requests).toBe(0);
  });
});

test("a plain GET of the WebSocket route is 426", async () => {
  const answer = await fetch(at("/v1/ws"));
  expect(answer.headers.get("upgrade")).toBe("websocket");
  expect(await refusal(answer)).toMatchObject({
    status: 426,
    code: "upgrade_required",
    shouldRetry: "false",
  });
});

test("an unreachable upstream is 502, and may be tried again", async () => {
  const alone = await startGateway({ env: { OPENAI_BASE_URL: "http://127.0.0.1:1/v1" } });
  for (const stream of [true, false]) {
    const answer = post(`${alone.url}/v1/chat/completions`, { model: "m", messages: [], stream });
    expect(await refusal(answer)).toMatchObject({
      status: 502,
      code: "upstream_unreachable",
      type: "upstream_error",
      shouldRetry: null,
    });
  }
  expect((await fetch(`${alone.url}/v1/models`)).status).toBe(502);
  await alone.close();
});
