/** Generations as resources: start without reading, look, follow, resume, cancel. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import type { Generation } from "../core/generation.ts";
import { generationObject } from "../transport/encoding.ts";
import { resumableEncoding } from "../transport/sse.ts";
import { followAsEvents } from "./follow.ts";
import { bodyOf, type House, headerOf, mount, startOverHttp } from "./house.ts";
import { CHAT, COMPLETIONS, memberBytes, parseObject, readPosition } from "./request.ts";

const ENDPOINTS: readonly unknown[] = [CHAT, COMPLETIONS];

export function generationRoutes(app: FastifyInstance, house: House): void {
  mount(app, "/v1/generations", { POST: (request, reply) => create(house, request, reply) }, "none");
  mount(app, "/v1/generations/:id", {
    GET: async (request) => generationObject(await found(house, request)),
  });
  mount(app, "/v1/generations/:id/events", { GET: (request, reply) => events(house, request, reply) });
  mount(app, "/v1/generations/:id/cancel", {
    POST: async (request) => {
      const generation = await found(house, request);
      generation.cancel("cancelled");
      return generationObject(generation);
    },
  });
}

const found = (house: House, request: FastifyRequest): Promise<Generation> =>
  house.gateway.find((request.params as { id: string }).id, request.owner);

async function create(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Record<string, unknown>> {
  const bytes = bodyOf(request);
  const { request: inner, endpoint = CHAT, on_disconnect: policy } = parseObject(bytes);
  if (inner === undefined)
    throw new Fault("invalid_request", { message: "request is missing.", param: "request" });
  if (!ENDPOINTS.includes(endpoint)) {
    throw new Fault("invalid_request", {
      message: `endpoint must be ${ENDPOINTS.join(" or ")}.`,
      param: "endpoint",
    });
  }
  const { generation } = await startOverHttp(house, request, {
    endpoint: endpoint as string,
    body: memberBytes(bytes as Buffer, "request"),
    impliesStream: true,
    defaultPolicy: "grace",
    policy,
    transport: () => "none",
  });
  reply.code(201);
  const address = `${house.base}/v1/generations/${generation.id}`;
  reply.headers({ "x-generation-id": generation.id, location: address });
  return {
    ...generationObject(generation),
    events_url: `${address}/events`,
    cancel_url: `${address}/cancel`,
  };
}

async function events(house: House, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const query = request.query as Record<string, unknown>;
  if (query["until"] !== undefined && query["until"] !== "now") {
    throw new Fault("invalid_request", { message: "until must be now.", param: "until" });
  }
  const given = headerOf(request, "last-event-id") || query["starting_after"];
  const after = given === undefined ? 0 : readPosition(given, "starting_after");
  const generation = await resumed(house, (request.params as { id: string }).id, request.owner, after, "sse");
  if (generation.isEnded && after === generation.log.lastSeq) {
    reply.code(204).header("x-generation-id", generation.id);
    return null;
  }
  followAsEvents(reply, generation, {
    encoding: resumableEncoding,
    limits: house.limits,
    after,
    tellsPosition: true,
    isFirstHand: after === 0,
    untilNow: query["until"] === "now",
  });
  return reply;
}

/**
 * The generation to follow after a position, counted as a resume where it is one.
 * @throws Fault `generation_not_found`, `position_ahead`
 */
export async function resumed(
  house: House,
  id: string,
  owner: string,
  after: number,
  transport: "sse" | "websocket",
): Promise<Generation> {
  const { observer } = house.gateway;
  try {
    const generation = await house.gateway.find(id, owner);
    if (after > generation.log.lastSeq) throw new Fault("position_ahead");
    if (after > 0) observer.resumed(transport, "resumed");
    return generation;
  } catch (thrown) {
    if (after > 0)
      observer.resumed(transport, (thrown as Fault).code === "position_ahead" ? "ahead" : "unknown");
    throw thrown;
  }
}
