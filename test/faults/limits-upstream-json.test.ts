/** An upstream's JSON that nests without end: the generation fails, whoever reads it is told, and the process lives. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";
import { eventOf, type PlainUpstream, startPlainUpstream } from "../support/plain-upstream.ts";
import { type GenerationObject, post, uncut } from "../support/requests.ts";

const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;

/** By the prompt that asks for it. */
const ANSWERS: Readonly<Record<string, string>> = {
  "an event": `data: {"choices":[],"x":${deep}}\n\n`,
  "a usage": `data: {"choices":[],"usage":{"x":${deep}}}\n\n`,
  "an error": `data: {"error":{"message":"x","param":${deep}}}\n\n`,
  "an error that is a list": `data: {"error":${deep}}\n\n`,
};

let upstream: PlainUpstream;
let gateway: GatewayProcess;
beforeAll(async () => {
  upstream = await startPlainUpstream((response, body) => {
    const { user = "" } = JSON.parse(body) as { user?: string };
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(`${eventOf("before")}${ANSWERS[user]}${eventOf("after")}data: [DONE]\n\n`);
  });
  gateway = await startProcess({ OPENAI_BASE_URL: upstream.url });
});
afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

test.each(Object.keys(ANSWERS))("%s: failed, on every way of reading", async (user) => {
  const request = { model: "plain", messages: [], user };
  const stock = await (await post(`${gateway.url}/v1/chat/completions`, { ...request, stream: true })).text();
  expect(stock).toContain("before");
  expect(stock).toContain('"code":"upstream_error"');
  expect(stock).not.toContain("[DONE]");
  const created = await post(`${gateway.url}/v1/generations`, { request });
  const { id } = (await created.json()) as GenerationObject;
  await uncut(gateway.url, id);
  const state = (await (await fetch(`${gateway.url}/v1/generations/${id}`)).json()) as GenerationObject;
  expect([state.status, state.error?.code]).toEqual(["failed", "upstream_error"]);
  expect(gateway.child.exitCode).toBeNull();
  expect(gateway.output()).not.toMatch(/internal error|unexpected fault/);
});
