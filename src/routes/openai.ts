/** The OpenAI face: chat completions, legacy completions, embeddings and models. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import { stockEncoding } from "../transport/sse.ts";
import { answerWhole, followAsEvents } from "./follow.ts";
import { bodyOf, type House, mount, startOverHttp } from "./house.ts";
import { CHAT, COMPLETIONS, parseObject } from "./request.ts";

/** How long an answer that is no generation may take. Milliseconds. */
const RELAY_TIMEOUT_MS = 120_000;

const SERVED =
  "Served under /v1 are chat/completions, completions, embeddings, models, generations, tickets and ws.";

export function openAiRoutes(app: FastifyInstance, house: House): void {
  for (const endpoint of [CHAT, COMPLETIONS]) {
    mount(app, endpoint, { POST: (request, reply) => complete(house, endpoint, request, reply) }, "json");
  }
  const relays = new Relays(house.limits.maxConcurrency + house.limits.maxQueue);
  mount(app, "/v1/embeddings", {
    POST: (request, reply) => relays.run(() => embed(house, request, reply)),
  });
  mount(app, "/v1/models", {
    GET: (_request, reply) => relays.run(async () => send(reply, await house.catalog.listing())),
  });
  mount(app, "/v1/models/*", { GET: (request, reply) => relays.run(() => model(house, request, reply)) });
  app.all("/v1/*", () => {
    throw new Fault("not_found", { message: `There is no such route. ${SERVED}` });
  });
}

/** Calls that are no generations wait in no queue: as many are open at once as generations may run and wait. */
class Relays {
  readonly #most: number;
  #open = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws Fault `queue_full` */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#open >= this.#most) throw new Fault("queue_full", { retryAfterS: 1 });
    this.#open++;
    try {
      return await call();
    } finally {
      this.#open--;
    }
  }
}

async function complete(
  house: House,
  endpoint: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { generation, isAttached } = await startOverHttp(house, request, {
    endpoint,
    body: bodyOf(request),
    impliesStream: false,
    defaultPolicy: "cancel",
    transport: (isStream) => (isStream ? "sse" : "json"),
  });
  if (!generation.spec.stream) return answerWhole(reply, generation, !isAttached, house.limits);
  followAsEvents(reply, generation, {
    encoding: stockEncoding,
    limits: house.limits,
    after: 0,
    earlyHeadersMs: house.limits.earlyHeadersMs,
    tellsPosition: false,
    isFirstHand: !isAttached,
  });
}

async function embed(house: House, request: FastifyRequest, reply: FastifyReply): Promise<Buffer> {
  const body = bodyOf(request);
  const { model } = parseObject(body);
  const upstream = house.catalog.first(typeof model === "string" ? model : undefined);
  return send(reply, await upstream.relay("post", "/embeddings", patience(reply), body));
}

async function model(house: House, request: FastifyRequest, reply: FastifyReply): Promise<Buffer> {
  const name = (request.params as { "*": string })["*"];
  return send(reply, await house.catalog.first(name).relay("get", modelPath(name), patience(reply)));
}

function send(
  reply: FastifyReply,
  answer: { headers: Readonly<Record<string, string>>; body: Buffer },
): Buffer {
  reply.headers({ ...answer.headers, "content-type": "application/json" });
  return answer.body;
}

/** Ends with the client's patience, or with ours. */
function patience(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  return AbortSignal.any([gone.signal, AbortSignal.timeout(RELAY_TIMEOUT_MS)]);
}

/** A model's name may hold slashes; dots alone would leave the path. */
function modelPath(name: string): string {
  const segments = name.split("/");
  if (segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw new Fault("model_not_found");
  }
  return `/models/${segments.map(encodeURIComponent).join("/")}`;
}
