/** Several upstreams with models of their own: which is asked for what, and what their lists become. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { chat, type ErrorAnswer, post, refusal } from "../support/requests.ts";
import {
  NOBODY,
  startOverUpstreams,
  type UpstreamPlan,
  type UpstreamsGateway,
} from "../support/upstreams.ts";
import { askBy } from "../support/ways.ts";

let gateway: UpstreamsGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

async function over(plans: readonly UpstreamPlan[], env?: Record<string, string>): Promise<UpstreamsGateway> {
  gateway = await startOverUpstreams(plans, env);
  return gateway;
}

const SAYS: Script = { text: "Through the lock." };

/** Who answered a request that is not streamed. */
async function servedBy({ url }: UpstreamsGateway, more: object = {}): Promise<string | null> {
  const answer = await post(`${url}/v1/chat/completions`, chat({}, more));
  await answer.arrayBuffer();
  return answer.status === 200 ? answer.headers.get("x-sluice-upstream") : null;
}

describe("the model", () => {
  const PLANS: readonly UpstreamPlan[] = [
    { name: "small", script: SAYS, member: { models: ["tiny", "vendor/mini-*"] } },
    { name: "large", script: SAYS, member: { models: ["*-large", "vendor/mini-two"] } },
  ];

  test.each([
    ["tiny", "small"],
    ["vendor/mini-one", "small"],
    ["vendor/mini-two", "small"],
    ["some-large", "large"],
    ["vendor/mini-two-large", "small"],
  ])("%s is served by %s", async (model, name) => {
    expect(await servedBy(await over(PLANS), { model })).toBe(name);
  });

  test("is tried at all that serve it, and at no other", async () => {
    const at = await over([{ ...PLANS[0], name: "small", baseUrl: NOBODY }, ...PLANS.slice(1)]);
    expect(await servedBy(at, { model: "vendor/mini-two" })).toBe("large");
    const alone = await refusal(post(`${at.url}/v1/chat/completions`, chat({}, { model: "tiny" })));
    expect(alone).toMatchObject({ status: 502, code: "upstream_unreachable" });
    expect(at.asked("large")).toBe(1);
  });

  test("that nobody serves is not found, on every way", async () => {
    const at = await over(PLANS);
    const request = chat({}, { model: "huge" });
    const bodies: readonly [string, object][] = [
      ["/v1/chat/completions", request],
      ["/v1/chat/completions", { ...request, stream: true }],
      ["/v1/completions", { model: "huge", prompt: "x" }],
      ["/v1/embeddings", { model: "huge", input: "x" }],
      ["/v1/generations", { request }],
    ];
    for (const [path, body] of bodies) {
      const { error } = (await (await post(at.url + path, body)).json()) as ErrorAnswer;
      expect(error).toMatchObject({ code: "model_not_found", type: "invalid_request_error", param: "model" });
    }
    expect((await refusal(post(`${at.url}/v1/chat/completions`, request))).status).toBe(404);
    expect((await fetch(`${at.url}/v1/models/huge`)).status).toBe(404);
    expect(await askBy("WebSocket", at, request)).toMatchObject({ code: "model_not_found" });
    expect([at.asked("small"), at.asked("large")]).toEqual([0, 0]);
    expect(await at.metric("sluice_requests_total", { outcome: "invalid" })).toBe(6);
  });
});

describe("the models", () => {
  interface Listing {
    readonly object: string;
    readonly data: readonly { readonly id: string; readonly owned_by: string }[];
  }
  const lists = (
    name: string,
    models: readonly string[],
    patterns: readonly string[] = [],
  ): UpstreamPlan => ({
    name,
    script: SAYS,
    emulator: { models },
    member: patterns.length === 0 ? {} : { models: patterns },
  });
  const listed = async ({ url }: UpstreamsGateway): Promise<readonly string[]> => {
    const listing = (await (await fetch(`${url}/v1/models`)).json()) as Listing;
    expect(listing.object).toBe("list");
    return listing.data.map(({ id }) => id);
  };

  test("of several upstreams are one list, each once, and one that is dead does not matter", async () => {
    const at = await over([
      lists("a", ["one", "two"]),
      { name: "dead", baseUrl: NOBODY },
      lists("b", ["two", "three"]),
    ]);
    expect(await listed(at)).toEqual(["one", "two", "three"]);
    // Also the gateway's own probe at the start, and the labels of metrics.
    expect(await at.server.probe()).toEqual(["one", "two", "three"]);
    await servedBy(at, { model: "three" });
    expect(await at.metric("sluice_requests_total", { model: "three" })).toBe(1);
  });

  test("are those that the upstream's patterns let through", async () => {
    const at = await over([lists("a", ["one", "two"], ["one"]), lists("b", ["one", "two"], ["t*"])]);
    expect(await listed(at)).toEqual(["one", "two"]);
  });

  test("cannot be listed where no upstream answers", async () => {
    const at = await over([
      { name: "a", baseUrl: NOBODY },
      { name: "b", baseUrl: NOBODY },
    ]);
    expect(await refusal(fetch(`${at.url}/v1/models`))).toMatchObject({
      status: 502,
      code: "upstream_unreachable",
    });
  });

  test("one by one are asked of the one that serves it", async () => {
    const at = await over([lists("a", ["one"], ["one"]), lists("b", ["vendor/two"], ["vendor/*"])]);
    for (const id of ["one", "vendor/two"]) {
      const answer = await fetch(`${at.url}/v1/models/${id}`);
      expect([answer.status, await answer.json()]).toEqual([200, expect.objectContaining({ id })]);
    }
    const unknown = await refusal(fetch(`${at.url}/v1/models/vendor/none`));
    expect(unknown).toMatchObject({ status: 404, code: "model_not_found" });
  });
});

describe("an answer that is no generation", () => {
  test("and breaks off is told as that, not relayed in half", async () => {
    const server = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": 100 });
      response.write(`{"object":"list","data":[`, () => response.destroy());
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    const at = await over([{ name: "a", baseUrl }]);
    const answers = [
      post(`${at.url}/v1/embeddings`, { model: "m", input: "x" }),
      fetch(`${at.url}/v1/models`),
      fetch(`${at.url}/v1/models/m`),
    ];
    for (const answer of answers) {
      expect(await refusal(answer)).toMatchObject({ status: 502, code: "upstream_disconnected" });
    }
    expect(await at.metric("sluice_upstream_requests_total", { upstream: "a", code: "200" })).toBe(3);
    expect(await at.metric("sluice_upstream_requests_total")).toBe(3);
    server.close();
  });
});
