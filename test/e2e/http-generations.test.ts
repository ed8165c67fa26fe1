/** Generations as resources over HTTP: start, look, follow from any position, cancel. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import {
  chat,
  eventsOf,
  look,
  MESSAGES,
  post,
  refusal,
  startGeneration,
  streamed,
  uncut,
} from "../support/requests.ts";
import { readSse } from "../support/sse-client.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());
beforeEach(() => gateway.emulator.reset());

const at = (path: string): string => gateway.url + path;

async function ended(tokens = 3): Promise<string> {
  const { id } = await startGeneration(gateway.url, { tokens });
  await (await uncut(gateway.url, id)).ended;
  return id;
}

describe("POST /v1/generations", () => {
  test("201, an id of at least 128 random bits, and where to read", async () => {
    const answer = await post(at("/v1/generations"), { request: chat({ text: "a" }) });
    const body = (await answer.json()) as Record<string, unknown>;
    expect(answer.status).toBe(201);
    expect(body).toMatchObject({ object: "generation", model: "sluice-demo" });
    expect(["queued", "running"]).toContain(body["status"]);
    expect(String(body["id"])).toMatch(/^gen_[\w-]{22,}$/);
    expect(body["events_url"]).toBe(`/v1/generations/${body["id"]}/events`);
    expect(answer.headers.get("x-generation-id")).toBe(body["id"]);
    expect((await uncut(gateway.url, String(body["id"]))).last?.event).toBe("end");
  });

  test("stream is implied; the rest of the request reaches the upstream as it was written", async () => {
    const inner = `{ "model":"sluice-demo", "messages":[ ],"seed":1.0, "emulator":{"text":"a"} }`;
    const { id } = (await (await post(at("/v1/generations"), `{"request":${inner}}`)).json()) as {
      id: string;
    };
    expect((await uncut(gateway.url, id)).payloads).toHaveLength(3);
    expect(gateway.emulator.requests()[0]?.body).toBe(inner.replace("{", '{"stream":true,'));
  });

  test("another endpoint, and one that there is not", async () => {
    const request = { model: "sluice-demo", prompt: "x", emulator: { text: "a" } };
    const started = await post(at("/v1/generations"), { request, endpoint: "/v1/completions" });
    const { id } = (await started.json()) as { id: string };
    const [first] = (await uncut(gateway.url, id)).payloads;
    expect(JSON.parse(first ?? "")).toMatchObject({ object: "text_completion" });
    expect(gateway.emulator.requests()[0]?.path).toBe("/v1/completions");
    const bad = [
      { request, endpoint: "/v1/embeddings" },
      { request, endpoint: 7 },
      { request: 7 },
      {},
      { request, on_disconnect: "never" },
      { request: { messages: 7 } },
    ];
    for (const body of bad) {
      expect(await refusal(post(at("/v1/generations"), body))).toMatchObject({
        status: 400,
        code: "invalid_request",
        shouldRetry: "false",
      });
    }
  });
});

describe("GET /v1/generations/{id}", () => {
  test("a running one, then the ended one with usage and every time", async () => {
    const script = { tokens: 40, pace_ms: 10, usage: true };
    const { id } = await startGeneration(gateway.url, script);
    const reader = eventsOf(gateway.url, id);
    await until("some events came", () => reader.events.length > 3);
    const running = await look(gateway.url, id);
    expect(running).toMatchObject({ id, object: "generation", status: "running", readers: 1 });
    expect(running).not.toHaveProperty("error");
    expect(running).not.toHaveProperty("position");
    await reader.ended;
    const over = await look(gateway.url, id);
    expect(over).toMatchObject({ status: "completed", readers: 0, model: "sluice-demo", last_seq: 44 });
    expect(over.usage).toMatchObject({ completion_tokens: 40 });
    expect(Math.abs(over.created - Date.now() / 1000)).toBeLessThan(60);
    const { queue_ms, upstream_ttft_ms, ttft_ms, duration_ms } = over.timing;
    for (const ms of [queue_ms, upstream_ttft_ms, ttft_ms, duration_ms]) expect(ms).toBeGreaterThanOrEqual(0);
    expect(ttft_ms).toBeGreaterThanOrEqual(Number(upstream_ttft_ms));
    expect(duration_ms).toBeGreaterThanOrEqual(Number(ttft_ms) + 39 * 10 * 0.5);
    const [, end] = [reader.events.at(-2), reader.events.at(-1)];
    expect(JSON.parse(end?.data ?? "")).toEqual({
      status: over.status,
      usage: over.usage,
      timing: over.timing,
    });
  });

  test("a failed one tells its error, in the same object as its ending", async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 3, fault: { kind: "eof", after_tokens: 2 } });
    const reader = await uncut(gateway.url, id);
    const { status, error } = await look(gateway.url, id);
    expect([status, error?.code, error?.type]).toEqual(["failed", "upstream_disconnected", "upstream_error"]);
    expect(JSON.parse(reader.last?.data ?? "")).toMatchObject({ status, error });
  });

  test("an unknown one is 404 on each of its routes", async () => {
    for (const path of ["", "/events", "/events?starting_after=3"]) {
      expect(await refusal(fetch(at(`/v1/generations/gen_none${path}`)))).toMatchObject({
        status: 404,
        code: "generation_not_found",
        shouldRetry: "false",
      });
    }
    expect((await refusal(post(at("/v1/generations/gen_none/cancel"), "{}"))).status).toBe(404);
  });
});

describe("GET /v1/generations/{id}/events", () => {
  test("ids count from 1, the ending is the last event, and stock reads of it agree", async () => {
    const stock = await readSse(at("/v1/chat/completions"), {
      method: "POST",
      body: streamed({ tokens: 3, usage: true }),
    });
    const { headers } = await stock.head;
    const reader = await uncut(gateway.url, String(headers["x-generation-id"]));
    expect(await reader.ended).toBe("closed");
    expect((await reader.head).headers).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    expect(reader.payloads).toEqual(stock.payloads);
    expect(reader.events.map(({ id }) => id)).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
    expect(reader.events.map(({ event }) => event)).toEqual([...Array(6).fill(undefined), "end"]);
    expect(reader.text).toMatch(/^id: 1\ndata: \{.*\}\n\nid: 2\ndata: /);
    expect(reader.text).not.toContain("[DONE]");
  });

  test("starts after the header, or after the parameter where there is no header", async () => {
    const id = await ended();
    const read = async (query: string, header?: string): Promise<(string | undefined)[]> => {
      const headers: Record<string, string> = header === undefined ? {} : { "last-event-id": header };
      const client = await readSse(at(`/v1/generations/${id}/events${query}`), { headers });
      return client.events.map((event) => event.id);
    };
    expect(await read("?starting_after=3")).toEqual(["4", "5", "6"]);
    expect(await read("?starting_after=0")).toHaveLength(6);
    expect(await read("?starting_after=1", "4")).toEqual(["5", "6"]);
    expect(await read("", "5")).toEqual(["6"]);
    // An EventSource that has seen no id sends an empty header, or none.
    expect(await read("?starting_after=4", "")).toEqual(["5", "6"]);
  });

  test("204 once the ending itself was seen, and an error beyond it", async () => {
    const id = await ended();
    const answer = await fetch(at(`/v1/generations/${id}/events`), { headers: { "last-event-id": "6" } });
    expect([answer.status, await answer.text()]).toEqual([204, ""]);
    expect((await fetch(at(`/v1/generations/${id}/events?starting_after=6`))).status).toBe(204);
    expect(await refusal(fetch(at(`/v1/generations/${id}/events?starting_after=7`)))).toMatchObject({
      status: 400,
      code: "position_ahead",
      shouldRetry: "false",
    });
    expect((await fetch(at(`/v1/generations/${id}/events?starting_after=${2 ** 53 - 1}`))).status).toBe(400);
  });

  test.each([
    "-1",
    "1.5",
    "9007199254740992",
    "",
    "abc",
    "0x1",
    "1e2",
    "%201",
    "NaN",
    "99999999999999999999",
  ])("starting_after=%s is no position", async (position) => {
    const id = await ended();
    const path = at(`/v1/generations/${id}/events`);
    const wanted = { status: 400, code: "invalid_request" };
    expect(await refusal(fetch(`${path}?starting_after=${position}`))).toMatchObject(wanted);
    const header = decodeURIComponent(position).trim();
    if (header === "" || header === "1") return;
    expect(await refusal(fetch(path, { headers: { "last-event-id": header } }))).toMatchObject(wanted);
  });

  test("until=now replays what is there and does not follow", async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 500, pace_ms: 20 });
    await until("events are there", async () => (await look(gateway.url, id)).last_seq > 4);
    const now = await readSse(at(`/v1/generations/${id}/events?until=now`));
    expect(await now.ended).toBe("closed");
    expect(now.events.length).toBeGreaterThan(3);
    expect(now.events.every(({ event }) => event === undefined)).toBe(true);
    const rest = await readSse(at(`/v1/generations/${id}/events?until=now&starting_after=${now.lastId}`));
    expect(rest.events.every((event) => Number(event.id) > Number(now.lastId))).toBe(true);
    expect((await look(gateway.url, id)).status).toBe("running");
    await post(at(`/v1/generations/${id}/cancel`), "{}");
    const over = await readSse(at(`/v1/generations/${id}/events?until=now`));
    expect(over.last?.event).toBe("end");
    expect((await fetch(at(`/v1/generations/${id}/events?until=then`))).status).toBe(400);
  });
});

describe("POST /v1/generations/{id}/cancel", () => {
  test("answers the generation, and the same again", async () => {
    const { id } = await startGeneration(gateway.url, { tokens: 1000, pace_ms: 20 });
    const cancel = (): Promise<Response> => post(at(`/v1/generations/${id}/cancel`), "");
    const first = (await (await cancel()).json()) as Record<string, unknown>;
    expect(first).toMatchObject({ id, status: "cancelled", error: { code: "cancelled" } });
    // Without a body and its type, as `curl -X POST` sends it.
    const bare = await fetch(at(`/v1/generations/${id}/cancel`), { method: "POST" });
    expect([bare.status, await bare.json()]).toEqual([200, first]);
    await until("the upstream is let go", () => gateway.emulator.stats.open === 0);
    expect(await look(gateway.url, id)).toEqual(first);
  });

  test("an ended one stays as it ended", async () => {
    const id = await ended();
    expect(await (await post(at(`/v1/generations/${id}/cancel`), "{}")).json()).toMatchObject({
      status: "completed",
    });
  });
});

test("messages that are no list are refused before anything is asked", async () => {
  const body = { model: "sluice-demo", messages: MESSAGES[0] };
  expect(await refusal(post(at("/v1/chat/completions"), body))).toMatchObject({ status: 400 });
  expect(gateway.emulator.stats.requests).toBe(0);
});
