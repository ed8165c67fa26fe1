/** The description of the API against the gateway that it describes. */
import { execFile } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { FastifyInstance, RouteOptions } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ERRORS, type ErrorRow } from "../../src/core/errors.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import {
  type Answer,
  description,
  exampleOf,
  examplesIn,
  examplesOf,
  FILE,
  type Media,
  OPERATIONS,
  type Operation,
  objections,
  objectionsToText,
  type Parameter,
} from "../support/openapi.ts";
import { type ErrorAnswer, look, startGeneration } from "../support/requests.ts";
import { WsClient } from "../support/ws-client.ts";

const ROOT = new URL("../../", import.meta.url);
const run = promisify(execFile);
/** The generation and the idempotency key of all examples. */
const GENERATION = "gen_pLOGgCPs006RvkazfrpVteg8";
const KEY = "one-question";

const { schemas } = description.components;
const table = Object.entries(ERRORS) as [code: string, row: ErrorRow][];
const nameOf = ({ method, path }: Operation): string => `${method} ${path}`;

test("redocly's linter has neither an error nor a warning", async () => {
  const linter = fileURLToPath(new URL("node_modules/@redocly/cli/bin/cli.js", ROOT));
  const { stdout } = await run(process.execPath, [linter, "lint", fileURLToPath(FILE), "--format", "json"], {
    cwd: fileURLToPath(ROOT),
    env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" },
  });
  const { totals, problems } = JSON.parse(stdout) as { totals: object; problems: readonly object[] };
  expect(problems).toEqual([]);
  expect(totals).toMatchObject({ errors: 0, warnings: 0, ignored: 0 });
});

describe("the errors", () => {
  const retries = {
    no: "The same request will fail again.",
    after: "May be sent again after `Retry-After`.",
    yes: "May be sent again.",
  };

  test("are those of the table, each with its status, its type and whether to retry", () => {
    const told = table.map(([code, { status, type, message, retry }]) => ({
      const: code,
      description: `${status}, \`${type}\`. ${message} ${retries[retry]}`,
    }));
    expect(schemas["ErrorCode"]?.["oneOf"]).toEqual(told);
  });

  test("that an HTTP answer can have are shown by the answer of their status", () => {
    const shown = OPERATIONS.flatMap(({ responses }) => Object.entries(responses)).flatMap(
      ([status, { content }]) =>
        examplesOf(content?.["application/json"] ?? { schema: {} })
          .map(([name, value]) => ({ status, name, value }))
          .filter(({ name }) => Number(status) >= 400 && name in ERRORS),
    );
    expect(shown.length).toBeGreaterThan(table.length);
    for (const { status, name, value } of shown) {
      const { error } = value as ErrorAnswer;
      const row = ERRORS[name as keyof typeof ERRORS];
      expect([error.code, error.type, String(row.status)], name).toEqual([name, row.type, status]);
    }
    // Those that no answer to a described request has: of other methods, of messages, and what is reserved.
    const elsewhere = ["already_subscribed", "method_not_allowed", "position_expired", "slow_reader"];
    const missing = table.map(([code]) => code).filter((code) => !shown.some(({ name }) => name === code));
    expect(missing.sort()).toEqual([...elsewhere, "too_many_subscriptions"].sort());
  });
});

describe("the examples", () => {
  const bodies = OPERATIONS.flatMap(({ operationId, requestBody, responses }) => [
    ...Object.entries(requestBody?.content ?? {}).map(([type, media]) => ({ operationId, type, media })),
    ...Object.values(responses).flatMap(({ content = {} }) =>
      Object.entries(content).map(([type, media]) => ({ operationId, type, media })),
    ),
  ]);

  test("of bodies and answers fit their schemas", () => {
    const wrong = bodies.flatMap(({ operationId, type, media }) =>
      examplesOf(media)
        .map(([name, value]) => [name, objectionsToText(type, media, textOf(type, value))])
        .filter(([, objection]) => objection !== "")
        .map(([name, objection]) => `${operationId} ${type} ${name}: ${objection}`),
    );
    expect(bodies.length).toBeGreaterThan(100);
    expect(wrong).toEqual([]);
  });

  test("of parameters fit theirs, and none is missing", () => {
    for (const operation of OPERATIONS)
      for (const parameter of operation.parameters) {
        const where = `${nameOf(operation)} ${parameter.name}`;
        expect(exampleOf(parameter), where).toBeDefined();
        expect(objections(parameter.schema, exampleOf(parameter)), where).toBe("");
      }
  });

  test("are refused where they do not fit", () => {
    const media: Media = { schema: { $ref: "#/components/schemas/Error" } };
    expect(objectionsToText("application/json", media, '{"error":{"code":"not_found"}}')).toMatch(/message/);
    const stream = bodies.find(({ operationId, type }) => operationId === "chat" && type.endsWith("stream"));
    expect(objectionsToText(stream?.type ?? "", stream?.media as Media, 'data: {"text":"a"}\n\n')).toMatch(
      /id/,
    );
  });
});

const textOf = (type: string, value: unknown): string =>
  type === "application/json" ? JSON.stringify(value) : (value as string);

describe("the gateway", () => {
  let gateway: TestGateway;
  let keyed: TestGateway;
  /** A generation that has ended, with more events than the examples' positions. */
  let ended: string;
  /** What the app has mounted. */
  const mounted = new Set<string>();
  let requests = 0;

  beforeAll(async () => {
    const watch = (message: unknown): void => {
      const { fastify } = message as { fastify: FastifyInstance };
      fastify.addHook("onRoute", ({ url }: RouteOptions) => void mounted.add(url));
    };
    subscribe("fastify.initialization", watch);
    gateway = await startGateway({ emulator: { defaults: { first_token_ms: 0, pace_ms: 0 } } });
    unsubscribe("fastify.initialization", watch);
    keyed = await startGateway({ env: { SLUICE_API_KEYS: "alice:sk-alice-0123456789abcdef" } });
    ended = (await startGeneration(gateway.url, { tokens: 30 }, { on_disconnect: "continue" })).id;
    await until("it is complete", async () => (await look(gateway.url, ended)).status === "completed");
  });
  afterAll(async () => {
    await gateway.close();
    await keyed.close();
  });

  /** An example as this gateway can take it: of a generation that it knows, with a key of its own. */
  const placed = <T>(value: T): T =>
    JSON.parse(
      JSON.stringify(value).replaceAll(GENERATION, ended).replaceAll(KEY, `${KEY}-${requests}`),
    ) as T;

  function ask(
    { url }: TestGateway,
    { path, method, requestBody }: Operation,
    parameters: readonly Parameter[],
    body: unknown,
    accept = "*/*",
  ): Promise<Response> {
    requests++;
    const query = new URLSearchParams();
    const headers = new Headers({ accept });
    let filled = path;
    for (const parameter of parameters) {
      const value = String(placed(exampleOf(parameter)));
      if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, value);
      else if (parameter.in === "query") query.set(parameter.name, value);
      else headers.set(parameter.name, value);
    }
    if (requestBody !== undefined) headers.set("content-type", "application/json");
    const sent = body === undefined ? null : JSON.stringify(placed(body));
    return fetch(`${url}${filled}?${query}`, { method, headers, body: sent });
  }

  test("has the routes that are described, and no others", async () => {
    const templates = [...new Set(OPERATIONS.map(({ path }) => path))];
    const isOf = (path: string, template: string): boolean =>
      new RegExp(`^${template.replaceAll(".", "\\.").replace(/\{\w+\}/g, "[^{]+")}$`).test(path);
    const taken = new Set<string>();
    const unserved: string[] = [];
    for (const url of mounted) {
      const path = url.replace(/:(\w+)/g, "{$1}").replace("/models/*", "/models/{model}");
      const template = templates.includes(path) ? path : templates.find((each) => isOf(path, each));
      const answer = await fetch(gateway.url + url, { method: "PUT" });
      await answer.text();
      if (answer.status !== 405) unserved.push(`${url} ${answer.status}`);
      const allowed = answer.headers.get("allow")?.split(", ") ?? [];
      if (allowed.includes("HEAD")) expect(allowed, url).toContain("GET");
      for (const method of allowed.filter((each) => each !== "HEAD"))
        taken.add(`${method} ${template ?? url}`);
    }
    expect(unserved).toEqual(["/v1/* 404"]);
    expect([...taken].sort()).toEqual(OPERATIONS.map(nameOf).sort());
  });

  const overHttp = OPERATIONS.filter(({ operationId }) => operationId !== "openWebSocket");

  test.each(overHttp.map((operation) => [nameOf(operation), operation] as const))(
    "takes the examples of %s and answers as described",
    async (_name, operation) => {
      const { requestBody, responses, parameters } = operation;
      const bodies = requestBody === undefined ? [undefined] : examplesIn(requestBody.content);
      const types = Object.keys(responses["200"]?.content ?? responses["201"]?.content ?? {});
      const isNeeded = ({ required, name }: Parameter): boolean => required === true || name === "prompt";
      const starts = parameters.filter(({ name }) => name !== "Last-Event-ID");
      for (const given of new Set([parameters.filter(isNeeded), starts, parameters]))
        for (const body of bodies)
          for (const accept of types) {
            const answer = await ask(gateway, operation, given, body, accept);
            const named = given.find(({ name }) => name === "x-request-id");
            if (named !== undefined) expect(answer.headers.get("x-request-id")).toBe(exampleOf(named));
            expect(answer.ok, await checked(operation, answer)).toBe(true);
          }
    },
  );

  test.each(OPERATIONS.map((operation) => [nameOf(operation), operation] as const))(
    "asks for a key on %s exactly where that is described",
    async (_name, operation) => {
      const [body] = operation.requestBody === undefined ? [] : examplesIn(operation.requestBody.content);
      const needed = operation.parameters.filter(({ required }) => required === true);
      const answer = await ask(keyed, operation, needed, body);
      const where = await checked(operation, answer);
      const isOpen = operation.security?.length === 0;
      expect(answer.status === 401, where).toBe(!isOpen);
    },
  );

  const withBody = overHttp.filter(({ requestBody }) => requestBody !== undefined);

  test.each(withBody.map((operation) => [nameOf(operation), operation] as const))(
    "refuses what is no body of %s as described",
    async (_name, operation) => {
      const send = (type: string, body: string): Promise<Response> =>
        fetch(gateway.url + operation.path, { method: "POST", headers: { "content-type": type }, body });
      for (const [type, body, status] of [
        ["application/json", "{", 400],
        ["text/plain", "{}", 415],
      ] as const) {
        const answer = await send(type, body);
        expect(answer.status, await checked(operation, answer)).toBe(status);
      }
    },
  );

  test("takes the messages of the examples, and sends such as are described", async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 5000, pace_ms: 5 });
    await until("it is past the position", async () => (await look(gateway.url, id)).last_seq > 17);
    const socket = OPERATIONS.find(({ operationId }) => operationId === "openWebSocket") as Operation;
    const media = socket.responses["101"]?.content?.["application/json"] as Media;
    const mine = examplesOf(media)
      .map(([, value]) => value as { type: string })
      .filter((message) => objections(schemas["ClientMessage"] ?? {}, message) === "");
    expect(mine.map(({ type }) => type)).toEqual(["generate", "subscribe", "unsubscribe", "cancel", "ping"]);
    const client = await WsClient.open(gateway.wsUrl);
    for (const message of mine) client.send(JSON.parse(JSON.stringify(message).replaceAll(GENERATION, id)));
    await client.next(({ type }) => type === "pong");
    await client.next(({ type }) => type === "end");
    expect(client.messages.filter(({ type }) => type === "error")).toEqual([]);
    client.send({ type: "subscribe", id: "c", generation: "gen_unknown" });
    await client.next(({ type }) => type === "error");
    await client.close();
    for (const message of client.messages)
      expect(objections(schemas["ServerMessage"] ?? {}, message), JSON.stringify(message)).toBe("");
    const types = new Set(client.messages.map(({ type }) => type));
    expect([...types]).toEqual(expect.arrayContaining(["accepted", "event", "end", "unsubscribed"]));
    expect((await look(gateway.url, id)).status).toBe("cancelled");
  });
});

/** Headers that HTTP itself or the page's own rules bring. */
const UNTOLD =
  /^(connection|content-length|content-type|cross-origin-opener-policy|date|keep-alive|referrer-policy|transfer-encoding)$/;

/** Checks an answer against what the operation says of it; gives its place and text, for other checks. */
async function checked(operation: Operation, answer: Response): Promise<string> {
  const { status, headers } = answer;
  const text = await answer.text();
  const where = `${nameOf(operation)}: ${status} ${text.slice(0, 300)}`;
  expect(Object.keys(operation.responses), where).toContain(String(status));
  const described = operation.responses[String(status)] as Answer;
  const told = Object.keys(described.headers ?? {});
  expect(
    [...headers.keys()].filter((name) => !told.includes(name) && !UNTOLD.test(name)),
    where,
  ).toEqual([]);
  const type = headers.get("content-type")?.split(";", 1)[0];
  if (described.content === undefined) expect([type, text], where).toEqual([undefined, ""]);
  else {
    expect(Object.keys(described.content), where).toContain(type);
    const media = described.content[type ?? ""] as Media;
    expect(objectionsToText(type ?? "", media, text), where).toBe("");
  }
  return where;
}
