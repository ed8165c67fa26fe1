/** The plain face for a first try: `/chat` takes a prompt and answers with text, bare or as simple events. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import type { Generation } from "../core/generation.ts";
import { textOf } from "../dialect/text.ts";
import { Chunk } from "../transport/chunk.ts";
import { endingObject, shared } from "../transport/encoding.ts";
import { endedWell, errorPayload, eventBlock, type SseEncoding } from "../transport/sse.ts";
import { followAsEvents } from "./follow.ts";
import { resumed } from "./generations.ts";
import { bodyOf, type House, headerOf, mount, startOverHttp } from "./house.ts";
import { CHAT, parseObject, readPosition } from "./request.ts";

const PATH = "/chat";

export function chatRoutes(app: FastifyInstance, house: House): void {
  mount(
    app,
    PATH,
    {
      POST: (request, reply) => chat(house, request, reply, () => fromBody(request)),
      GET: (request, reply) => chat(house, request, reply, () => fromQuery(request)),
    },
    "sse",
  );
}

/** `data: {"text":"..."}` events with `<generation>:<seq>` as id, so that an `EventSource` comes back to the same answer. */
const textEvents: SseEncoding = {
  hasComments: true,
  events: shared((generation, after, last) =>
    chunkOf(
      texts(generation, after, last).map(
        ({ seq, text }) => `id: ${generation.id}:${seq}\ndata: ${JSON.stringify({ text })}\n\n`,
      ),
    ),
  ),
  ending(generation, ending, seq) {
    const id = `id: ${generation.id}:${seq}\n`;
    if (endedWell(ending)) return eventBlock(`${id}event: done\n`, JSON.stringify(endingObject(ending)));
    return eventBlock(`${id}event: error\n`, errorPayload(ending.fault));
  },
};

/** The text and nothing else; a failure resets the connection, since nothing in the text could tell it. */
const bareText: SseEncoding = {
  hasComments: false,
  events: shared((generation, after, last) =>
    chunkOf(texts(generation, after, last).map(({ text }) => text)),
  ),
  ending: (_generation, ending) => (endedWell(ending) ? Buffer.alloc(0) : undefined),
};

const chunkOf = (parts: readonly string[]): Chunk => Chunk.from(Buffer.from(parts.join("")));

function texts({ log }: Generation, after: number, last: number): { seq: number; text: string }[] {
  const found: { seq: number; text: string }[] = [];
  for (let seq = after + 1; seq <= last; seq++) {
    const text = textOf(log.payload(seq).toString("utf8"));
    if (text !== "") found.push({ seq, text });
  }
  return found;
}

/** Whether a request to a creating route goes on with what it began: `/chat` alone knows that. */
export const isResume = (request: FastifyRequest): boolean =>
  request.routeOptions.url === PATH && Boolean(headerOf(request, "last-event-id"));

async function chat(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: () => { body: Buffer; policy?: unknown },
): Promise<unknown> {
  if (isResume(request)) return resume(house, request, reply, headerOf(request, "last-event-id") ?? "");
  const { generation, isAttached } = await startOverHttp(house, request, {
    endpoint: CHAT,
    ...asked(),
    impliesStream: true,
    defaultPolicy: "cancel",
    transport: () => "sse",
  });
  follow(house, request, reply, generation, 0, !isAttached);
  return reply;
}

async function resume(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
  lastId: string,
): Promise<unknown> {
  const colon = lastId.lastIndexOf(":");
  const after = readPosition(lastId.slice(colon + 1), "Last-Event-ID");
  if (colon < 1) throw new Fault("invalid_request", { message: "Last-Event-ID must be <generation>:<seq>." });
  const generation = await resumed(house, lastId.slice(0, colon), request.owner, after, "sse");
  if (generation.isEnded && after === generation.log.lastSeq) {
    reply.code(204).header("x-generation-id", generation.id);
    return null;
  }
  follow(house, request, reply, generation, after, false);
  return reply;
}

function follow(
  house: House,
  request: FastifyRequest,
  reply: FastifyReply,
  generation: Generation,
  after: number,
  isFirstHand: boolean,
): void {
  const isBare = wantsBareText(request);
  followAsEvents(reply, generation, {
    encoding: isBare ? bareText : textEvents,
    limits: house.limits,
    after,
    earlyHeadersMs: house.limits.earlyHeadersMs,
    tellsPosition: false,
    isFirstHand,
    ...(isBare
      ? { headers: { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" } }
      : {}),
  });
}

const wantsBareText = (request: FastifyRequest): boolean => {
  const accept = headerOf(request, "accept") ?? "";
  return accept.includes("text/plain") && !accept.includes("text/event-stream");
};

function fromBody(request: FastifyRequest): { body: Buffer } {
  const { prompt, messages, model } = parseObject(bodyOf(request));
  if (messages !== undefined) return { body: chatBody(messages, model) };
  return { body: chatBody(asMessages(prompt), model) };
}

/** An `EventSource` cannot set headers: what they would say comes as a parameter. */
function fromQuery(request: FastifyRequest): { body: Buffer; policy?: unknown } {
  const { prompt, model, on_disconnect: policy } = request.query as Record<string, unknown>;
  return { body: chatBody(asMessages(prompt), model), ...(policy === undefined ? {} : { policy }) };
}

function asMessages(prompt: unknown): unknown[] {
  if (typeof prompt !== "string" || prompt === "") {
    throw new Fault("invalid_request", { message: "prompt must be a non-empty string.", param: "prompt" });
  }
  return [{ role: "user", content: prompt }];
}

const chatBody = (messages: unknown, model: unknown): Buffer =>
  Buffer.from(JSON.stringify({ ...(model === undefined ? {} : { model }), messages, stream: true }));
